// How numbers come from global memory: by loads, and by copies to shared memory that go on while a
// thread computes (cp.async, of a device of compute capability 8.0 or more; earlier ones copy at once).
//
// A thread groups its copies and waits for groups, the earliest first; others see what it copied
// behind the next barrier. Source: NVIDIA, "Parallel Thread Execution ISA" (section "cp.async").
#pragma once

#include "tiles.cuh"

#ifdef __CUDACC__ // what compiles kernels for the host has functions of its own for these

namespace fastconv {

// Copy WIDTH neighbouring numbers, or as many zeros. Both addresses are multiples of the size; `from`
// is not read where nothing is to be copied.
template <int WIDTH, typename T>
__device__ inline void copy_async(T *to, const T *from, bool exists) {
    constexpr int BYTES = WIDTH * sizeof(T);
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "what cp.async copies");
#if __CUDA_ARCH__ >= 800
    const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(to));
    const int size = exists ? BYTES : 0;
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from),
                     "r"(size)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from),
                     "n"(BYTES), "r"(size)
                     : "memory");
#else
#pragma unroll
    for (int e = 0; e < WIDTH; e++) to[e] = exists ? from[e] : T(0);
#endif
}

// WIDTH neighbouring numbers of global memory, or as many zeros, at once.
template <int WIDTH, typename T>
__device__ inline Pack<T, WIDTH> read_global(const T *from, bool exists) {
    Pack<T, WIDTH> numbers = {};
    __builtin_assume(__isGlobal(from));
    if (exists) numbers = read_pack<WIDTH>(from);
    return numbers;
}

// Close the group of the copies since the last call.
__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until all groups but the GROUPS latest are there.
template <int GROUPS>
__device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

}  // namespace fastconv

#endif
