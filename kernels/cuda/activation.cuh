// Activations of one number, and what the kernels before them do to save a pass over memory. Those
// that are not here stand in activation_formulas.cuh, with the numbers of all kinds.
#pragma once

#include "activation_formulas.cuh"

namespace fastconv {

// Klambauer et al., "Self-Normalizing Neural Networks" (arXiv:1706.02515), equation 14.
constexpr double SELU_ALPHA = 1.6732632423543772848170429916717;
constexpr double SELU_SCALE = 1.0507009873554804934193349852946;

template <typename T>
__device__ inline T value_of(int kind, T alpha, T x) {
    if (x != x) return x;
    switch (kind) {
    case RELU: return x > 0 ? x : T(0);
    case LEAKY_RELU: return x > 0 ? x : alpha * x;
    case ELU: return x > 0 ? x : alpha * expm1(x);
    case SELU: return T(SELU_SCALE) * (x > 0 ? x : T(SELU_ALPHA) * expm1(x));
    // The same number twice; the exponent is kept negative so that it cannot overflow.
    case SIGMOID: return x > 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
    case TANH: return tanh(x);
    case SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    default: return formula_value(kind, x);
    }
}

// The derivative from what is kept, which is the value y but for some of the formulas.
template <typename T>
__device__ inline T slope_at(int kind, T alpha, T y) {
    switch (kind) {
    case RELU: return y > 0 ? T(1) : T(0);
    case LEAKY_RELU: return y > 0 ? T(1) : alpha;
    case ELU: return y > 0 ? T(1) : y + alpha;
    case SELU: return y > 0 ? T(SELU_SCALE) : y + T(SELU_SCALE * SELU_ALPHA);
    case SIGMOID: return y * (1 - y);
    case TANH: return 1 - y * y;
    case SOFTPLUS: return -expm1(-y);
    default: return formula_derivative(kind, y);
    }
}

// What a kernel does to a result before it stores it; nothing where the kind is negative.
template <typename T>
struct Activation {
    int kind;
    T alpha;
    __device__ T operator()(T x) const { return kind < 0 ? x : value_of(kind, alpha, x); }
    // Whether a few instructions do it: kernels have these once for each result, all others once.
    __device__ bool is_short() const { return kind < 0 || kind == RELU || kind == LEAKY_RELU; }
    __device__ T shortly(T x) const {
        if (kind < 0 || x > 0 || x != x) return x;
        return kind == RELU ? T(0) : alpha * x;
    }
};

// The factor of a gradient whose layer comes after an activation, from what that keeps; 1 where the
// kind is negative.
template <typename T>
struct Slope {
    int kind;
    T alpha;
    __device__ T operator()(T kept) const { return kind < 0 ? T(1) : slope_at(kind, alpha, kept); }
    __device__ bool is_short() const { return kind < 0 || kind == RELU || kind == LEAKY_RELU; }
    __device__ T shortly(T kept) const {
        if (kind < 0 || kept > 0) return 1;
        return kind == RELU ? T(0) : alpha;
    }
};

// The gradient, of an activation that keeps its result, or its input.
template <typename T>
struct ActivationGradient {
    int kind;
    T alpha;
    const T *kept;
    __device__ T operator()(T gradient, int place) const {
        return kind < 0 ? gradient : gradient * slope_at(kind, alpha, kept[place]);
    }
};

}  // namespace fastconv
