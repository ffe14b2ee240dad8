// Updates of the flat parameter buffer (backends/cupy/optim.py), by the formulas of
// fastconv.plans.operation.OptimizerSpec. The rate and the step are read from device memory, so that a
// recorded graph follows a schedule. Launch with any grid and block of one dimension.
#include "update_rules.cuh"

template <typename T>
__global__ void sgd_update(int size, int weights, int decayed, double l2, double coupled,
                           double decoupled, double rate_factor, T *w, const T *dw, const double *rate) {
    fastconv::sgd_update(size, weights, decayed, l2, coupled, decoupled, rate_factor, w, dw, rate);
}

template <typename T>
__global__ void momentum_update(int size, int weights, int decayed, double l2, double coupled,
                                double decoupled, double rate_factor, double momentum, double given_share, int nesterov,
                                int scheduled, T *w, const T *dw, T *m, const double *rate) {
    fastconv::momentum_update(size, weights, decayed, l2, coupled, decoupled, rate_factor, momentum,
                              given_share, nesterov, scheduled, w, dw, m, rate);
}

template <typename T>
__global__ void adam_update(int size, int weights, int decayed, double l2, double coupled,
                            double decoupled, double rate_factor, double given_beta1, double beta2,
                            double epsilon, int scheduled, T *w, const T *dw, T *m, T *v,
                            const double *rate, const double *scales) {
    fastconv::adam_update(size, weights, decayed, l2, coupled, decoupled, rate_factor, given_beta1,
                          beta2, epsilon, scheduled, w, dw, m, v, rate, scales);
}

template <typename T>
__global__ void rmsprop_update(int size, int weights, int decayed, double l2, double coupled,
                               double decoupled, double rate_factor, double alpha, double epsilon,
                               double momentum, T *w, const T *dw, T *v, T *mean, T *m,
                               const double *rate) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const T keep = static_cast<T>(alpha), share = static_cast<T>(1 - alpha);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = gradient_of(p, i, w[i], dw[i]);
        T square = keep * v[i] + share * g * g;
        v[i] = square;
        if (mean) {
            const T centre = keep * mean[i] + share * g;
            mean[i] = centre;
            square -= centre * centre;
            square = square < 0 ? T(0) : square;  // by rounding alone
        }
        T u = g / (sqrt(square) + static_cast<T>(epsilon));
        if (m) m[i] = u = static_cast<T>(momentum) * m[i] + u;
        w[i] = after_step(p, i, w[i], u, *rate * rate_factor);
    }
}

template <typename T>
__global__ void adagrad_update(int size, int weights, int decayed, double l2, double coupled,
                               double decoupled, double rate_factor, double epsilon, T *w,
                               const T *dw, T *v, const double *rate) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = gradient_of(p, i, w[i], dw[i]);
        const T square = v[i] + g * g;
        v[i] = square;
        w[i] = after_step(p, i, w[i], g / (sqrt(square) + static_cast<T>(epsilon)),
                          *rate * rate_factor);
    }
}

template <typename T>
__global__ void nadam_update(int size, int weights, int decayed, double l2, double coupled,
                             double decoupled, double rate_factor, double beta1, double beta2,
                             double epsilon, T *w, const T *dw, T *m, T *v, const double *rate,
                             const double *scales) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const T of_mean = static_cast<T>(scales[0]), correction = static_cast<T>(scales[1]);
    const T of_gradient = static_cast<T>(scales[2]);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = gradient_of(p, i, w[i], dw[i]);
        const T first = static_cast<T>(beta1) * m[i] + static_cast<T>(1 - beta1) * g;
        const T second = static_cast<T>(beta2) * v[i] + static_cast<T>(1 - beta2) * g * g;
        m[i] = first;
        v[i] = second;
        const T root = sqrt(second * correction);
        const T u = (of_gradient * g + of_mean * first) / (root + static_cast<T>(epsilon));
        w[i] = after_step(p, i, w[i], u, *rate * rate_factor);
    }
}

// Of LAMB: Adam's running means, and the direction u with its decay.
template <typename T>
__global__ void lamb_direction(int size, int weights, int decayed, double l2, double coupled,
                               double decoupled, double, double beta1, double beta2,
                               double epsilon, const T *w, const T *dw, T *m, T *v,
                               const double *scales, T *u) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const T first_scale = static_cast<T>(scales[0]), second_scale = static_cast<T>(scales[1]);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = gradient_of(p, i, w[i], dw[i]);
        const T first = static_cast<T>(beta1) * m[i] + static_cast<T>(1 - beta1) * g;
        const T second = static_cast<T>(beta2) * v[i] + static_cast<T>(1 - beta2) * g * g;
        m[i] = first;
        v[i] = second;
        const T root = sqrt(second * second_scale) + static_cast<T>(epsilon);
        u[i] = first * first_scale / root + static_cast<T>(i < decayed ? decoupled : 0) * w[i];
    }
}

// The rest of LAMB, by the sums of the squares of w and of u.
template <typename T>
__global__ void lamb_apply(int size, double rate_factor, T *w, const T *u, const double *sums,
                           const double *rate) {
    using namespace fastconv;
    const double ratio = sums[0] != 0 && sums[1] != 0 ? sqrt(sums[0]) / sqrt(sums[1]) : 1;
    const T scale = static_cast<T>(*rate * rate_factor * ratio);
    for (int i = first_index(); i < size; i += index_step()) w[i] -= scale * u[i];
}

// Slow weights that follow, and to which the others are brought back, once in `steps` steps.
template <typename T>
__global__ void lookahead_update(int size, int steps, double alpha, T *w, T *slow,
                                 const long long *step) {
    using namespace fastconv;
    if ((*step + 1) % steps != 0) return;
    for (int i = first_index(); i < size; i += index_step()) {
        const T next = slow[i] + static_cast<T>(alpha) * (w[i] - slow[i]);
        slow[i] = next;
        w[i] = next;
    }
}
