// Convolutions of many small groups (backends/cupy/strided_conv.py), depthwise ones above all: a
// product would fill a few columns of its tiles. One thread for each pixel and channel of the
// result, one block for each weight. Strides and activations as in conv.cu.
#include "activation.cuh"
#include "geometry.cuh"
#include "threads.cuh"

namespace {
constexpr int THREADS = 256;

using fastconv::first_index;
using fastconv::Geometry;
using fastconv::index_step;
using fastconv::inside;
using fastconv::Pixel;
using fastconv::pixel_at;
}  // namespace

// y = x * w + b; b may be null. Launch with any grid and block of one dimension.
template <typename T>
__global__ void direct_forward(GEOMETRY, int kind, double alpha, const T *__restrict__ x,
                               const T *__restrict__ w, const T *b, T *y) {
    const Geometry g = GEOMETRY_VALUES;
    const fastconv::Activation<T> activation = {kind, T(alpha)};
    const int channels = groups * outputs;
    for (int index = first_index(); index < g.out_pixels() * channels; index += index_step()) {
        const int o = index % channels, first_channel = o / outputs * inputs;
        const Pixel p = pixel_at(index / channels, out_height, out_width);
        T sum = b ? b[o] : T(0);
        for (int kh = 0; kh < kernel_h; kh++)
            for (int kw = 0; kw < kernel_w; kw++) {
                const int i = p.i * stride_h - top + kh * dilation_h;
                const int j = p.j * stride_w - left + kw * dilation_w;
                if (!inside(i, j, height, width)) continue;
                const T *const pixel = x + p.n * x_n + i * x_h + j * x_w + first_channel * x_c;
                const T *const tap = w + kh * w_h + kw * w_w + o * w_o;
                for (int c = 0; c < inputs; c++) sum += pixel[c * x_c] * tap[c * w_i];
            }
        y[p.n * y_n + p.i * y_h + p.j * y_w + o * y_c] = activation(sum);
    }
}

// The gradient of x, plus b, which may be null. Launch with any grid and block of one dimension.
template <typename T>
__global__ void direct_backward_data(GEOMETRY, int kind, double alpha, const T *__restrict__ dy,
                                     const T *__restrict__ w, const T *b, const T *kept,
                                     T *dx) {
    const Geometry g = GEOMETRY_VALUES;
    const fastconv::ActivationGradient<T> activation = {kind, T(alpha), kept};
    const int channels = groups * inputs;
    for (int index = first_index(); index < g.pixels() * channels; index += index_step()) {
        const int channel = index % channels, group = channel / inputs, c = channel % inputs;
        const Pixel p = pixel_at(index / channels, height, width);
        T sum = b ? b[channel] : T(0);
        for (int kh = 0; kh < kernel_h; kh++) {
            const int i = p.i + top - kh * dilation_h;
            if (i < 0 || i % stride_h || i / stride_h >= out_height) continue;
            for (int kw = 0; kw < kernel_w; kw++) {
                const int j = p.j + left - kw * dilation_w;
                if (j < 0 || j % stride_w || j / stride_w >= out_width) continue;
                const T *const pixel = dy + p.n * y_n + i / stride_h * y_h + j / stride_w * y_w;
                const T *const tap = w + kh * w_h + kw * w_w + c * w_i;
                for (int o = group * outputs; o < (group + 1) * outputs; o++)
                    sum += pixel[o * y_c] * tap[o * w_o];
            }
        }
        const int place = p.n * x_n + p.i * x_h + p.j * x_w + channel * x_c;
        dx[place] = activation(sum, place);
    }
}

// The gradients of w and of b; db may be null. Launch with a block of THREADS threads for each
// weight, and for each bias behind them.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    direct_backward_weight(GEOMETRY, const T *__restrict__ dy, const T *__restrict__ x, T *dw,
                           T *db) {
    __shared__ double room[THREADS];
    const Geometry g = GEOMETRY_VALUES;
    const int channels = groups * outputs;
    const int o = blockIdx.x % channels, row = blockIdx.x / channels;
    const int c = row % inputs, tap = row / inputs;
    const int kh = tap / kernel_w, kw = tap % kernel_w;
    const bool is_bias = tap >= g.taps();
    const T *const channel = x + (o / outputs * inputs + c) * x_c;
    fastconv::LongSum<T> sum;
    for (int k = threadIdx.x; k < g.out_pixels(); k += THREADS) {
        const Pixel p = pixel_at(k, out_height, out_width);
        const T gradient = dy[p.n * y_n + p.i * y_h + p.j * y_w + o * y_c];
        const int i = p.i * stride_h - top + kh * dilation_h;
        const int j = p.j * stride_w - left + kw * dilation_w;
        if (is_bias) sum += gradient;
        else if (inside(i, j, height, width))
            sum += gradient * channel[p.n * x_n + i * x_h + j * x_w];
    }
    const T total = static_cast<T>(fastconv::sum_of_block<THREADS>(sum.value(), room));
    if (threadIdx.x != 0) return;
    if (is_bias) db[o] = total;
    else dw[kh * w_h + kw * w_w + c * w_i + o * w_o] = total;
}
