// Batch normalisation (backends/cupy/norm.py; Ioffe & Szegedy, arXiv:1502.03167).
//
// The statistics: launch with blocks of LANES x ROWS threads, a lane for each channel, so that
// neighbouring threads read neighbouring channels; each thread adds up every ROWS-th row, and one
// adds up their sums in order. All sums are in double: squares of float numbers may not fit into float.
#include "threads.cuh"

namespace {

constexpr int LANES = 32, ROWS = 8;

// The sum over the threads of a lane, in all of them.
template <typename T>
__device__ T sum_of_lane(T value, T (*room)[LANES]) {
    room[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < ROWS; i++) sum += room[i][threadIdx.x];
    __syncthreads();
    return sum;
}

}  // namespace

// The mean and 1 / sqrt(variance + epsilon) of each channel, and the running statistics. Distances
// from the first row are added up, so that a large mean does not swallow the digits of the rest.
template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    batch_statistics(int rows, int channels, double epsilon, double momentum, const T *x,
                     T *running_mean, T *running_variance, T *mean, T *inverse_std) {
    __shared__ double room[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x;
    const bool is_channel = c < channels;
    const double first = is_channel && rows ? x[c] : T(0);
    const double origin = first - first == 0 ? first : 0; // infinities have no distances
    double sum = 0, squares = 0;
    if (is_channel)
        for (int row = threadIdx.y; row < rows; row += ROWS)
            sum += x[static_cast<long long>(row) * channels + c] - origin;
    const double offset = sum_of_lane(sum, room) / rows;
    if (is_channel)
        for (int row = threadIdx.y; row < rows; row += ROWS) {
            const double distance = x[static_cast<long long>(row) * channels + c] - origin - offset;
            squares += distance * distance;
        }
    squares = sum_of_lane(squares, room);
    if (!is_channel || threadIdx.y != 0) return;
    if (rows == 0) {
        mean[c] = inverse_std[c] = 0;
        return;
    }
    const double variance = squares / rows, unbiased = rows > 1 ? squares / (rows - 1) : variance;
    const double centre = origin + offset, rest = 1 - momentum;
    mean[c] = static_cast<T>(centre);
    inverse_std[c] = static_cast<T>(1 / sqrt(variance + epsilon));
    running_mean[c] = static_cast<T>(rest * running_mean[c] + momentum * centre);
    running_variance[c] = static_cast<T>(rest * running_variance[c] + momentum * unbiased);
}

// y = gamma (x - mean) / std + beta, with the inverse of the std given, or its square.
// Launch with any grid and block of one dimension.
template <typename T>
__global__ void normalize(int rows, int channels, double epsilon, int is_variance,
                          const T *__restrict__ x, const T *gamma, const T *beta, const T *mean,
                          const T *spread, T *__restrict__ y) {
    using namespace fastconv;
    for (int i = first_index(); i < rows * channels; i += index_step()) {
        const int c = i % channels;
        const T inverse = is_variance ? 1 / sqrt(spread[c] + static_cast<T>(epsilon)) : spread[c];
        y[i] = gamma[c] * ((x[i] - mean[c]) * inverse) + beta[c];
    }
}

// dbeta = sum of dy, dgamma = sum of dy z, with z = (x - mean) * inverse_std; and behind each
// other the means of dy and of dy z, which fit into T where the sums may not. Launched as
// batch_statistics.
template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    batch_norm_sums(int rows, int channels, const T *dy, const T *x, const T *mean,
                    const T *inverse_std, T *dgamma, T *dbeta, T *means) {
    __shared__ double room[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x;
    const bool is_channel = c < channels;
    double sum = 0, products = 0;
    if (is_channel)
        for (int row = threadIdx.y; row < rows; row += ROWS) {
            const long long i = static_cast<long long>(row) * channels + c;
            sum += dy[i];
            const T z = (x[i] - mean[c]) * inverse_std[c];
            products += static_cast<double>(dy[i]) * z;
        }
    sum = sum_of_lane(sum, room);
    products = sum_of_lane(products, room);
    if (!is_channel || threadIdx.y != 0) return;
    dbeta[c] = static_cast<T>(sum);
    dgamma[c] = static_cast<T>(products);
    means[c] = static_cast<T>(rows ? sum / rows : 0);
    means[channels + c] = static_cast<T>(rows ? products / rows : 0);
}

// dx = gamma inverse_std (dy - mean of dy - z mean of dy z). Launch with any grid and block of
// one dimension.
template <typename T>
__global__ void batch_norm_data_gradient(int rows, int channels, const T *dy, const T *x,
                                         const T *gamma, const T *mean, const T *inverse_std,
                                         const T *means, T *dx) {
    using namespace fastconv;
    for (int i = first_index(); i < rows * channels; i += index_step()) {
        const int c = i % channels;
        const T z = (x[i] - mean[c]) * inverse_std[c];
        const T centred = dy[i] - means[c] - z * means[channels + c];
        dx[i] = gamma[c] * inverse_std[c] * centred;
    }
}
