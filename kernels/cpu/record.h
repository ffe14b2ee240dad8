/* A kernel call as a row of 64 integers: what a program, a step of a plan, is made of.
 *
 * Rows are made in Python (fastconv/backends/compiled), so that the choice of algorithm, tile and split is
 * written once and readable there; a kernel only unpacks its row. Word by word:
 *
 *    0        address of the kernel
 *    1        parts: how many threads find work in it; threads beyond that pass by
 *    2        1 if all threads must have finished it before the next row starts
 *    3        address of a table of tiles, for the numba backend
 *    4 to 15  addresses of arrays
 *   16 to 47  integers: sizes, strides in elements, choices
 *   48 to 63  float64 numbers
 *
 * A kernel runs on every thread at once and does the share of its thread. Who does what never changes
 * a result: a sum is made by one thread, in an order that the row fixes.
 */
#ifndef FASTCONV_RECORD_H
#define FASTCONV_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WORDS = 64, PARTS = 1, BARRIER = 2, POINTERS = 4, INTEGERS = 16, REALS = 48 };

/* `step` counts from 0 within one run of a program. */
typedef void kernel_function(const int64_t *record, int64_t step, int64_t thread, int64_t threads);

struct kernel_entry {
    const char *name;
    kernel_function *float32, *float64;
};

static inline void *pointer_of(const int64_t *record, int i) {
    return (void *)(intptr_t)record[POINTERS + i];
}

static inline double real_of(const int64_t *record, int i) {
    double value;
    memcpy(&value, record + REALS + i, sizeof value);
    return value;
}

/* The half-open range of `count` pieces that a thread does. */
static inline int64_t first_of(int64_t count, int64_t thread, int64_t threads) {
    return count * thread / threads;
}

#endif
