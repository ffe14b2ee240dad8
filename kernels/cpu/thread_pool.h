/* Running instruction streams, which are made of instruction.h, on a pool of threads. */
#ifndef FASTCONV_THREAD_POOL_H
#define FASTCONV_THREAD_POOL_H

#include "instruction.h"

/* Run the instructions of a stream, `steps` times over, on up to `threads` threads; the caller is
 * one of them.
 *
 * `nanoseconds` is NULL, or has one element for each instruction: its time is added to it, of all
 * steps together. Returns the number of threads that ran: fewer than asked for where the system
 * would start no more. Safe to call from several threads at once, each gets a pool of its own, and
 * after fork. */
int fastconv_run(const int64_t *stream, int64_t instructions, int64_t steps, int threads,
                 int64_t *nanoseconds);

/* Mean time of one barrier of a pool of `threads` threads, in nanoseconds. */
double fastconv_barrier_nanoseconds(int threads, int64_t count);

#endif
