/* The products of gemm.h for one element type: REAL, with TYPE in the names. Included by gemm.h.
 *
 * The tile functions are inlined with constant `rows` and `vectors`, so that their loops are
 * unrolled and `sum` lives in registers.
 */

#ifdef VECTOR_BYTES
typedef REAL TYPED(vector) __attribute__((vector_size(VECTOR_BYTES)));
#else
typedef REAL TYPED(vector);
#endif
#define VECTOR TYPED(vector)
#define LANES ((ptrdiff_t)(sizeof(VECTOR) / sizeof(REAL)))

/* memcpy of a constant size is one unaligned move. */
INLINE VECTOR TYPED(load)(const REAL *from) {
    VECTOR v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void TYPED(store)(REAL *to, VECTOR v) { memcpy(to, &v, sizeof v); }

INLINE REAL TYPED(sum_of_lanes)(VECTOR v) {
    REAL lane[sizeof v / sizeof(REAL)], total = 0;
    memcpy(lane, &v, sizeof v);
    for (ptrdiff_t l = 0; l < LANES; l++) total += lane[l];
    return total;
}

/* ---- C = start + A B -------------------------------------------------------------------- */

/* C of `rows` x `vectors * LANES`, all of it in registers. `start` may be NULL: zeros. */
INLINE void TYPED(tile)(const int rows, const int vectors, ptrdiff_t depth,
                        const REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                        const REAL *b, ptrdiff_t b_step,
                        const REAL *start, REAL *c, ptrdiff_t c_row) {
    VECTOR sum[8][8];
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const VECTOR first = start ? TYPED(load)(start + v * LANES) : (VECTOR){0};
        UNROLL
        for (int r = 0; r < rows; r++) sum[r][v] = first;
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            const REAL value = a[r * a_row];
            UNROLL
            for (int v = 0; v < vectors; v++) sum[r][v] += value * TYPED(load)(b + v * LANES);
        }
        a += a_step;
        b += b_step;
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++) TYPED(store)(c + r * c_row + v * LANES, sum[r][v]);
    }
}

/* The same for one column: only where C is narrower than one vector. */
INLINE void TYPED(column)(const int rows, ptrdiff_t depth,
                          const REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                          const REAL *b, ptrdiff_t b_step,
                          const REAL *start, REAL *c, ptrdiff_t c_row) {
    REAL sum[8];
    UNROLL
    for (int r = 0; r < rows; r++) sum[r] = start ? *start : 0;
    for (ptrdiff_t k = 0; k < depth; k++) {
        UNROLL
        for (int r = 0; r < rows; r++) sum[r] += a[k * a_step + r * a_row] * b[k * b_step];
    }
    UNROLL
    for (int r = 0; r < rows; r++) c[r * c_row] = sum[r];
}

/* `rows` rows of C, in tiles as wide as `vectors` where C is that wide. */
INLINE void TYPED(strip)(const int rows, const int vectors, ptrdiff_t columns, ptrdiff_t depth,
                         const REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                         const REAL *b, ptrdiff_t b_step,
                         const REAL *start, REAL *c, ptrdiff_t c_row) {
    const ptrdiff_t wide = vectors * LANES;
    if (columns >= wide) {
        for (ptrdiff_t j = 0; j < columns; j += wide) {
            if (j > columns - wide) j = columns - wide;
            TYPED(tile)(rows, vectors, depth, a, a_row, a_step, b + j, b_step,
                        start ? start + j : NULL, c + j, c_row);
        }
    } else if (columns >= LANES) {
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            if (j > columns - LANES) j = columns - LANES;
            TYPED(tile)(rows, 1, depth, a, a_row, a_step, b + j, b_step,
                        start ? start + j : NULL, c + j, c_row);
        }
    } else {
        for (ptrdiff_t j = 0; j < columns; j++)
            TYPED(column)(rows, depth, a, a_row, a_step, b + j, b_step,
                          start ? start + j : NULL, c + j, c_row);
    }
}

/* C[i, j] = start[j] + sum over k of A[i, k] B[k, j], with A[i, k] = a[i a_row + k a_step],
 * B[k, j] = b[k b_step + j] and C[i, j] = c[i c_row + j]. C overlaps nothing else. */
static inline void TYPED(gemm)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                        const REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                        const REAL *b, ptrdiff_t b_step,
                        const REAL *start, REAL *c, ptrdiff_t c_row) {
    const ptrdiff_t wide = 2 * LANES;
    const ptrdiff_t whole = rows - rows % ROWS;
    const int near = depth * columns * (ptrdiff_t)sizeof(REAL) <= NEAR_BYTES;
    if (near || columns < wide) {
        for (ptrdiff_t i = 0; i < whole; i += ROWS)
            TYPED(strip)(ROWS, 2, columns, depth, a + i * a_row, a_row, a_step, b, b_step,
                         start, c + i * c_row, c_row);
    } else if (whole) {
        /* A large B: one panel of it at a time, which stays in a near cache for all the rows. */
        for (ptrdiff_t j = 0; j < columns; j += wide) {
            if (j > columns - wide) j = columns - wide;
            for (ptrdiff_t i = 0; i < whole; i += ROWS)
                TYPED(tile)(ROWS, 2, depth, a + i * a_row, a_row, a_step, b + j, b_step,
                            start ? start + j : NULL, c + i * c_row + j, c_row);
        }
    }
    a += whole * a_row;
    c += whole * c_row;
    /* The fewer the rows, the wider the tile: enough independent sums to hide an addition's latency,
     * and whole cache lines of B. */
#define LAST_ROWS(count, vectors)                                                             \
    case count:                                                                               \
        TYPED(strip)(count, vectors, columns, depth, a, a_row, a_step, b, b_step, start, c, c_row); \
        break;
    switch (rows - whole) {
        LAST_ROWS(1, 8)
        LAST_ROWS(2, 4)
        LAST_ROWS(3, 4)
        LAST_ROWS(4, 2)
        LAST_ROWS(5, 2)
    }
#undef LAST_ROWS
}

/* ---- C = A B^T --------------------------------------------------------------------------- */

/* C of `rows` x `columns`: each element the sum of the lanes of one accumulator, then the rest. */
INLINE void TYPED(dots)(const int rows, const int columns, ptrdiff_t depth,
                        const REAL *a, ptrdiff_t a_row, const REAL *b, ptrdiff_t b_row,
                        REAL *c, ptrdiff_t c_row) {
    VECTOR sum[8][8];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int j = 0; j < columns; j++) sum[r][j] = (VECTOR){0};
    }
    ptrdiff_t k = 0;
    for (; k + LANES <= depth; k += LANES) {
        UNROLL
        for (int j = 0; j < columns; j++) {
            const VECTOR value = TYPED(load)(b + j * b_row + k);
            UNROLL
            for (int r = 0; r < rows; r++) sum[r][j] += TYPED(load)(a + r * a_row + k) * value;
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int j = 0; j < columns; j++) {
            REAL total = TYPED(sum_of_lanes)(sum[r][j]);
            for (ptrdiff_t rest = k; rest < depth; rest++)
                total += a[r * a_row + rest] * b[j * b_row + rest];
            c[r * c_row + j] = total;
        }
    }
}

INLINE void TYPED(dots_strip)(const int rows, const int wide, ptrdiff_t columns, ptrdiff_t depth,
                              const REAL *a, ptrdiff_t a_row, const REAL *b, ptrdiff_t b_row,
                              REAL *c, ptrdiff_t c_row) {
    if (columns >= wide) {
        for (ptrdiff_t j = 0; j < columns; j += wide) {
            if (j > columns - wide) j = columns - wide;
            TYPED(dots)(rows, wide, depth, a, a_row, b + j * b_row, b_row, c + j, c_row);
        }
    } else {
        for (ptrdiff_t j = 0; j < columns; j++)
            TYPED(dots)(rows, 1, depth, a, a_row, b + j * b_row, b_row, c + j, c_row);
    }
}

/* C[i, j] = sum over k of A[i, k] B[j, k], with A[i, k] = a[i a_row + k], B[j, k] = b[j b_row + k]
 * and C[i, j] = c[i c_row + j]. C overlaps nothing else. */
static inline void TYPED(gemm_dots)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                             const REAL *a, ptrdiff_t a_row, const REAL *b, ptrdiff_t b_row,
                             REAL *c, ptrdiff_t c_row) {
    ptrdiff_t i = 0;
    for (; i + 3 <= rows; i += 3)
        TYPED(dots_strip)(3, 4, columns, depth, a + i * a_row, a_row, b, b_row, c + i * c_row, c_row);
    a += i * a_row;
    c += i * c_row;
    if (rows - i == 2)
        TYPED(dots_strip)(2, 4, columns, depth, a, a_row, b, b_row, c, c_row);
    else if (rows - i == 1)
        TYPED(dots_strip)(1, 8, columns, depth, a, a_row, b, b_row, c, c_row);
}

#undef LANES
#undef VECTOR
