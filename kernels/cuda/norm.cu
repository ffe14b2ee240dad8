// Batch normalisation (backends/cupy/norm.py; Ioffe & Szegedy, arXiv:1502.03167).
//
// The sums: launch with a grid of blocks of channels and of parts of the rows, and blocks of
// LANES x ROWS threads: a lane for each channel, so that neighbouring threads read neighbouring
// channels; each thread adds up every ROWS-th row of its part, and one adds up their sums in order.
// With one part a block makes the results; with several it leaves its sums in `partial` (for each of
// two, part and channel), and the kernel of the same name with _end, launched with one row of blocks,
// adds them up in order. All sums are in double: squares of float numbers may not fit into float.
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

// The rows of a part.
struct Rows {
    int first, end;
    __device__ Rows(int rows, int part, int parts)
        : first(static_cast<int>(static_cast<long long>(rows) * part / parts)),
          end(static_cast<int>(static_cast<long long>(rows) * (part + 1) / parts)) {}
    __device__ int count() const { return end - first; }
};

// Where the first row of a channel lies; infinities have no distances.
template <typename T>
__device__ double origin_of(const T *x, int c, bool is_there) {
    const double first = is_there ? x[c] : T(0);
    return first - first == 0 ? first : 0;
}

// A channel's statistics from the mean distance to its origin and the sum of the squared distances
// to its mean.
template <typename T>
__device__ void store_statistics(int c, int rows, double epsilon, double momentum, double centre,
                                 double squares, T *running_mean, T *running_variance, T *mean,
                                 T *inverse_std) {
    if (rows == 0) {
        mean[c] = inverse_std[c] = 0;
        return;
    }
    const double variance = squares / rows, unbiased = rows > 1 ? squares / (rows - 1) : variance;
    const double rest = 1 - momentum;
    mean[c] = static_cast<T>(centre);
    inverse_std[c] = static_cast<T>(1 / sqrt(variance + epsilon));
    running_mean[c] = static_cast<T>(rest * running_mean[c] + momentum * centre);
    running_variance[c] = static_cast<T>(rest * running_variance[c] + momentum * unbiased);
}

// The gradients of a channel, and what the gradient of its input takes, which fits into T where the
// sums may not.
template <typename T>
__device__ void store_sums(int c, int rows, int channels, double sum, double products, T *dgamma,
                           T *dbeta, T *means) {
    dbeta[c] = static_cast<T>(sum);
    dgamma[c] = static_cast<T>(products);
    means[c] = static_cast<T>(rows ? sum / rows : 0);
    means[channels + c] = static_cast<T>(rows ? products / rows : 0);
}

}  // namespace

// The mean and 1 / sqrt(variance + epsilon) of each channel, and the running statistics. Distances
// from the first row are added up, so that a large mean does not swallow the digits of the rest.
template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    batch_statistics(int rows, int channels, double epsilon, double momentum, const T *x,
                     T *running_mean, T *running_variance, T *mean, T *inverse_std,
                     double *partial) {
    __shared__ double room[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x, parts = gridDim.y;
    const bool is_channel = c < channels;
    const double origin = origin_of(x, c, is_channel && rows);
    const Rows part(rows, blockIdx.y, parts);
    double sum = 0, squares = 0;
    if (is_channel)
        for (int row = part.first + threadIdx.y; row < part.end; row += ROWS)
            sum += x[static_cast<long long>(row) * channels + c] - origin;
    sum = sum_of_lane(sum, room);
    const double offset = sum / part.count();
    if (is_channel)
        for (int row = part.first + threadIdx.y; row < part.end; row += ROWS) {
            const double distance = x[static_cast<long long>(row) * channels + c] - origin - offset;
            squares += distance * distance;
        }
    squares = sum_of_lane(squares, room);
    if (!is_channel || threadIdx.y != 0) return;
    if (parts == 1) {
        store_statistics(c, rows, epsilon, momentum, origin + offset, squares, running_mean,
                         running_variance, mean, inverse_std);
        return;
    }
    const int place = blockIdx.y * channels + c;
    partial[place] = sum;
    partial[parts * channels + place] = squares;
}

// Sums of squared distances to the means of parts become those to the mean of all (Chan, Golub &
// LeVeque, 1979).
template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    batch_statistics_end(int rows, int channels, double epsilon, double momentum, const T *x,
                         T *running_mean, T *running_variance, T *mean, T *inverse_std, int parts,
                         const double *partial) {
    __shared__ double room[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x;
    const bool is_channel = c < channels;
    double sum = 0, squares = 0;
    if (is_channel)
        for (int i = threadIdx.y; i < parts; i += ROWS) sum += partial[i * channels + c];
    const double offset = sum_of_lane(sum, room) / rows;
    if (is_channel)
        for (int i = threadIdx.y; i < parts; i += ROWS) {
            const int count = Rows(rows, i, parts).count();
            const double between = partial[i * channels + c] / count - offset;
            squares += partial[(parts + i) * channels + c] + count * between * between;
        }
    squares = sum_of_lane(squares, room);
    if (!is_channel || threadIdx.y != 0) return;
    store_statistics(c, rows, epsilon, momentum, origin_of(x, c, true) + offset, squares,
                     running_mean, running_variance, mean, inverse_std);
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
// other the means of dy and of dy z.
template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    batch_norm_sums(int rows, int channels, const T *dy, const T *x, const T *mean,
                    const T *inverse_std, T *dgamma, T *dbeta, T *means, double *partial) {
    __shared__ double room[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x, parts = gridDim.y;
    const bool is_channel = c < channels;
    const Rows part(rows, blockIdx.y, parts);
    double sum = 0, products = 0;
    if (is_channel)
        for (int row = part.first + threadIdx.y; row < part.end; row += ROWS) {
            const long long i = static_cast<long long>(row) * channels + c;
            sum += dy[i];
            const T z = (x[i] - mean[c]) * inverse_std[c];
            products += static_cast<double>(dy[i]) * z;
        }
    sum = sum_of_lane(sum, room);
    products = sum_of_lane(products, room);
    if (!is_channel || threadIdx.y != 0) return;
    if (parts == 1) {
        store_sums(c, rows, channels, sum, products, dgamma, dbeta, means);
        return;
    }
    const int place = blockIdx.y * channels + c;
    partial[place] = sum;
    partial[parts * channels + place] = products;
}

template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    batch_norm_sums_end(int rows, int channels, T *dgamma, T *dbeta, T *means, int parts,
                        const double *partial) {
    __shared__ double room[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x;
    const bool is_channel = c < channels;
    double sum = 0, products = 0;
    if (is_channel)
        for (int i = threadIdx.y; i < parts; i += ROWS) {
            sum += partial[i * channels + c];
            products += partial[(parts + i) * channels + c];
        }
    sum = sum_of_lane(sum, room);
    products = sum_of_lane(products, room);
    if (is_channel && threadIdx.y == 0)
        store_sums(c, rows, channels, sum, products, dgamma, dbeta, means);
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
