// Inverted dropout (backends/cupy/dropout.py). Launch with any grid and block of one dimension; y
// may be x.
#include "dropout.cuh"

template <typename T>
__global__ void dropout_forward(int size, unsigned threshold, double scale, unsigned long long seed,
                                unsigned stream, const long long *step, const T *x,
                                unsigned char *mask, T *y) {
    fastconv::dropout_forward(size, threshold, scale, seed, stream, step, x, mask, y);
}

template <typename T>
__global__ void dropout_backward(int size, double scale, const T *dy, const unsigned char *mask,
                                 T *dx) {
    fastconv::dropout_backward(size, scale, dy, mask, dx);
}

// Every pixel of a channel of a sample has the channel's mask.
template <typename T>
__global__ void drop_channels(int batch, int pixels, int channels, double scale, const T *x,
                              const unsigned char *mask, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < batch * pixels * channels; i += index_step()) {
        const int drawn = i / channels / pixels * channels + i % channels;
        y[i] = mask[drawn] ? x[i] * static_cast<T>(scale) : T(0);
    }
}
