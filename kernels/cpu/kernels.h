/* The tables of kernels, one for each instruction set that this binary holds. */
#ifndef FASTCONV_KERNELS_H
#define FASTCONV_KERNELS_H

#include "instruction.h"

struct instruction_set {
    const char *name;
    int vector_bytes;
    int registers;                      /* vector registers: what a tile of sums must fit in */
    int masks;                          /* whether a load of some lanes costs no more than one of all */
    const struct kernel_entry *kernels; /* ends with a NULL name */
    int (*works)(void);                 /* whether this processor has it */
};

/* Whether the compiler knows the instructions for bf16, and the system how to ask for tiles. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#if (defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11)
#define COMPILES_BF16 1
#endif
#endif

/* Best first, ends with NULL; the last one runs anywhere. */
extern const struct instruction_set *const fastconv_instruction_sets[];

/* Whether this processor does a vector of 64 bytes as two halves, one after the other. */
int fastconv_halves_wide_vectors(void);

/* Instructions for products of bf16 beside AVX-512, with the kernels that they are for; as above. */
extern const struct instruction_set *const fastconv_bf16_sets[];

#endif
