/* Vectors of REAL as GCC and Clang know them; another compiler has vectors of one element. */
#if defined(VECTOR_BYTES) && defined(__GNUC__)
typedef REAL TYPED(vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef __typeof__((TYPED(vector)){0} > 0) TYPED(masks);
typedef int32_t TYPED(indices) __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL) * 4)));
#define HAS_VECTORS 1
#define NO_SUMS {{0}} /* an array of zero vectors */
#else
typedef REAL TYPED(vector);
typedef int32_t TYPED(indices);
#define NO_SUMS {0}
#endif
#define VECTOR TYPED(vector)
#define MASKS TYPED(masks)     /* what a comparison of vectors gives: all bits of a lane, or none */
#define INDICES TYPED(indices) /* an int32 for each lane */
#define LANES ((ptrdiff_t)(sizeof(VECTOR) / sizeof(REAL)))

/* memcpy of a constant size is one unaligned move. */
INLINE VECTOR TYPED(load)(const REAL *from) {
    VECTOR v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void TYPED(store)(REAL *to, VECTOR v) { memcpy(to, &v, sizeof v); }

/* All bits of the first `count` lanes, and none of the others. */
INLINE VECTOR TYPED(first_lanes)(ptrdiff_t count) {
    /* 64 bytes of ones, as many as the widest vector has, and 64 of zeros. */
    static const int64_t bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    VECTOR mask;
    memcpy(&mask, (const char *)bits + 64 - count * (ptrdiff_t)sizeof(REAL), sizeof mask);
    return mask;
}

/* The first `count` lanes only, 0 < count <= LANES; the others are zero.
 *
 * Here and below: where there are no masked moves, lane by lane, which are known to the compiler. A
 * memcpy of `count` elements would be a call, and no vector register outlives a call: everything
 * that lives across it, such as the sums of a tile, would be on the stack in the whole function. */
INLINE VECTOR TYPED(load_first)(const REAL *from, ptrdiff_t count) {
#if defined(MASKED_LOAD)
    if (__builtin_constant_p(count) && count >= LANES) return TYPED(load)(from);
    return MASKED_LOAD(TYPE, from, count);
#elif defined(HAS_VECTORS)
    if (count >= LANES) return TYPED(load)(from);
    VECTOR v = {*from};
    UNROLL for (int lane = 1; lane < LANES - 1; lane++) {
        if (lane < count) v[lane] = from[lane];
    }
    return v;
#else
    (void)count;
    return *from;
#endif
}

INLINE void TYPED(store_first)(REAL *to, VECTOR v, ptrdiff_t count) {
#if defined(MASKED_STORE)
    MASKED_STORE(TYPE, to, v, count);
#elif defined(HAS_VECTORS)
    if (count >= LANES) {
        TYPED(store)(to, v);
        return;
    }
    *to = v[0];
    UNROLL for (int lane = 1; lane < LANES - 1; lane++) {
        if (lane < count) to[lane] = v[lane];
    }
#else
    (void)count;
    *to = v;
#endif
}

INLINE void TYPED(store_first_indices)(int32_t *to, INDICES v, ptrdiff_t count) {
#if defined(MASKED_STORE_INDICES)
    MASKED_STORE_INDICES(TYPE, to, v, count);
#elif defined(HAS_VECTORS)
    if (count >= LANES) {
        memcpy(to, &v, sizeof v);
        return;
    }
    *to = v[0];
    UNROLL for (int lane = 1; lane < LANES - 1; lane++) {
        if (lane < count) to[lane] = v[lane];
    }
#else
    (void)count;
    *to = v;
#endif
}

/* Every lane the same. */
INLINE VECTOR TYPED(spread)(REAL value) { return value - (VECTOR){0}; }

/* positive where test > 0, else other. */
INLINE VECTOR TYPED(where_positive)(VECTOR test, VECTOR positive, VECTOR other) {
#if defined(VECTOR_BYTES) && defined(__GNUC__)
    const __typeof__(test > 0) mask = test > 0;
    return (VECTOR)(((__typeof__(mask))positive & mask) | ((__typeof__(mask))other & ~mask));
#else
    return test > 0 ? positive : other;
#endif
}

/* Halves are added to each other, so that this is a few vector operations. */
INLINE REAL TYPED(sum_of_lanes)(VECTOR v) {
    REAL lane[sizeof v / sizeof(REAL)];
    memcpy(lane, &v, sizeof v);
    UNROLL for (ptrdiff_t half = LANES / 2; half > 0; half /= 2) {
        UNROLL for (ptrdiff_t l = 0; l < half; l++) lane[l] += lane[l + half];
    }
    return lane[0];
}

/* Exchange rows and columns of LANES vectors: in each of log2(LANES) rounds, blocks off the diagonal
 * change places. Only where CAN_TRANSPOSE is defined. */
#if defined(HAS_VECTORS) && !defined(__clang__)
#define CAN_TRANSPOSE 1
INLINE void TYPED(transpose_square)(VECTOR *rows) {
    UNROLL for (int half = 1; half < LANES; half *= 2) {
        MASKS low, high;
        UNROLL for (int j = 0; j < LANES; j++) {
            low[j] = j & half ? (int)LANES + j - half : j;
            high[j] = j & half ? (int)LANES + j : j + half;
        }
        UNROLL for (int i = 0; i < LANES; i++) {
            if (i & half) continue;
            const VECTOR a = rows[i], b = rows[i + half];
            rows[i] = __builtin_shuffle(a, b, low);
            rows[i + half] = __builtin_shuffle(a, b, high);
        }
    }
}
#endif

/* Lane i: the sum of the lanes of vector i, for LANES vectors, which change. In each of log2(LANES)
 * rounds, two vectors become one: a lane holds a sum of lanes of the one or of the other. */
INLINE VECTOR TYPED(sums_of_vectors)(VECTOR *v) {
#ifdef CAN_TRANSPOSE
    UNROLL for (int half = 1; half < LANES; half *= 2) {
        MASKS same, other;
        UNROLL for (int j = 0; j < LANES; j++) {
            same[j] = j & half ? (int)LANES + j : j;
            other[j] = j & half ? (int)LANES + j - half : j + half;
        }
        UNROLL for (int i = 0; i < LANES; i++) {
            if (i & (2 * half - 1)) continue;
            const VECTOR a = v[i], b = v[i + half];
            v[i] = __builtin_shuffle(a, b, same) + __builtin_shuffle(a, b, other);
        }
    }
    return v[0];
#else
    REAL sums[sizeof(VECTOR) / sizeof(REAL)];
    for (ptrdiff_t i = 0; i < LANES; i++) sums[i] = TYPED(sum_of_lanes)(v[i]);
    return TYPED(load)(sums);
#endif
}

/* The same, from memory to memory. */
INLINE void TYPED(sums_of_lanes)(const REAL *from, REAL *to) {
    VECTOR v[sizeof(VECTOR) / sizeof(REAL)];
    UNROLL for (int i = 0; i < LANES; i++) v[i] = TYPED(load)(from + i * LANES);
    TYPED(store)(to, TYPED(sums_of_vectors)(v));
}
