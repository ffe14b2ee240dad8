/* Pooling of NHWC images; fastconv/backends/compiled/rules/pool.py makes the instructions. Channels
 * are innermost, so that a window is a few loops over contiguous channels. */

#ifndef FASTCONV_POOL_H
#define FASTCONV_POOL_H

enum {
    CHANNELS_AT_ONCE = 64,
    CELLS_SUMMED_NARROW = 16, /* of a window, in REAL: more are summed in float64 */
};

/* The part first <= i < end of a window on the image, and the cells that an average divides by. */
struct window {
    int64_t first, end, cells;
};

INLINE struct window window_of(int64_t number, int64_t stride, int64_t kernel, int64_t before,
                               int64_t size, int64_t after, int64_t count_padding) {
    const int64_t start = number * stride - before, stop = start + kernel;
    const int64_t first = most_of(0, start), end = least_of(stop, size);
    return (struct window){first, end,
                           count_padding ? least_of(stop, size + after) - start : end - first};
}

INLINE struct window rows_of_window(const struct pool_windows *p, int64_t number) {
    return window_of(number, p->stride_height, p->kernel_height, p->top, p->height, p->bottom,
                     p->count_padding);
}

INLINE struct window columns_of_window(const struct pool_windows *p, int64_t number) {
    return window_of(number, p->stride_width, p->kernel_width, p->left, p->width, p->right,
                     p->count_padding);
}

/* The windows first <= number < end along an axis that hold an index. */
INLINE struct window windows_with(int64_t index, int64_t count, int64_t stride, int64_t kernel,
                                  int64_t before) {
    const int64_t past = index + before - kernel; /* who starts here or earlier ends too soon */
    return (struct window){past < 0 ? 0 : past / stride + 1,
                           least_of(count, (index + before) / stride + 1), 0};
}

#endif

/* One more pixel of a window: it is taken unless it is not larger; a NaN is taken, and kept. */
INLINE void TYPED(compare)(const REAL *x, ptrdiff_t count, int32_t index, VECTOR *most,
                           INDICES *place) {
    const VECTOR v = TYPED(load_first)(x, count);
#ifdef HAS_VECTORS
    const MASKS take = ~(v <= *most) & (*most == *most);
    *most = (VECTOR)(((MASKS)v & take) | ((MASKS)*most & ~take));
    const INDICES chosen = __builtin_convertvector(take, INDICES);
    *place = (index & chosen) | (*place & ~chosen);
#else
    const int take = !(v <= *most) & (*most == *most);
    *most = take ? v : *most;
    *place = take ? index : *place;
#endif
}

INLINE void TYPED(store_largest)(REAL *y, int32_t *argmax, ptrdiff_t count, VECTOR most,
                                 INDICES place) {
    TYPED(store_first)(y, most, count);
    TYPED(store_first_indices)(argmax, place, count);
}

/* Of four pixels, the first of which has this flat index: the largest, and its index; of `count`
 * channels. */
INLINE void TYPED(largest_of_pixels)(const REAL *pixel, ptrdiff_t count, int64_t channels,
                                     int64_t row, int32_t index, int32_t width, REAL *y,
                                     int32_t *argmax) {
    VECTOR most = TYPED(load_first)(pixel, count);
    INDICES place = index - (INDICES){0};
    TYPED(compare)(pixel + channels, count, index + 1, &most, &place);
    TYPED(compare)(pixel + row, count, index + width, &most, &place);
    TYPED(compare)(pixel + row + channels, count, index + width + 1, &most, &place);
    TYPED(store_largest)(y, argmax, count, most, place);
}

/* Of all channels. Of whole vectors the compiler knows it. */
INLINE void TYPED(largest_of_four)(const REAL *x, int64_t channels, int64_t row, int32_t index,
                                   int32_t width, REAL *y, int32_t *argmax) {
    int64_t k = 0;
    for (; k + LANES <= channels; k += LANES)
        TYPED(largest_of_pixels)(x + k, LANES, channels, row, index, width, y + k, argmax + k);
    if (k < channels)
        TYPED(largest_of_pixels)
        (x + k, channels - k, channels, row, index, width, y + k, argmax + k);
}

/* Of a window of any size on an image; of `count` channels. */
INLINE void TYPED(largest_of_part)(const REAL *image, ptrdiff_t count, int64_t channels,
                                   int64_t width, struct window h, struct window w, REAL *y,
                                   int32_t *argmax) {
    const int64_t first = h.first * width + w.first;
    VECTOR most = TYPED(load_first)(image + first * channels, count);
    INDICES place = (int32_t)first - (INDICES){0};
    for (int64_t i = h.first; i < h.end; i++)
        for (int64_t j = w.first; j < w.end; j++) {
            /* The first pixel meets itself: it is not larger. */
            const REAL *const pixel = image + (i * width + j) * channels;
            TYPED(compare)(pixel, count, (int32_t)(i * width + j), &most, &place);
        }
    TYPED(store_largest)(y, argmax, count, most, place);
}

/* Of all channels. */
INLINE void TYPED(largest_of_window)(const REAL *image, int64_t channels, int64_t width,
                                     struct window h, struct window w, REAL *y, int32_t *argmax) {
    int64_t k = 0;
    for (; k + LANES <= channels; k += LANES)
        TYPED(largest_of_part)(image + k, LANES, channels, width, h, w, y + k, argmax + k);
    if (k < channels)
        TYPED(largest_of_part)(image + k, channels - k, channels, width, h, w, y + k, argmax + k);
}

/* The largest pixel of each window, and its flat index in the plane of the image. */
static void TYPED(max_pool2d_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct max_pool2d_forward *const n = fields_of(instruction);
    const struct pool_windows p = n->pool_windows;
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    int32_t *const argmax = array_at(n->argmax);
    const int64_t rows = p.batch * p.out_height, channels = p.channels, line = p.width * channels;
    const int64_t end = first_of(rows, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        const REAL *const image = x + row / p.out_height * p.height * line;
        const struct window h = rows_of_window(&p, row % p.out_height);
        for (int64_t ow = 0; ow < p.out_width; ow++) {
            const struct window w = columns_of_window(&p, ow);
            REAL *const restrict to = y + (row * p.out_width + ow) * channels;
            int32_t *const restrict place = argmax + (row * p.out_width + ow) * channels;
            const REAL *const from = image + h.first * line + w.first * channels;
            const int32_t index = (int32_t)(h.first * p.width + w.first);
            if (h.end - h.first == 2 && w.end - w.first == 2)
                TYPED(largest_of_four)(from, channels, line, index, (int32_t)p.width, to, place);
            else
                TYPED(largest_of_window)(image, channels, p.width, h, w, to, place);
        }
    }
}

/* Add the gradient of each window to the pixel that it took. A row of dx is made by one thread,
 * from the windows that reach it, in their order.
 */
static void TYPED(max_pool2d_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    const struct max_pool2d_backward *const n = fields_of(instruction);
    const struct pool_windows p = n->pool_windows;
    const REAL *const dy = array_at(n->dy);
    const int32_t *const argmax = array_at(n->argmax);
    REAL *const dx = array_at(n->dx);
    const int64_t rows = p.batch * p.height, channels = p.channels, line = p.width * channels;
    const int64_t end = first_of(rows, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        const int64_t i = row % p.height;
        const struct window windows =
            windows_with(i, p.out_height, p.stride_height, p.kernel_height, p.top);
        REAL *const to = dx + row * line;
        memset(to, 0, (size_t)line * sizeof(REAL));
        for (int64_t oh = windows.first; oh < windows.end; oh++)
            for (int64_t ow = 0; ow < p.out_width; ow++) {
                const struct window w = columns_of_window(&p, ow);
                const int64_t start =
                    ((row / p.height * p.out_height + oh) * p.out_width + ow) * channels;
                const REAL *const restrict gradient = dy + start;
                const int32_t *const restrict taken = argmax + start;
                for (int64_t j = w.first; j < w.end; j++) {
                    REAL *const restrict pixel = to + j * channels;
                    const int32_t here = (int32_t)(i * p.width + j);
                    INDEPENDENT
                    for (int64_t k = 0; k < channels; k++) {
                        const REAL g = gradient[k];
                        pixel[k] += taken[k] == here ? g : 0;
                    }
                }
            }
    }
}

/* The same for windows of 2 x 2 that lie side by side without padding: every pixel is in one
 * window or none. Pairs of rows, so that dy and argmax are read once.
 */
static void TYPED(max_pool2d_backward_pairs)(const int64_t *instruction, int64_t step,
                                             int64_t thread, int64_t threads) {
    const struct max_pool2d_backward_pairs *const n = fields_of(instruction);
    const struct pool_windows p = n->pool_windows;
    const REAL *const dy = array_at(n->dy);
    const int32_t *const argmax = array_at(n->argmax);
    REAL *const dx = array_at(n->dx);
    const int64_t channels = p.channels, line = p.width * channels;
    const int64_t of_image = (p.height + 1) / 2, pairs = p.batch * of_image;
    const int64_t end = first_of(pairs, thread + 1, threads);
    (void)step;
    for (int64_t pair = first_of(pairs, thread, threads); pair < end; pair++) {
        const int64_t image = pair / of_image, oh = pair % of_image;
        REAL *const to = dx + (image * p.height + 2 * oh) * line;
        if (oh == p.out_height) {
            memset(to, 0, (size_t)line * sizeof(REAL)); /* the last of an odd number of rows */
            continue;
        }
        for (int64_t ow = 0; ow < p.out_width; ow++) {
            const int64_t start = ((image * p.out_height + oh) * p.out_width + ow) * channels;
            const REAL *const restrict gradient = dy + start;
            const int32_t *const restrict taken = argmax + start;
            REAL *const restrict a = to + 2 * ow * channels, *const restrict b = a + channels;
            REAL *const restrict c = a + line, *const restrict d = c + channels;
            const int32_t index = (int32_t)(2 * oh * p.width + 2 * ow);
            const int32_t below = index + (int32_t)p.width;
            INDEPENDENT
            for (int64_t k = 0; k < channels; k++) {
                const REAL g = gradient[k];
                const int32_t place = taken[k];
                a[k] = place == index ? g : 0;
                b[k] = place == index + 1 ? g : 0;
                c[k] = place == below ? g : 0;
                d[k] = place == below + 1 ? g : 0;
            }
        }
        if (p.width % 2) {
            memset(to + line - channels, 0, (size_t)channels * sizeof(REAL));
            memset(to + 2 * line - channels, 0, (size_t)channels * sizeof(REAL));
        }
    }
}

/* The mean of each channel over a window of any size, summed in float64. */
INLINE void TYPED(mean_of_window)(const REAL *image, int64_t channels, int64_t width,
                                  struct window h, struct window w, REAL *restrict y) {
    const double share = 1.0 / (double)(h.cells * w.cells);
    for (int64_t first = 0; first < channels; first += CHANNELS_AT_ONCE) {
        const int64_t count = least_of(CHANNELS_AT_ONCE, channels - first);
        double total[CHANNELS_AT_ONCE] = {0};
        for (int64_t i = h.first; i < h.end; i++)
            for (int64_t j = w.first; j < w.end; j++) {
                const REAL *const restrict pixel = image + (i * width + j) * channels + first;
                for (int64_t k = 0; k < count; k++) total[k] += pixel[k];
            }
        for (int64_t k = 0; k < count; k++) y[first + k] = (REAL)(total[k] * share);
    }
}

/* The mean of each window. */
static void TYPED(avg_pool2d_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct avg_pool2d_forward *const n = fields_of(instruction);
    const struct pool_windows p = n->pool_windows;
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t rows = p.batch * p.out_height, channels = p.channels, line = p.width * channels;
    const int64_t end = first_of(rows, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        const REAL *const image = x + row / p.out_height * p.height * line;
        const struct window h = rows_of_window(&p, row % p.out_height);
        for (int64_t ow = 0; ow < p.out_width; ow++) {
            const struct window w = columns_of_window(&p, ow);
            REAL *const restrict to = y + (row * p.out_width + ow) * channels;
            if ((h.end - h.first) * (w.end - w.first) > CELLS_SUMMED_NARROW) {
                TYPED(mean_of_window)(image, channels, p.width, h, w, to);
                continue;
            }
            const REAL share = (REAL)(1.0 / (double)(h.cells * w.cells));
            for (int64_t k = 0; k < channels; k++) to[k] = 0;
            for (int64_t i = h.first; i < h.end; i++)
                for (int64_t j = w.first; j < w.end; j++) {
                    const REAL *const restrict pixel = image + i * line + j * channels;
                    INDEPENDENT
                    for (int64_t k = 0; k < channels; k++) to[k] += pixel[k];
                }
            INDEPENDENT
            for (int64_t k = 0; k < channels; k++) to[k] *= share;
        }
    }
}

/* Spread the gradient of each window evenly over its pixels; rows of dx as in max_pool2d_backward.
 */
static void TYPED(avg_pool2d_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    const struct avg_pool2d_backward *const n = fields_of(instruction);
    const struct pool_windows p = n->pool_windows;
    const REAL *const dy = array_at(n->dy);
    REAL *const dx = array_at(n->dx);
    const int64_t rows = p.batch * p.height, channels = p.channels, line = p.width * channels;
    const int64_t end = first_of(rows, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        const struct window windows =
            windows_with(row % p.height, p.out_height, p.stride_height, p.kernel_height, p.top);
        REAL *const to = dx + row * line;
        memset(to, 0, (size_t)line * sizeof(REAL));
        for (int64_t oh = windows.first; oh < windows.end; oh++) {
            const int64_t cells = rows_of_window(&p, oh).cells;
            for (int64_t ow = 0; ow < p.out_width; ow++) {
                const struct window w = columns_of_window(&p, ow);
                const int64_t start =
                    ((row / p.height * p.out_height + oh) * p.out_width + ow) * channels;
                const REAL *const restrict gradient = dy + start;
                const REAL share = (REAL)(1.0 / (double)(cells * w.cells));
                for (int64_t j = w.first; j < w.end; j++) {
                    REAL *const restrict pixel = to + j * channels;
                    INDEPENDENT
                    for (int64_t k = 0; k < channels; k++) pixel[k] += gradient[k] * share;
                }
            }
        }
    }
}

/* The mean of each channel over all pixels, summed in float64. */
static void TYPED(global_avg_pool2d_forward)(const int64_t *instruction, int64_t step,
                                             int64_t thread, int64_t threads) {
    const struct global_avg_pool2d_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t batch = n->batch, pixels = n->pixels, channels = n->channels;
    const int64_t pieces = (channels + CHANNELS_AT_ONCE - 1) / CHANNELS_AT_ONCE;
    const int64_t end = first_of(batch * pieces, thread + 1, threads);
    const double share = 1.0 / (double)pixels;
    (void)step;
    for (int64_t piece = first_of(batch * pieces, thread, threads); piece < end; piece++) {
        const int64_t image = piece / pieces, first = piece % pieces * CHANNELS_AT_ONCE;
        const int64_t count = least_of(CHANNELS_AT_ONCE, channels - first);
        const REAL *restrict pixel = x + image * pixels * channels + first;
        double total[CHANNELS_AT_ONCE] = {0};
        for (int64_t i = 0; i < pixels; i++, pixel += channels)
            for (int64_t k = 0; k < count; k++) total[k] += pixel[k];
        for (int64_t k = 0; k < count; k++)
            y[image * channels + first + k] = (REAL)(total[k] * share);
    }
}

/* Spread each channel's gradient evenly over all pixels. */
static void TYPED(global_avg_pool2d_backward)(const int64_t *instruction, int64_t step,
                                              int64_t thread, int64_t threads) {
    const struct global_avg_pool2d_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    REAL *const dx = array_at(n->dx);
    const int64_t batch = n->batch, height = n->height, width = n->width, channels = n->channels;
    const int64_t end = first_of(batch * height, thread + 1, threads);
    const REAL share = (REAL)(1.0 / (double)(height * width));
    (void)step;
    for (int64_t row = first_of(batch * height, thread, threads); row < end; row++) {
        const REAL *const restrict gradient = dy + row / height * channels;
        for (int64_t j = 0; j < width; j++) {
            REAL *const restrict pixel = dx + (row * width + j) * channels;
            INDEPENDENT
            for (int64_t k = 0; k < channels; k++) pixel[k] = gradient[k] * share;
        }
    }
}

#define POOL_KERNELS                                                                               \
    ENTRY(max_pool2d_forward), ENTRY(max_pool2d_backward), ENTRY(max_pool2d_backward_pairs),       \
        ENTRY(avg_pool2d_forward), ENTRY(avg_pool2d_backward), ENTRY(global_avg_pool2d_forward),   \
        ENTRY(global_avg_pool2d_backward)
