/* Random changes to a batch of images; fastconv.plans.operation.AugmentSpec has the formulas, and those
 * of crops and mixtures fastconv.plans.augmentation. */
#ifndef FASTCONV_AUGMENT_H
#define FASTCONV_AUGMENT_H

enum { WORDS_OF_AN_IMAGE = 12, WORDS_OF_A_JITTER = 8, PIXELS_AT_ONCE = 64 };
enum { FLIPS_AT_RANDOM = 1, FLIPS_ALTERNATE = 2 };

#define STEP_OF_FIRST_FLIPS ((int64_t)1 << 62)
#define TWO_PI 6.28318530717958647693

/* Number between 0 and 1 from a word. */
INLINE double draw_of(uint32_t word) { return (double)(word >> 8) / 16777216; }

/* The draws u_0 to u_7 of an image. */
INLINE void eight_draws(const struct random_stream *s, int64_t sample, double *u) {
    uint32_t words[8];
    for (int block = 0; block < 2; block++)
        four_words(s, (uint64_t)(2 * sample + block), words + 4 * block);
    for (int k = 0; k < 8; k++) u[k] = draw_of(words[k]);
}

/* Largest integer not above a, for the small numbers that coordinates are; without a call of floor,
 * which older processors would need. */
INLINE int64_t below(double a) {
    const int64_t toward_zero = (int64_t)a;
    return toward_zero - (a < (double)toward_zero);
}

/* The pixel that a place beside an image shows. */
INLINE int64_t mirrored(int64_t place, int64_t size) {
    const int64_t inside = place < 0 ? -place : place;
    return inside < size ? inside : 2 * (size - 1) - inside;
}

/* A length rounded to 1 up to `size` pixels. */
INLINE int64_t side_of(double length, int64_t size) {
    return least_of(size, most_of(1, below(length + 0.5)));
}

/* Where a row of output pixels samples: row r0 + rj * j, column c0 + cj * j. */
struct line {
    double r0, rj, c0, cj;
};

#endif

/* An image after the flip and the crop, without moving it: pixel (i, j) is at
 * origin + i * row + j * column for first <= (i, j) < end, and 0 elsewhere. */
struct TYPED(view) {
    const REAL *origin;
    int64_t row, column, first_i, end_i, first_j, end_j;
};

INLINE int TYPED(holds)(const struct TYPED(view) *v, int64_t i, int64_t j) {
    return i >= v->first_i && i < v->end_i && j >= v->first_j && j < v->end_j;
}

/* One row of output pixels of a warped image. */
static void TYPED(sample_line)(const struct TYPED(view) *v, const struct line *line, int64_t width,
                               int64_t channels, REAL *y) {
    int32_t top[PIXELS_AT_ONCE], left[PIXELS_AT_ONCE];
    REAL down[PIXELS_AT_ONCE], right[PIXELS_AT_ONCE];
    for (int64_t first = 0; first < width; first += PIXELS_AT_ONCE) {
        const int count = (int)least_of(PIXELS_AT_ONCE, width - first);
        for (int k = 0; k < count; k++) {
            const double j = (double)((int)first + k);
            const double r = line->r0 + line->rj * j, c = line->c0 + line->cj * j;
            int32_t i0 = (int32_t)r, j0 = (int32_t)c;
            i0 -= r < (double)i0;
            j0 -= c < (double)j0;
            top[k] = i0;
            left[k] = j0;
            down[k] = (REAL)(r - (double)i0);
            right[k] = (REAL)(c - (double)j0);
        }
        for (int k = 0; k < count; k++, y += channels) {
            const int64_t i = top[k], j = left[k];
            const REAL d = down[k], u = 1 - d, r = right[k], l = 1 - r;
            const REAL *const pixel = v->origin + i * v->row + j * v->column;
            if (TYPED(holds)(v, i, j) && TYPED(holds)(v, i + 1, j + 1)) {
                for (int64_t c = 0; c < channels; c++)
                    y[c] = u * (l * pixel[c] + r * pixel[c + v->column]) +
                           d * (l * pixel[c + v->row] + r * pixel[c + v->row + v->column]);
            } else {
                /* At the edge: the pixels that are there, of four. */
                for (int64_t c = 0; c < channels; c++) y[c] = 0;
                for (int corner = 0; corner < 4; corner++) {
                    const int64_t di = corner / 2, dj = corner % 2;
                    if (!TYPED(holds)(v, i + di, j + dj)) continue;
                    const REAL weight = (di ? d : u) * (dj ? r : l);
                    const REAL *const p = v->origin + (i + di) * v->row + (j + dj) * v->column;
                    for (int64_t c = 0; c < channels; c++) y[c] += weight * p[c];
                }
            }
        }
    }
}

/* Flip, crop, warp, cut out. */
static void TYPED(augment_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct augment_images *const n = fields_of(instruction);
    const int64_t *const first_step = array_at(n->step);
    const int64_t batch = n->batch, height = n->height, width = n->width, channels = n->channels;
    const int64_t flip = n->flip, crop = n->crop, warps = n->warps, cutout = n->cutout;
    const double rotation = n->rotation, shear = n->shear;
    const double translation = n->translation;
    const struct random_stream s = stream_at(&n->random_key, first_step[0] + step);
    const int64_t row = width * channels, size = height * row;
    const int64_t end = first_of(batch, thread + 1, threads);
    for (int64_t sample = first_of(batch, thread, threads); sample < end; sample++) {
        const REAL *const x = (const REAL *)array_at(n->x) + sample * size;
        REAL *const y = (REAL *)array_at(n->y) + sample * size;
        uint32_t words[WORDS_OF_AN_IMAGE];
        double u[WORDS_OF_AN_IMAGE];
        for (int block = 0; block < WORDS_OF_AN_IMAGE / 4; block++)
            four_words(&s, (uint64_t)(sample * (WORDS_OF_AN_IMAGE / 4) + block), words + 4 * block);
        for (int k = 0; k < WORDS_OF_AN_IMAGE; k++) u[k] = (double)(words[k] >> 8) / 16777216;

        const int flipped = flip && u[0] < 0.5;
        const int64_t oy = below(u[1] * (double)(2 * crop + 1)) - crop;
        const int64_t ox = below(u[2] * (double)(2 * crop + 1)) - crop;
        struct TYPED(view) v;
        v.row = row;
        v.column = flipped ? -channels : channels;
        /* An offset in front of the array is no address: it is added to one that is, or never
         * used. */
        const int64_t start = oy * row + (flipped ? width - 1 - ox : ox) * channels;
        v.origin = (const REAL *)((uintptr_t)x + (uintptr_t)start * sizeof(REAL));
        v.first_i = most_of(0, -oy);
        v.end_i = least_of(height, height - oy);
        v.first_j = most_of(0, -ox);
        v.end_j = least_of(width, width - ox);

        if (warps) {
            const double a = (2 * u[3] - 1) * rotation, k = tan((2 * u[4] - 1) * shear);
            const double cy = (double)(height - 1) / 2, cx = (double)(width - 1) / 2;
            const double ty = (2 * u[5] - 1) * translation * (double)height;
            const double tx = (2 * u[6] - 1) * translation * (double)width;
            const double sine = sin(a), cosine = cos(a);
            for (int64_t i = 0; i < height; i++) {
                const double down = (double)i - cy - ty, h = -cx - tx - k * down;
                const struct line line = {sine * h + cosine * down + cy, sine,
                                          cosine * h - sine * down + cx, cosine};
                TYPED(sample_line)(&v, &line, width, channels, y + i * row);
            }
        } else {
            for (int64_t i = 0; i < height; i++) {
                REAL *const to = y + i * row;
                const int64_t first = v.first_j, last = most_of(first, v.end_j);
                if (i < v.first_i || i >= v.end_i || first >= width) {
                    memset(to, 0, (size_t)row * sizeof(REAL));
                    continue;
                }
                const REAL *const from = v.origin + i * v.row;
                memset(to, 0, (size_t)(first * channels) * sizeof(REAL));
                if (!flipped)
                    memcpy(to + first * channels, from + first * channels,
                           (size_t)((last - first) * channels) * sizeof(REAL));
                else
                    for (int64_t j = first; j < last; j++)
                        for (int64_t c = 0; c < channels; c++)
                            to[j * channels + c] = from[j * v.column + c];
                memset(to + last * channels, 0, (size_t)((width - last) * channels) * sizeof(REAL));
            }
        }
        if (cutout) {
            const int64_t top = below(u[7] * (double)height) - cutout / 2;
            const int64_t left = below(u[8] * (double)width) - cutout / 2;
            const int64_t first = most_of(0, left), last = least_of(width, left + cutout);
            for (int64_t i = most_of(0, top); i < least_of(height, top + cutout); i++)
                memset(y + i * row + first * channels, 0,
                       (size_t)((last - first) * channels) * sizeof(REAL));
        }
    }
}

/* Colours and erasing, in place; fastconv.plans.jitter.JitterSpec has the formulas. */
static void TYPED(jitter_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct jitter_images *const n = fields_of(instruction);
    const int64_t *const first_step = array_at(n->step);
    const int64_t height = n->height, width = n->width, channels = n->channels;
    const int64_t pixels = height * width, row = width * channels;
    const struct random_stream s = stream_at(&n->random_key, first_step[0] + step);
    const int64_t end = first_of(n->batch, thread + 1, threads);
    for (int64_t sample = first_of(n->batch, thread, threads); sample < end; sample++) {
        REAL *const x = (REAL *)array_at(n->x) + sample * pixels * channels;
        uint32_t words[WORDS_OF_A_JITTER];
        double u[WORDS_OF_A_JITTER];
        for (int block = 0; block < WORDS_OF_A_JITTER / 4; block++)
            four_words(&s, (uint64_t)(sample * (WORDS_OF_A_JITTER / 4) + block), words + 4 * block);
        for (int k = 0; k < WORDS_OF_A_JITTER; k++) u[k] = (double)(words[k] >> 8) / 16777216;
        const REAL brightness = (REAL)(1 + (2 * u[0] - 1) * n->brightness);
        const REAL contrast = (REAL)(1 + (2 * u[1] - 1) * n->contrast);
        const REAL saturation = (REAL)(1 + (2 * u[2] - 1) * n->saturation);
        const REAL equal = (REAL)(1 / (double)channels);
        const REAL red = channels == 3 ? (REAL)0.299 : equal;
        const REAL green = channels == 3 ? (REAL)0.587 : equal;
        const REAL blue = channels == 3 ? (REAL)0.114 : equal;
        if (n->brightness != 0)
            for (int64_t i = 0; i < pixels * channels; i++) x[i] *= brightness;
        if (n->contrast != 0) {
            double sum = 0;
            for (int64_t i = 0; i < pixels; i++) {
                REAL luma = 0;
                for (int64_t c = 0; c < channels; c++)
                    luma += (c == 0 ? red : c == 1 ? green : blue) * x[i * channels + c];
                sum += luma;
            }
            const REAL more = (1 - contrast) * (REAL)(sum / (double)pixels);
            for (int64_t i = 0; i < pixels * channels; i++) x[i] = contrast * x[i] + more;
        }
        if (n->saturation != 0)
            for (int64_t i = 0; i < pixels; i++) {
                REAL luma = 0;
                for (int64_t c = 0; c < channels; c++)
                    luma += (c == 0 ? red : c == 1 ? green : blue) * x[i * channels + c];
                for (int64_t c = 0; c < channels; c++)
                    x[i * channels + c] =
                        saturation * x[i * channels + c] + (1 - saturation) * luma;
            }
        if (u[3] < n->erase) {
            const double area = (double)pixels * (0.02 + u[4] * (n->erase_area - 0.02));
            const double ratio = pow(0.3, 1 - 2 * u[5]);
            const int64_t high = below(sqrt(area * ratio) + 0.5), wide = below(sqrt(area / ratio) + 0.5);
            const int64_t rows = least_of(height, most_of(1, high));
            const int64_t columns = least_of(width, most_of(1, wide));
            const int64_t top = below(u[6] * (double)(height - rows + 1));
            const int64_t left = below(u[7] * (double)(width - columns + 1));
            for (int64_t i = top; i < top + rows; i++)
                memset(x + i * row + left * channels, 0, (size_t)(columns * channels) * sizeof(REAL));
        }
    }
}

/* Crops with mirrored edges, parts that are resized, flips. */
static void TYPED(crop_images)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct crop_images *const n = fields_of(instruction);
    const int64_t *const first_step = array_at(n->step);
    const int64_t *const indices = (const int64_t *)array_at(n->indices) + step * n->batch;
    const int64_t height = n->height, width = n->width, channels = n->channels, crop = n->crop;
    const int64_t row = width * channels, number = first_step[0] + step;
    const struct random_stream s = stream_at(&n->random_key, number);
    const struct random_stream of_flips = stream_at(&n->random_key, STEP_OF_FIRST_FLIPS);
    const int odd = number / n->steps_per_epoch % 2 == 1;
    const int64_t end = first_of(n->batch, thread + 1, threads);
    for (int64_t sample = first_of(n->batch, thread, threads); sample < end; sample++) {
        const REAL *const x = (const REAL *)array_at(n->x) + sample * height * row;
        REAL *const y = (REAL *)array_at(n->y) + sample * height * row;
        double u[8];
        eight_draws(&s, sample, u);
        int flipped = n->flip == FLIPS_AT_RANDOM && u[0] < 0.5;
        if (n->flip == FLIPS_ALTERNATE) {
            uint32_t words[4];
            four_words(&of_flips, (uint64_t)(indices[sample] / 4), words);
            flipped = (draw_of(words[indices[sample] % 4]) < 0.5) != odd;
        }
        if (n->least_area == 0) {
            const int64_t oy = below(u[1] * (double)(2 * crop + 1)) - crop;
            const int64_t ox = below(u[2] * (double)(2 * crop + 1)) - crop;
            for (int64_t i = 0; i < height; i++) {
                const REAL *const from = x + mirrored(i + oy, height) * row;
                REAL *const to = y + i * row;
                for (int64_t j = 0; j < width; j++) {
                    const int64_t column = flipped ? width - 1 - j : j;
                    const REAL *const pixel = from + mirrored(column + ox, width) * channels;
                    for (int64_t c = 0; c < channels; c++) to[j * channels + c] = pixel[c];
                }
            }
            continue;
        }
        const double area =
            (double)(height * width) * (n->least_area + u[3] * (1 - n->least_area));
        const double ratio = pow(0.75, 1 - 2 * u[4]);
        const int64_t rows = side_of(sqrt(area / ratio), height);
        const int64_t columns = side_of(sqrt(area * ratio), width);
        const int64_t top = below(u[5] * (double)(height - rows + 1));
        const int64_t left = below(u[6] * (double)(width - columns + 1));
        const double by_row = (double)rows / (double)height;
        const double by_column = (double)columns / (double)width;
        const REAL *const part = x + top * row + left * channels;
        for (int64_t i = 0; i < height; i++) {
            const double r = ((double)i + 0.5) * by_row - 0.5, y0 = r < 0 ? 0 : r;
            const int64_t i0 = (int64_t)y0;
            const REAL d = (REAL)(y0 - (double)i0), rest = 1 - d;
            const REAL *const above = part + i0 * row;
            const REAL *const under = part + least_of(i0 + 1, rows - 1) * row;
            REAL *const to = y + i * row;
            for (int64_t j = 0; j < width; j++) {
                const double column = (double)(flipped ? width - 1 - j : j);
                const double at = (column + 0.5) * by_column - 0.5, x0 = at < 0 ? 0 : at;
                const int64_t j0 = (int64_t)x0;
                const REAL e = (REAL)(x0 - (double)j0), back = 1 - e;
                const int64_t before = j0 * channels;
                const int64_t behind = least_of(j0 + 1, columns - 1) * channels;
                for (int64_t c = 0; c < channels; c++)
                    to[j * channels + c] =
                        rest * (back * above[before + c] + e * above[behind + c]) +
                        d * (back * under[before + c] + e * under[behind + c]);
            }
        }
    }
}

/* Mixup and cutmix. */
static void TYPED(mix_images)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    const struct mix_images *const n = fields_of(instruction);
    const int64_t *const first_step = array_at(n->step);
    int64_t *const partners = array_at(n->partners);
    REAL *const shares = array_at(n->shares);
    const int64_t batch = n->batch, height = n->height, width = n->width, channels = n->channels;
    const int64_t row = width * channels, size = height * row;
    const struct random_stream s = stream_at(&n->random_key, first_step[0] + step);
    const int64_t end = first_of(batch, thread + 1, threads);
    for (int64_t sample = first_of(batch, thread, threads); sample < end; sample++) {
        double u[8];
        eight_draws(&s, sample, u);
        const int64_t partner = (sample + 1 + below(u[0] * (double)(batch - 1))) % batch;
        const REAL *const own = (const REAL *)array_at(n->x) + sample * size;
        const REAL *const other = (const REAL *)array_at(n->x) + partner * size;
        REAL *const y = (REAL *)array_at(n->y) + sample * size;
        const int cuts = n->cutmix > 0 && (n->mixup == 0 || u[5] < 0.5);
        const double parameter = cuts ? n->cutmix : n->mixup > 0 ? n->mixup : 1;
        const double p = pow(1 - u[1], 1 / parameter), c = cos(TWO_PI * u[2]);
        const double q = (1 - p) * c * c;
        double share = 0.5 + (c < 0 ? -0.5 : 0.5) * sqrt(q / (p + q));
        if (cuts) {
            const double side = sqrt(1 - share);
            const int64_t rows = below((double)height * side + 0.5);
            const int64_t columns = below((double)width * side + 0.5);
            const int64_t from_row = below(u[3] * (double)height) - rows / 2;
            const int64_t from_column = below(u[4] * (double)width) - columns / 2;
            const int64_t top = most_of(0, from_row), bottom = least_of(height, from_row + rows);
            const int64_t left = most_of(0, from_column);
            const int64_t right = least_of(width, from_column + columns);
            memcpy(y, own, (size_t)size * sizeof(REAL));
            for (int64_t i = top; i < bottom; i++)
                memcpy(y + i * row + left * channels, other + i * row + left * channels,
                       (size_t)((right - left) * channels) * sizeof(REAL));
            share = 1 - (double)((bottom - top) * (right - left)) / (double)(height * width);
        } else {
            const REAL kept = (REAL)share, rest = 1 - kept;
            INDEPENDENT
            for (int64_t i = 0; i < size; i++) y[i] = kept * own[i] + rest * other[i];
        }
        partners[sample] = partner;
        shares[sample] = (REAL)share;
    }
}

/* Targets of mixed images. */
static void TYPED(mix_rows)(const int64_t *instruction, int64_t step, int64_t thread,
                            int64_t threads) {
    const struct mix_rows *const n = fields_of(instruction);
    const int64_t *const partners = array_at(n->partners);
    const REAL *const shares = array_at(n->shares);
    const int64_t elements = n->elements, end = first_of(n->batch, thread + 1, threads);
    (void)step;
    for (int64_t sample = first_of(n->batch, thread, threads); sample < end; sample++) {
        const REAL *const own = (const REAL *)array_at(n->rows) + sample * elements;
        const REAL *const other = (const REAL *)array_at(n->rows) + partners[sample] * elements;
        REAL *const y = (REAL *)array_at(n->y) + sample * elements;
        const REAL kept = shares[sample], rest = 1 - kept;
        for (int64_t i = 0; i < elements; i++) y[i] = kept * own[i] + rest * other[i];
    }
}
