/* Which instruction sets this binary holds; see kernels.h. Each is compiled in a file of its own. */
#include "kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)
extern const struct instruction_set fastconv_avx512, fastconv_avx2, fastconv_sse2;
#elif defined(__GNUC__) && defined(__aarch64__)
extern const struct instruction_set fastconv_neon;
#endif
extern const struct instruction_set fastconv_plain;

const struct instruction_set *const fastconv_instruction_sets[] = {
#if defined(__GNUC__) && defined(__x86_64__)
    &fastconv_avx512,
    &fastconv_avx2,
    &fastconv_sse2,
#elif defined(__GNUC__) && defined(__aarch64__)
    &fastconv_neon,
#endif
    &fastconv_plain,
    NULL,
};
