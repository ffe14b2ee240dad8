/* Every kernel for AVX-512: 32 registers of 64 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#include "avx512_vectors.h"
#include "kernels_of_one_set.h"

static int works(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const struct instruction_set fastconv_avx512 = {"avx512", 64, 32, 1, kernels, works};
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_for_this_machine;
#endif
