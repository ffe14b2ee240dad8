/* Weight gradients of 3x3 convolutions with stride 1 by F(3x3, 2x2); fastconv/backends/compiled/rules/winograd_gradient.py
 * makes their instructions.
 *
 * The 3x3 taps gather from a tile of 2x2 outputs and the 4x4 pixels that it sees in 16 products instead of
 * 36. It is the formula of winograd_transforms.h, read for its weights:
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
        VECTOR vertical[4];
        UNROLL for (int column = 0; column < 4; column++) {
            const REAL *const d = from + column * pixel + k;
            const VECTOR first = TYPED(load)(d + (r == 0 ? 0 : r == 2 ? 2 : 1) * row);
            const VECTOR second = TYPED(load)(d + (r == 2 ? 1 : r == 3 ? 3 : 2) * row);
            vertical[column] = r == 1 ? first + second : first - second;
        }
        TYPED(store)(to + k, vertical[0] - vertical[2]);
        TYPED(store)(to + place + k, vertical[1] + vertical[2]);
        TYPED(store)(to + 2 * place + k, vertical[2] - vertical[1]);
        TYPED(store)(to + 3 * place + k, vertical[1] - vertical[3]);
    }
}

/* The same at the edge of an image: `outside` as in winograd_transforms.h. */
APART void TYPED(winograd_seen_row_at_edge)(const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                            ptrdiff_t channels, REAL *to, ptrdiff_t place, int r,
                                            unsigned outside) {
    const int one = r == 0 ? 0 : r == 2 ? 2 : 1, two = r == 2 ? 1 : r == 3 ? 3 : 2;
    const VECTOR zero = {0};
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR vertical[4];
        UNROLL for (int column = 0; column < 4; column++) {
            const REAL *const d = from + column * pixel + k;
            VECTOR first = zero, second = zero;
            if (!(outside >> (WINOGRAD_COLUMN + column) & 1)) {
                if (!(outside >> one & 1)) first = TYPED(load)(d + one * row);
                if (!(outside >> two & 1)) second = TYPED(load)(d + two * row);
            }
            vertical[column] = r == 1 ? first + second : first - second;
        }
        TYPED(store)(to + k, vertical[0] - vertical[2]);
        TYPED(store)(to + place + k, vertical[1] + vertical[2]);
        TYPED(store)(to + 2 * place + k, vertical[2] - vertical[1]);
        TYPED(store)(to + 3 * place + k, vertical[1] - vertical[3]);
    }
}

/* to[column][n] = row r of A dy A', for 2x2 pixels dy, for all channels. */
INLINE void TYPED(winograd_spread_row)(const REAL *dy, ptrdiff_t row, ptrdiff_t pixel,
                                       ptrdiff_t channels, REAL *to, ptrdiff_t place, const int r) {
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR vertical[2];
        UNROLL for (int column = 0; column < 2; column++) {
            const REAL *const g = dy + column * pixel + k;
            vertical[column] = r == 0   ? TYPED(load)(g)
                           : r == 1 ? TYPED(load)(g) + TYPED(load)(g + row)
                           : r == 2 ? TYPED(load)(g) - TYPED(load)(g + row)
                                    : -TYPED(load)(g + row);
        }
        TYPED(store)(to + k, vertical[0]);
        TYPED(store)(to + place + k, vertical[0] + vertical[1]);
        TYPED(store)(to + 2 * place + k, vertical[0] - vertical[1]);
        TYPED(store)(to + 3 * place + k, -vertical[1]);
    }
}

/* Both, for some tiles. The instruction is that below. */
INLINE void TYPED(winograd_rows)(const struct winograd_weight_sums *n, const REAL *a,
                                 const ptrdiff_t *from, const unsigned short *outside,
                                 const REAL *dy, const ptrdiff_t *at, ptrdiff_t tiles, REAL *seen,
                                 REAL *spread, const int r) {
    const ptrdiff_t depth = n->inputs, outputs = n->outputs;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        if (outside[tile])
            TYPED(winograd_seen_row_at_edge)
        (a + from[tile], n->a_row, n->a_column, depth, seen + tile * depth, tiles * depth, r,
         outside[tile]);
        else
            TYPED(winograd_seen_row)
        (a + from[tile], n->a_row, n->a_column, depth, seen + tile * depth, tiles * depth, r);
        TYPED(winograd_spread_row)
        (dy + at[tile], n->dy_row, n->dy_column, outputs, spread + tile * outputs, tiles * outputs,
         r);
    }
}

/* sums[part][place][k][n] = the sum over the tiles of the part's samples of (B' d B)[k] (A dy A')[n];
 * biases[part][n] = the sum of dy. Inputs and outputs may be a block of those of the convolution.
 *
 * Some tiles are taken through all products together: what is made of them comes from L2.
 */
static void TYPED(winograd_weight_sums)(const int64_t *instruction, int64_t step, int64_t thread,
                                        int64_t threads) {
    (void)step;
    const struct winograd_weight_sums *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const dy = array_at(n->dy);
    REAL *const sums = array_at(n->sums);
    double *const biases = array_at(n->bias_sums);
    const ptrdiff_t outputs = n->outputs, depth = n->inputs, vectors = n->vectors,
                    width = vectors * LANES;
    const ptrdiff_t of_sample = n->tile_rows * n->tiles,
                    across = (depth + n->tile_inputs - 1) / n->tile_inputs;
    REAL seen[WINOGRAD_GRADIENT_ELEMENTS], *spread;
    ptrdiff_t from[WINOGRAD_GRADIENT_TILES], at[WINOGRAD_GRADIENT_TILES];
    ptrdiff_t next_from[WINOGRAD_GRADIENT_TILES], next_at[WINOGRAD_GRADIENT_TILES];
    unsigned short outside[WINOGRAD_GRADIENT_TILES], next_outside[WINOGRAD_GRADIENT_TILES];
    unsigned short none[WINOGRAD_GRADIENT_TILES]; /* all pixels of dy are in its image */
    const struct winograd_image image = WINOGRAD_SEEN_IMAGE(n, 2);
    const struct winograd_image gradient = {
        n->tile_rows, n->tiles,  2 * n->tile_rows, 2 * n->tiles, 0, 0,
        n->dy_sample, n->dy_row, n->dy_column,     2,            2,
    };
    struct TYPED(tile) t = {
        .runs1 = 1,
        .runs2 = 1,
        .a_step = depth,
        .b_step = outputs,
        .c_row = n->sums_row,
        .columns = width,
        .epilogue = STORE,
    };
    const ptrdiff_t begin = first_of(n->parts * WINOGRAD_ROWS, thread, threads);
    const ptrdiff_t end = first_of(n->parts * WINOGRAD_ROWS, thread + 1, threads);
    for (ptrdiff_t piece = begin; piece < end;) {
        /* The rows of places of one part that are this thread's. */
        const ptrdiff_t part = piece / WINOGRAD_ROWS, r_begin = piece % WINOGRAD_ROWS;
        const ptrdiff_t r_end = least_of(WINOGRAD_ROWS, r_begin + end - piece);
        piece += r_end - r_begin;
        const ptrdiff_t first = first_of(n->samples, part, n->parts) * of_sample;
        const ptrdiff_t last = first_of(n->samples, part + 1, n->parts) * of_sample;
        double *const bias = biases ? biases + part * n->sums_row : NULL;
        if (bias && r_begin <= 1 && r_end > 1) memset(bias, 0, (size_t)outputs * sizeof *bias);
        for (ptrdiff_t tile = first; tile < last; tile += n->together) {
            const ptrdiff_t tiles = least_of(n->together, last - tile);
            winograd_places(&image, tile, tiles, from, outside);
            winograd_places(&gradient, tile, tiles, at, none);
            const ptrdiff_t coming = least_of(n->together, last - tile - tiles);
            winograd_places(&image, tile + tiles, coming, next_from, next_outside);
            winograd_places(&gradient, tile + tiles, coming, next_at, none);
            spread = seen + WINOGRAD_ROWS * tiles * depth;
            t.depth = tiles;
            t.init = tile > first ? INIT_C : INIT_ZERO;
            for (ptrdiff_t r = r_begin; r < r_end; r++) {
                switch (r) {
                case 0:
                    TYPED(winograd_rows)(n, a, from, outside, dy, at, tiles, seen, spread, 0);
                    break;
                case 1:
                    TYPED(winograd_rows)(n, a, from, outside, dy, at, tiles, seen, spread, 1);
                    break;
                case 2:
                    TYPED(winograd_rows)(n, a, from, outside, dy, at, tiles, seen, spread, 2);
                    break;
                default:
                    TYPED(winograd_rows)(n, a, from, outside, dy, at, tiles, seen, spread, 3);
                }
                if (bias && r == 1) { /* whose second place holds the sums of the tiles */
                    for (ptrdiff_t j = 0; j < outputs; j += LANES)
                        TYPED(add_pixels)
                        (spread + tiles * outputs + j, tiles, outputs, LANES, 1, bias + j);
                }
                for (ptrdiff_t i = 0; i < WINOGRAD_ROWS; i++) {
                    const ptrdiff_t place = (part * WINOGRAD_ROWS + r) * WINOGRAD_ROWS + i;
                    /* Meanwhile, a share of what the next tiles are made of comes near. */
                    const ptrdiff_t done = (r - r_begin) * WINOGRAD_ROWS + i;
                    const ptrdiff_t to_do = (r_end - r_begin) * WINOGRAD_ROWS;
                    for (ptrdiff_t c = first_of(coming, done, to_do);
                         c < first_of(coming, done + 1, to_do); c++) {
                        TYPED(winograd_ask_for)
                        (2, a + next_from[c] + 2 * (n->a_row + n->a_column), n->a_row, n->a_column,
                         depth);
                        TYPED(winograd_ask_for)
                        (2, dy + next_at[c], n->dy_row, n->dy_column, outputs);
                    }
                    for (ptrdiff_t j = 0; j < outputs; j += width) {
                        t.b = spread + i * tiles * outputs + j;
                        for (ptrdiff_t q = 0; q < across; q++) {
                            const ptrdiff_t k = first_of(depth, q, across);
                            t.a = seen + i * tiles * depth + k;
                            t.c = sums + place * n->sums_place + k * n->sums_row + j;
                            TYPED(wide)[vectors][first_of(depth, q + 1, across) - k](&t);
                        }
                    }
                }
            }
        }
    }
}

/* G' u of four vectors, which are a row or a column of places. */
#define WINOGRAD_GATHER(u0, u1, u2, u3, to)                                                        \
    do {                                                                                           \
        const VECTOR both = (u1 + u2) * half;                                                      \
        to[0] = u0 + both;                                                                         \
        to[1] = (u1 - u2) * half;                                                                  \
        to[2] = both + u3;                                                                         \
    } while (0)

/* dw[tap][k][n] = G' u G of the sums u of all parts, which are added in their order; db likewise; or
 * the update of w and b by them.
 */
static void TYPED(winograd_weight_gradient)(const int64_t *instruction, int64_t step,
                                            int64_t thread, int64_t threads) {
    const struct winograd_weight_gradient *const n = fields_of(instruction);
    const REAL *const sums = array_at(n->sums);
    const double *const biases = array_at(n->bias_sums);
    REAL *const w = array_at(n->dw), *const b = array_at(n->db);
    const ptrdiff_t inputs = n->inputs, outputs = n->outputs, parts = n->parts,
                    place = inputs * outputs;
    const int updates = n->epilogue == UPDATE;
    const double rate = updates ? ((const double *)array_at(n->rate))[step] : 0;
    const REAL keep_weight = (REAL)(1 - rate * n->decay);
    const VECTOR keep = TYPED(spread)(keep_weight), factor = TYPED(spread)((REAL)rate);
    const VECTOR half = TYPED(spread)((REAL)0.5);
    const ptrdiff_t vectors = place / LANES, end = first_of(vectors, thread + 1, threads) * LANES;
    for (ptrdiff_t i = first_of(vectors, thread, threads) * LANES; i < end; i += LANES) {
        VECTOR vertical[4][3];
        UNROLL for (int column = 0; column < 4; column++) {
            VECTOR u[4];
            UNROLL for (int row = 0; row < 4; row++) u[row] =
                TYPED(load)(sums + (4 * row + column) * place + i);
            for (ptrdiff_t part = 1; part < parts; part++) {
                UNROLL for (int row = 0; row < 4; row++) u[row] +=
                    TYPED(load)(sums + (16 * part + 4 * row + column) * place + i);
            }
            WINOGRAD_GATHER(u[0], u[1], u[2], u[3], vertical[column]);
        }
        UNROLL for (int row = 0; row < 3; row++) {
            VECTOR taps[3];
            WINOGRAD_GATHER(vertical[0][row], vertical[1][row], vertical[2][row], vertical[3][row], taps);
            UNROLL for (int column = 0; column < 3; column++) {
                REAL *const to = w + (3 * row + column) * place + i;
                if (updates) taps[column] = keep * TYPED(load)(to) - factor * taps[column];
                TYPED(store)(to, taps[column]);
            }
        }
    }
    if (thread || !biases || !b) return;
    const REAL keep_bias = (REAL)(1 - rate * n->bias_decay);
    for (ptrdiff_t j = 0; j < outputs; j++) {
        double total = 0;
        for (ptrdiff_t part = 0; part < parts; part++) total += biases[part * outputs + j];
        b[j] = updates ? keep_bias * b[j] - (REAL)rate * (REAL)total : (REAL)total;
    }
}
#undef WINOGRAD_GATHER

#define WINOGRAD_GRADIENT_KERNELS ENTRY(winograd_weight_sums), ENTRY(winograd_weight_gradient)
