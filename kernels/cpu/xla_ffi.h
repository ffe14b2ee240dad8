/* Kernel calls that compiled programs of XLA (JAX) make, without Python. */
#ifndef FASTCONV_XLA_FFI_H
#define FASTCONV_XLA_FFI_H

#include "instruction.h"

/* Remember a kernel call under a key, for the rest of the process; nothing happens if there is one.
 *
 * `stream` and `relocations` are copied. `places` says for each array of the call where XLA has it:
 * 0, 1, ... are arguments, -1, -2, ... results, and FASTCONV_XLA_NONE is an array that is left out.
 * Returns 0 where there is no memory. The caller holds the GIL, or another lock. */
int fastconv_xla_register(int64_t key, const int64_t *stream, int64_t instructions,
                          const int64_t *relocations, int64_t number_of_relocations,
                          const int64_t *places, int64_t arrays, int64_t workspace_bytes,
                          int threads);

enum { FASTCONV_XLA_NONE = INT32_MIN };

/* The handler that XLA calls, by its foreign function interface: the one attribute is the key. */
void *fastconv_xla_handler(void *frame);

#endif
