// How threads share work, and how a block adds up: what all kernels have in common.
#pragma once

namespace fastconv {

// The first element of this thread, and how far apart its elements are, in a grid of one dimension.
__device__ inline int first_index() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int index_step() { return gridDim.x * blockDim.x; }

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// The sum of many numbers by one thread: 16 at a time in T, and those sums in double. In float alone,
// a sum of ones stands still at 2^24; in double alone, most cards are slow.
template <typename T>
class LongSum {
public:
    __device__ void operator+=(T value) {
        part += value;
        if (++count < 16) return;
        total += part;
        part = 0;
        count = 0;
    }
    __device__ double value() const { return total + part; }

private:
    double total = 0;
    T part = 0;
    int count = 0;
};

// The sum over a warp, in every lane. Lane i adds lane i ^ distance: always the same order.
template <typename T>
__device__ inline T sum_of_warp(T value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

// As in max pooling, a NaN is the largest.
template <typename T>
__device__ inline T larger(T a, T b) {
    return b > a || b != b ? b : a;
}

// Whether a later pixel takes the place of the largest one so far: the first of equals stays.
template <typename T>
__device__ inline bool wins(T later, T largest) {
    return later > largest || (later != later && largest == largest);
}

template <typename T>
__device__ inline T largest_of_warp(T value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value = larger(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

// The sum over a block of THREADS threads, a power of two, in every thread; `room` is shared
// memory of as many elements. Halves are added: the order depends on THREADS alone.
template <int THREADS, typename T>
__device__ inline T sum_of_block(T value, T *room) {
    const int thread = threadIdx.x;
    room[thread] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) room[thread] += room[thread + half];
        __syncthreads();
    }
    const T sum = room[0];
    __syncthreads();
    return sum;
}

}  // namespace fastconv
