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

/* Best first, ends with NULL; the last one runs anywhere. */
extern const struct instruction_set *const fastconv_instruction_sets[];

#endif
