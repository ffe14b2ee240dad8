/* Images of another size: padded, cropped or upsampled;
 * fastconv/backends/compiled/rules/resample.py makes the instructions. */
#ifndef FASTCONV_RESAMPLE_H
#define FASTCONV_RESAMPLE_H

/* In the order of fastconv.plans.resample_operation.RESAMPLE_KINDS. */
enum { RESAMPLE_ZEROS, RESAMPLE_REFLECT, RESAMPLE_NEAREST, RESAMPLE_BILINEAR };
enum { RESAMPLED_CHANNELS = 16 };

/* A pixel along an axis: (1 - share) times pixel `low` and share times pixel `high`; -1: 0. */
struct source {
    int64_t low, high;
    double share;
};

INLINE struct source source_of(int64_t kind, int64_t i, int64_t size, int64_t out, int64_t offset,
                               int64_t align_corners) {
    int64_t low = i - offset;
    if (kind == RESAMPLE_BILINEAR) {
        double place;
        if (align_corners)
            place = out > 1 ? (double)(i * (size - 1)) / (double)(out - 1) : 0;
        else
            place = ((double)i + 0.5) * (double)size / (double)out - 0.5;
        if (place < 0) place = 0;
        low = (int64_t)place;
        const double share = place - (double)low;
        return (struct source){low, share != 0 && low + 1 < size ? low + 1 : low, share};
    }
    if (kind == RESAMPLE_NEAREST) {
        low = i * size / out;
    } else if (kind == RESAMPLE_REFLECT) {
        low = low < 0 ? -low : low;
        if (low >= size) low = 2 * (size - 1) - low;
    } else if (low < 0 || low >= size) {
        low = -1;
    }
    return (struct source){low, low, 0};
}

#endif

/* y = some pixels of x by their shares. */
static void TYPED(resample_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    const struct resample_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t height = n->height, width = n->width, channels = n->channels;
    const int64_t out_height = n->out_height, out_width = n->out_width;
    const int64_t count = n->batch * out_height, end = first_of(count, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(count, thread, threads); number < end; number++) {
        const struct source r = source_of(n->kind, number % out_height, height, out_height, n->top,
                                          n->align_corners);
        const REAL *const image = x + number / out_height * height * width * channels;
        for (int64_t j = 0; j < out_width; j++) {
            const struct source c =
                source_of(n->kind, j, width, out_width, n->left, n->align_corners);
            REAL *const to = y + (number * out_width + j) * channels;
            if (r.low < 0 || c.low < 0) {
                for (int64_t k = 0; k < channels; k++) to[k] = 0;
                continue;
            }
            const REAL *const a = image + (r.low * width + c.low) * channels;
            if (r.share == 0 && c.share == 0) {
                memcpy(to, a, (size_t)channels * sizeof(REAL));
                continue;
            }
            const REAL *const b = image + (r.low * width + c.high) * channels;
            const REAL *const d = image + (r.high * width + c.low) * channels;
            const REAL *const e = image + (r.high * width + c.high) * channels;
            const REAL down = (REAL)r.share, across = (REAL)c.share;
            INDEPENDENT
            for (int64_t k = 0; k < channels; k++)
                to[k] = (1 - down) * ((1 - across) * a[k] + across * b[k]) +
                        down * ((1 - across) * d[k] + across * e[k]);
        }
    }
}

/* dx = the shares of each pixel of the gradients of those that it is a part of; some channels of a
 * sample are done by one thread, in one order. */
static void TYPED(resample_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                     int64_t threads) {
    const struct resample_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    REAL *const dx = array_at(n->dx);
    const int64_t height = n->height, width = n->width, channels = n->channels;
    const int64_t out_height = n->out_height, out_width = n->out_width;
    const int64_t pieces = (channels + RESAMPLED_CHANNELS - 1) / RESAMPLED_CHANNELS;
    const int64_t count = n->batch * pieces, end = first_of(count, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(count, thread, threads); number < end; number++) {
        const int64_t sample = number / pieces, first = number % pieces * RESAMPLED_CHANNELS;
        const int64_t some = least_of(RESAMPLED_CHANNELS, channels - first);
        REAL *const image = dx + sample * height * width * channels + first;
        const REAL *const from = dy + sample * out_height * out_width * channels + first;
        for (int64_t i = 0; i < height * width; i++)
            for (int64_t k = 0; k < some; k++) image[i * channels + k] = 0;
        for (int64_t i = 0; i < out_height; i++) {
            const struct source r =
                source_of(n->kind, i, height, out_height, n->top, n->align_corners);
            if (r.low < 0) continue;
            for (int64_t j = 0; j < out_width; j++) {
                const struct source c =
                    source_of(n->kind, j, width, out_width, n->left, n->align_corners);
                if (c.low < 0) continue;
                const REAL *const gradient = from + (i * out_width + j) * channels;
                for (int64_t pair = 0; pair < 4; pair++) {
                    const int64_t row = pair & 2 ? r.high : r.low;
                    const int64_t column = pair & 1 ? c.high : c.low;
                    const double share =
                        (pair & 2 ? r.share : 1 - r.share) * (pair & 1 ? c.share : 1 - c.share);
                    if (share == 0) continue;
                    REAL *const to = image + (row * width + column) * channels;
                    for (int64_t k = 0; k < some; k++) to[k] += (REAL)share * gradient[k];
                }
            }
        }
    }
}

#define RESAMPLE_KERNELS ENTRY(resample_forward), ENTRY(resample_backward)
