/* Running programs, which are rows of record.h, on a team of threads. */
#ifndef FASTCONV_PROGRAM_H
#define FASTCONV_PROGRAM_H

#include "record.h"

/* Run `rows` rows, `steps` times over, on up to `threads` threads; the caller is one of them.
 *
 * `nanoseconds` is NULL, or has one element for each row: the time of that row is added to it, of all
 * steps together. Returns the number of threads that ran: fewer than asked for where the system
 * would start no more. Safe to call from several threads at once, each gets a team of its own, and
 * after fork. */
int fastconv_run(const int64_t *program, int64_t rows, int64_t steps, int threads,
                 int64_t *nanoseconds);

/* Mean time of one barrier of a team of `threads` threads, in nanoseconds. */
double fastconv_barrier_nanoseconds(int threads, int64_t count);

#endif
