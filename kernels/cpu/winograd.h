/* 3x3 convolutions with stride 1 by F(2x2, 3x3); fastconv/backends/compiled/rules/winograd.py makes
 * their instructions.
 *
 * Four outputs, a tile, take 16 products of transformed inputs and weights instead of 36:
 *
 *   Y = A' [(G g G') * (B' d B)] A
 *
 * with d the 4x4 pixels that a tile sees and g the weights. Winograd, "Arithmetic Complexity of
 * Computations" (1980); Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
 * (arXiv:1509.09308), equation 8. The transforms add, subtract and halve. For each of the 16
 * places, the products over channels are one product of gemm.h. */

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
            VECTOR down[4][3];
            UNROLL for (int column = 0; column < 3; column++) {
                const REAL *const g = from + column * n->w_across + k * n->w_input + j;
                const VECTOR g0 = TYPED(load)(g), g1 = TYPED(load)(g + n->w_down);
                const VECTOR g2 = TYPED(load)(g + 2 * n->w_down), outer = (g0 + g2) * half;
                down[0][column] = g0;
                down[1][column] = outer + g1 * half;
                down[2][column] = outer - g1 * half;
                down[3][column] = g2;
            }
            REAL *const out = to + (j / width * depth + k) * width + j % width;
            UNROLL for (int row = 0; row < 4; row++) {
                const VECTOR g0 = down[row][0], g1 = down[row][1], g2 = down[row][2];
                const VECTOR outer = (g0 + g2) * half;
                TYPED(store)(out + (4 * row + 0) * n->place, g0);
                TYPED(store)(out + (4 * row + 1) * n->place, outer + g1 * half);
                TYPED(store)(out + (4 * row + 2) * n->place, outer - g1 * half);
                TYPED(store)(out + (4 * row + 3) * n->place, g2);
            }
        }
    }
}

/* to[place][k] = B' d B for the 4x4 pixels d that begin at `from`, for all channels. */
INLINE void TYPED(winograd_pixels)(const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                   ptrdiff_t channels, REAL *to, ptrdiff_t place) {
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        VECTOR down[4][4];
        UNROLL for (int column = 0; column < 4; column++) {
            const REAL *const d = from + column * pixel + k;
            const VECTOR d0 = TYPED(load)(d), d1 = TYPED(load)(d + row);
            const VECTOR d2 = TYPED(load)(d + 2 * row), d3 = TYPED(load)(d + 3 * row);
            down[0][column] = d0 - d2;
            down[1][column] = d1 + d2;
            down[2][column] = d2 - d1;
            down[3][column] = d1 - d3;
        }
        UNROLL for (int r = 0; r < 4; r++) {
            REAL *const out = to + 4 * r * place + k;
            TYPED(store)(out, down[r][0] - down[r][2]);
            TYPED(store)(out + place, down[r][1] + down[r][2]);
            TYPED(store)(out + 2 * place, down[r][2] - down[r][1]);
            TYPED(store)(out + 3 * place, down[r][1] - down[r][3]);
        }
    }
}

/* C[sample, row, column, n] = bias + sum over 3x3 taps and k of A[...] w[tap, k, n]. */
static void TYPED(winograd_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    (void)step;
    const struct winograd_tiles *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const b = array_at(n->b);
    REAL *const c = array_at(n->c);
    const REAL *const bias = array_at(n->bias), *const other = array_at(n->other);
    const ptrdiff_t vectors = n->vectors, width = vectors * LANES, blocks = n->outputs / width,
                    depth = n->inputs;
    const ptrdiff_t together = n->together, strips = (n->tiles + together - 1) / together;
    const VECTOR slope = TYPED(spread)((REAL)n->slope);
    REAL pixels[WINOGRAD_ELEMENTS];
    REAL results[WINOGRAD_PLACES * WINOGRAD_TILES * 2 * (sizeof(VECTOR) / sizeof(REAL))];
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
    const ptrdiff_t pieces = n->samples * n->tile_rows * strips * blocks;
    const ptrdiff_t begin = first_of(pieces, thread, threads);
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = begin; piece < end; piece++) {
        const ptrdiff_t block = piece % blocks, strip = piece / blocks % strips;
        const ptrdiff_t row = piece / (blocks * strips) % n->tile_rows;
        const ptrdiff_t sample = piece / (blocks * strips * n->tile_rows);
        const ptrdiff_t first = strip * together, tiles = least_of(together, n->tiles - first);
        const ptrdiff_t place = tiles * depth;
        if (piece == begin || block == 0) {
            const REAL *const start =
                a + sample * n->a_sample + 2 * row * n->a_row + 2 * first * n->a_column;
            for (ptrdiff_t tile = 0; tile < tiles; tile++)
                TYPED(winograd_pixels)
                (start + 2 * tile * n->a_column, n->a_row, n->a_column, depth,
                 pixels + tile * depth, place);
        }
        for (ptrdiff_t i = 0; i < WINOGRAD_PLACES; i++) {
            t.a = pixels + i * place;
            t.b = b + i * n->place + block * depth * width;
            t.c = results + i * tiles * width;
            TYPED(deep)[vectors][tiles](&t);
        }
        for (ptrdiff_t tile = 0; tile < tiles; tile++) {
            for (ptrdiff_t v = 0; v < width; v += LANES) {
                const REAL *const m = results + tile * width + v;
                const ptrdiff_t next = tiles * width;
                VECTOR down[2][4];
                UNROLL for (int j = 0; j < 4; j++) {
                    const VECTOR m1 = TYPED(load)(m + (4 + j) * next);
                    const VECTOR m2 = TYPED(load)(m + (8 + j) * next);
                    down[0][j] = TYPED(load)(m + j * next) + (m1 + m2);
                    down[1][j] = (m1 - m2) - TYPED(load)(m + (12 + j) * next);
                }
                VECTOR begin_at = {0};
                if (bias) begin_at = TYPED(load)(bias + block * width + v);
                UNROLL for (int i = 0; i < 2; i++) {
                    const ptrdiff_t at = sample * n->c_sample + (2 * row + i) * n->c_row +
                                         2 * (first + tile) * n->c_column + block * width + v;
                    VECTOR y[2];
                    y[0] = begin_at + (down[i][0] + (down[i][1] + down[i][2]));
                    y[1] = begin_at + ((down[i][1] - down[i][2]) - down[i][3]);
                    UNROLL for (int j = 0; j < 2; j++) {
                        const ptrdiff_t to = at + j * n->c_column;
                        if (n->epilogue != STORE) {
                            const VECTOR test =
                                n->epilogue == LEAKY_RELU ? y[j] : TYPED(load)(other + to);
                            y[j] = TYPED(where_positive)(test, y[j], y[j] * slope);
                        }
                        TYPED(store)(c + to, y[j]);
                    }
                }
            }
        }
    }
}

#define WINOGRAD_KERNELS ENTRY(winograd_weights), ENTRY(winograd_tiles)
