// Activations, element by element, and softmax by rows (backends/cupy/activation.py). y may be x,
// and dx be dy. The numbers of the kinds are those of fastconv.operation.ACTIVATION_KINDS.
#include "threads.cuh"

namespace {

enum Kind { RELU, LEAKY_RELU, ELU, SELU, SIGMOID, TANH, SOFTPLUS };

// Klambauer et al., "Self-Normalizing Neural Networks" (arXiv:1706.02515), equation 14.
constexpr double SELU_ALPHA = 1.6732632423543772848170429916717;
constexpr double SELU_SCALE = 1.0507009873554804934193349852946;

template <typename T>
__device__ T value_of(int kind, T alpha, T x) {
    if (x != x) return x;
    switch (kind) {
    case RELU: return x > 0 ? x : T(0);
    case LEAKY_RELU: return x > 0 ? x : alpha * x;
    case ELU: return x > 0 ? x : alpha * expm1(x);
    case SELU: return T(SELU_SCALE) * (x > 0 ? x : T(SELU_ALPHA) * expm1(x));
    // The same number twice; the exponent is kept negative so that it cannot overflow.
    case SIGMOID: return x > 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
    case TANH: return tanh(x);
    default: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    }
}

// The derivative where the activation has the value y.
template <typename T>
__device__ T slope_at(int kind, T alpha, T y) {
    switch (kind) {
    case RELU: return y > 0 ? T(1) : T(0);
    case LEAKY_RELU: return y > 0 ? T(1) : alpha;
    case ELU: return y > 0 ? T(1) : y + alpha;
    case SELU: return y > 0 ? T(SELU_SCALE) : y + T(SELU_SCALE * SELU_ALPHA);
    case SIGMOID: return y * (1 - y);
    case TANH: return 1 - y * y;
    default: return -expm1(-y);
    }
}

}  // namespace

// Launch with any grid and block of one dimension.
template <typename T>
__global__ void activation_forward(int size, int kind, double alpha, const T *x, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        y[i] = value_of(kind, static_cast<T>(alpha), x[i]);
}

template <typename T>
__global__ void activation_backward(int size, int kind, double alpha, const T *dy, const T *y,
                                    T *dx) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        dx[i] = dy[i] * slope_at(kind, static_cast<T>(alpha), y[i]);
}

// Softmax by rows: launch with blocks of one warp, which takes a row.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    softmax_forward(int rows, int classes, int logarithms, const T *x, T *y) {
    using namespace fastconv;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const T *const scores = x + static_cast<long long>(row) * classes;
        T *const result = y + static_cast<long long>(row) * classes;
        T largest = scores[0], sum = 0;
        for (int k = threadIdx.x; k < classes; k += WARP) largest = larger(largest, scores[k]);
        largest = largest_of_warp(largest);
        for (int k = threadIdx.x; k < classes; k += WARP) sum += exp(scores[k] - largest);
        sum = sum_of_warp(sum);
        const T logarithm = log(sum);
        for (int k = threadIdx.x; k < classes; k += WARP) {
            const T shifted = scores[k] - largest;
            result[k] = logarithms ? shifted - logarithm : exp(shifted) / sum;
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    softmax_backward(int rows, int classes, int logarithms, const T *dy, const T *y, T *dx) {
    using namespace fastconv;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long first = static_cast<long long>(row) * classes;
        T sum = 0;
        for (int k = threadIdx.x; k < classes; k += WARP)
            sum += logarithms ? dy[first + k] : dy[first + k] * y[first + k];
        sum = sum_of_warp(sum);
        for (int k = threadIdx.x; k < classes; k += WARP) {
            const T gradient = dy[first + k], value = y[first + k];
            dx[first + k] = logarithms ? gradient - exp(value) * sum : value * (gradient - sum);
        }
    }
}
