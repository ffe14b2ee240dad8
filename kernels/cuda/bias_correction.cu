// What the running means of Adam, LAMB and NAdam are scaled by in a step (backends/cupy/optim.py):
// double sums with logarithms, which each thread of an update would make again. Launch with one
// thread; scales are of the first mean, of the second, and NAdam's of the gradient.
#include "update_rules.cuh"

__global__ void adam_scales(double given_beta1, double beta2, int scheduled, const double *rate,
                            const long long *step, double *scales) {
    fastconv::adam_scales(given_beta1, beta2, scheduled, rate, step, scales);
}

// The factors of the gradient and of the mean are found as OptimizerSpec.nadam_shares says.
__global__ void nadam_scales(double beta1, double beta2, double momentum_decay,
                             const long long *step, double *scales) {
    const double t = static_cast<double>(*step + 1), log_q = momentum_decay * log(0.96);
    const double mu = beta1 * (1 - 0.5 * exp(log_q * t));
    const double following = beta1 * (1 - 0.5 * exp(log_q * (t + 1)));
    double log_product = t * log(beta1), power = 1;
    for (int k = 1; k <= 60; k++) {
        const double sums =
            log_q != 0 ? exp(k * log_q) * expm1(k * log_q * t) / expm1(k * log_q) : t;
        power /= 2;
        log_product -= power / k * sums;
    }
    const double product = exp(log_product);
    scales[0] = following / (1 - product * following);
    scales[1] = fastconv::correction(beta2, t);
    scales[2] = (1 - mu) / (1 - product);
}
