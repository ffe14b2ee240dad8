/* Kernels of bf16 for AMX: eight registers of 16 rows of 64 bytes, on processors with AVX512-BF16. */
#include "kernels.h"
#include "language.h"
#ifdef COMPILES_BF16
#if defined(__clang__)
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,"                                 \
                          "amx-tile,amx-bf16,avx2,fma"))),                                                  \
    apply_to = function)
#else
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16,avx2,fma,prefer-vector-width=512")
#endif
#include "avx512_vectors.h"
#define HAS_BF16_INSTRUCTIONS 1
#define BF16_BY_AMX 1

#define TYPE float32
#define REAL float
#include "elements.h"
#include "vectors.h"
#include "bf16_kernels.h"
#include "no_vectors.h"

static const struct kernel_entry kernels[] = {BF16_KERNELS, {NULL, NULL, NULL}};

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The system saves the tiles of a process that has asked for them. It refuses where a signal stack
 * has no room for them. */
static int may_use_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

extern const struct instruction_set fastconv_avx512_bf16;

static int works(void) {
    enum { LEAF = 7, AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };
    unsigned a, b, c, d;
    if (!fastconv_avx512_bf16.works()) return 0;
    if (!__get_cpuid_count(LEAF, 0, &a, &b, &c, &d)) return 0;
    return (d & AMX_BF16) && (d & AMX_TILE) && may_use_tiles();
}

const struct instruction_set fastconv_amx = {"amx", 64, 32, 1, kernels, works};
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_for_this_machine;
#endif
