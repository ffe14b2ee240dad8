// The beginning of a step: gather a batch by index, bring it to a common scale, augment it
// (backends/cupy/input.py). Launch with any grid and block of one dimension, but where it says
// otherwise; y may be x except in augment_images.
#include "gather.cuh"
#include "philox.cuh"
#include "threads.cuh"

namespace {
constexpr int THREADS = 256;

}  // namespace

// out[n] = rows[indices[n]], rows of `size` elements.
template <typename T>
__global__ void gather_bytes(int batch, int size, const unsigned char *rows,
                             const long long *indices, T *out) {
    fastconv::gather(batch, size, rows, indices, out);
}

template <typename T>
__global__ void gather_floats(int batch, int size, const float *rows, const long long *indices,
                              T *out) {
    fastconv::gather(batch, size, rows, indices, out);
}

template <typename T>
__global__ void gather_doubles(int batch, int size, const double *rows, const long long *indices,
                               T *out) {
    fastconv::gather(batch, size, rows, indices, out);
}

__global__ void gather_labels(int batch, int size, const long long *rows, const long long *indices,
                              long long *out) {
    fastconv::gather(batch, size, rows, indices, out);
}

template <typename T>
__global__ void scale_images(int count, const T *x, const double *factor, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < count; i += index_step()) y[i] = x[i] * static_cast<T>(*factor);
}

// mean and std repeat after `period` elements.
template <typename T>
__global__ void standardize_images(int count, int period, const T *x, const T *mean,
                                   const T *std, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < count; i += index_step())
        y[i] = (x[i] - mean[i % period]) / std[i % period];
}

namespace {

// One image by a block of THREADS threads; y may be the image. A NaN spoils all of it.
template <typename T, typename Stored>
__device__ void min_max(const Stored *image, int size, T *y) {
    using fastconv::larger;
    __shared__ T lows[THREADS], highs[THREADS];
    const int thread = threadIdx.x;
    T low = static_cast<T>(image[0]), high = low;
    for (int i = thread; i < size; i += THREADS) {
        const T value = static_cast<T>(image[i]);
        low = -larger(-low, -value);
        high = larger(high, value);
    }
    lows[thread] = low;
    highs[thread] = high;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            lows[thread] = -larger(-lows[thread], -lows[thread + half]);
            highs[thread] = larger(highs[thread], highs[thread + half]);
        }
        __syncthreads();
    }
    low = lows[0];
    high = highs[0];
    for (int i = thread; i < size; i += THREADS)
        y[i] = low == high ? T(0) : (static_cast<T>(image[i]) - low) / (high - low);
    __syncthreads(); // the next image takes the same shared memory
}

}  // namespace

// Launch with blocks of THREADS threads, each of which takes an image.
template <typename T>
__global__ void __launch_bounds__(THREADS) min_max_images(int batch, int size, const T *x, T *y) {
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        const long long first = static_cast<long long>(n) * size;
        min_max(x + first, size, y + first);
    }
}

// gather_bytes and min_max_images at once. Launch as the latter.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    gather_min_max(int batch, int size, const unsigned char *rows, const long long *indices, T *y) {
    for (int n = blockIdx.x; n < batch; n += gridDim.x)
        min_max(rows + indices[n] * size, size, y + static_cast<long long>(n) * size);
}

namespace {

// What one image's draws come to; fastconv.plans.operation.AugmentSpec has the formulas.
struct Change {
    bool flips;
    int crop_row, crop_column;
    double rows[3], columns[3]; // of the affine map: constant, per row, per column
    int hole_top, hole_left;
};

struct Image {
    int height, width, channels;
};

__device__ double draw(unsigned word) { return (word >> 8) * (1.0 / 16777216); }

__device__ Change change_of(int n, const Image &size, int flip, int crop, double rotation,
                            double shear, double translation, int cutout, unsigned long long seed,
                            unsigned stream, long long step) {
    constexpr double RADIANS = 3.14159265358979323846 / 180;
    using namespace fastconv;
    const Words first = philox(3 * n, stream, step, seed);
    const Words second = philox(3 * n + 1, stream, step, seed);
    const Words third = philox(3 * n + 2, stream, step, seed);
    Change made;
    made.flips = flip && draw(first.word[0]) < 0.5;
    made.crop_row = static_cast<int>(floor(draw(first.word[1]) * (2 * crop + 1))) - crop;
    made.crop_column = static_cast<int>(floor(draw(first.word[2]) * (2 * crop + 1))) - crop;
    const double angle = (2 * draw(first.word[3]) - 1) * rotation * RADIANS;
    const double slant = tan((2 * draw(second.word[0]) - 1) * shear * RADIANS);
    const double middle_row = (size.height - 1) / 2.0, middle_column = (size.width - 1) / 2.0;
    const double from_row =
        middle_row + (2 * draw(second.word[1]) - 1) * translation * size.height;
    const double from_column =
        middle_column + (2 * draw(second.word[2]) - 1) * translation * size.width;
    const double sine = sin(angle), cosine = cos(angle);
    made.rows[1] = cosine - sine * slant;
    made.rows[2] = sine;
    made.rows[0] = middle_row - made.rows[1] * from_row - made.rows[2] * from_column;
    made.columns[1] = -sine - cosine * slant;
    made.columns[2] = cosine;
    made.columns[0] = middle_column - made.columns[1] * from_row - made.columns[2] * from_column;
    made.hole_top = static_cast<int>(floor(draw(second.word[3]) * size.height)) - cutout / 2;
    made.hole_left = static_cast<int>(floor(draw(third.word[0]) * size.width)) - cutout / 2;
    return made;
}

// A pixel of the flipped and cropped image; 0 outside of it, and of the image it was cropped from.
template <typename T>
__device__ T moved_pixel(const T *image, const Image &size, const Change &change, int i, int j,
                         int c) {
    if (i < 0 || i >= size.height || j < 0 || j >= size.width) return T(0);
    i += change.crop_row;
    j += change.crop_column;
    if (i < 0 || i >= size.height || j < 0 || j >= size.width) return T(0);
    if (change.flips) j = size.width - 1 - j;
    return image[(i * size.width + j) * size.channels + c];
}

}  // namespace

// Launch with a grid of any two dimensions (pixels, images) and blocks of one: the first thread of
// a block draws for its image.
template <typename T>
__global__ void augment_images(int batch, int height, int width, int channels, int flip, int crop,
                               double rotation, double shear, double translation, int cutout,
                               int warps, unsigned long long seed, unsigned stream, const T *x,
                               const long long *step, T *y) {
    using namespace fastconv;
    __shared__ Change change;
    const Image size = {height, width, channels};
    const int count = height * width * channels;
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        if (threadIdx.x == 0)
            change = change_of(n, size, flip, crop, rotation, shear, translation, cutout, seed,
                               stream, *step);
        __syncthreads();
        const T *const image = x + static_cast<long long>(n) * count;
        for (int index = first_index(); index < count; index += index_step()) {
            const int c = index % channels, j = index / channels % width;
            const int i = index / (channels * width);
            T value;
            if (warps) {
                const double row = change.rows[0] + change.rows[1] * i + change.rows[2] * j;
                const double column =
                    change.columns[0] + change.columns[1] * i + change.columns[2] * j;
                const int above = static_cast<int>(floor(row));
                const int before = static_cast<int>(floor(column));
                const T down = static_cast<T>(row - above), right = static_cast<T>(column - before);
                const T upper =
                    (1 - right) * moved_pixel(image, size, change, above, before, c) +
                    right * moved_pixel(image, size, change, above, before + 1, c);
                const T lower =
                    (1 - right) * moved_pixel(image, size, change, above + 1, before, c) +
                    right * moved_pixel(image, size, change, above + 1, before + 1, c);
                value = (1 - down) * upper + down * lower;
            } else {
                value = moved_pixel(image, size, change, i, j, c);
            }
            const bool cut = i >= change.hole_top && i < change.hole_top + cutout &&
                             j >= change.hole_left && j < change.hole_left + cutout;
            y[static_cast<long long>(n) * count + index] = cut ? T(0) : value;
        }
        __syncthreads();
    }
}

namespace {

template <typename T>
__device__ T luma_of(const T *pixel, int channels) {
    if (channels == 3)
        return static_cast<T>(0.299) * pixel[0] + static_cast<T>(0.587) * pixel[1] +
               static_cast<T>(0.114) * pixel[2];
    T sum = 0;
    for (int c = 0; c < channels; c++) sum += static_cast<T>(1.0 / channels) * pixel[c];
    return sum;
}

}  // namespace

// Colours and erasing, in place: an image by a block of THREADS threads.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    jitter_images(int batch, int height, int width, int channels, double brightness,
                  double contrast, double saturation, double erase, double erase_area,
                  unsigned long long seed, unsigned stream, T *x, const long long *step) {
    using namespace fastconv;
    __shared__ double room[THREADS];
    const int pixels = height * width;
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        T *const image = x + static_cast<long long>(n) * pixels * channels;
        const Words words = philox(2 * n, stream, *step, seed);
        const Words others = philox(2 * n + 1, stream, *step, seed);
        double u[8];
        for (int k = 0; k < 8; k++) u[k] = draw(k < 4 ? words.word[k] : others.word[k - 4]);
        const T b = static_cast<T>(1 + (2 * u[0] - 1) * brightness);
        const T c = static_cast<T>(1 + (2 * u[1] - 1) * contrast);
        const T s = static_cast<T>(1 + (2 * u[2] - 1) * saturation);
        double sum = 0;
        for (int i = threadIdx.x; i < pixels; i += THREADS) {
            T *const pixel = image + static_cast<long long>(i) * channels;
            if (brightness != 0)
                for (int k = 0; k < channels; k++) pixel[k] *= b;
            if (contrast != 0) sum += luma_of(pixel, channels);
        }
        sum = sum_of_block<THREADS>(sum, room);
        const T more = (1 - c) * static_cast<T>(sum / pixels);
        const bool erases = u[3] < erase;
        const double area = pixels * (0.02 + u[4] * (erase_area - 0.02));
        const double ratio = pow(0.3, 1 - 2 * u[5]);
        const int high = static_cast<int>(floor(sqrt(area * ratio) + 0.5));
        const int wide = static_cast<int>(floor(sqrt(area / ratio) + 0.5));
        const int rows = high < 1 ? 1 : high > height ? height : high;
        const int columns = wide < 1 ? 1 : wide > width ? width : wide;
        const int top = static_cast<int>(floor(u[6] * (height - rows + 1)));
        const int left = static_cast<int>(floor(u[7] * (width - columns + 1)));
        for (int i = threadIdx.x; i < pixels; i += THREADS) {
            T *const pixel = image + static_cast<long long>(i) * channels;
            if (contrast != 0)
                for (int k = 0; k < channels; k++) pixel[k] = c * pixel[k] + more;
            if (saturation != 0) {
                const T gray = (1 - s) * luma_of(pixel, channels);
                for (int k = 0; k < channels; k++) pixel[k] = s * pixel[k] + gray;
            }
            const int row = i / width, column = i % width;
            if (erases && row >= top && row < top + rows && column >= left && column < left + columns)
                for (int k = 0; k < channels; k++) pixel[k] = 0;
        }
    }
}
