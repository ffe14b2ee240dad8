/* Kernels of bf16 for AVX512-BF16: a fused multiply-add of pairs in each lane. */
#include "kernels.h"
#include "language.h"
#ifdef COMPILES_BF16
#if defined(__clang__)
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,"                                 \
                          "avx2,fma"))),                                                  \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,prefer-vector-width=512")
#endif
#include "avx512_vectors.h"
#define HAS_BF16_INSTRUCTIONS 1
#define BF16_BY_DOT 1

#define TYPE float32
#define REAL float
#include "elements.h"
#include "vectors.h"
#include "bf16_kernels.h"
#include "no_vectors.h"

static const struct kernel_entry kernels[] = {BF16_KERNELS, {NULL, NULL, NULL}};

extern const struct instruction_set fastconv_avx512;

static int works(void) {
    return fastconv_avx512.works() && __builtin_cpu_supports("avx512bf16");
}

const struct instruction_set fastconv_avx512_bf16 = {"avx512_bf16", 64, 32, 1, kernels, works};
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_for_this_machine;
#endif
