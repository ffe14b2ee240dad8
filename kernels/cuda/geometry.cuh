// The geometry of a convolution, as every kernel of convolutions takes it.
#pragma once

// The arguments of every kernel: sizes (inputs and outputs are those of one group), then the
// strides of x, w and y.
#define GEOMETRY                                                                                 \
    int batch, int groups, int inputs, int outputs, int height, int width, int out_height,       \
        int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int dilation_h,   \
        int dilation_w, int top, int left, int x_n, int x_h, int x_w, int x_c, int w_h, int w_w, \
        int w_i, int w_o, int y_n, int y_h, int y_w, int y_c
#define GEOMETRY_VALUES                                                                          \
    {batch, groups, inputs, outputs, height, width, out_height, out_width, kernel_h, kernel_w,   \
     stride_h, stride_w, dilation_h, dilation_w, top, left, x_n, x_h, x_w, x_c, w_h, w_w, w_i,   \
     w_o, y_n, y_h, y_w, y_c}

namespace fastconv {

struct Geometry {
    int batch, groups, inputs, outputs, height, width, out_height, out_width, kernel_h, kernel_w;
    int stride_h, stride_w, dilation_h, dilation_w, top, left;
    int x_n, x_h, x_w, x_c, w_h, w_w, w_i, w_o, y_n, y_h, y_w, y_c;

    __device__ int out_pixels() const { return batch * out_height * out_width; }
    __device__ int pixels() const { return batch * height * width; }
    __device__ int taps() const { return kernel_h * kernel_w; }
};

struct Pixel {
    int n, i, j;
};

__device__ inline Pixel pixel_at(int index, int height, int width) {
    return {index / (height * width), index / width % height, index % width};
}

__device__ inline bool inside(int i, int j, int height, int width) {
    return static_cast<unsigned>(i) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(j) < static_cast<unsigned>(width);
}

}  // namespace fastconv
