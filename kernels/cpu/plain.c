/* Every kernel in plain C: vectors of one element, for any compiler and machine. */
#define REGISTERS 8
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
/* SSE2 is always there, so that this is for comparison: loops that are not unrolled take half the room. */
#pragma GCC optimize("O2")
#endif
#include "kernels_of_one_set.h"

static int works(void) { return 1; }

const struct instruction_set fastconv_plain = {"plain", 0, REGISTERS, 0, kernels, works};
