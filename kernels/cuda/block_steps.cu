// Whole steps of many networks in one launch (backends/cupy/block_plan.py): each block makes the
// steps of one network, instruction after instruction, with a barrier behind each and without leaving
// the kernel. What fits of a network's arrays lies in shared memory meanwhile.
#include "block_products.cuh"
#include "dropout.cuh"
#include "fused_loss.cuh"
#include "gather.cuh"
#include "pooling.cuh"
#include "update_rules.cuh"

// Shared memory whose size a launch chooses.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace {

constexpr int THREADS = 512;

// In the order of fastconv.backends.cupy.block_plan.Operation.
enum Operation {
    GATHER_BYTES, GATHER_NUMBERS, GATHER_LABELS, SCALE, STANDARDIZE, MIN_MAX,
    FORWARD, BACKWARD_DATA, BACKWARD_WEIGHT, ACTIVATE, ACTIVATION_GRADIENT,
    MAX_POOL, MAX_POOL_GRADIENT, AVG_POOL, AVG_POOL_GRADIENT, GLOBAL_AVG_POOL,
    GLOBAL_AVG_POOL_GRADIENT, DROPOUT, DROPOUT_GRADIENT, LOSS, SGD, MOMENTUM, ADAM
};

// As block_plan.INSTRUCTION lays it out. A place is an address in global memory, 0 for null, or an odd
// number: twice the bytes into shared memory, and 1.
struct Instruction {
    int operation, numbers[19];
    double reals[8];
    unsigned long long places[8];
};

// As block_plan.COPY lays it out: what lies in shared memory while steps are made, and where else.
struct Copy {
    unsigned long long place, address;
    int words, stores;
};

// As block_plan.PIECE lays it out: the steps that a block makes.
struct Piece {
    const Instruction *instructions;
    const Copy *copies;
    const long long *order;
    const double *rates;
    unsigned long long indices, rate, step;
    long long first_step;
    int instruction_count, copy_count, samples, rate_numbers, steps, unused;
};

// Where a place is.
class Memory {
public:
    __device__ explicit Memory(unsigned char *shared) : shared(shared) {}
    template <typename T>
    __device__ T *at(unsigned long long place) const {
        return reinterpret_cast<T *>(place & 1 ? shared + (place >> 1)
                                               : reinterpret_cast<unsigned char *>(place));
    }

private:
    unsigned char *const shared;
};

// Image after image, each by all threads; y may be x. A NaN spoils all of an image.
template <typename T>
__device__ void min_max_images(int batch, int size, const T *x, T *y) {
    using namespace fastconv;
    constexpr int WARPS = THREADS / WARP;
    __shared__ T of_warps[2][WARPS];
    for (int n = 0; n < batch; n++) {
        const T *const image = x + n * size;
        T minus_low = -image[0], high = image[0];
        for (int i = threadIdx.x; i < size; i += THREADS) {
            minus_low = larger(minus_low, -image[i]);
            high = larger(high, image[i]);
        }
        of_warps[0][threadIdx.x / WARP] = largest_of_warp(minus_low);
        of_warps[1][threadIdx.x / WARP] = largest_of_warp(high);
        __syncthreads(); // all have read the first pixel too
        for (int warp = 0; warp < WARPS; warp++) {
            minus_low = larger(minus_low, of_warps[0][warp]);
            high = larger(high, of_warps[1][warp]);
        }
        for (int i = threadIdx.x; i < size; i += THREADS)
            y[n * size + i] =
                -minus_low == high ? T(0) : (image[i] + minus_low) / (high + minus_low);
        __syncthreads(); // the next image takes the same shared memory
    }
}

__device__ fastconv::Convolution convolution_of(const int *n) {
    return {n[0], n[1], n[2],  n[3],  n[4],  n[5],  n[6],  n[7],
            n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15]};
}

#define POOLED n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]
#define RULE n[0], n[1], n[2], r[0], r[1], r[2], r[3]

// All threads of the block make an instruction together. What they have in registers of arrays that
// others write is read again behind the barrier.
template <typename T>
__device__ void make(const Instruction &instruction, const Memory &memory) {
    using namespace fastconv;
    __shared__ double scales[2]; // of Adam
    const int *const n = instruction.numbers;
    const double *const r = instruction.reals;
    const auto of = [&](int number) { return memory.at<T>(instruction.places[number]); };
    const auto longs = [&](int number) {
        return memory.at<const long long>(instruction.places[number]);
    };
    const auto doubles = [&](int number) { return memory.at<double>(instruction.places[number]); };
    const auto words = [&](int number) { return memory.at<int>(instruction.places[number]); };
    const auto bytes = [&](int number) {
        return memory.at<unsigned char>(instruction.places[number]);
    };
    switch (instruction.operation) {
    case GATHER_BYTES: gather(n[0], n[1], bytes(0), longs(1), of(2)); break;
    case GATHER_NUMBERS: gather(n[0], n[1], of(0), longs(1), of(2)); break;
    case GATHER_LABELS:
        gather(n[0], n[1], longs(0), longs(1), const_cast<long long *>(longs(2)));
        break;
    case SCALE:
        for (int i = threadIdx.x; i < n[0]; i += THREADS)
            of(2)[i] = of(0)[i] * static_cast<T>(*doubles(1));
        break;
    case STANDARDIZE:
        for (int i = threadIdx.x; i < n[0]; i += THREADS)
            of(3)[i] = (of(0)[i] - of(1)[i % n[1]]) / of(2)[i % n[1]];
        break;
    case MIN_MAX: min_max_images(n[0], n[1], of(0), of(1)); break;
    case FORWARD:
        block_forward<THREADS, T>(convolution_of(n), n[16], {n[17], static_cast<T>(r[0])}, of(0),
                                  of(1), of(2), of(3));
        break;
    case BACKWARD_DATA:
        block_backward_data<THREADS, T>(convolution_of(n), n[16],
                                        {n[17], static_cast<T>(r[0])}, of(0), of(1), of(2), of(3));
        break;
    case BACKWARD_WEIGHT:
        block_backward_weight<THREADS, T>(convolution_of(n), n[16], of(0), of(1), of(2), of(3));
        break;
    case ACTIVATE:
        for (int i = threadIdx.x; i < n[0]; i += THREADS)
            of(1)[i] = activated(n[1], static_cast<T>(r[0]), of(0)[i]);
        break;
    case ACTIVATION_GRADIENT:
        for (int i = threadIdx.x; i < n[0]; i += THREADS)
            of(2)[i] = of(0)[i] * slope_of(n[1], static_cast<T>(r[0]), of(1)[i]);
        break;
    case MAX_POOL: max_pool2d_forward(POOLED, of(0), of(1), words(2)); break;
    case MAX_POOL_GRADIENT:
        max_pool2d_backward(POOLED, -1, 0.0, of(0), words(1), static_cast<const T *>(nullptr),
                            of(2));
        break;
    case AVG_POOL: avg_pool2d_forward(POOLED, n[12], n[13], n[14], of(0), of(1)); break;
    case AVG_POOL_GRADIENT:
        avg_pool2d_backward(POOLED, n[12], n[13], n[14], -1, 0.0, of(0),
                            static_cast<const T *>(nullptr), of(1));
        break;
    case GLOBAL_AVG_POOL: global_avg_pool2d_forward(n[0], n[1], n[2], of(0), of(1)); break;
    case GLOBAL_AVG_POOL_GRADIENT:
        global_avg_pool2d_backward(n[0], n[1], n[2], of(0), of(1));
        break;
    case DROPOUT:
        dropout_forward(n[0], static_cast<unsigned>(n[1]), r[0], instruction.places[4],
                        static_cast<unsigned>(n[2]), longs(1), of(0), bytes(2), of(3));
        break;
    case DROPOUT_GRADIENT: dropout_backward(n[0], r[0], of(0), bytes(1), of(2)); break;
    case LOSS:
        softmax_cross_entropy<THREADS>(n[0], n[1], of(0), longs(1), of(2), of(3), of(4),
                                       doubles(5), nullptr, nullptr);
        break;
    case SGD: sgd_update(RULE, of(0), of(1), doubles(2)); break;
    case MOMENTUM:
        momentum_update(RULE, r[4], r[5], n[3], n[4], of(0), of(1), of(2), doubles(3));
        break;
    case ADAM:
        if (threadIdx.x == 0) adam_scales(r[4], r[5], n[3], doubles(4), longs(5), scales);
        __syncthreads();
        adam_update(RULE, r[4], r[5], r[6], n[3], of(0), of(1), of(2), of(3), doubles(4), scales);
        break;
    }
}

__device__ void copy_words(const int *from, int *to, int words) {
    for (int i = threadIdx.x; i < words; i += THREADS) to[i] = from[i];
}

}  // namespace

// Launch with blocks of THREADS threads in the second dimension of the grid, one for each of `pieces`,
// which lie one after the other. To the functions that take a grid of one dimension, a block is all
// of it.
template <typename T>
__global__ void __launch_bounds__(THREADS, 1) block_steps(const unsigned char *pieces) {
    DYNAMIC_SHARED(shared);
    const Memory memory(shared);
    const Piece piece = reinterpret_cast<const Piece *>(pieces)[blockIdx.y];
    for (int i = 0; i < piece.copy_count; i++) {
        const Copy &copy = piece.copies[i];
        copy_words(memory.at<int>(copy.address), memory.at<int>(copy.place), copy.words);
    }
    for (int step = 0; step < piece.steps; step++) {
        const long long *const order = piece.order + static_cast<long long>(step) * piece.samples;
        for (int i = threadIdx.x; i < piece.samples; i += THREADS)
            memory.at<long long>(piece.indices)[i] = order[i];
        if (threadIdx.x == 0) {
            for (int i = 0; i < piece.rate_numbers; i++)
                memory.at<double>(piece.rate)[i] = piece.rates[step * piece.rate_numbers + i];
            *memory.at<long long>(piece.step) = piece.first_step + step;
        }
        __syncthreads();
        for (int i = 0; i < piece.instruction_count; i++) {
            make<T>(piece.instructions[i], memory);
            __syncthreads();
        }
    }
    for (int i = 0; i < piece.copy_count; i++) {
        const Copy &copy = piece.copies[i];
        if (copy.stores)
            copy_words(memory.at<int>(copy.place), memory.at<int>(copy.address), copy.words);
    }
}
