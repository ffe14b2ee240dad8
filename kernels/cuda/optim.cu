// Updates of the flat parameter buffer (backends/cupy/optim.py), by the formulas of
// fastconv.plans.operation.OptimizerSpec. The rate and the step are read from device memory, so that a
// recorded graph follows a schedule. Launch with any grid and block of one dimension.
#include "threads.cuh"

namespace {

struct Penalties {
    int weights, decayed;
    double l2, coupled, decoupled;
};

// The gradient with what the penalties add to it.
template <typename T>
__device__ T gradient_of(const Penalties &p, int i, T w, T dw) {
    const double share = (i < p.weights ? 2 * p.l2 : 0.0) + (i < p.decayed ? p.coupled : 0.0);
    return dw + static_cast<T>(share) * w;
}

// The parameter after a step against u.
template <typename T>
__device__ T after_step(const Penalties &p, int i, T w, T u, double rate) {
    const double keep = i < p.decayed ? 1 - rate * p.decoupled : 1.0;
    return static_cast<T>(keep) * w - static_cast<T>(rate) * u;
}

}  // namespace

template <typename T>
__global__ void sgd_update(int size, int weights, int decayed, double l2, double coupled,
                           double decoupled, T *w, const T *dw, const double *rate) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    for (int i = first_index(); i < size; i += index_step())
        w[i] = after_step(p, i, w[i], gradient_of(p, i, w[i], dw[i]), *rate);
}

template <typename T>
__global__ void momentum_update(int size, int weights, int decayed, double l2, double coupled,
                                double decoupled, double momentum, double share, int nesterov, T *w,
                                const T *dw, T *m, const double *rate) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const T beta = static_cast<T>(momentum);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = static_cast<T>(share) * gradient_of(p, i, w[i], dw[i]);
        const T velocity = beta * m[i] + g;
        m[i] = velocity;
        w[i] = after_step(p, i, w[i], nesterov ? g + beta * velocity : velocity, *rate);
    }
}

template <typename T>
__global__ void adam_update(int size, int weights, int decayed, double l2, double coupled,
                            double decoupled, double beta1, double beta2, double epsilon, T *w,
                            const T *dw, T *m, T *v, const double *rate, const long long *step) {
    using namespace fastconv;
    const Penalties p = {weights, decayed, l2, coupled, decoupled};
    const double t = static_cast<double>(*step + 1);
    // 1 - beta^t, without the digits that the difference would lose.
    const T first_scale = static_cast<T>(-1 / expm1(t * log(beta1)));
    const T second_scale = static_cast<T>(-1 / expm1(t * log(beta2)));
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = gradient_of(p, i, w[i], dw[i]);
        const T first = static_cast<T>(beta1) * m[i] + static_cast<T>(1 - beta1) * g;
        const T second = static_cast<T>(beta2) * v[i] + static_cast<T>(1 - beta2) * g * g;
        m[i] = first;
        v[i] = second;
        const T root = sqrt(second * second_scale);
        const T u = first * first_scale / (root + static_cast<T>(epsilon));
        w[i] = after_step(p, i, w[i], u, *rate);
    }
}
