// The exponential and the sigmoid of one number, as kernels/cpu/exponential.h has them.
//
// e^x = 2^n e^r with n the integer nearest to x / log 2 and |r| <= log(2) / 2 (Cody & Waite,
// "Software Manual for the Elementary Functions", 1980); e^r is its Taylor series, to the term below
// half a unit in the last place. Within 2 units in the last place.
#pragma once

namespace fastconv {

// Comparisons are written so that a NaN stays one.
template <typename T>
__device__ inline T at_most(T x, T most) {
    return x > most ? most : x;
}

template <typename T>
__device__ inline T at_least(T x, T least) {
    return x < least ? least : x;
}

template <typename T>
__device__ inline T absolute(T x) {
    return x < 0 ? -x : x;
}

// e^r - 1 for |r| <= log(2) / 2.
template <typename T>
__device__ inline T exponential_series(T r) {
    T s = T(1. / 5040);
    if (sizeof(T) == 8) {
        s = T(1. / 6227020800);
        s = s * r + T(1. / 479001600);
        s = s * r + T(1. / 39916800);
        s = s * r + T(1. / 3628800);
        s = s * r + T(1. / 362880);
        s = s * r + T(1. / 40320);
        s = s * r + T(1. / 5040);
    }
    s = s * r + T(1. / 720);
    s = s * r + T(1. / 120);
    s = s * r + T(1. / 24);
    s = s * r + T(1. / 6);
    s = s * r + T(1. / 2);
    return r + (r * r) * s;
}

// e^x; infinity, 0 and numbers below the normal ones where they belong.
template <typename T>
__device__ inline T exponential(T x) {
    const bool is_double = sizeof(T) == 8;
    x = at_most(at_least(x, T(is_double ? -746 : -105)), T(is_double ? 710 : 89));
    if (x != x) return x;
    const T n = rint(x * T(1.4426950408889634));
    // log 2 in two parts, the first one so short that n times it is exact.
    const T high = T(is_double ? 6.93147180369123816490e-01 : 0.693359375);
    const T low = T(is_double ? 1.90821492927058770002e-10 : -2.12194440054690583e-4);
    return ldexp(1 + exponential_series((x - n * high) - n * low), static_cast<int>(n));
}

template <typename T>
__device__ inline T sigmoid(T x) {
    // The exponent is kept negative so that it cannot overflow.
    const T power = exponential(-absolute(x));
    return (x > 0 ? 1 : power) / (1 + power);
}

}  // namespace fastconv
