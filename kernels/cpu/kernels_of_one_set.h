/* Every kernel for one instruction set, for both types, and their table `kernels`.
 *
 * The including file chose the instruction set and defines VECTOR_BYTES (or not: no vectors) and
 * REGISTERS. Everything here is static: each instruction set has its own copy.
 */
#include <math.h>

#include "kernels.h"

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
#define APART static __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 32")
#else
#define INLINE static inline
#define APART static
#define UNROLL
#endif

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define TYPED(name) JOIN(name, TYPE)

#define TYPE float32
#define REAL float
#include "kernels_of_one_type.h"
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
    {NULL, NULL, NULL},
};
