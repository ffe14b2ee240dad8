// Convolutions and their gradients as products (backends/cupy/conv.py and nchw.py): no im2col
// matrix is in memory, its elements are looked up as they are needed (windows.cuh, outputs.cuh).
//
// Images and weights come with their strides, so that the same kernels take NHWC with HWIO and NCHW
// with OIHW. The kernels named _parts finish those of the same name where the sums were made in
// parts. An activation behind the forward pass, or in front of the data gradient with what
// it keeps in `kept`, is theirs too.
#include "activation.cuh"
#include "forward_product.cuh"
#include "outputs.cuh"

namespace {

using fastconv::Activation;
using fastconv::forward_sizes;
using fastconv::Geometry;
using fastconv::Pixel;
using fastconv::pixel_at;
using fastconv::Precision;
using fastconv::Sizes;
using fastconv::Slope;

// Where a row of results goes: the offset of its first channel, and the number of that.
struct Row {
    int offset, channel;
};

template <typename T>
struct ToOutputs {
    Geometry g;
    T *y;
    const T *b; // may be null
    Activation<T> activation;
    __device__ Row row(int group, int m) const {
        const Pixel p = pixel_at(m, g.out_height, g.out_width);
        const int o = group * g.outputs;
        return {p.n * g.y_n + p.i * g.y_h + p.j * g.y_w + o * g.y_c, o};
    }
    __device__ T argument(const Row &row, int n, T sum, bool exists) const {
        return b && exists ? sum + b[row.channel + n] : sum;
    }
    __device__ T result(const Row &, int, T, T activated) const { return activated; }
    __device__ void put(const Row &row, int n, T result) const {
        y[row.offset + n * g.y_c] = result;
    }
};

template <typename T>
struct ToInputs {
    Geometry g;
    T *x;
    const T *b; // may be null; only a transposed convolution has one, and no activation
    const T *kept; // by the activation, if there is one
    Slope<T> activation;
    __device__ Row row(int group, int m) const {
        const Pixel p = pixel_at(m, g.height, g.width);
        const int c = group * g.inputs;
        return {p.n * g.x_n + p.i * g.x_h + p.j * g.x_w + c * g.x_c, c};
    }
    __device__ T argument(const Row &row, int n, T, bool exists) const {
        return exists && activation.kind >= 0 ? kept[row.offset + n * g.x_c] : T(0);
    }
    __device__ T result(const Row &, int, T sum, T slope) const { return sum * slope; }
    __device__ void put(const Row &row, int n, T result) const {
        x[row.offset + n * g.x_c] = b ? result + b[row.channel + n] : result;
    }
};

template <typename T>
struct ToWeights {
    Geometry g;
    T *w, *b; // b may be null
    Activation<T> activation = {-1, 0};
    __device__ Row row(int group, int m) const {
        const int c = m % g.inputs, tap = m / g.inputs, o = group * g.outputs;
        // Behind the last tap: the bias.
        if (tap >= g.taps()) return {-1, o};
        return {tap / g.kernel_w * g.w_h + tap % g.kernel_w * g.w_w + c * g.w_i + o * g.w_o, o};
    }
    __device__ T argument(const Row &, int, T sum, bool) const { return sum; }
    __device__ T result(const Row &, int, T sum, T) const { return sum; }
    __device__ void put(const Row &row, int n, T sum) const {
        if (row.offset < 0) b[row.channel + n] = sum;
        else w[row.offset + n * g.w_o] = sum;
    }
};

__device__ inline Sizes data_sizes(const Geometry &g, int parts) {
    return {g.pixels(), g.inputs, g.taps() * g.outputs, g.groups, parts};
}
__device__ inline Sizes weight_sizes(const Geometry &g, int parts, bool bias) {
    return {g.taps() * g.inputs + (bias ? 1 : 0), g.outputs, g.out_pixels(), g.groups, parts};
}

}  // namespace

// y = x * w + b; b may be null.
template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    conv2d_forward(GEOMETRY, int parts, int kind, double alpha, const T *__restrict__ x,
                   const T *__restrict__ w, const T *b, T *y, T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const fastconv::Patches<T> patches = {g, x + group * inputs * x_c};
    const auto weights = fastconv::weights(g, w + group * outputs * w_o);
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, true, false>(
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
template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    conv2d_backward_data(GEOMETRY, int parts, int kind, double alpha, const T *__restrict__ dy,
                         const T *__restrict__ w, const T *b, const T *kept, T *dx,
                         T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const fastconv::Outputs<T> gradients = {g, dy + group * outputs * y_c};
    const auto weights = fastconv::transposed_weights(g, w + group * outputs * w_o);
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, true, true>(
        data_sizes(g, parts), gradients, weights,
        ToInputs<T>{g, dx, b, kept, {kind, T(alpha)}}, partial, counters);
}

template <typename T>
__global__ void conv2d_backward_data_parts(GEOMETRY, int parts, int kind, double alpha,
                                           const T *partial, const T *b, const T *kept,
                                           T *dx) {
    const Geometry g = GEOMETRY_VALUES;
    fastconv::sum_parts(data_sizes(g, parts), partial,
                        ToInputs<T>{g, dx, b, kept, {kind, T(alpha)}});
}

// The gradients of w and of b; db may be null.
template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    conv2d_backward_weight(GEOMETRY, int parts, const T *__restrict__ dy, const T *__restrict__ x,
                           T *dw, T *db, T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const fastconv::TransposedPatches<T> patches = {g, x + group * inputs * x_c};
    const auto gradients = fastconv::output_columns(g, dy + group * outputs * y_c);
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, false, false>(weight_sizes(g, parts, db), patches,
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
