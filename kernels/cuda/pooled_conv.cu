// A convolution, an activation and the largest pixel of each window of 2 x 2 in one launch
// (backends/cupy/fused_kernels.py): the rows of its product lie window by window, so the pixels of
// one are results of neighbouring threads. Windows cover the image.
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
    __device__ typename fastconv::Patches<T>::Line row(int m) const {
        return this->line_of(pixel_in_windows(m, this->g));
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

    __device__ T operator()(int group, int m, int n, T sum) const {
        const int o = group * g.outputs + n;
        const T value = activation(b ? sum + b[o] : sum);
        if (y) {
            const Pixel p = pixel_in_windows(m, g);
            y[p.n * g.y_n + p.i * g.y_h + p.j * g.y_w + o * g.y_c] = value;
        }
        return value;
    }
    __device__ void window(int group, int w, int n, T value, int pixel) const {
        const Pixel p = pixel_in_windows(4 * w + pixel, g);
        const int place = w * g.groups * g.outputs + group * g.outputs + n;
        pooled[place] = value;
        where[place] = p.i * g.out_width + p.j;
    }
};

}  // namespace

// pooled = the largest of activation(x * w + b); where = ih * width + iw, the first of equals, a
// NaN being the largest. b and y may be null. Counters must not be null where there are parts.
template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    pooled_conv2d_forward(GEOMETRY, int parts, int kind, double alpha, const T *__restrict__ x,
                          const T *__restrict__ w, const T *b, T *y, T *pooled, int *where,
                          T *partial, int *counters) {
    const Geometry g = GEOMETRY_VALUES;
    const int group = blockIdx.y % groups;
    const PatchesInWindows<T> patches = {{g, x + group * inputs * x_c}};
    const fastconv::Weights<T> weights = {g, w + group * outputs * w_o};
    fastconv::multiply<PRECISION, SIDE, true, false, true>(
        fastconv::forward_sizes(g, parts), patches, weights,
        ToWindows<T>{g, b, y, pooled, where, {kind, T(alpha)}}, partial, counters);
}
