// Inverted dropout (backends/cupy/dropout.py). Launch with any grid and block of one dimension; y
// may be x.
#include "philox.cuh"
#include "threads.cuh"

// Not a product with the mask: a dropped NaN or infinity is 0.
template <typename T>
__global__ void dropout_forward(int size, unsigned threshold, double scale, unsigned long long seed,
                                unsigned stream, const long long *step, const T *x,
                                unsigned char *mask, T *y) {
    using namespace fastconv;
    for (int block = first_index(); block < (size + 3) / 4; block += index_step()) {
        const Words four = philox(block, stream, *step, seed);
        for (int i = 0; i < 4 && 4 * block + i < size; i++) {
            const int place = 4 * block + i;
            const bool kept = four.word[i] >> 8 >= threshold;
            mask[place] = kept;
            y[place] = kept ? x[place] * static_cast<T>(scale) : T(0);
        }
    }
}

template <typename T>
__global__ void dropout_backward(int size, double scale, const T *dy, const unsigned char *mask,
                                 T *dx) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        dx[i] = mask[i] ? dy[i] * static_cast<T>(scale) : T(0);
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
