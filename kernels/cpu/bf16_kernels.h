/* Every kernel that multiplies factors of bf16, and their table BF16_KERNELS; among the kernels of
 * float32. */
#include "bf16.h"
#include "bf16_products.h"
#include "bf16_conv.h"
#include "bf16_weight_gradient.h"

#define BF16_ENTRY(name) {#name, name, NULL}
#define BF16_KERNELS                                                                          \
    BF16_ENTRY(bf16_pack_weights), BF16_ENTRY(bf16_tiles), BF16_ENTRY(bf16_weight_sums),      \
        BF16_ENTRY(bf16_weight_gradient)
