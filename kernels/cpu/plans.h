/* Plans behind the C interface, fastconv/include/fastconv.h: instruction streams of whole public
 * functions, found by what they compute. Beside the interface's table stands what the engine's module
 * needs to make them, and what code compiled by Numba calls by name. */
#ifndef FASTCONV_PLANS_H
#define FASTCONV_PLANS_H

#include "fastconv.h"
#include "instruction.h"

enum { MOST_ARRAYS = 6, MOST_AXES = 4, MOST_DESCRIPTION_WORDS = 32, MOST_MESSAGE_BYTES = 1024 };

/* One array of a plan; the texts belong to whoever describes it until the plan is kept. */
struct plan_array {
    const char *name, *why;     /* such as "dy", "the shape of conv2d's result" */
    int64_t is_needed;          /* whether it must not be NULL */
    int64_t axes, sizes[MOST_AXES];
};

/* Make the plan that a description asks for and hand it to fastconv_keep_plan; the engine's module
 * sets it, with a function that takes the GIL. */
typedef int plan_maker(int64_t function, const int64_t *words, int64_t count,
                       const struct fastconv_plan **plan);
extern plan_maker *fastconv_plan_maker;

/* Copy all that a plan is made of, and keep it. The caller holds the GIL: it guards the plans. NULL
 * where there is no memory. */
const struct fastconv_plan *fastconv_keep_plan(int64_t function, const int64_t *words, int64_t count,
                                               const char *owner, const struct plan_array *arrays,
                                               int64_t number_of_arrays, const int64_t *stream,
                                               int64_t instructions,
                                               const struct relocation *relocations,
                                               int64_t number_of_relocations,
                                               int64_t workspace_bytes);

/* Say what is wrong, for last_error. */
void fastconv_say(const char *message);

/* Fill in the addresses of a stream; arrays[argument], or workspace from its first cache line on. */
void fastconv_relocate(int64_t *stream, const struct relocation *relocations, int64_t count,
                       void *const *arrays, void *workspace);

extern const struct fastconv_api fastconv_c_api;

/* ---- for compiled Python code, which keeps addresses in integers ------------------------------- */

/* The plan of a description of so many words, or the negative status that says why there is none. */
int64_t fastconv_plan_of(int64_t function, const int64_t *words, int64_t count);

/* Size of an axis of one of its arrays. */
int64_t fastconv_plan_size(int64_t plan, int64_t array, int64_t axis);

/* Run in memory that this thread keeps, on as many threads as fastconv_set_plan_threads says. */
int64_t fastconv_run_plan(int64_t plan, void *const *arrays);
void fastconv_set_plan_threads(int64_t threads);

/* Compare the shape of an array with the one that it should have, and its integers with [0, end); a
 * status. */
int64_t fastconv_check_shape(int64_t plan, int64_t array, const int64_t *sizes, int64_t axes,
                             const int64_t *wanted, int64_t wanted_axes);
int64_t fastconv_check_range(int64_t plan, int64_t array, const void *integers, int64_t bytes_of_each,
                             int64_t end);

/* Letters of the last error, which are ASCII; copying takes one more, the 0 behind them. */
int64_t fastconv_error_length(void);
int64_t fastconv_copy_error(char *to);

#endif
