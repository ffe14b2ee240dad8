/* Weight gradients of 3x3 convolutions with stride 1 by F(3x3, 2x2) and F(3x3, 4x4);
 * fastconv/backends/compiled/rules/winograd_gradient.py makes their instructions.
 *
 * The 3x3 taps gather from a tile of 2x2 outputs and the 4x4 pixels that it sees in 16 products instead of
 * 36, from one of 4x4 in 36 instead of 144. It is the formula of winograd_transforms.h, read for its
 * weights:
 *
 *   dg = G' [sum over tiles of (A dy A') * (B' d B)] G
 *
 * G comes once, at the end. A row of places, 4 of the 16 or 6 of the 36, is made of some rows of the
 * pixels and of the outputs: rows of places are pieces of work of their own.
 */

#ifndef WINOGRAD_GRADIENT_ELEMENTS
/* Elements of the transformed pixels and outputs of a row of places, and tiles of them: on the stack. */
#define WINOGRAD_GRADIENT_ELEMENTS 32768
#define WINOGRAD_GRADIENT_TILES 64

/* Where some tiles are, in the pixels and in the gradient, and what of them is outside. */
struct winograd_tiles_seen {
    ptrdiff_t from[WINOGRAD_GRADIENT_TILES], at[WINOGRAD_GRADIENT_TILES];
    unsigned short outside[WINOGRAD_GRADIENT_TILES], beyond[WINOGRAD_GRADIENT_TILES];
};
#endif

/* Pixel i of a column of a tile, or 0. */
#define WINOGRAD_PIXEL(i)                                                                          \
    (outside && ((outside >> (i) | outside >> (WINOGRAD_COLUMN + column)) & 1)                     \
         ? zero                                                                                    \
         : TYPED(load)(from + (i) * row + column * pixel + k))

/* to[column][k] = row r of B' d B, for the pixels d that begin at `from`, for all channels; `outside` as
 * in winograd_transforms.h. Of tiles of 4x4, the outer rows are of three pixels, the others of four. */
INLINE void TYPED(winograd_seen_row)(const int side, const int outer, int r, const REAL *from,
                                     ptrdiff_t row, ptrdiff_t pixel, ptrdiff_t channels, REAL *to,
                                     ptrdiff_t place, unsigned outside) {
    const VECTOR zero = {0};
    const int one = r == 0 ? 0 : r == 2 ? 2 : 1, two = r == 2 ? 1 : r == 3 ? 3 : 2;
    const VECTOR sign = TYPED(spread)((REAL)(r == 1 ? 1 : -1));
    const int begin = r > 0;
    const VECTOR factor = TYPED(spread)((REAL)(r < 3 ? 2 : 0.5));
    const VECTOR odd = TYPED(spread)((REAL)((r & 1 ? 1 : -1) * (r < 3 ? WINOGRAD_A : WINOGRAD_B)));
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR vertical[6], v[6];
        UNROLL for (int column = 0; column < side + 2; column++) {
            if (side == 2)
                vertical[column] = WINOGRAD_PIXEL(one) + sign * WINOGRAD_PIXEL(two);
            else if (outer)
                vertical[column] = (WINOGRAD_PIXEL(begin) + WINOGRAD_PIXEL(begin + 4)) -
                                   WINOGRAD_PIXEL(begin + 2) * (REAL)2.5;
            else
                vertical[column] = (WINOGRAD_PIXEL(4) - WINOGRAD_PIXEL(2) * factor) +
                                   (WINOGRAD_PIXEL(3) - WINOGRAD_PIXEL(1) * factor) * odd;
        }
        if (side == 2)
            TYPED(winograd_seen_2)(vertical, v);
        else
            TYPED(winograd_seen_4)(vertical, v);
        UNROLL for (int i = 0; i < side + 2; i++) TYPED(store)(to + i * place + k, v[i]);
    }
}

/* to[column][n] = row r of A dy A', for the outputs' gradients that begin at `from`. The outer rows are of
 * one of theirs, the others of all. */
INLINE void TYPED(winograd_spread_row)(const int side, const int outer, int r, const REAL *from,
                                       ptrdiff_t row, ptrdiff_t pixel, ptrdiff_t channels, REAL *to,
                                       ptrdiff_t place, unsigned outside) {
    const VECTOR zero = {0};
    const int one = r > 0 ? side - 1 : 0;
    const VECTOR sign = TYPED(spread)((REAL)(side == 2 && r > 1 ? -1 : 1));
    const VECTOR factor = TYPED(spread)((REAL)(r < 3 ? 0.5 : 2));
    const VECTOR odd = TYPED(spread)((REAL)((r & 1 ? 1 : -1) * (r < 3 ? WINOGRAD_A : WINOGRAD_B)));
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR vertical[4], v[6];
        UNROLL for (int column = 0; column < side; column++) {
            if (outer)
                vertical[column] = sign * WINOGRAD_PIXEL(one);
            else if (side == 2)
                vertical[column] = WINOGRAD_PIXEL(0) + sign * WINOGRAD_PIXEL(1);
            else
                vertical[column] = (WINOGRAD_PIXEL(0) + WINOGRAD_PIXEL(2) * factor) +
                                   (WINOGRAD_PIXEL(1) + WINOGRAD_PIXEL(3) * factor) * odd;
        }
        if (side == 2)
            TYPED(winograd_spread_2)(vertical, v);
        else
            TYPED(winograd_spread_4)(vertical, v);
        UNROLL for (int i = 0; i < side + 2; i++) TYPED(store)(to + i * place + k, v[i]);
    }
}

/* to[n] = the sum of a tile of outputs' gradients. */
INLINE void TYPED(winograd_sum_of_tile)(int side, const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                        ptrdiff_t channels, REAL *to, unsigned outside) {
    const VECTOR zero = {0};
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR sum = zero;
        for (int column = 0; column < side; column++) {
            VECTOR down = WINOGRAD_PIXEL(0) + WINOGRAD_PIXEL(1);
            if (side == 4) down = down + (WINOGRAD_PIXEL(2) + WINOGRAD_PIXEL(3));
            sum = sum + down;
        }
        TYPED(store)(to + k, sum);
    }
}
#undef WINOGRAD_PIXEL

/* The rows by side, within an image and at its edge: apart, since one place calls for each of them. The outer
 * rows of pixels are as the others for tiles of 2x2. */
#define WINOGRAD_ROW(name, where, has_outer_of_2, bits)                                            \
    APART void TYPED(JOIN(name, where))(int side, int r, const REAL *from, ptrdiff_t row,          \
                                        ptrdiff_t pixel, ptrdiff_t channels, REAL *to,             \
                                        ptrdiff_t place, unsigned outside) {                       \
        const int outer = r == 0 || r == side + 1;                                                 \
        (void)outside;                                                                             \
        if (side == 2 && outer && has_outer_of_2)                                                  \
            TYPED(name)(2, 1, r, from, row, pixel, channels, to, place, bits);                     \
        else if (side == 2)                                                                        \
            TYPED(name)(2, 0, r, from, row, pixel, channels, to, place, bits);                     \
        else if (outer)                                                                            \
            TYPED(name)(4, 1, r, from, row, pixel, channels, to, place, bits);                     \
        else                                                                                       \
            TYPED(name)(4, 0, r, from, row, pixel, channels, to, place, bits);                     \
    }
WINOGRAD_ROW(winograd_seen_row, within, 0, 0)
WINOGRAD_ROW(winograd_seen_row, at_edge, 0, outside)
WINOGRAD_ROW(winograd_spread_row, within, 1, 0)
#undef WINOGRAD_ROW

/* At the edge, the gradient of a tile is copied: no tile of an even image is there. */
APART void TYPED(winograd_spread_row_at_edge)(int side, int r, const REAL *from, ptrdiff_t row,
                                              ptrdiff_t pixel, ptrdiff_t channels, REAL *to,
                                              ptrdiff_t place, unsigned outside) {
    REAL inside[16 * LANES];
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        TYPED(winograd_inside)(side, from + k, row, pixel, inside, outside);
        TYPED(winograd_spread_row_within)
        (side, r, inside, side * LANES, LANES, LANES, to + k, place, 0);
    }
}

/* Row r of both, for some tiles. The instruction is that below. */
INLINE void TYPED(winograd_rows)(const struct winograd_weight_sums *n, int r, const REAL *a,
                                 const REAL *dy, const struct winograd_tiles_seen *where,
                                 ptrdiff_t tiles, REAL *seen, REAL *spread) {
    const ptrdiff_t depth = n->inputs, outputs = n->outputs;
    const int side = (int)n->side;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        const REAL *const pixels = a + where->from[tile], *const g = dy + where->at[tile];
        const unsigned outside = where->outside[tile], beyond = where->beyond[tile];
        (outside ? TYPED(winograd_seen_row_at_edge) : TYPED(winograd_seen_row_within))(
            side, r, pixels, n->a_row, n->a_column, depth, seen + tile * depth, tiles * depth,
            outside);
        (beyond ? TYPED(winograd_spread_row_at_edge) : TYPED(winograd_spread_row_within))(
            side, r, g, n->dy_row, n->dy_column, outputs, spread + tile * outputs,
            tiles * outputs, beyond);
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
    const int side = (int)n->side;
    const ptrdiff_t rows = side + 2; /* of places, and places in each */
    REAL seen[WINOGRAD_GRADIENT_ELEMENTS], *spread, *of_tiles;
    struct winograd_tiles_seen here, next;
    const struct winograd_image image = WINOGRAD_SEEN_IMAGE(n, side);
    const struct winograd_image gradient = {
        n->tile_rows, n->tiles,  n->dy_height, n->dy_width, 0,    0,
        n->dy_sample, n->dy_row, n->dy_column, side,        side,
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
    const ptrdiff_t begin = first_of(n->parts * rows, thread, threads);
    const ptrdiff_t end = first_of(n->parts * rows, thread + 1, threads);
    for (ptrdiff_t piece = begin; piece < end;) {
        /* The rows of places of one part that are this thread's. */
        const ptrdiff_t part = piece / rows, r_begin = piece % rows;
        const ptrdiff_t r_end = least_of(rows, r_begin + end - piece);
        piece += r_end - r_begin;
        const ptrdiff_t first = first_of(n->samples, part, n->parts) * of_sample;
        const ptrdiff_t last = first_of(n->samples, part + 1, n->parts) * of_sample;
        double *const bias = biases && r_begin == 0 ? biases + part * n->sums_row : NULL;
        if (bias) memset(bias, 0, (size_t)outputs * sizeof *bias);
        for (ptrdiff_t tile = first; tile < last; tile += n->together) {
            const ptrdiff_t tiles = least_of(n->together, last - tile);
            winograd_places(&image, tile, tiles, here.from, here.outside);
            winograd_places(&gradient, tile, tiles, here.at, here.beyond);
            const ptrdiff_t coming = least_of(n->together, last - tile - tiles);
            winograd_places(&image, tile + tiles, coming, next.from, next.outside);
            winograd_places(&gradient, tile + tiles, coming, next.at, next.beyond);
            spread = seen + rows * tiles * depth;
            of_tiles = spread + rows * tiles * outputs;
            t.depth = tiles;
            t.init = tile > first ? INIT_C : INIT_ZERO;
            if (bias) {
                for (ptrdiff_t each = 0; each < tiles; each++)
                    TYPED(winograd_sum_of_tile)
                    (side, dy + here.at[each], n->dy_row, n->dy_column, outputs,
                     of_tiles + each * outputs, here.beyond[each]);
                for (ptrdiff_t j = 0; j < outputs; j += LANES)
                    TYPED(add_pixels)(of_tiles + j, tiles, outputs, LANES, 1, bias + j);
            }
            for (ptrdiff_t r = r_begin; r < r_end; r++) {
                TYPED(winograd_rows)(n, (int)r, a, dy, &here, tiles, seen, spread);
                for (ptrdiff_t i = 0; i < rows; i++) {
                    const ptrdiff_t place = (part * rows + r) * rows + i;
                    /* Meanwhile, a share of what the next tiles are made of comes near. */
                    const ptrdiff_t done = (r - r_begin) * rows + i;
                    const ptrdiff_t to_do = (r_end - r_begin) * rows;
                    for (ptrdiff_t c = first_of(coming, done, to_do);
                         c < first_of(coming, done + 1, to_do); c++) {
                        TYPED(winograd_ask_for)
                        (side, a + next.from[c] + 2 * (n->a_row + n->a_column), n->a_row,
                         n->a_column, depth);
                        TYPED(winograd_ask_for)
                        (side, dy + next.at[c], n->dy_row, n->dy_column, outputs);
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

/* Of a vector of inputs and outputs: the 3x3 taps of the sums of all parts, and what becomes of them. */
#define WINOGRAD_TAPS_OF(side, sees)                                                               \
    INLINE void TYPED(JOIN(winograd_taps_of, side))(const REAL *sums, ptrdiff_t place,             \
                                                    ptrdiff_t parts, REAL *w, int updates,         \
                                                    VECTOR keep, VECTOR factor) {                  \
        VECTOR vertical[sees][3];                                                                  \
        for (int column = 0; column < sees; column++) {                                            \
            VECTOR u[sees];                                                                        \
            UNROLL for (int row = 0; row < sees; row++) u[row] =                                   \
                TYPED(load)(sums + (sees * row + column) * place);                                 \
            for (ptrdiff_t part = 1; part < parts; part++) {                                       \
                UNROLL for (int row = 0; row < sees; row++) u[row] +=                              \
                    TYPED(load)(sums + (sees * (sees * part + row) + column) * place);             \
            }                                                                                      \
            TYPED(JOIN(winograd_taps, side))(u, vertical[column]);                                 \
        }                                                                                          \
        for (int row = 0; row < 3; row++) {                                                        \
            VECTOR u[sees], taps[3];                                                               \
            UNROLL for (int column = 0; column < sees; column++) u[column] =                       \
                vertical[column][row];                                                             \
            TYPED(JOIN(winograd_taps, side))(u, taps);                                             \
            UNROLL for (int column = 0; column < 3; column++) {                                    \
                REAL *const to = w + (3 * row + column) * place;                                   \
                if (updates) taps[column] = keep * TYPED(load)(to) - factor * taps[column];        \
                TYPED(store)(to, taps[column]);                                                    \
            }                                                                                      \
        }                                                                                          \
    }
WINOGRAD_TAPS_OF(2, 4)
WINOGRAD_TAPS_OF(4, 6)
#undef WINOGRAD_TAPS_OF

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
    const ptrdiff_t vectors = place / LANES, end = first_of(vectors, thread + 1, threads) * LANES;
    for (ptrdiff_t i = first_of(vectors, thread, threads) * LANES; i < end; i += LANES) {
        if (n->side == 2)
            TYPED(winograd_taps_of_2)(sums + i, place, parts, w + i, updates, keep, factor);
        else
            TYPED(winograd_taps_of_4)(sums + i, place, parts, w + i, updates, keep, factor);
    }
    if (thread || !biases || !b) return;
    const REAL keep_bias = (REAL)(1 - rate * n->bias_decay);
    for (ptrdiff_t j = 0; j < outputs; j++) {
        double total = 0;
        for (ptrdiff_t part = 0; part < parts; part++) total += biases[part * outputs + j];
        b[j] = updates ? keep_bias * b[j] - (REAL)rate * (REAL)total : (REAL)total;
    }
}

#define WINOGRAD_GRADIENT_KERNELS ENTRY(winograd_weight_sums), ENTRY(winograd_weight_gradient)
