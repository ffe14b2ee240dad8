// Convolutions and their gradients as products (backends/cupy/conv.py and nchw.py): no im2col
// matrix is in memory, its elements are looked up as they are needed.
//
// Images and weights come with their strides, so that the same kernels take NHWC with HWIO and NCHW
// with OIHW. The kernels named _parts finish those of the same name where the sums were made in
// parts. An activation behind the forward pass, or in front of the data gradient with what
// it keeps in `kept`, is theirs too.
#include "activation.cuh"
#include "forward_product.cuh"

namespace {

using fastconv::Activation;
using fastconv::ActivationGradient;
using fastconv::forward_sizes;
using fastconv::Geometry;
using fastconv::inside;
using fastconv::Patches;
using fastconv::Pixel;
using fastconv::pixel_at;
using fastconv::Precision;
using fastconv::Sizes;
using fastconv::Weights;

// ---- views -------------------------------------------------------------------------------------

// The transpose of Patches, with one more row of ones for the bias.
template <typename T>
struct TransposedPatches {
    Geometry g;
    const T *x;

    struct Line {
        const T *channel; // null for the ones
        int i, j;         // of the tap
    };
    __device__ Line row(int m) const {
        const int c = m % g.inputs, tap = m / g.inputs;
        if (tap >= g.taps()) return {nullptr, 0, 0};
        return {x + c * g.x_c, tap / g.kernel_w * g.dilation_h - g.top,
                tap % g.kernel_w * g.dilation_w - g.left};
    }
    __device__ T at(const Line &line, int k) const {
        if (!line.channel) return T(1);
        const Pixel p = pixel_at(k, g.out_height, g.out_width);
        const int i = p.i * g.stride_h + line.i, j = p.j * g.stride_w + line.j;
        if (!inside(i, j, g.height, g.width)) return T(0);
        return line.channel[p.n * g.x_n + i * g.x_h + j * g.x_w];
    }
};

// What Patches are to the forward pass, for the data gradient: a row for each input pixel, a column
// for each tap and output channel; 0 where the tap of no window lies on the pixel.
template <typename T>
struct Outputs {
    Geometry g;
    const T *y; // the group's first channel

    struct Line {
        const T *image;
        int i, j;
    };
    __device__ Line row(int m) const {
        const Pixel p = pixel_at(m, g.height, g.width);
        return {y + p.n * g.y_n, p.i + g.top, p.j + g.left};
    }
    __device__ T at(const Line &line, int k) const {
        const int o = k % g.outputs, tap = k / g.outputs;
        const int i = line.i - tap / g.kernel_w * g.dilation_h;
        const int j = line.j - tap % g.kernel_w * g.dilation_w;
        if (i < 0 || j < 0 || i % g.stride_h || j % g.stride_w) return T(0);
        const int oh = i / g.stride_h, ow = j / g.stride_w;
        if (oh >= g.out_height || ow >= g.out_width) return T(0);
        return line.image[oh * g.y_h + ow * g.y_w + o * g.y_c];
    }
};

// Weights with a row for each tap and output channel, a column for each input channel.
template <typename T>
struct TransposedWeights {
    Geometry g;
    const T *w;

    struct Line {
        const T *first;
    };
    __device__ Line column(int n) const { return {w + n * g.w_i}; }
    __device__ T at(const Line &line, int k) const {
        const int o = k % g.outputs, tap = k / g.outputs;
        return line.first[tap / g.kernel_w * g.w_h + tap % g.kernel_w * g.w_w + o * g.w_o];
    }
};

// Output pixels in rows, output channels in columns.
template <typename T>
struct OutputColumns {
    Geometry g;
    const T *y;

    struct Line {
        const T *first;
    };
    __device__ Line column(int n) const { return {y + n * g.y_c}; }
    __device__ T at(const Line &line, int k) const {
        const Pixel p = pixel_at(k, g.out_height, g.out_width);
        return line.first[p.n * g.y_n + p.i * g.y_h + p.j * g.y_w];
    }
};

// ---- where results go --------------------------------------------------------------------------

template <typename T>
struct ToOutputs {
    Geometry g;
    T *y;
    const T *b; // may be null
    Activation<T> activation;
    __device__ void operator()(int group, int m, int n, T sum) const {
        const Pixel p = pixel_at(m, g.out_height, g.out_width);
        const int o = group * g.outputs + n;
        y[p.n * g.y_n + p.i * g.y_h + p.j * g.y_w + o * g.y_c] = activation(b ? sum + b[o] : sum);
    }
};

template <typename T>
struct ToInputs {
    Geometry g;
    T *x;
    const T *b; // may be null; only a transposed convolution has one
    ActivationGradient<T> activation;
    __device__ void operator()(int group, int m, int n, T sum) const {
        const Pixel p = pixel_at(m, g.height, g.width);
        const int c = group * g.inputs + n;
        const int place = p.n * g.x_n + p.i * g.x_h + p.j * g.x_w + c * g.x_c;
        x[place] = activation(b ? sum + b[c] : sum, place);
    }
};

template <typename T>
struct ToWeights {
    Geometry g;
    T *w, *b; // b may be null
    __device__ void operator()(int group, int m, int n, T sum) const {
        const int c = m % g.inputs, tap = m / g.inputs, o = group * g.outputs + n;
        if (tap >= g.taps()) b[o] = sum;
        else w[tap / g.kernel_w * g.w_h + tap % g.kernel_w * g.w_w + c * g.w_i + o * g.w_o] = sum;
    }
};

__device__ Sizes data_sizes(const Geometry &g, int parts) {
    return {g.pixels(), g.inputs, g.taps() * g.outputs, g.groups, parts};
}
__device__ Sizes weight_sizes(const Geometry &g, int parts, bool bias) {
    return {g.taps() * g.inputs + (bias ? 1 : 0), g.outputs, g.out_pixels(), g.groups, parts};
}

}  // namespace

// y = x * w + b; b may be null.
template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    conv2d_forward(GEOMETRY, int parts, int kind, double alpha, const T *__restrict__ x,
                   const T *__restrict__ w, const T *b, T *y, T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const Patches<T> patches = {g, x + group * inputs * x_c};
    const Weights<T> weights = {g, w + group * outputs * w_o};
    fastconv::multiply<PRECISION, SIDE, true, false>(
        forward_sizes(g, parts), patches, weights, ToOutputs<T>{g, y, b, {kind, T(alpha)}}, partial,
        counters);
}

template <typename T>
__global__ void conv2d_forward_parts(GEOMETRY, int parts, int kind, double alpha, const T *partial,
                                     const T *b, T *y) {
    const Geometry g = GEOMETRY_VALUES;
    fastconv::sum_parts(forward_sizes(g, parts), partial,
                        ToOutputs<T>{g, y, b, {kind, T(alpha)}});
}

// The gradient of x, plus b, which may be null: the forward pass of a transposed convolution.
template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    conv2d_backward_data(GEOMETRY, int parts, int kind, double alpha, const T *__restrict__ dy,
                         const T *__restrict__ w, const T *b, const T *kept, T *dx,
                         T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const Outputs<T> gradients = {g, dy + group * outputs * y_c};
    const TransposedWeights<T> weights = {g, w + group * outputs * w_o};
    fastconv::multiply<PRECISION, SIDE, true, true>(
        data_sizes(g, parts), gradients, weights,
        ToInputs<T>{g, dx, b, {kind, T(alpha), kept}}, partial, counters);
}

template <typename T>
__global__ void conv2d_backward_data_parts(GEOMETRY, int parts, int kind, double alpha,
                                           const T *partial, const T *b, const T *kept,
                                           T *dx) {
    const Geometry g = GEOMETRY_VALUES;
    fastconv::sum_parts(data_sizes(g, parts), partial,
                        ToInputs<T>{g, dx, b, {kind, T(alpha), kept}});
}

// The gradients of w and of b; db may be null.
template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    conv2d_backward_weight(GEOMETRY, int parts, const T *__restrict__ dy, const T *__restrict__ x,
                           T *dw, T *db, T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const TransposedPatches<T> patches = {g, x + group * inputs * x_c};
    const OutputColumns<T> gradients = {g, dy + group * outputs * y_c};
    fastconv::multiply<PRECISION, SIDE, false, false>(weight_sizes(g, parts, db), patches,
                                                      gradients, ToWeights<T>{g, dw, db}, partial,
                                                      counters);
}

template <typename T>
__global__ void conv2d_backward_weight_parts(GEOMETRY, int parts, const T *partial, T *dw, T *db) {
    const Geometry g = GEOMETRY_VALUES;
    fastconv::sum_parts(weight_sizes(g, parts, db), partial, ToWeights<T>{g, dw, db});
}

// db[c] = the sum of x over all pixels: the gradient of the bias of a transposed convolution.
// Launch with a block of THREADS threads for each channel.
template <typename T>
__global__ void __launch_bounds__(fastconv::THREADS) sum_pixels(GEOMETRY, const T *x, T *db) {
    __shared__ double room[fastconv::THREADS];
    const int count = batch * height * width, channel = blockIdx.x;
    const Geometry g = GEOMETRY_VALUES;
    fastconv::LongSum<T> sum;
    for (int k = threadIdx.x; k < count; k += fastconv::THREADS) {
        const Pixel p = pixel_at(k, g.height, g.width);
        sum += x[p.n * g.x_n + p.i * g.x_h + p.j * g.x_w + channel * g.x_c];
    }
    const double total = fastconv::sum_of_block<fastconv::THREADS>(sum.value(), room);
    if (threadIdx.x == 0) db[channel] = static_cast<T>(total);
}
