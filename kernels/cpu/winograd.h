/* 3x3 convolutions with stride 1 by F(2x2, 3x3); fastconv/backends/compiled/rules/winograd.py makes their instructions.
 *
 * Four outputs, a tile, take 16 products of transformed inputs and weights instead of 36:
 *
 *   Y = A' [(G g G') * (B' d B)] A
 *
 * with d the 4x4 pixels that a tile sees and g the weights. Winograd, "Arithmetic Complexity of
 * Computations" (1980); Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
 * (arXiv:1509.09308), equation 8. The transforms add, subtract and halve. For each of the 16 places, the
 * products over channels are one product of gemm.h.
 */

#ifndef WINOGRAD_PLACES
#define WINOGRAD_PLACES 16
/* Elements of the transformed pixels of some tiles, and tiles whose results wait: on the stack. */
#define WINOGRAD_ELEMENTS 16384
#define WINOGRAD_TILES 14
#endif

/* to[place][block][k][n] = G g G' of the weights g of input k and output n. */
static void TYPED(winograd_weights)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    (void)step;
    const struct winograd_weights *const n = fields_of(instruction);
    const REAL *const from = array_at(n->w);
    REAL *const to = array_at(n->transformed);
    const ptrdiff_t outputs = n->outputs, depth = n->inputs, width = n->vectors * LANES;
    const VECTOR half = TYPED(spread)((REAL)0.5);
    const ptrdiff_t end = first_of(depth, thread + 1, threads);
    for (ptrdiff_t k = first_of(depth, thread, threads); k < end; k++) {
        for (ptrdiff_t j = 0; j < outputs; j += LANES) {
            VECTOR vertical[4][3];
            UNROLL for (int column = 0; column < 3; column++) {
                const REAL *const g = from + column * n->w_across + k * n->w_input + j;
                const VECTOR g0 = TYPED(load)(g), g1 = TYPED(load)(g + n->w_down);
                const VECTOR g2 = TYPED(load)(g + 2 * n->w_down), outer = (g0 + g2) * half;
                vertical[0][column] = g0;
                vertical[1][column] = outer + g1 * half;
                vertical[2][column] = outer - g1 * half;
                vertical[3][column] = g2;
            }
            REAL *const out = to + (j / width * depth + k) * width + j % width;
            UNROLL for (int row = 0; row < 4; row++) {
                const VECTOR g0 = vertical[row][0], g1 = vertical[row][1], g2 = vertical[row][2];
                const VECTOR outer = (g0 + g2) * half;
                TYPED(store)(out + (4 * row + 0) * n->place, g0);
                TYPED(store)(out + (4 * row + 1) * n->place, outer + g1 * half);
                TYPED(store)(out + (4 * row + 2) * n->place, outer - g1 * half);
                TYPED(store)(out + (4 * row + 3) * n->place, g2);
            }
        }
    }
}

/* to[place][k] = B' d B for the 4x4 pixels d that begin at `from`, for all channels. Some may be no
 * pixels of the image, and so 0: bit i of `outside` says it of row i, bit 4 + i of column i. */
INLINE void TYPED(winograd_pixels_of_tile)(const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                           ptrdiff_t channels, REAL *to, ptrdiff_t place,
                                           unsigned outside) {
    const VECTOR zero = {0};
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR vertical[4][4];
        UNROLL for (int column = 0; column < 4; column++) {
            VECTOR d[4] = {zero, zero, zero, zero};
            if (!(outside >> (4 + column) & 1)) {
                UNROLL for (int i = 0; i < 4; i++) {
                    if (!(outside >> i & 1)) d[i] = TYPED(load)(from + i * row + column * pixel + k);
                }
            }
            vertical[0][column] = d[0] - d[2];
            vertical[1][column] = d[1] + d[2];
            vertical[2][column] = d[2] - d[1];
            vertical[3][column] = d[1] - d[3];
        }
        UNROLL for (int r = 0; r < 4; r++) {
            REAL *const out = to + 4 * r * place + k;
            TYPED(store)(out, vertical[r][0] - vertical[r][2]);
            TYPED(store)(out + place, vertical[r][1] + vertical[r][2]);
            TYPED(store)(out + 2 * place, vertical[r][2] - vertical[r][1]);
            TYPED(store)(out + 3 * place, vertical[r][1] - vertical[r][3]);
        }
    }
}

APART void TYPED(winograd_pixels_at_edge)(const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                          ptrdiff_t channels, REAL *to, ptrdiff_t place,
                                          unsigned outside) {
    TYPED(winograd_pixels_of_tile)(from, row, pixel, channels, to, place, outside);
}

/* Tiles within the image have no conditions. */
INLINE void TYPED(winograd_seen_tile)(const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                      ptrdiff_t channels, REAL *to, ptrdiff_t place,
                                      unsigned outside) {
    if (outside)
        TYPED(winograd_pixels_at_edge)(from, row, pixel, channels, to, place, outside);
    else
        TYPED(winograd_pixels_of_tile)(from, row, pixel, channels, to, place, 0);
}

#ifndef WINOGRAD_EDGES
#define WINOGRAD_EDGES
/* Images whose tiles overlap: `high` tiles down and `wide` across, of which the first begins `top` rows
 * above the image and `left` pixels beside it. What is outside of the image is 0. */
struct winograd_image {
    ptrdiff_t high, wide, height, width, top, left, sample, row, pixel;
};

/* Which of four rows or columns from one on are outside of an image of so many. */
INLINE unsigned winograd_outside(ptrdiff_t first, ptrdiff_t size) {
    unsigned bits = 0;
    for (int i = 0; i < 4; i++) bits |= (unsigned)(first + i < 0 || first + i >= size) << i;
    return bits;
}

/* places[tile] = where the 4x4 pixels begin that a tile sees, which may be in front of the image, for some
 * tiles from the first of them on, which are counted through the samples; outside[tile]: which rows and
 * columns of them are not in the image. */
INLINE void winograd_seen_places(const struct winograd_image *image, ptrdiff_t first, ptrdiff_t tiles,
                                 ptrdiff_t *places, unsigned char *outside) {
    ptrdiff_t line = first / image->wide, column = first % image->wide;
    ptrdiff_t start = line / image->high * image->sample, down = line % image->high;
    unsigned rows = winograd_outside(2 * down - image->top, image->height);
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        const ptrdiff_t y = 2 * down - image->top, x = 2 * column - image->left;
        places[tile] = start + y * image->row + x * image->pixel;
        outside[tile] = (unsigned char)(rows | winograd_outside(x, image->width) << 4);
        if (++column < image->wide) continue;
        column = 0;
        if (++down == image->high) down = 0, start += image->sample;
        rows = winograd_outside(2 * down - image->top, image->height);
    }
}

/* The image that an instruction of these reads: their fields have the same names. */
#define WINOGRAD_IMAGE(n)                                                                          \
    {                                                                                              \
        n->tile_rows, n->tiles, n->height, n->width, n->top, n->left, n->a_sample, n->a_row,       \
            n->a_column                                                                            \
    }
#endif

/* places[tile] = where the tile begins, for some tiles from the first of them on, which are counted
 * through the samples: `high` tiles down and `wide` across, at two rows or pixels from each other. */
INLINE void TYPED(winograd_places)(ptrdiff_t first, ptrdiff_t tiles, ptrdiff_t high, ptrdiff_t wide,
                                   ptrdiff_t sample, ptrdiff_t row, ptrdiff_t pixel,
                                   ptrdiff_t *places) {
    ptrdiff_t line = first / wide, column = first % wide;
    ptrdiff_t start = line / high * sample, down = line % high;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        places[tile] = start + 2 * (down * row + column * pixel);
        if (++column < wide) continue;
        column = 0;
        if (++down < high) continue;
        down = 0, start += sample;
    }
}

/* The outputs of a tile from the sums of its places, of one vector of outputs. */
INLINE void TYPED(winograd_outputs_of_tile)(const REAL *m, ptrdiff_t place, VECTOR start, REAL *c,
                                            const REAL *other, ptrdiff_t row, ptrdiff_t column,
                                            int epilogue, VECTOR slope) {
    VECTOR vertical[2][4];
    UNROLL for (int j = 0; j < 4; j++) {
        const VECTOR m1 = TYPED(load)(m + (4 + j) * place);
        const VECTOR m2 = TYPED(load)(m + (8 + j) * place);
        vertical[0][j] = TYPED(load)(m + j * place) + (m1 + m2);
        vertical[1][j] = (m1 - m2) - TYPED(load)(m + (12 + j) * place);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        VECTOR y[2];
        y[0] = start + (vertical[i][0] + (vertical[i][1] + vertical[i][2]));
        y[1] = start + ((vertical[i][1] - vertical[i][2]) - vertical[i][3]);
        UNROLL for (int j = 0; j < 2; j++) {
            const ptrdiff_t at = i * row + j * column;
            if (epilogue != STORE) {
                const VECTOR test = epilogue == LEAKY_RELU ? y[j] : TYPED(load)(other + at);
                y[j] = TYPED(where_positive)(test, y[j], y[j] * slope);
            }
            TYPED(store)(c + at, y[j]);
        }
    }
}

/* Ask for some elements of 2 x 2 pixels to come near. */
INLINE void TYPED(winograd_ask_for)(const REAL *pixel, ptrdiff_t row, ptrdiff_t column,
                                    ptrdiff_t elements) {
#if defined(__GNUC__)
    for (ptrdiff_t k = 0; k < elements; k += 64 / (ptrdiff_t)sizeof(REAL)) {
        __builtin_prefetch(pixel + k);
        __builtin_prefetch(pixel + column + k);
        __builtin_prefetch(pixel + row + k);
        __builtin_prefetch(pixel + row + column + k);
    }
#else
    (void)pixel, (void)row, (void)column, (void)elements;
#endif
}

/* C[sample, row, column, n] = bias + sum over 3x3 taps and k of A[...] w[tap, k, n].
 *
 * The tiles of an image are cut into groups of nearly the same size. While the products of a group are
 * made, the memory that its outputs go to and the pixels that are new to the next group are asked for.
 */
static void TYPED(winograd_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    (void)step;
    const struct winograd_tiles *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const b = array_at(n->b);
    REAL *const c = array_at(n->c);
    const REAL *const bias = array_at(n->bias), *const other = array_at(n->other);
    const ptrdiff_t vectors = n->vectors, width = vectors * LANES, blocks = n->outputs / width,
                    depth = n->inputs;
    const ptrdiff_t all = n->tile_rows * n->tiles, groups = (all + n->together - 1) / n->together;
    const int epilogue = (int)n->epilogue;
    const VECTOR slope = TYPED(spread)((REAL)n->slope);
    REAL pixels[WINOGRAD_ELEMENTS];
    REAL results[WINOGRAD_PLACES * WINOGRAD_TILES * 2 * (sizeof(VECTOR) / sizeof(REAL))];
    ptrdiff_t from[WINOGRAD_TILES], to[WINOGRAD_TILES], next[WINOGRAD_TILES];
    unsigned char outside[WINOGRAD_TILES], next_outside[WINOGRAD_TILES];
    const struct winograd_image image = WINOGRAD_IMAGE(n);
    struct TYPED(tile) t = {
        .runs1 = 1,
        .runs2 = 1,
        .depth = depth,
        .a_row = depth,
        .b_step = width,
        .c_row = width,
        .columns = width,
        .init = INIT_ZERO,
        .epilogue = STORE,
    };
    const ptrdiff_t pieces = n->samples * groups * blocks;
    const ptrdiff_t begin = first_of(pieces, thread, threads);
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    ptrdiff_t coming = 0; /* tiles of the next group of this thread */
    for (ptrdiff_t piece = begin; piece < end; piece++) {
        const ptrdiff_t block = piece % blocks, group = piece / blocks % groups;
        const ptrdiff_t sample = piece / (blocks * groups);
        const ptrdiff_t first = first_of(all, group, groups);
        const ptrdiff_t tiles = first_of(all, group + 1, groups) - first;
        const ptrdiff_t place = tiles * depth;
        if (piece == begin || block == 0) {
            winograd_seen_places(&image, sample * all + first, tiles, from, outside);
            TYPED(winograd_places)
            (sample * all + first, tiles, n->tile_rows, n->tiles, n->c_sample, n->c_row,
             n->c_column, to);
            for (ptrdiff_t tile = 0; tile < tiles; tile++)
                TYPED(winograd_seen_tile)
                (a + from[tile], n->a_row, n->a_column, depth, pixels + tile * depth, place,
                 outside[tile]);
            const ptrdiff_t beyond = piece - block + blocks;
            coming = 0;
            if (beyond < end) {
                const ptrdiff_t after = beyond / blocks % groups;
                const ptrdiff_t tile = first_of(all, after, groups);
                coming = first_of(all, after + 1, groups) - tile;
                winograd_seen_places(&image, beyond / (blocks * groups) * all + tile, coming, next,
                                     next_outside);
            }
        }
        const ptrdiff_t k = first_of(depth, block, blocks);
        const ptrdiff_t share = first_of(depth, block + 1, blocks) - k;
        for (ptrdiff_t i = 0; i < WINOGRAD_PLACES; i++) {
            t.a = pixels + i * place;
            t.b = b + i * n->place + block * depth * width;
            t.c = results + i * tiles * width;
            TYPED(deep)[vectors][tiles](&t);
            if (i < tiles) {
                const ptrdiff_t at = to[i] + block * width;
                TYPED(winograd_ask_for)(c + at, n->c_row, n->c_column, width);
                if (epilogue == LEAKY_GRADIENT)
                    TYPED(winograd_ask_for)(other + at, n->c_row, n->c_column, width);
            }
            if (i < coming)
                TYPED(winograd_ask_for)
                (a + next[i] + 2 * (n->a_row + n->a_column) + k, n->a_row, n->a_column, share);
        }
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            for (ptrdiff_t v = 0; v < width; v += LANES) {
                const ptrdiff_t at = to[tile] + block * width + v;
                VECTOR start = {0};
                if (bias) start = TYPED(load)(bias + block * width + v);
                TYPED(winograd_outputs_of_tile)
                (results + tile * width + v, tiles * width, start, c + at,
                 other ? other + at : NULL, n->c_row, n->c_column, epilogue, slope);
            }
        }
    }
}

/* The three parts of winograd_tiles as instructions of their own, with products of many tiles in the
 * middle: where there are many inputs, the weights of a place are read for all tiles together. */

/* transformed[place][tile][k] = (B' d B)[place][k] of the 4x4 pixels d that a tile sees. */
static void TYPED(winograd_pixels)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    (void)step;
    const struct winograd_pixels *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a);
    REAL *const to = array_at(n->transformed);
    const struct winograd_image image = WINOGRAD_IMAGE(n);
    const ptrdiff_t end = first_of(n->count, thread + 1, threads);
    ptrdiff_t tile = first_of(n->count, thread, threads);
    while (tile < end) {
        ptrdiff_t from[WINOGRAD_TILES];
        unsigned char outside[WINOGRAD_TILES];
        const ptrdiff_t tiles = least_of(WINOGRAD_TILES, end - tile);
        winograd_seen_places(&image, n->first + tile, tiles, from, outside);
        for (ptrdiff_t i = 0; i < tiles; i++, tile++)
            TYPED(winograd_seen_tile)
        (a + from[i], n->a_row, n->a_column, n->inputs, to + tile * n->inputs,
         n->count * n->inputs, outside[i]);
    }
}

/* C = bias + A' m A of the sums m of each tile. */
static void TYPED(winograd_outputs)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    (void)step;
    const struct winograd_outputs *const n = fields_of(instruction);
    const REAL *const sums = array_at(n->sums), *const bias = array_at(n->bias);
    REAL *const c = array_at(n->c);
    const VECTOR none = {0};
    const ptrdiff_t end = first_of(n->count, thread + 1, threads);
    ptrdiff_t tile = first_of(n->count, thread, threads);
    while (tile < end) {
        ptrdiff_t to[WINOGRAD_TILES];
        const ptrdiff_t tiles = least_of(WINOGRAD_TILES, end - tile);
        TYPED(winograd_places)
        (n->first + tile, tiles, n->tile_rows, n->tiles, n->c_sample, n->c_row, n->c_column, to);
        for (ptrdiff_t i = 0; i < tiles; i++, tile++) {
            for (ptrdiff_t j = 0; j < n->outputs; j += LANES) {
                TYPED(winograd_outputs_of_tile)
                (sums + tile * n->outputs + j, n->count * n->outputs,
                 bias ? TYPED(load)(bias + j) : none, c + to[i] + j, NULL, n->c_row, n->c_column,
                 STORE, none);
            }
        }
    }
}

#define WINOGRAD_KERNELS                                                                      \
    ENTRY(winograd_weights), ENTRY(winograd_tiles), ENTRY(winograd_pixels), ENTRY(winograd_outputs)
