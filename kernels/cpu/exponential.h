/* The exponential and what is built on it, for one element, without branches: loops over them
 * become vectors.
 *
 * e^x = 2^n e^r with n the integer nearest to x / log 2 and |r| <= log(2) / 2 (Cody & Waite,
 * "Software Manual for the Elementary Functions", 1980); e^r is its Taylor series, to the term
 * below half a unit in the last place. exponential and exponential_minus_one are within 2 units
 * in the last place.
 */
#ifndef FASTCONV_BITS
#define FASTCONV_BITS
typedef uint32_t bits_float32;
typedef uint64_t bits_float64;
#endif
#define IS_DOUBLE (sizeof(REAL) == 8)
#define MANTISSA (IS_DOUBLE ? 52 : 23)
#define BIAS (IS_DOUBLE ? 1023 : 127)

INLINE REAL TYPED(square_root)(REAL x) { return (REAL)(IS_DOUBLE ? sqrt(x) : sqrtf((float)x)); }

INLINE REAL TYPED(logarithm)(REAL x) { return (REAL)(IS_DOUBLE ? log(x) : logf((float)x)); }

/* 2^(exponent - BIAS), for 0 < exponent <= 2 BIAS. */
INLINE REAL TYPED(power_of_two)(TYPED(bits) exponent) {
    const TYPED(bits) bits = exponent << MANTISSA;
    REAL result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* Split x into n log 2 + rest; n as a number that wraps around below 0. */
INLINE TYPED(bits) TYPED(split_by_log_2)(REAL x, REAL *rest) {
    /* Adding 1.5 * 2^MANTISSA leaves an integer in the last bits. */
    const REAL shift = (REAL)(IS_DOUBLE ? 6755399441055744.0 : 12582912.0);
    const REAL shifted = x * (REAL)1.4426950408889634 + shift, n = shifted - shift;
    /* log 2 in two parts, the first one so short that n times it is exact. */
    const REAL high = (REAL)(IS_DOUBLE ? 6.93147180369123816490e-01 : 0.693359375);
    const REAL low = (REAL)(IS_DOUBLE ? 1.90821492927058770002e-10 : -2.12194440054690583e-4);
    *rest = (x - n * high) - n * low;
    TYPED(bits) whole, zero;
    memcpy(&whole, &shifted, sizeof whole);
    memcpy(&zero, &shift, sizeof zero);
    return whole - zero;
}

/* e^r - 1 for |r| <= log(2) / 2. */
INLINE REAL TYPED(series)(REAL r) {
    REAL s = (REAL)(1. / 5040);
    if (IS_DOUBLE) {
        s = (REAL)(1. / 6227020800);
        s = s * r + (REAL)(1. / 479001600);
        s = s * r + (REAL)(1. / 39916800);
        s = s * r + (REAL)(1. / 3628800);
        s = s * r + (REAL)(1. / 362880);
        s = s * r + (REAL)(1. / 40320);
        s = s * r + (REAL)(1. / 5040);
    }
    s = s * r + (REAL)(1. / 720);
    s = s * r + (REAL)(1. / 120);
    s = s * r + (REAL)(1. / 24);
    s = s * r + (REAL)(1. / 6);
    s = s * r + (REAL)(1. / 2);
    return r + (r * r) * s;
}

/* e^x; inf, 0 and numbers below the normal ones where they belong. */
INLINE REAL TYPED(exponential)(REAL x) {
    const REAL least = (REAL)(IS_DOUBLE ? -746 : -105), most = (REAL)(IS_DOUBLE ? 710 : 89);
    x = x < least ? least : x; /* written so that a NaN stays */
    x = x > most ? most : x;
    REAL r;
    const TYPED(bits) n = TYPED(split_by_log_2)(x, &r) + 2 * BIAS, half = n >> 1;
    /* In two factors: 2^n itself may be beyond what can be represented. */
    return (1 + TYPED(series)(r)) * TYPED(power_of_two)(half) * TYPED(power_of_two)(n - half);
}

/* e^x - 1, without the cancellation near 0. */
INLINE REAL TYPED(exponential_minus_one)(REAL x) {
    const REAL least = (REAL)(IS_DOUBLE ? -40 : -20), most = (REAL)(IS_DOUBLE ? 710 : 89);
    x = x < least ? least : x; /* -1, rounded */
    x = x > most ? most : x;
    REAL r;
    const TYPED(bits) n = TYPED(split_by_log_2)(x, &r);
    /* Half of it, because 2^n may just be too large. */
    const REAL scale = TYPED(power_of_two)(n + (BIAS - 1));
    return (scale * TYPED(series)(r) + (scale - (REAL)0.5)) * 2;
}

/* log(1 + t) for 0 <= t <= 1, as 2 artanh(t / (2 + t)). */
INLINE REAL TYPED(logarithm_of_one_plus)(REAL t) {
    const REAL s = t / (2 + t), z = s * s; /* z <= 1/9 */
    REAL p = (REAL)(1. / 15);
    if (IS_DOUBLE) {
        p = (REAL)(1. / 33);
        p = p * z + (REAL)(1. / 31);
        p = p * z + (REAL)(1. / 29);
        p = p * z + (REAL)(1. / 27);
        p = p * z + (REAL)(1. / 25);
        p = p * z + (REAL)(1. / 23);
        p = p * z + (REAL)(1. / 21);
        p = p * z + (REAL)(1. / 19);
        p = p * z + (REAL)(1. / 17);
        p = p * z + (REAL)(1. / 15);
    }
    p = p * z + (REAL)(1. / 13);
    p = p * z + (REAL)(1. / 11);
    p = p * z + (REAL)(1. / 9);
    p = p * z + (REAL)(1. / 7);
    p = p * z + (REAL)(1. / 5);
    p = p * z + (REAL)(1. / 3);
    return 2 * (s + s * (z * p));
}

/* Comparisons are written so that a NaN stays one. */
INLINE REAL TYPED(at_most)(REAL x, REAL most) { return x > most ? most : x; }

INLINE REAL TYPED(at_least)(REAL x, REAL least) { return x < least ? least : x; }

INLINE REAL TYPED(absolute)(REAL x) { return x < 0 ? -x : x; }

INLINE REAL TYPED(minus_magnitude)(REAL x) { return x > 0 ? -x : x; }

INLINE REAL TYPED(sigmoid)(REAL x) {
    const REAL power = TYPED(exponential)(TYPED(minus_magnitude)(x));
    return (x > 0 ? 1 : power) / (1 + power);
}

INLINE REAL TYPED(hyperbolic_tangent)(REAL x) {
    const REAL power = TYPED(exponential_minus_one)(2 * TYPED(minus_magnitude)(x));
    const REAL t = power / (2 + power); /* of -|x| */
    return x > 0 ? -t : t;
}

INLINE REAL TYPED(softplus)(REAL x) {
    const REAL power = TYPED(exponential)(TYPED(minus_magnitude)(x));
    return (x > 0 ? x : 0) + TYPED(logarithm_of_one_plus)(power);
}
