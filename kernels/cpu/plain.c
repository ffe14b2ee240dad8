/* Every kernel in plain C: vectors of one element, for any compiler and machine. */
#define REGISTERS 8
#include "kernels_of_one_set.h"

static int works(void) { return 1; }

const struct instruction_set fastconv_plain = {"plain", 0, REGISTERS, 0, kernels, works};
