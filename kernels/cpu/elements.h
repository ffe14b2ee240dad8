/* Loops over elements that do not depend on each other. */
#ifndef FASTCONV_ELEMENTS_H
#define FASTCONV_ELEMENTS_H

#if defined(_MSC_VER) && !defined(__clang__)
#define restrict __restrict
#endif

/* In front of a loop: no element depends on another one. An output may be an input, element for
 * element, which the compiler could not tell from an overlap. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

/* The compiler forgets what a pointer is made of: it would compute all addresses that follow from it
 * before a loop, which are more than there are registers. */
#if defined(__GNUC__)
#define FORGET_ORIGIN(value) __asm__("" : "+r"(value))
#else
#define FORGET_ORIGIN(value) (void)0
#endif

/* The compiler would read a vector again for each product that it is a factor of. */
#if defined(__GNUC__) && defined(__x86_64__)
#define KEEP_IN_REGISTER(value) __asm__("" : "+v"(value))
#else
#define KEEP_IN_REGISTER(value) (void)0
#endif

/* Threads share elements in blocks. The compiler's vectors divide a block, so that only the end
 * of the array, whoever does it, is left to the loop for the rest: an element gets the same
 * bits whatever the number of threads. */
enum { BLOCK = 1024 };

INLINE int64_t first_in_blocks(int64_t size, int64_t thread, int64_t threads) {
    const int64_t first = BLOCK * first_of((size + BLOCK - 1) / BLOCK, thread, threads);
    return first < size ? first : size;
}

INLINE int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most_of(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
