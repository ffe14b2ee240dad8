/* The transforms of Winograd's minimal filtering, and where its tiles lie in an image.
 *
 *   Y = A' [(G g G') * (B' d B)] A
 *
 * with d the pixels that a tile of `side` x `side` outputs sees, two more down and across, and g the 3x3
 * weights. Winograd, "Arithmetic Complexity of Computations" (1980); Lavin and Gray, "Fast Algorithms for
 * Convolutional Neural Networks" (arXiv:1509.09308), equation 8. Both of a convolution, F(2x2, 3x3) and
 * F(4x4, 3x3), are products of polynomials that are known at some points: 0, 1, -1 and infinity, or 0, a, -a, b,
 * -b and infinity with a^2 = 1/2 and b^2 = 2. For a = 1 and b = 2, as they are usual, the numbers
 * that are added and cancel each other are larger, and so are the errors, by four times.
 */

#ifndef WINOGRAD_TRANSFORMS
#define WINOGRAD_TRANSFORMS
#define WINOGRAD_A 0.70710678118654752440
#define WINOGRAD_B 1.41421356237309504880

/* Images of tiles: `high` of them down and `wide` across, `side` rows and pixels from each other, of which
 * the first begins `top` rows above the image and `left` pixels beside it. Each is of `seen` rows and
 * pixels. What is outside of the image is no pixel of it. */
struct winograd_image {
    ptrdiff_t high, wide, height, width, top, left, sample, row, pixel;
    int side, seen;
};

/* The image that an instruction of these reads, and the one that it writes: their fields have the same
 * names. */
#define WINOGRAD_SEEN_IMAGE(n, of_side)                                                            \
    {                                                                                              \
        n->tile_rows, n->tiles, n->height, n->width, n->top, n->left, n->a_sample, n->a_row,       \
            n->a_column, (int)(of_side), (int)(of_side) + 2                                        \
    }
#define WINOGRAD_WRITTEN_IMAGE(n)                                                                  \
    {                                                                                              \
        n->tile_rows, n->tiles, n->c_height, n->c_width, 0, 0, n->c_sample, n->c_row, n->c_column, \
            (int)n->side, (int)n->side                                                             \
    }

/* Which of so many rows or columns from one on are outside of an image of so many. */
INLINE unsigned winograd_outside(ptrdiff_t first, ptrdiff_t size, int seen) {
    unsigned bits = 0;
    for (int i = 0; i < seen; i++) bits |= (unsigned)(first + i < 0 || first + i >= size) << i;
    return bits;
}

#define WINOGRAD_COLUMN 8 /* the bit of column 0; those of the rows come first */

/* places[tile] = where a tile begins, which may be in front of the image, for some tiles from the first of
 * them on, which are counted through the samples; outside[tile]: which of its rows and columns are not in
 * the image. */
INLINE void winograd_places(const struct winograd_image *image, ptrdiff_t first, ptrdiff_t tiles,
                            ptrdiff_t *places, unsigned short *outside) {
    ptrdiff_t line = first / image->wide, column = first % image->wide;
    ptrdiff_t start = line / image->high * image->sample, down = line % image->high;
    unsigned rows = winograd_outside(image->side * down - image->top, image->height, image->seen);
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        const ptrdiff_t y = image->side * down - image->top;
        const ptrdiff_t x = image->side * column - image->left;
        places[tile] = start + y * image->row + x * image->pixel;
        outside[tile] = (unsigned short)(rows | winograd_outside(x, image->width, image->seen)
                                                    << WINOGRAD_COLUMN);
        if (++column < image->wide) continue;
        column = 0;
        if (++down == image->high) down = 0, start += image->sample;
        rows = winograd_outside(image->side * down - image->top, image->height, image->seen);
    }
}
#endif

/* G g, along one axis. */
INLINE void TYPED(winograd_filtered_2)(const VECTOR *g, VECTOR *to) {
    const VECTOR half = TYPED(spread)((REAL)0.5), outer = (g[0] + g[2]) * half;
    to[0] = g[0];
    to[1] = outer + g[1] * half;
    to[2] = outer - g[1] * half;
    to[3] = g[2];
}

INLINE void TYPED(winograd_filtered_4)(const VECTOR *g, VECTOR *to) {
    const VECTOR near = (g[0] + g[2] * (REAL)0.5) * (REAL)(-2.0 / 3);
    const VECTOR far = (g[0] + g[2] * (REAL)2) * (REAL)(1.0 / 6);
    const VECTOR odd_near = g[1] * (REAL)(-2.0 / 3 * WINOGRAD_A);
    const VECTOR odd_far = g[1] * (REAL)(1.0 / 6 * WINOGRAD_B);
    to[0] = g[0];
    to[1] = near + odd_near;
    to[2] = near - odd_near;
    to[3] = far + odd_far;
    to[4] = far - odd_far;
    to[5] = g[2];
}

/* B' d, along one axis. */
INLINE void TYPED(winograd_seen_2)(const VECTOR *d, VECTOR *to) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[1] - d[3];
}

INLINE void TYPED(winograd_seen_4)(const VECTOR *d, VECTOR *to) {
    const VECTOR near = d[4] - d[2] * (REAL)2, odd_near = d[3] - d[1] * (REAL)2;
    const VECTOR far = d[4] - d[2] * (REAL)0.5, odd_far = d[3] - d[1] * (REAL)0.5;
    to[0] = (d[0] + d[4]) - d[2] * (REAL)2.5;
    to[1] = near + odd_near * (REAL)WINOGRAD_A;
    to[2] = near - odd_near * (REAL)WINOGRAD_A;
    to[3] = far + odd_far * (REAL)WINOGRAD_B;
    to[4] = far - odd_far * (REAL)WINOGRAD_B;
    to[5] = (d[1] + d[5]) - d[3] * (REAL)2.5;
}

/* A' m, along one axis. */
INLINE void TYPED(winograd_gathered_2)(const VECTOR *m, VECTOR *to) {
    to[0] = m[0] + (m[1] + m[2]);
    to[1] = (m[1] - m[2]) - m[3];
}

INLINE void TYPED(winograd_gathered_4)(const VECTOR *m, VECTOR *to) {
    const VECTOR near = m[1] + m[2], far = m[3] + m[4];
    const VECTOR odd_near = (m[1] - m[2]) * (REAL)WINOGRAD_A;
    const VECTOR odd_far = (m[3] - m[4]) * (REAL)WINOGRAD_B;
    to[0] = m[0] + (near + far);
    to[1] = odd_near + odd_far;
    to[2] = near * (REAL)0.5 + far * (REAL)2;
    to[3] = m[5] + (odd_near * (REAL)0.5 + odd_far * (REAL)2);
}

/* A dy, along one axis. */
INLINE void TYPED(winograd_spread_2)(const VECTOR *dy, VECTOR *to) {
    to[0] = dy[0];
    to[1] = dy[0] + dy[1];
    to[2] = dy[0] - dy[1];
    to[3] = -dy[1];
}

INLINE void TYPED(winograd_spread_4)(const VECTOR *dy, VECTOR *to) {
    const VECTOR near = dy[0] + dy[2] * (REAL)0.5, odd_near = dy[1] + dy[3] * (REAL)0.5;
    const VECTOR far = dy[0] + dy[2] * (REAL)2, odd_far = dy[1] + dy[3] * (REAL)2;
    to[0] = dy[0];
    to[1] = near + odd_near * (REAL)WINOGRAD_A;
    to[2] = near - odd_near * (REAL)WINOGRAD_A;
    to[3] = far + odd_far * (REAL)WINOGRAD_B;
    to[4] = far - odd_far * (REAL)WINOGRAD_B;
    to[5] = dy[3];
}

/* G' u, along one axis. */
INLINE void TYPED(winograd_taps_2)(const VECTOR *u, VECTOR *to) {
    const VECTOR half = TYPED(spread)((REAL)0.5), both = (u[1] + u[2]) * half;
    to[0] = u[0] + both;
    to[1] = (u[1] - u[2]) * half;
    to[2] = both + u[3];
}

INLINE void TYPED(winograd_taps_4)(const VECTOR *u, VECTOR *to) {
    const VECTOR near = (u[1] + u[2]) * (REAL)(-1.0 / 3), far = (u[3] + u[4]) * (REAL)(1.0 / 6);
    to[0] = u[0] + (near * (REAL)2 + far);
    to[1] = (u[3] - u[4]) * (REAL)(1.0 / 6 * WINOGRAD_B) - (u[1] - u[2]) * (REAL)(2.0 / 3 * WINOGRAD_A);
    to[2] = (near + far * (REAL)2) + u[5];
}

/* to[place] = G g G' of a vector of outputs, for tiles of `side`. */
#define WINOGRAD_WEIGHTS_OF(side, sees)                                                            \
    INLINE void TYPED(JOIN(winograd_weights_of, side))(const REAL *from, ptrdiff_t down,           \
                                                       ptrdiff_t across, REAL *to,                 \
                                                       ptrdiff_t place) {                          \
        VECTOR vertical[3][sees];                                                                  \
        UNROLL for (int column = 0; column < 3; column++) {                                        \
            const REAL *const at = from + column * across;                                         \
            const VECTOR g[3] = {TYPED(load)(at), TYPED(load)(at + down),                          \
                                 TYPED(load)(at + 2 * down)};                                      \
            TYPED(JOIN(winograd_filtered, side))(g, vertical[column]);                             \
        }                                                                                          \
        UNROLL for (int row = 0; row < sees; row++) {                                              \
            const VECTOR g[3] = {vertical[0][row], vertical[1][row], vertical[2][row]};            \
            VECTOR u[sees];                                                                        \
            TYPED(JOIN(winograd_filtered, side))(g, u);                                            \
            UNROLL for (int i = 0; i < sees; i++) TYPED(store)(to + (sees * row + i) * place, u[i]); \
        }                                                                                          \
    }

/* to[place][k] = B' d B for the pixels d that begin at `from`, for all channels. */
#define WINOGRAD_PIXELS_OF(side, sees)                                                             \
    APART void TYPED(JOIN(winograd_pixels_of, side))(const REAL *from, ptrdiff_t row,              \
                                                     ptrdiff_t pixel, ptrdiff_t channels,          \
                                                     REAL *to, ptrdiff_t place) {                  \
        for (ptrdiff_t k = 0; k < channels; k += LANES) {                                          \
            VECTOR vertical[sees][sees];                                                           \
            UNROLL for (int column = 0; column < sees; column++) {                                 \
                VECTOR d[sees];                                                                    \
                UNROLL for (int i = 0; i < sees; i++) d[i] =                                       \
                    TYPED(load)(from + i * row + column * pixel + k);                              \
                TYPED(JOIN(winograd_seen, side))(d, vertical[column]);                             \
            }                                                                                      \
            UNROLL for (int r = 0; r < sees; r++) {                                                \
                VECTOR d[sees], v[sees];                                                           \
                UNROLL for (int i = 0; i < sees; i++) d[i] = vertical[i][r];                       \
                TYPED(JOIN(winograd_seen, side))(d, v);                                            \
                UNROLL for (int i = 0; i < sees; i++)                                              \
                    TYPED(store)(to + (sees * r + i) * place + k, v[i]);                           \
            }                                                                                      \
        }                                                                                          \
    }

/* The outputs of a tile from the sums of its places, of one vector of outputs. */
#define WINOGRAD_OUTPUTS_OF(side, sees)                                                            \
    APART void TYPED(JOIN(winograd_outputs_of, side))(                                             \
        const REAL *m, ptrdiff_t place, VECTOR start, REAL *c, const REAL *other, ptrdiff_t row,   \
        ptrdiff_t pixel, int epilogue, VECTOR slope) {                                             \
        VECTOR vertical[sees][side];                                                               \
        UNROLL for (int column = 0; column < sees; column++) {                                     \
            VECTOR sums[sees];                                                                     \
            UNROLL for (int i = 0; i < sees; i++) sums[i] =                                        \
                TYPED(load)(m + (sees * i + column) * place);                                      \
            TYPED(JOIN(winograd_gathered, side))(sums, vertical[column]);                          \
        }                                                                                          \
        UNROLL for (int i = 0; i < side; i++) {                                                    \
            VECTOR sums[sees], y[side];                                                            \
            UNROLL for (int column = 0; column < sees; column++) sums[column] =                    \
                vertical[column][i];                                                               \
            TYPED(JOIN(winograd_gathered, side))(sums, y);                                         \
            UNROLL for (int j = 0; j < side; j++) {                                                \
                const ptrdiff_t at = i * row + j * pixel;                                          \
                VECTOR value = start + y[j];                                                       \
                if (epilogue != STORE) {                                                           \
                    const VECTOR test =                                                            \
                        epilogue == LEAKY_RELU ? value : TYPED(load)(other + at);                  \
                    value = TYPED(where_positive)(test, value, value * slope);                     \
                }                                                                                  \
                TYPED(store)(c + at, value);                                                       \
            }                                                                                      \
        }                                                                                          \
    }

WINOGRAD_WEIGHTS_OF(2, 4)
WINOGRAD_WEIGHTS_OF(4, 6)
WINOGRAD_PIXELS_OF(2, 4)
WINOGRAD_PIXELS_OF(4, 6)
WINOGRAD_OUTPUTS_OF(2, 4)
WINOGRAD_OUTPUTS_OF(4, 6)
#undef WINOGRAD_WEIGHTS_OF
#undef WINOGRAD_PIXELS_OF
#undef WINOGRAD_OUTPUTS_OF

/* to[i][j] = a vector of each of size x size pixels, or 0 where one is outside of the image. */
INLINE void TYPED(winograd_inside)(int size, const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                   REAL *to, unsigned outside) {
    const VECTOR zero = {0};
    int top = 0, bottom = size, left = 0, right = size;
    while (top < size && outside >> top & 1) top++;
    while (bottom > top && outside >> (bottom - 1) & 1) bottom--;
    while (left < size && outside >> (WINOGRAD_COLUMN + left) & 1) left++;
    while (right > left && outside >> (WINOGRAD_COLUMN + right - 1) & 1) right--;
    for (int i = 0; i < size; i++) {
        const int first = i < top || i >= bottom ? size : left; /* pixels of zeros, then those of the image */
        const REAL *at = from + i * row + left * pixel;
        int j = 0;
        for (; j < first; j++, to += LANES) TYPED(store)(to, zero);
        for (; j < right; j++, to += LANES, at += pixel) TYPED(store)(to, TYPED(load)(at));
        for (; j < size; j++, to += LANES) TYPED(store)(to, zero);
    }
}

/* Tiles at the edge of an image are copied, vector by vector of channels. Several kernels call what is apart
 * here: a copy in each would make a wheel larger by 100 KB. */
APART void TYPED(winograd_seen_tile_at_edge)(int side, const REAL *from, ptrdiff_t row,
                                             ptrdiff_t pixel, ptrdiff_t channels, REAL *to,
                                             ptrdiff_t place, unsigned outside) {
    REAL inside[36 * LANES];
    for (ptrdiff_t k = 0; k < channels; k += LANES) {
        TYPED(winograd_inside)(side + 2, from + k, row, pixel, inside, outside);
        if (side == 2)
            TYPED(winograd_pixels_of_2)(inside, 4 * LANES, LANES, LANES, to + k, place);
        else
            TYPED(winograd_pixels_of_4)(inside, 6 * LANES, LANES, LANES, to + k, place);
    }
}

INLINE void TYPED(winograd_seen_tile)(int side, const REAL *from, ptrdiff_t row, ptrdiff_t pixel,
                                      ptrdiff_t channels, REAL *to, ptrdiff_t place,
                                      unsigned outside) {
    if (outside)
        TYPED(winograd_seen_tile_at_edge)(side, from, row, pixel, channels, to, place, outside);
    else if (side == 2)
        TYPED(winograd_pixels_of_2)(from, row, pixel, channels, to, place);
    else
        TYPED(winograd_pixels_of_4)(from, row, pixel, channels, to, place);
}

/* The outputs of a tile, some of which are outside of the image: those are made and left out. */
APART void TYPED(winograd_outputs_at_edge)(int side, const REAL *m, ptrdiff_t place, VECTOR start,
                                           REAL *c, const REAL *other, ptrdiff_t row,
                                           ptrdiff_t pixel, int epilogue, VECTOR slope,
                                           unsigned outside) {
    REAL outputs[16 * LANES], others[16 * LANES];
    if (other) TYPED(winograd_inside)(side, other, row, pixel, others, outside);
    if (side == 2)
        TYPED(winograd_outputs_of_2)
        (m, place, start, outputs, others, 2 * LANES, LANES, epilogue, slope);
    else
        TYPED(winograd_outputs_of_4)
        (m, place, start, outputs, others, 4 * LANES, LANES, epilogue, slope);
    for (int i = 0; i < side; i++) {
        for (int j = 0; j < side; j++) {
            if ((outside >> i | outside >> (WINOGRAD_COLUMN + j)) & 1) continue;
            TYPED(store)(c + i * row + j * pixel, TYPED(load)(outputs + (i * side + j) * LANES));
        }
    }
}

INLINE void TYPED(winograd_outputs_of_tile)(int side, const REAL *m, ptrdiff_t place, VECTOR start,
                                            REAL *c, const REAL *other, ptrdiff_t row,
                                            ptrdiff_t pixel, int epilogue, VECTOR slope,
                                            unsigned outside) {
    if (outside)
        TYPED(winograd_outputs_at_edge)
        (side, m, place, start, c, other, row, pixel, epilogue, slope, outside);
    else if (side == 2)
        TYPED(winograd_outputs_of_2)(m, place, start, c, other, row, pixel, epilogue, slope);
    else
        TYPED(winograd_outputs_of_4)(m, place, start, c, other, row, pixel, epilogue, slope);
}

/* Ask for some elements of `side` x `side` pixels to come near. */
APART void TYPED(winograd_ask_for)(int side, const REAL *pixels, ptrdiff_t row, ptrdiff_t column,
                                    ptrdiff_t elements) {
#if defined(__GNUC__)
    for (int i = 0; i < side; i++) {
        for (int j = 0; j < side; j++) {
            const REAL *const pixel = pixels + i * row + j * column;
            for (ptrdiff_t k = 0; k < elements; k += 64 / (ptrdiff_t)sizeof(REAL))
                __builtin_prefetch(pixel + k);
        }
    }
#else
    (void)side, (void)pixels, (void)row, (void)column, (void)elements;
#endif
}
