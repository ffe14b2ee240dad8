// The product that the forward pass of a convolution is: its factors, and its sizes.
#pragma once

#include "geometry.cuh"
#include "product.cuh"

namespace fastconv {

// The im2col matrix: a row for each output pixel, a column for each tap and input channel.
template <typename T>
struct Patches {
    Geometry g;
    const T *x; // the group's first channel

    struct Line {
        const T *image;
        int i, j; // where the window begins
    };
    __device__ Line row(int m) const {
        return line_of(pixel_at(m, g.out_height, g.out_width));
    }
    __device__ Line line_of(const Pixel &p) const {
        return {x + p.n * g.x_n, p.i * g.stride_h - g.top, p.j * g.stride_w - g.left};
    }
    __device__ T at(const Line &line, int k) const {
        const int c = k % g.inputs, tap = k / g.inputs;
        const int i = line.i + tap / g.kernel_w * g.dilation_h;
        const int j = line.j + tap % g.kernel_w * g.dilation_w;
        if (!inside(i, j, g.height, g.width)) return T(0);
        return line.image[i * g.x_h + j * g.x_w + c * g.x_c];
    }
};

// Weights with a row for each tap and input channel, a column for each output channel.
template <typename T>
struct Weights {
    Geometry g;
    const T *w; // the group's first output channel

    struct Line {
        const T *first;
    };
    __device__ Line column(int n) const { return {w + n * g.w_o}; }
    __device__ T at(const Line &line, int k) const {
        const int c = k % g.inputs, tap = k / g.inputs;
        return line.first[tap / g.kernel_w * g.w_h + tap % g.kernel_w * g.w_w + c * g.w_i];
    }
};

__device__ inline Sizes forward_sizes(const Geometry &g, int parts) {
    return {g.out_pixels(), g.outputs, g.taps() * g.inputs, g.groups, parts};
}

}  // namespace fastconv
