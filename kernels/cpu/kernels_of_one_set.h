/* Every kernel for one instruction set, for both types, and their table `kernels`.
 *
 * The including file chose the instruction set and defines VECTOR_BYTES (or not: no vectors) and
 * REGISTERS. Everything here is static: each instruction set has its own copy.
 */
#include <math.h>

#include "kernels.h"
#include "language.h"

#define TYPE float32
#define REAL float
#define WITH_BF16
#include "kernels_of_one_type.h"
#undef WITH_BF16
#undef REAL
#undef TYPE

#define TYPE float64
#define REAL double
#include "kernels_of_one_type.h"
#undef REAL
#undef TYPE

#define ENTRY(name) {#name, name##_float32, name##_float64}
static const struct kernel_entry kernels[] = {
    CONV_KERNELS,
    IM2COL_KERNELS,
    BATCH_BLOCKED_KERNELS,
    WINOGRAD_KERNELS,
    WINOGRAD_GRADIENT_KERNELS,
    PLANES_KERNELS,
    DENSE_KERNELS,
    OPTIM_KERNELS,
    GRADIENT_KERNELS,
    ACTIVATION_KERNELS,
    LOSS_KERNELS,
    TARGET_LOSS_KERNELS,
    LOSS_WEIGHTS_KERNELS,
    RANDOM_KERNELS,
    INPUT_KERNELS,
    DROPOUT_KERNELS,
    POOL_KERNELS,
    RESAMPLE_KERNELS,
    POOLED_KERNELS,
    NORM_KERNELS,
    PRELU_KERNELS,
    ELEMENTWISE_KERNELS,
    GROUP_NORM_KERNELS,
    LAYOUT_KERNELS,
    MERGE_KERNELS,
    BF16_KERNELS,
    {NULL, NULL, NULL},
};
