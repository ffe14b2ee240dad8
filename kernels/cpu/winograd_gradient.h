/* Weight gradients of 3x3 convolutions with stride 1 by F(3x3, 2x2); fastconv/native/winograd_gradient.py
 * makes their rows.
 *
 * The 3x3 taps gather from a tile of 2x2 outputs and the 4x4 pixels that it sees in 16 products instead of
 * 36. It is the formula of winograd.h, read for its weights:
 *
 *   dg = G' [sum over tiles of (A dy A') * (B' d B)] G
 *
 * so that only sums and differences of pixels are multiplied, and G, which halves, comes once, at
 * the end. A row of places, 4 of the 16, is made of two rows of the pixels and of the outputs: rows of
 * places are pieces of work of their own.
 */

#ifndef WINOGRAD_ROWS
#define WINOGRAD_ROWS 4 /* of places, and places in each */
/* Elements of the transformed pixels and outputs of a row of places, and tiles of them: on the stack. */
#define WINOGRAD_GRADIENT_ELEMENTS 16384
#define WINOGRAD_GRADIENT_TILES 64
#endif

/* to[column][k] = row r of B' d B, for the 4x4 pixels d that begin at `from`, for all channels. */
INLINE void TYPED(winograd_seen_row)(const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                     ptrdiff_t channels, REAL *to, ptrdiff_t place, const int r) {
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR down[4];
        UNROLL for (int column = 0; column < 4; column++) {
            const REAL *const d = from + column * pixel + k;
            const VECTOR first = TYPED(load)(d + (r == 0 ? 0 : r == 2 ? 2 : 1) * row);
            const VECTOR second = TYPED(load)(d + (r == 2 ? 1 : r == 3 ? 3 : 2) * row);
            down[column] = r == 1 ? first + second : first - second;
        }
        TYPED(store)(to + k, down[0] - down[2]);
        TYPED(store)(to + place + k, down[1] + down[2]);
        TYPED(store)(to + 2 * place + k, down[2] - down[1]);
        TYPED(store)(to + 3 * place + k, down[1] - down[3]);
    }
}

/* to[column][n] = row r of A dy A', for 2x2 pixels dy, for all channels. */
INLINE void TYPED(winograd_spread_row)(const REAL *dy, ptrdiff_t row, ptrdiff_t pixel,
                                       ptrdiff_t channels, REAL *to, ptrdiff_t place,
                                       const int r) {
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR down[2];
        UNROLL for (int column = 0; column < 2; column++) {
            const REAL *const g = dy + column * pixel + k;
            down[column] = r == 0   ? TYPED(load)(g)
                           : r == 1 ? TYPED(load)(g) + TYPED(load)(g + row)
                           : r == 2 ? TYPED(load)(g) - TYPED(load)(g + row)
                                    : -TYPED(load)(g + row);
        }
        TYPED(store)(to + k, down[0]);
        TYPED(store)(to + place + k, down[0] + down[1]);
        TYPED(store)(to + 2 * place + k, down[0] - down[1]);
        TYPED(store)(to + 3 * place + k, -down[1]);
    }
}

/* Both, for some tiles. Integers as below. */
INLINE void TYPED(winograd_rows)(const int64_t *n, const REAL *a, const ptrdiff_t *from,
                                 const REAL *dy, const ptrdiff_t *at, ptrdiff_t tiles, REAL *seen,
                                 REAL *spread, const int r) {
    const ptrdiff_t depth = n[12], outputs = n[4];
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        TYPED(winograd_seen_row)(a + from[tile], n[7], n[8], depth, seen + tile * depth,
                                 tiles * depth, r);
        TYPED(winograd_spread_row)(dy + at[tile], n[10], n[11], outputs, spread + tile * outputs,
                                   tiles * outputs, r);
    }
}

/* sums[part][place][k][n] = the sum over the tiles of the part's samples of (B' d B)[k] (A dy A')[n];
 * biases[part][n] = the sum of dy.
 *
 * Some tiles are taken through all products together: what is made of them comes from a near cache.
 *
 * pointers: A, dy, sums, biases (float64; NULL: none)
 * integers: 0 samples, 1 rows of tiles, 2 tiles of a row; 3 vectors of a block; 4 outputs;
 *           5 inputs of a tile of sums; 6, 7, 8 strides of A: sample, row, pixel; 9, 10, 11 those of
 *           dy; 12 inputs; 13 parts of the samples; 14 tiles that are taken together
 */
static void TYPED(winograd_weight_sums)(const int64_t *record, int64_t step, int64_t thread,
                                        int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const a = pointer_of(record, 0), *const dy = pointer_of(record, 1);
    REAL *const sums = pointer_of(record, 2);
    double *const biases = pointer_of(record, 3);
    const ptrdiff_t outputs = n[4], depth = n[12], vectors = n[3], width = vectors * LANES;
    const ptrdiff_t of_sample = n[1] * n[2], across = (depth + n[5] - 1) / n[5];
    REAL seen[WINOGRAD_GRADIENT_ELEMENTS], *spread;
    ptrdiff_t from[WINOGRAD_GRADIENT_TILES], at[WINOGRAD_GRADIENT_TILES];
    ptrdiff_t next_from[WINOGRAD_GRADIENT_TILES], next_at[WINOGRAD_GRADIENT_TILES];
    struct TYPED(tile) t = {
        .runs1 = 1, .runs2 = 1, .a_step = depth, .b_step = outputs, .c_row = outputs,
        .columns = width, .finish = STORE,
    };
    const ptrdiff_t begin = first_of(n[13] * WINOGRAD_ROWS, thread, threads);
    const ptrdiff_t end = first_of(n[13] * WINOGRAD_ROWS, thread + 1, threads);
    for (ptrdiff_t piece = begin; piece < end;) {
        /* The rows of places of one part that are this thread's. */
        const ptrdiff_t part = piece / WINOGRAD_ROWS, r_begin = piece % WINOGRAD_ROWS;
        const ptrdiff_t r_end = least_of(WINOGRAD_ROWS, r_begin + end - piece);
        piece += r_end - r_begin;
        const ptrdiff_t first = first_of(n[0], part, n[13]) * of_sample;
        const ptrdiff_t last = first_of(n[0], part + 1, n[13]) * of_sample;
        double *const bias = biases ? biases + part * outputs : NULL;
        if (bias && r_begin <= 1 && r_end > 1) memset(bias, 0, (size_t)outputs * sizeof *bias);
        for (ptrdiff_t tile = first; tile < last; tile += n[14]) {
            const ptrdiff_t tiles = least_of(n[14], last - tile);
            TYPED(winograd_places)(tile, tiles, n + 1, n[6], n[7], n[8], from);
            TYPED(winograd_places)(tile, tiles, n + 1, n[9], n[10], n[11], at);
            const ptrdiff_t coming = least_of(n[14], last - tile - tiles);
            TYPED(winograd_places)(tile + tiles, coming, n + 1, n[6], n[7], n[8], next_from);
            TYPED(winograd_places)(tile + tiles, coming, n + 1, n[9], n[10], n[11], next_at);
            spread = seen + WINOGRAD_ROWS * tiles * depth;
            t.depth = tiles;
            t.from = tile > first ? START_C : START_ZERO;
            for (ptrdiff_t r = r_begin; r < r_end; r++) {
                switch (r) {
                case 0: TYPED(winograd_rows)(n, a, from, dy, at, tiles, seen, spread, 0); break;
                case 1: TYPED(winograd_rows)(n, a, from, dy, at, tiles, seen, spread, 1); break;
                case 2: TYPED(winograd_rows)(n, a, from, dy, at, tiles, seen, spread, 2); break;
                default: TYPED(winograd_rows)(n, a, from, dy, at, tiles, seen, spread, 3);
                }
                if (bias && r == 1) { /* whose second place holds the sums of the tiles */
                    for (ptrdiff_t j = 0; j < outputs; j += LANES)
                        TYPED(add_pixels)(spread + tiles * outputs + j, tiles, outputs, LANES, 1,
                                          bias + j);
                }
                for (ptrdiff_t i = 0; i < WINOGRAD_ROWS; i++) {
                    const ptrdiff_t place = (part * WINOGRAD_ROWS + r) * WINOGRAD_ROWS + i;
                    /* Meanwhile, a share of what the next tiles are made of comes near. */
                    const ptrdiff_t done = (r - r_begin) * WINOGRAD_ROWS + i;
                    const ptrdiff_t to_do = (r_end - r_begin) * WINOGRAD_ROWS;
                    for (ptrdiff_t c = first_of(coming, done, to_do);
                         c < first_of(coming, done + 1, to_do); c++) {
                        TYPED(winograd_ask_for)(a + next_from[c] + 2 * (n[7] + n[8]), n[7], n[8],
                                                depth);
                        TYPED(winograd_ask_for)(dy + next_at[c], n[10], n[11], outputs);
                    }
                    for (ptrdiff_t j = 0; j < outputs; j += width) {
                        t.b = spread + i * tiles * outputs + j;
                        for (ptrdiff_t q = 0; q < across; q++) {
                            const ptrdiff_t k = first_of(depth, q, across);
                            t.a = seen + i * tiles * depth + k;
                            t.c = sums + (place * depth + k) * outputs + j;
                            TYPED(wide)[vectors][first_of(depth, q + 1, across) - k](&t);
                        }
                    }
                }
            }
        }
    }
}

/* G' u of four vectors, which are a row or a column of places. */
#define WINOGRAD_GATHER(u0, u1, u2, u3, to)                                                   \
    do {                                                                                      \
        const VECTOR both = (u1 + u2) * half;                                                 \
        to[0] = u0 + both;                                                                    \
        to[1] = (u1 - u2) * half;                                                             \
        to[2] = both + u3;                                                                    \
    } while (0)

/* dw[tap][k][n] = G' u G of the sums u of all parts, which are added in their order; db likewise; or
 * the update of w and b by them.
 *
 * pointers: sums, biases (float64; NULL: none), dw or w, db or b, rate (UPDATE: one for each step of the run)
 * integers: 0 inputs, 1 outputs, 2 parts; 3 STORE or UPDATE
 * reals:    UPDATE: factors of rate * w and of rate * b that are subtracted beside
 */
static void TYPED(winograd_weight_gradient)(const int64_t *record, int64_t step, int64_t thread,
                                            int64_t threads) {
    const int64_t *const n = record + INTEGERS;
    const REAL *const sums = pointer_of(record, 0);
    const double *const biases = pointer_of(record, 1);
    REAL *const w = pointer_of(record, 2), *const b = pointer_of(record, 3);
    const ptrdiff_t inputs = n[0], outputs = n[1], parts = n[2], place = inputs * outputs;
    const int updates = n[3] == UPDATE;
    const double rate = updates ? ((const double *)pointer_of(record, 4))[step] : 0;
    const REAL keep_weight = (REAL)(1 - rate * real_of(record, 0));
    const VECTOR keep = TYPED(spread)(keep_weight), factor = TYPED(spread)((REAL)rate);
    const VECTOR half = TYPED(spread)((REAL)0.5);
    const ptrdiff_t vectors = place / LANES, end = first_of(vectors, thread + 1, threads) * LANES;
    for (ptrdiff_t i = first_of(vectors, thread, threads) * LANES; i < end; i += LANES) {
        VECTOR down[4][3];
        UNROLL for (int column = 0; column < 4; column++) {
            VECTOR u[4];
            UNROLL for (int row = 0; row < 4; row++)
                u[row] = TYPED(load)(sums + (4 * row + column) * place + i);
            for (ptrdiff_t part = 1; part < parts; part++) {
                UNROLL for (int row = 0; row < 4; row++)
                    u[row] += TYPED(load)(sums + (16 * part + 4 * row + column) * place + i);
            }
            WINOGRAD_GATHER(u[0], u[1], u[2], u[3], down[column]);
        }
        UNROLL for (int row = 0; row < 3; row++) {
            VECTOR taps[3];
            WINOGRAD_GATHER(down[0][row], down[1][row], down[2][row], down[3][row], taps);
            UNROLL for (int column = 0; column < 3; column++) {
                REAL *const to = w + (3 * row + column) * place + i;
                if (updates) taps[column] = keep * TYPED(load)(to) - factor * taps[column];
                TYPED(store)(to, taps[column]);
            }
        }
    }
    if (thread || !biases || !b) return;
    const REAL keep_bias = (REAL)(1 - rate * real_of(record, 1));
    for (ptrdiff_t j = 0; j < outputs; j++) {
        double total = 0;
        for (ptrdiff_t part = 0; part < parts; part++) total += biases[part * outputs + j];
        b[j] = updates ? keep_bias * b[j] - (REAL)rate * (REAL)total : (REAL)total;
    }
}
#undef WINOGRAD_GATHER

#define WINOGRAD_GRADIENT_KERNELS ENTRY(winograd_weight_sums), ENTRY(winograd_weight_gradient)
