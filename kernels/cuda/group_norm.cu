// Normalisation of each group of channels of each sample (backends/cupy/group_norm.py). All sums are in
// double, in an order that the sizes fix. A null gamma or beta stands for 1 or 0.
#include "threads.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int LANES = 32, ROWS = 8;

// The elements of a group of a sample, which a block takes.
struct Group {
    int channels, width;
    long long first; // element
    int channel;     // first one

    __device__ Group(int number, int pixels, int channels, int groups)
        : channels(channels), width(channels / groups) {
        channel = number % groups * width;
        first = static_cast<long long>(number / groups) * pixels * channels + channel;
    }
    __device__ long long at(int i) const {
        return first + static_cast<long long>(i / width) * channels + i % width;
    }
    __device__ int channel_of(int i) const { return channel + i % width; }
};

}  // namespace

// Launch with blocks of THREADS threads, here and in the next.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    group_norm_forward(int batch, int pixels, int channels, int groups, double epsilon, const T *x,
                       const T *gamma, const T *beta, T *y, T *mean, T *inverse_std) {
    using namespace fastconv;
    __shared__ double room[THREADS];
    const int count = pixels * (channels / groups);
    for (int number = blockIdx.x; number < batch * groups; number += gridDim.x) {
        const Group group(number, pixels, channels, groups);
        double sum = 0, squares = 0;
        for (int i = threadIdx.x; i < count; i += THREADS) sum += x[group.at(i)];
        const double exact = sum_of_block<THREADS>(sum, room) / count;
        const T centre = static_cast<T>(exact);
        for (int i = threadIdx.x; i < count; i += THREADS) {
            const double distance = static_cast<double>(x[group.at(i)]) - centre;
            squares += distance * distance;
        }
        // The distances are those from the rounded mean.
        const double between = exact - centre;
        const double variance = sum_of_block<THREADS>(squares, room) / count - between * between;
        const T inverse = static_cast<T>(1 / sqrt(variance + epsilon));
        for (int i = threadIdx.x; i < count; i += THREADS) {
            T value = (x[group.at(i)] - centre) * inverse;
            if (gamma) value *= gamma[group.channel_of(i)];
            if (beta) value += beta[group.channel_of(i)];
            y[group.at(i)] = value;
        }
        if (threadIdx.x == 0) {
            mean[number] = centre;
            inverse_std[number] = inverse;
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    group_norm_backward_data(int batch, int pixels, int channels, int groups, const T *dy,
                             const T *x, const T *gamma, const T *mean, const T *inverse_std,
                             T *dx) {
    using namespace fastconv;
    __shared__ double room[THREADS];
    const int count = pixels * (channels / groups);
    for (int number = blockIdx.x; number < batch * groups; number += gridDim.x) {
        const Group group(number, pixels, channels, groups);
        const T centre = mean[number], inverse = inverse_std[number];
        double sum = 0, products = 0;
        for (int i = threadIdx.x; i < count; i += THREADS) {
            const double scaled =
                static_cast<double>(dy[group.at(i)]) * (gamma ? gamma[group.channel_of(i)] : T(1));
            sum += scaled;
            products += scaled * ((x[group.at(i)] - centre) * inverse);
        }
        const T of_gradient = static_cast<T>(sum_of_block<THREADS>(sum, room) / count);
        const T of_products = static_cast<T>(sum_of_block<THREADS>(products, room) / count);
        for (int i = threadIdx.x; i < count; i += THREADS) {
            const T z = (x[group.at(i)] - centre) * inverse;
            T scaled = dy[group.at(i)];
            if (gamma) scaled *= gamma[group.channel_of(i)];
            dx[group.at(i)] = inverse * (scaled - of_gradient - z * of_products);
        }
    }
}

// Launch with blocks of LANES x ROWS threads, a lane for each channel: each thread adds up every
// ROWS-th row, and one adds up their sums in order.
template <typename T>
__global__ void __launch_bounds__(LANES *ROWS)
    group_norm_backward_parameters(int batch, int pixels, int channels, int groups, const T *dy,
                                   const T *x, const T *mean, const T *inverse_std, T *dgamma,
                                   T *dbeta) {
    __shared__ double totals[ROWS][LANES], of_products[ROWS][LANES];
    const int c = blockIdx.x * LANES + threadIdx.x, width = channels / groups;
    double sum = 0, products = 0;
    if (c < channels)
        for (int row = threadIdx.y; row < batch * pixels; row += ROWS) {
            const int group = row / pixels * groups + c / width;
            const long long i = static_cast<long long>(row) * channels + c;
            sum += dy[i];
            products += static_cast<double>(dy[i]) * ((x[i] - mean[group]) * inverse_std[group]);
        }
    totals[threadIdx.y][threadIdx.x] = sum;
    of_products[threadIdx.y][threadIdx.x] = products;
    __syncthreads();
    if (c >= channels || threadIdx.y != 0) return;
    for (int i = 1; i < ROWS; i++) {
        sum += totals[i][threadIdx.x];
        products += of_products[i][threadIdx.x];
    }
    dgamma[c] = static_cast<T>(products);
    if (dbeta) dbeta[c] = static_cast<T>(sum);
}
