/* Every kernel for NEON, which every aarch64 has: 32 registers of 16 bytes. */
#if defined(__GNUC__) && defined(__aarch64__)
#if !defined(__clang__)
/* GCC for aarch64 moves loads up before it knows the registers, and then has not enough of them for the
 * sums of a tile. It moves them again afterwards. */
#pragma GCC optimize("no-schedule-insns")
#endif
#define VECTOR_BYTES 16
#define REGISTERS 32
#include "kernels_of_one_set.h"

static int works(void) { return 1; }

const struct instruction_set fastconv_neon = {"neon", 16, 32, 0, kernels, works};
#else
typedef int not_for_this_machine;
#endif
