// Updates of a flat buffer of parameters, by the formulas of fastconv.plans.operation.OptimizerSpec,
// by all threads of a grid of one dimension, or by those of one block.
#pragma once

#include "threads.cuh"

namespace fastconv {

// Of a momentum that is scheduled, and stands behind the rate: the gradient counts by what it leaves
// of 1.
constexpr int OF_WHAT_IS_LEFT = 2;

struct Penalties {
    int weights, decayed;
    double l2, coupled, decoupled;
};

// The gradient with what the penalties add to it. The share is chosen among four, which are the same
// for all elements: doubles are slow on most cards.
template <typename T>
__device__ inline T gradient_of(const Penalties &p, int i, T w, T dw) {
    const T both = static_cast<T>(2 * p.l2 + p.coupled), of_weights = static_cast<T>(2 * p.l2);
    const T of_decayed = static_cast<T>(p.coupled);
    const bool is_weight = i < p.weights, decays = i < p.decayed;
    const T share = is_weight ? (decays ? both : of_weights) : decays ? of_decayed : T(0);
    return dw + share * w;
}

// The parameter after a step against u.
template <typename T>
__device__ inline T after_step(const Penalties &p, int i, T w, T u, double rate) {
    const T keep = i < p.decayed ? static_cast<T>(1 - rate * p.decoupled) : T(1);
    return keep * w - static_cast<T>(rate) * u;
}

template <typename T>
__device__ inline void sgd_update(int size, int weights, int decayed, double l2, double coupled,
                                  double decoupled, double rate_factor, T *w, const T *dw,
                                  const double *rate) {
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    for (int i = first_index(); i < size; i += index_step())
        w[i] = after_step(p, i, w[i], gradient_of(p, i, w[i], dw[i]), *rate * rate_factor);
}

template <typename T>
__device__ inline void momentum_update(int size, int weights, int decayed, double l2,
                                       double coupled, double decoupled, double rate_factor,
                                       double momentum, double given_share, int nesterov,
                                       int scheduled, T *w, const T *dw, T *m,
                                       const double *rate) {
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const double of_step = scheduled ? rate[1] : momentum;
    const double share = scheduled == OF_WHAT_IS_LEFT ? 1 - of_step : given_share;
    const T beta = static_cast<T>(of_step);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = static_cast<T>(share) * gradient_of(p, i, w[i], dw[i]);
        const T velocity = beta * m[i] + g;
        m[i] = velocity;
        const T u = nesterov ? g + beta * velocity : velocity;
        w[i] = after_step(p, i, w[i], u, *rate * rate_factor);
    }
}

template <typename T>
__device__ inline void adam_update(int size, int weights, int decayed, double l2, double coupled,
                                   double decoupled, double rate_factor, double given_beta1,
                                   double beta2, double epsilon, int scheduled, T *w, const T *dw, T *m, T *v,
                                   const double *rate, const double *scales) {
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const double beta1 = scheduled ? rate[1] : given_beta1;
    const T first_scale = static_cast<T>(scales[0]), second_scale = static_cast<T>(scales[1]);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = gradient_of(p, i, w[i], dw[i]);
        const T first = static_cast<T>(beta1) * m[i] + static_cast<T>(1 - beta1) * g;
        const T second = static_cast<T>(beta2) * v[i] + static_cast<T>(1 - beta2) * g * g;
        m[i] = first;
        v[i] = second;
        const T root = sqrt(second * second_scale);
        const T u = first * first_scale / (root + static_cast<T>(epsilon));
        w[i] = after_step(p, i, w[i], u, *rate * rate_factor);
    }
}

// 1 / (1 - beta^t), without the digits that the difference would lose.
__device__ inline double correction(double beta, double t) { return -1 / expm1(t * log(beta)); }

// What Adam's and LAMB's running means are scaled by in a step, by one thread.
__device__ inline void adam_scales(double given_beta1, double beta2, int scheduled,
                                   const double *rate, const long long *step, double *scales) {
    const double t = static_cast<double>(*step + 1);
    scales[0] = correction(scheduled ? rate[1] : given_beta1, t);
    scales[1] = correction(beta2, t);
}

}  // namespace fastconv
