/* Every kernel for SSE2, which every x86-64 has: 16 registers of 16 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#if !defined(__clang__)
/* Without FMA, products are values of their own. GCC would put off the sums until the end of a tile,
 * with all products in registers until then, which are not enough. */
#pragma GCC optimize("no-tree-ter")
/* Tiles are unrolled by hand. What O3 does beside it takes 120 KB of a wheel, for processors of before
 * 2013. */
#pragma GCC optimize("O2")
#endif
#define VECTOR_BYTES 16
#define REGISTERS 16
#include "kernels_of_one_set.h"

static int works(void) { return 1; }

const struct instruction_set fastconv_sse2 = {"sse2", 16, 16, 0, kernels, works};
#else
typedef int not_for_this_machine;
#endif
