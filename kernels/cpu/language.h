/* What the compilers call inlining and unrolling, and names of functions for a type. */
#ifndef FASTCONV_LANGUAGE_H
#define FASTCONV_LANGUAGE_H

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

#endif
