/* 3x3 convolutions with stride 1 by F(2x2, 3x3) and F(4x4, 3x3); fastconv/backends/compiled/rules/winograd.py makes
 * their instructions.
 *
 * The outputs of a tile of 2x2 take 16 products of transformed inputs and weights instead of 36, those of
 * 4x4 take 36 instead of 144; see winograd_transforms.h. For each of the 16 or 36 places, the products over
 * channels are one product of gemm.h.
 */

#ifndef WINOGRAD_PLACES
#define WINOGRAD_PLACES 36 /* at most */
/* Elements of the transformed pixels of some tiles of either side, and tiles whose results wait: on the stack. */
#define WINOGRAD_ELEMENTS (WINOGRAD_PLACES * (1024 + 16))
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
    const ptrdiff_t end = first_of(depth, thread + 1, threads);
    for (ptrdiff_t k = first_of(depth, thread, threads); k < end; k++) {
        for (ptrdiff_t j = 0; j < outputs; j += LANES) {
            const REAL *const g = from + k * n->w_input + j;
            REAL *const out = to + (j / width * depth + k) * width + j % width;
            if (n->side == 2)
                TYPED(winograd_weights_of_2)(g, n->w_down, n->w_across, out, n->place);
            else
                TYPED(winograd_weights_of_4)(g, n->w_down, n->w_across, out, n->place);
        }
    }
}

/* C[sample, row, column, n] = bias + sum over 3x3 taps and k of A[...] w[tap, k, n].
 *
 * The tiles of all images are cut into groups of nearly the same size. While the products of a group are
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
    const ptrdiff_t all = n->samples * n->tile_rows * n->tiles;
    const ptrdiff_t groups = (all + n->together - 1) / n->together;
    const int epilogue = (int)n->epilogue;
    const VECTOR slope = TYPED(spread)((REAL)n->slope);
    REAL pixels[WINOGRAD_ELEMENTS];
    REAL results[WINOGRAD_PLACES * WINOGRAD_TILES * 2 * (sizeof(VECTOR) / sizeof(REAL))];
    ptrdiff_t from[WINOGRAD_TILES], to[WINOGRAD_TILES], next[WINOGRAD_TILES];
    unsigned short outside[WINOGRAD_TILES], next_outside[WINOGRAD_TILES], left_out[WINOGRAD_TILES];
    const int side = (int)n->side, places = (side + 2) * (side + 2);
    const struct winograd_image image = WINOGRAD_SEEN_IMAGE(n, side);
    const struct winograd_image written = WINOGRAD_WRITTEN_IMAGE(n);
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
    const ptrdiff_t pieces = groups * blocks;
    const ptrdiff_t begin = first_of(pieces, thread, threads);
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    ptrdiff_t coming = 0; /* tiles of the next group of this thread */
    for (ptrdiff_t piece = begin; piece < end; piece++) {
        const ptrdiff_t block = piece % blocks, group = piece / blocks;
        const ptrdiff_t first = first_of(all, group, groups);
        const ptrdiff_t tiles = first_of(all, group + 1, groups) - first;
        const ptrdiff_t place = tiles * depth + LANES; /* no 2 KiB, for the sets of a cache */
        if (piece == begin || block == 0) {
            winograd_places(&image, first, tiles, from, outside);
            winograd_places(&written, first, tiles, to, left_out);
            for (ptrdiff_t tile = 0; tile < tiles; tile++)
                TYPED(winograd_seen_tile)
                (side, a + from[tile], n->a_row, n->a_column, depth, pixels + tile * depth, place,
                 outside[tile]);
            coming = 0;
            if (piece - block + blocks < end) {
                const ptrdiff_t tile = first + tiles;
                coming = first_of(all, group + 2, groups) - tile;
                winograd_places(&image, tile, coming, next, next_outside);
            }
        }
        const ptrdiff_t k = first_of(depth, block, blocks);
        const ptrdiff_t share = first_of(depth, block + 1, blocks) - k;
        for (ptrdiff_t i = 0; i < places; i++) {
            t.a = pixels + i * place;
            t.b = b + i * n->place + block * depth * width;
            t.c = results + i * tiles * width;
            TYPED(deep)[vectors][tiles](&t);
            if (i < tiles) {
                const ptrdiff_t at = to[i] + block * width;
                TYPED(winograd_ask_for)(side, c + at, n->c_row, n->c_column, width);
                if (epilogue == LEAKY_GRADIENT)
                    TYPED(winograd_ask_for)(side, other + at, n->c_row, n->c_column, width);
            }
            if (i < coming)
                TYPED(winograd_ask_for)
                (side, a + next[i] + 2 * (n->a_row + n->a_column) + k, n->a_row, n->a_column, share);
        }
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            for (ptrdiff_t v = 0; v < width; v += LANES) {
                const ptrdiff_t at = to[tile] + block * width + v;
                VECTOR start = {0};
                if (bias) start = TYPED(load)(bias + block * width + v);
                TYPED(winograd_outputs_of_tile)
                (side, results + tile * width + v, tiles * width, start, c + at,
                 other ? other + at : NULL, n->c_row, n->c_column, epilogue, slope, left_out[tile]);
            }
        }
    }
}

/* The three parts of winograd_tiles as instructions of their own, with products of many tiles in the
 * middle: where there are many inputs, the weights of a place are read for all tiles together. */

/* transformed[place][tile][k] = (B' d B)[place][k] of the pixels d that a tile sees. */
static void TYPED(winograd_pixels)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    (void)step;
    const struct winograd_pixels *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a);
    REAL *const to = array_at(n->transformed);
    const struct winograd_image image = WINOGRAD_SEEN_IMAGE(n, n->side);
    const ptrdiff_t end = first_of(n->count, thread + 1, threads);
    ptrdiff_t tile = first_of(n->count, thread, threads);
    while (tile < end) {
        ptrdiff_t from[WINOGRAD_TILES];
        unsigned short outside[WINOGRAD_TILES];
        const ptrdiff_t tiles = least_of(WINOGRAD_TILES, end - tile);
        winograd_places(&image, n->first + tile, tiles, from, outside);
        for (ptrdiff_t i = 0; i < tiles; i++, tile++)
            TYPED(winograd_seen_tile)
        (image.side, a + from[i], n->a_row, n->a_column, n->inputs, to + tile * n->inputs,
         n->count * n->inputs, outside[i]);
    }
}

/* added[i] = a vector of the sums of place i, of all parts. */
INLINE void TYPED(winograd_add_parts)(const REAL *sums, ptrdiff_t place, ptrdiff_t places,
                                      ptrdiff_t parts, REAL *added) {
    for (ptrdiff_t i = 0; i < places; i++) {
        VECTOR total = TYPED(load)(sums + i * place);
        for (ptrdiff_t part = 1; part < parts; part++)
            total += TYPED(load)(sums + (part * places + i) * place);
        TYPED(store)(added + i * LANES, total);
    }
}

/* C = bias + A' m A of the sums m of each tile, whose parts are added in their order. */
static void TYPED(winograd_outputs)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    (void)step;
    const struct winograd_outputs *const n = fields_of(instruction);
    const REAL *const sums = array_at(n->sums), *const bias = array_at(n->bias);
    REAL *const c = array_at(n->c);
    const VECTOR none = {0};
    const struct winograd_image written = WINOGRAD_WRITTEN_IMAGE(n);
    const ptrdiff_t place = n->count * n->outputs, places = (n->side + 2) * (n->side + 2);
    REAL added[WINOGRAD_PLACES * (sizeof(VECTOR) / sizeof(REAL))];
    const ptrdiff_t end = first_of(n->count, thread + 1, threads);
    ptrdiff_t tile = first_of(n->count, thread, threads);
    while (tile < end) {
        ptrdiff_t to[WINOGRAD_TILES];
        unsigned short left_out[WINOGRAD_TILES];
        const ptrdiff_t tiles = least_of(WINOGRAD_TILES, end - tile);
        winograd_places(&written, n->first + tile, tiles, to, left_out);
        for (ptrdiff_t i = 0; i < tiles; i++, tile++) {
            for (ptrdiff_t j = 0; j < n->outputs; j += LANES) {
                const REAL *const of_tile = sums + tile * n->outputs + j;
                if (n->parts > 1)
                    TYPED(winograd_add_parts)(of_tile, place, places, n->parts, added);
                TYPED(winograd_outputs_of_tile)
                (written.side, n->parts > 1 ? added : of_tile, n->parts > 1 ? LANES : place,
                 bias ? TYPED(load)(bias + j) : none, c + to[i] + j, NULL, n->c_row, n->c_column,
                 STORE, none, left_out[i]);
            }
        }
    }
}

#define WINOGRAD_KERNELS                                                                      \
    ENTRY(winograd_weights), ENTRY(winograd_tiles), ENTRY(winograd_pixels), ENTRY(winograd_outputs)
