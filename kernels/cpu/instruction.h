/* One call of a kernel, encoded as 64 words: what an instruction stream, a step of a plan, is made
 * of.
 *
 * Instructions are made in Python (fastconv/backends/compiled), so that the choice of algorithm,
 * tile and split is written once and readable there; a kernel only reads its own, through the
 * structure that instruction_layouts.h has for it.
 *
 * A kernel runs on every thread at once and does the share of its thread, or parts of it as shares of
 * a finer division. Who does what never changes a result: a sum is made by one thread, in an order
 * that the instruction fixes. */
#ifndef FASTCONV_INSTRUCTION_H
#define FASTCONV_INSTRUCTION_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "instruction_layouts.h"

/* `step` counts from 0 within one run of a stream. */
typedef void kernel_function(const int64_t *instruction, int64_t step, int64_t thread,
                             int64_t threads);

struct kernel_entry {
    const char *name;
    kernel_function *float32, *float64;
};

/* Where the address of an array belongs in a stream: which word of which instruction, which
 * argument of the kernel of the contract, -1 for its workspace, and bytes into it. */
struct relocation {
    int64_t instruction, word, argument, offset;
};

/* An instruction as the structure of its kernel. */
static inline const void *fields_of(const int64_t *instruction) { return instruction; }

static inline void *array_at(address at) { return (void *)(intptr_t)at; }

/* The half-open range of `count` pieces that a thread does. */
static inline int64_t first_of(int64_t count, int64_t thread, int64_t threads) {
    return count * thread / threads;
}

/* Which of as many pieces of scratch as an instruction has threads is a share's own. Shares that are
 * done at the same time may be of different sizes: their numbers would not tell them apart. */
static inline int64_t scratch_of(const int64_t *instruction, int64_t thread, int64_t threads) {
    const struct instruction_head *const head = fields_of(instruction);
    return first_of(head->max_threads, thread, threads);
}

#endif
