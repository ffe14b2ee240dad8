/* One small product in registers: the building block of convolution and dense kernels.
 *
 *   C[m, n] = start + sum over r1, r2, k of A[r1, r2, k, m] B[r1, r2, k, n]
 *
 * a batch-reduce product: the sum runs over `runs1` times `runs2` runs of `depth` steps, and the M x N sums, N
 * counted in vectors, stay in registers until all are done. In NHWC with HWIO weights, a row of the
 * im2col matrix is a few runs of contiguous memory, so that convolution, its data gradient, its
 * weight gradient and dense layers are this product with different strides, and no im2col matrix
 * is ever built. Georganas et al., "High-Performance Deep Learning via a Single Building Block"
 * (arXiv:1906.06440).
 *
 * A has unit stride along k ("along depth": forward and data gradient) or along m ("along rows": weight
 * gradient). B has unit stride along n. An element of C is one sum, in an order that only
 * the sizes of its tile decide.
 */

/* The most rows of a tile of 1, 2, 3, 4 and 8 vectors: as many sums as there are registers for, beside
 * one for A and one for B. */
#if REGISTERS >= 32
#define ROWS_OF_1 28
#define ROWS_OF_2 14
#define ROWS_OF_3 9
#define ROWS_OF_4 6
#define ROWS_OF_8 3
#else
#define ROWS_OF_1 12
#define ROWS_OF_2 6
#define ROWS_OF_3 4
#define ROWS_OF_4 3
#define ROWS_OF_8 1
#endif
#ifndef MOST_ROWS
#define MOST_ROWS 28
#define MOST_VECTORS 8
#endif

struct TYPED(tile) {
    const REAL *a, *b, *start;
    REAL *c;
    ptrdiff_t runs1, a_run1, b_run1, runs2, a_run2, b_run2, depth;
    ptrdiff_t a_row;  /* from m to m + 1: along depth only */
    ptrdiff_t a_step; /* from k to k + 1: along rows only */
    ptrdiff_t b_step, c_row;
    ptrdiff_t columns; /* of C, at most N vectors */
    const REAL *other; /* LEAKY_GRADIENT: strides as C */
    REAL slope, keep, rate;
    int init, epilogue;
};

typedef void TYPED(tile_function)(const struct TYPED(tile) *);

/* Where a masked load costs nothing, B may end within a vector: no copy fills it up. Where the mask takes
 * a register, that is so in tiles of few sums alone. */
#undef LOAD_B
#if defined(MASKED_LOADS_ARE_FREE)
#define LOAD_B(from, v)                                                                       \
    ((v) < vectors - 1 ? TYPED(load)(from) : TYPED(load_first)(from, last))
#elif defined(MASKED_LOAD)
#define LOAD_B(from, v)                                                                            \
    ((v) < vectors - 1 || rows * vectors > 2 ? TYPED(load)(from) : TYPED(load_first)(from, last))
#else
#define LOAD_B(from, v) TYPED(load)(from)
#endif
/* One step of depth: rows * vectors products, added to the sums of one of the ways. Where the sums and
 * the values of B are all registers that there are (3 x 8), the factors of A are held instead. */
#define STEP(way, A_OF_ROW)                                                                   \
    do {                                                                                      \
        if ((rows + 1) * vectors >= 32) {                                                     \
            VECTOR factor[MOST_ROWS];                                                         \
            UNROLL for (int r = 0; r < rows; r++) factor[r] = TYPED(spread)(A_OF_ROW);        \
            UNROLL for (int v = 0; v < vectors; v++) {                                        \
                const VECTOR value = LOAD_B(b + v * LANES, v);                                \
                UNROLL for (int r = 0; r < rows; r++) sums[way][r][v] += factor[r] * value;   \
            }                                                                                 \
        } else {                                                                              \
            VECTOR value[MOST_VECTORS];                                                       \
            UNROLL for (int v = 0; v < vectors; v++) value[v] = LOAD_B(b + v * LANES, v);     \
            UNROLL for (int r = 0; r < rows; r++) {                                           \
                const REAL factor = A_OF_ROW;                                                 \
                UNROLL for (int v = 0; v < vectors; v++) sums[way][r][v] += factor * value[v]; \
            }                                                                                 \
        }                                                                                     \
        b += b_step;                                                                          \
    } while (0)

INLINE void TYPED(tile_body)(const struct TYPED(tile) *t, const int rows, const int vectors,
                             const int along_depth) {
    /* A product waits for the sum that it is added to: few sums take turns with others, which are
     * added to them at the end. */
    const int ways = rows * vectors <= 2 ? 4 : rows * vectors <= 4 ? 2 : 1;
    VECTOR sums[4][MOST_ROWS][MOST_VECTORS], (*const sum)[MOST_VECTORS] = sums[0];
    const ptrdiff_t last = t->columns - (vectors - 1) * LANES;
    REAL *const c = t->c;
    const ptrdiff_t c_row = t->c_row;
    UNROLL for (int v = 0; v < vectors; v++) {
        VECTOR first = {0};
        if (t->init == INIT_BIAS)
            first = v < vectors - 1 ? TYPED(load)(t->start + v * LANES)
                                    : TYPED(load_first)(t->start + v * LANES, last);
        UNROLL for (int r = 0; r < rows; r++) sum[r][v] = first;
    }
    if (t->init == INIT_ROW_BIAS) {
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = TYPED(spread)(t->start[r]);
        }
    }
    UNROLL for (int w = 1; w < ways; w++) {
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++) sums[w][r][v] = (VECTOR){0};
        }
    }
    if (t->epilogue == LEAKY_GRADIENT) {
        /* Outputs of the forward pass, long out of the caches: they come while the sums are made. */
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++)
                __builtin_prefetch(t->other + r * c_row + v * LANES);
        }
    }
    const ptrdiff_t b_step = t->b_step, depth = t->depth;
    for (ptrdiff_t r1 = 0; r1 < t->runs1; r1++) {
        for (ptrdiff_t r2 = 0; r2 < t->runs2; r2++) {
            const REAL *a = t->a + r1 * t->a_run1 + r2 * t->a_run2;
            const REAL *b = t->b + r1 * t->b_run1 + r2 * t->b_run2;
            ptrdiff_t k = 0;
            if (along_depth) {
                /* Few base pointers and strides, so that every address is one operand. */
                const ptrdiff_t a_row = t->a_row, a_row3 = 3 * a_row;
                const REAL *a0 = a, *a5 = a + 5 * a_row, *a10 = a + 10 * a_row;
                const REAL *a15 = a + 15 * a_row, *a20 = a + 20 * a_row, *a25 = a + 25 * a_row;
#define STEP_ALONG(way)                                                                       \
    STEP(way, (r < 5 ? a0 : r < 10 ? a5 : r < 15 ? a10 : r < 20 ? a15                         \
               : r < 25 ? a20 : a25)[r % 5 == 3 ? a_row3 : (r % 5) * a_row]);                 \
    a0++, a5++, a10++, a15++, a20++, a25++
                if (ways > 1) {
                    for (; k + ways <= depth; k += ways) {
                        UNROLL for (int w = 0; w < ways; w++) { STEP_ALONG(w); }
                    }
                }
                for (; k < depth; k++) { STEP_ALONG(0); }
#undef STEP_ALONG
            } else {
                const ptrdiff_t a_step = t->a_step;
                if (ways > 1) {
                    for (; k + ways <= depth; k += ways) {
                        UNROLL for (int w = 0; w < ways; w++) { STEP(w, a[r]); a += a_step; }
                    }
                }
                for (; k < depth; k++) { STEP(0, a[r]); a += a_step; }
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            if (ways == 4) {
                sums[0][r][v] += sums[2][r][v];
                sums[1][r][v] += sums[3][r][v];
            }
            if (ways >= 2) sums[0][r][v] += sums[1][r][v];
        }
    }
    if (t->init == INIT_C) {
        /* Added last: a sum of many small products is lost on a large one that it starts from. */
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors - 1; v++)
                sum[r][v] += TYPED(load)(c + r * c_row + v * LANES);
            sum[r][vectors - 1] += TYPED(load_first)(c + r * c_row + (vectors - 1) * LANES, last);
        }
    }
    if (t->epilogue == LEAKY_RELU) {
        const VECTOR slope = TYPED(spread)(t->slope);
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++)
                sum[r][v] = TYPED(where_positive)(sum[r][v], sum[r][v], sum[r][v] * slope);
        }
    } else if (t->epilogue == LEAKY_GRADIENT) {
        const VECTOR slope = TYPED(spread)(t->slope);
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++) {
                const VECTOR other = TYPED(load_first)(t->other + r * c_row + v * LANES,
                                                       v < vectors - 1 ? LANES : last);
                sum[r][v] = TYPED(where_positive)(other, sum[r][v], sum[r][v] * slope);
            }
        }
    } else if (t->epilogue == UPDATE) {
        const VECTOR keep = TYPED(spread)(t->keep), rate = TYPED(spread)(t->rate);
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++) {
                const VECTOR before = TYPED(load_first)(c + r * c_row + v * LANES,
                                                        v < vectors - 1 ? LANES : last);
                sum[r][v] = keep * before - rate * sum[r][v];
            }
        }
    }
    if (last == LANES) {
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++)
                TYPED(store)(c + r * c_row + v * LANES, sum[r][v]);
        }
    } else {
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors - 1; v++)
                TYPED(store)(c + r * c_row + v * LANES, sum[r][v]);
            TYPED(store_first)(c + r * c_row + (vectors - 1) * LANES, sum[r][vectors - 1], last);
        }
    }
}
#undef STEP

#define TILE(rows, vectors)                                                                   \
    static void TYPED(deep_##rows##x##vectors)(const struct TYPED(tile) * t) {                \
        TYPED(tile_body)(t, rows, vectors, 1);                                                \
    }                                                                                         \
    static void TYPED(wide_##rows##x##vectors)(const struct TYPED(tile) * t) {                \
        TYPED(tile_body)(t, rows, vectors, 0);                                                \
    }
#define TILES_1_TO_3(vectors) TILE(1, vectors) TILE(2, vectors) TILE(3, vectors)
#define TILES_4_TO_6(vectors) TILE(4, vectors) TILE(5, vectors) TILE(6, vectors)
#define TILES_7_TO_12(vectors)                                                                \
    TILE(7, vectors) TILE(8, vectors) TILE(9, vectors)                                        \
    TILE(10, vectors) TILE(11, vectors) TILE(12, vectors)
TILES_1_TO_3(1) TILES_4_TO_6(1) TILES_7_TO_12(1)
TILES_1_TO_3(2) TILES_4_TO_6(2)
TILES_1_TO_3(3) TILES_1_TO_3(4) TILE(1, 8)
#if REGISTERS >= 32
TILE(13, 1) TILE(14, 1) TILE(15, 1) TILE(16, 1) TILE(17, 1) TILE(18, 1) TILE(19, 1) TILE(20, 1)
TILE(21, 1) TILE(22, 1) TILE(23, 1) TILE(24, 1) TILE(25, 1) TILE(26, 1) TILE(27, 1) TILE(28, 1)
TILES_7_TO_12(2) TILE(13, 2) TILE(14, 2)
TILES_4_TO_6(3) TILE(7, 3) TILE(8, 3) TILE(9, 3)
TILES_4_TO_6(4)
TILE(2, 8) TILE(3, 8)
#else
TILE(4, 3)
#endif
#undef TILE

/* By vectors, by rows. */
#define TILE(kind, rows, vectors) [rows] = TYPED(kind##_##rows##x##vectors)
#define FIRST_3(kind, vectors)                                                                \
    TILE(kind, 1, vectors), TILE(kind, 2, vectors), TILE(kind, 3, vectors)
#define FIRST_6(kind, vectors)                                                                \
    FIRST_3(kind, vectors), TILE(kind, 4, vectors), TILE(kind, 5, vectors), TILE(kind, 6, vectors)
#define NEXT_6(kind, vectors)                                                                 \
    TILE(kind, 7, vectors), TILE(kind, 8, vectors), TILE(kind, 9, vectors),                   \
        TILE(kind, 10, vectors), TILE(kind, 11, vectors), TILE(kind, 12, vectors)
#if REGISTERS >= 32
#define TABLE(kind)                                                                           \
    {                                                                                         \
        [1] = {FIRST_6(kind, 1), NEXT_6(kind, 1), TILE(kind, 13, 1), TILE(kind, 14, 1),       \
               TILE(kind, 15, 1), TILE(kind, 16, 1), TILE(kind, 17, 1), TILE(kind, 18, 1),    \
               TILE(kind, 19, 1), TILE(kind, 20, 1), TILE(kind, 21, 1), TILE(kind, 22, 1),    \
               TILE(kind, 23, 1), TILE(kind, 24, 1), TILE(kind, 25, 1), TILE(kind, 26, 1),    \
               TILE(kind, 27, 1), TILE(kind, 28, 1)},                                         \
        [2] = {FIRST_6(kind, 2), NEXT_6(kind, 2), TILE(kind, 13, 2), TILE(kind, 14, 2)},      \
        [3] = {FIRST_6(kind, 3), TILE(kind, 7, 3), TILE(kind, 8, 3), TILE(kind, 9, 3)},       \
        [4] = {FIRST_6(kind, 4)}, [8] = {FIRST_3(kind, 8)},                                   \
    }
#else
#define TABLE(kind)                                                                           \
    {                                                                                         \
        [1] = {FIRST_6(kind, 1), NEXT_6(kind, 1)}, [2] = {FIRST_6(kind, 2)},                  \
        [3] = {FIRST_3(kind, 3), TILE(kind, 4, 3)}, [4] = {FIRST_3(kind, 4)},                 \
        [8] = {TILE(kind, 1, 8)},                                                             \
    }
#endif
static TYPED(tile_function) *const TYPED(deep)[MOST_VECTORS + 1][MOST_ROWS + 1] = TABLE(deep);
static TYPED(tile_function) *const TYPED(wide)[MOST_VECTORS + 1][MOST_ROWS + 1] = TABLE(wide);
#undef TABLE
#undef NEXT_6
#undef FIRST_6
#undef FIRST_3
#undef TILE
#undef TILES_1_TO_3
#undef TILES_4_TO_6
#undef TILES_7_TO_12
