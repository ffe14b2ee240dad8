// Pooling of NHWC images (backends/cupy/pool.py): pooling.cuh has what the threads do. Launch with any
// grid and block of one dimension.
#include "pooling.cuh"

template <typename T>
__global__ void max_pool2d_forward(WINDOWS, const T *__restrict__ x, T *__restrict__ y,
                                   int *__restrict__ where) {
    fastconv::max_pool2d_forward(WINDOWS_VALUES, x, y, where);
}

template <typename T>
__global__ void max_pool2d_backward(WINDOWS, int kind, double alpha, const T *__restrict__ dy,
                                    const int *__restrict__ where, const T *kept, T *dx) {
    fastconv::max_pool2d_backward(WINDOWS_VALUES, kind, alpha, dy, where, kept, dx);
}

template <typename T>
__global__ void avg_pool2d_forward(WINDOWS, int bottom, int right, int padding_counts,
                                   const T *__restrict__ x, T *__restrict__ y) {
    fastconv::avg_pool2d_forward(WINDOWS_VALUES, bottom, right, padding_counts, x, y);
}

template <typename T>
__global__ void avg_pool2d_backward(WINDOWS, int bottom, int right, int padding_counts, int kind,
                                    double alpha, const T *__restrict__ dy, const T *kept,
                                    T *dx) {
    fastconv::avg_pool2d_backward(WINDOWS_VALUES, bottom, right, padding_counts, kind, alpha, dy,
                                  kept, dx);
}

template <typename T>
__global__ void global_avg_pool2d_forward(int batch, int pixels, int channels,
                                          const T *__restrict__ x, T *__restrict__ y) {
    fastconv::global_avg_pool2d_forward(batch, pixels, channels, x, y);
}

template <typename T>
__global__ void global_avg_pool2d_backward(int batch, int pixels, int channels,
                                           const T *__restrict__ dy, T *__restrict__ dx) {
    fastconv::global_avg_pool2d_backward(batch, pixels, channels, dy, dx);
}
