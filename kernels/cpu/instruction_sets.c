/* Which instruction sets this binary holds; see kernels.h. Each is compiled in a file of its own. */
#include "kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)
extern const struct instruction_set fastconv_avx512, fastconv_avx512vl, fastconv_avx2, fastconv_sse2;
#elif defined(__GNUC__) && defined(__aarch64__)
extern const struct instruction_set fastconv_neon;
#endif
extern const struct instruction_set fastconv_plain;

const struct instruction_set *const fastconv_instruction_sets[] = {
#if defined(__GNUC__) && defined(__x86_64__)
    &fastconv_avx512,
    &fastconv_avx512vl,
    &fastconv_avx2,
    &fastconv_sse2,
#elif defined(__GNUC__) && defined(__aarch64__)
    &fastconv_neon,
#endif
    &fastconv_plain,
    NULL,
};

/* Zen 4 does; what it is known by is AMD's number of the family. To measure it would not do: what is
 * chosen must be the same in every process, since sums depend on the width of vectors. */
#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
int fastconv_halves_wide_vectors(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d) || b != signature_AMD_ebx) return 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    return (a >> 8 & 15) + (a >> 20 & 255) == 0x19;
}
#else
int fastconv_halves_wide_vectors(void) { return 0; }
#endif

#ifdef COMPILES_BF16
extern const struct instruction_set fastconv_amx, fastconv_avx512_bf16;
#endif

const struct instruction_set *const fastconv_bf16_sets[] = {
#ifdef COMPILES_BF16
    &fastconv_amx,
    &fastconv_avx512_bf16,
#endif
    NULL,
};
