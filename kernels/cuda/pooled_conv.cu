// A convolution, an activation and the largest pixel of each window of 2 x 2 in one launch
// (backends/cupy/fused_kernels.py): the rows of its product lie window by window, so the pixels of
// one are results of one thread. Windows cover the image.
#include "activation.cuh"
#include "forward_product.cuh"

namespace {

using fastconv::Activation;
using fastconv::Geometry;
using fastconv::Pixel;
using fastconv::Precision;

// The pixel of row m.
__device__ Pixel pixel_in_windows(int m, const Geometry &g) {
    const Pixel window = fastconv::pixel_at(m / 4, g.out_height / 2, g.out_width / 2);
    return {window.n, 2 * window.i + m % 4 / 2, 2 * window.j + m % 2};
}

template <typename T>
struct PatchesInWindows : fastconv::Patches<T> {
    __device__ typename fastconv::Patches<T>::Line line(int m, bool exists) const {
        const Pixel p = pixel_in_windows(m, this->g);
        fastconv::Digits pixel = {p.n, p.i, p.j, 0};
        pixel.offset = fastconv::windows_of(this->g).offset_of(pixel);
        return this->window(pixel, exists);
    }
};

template <typename T>
struct ToWindows {
    Geometry g;
    const T *b; // may be null
    T *y;       // what was activated; may be null
    T *pooled;
    int *where;
    Activation<T> activation;

    // Where a row of results goes, and the window that begins with it.
    struct Row {
        int offset, channel, window, corner;
    };
    __device__ Row row(int group, int m) const {
        const Pixel p = pixel_in_windows(m, g);
        const int o = group * g.outputs;
        return {p.n * g.y_n + p.i * g.y_h + p.j * g.y_w + o * g.y_c, o,
                m / 4 * g.groups * g.outputs + o, p.i * g.out_width + p.j};
    }
    __device__ T argument(const Row &row, int n, T sum, bool exists) const {
        return b && exists ? sum + b[row.channel + n] : sum;
    }
    __device__ T result(const Row &, int, T, T activated) const { return activated; }
    __device__ void put(const Row &row, int n, T result) const {
        if (y) y[row.offset + n * g.y_c] = result;
    }
    __device__ void window(const Row &first, int n, T value, int pixel) const {
        pooled[first.window + n] = value;
        where[first.window + n] = first.corner + pixel / 2 * g.out_width + pixel % 2;
    }
};

}  // namespace

// pooled = the largest of activation(x * w + b); where = ih * width + iw, the first of equals, a
// NaN being the largest. b and y may be null. Counters must not be null where there are parts.
template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    pooled_conv2d_forward(GEOMETRY, int parts, int kind, double alpha, const T *__restrict__ x,
                          const T *__restrict__ w, const T *b, T *y, T *pooled, int *where,
                          T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const PatchesInWindows<T> patches = {{g, x + group * inputs * x_c}};
    const auto weights = fastconv::weights(g, w + group * outputs * w_o);
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, true, false, true>(
        fastconv::forward_sizes(g, parts), patches, weights,
        ToWindows<T>{g, b, y, pooled, where, {kind, T(alpha)}}, partial, counters);
}
