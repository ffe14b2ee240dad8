// Crops and flips of images, and mixtures of one with another (backends/cupy/augment.py), by the
// formulas of fastconv.plans.augmentation.
#include "philox.cuh"
#include "threads.cuh"

namespace {

constexpr long long STEP_OF_FIRST_FLIPS = 1ll << 62;
constexpr int FLIPS_AT_RANDOM = 1, FLIPS_ALTERNATE = 2;

// What one image's draws come to.
struct Part {
    bool flipped;
    int moved_down, moved_right;         // of a crop with mirrored edges
    int top, left, rows, columns;        // of a part that is resized
};

// What an image is mixed with, and how.
struct Mixture {
    int partner;
    bool cuts;
    double share;
    int top, bottom, left, right;  // of the rectangle that is the partner's
};

__device__ double draw_of(unsigned word) { return (word >> 8) * (1.0 / 16777216); }

__device__ void eight_draws(int n, unsigned stream, long long step, unsigned long long seed,
                            double *u) {
    using namespace fastconv;
    const Words words = philox(2 * n, stream, step, seed);
    const Words others = philox(2 * n + 1, stream, step, seed);
    for (int k = 0; k < 8; k++) u[k] = draw_of(k < 4 ? words.word[k] : others.word[k - 4]);
}

__device__ int mirrored(int place, int size) {
    const int inside = place < 0 ? -place : place;
    return inside < size ? inside : 2 * (size - 1) - inside;
}

// A length rounded to 1 up to `size` pixels.
__device__ int side_of(double length, int size) {
    const int rounded = static_cast<int>(floor(length + 0.5));
    return rounded < 1 ? 1 : rounded > size ? size : rounded;
}

__device__ Part part_of(int n, int height, int width, int flip, int crop, int steps_per_epoch,
                        double least_area, unsigned long long seed, unsigned stream,
                        long long sample, long long step) {
    using namespace fastconv;
    double u[8];
    eight_draws(n, stream, step, seed, u);
    Part made;
    made.flipped = flip == FLIPS_AT_RANDOM && u[0] < 0.5;
    if (flip == FLIPS_ALTERNATE) {
        const unsigned block = static_cast<unsigned>(sample / 4);
        const Words words = philox(block, stream, STEP_OF_FIRST_FLIPS, seed);
        made.flipped = (draw_of(words.word[sample % 4]) < 0.5) != (step / steps_per_epoch % 2 == 1);
    }
    made.moved_down = static_cast<int>(floor(u[1] * (2 * crop + 1))) - crop;
    made.moved_right = static_cast<int>(floor(u[2] * (2 * crop + 1))) - crop;
    const double area =
        static_cast<double>(height) * width * (least_area + u[3] * (1 - least_area));
    const double ratio = pow(0.75, 1 - 2 * u[4]);
    made.rows = side_of(sqrt(area / ratio), height);
    made.columns = side_of(sqrt(area * ratio), width);
    made.top = static_cast<int>(floor(u[5] * (height - made.rows + 1)));
    made.left = static_cast<int>(floor(u[6] * (width - made.columns + 1)));
    return made;
}

__device__ Mixture mixture_of(int n, int batch, int height, int width, double mixup, double cutmix,
                              unsigned long long seed, unsigned stream, long long step) {
    constexpr double TWO_PI = 6.28318530717958647693;
    double u[8];
    eight_draws(n, stream, step, seed, u);
    Mixture made;
    made.partner = (n + 1 + static_cast<int>(floor(u[0] * (batch - 1)))) % batch;
    made.cuts = cutmix > 0 && (mixup == 0 || u[5] < 0.5);
    const double parameter = made.cuts ? cutmix : mixup > 0 ? mixup : 1;
    const double p = pow(1 - u[1], 1 / parameter), c = cos(TWO_PI * u[2]);
    const double q = (1 - p) * c * c;
    made.share = 0.5 + (c < 0 ? -0.5 : 0.5) * sqrt(q / (p + q));
    made.top = made.bottom = made.left = made.right = 0;
    if (!made.cuts) return made;
    const double side = sqrt(1 - made.share);
    const int rows = static_cast<int>(floor(height * side + 0.5));
    const int columns = static_cast<int>(floor(width * side + 0.5));
    const int from_row = static_cast<int>(floor(u[3] * height)) - rows / 2;
    const int from_column = static_cast<int>(floor(u[4] * width)) - columns / 2;
    made.top = from_row < 0 ? 0 : from_row;
    made.left = from_column < 0 ? 0 : from_column;
    made.bottom = from_row + rows < height ? from_row + rows : height;
    made.right = from_column + columns < width ? from_column + columns : width;
    const int pixels = (made.bottom - made.top) * (made.right - made.left);
    made.share = 1 - static_cast<double>(pixels) / (static_cast<double>(height) * width);
    return made;
}

}  // namespace

// Launch with a grid of any two dimensions (pixels, images) and blocks of one: the first thread of
// a block draws for its image.
template <typename T>
__global__ void crop_images(int batch, int height, int width, int channels, int flip, int crop,
                            int steps_per_epoch, double least_area, unsigned long long seed,
                            unsigned stream, const T *x, const long long *indices,
                            const long long *step, T *y) {
    using namespace fastconv;
    __shared__ Part part;
    const int count = height * width * channels;
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        if (threadIdx.x == 0)
            part = part_of(n, height, width, flip, crop, steps_per_epoch, least_area, seed, stream,
                           indices[n], *step);
        __syncthreads();
        const T *const image = x + static_cast<long long>(n) * count;
        for (int index = first_index(); index < count; index += index_step()) {
            const int c = index % channels, j = index / channels % width;
            const int i = index / (channels * width), column = part.flipped ? width - 1 - j : j;
            T value;
            if (least_area == 0) {
                const int row = mirrored(i + part.moved_down, height);
                const int place = mirrored(column + part.moved_right, width);
                value = image[(row * width + place) * channels + c];
            } else {
                const double r = (i + 0.5) * (static_cast<double>(part.rows) / height) - 0.5;
                const double s =
                    (column + 0.5) * (static_cast<double>(part.columns) / width) - 0.5;
                const double at_row = r < 0 ? 0 : r, at_column = s < 0 ? 0 : s;
                const int above = static_cast<int>(at_row), before = static_cast<int>(at_column);
                const int under = above + 1 < part.rows ? above + 1 : part.rows - 1;
                const int behind = before + 1 < part.columns ? before + 1 : part.columns - 1;
                const T down = static_cast<T>(at_row - above);
                const T right = static_cast<T>(at_column - before);
                const T *const upper = image + (part.top + above) * width * channels + c;
                const T *const lower = image + (part.top + under) * width * channels + c;
                const int first = (part.left + before) * channels;
                const int second = (part.left + behind) * channels;
                value = (1 - down) * ((1 - right) * upper[first] + right * upper[second]) +
                        down * ((1 - right) * lower[first] + right * lower[second]);
            }
            y[static_cast<long long>(n) * count + index] = value;
        }
        __syncthreads();
    }
}

// Launch as crop_images.
template <typename T>
__global__ void mix_images(int batch, int height, int width, int channels, double mixup,
                           double cutmix, unsigned long long seed, unsigned stream, const T *x,
                           const long long *step, T *y, long long *partners, T *shares) {
    using namespace fastconv;
    __shared__ Mixture made;
    const int count = height * width * channels;
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        if (threadIdx.x == 0) {
            made = mixture_of(n, batch, height, width, mixup, cutmix, seed, stream, *step);
            if (blockIdx.x == 0) {
                partners[n] = made.partner;
                shares[n] = static_cast<T>(made.share);
            }
        }
        __syncthreads();
        const T *const own = x + static_cast<long long>(n) * count;
        const T *const other = x + static_cast<long long>(made.partner) * count;
        const T kept = static_cast<T>(made.share);
        for (int index = first_index(); index < count; index += index_step()) {
            const int j = index / channels % width, i = index / (channels * width);
            const bool inside =
                i >= made.top && i < made.bottom && j >= made.left && j < made.right;
            y[static_cast<long long>(n) * count + index] =
                made.cuts ? (inside ? other[index] : own[index])
                          : kept * own[index] + (1 - kept) * other[index];
        }
        __syncthreads();
    }
}

// y[n] = shares[n] * rows[n] + (1 - shares[n]) * rows[partners[n]], rows of `size` elements. Launch
// with any grid and block of one dimension.
template <typename T>
__global__ void mix_rows(int batch, int size, const T *rows, const long long *partners,
                         const T *shares, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < batch * size; i += index_step()) {
        const int n = i / size;
        const T kept = shares[n];
        y[i] = kept * rows[i] + (1 - kept) * rows[partners[n] * size + (i - n * size)];
    }
}
