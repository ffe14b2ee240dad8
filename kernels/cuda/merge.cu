// Two arrays that become one (backends/cupy/merge.py). Launch with any grid and block of one
// dimension.
#include "threads.cuh"

namespace {

// The element of x2 that element i of x1 meets: x2 has a row of channels for each image of `pixels`
// pixels, or where pixels is 0, the shape of x1.
__device__ inline int partner_of(int i, int pixels, int channels) {
    return pixels == 0 ? i : i / (pixels * channels) * channels + i % channels;
}

}  // namespace

// y may be x1, and where pixels is 0, x2.
template <typename T>
__global__ void add(int size, int pixels, int channels, const T *x1, const T *x2, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        y[i] = x1[i] + x2[partner_of(i, pixels, channels)];
}

// As add.
template <typename T>
__global__ void multiply(int size, int pixels, int channels, const T *x1, const T *x2, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        y[i] = x1[i] * x2[partner_of(i, pixels, channels)];
}

// total = the sum of dy, or where x1 is given of dy x1, over the pixels of each image.
template <typename T>
__global__ void sum_of_each_image(int batch, int pixels, int channels, const T *__restrict__ dy,
                                  const T *__restrict__ x1, T *__restrict__ total) {
    using namespace fastconv;
    for (int index = first_index(); index < batch * channels; index += index_step()) {
        const long long start =
            static_cast<long long>(index / channels) * pixels * channels + index % channels;
        if (x1 == nullptr) {
            LongSum<T> sum;
            for (int pixel = 0; pixel < pixels; pixel++) sum += dy[start + pixel * channels];
            total[index] = static_cast<T>(sum.value());
            continue;
        }
        double sum = 0;
        for (int pixel = 0; pixel < pixels; pixel++)
            sum += static_cast<double>(dy[start + pixel * channels]) * x1[start + pixel * channels];
        total[index] = static_cast<T>(sum);
    }
}

// The columns of each row of x to a row of y; x_row and y_row are the strides.
template <typename T>
__global__ void copy_rows(int rows, int columns, int x_row, int y_row, int x_start, int y_start,
                          const T *__restrict__ x, T *__restrict__ y) {
    using namespace fastconv;
    for (int i = first_index(); i < rows * columns; i += index_step())
        y[i / columns * y_row + y_start + i % columns] =
            x[i / columns * x_row + x_start + i % columns];
}
