/* Activations of one element by the formulas of fastconv/plans/activations.py; the error function.
 *
 * Made from there; to change it, change that and run
 *     python -m fastconv.backends.compiled.instructions.formulas kernels/cpu/activation_formulas.h
 */

INLINE REAL TYPED(erf_near)(REAL t) {
    if (sizeof(REAL) == 8) {
        REAL p = (REAL)-7.798543850549947e-10;
        p = p * t + (REAL)1.3721520406351094e-08;
        p = p * t + (REAL)-1.6208829856810202e-07;
        p = p * t + (REAL)1.6447471190594618e-06;
        p = p * t + (REAL)-1.4924740785377576e-05;
        p = p * t + (REAL)0.00012055295112667001;
        p = p * t + (REAL)-0.0008548325982543225;
        p = p * t + (REAL)0.005223977607269946;
        p = p * t + (REAL)-0.026866170643256995;
        p = p * t + (REAL)0.1128379167094513;
        p = p * t + (REAL)-0.37612638903183543;
        p = p * t + (REAL)0.12837916709551256;
        return p;
    }
    REAL p = (REAL)7.882497110086663e-05;
    p = p * t + (REAL)-0.0008018854992786387;
    p = p * t + (REAL)0.005189311942686617;
    p = p * t + (REAL)-0.026854328796067244;
    p = p * t + (REAL)0.11283597463488053;
    p = p * t + (REAL)-0.3761262690358044;
    p = p * t + (REAL)0.12837916588150264;
    return p;
}

INLINE REAL TYPED(erf_far)(REAL t) {
    if (sizeof(REAL) == 8) {
        REAL p = (REAL)-1.689635903442928e-11;
        p = p * t + (REAL)3.526630544001113e-10;
        p = p * t + (REAL)-3.111795251498792e-09;
        p = p * t + (REAL)1.3387189060560062e-08;
        p = p * t + (REAL)-6.333587612819758e-09;
        p = p * t + (REAL)-3.00778069622876e-07;
        p = p * t + (REAL)2.2618741717055576e-06;
        p = p * t + (REAL)-9.800141301190635e-06;
        p = p * t + (REAL)2.7291927307357773e-05;
        p = p * t + (REAL)-2.6344569140522587e-05;
        p = p * t + (REAL)-0.00023729884094834199;
        p = p * t + (REAL)0.0019778968635633092;
        p = p * t + (REAL)-0.010033824487107112;
        p = p * t + (REAL)0.04156109796008069;
        p = p * t + (REAL)0.8431072563625377;
        p = p * t + (REAL)2.638967514234718;
        p = p * t + (REAL)1.8496055099332485;
        return p;
    }
    REAL p = (REAL)-0.0001865517095990864;
    p = p * t + (REAL)0.0018296356919530474;
    p = p * t + (REAL)-0.009895253011698277;
    p = p * t + (REAL)0.04150305347580508;
    p = p * t + (REAL)0.843117797476498;
    p = p * t + (REAL)2.638966857258258;
    p = p * t + (REAL)1.8496055160142288;
    return p;
}

INLINE REAL TYPED(error_function)(REAL x) {
    const REAL a = TYPED(at_most)(TYPED(absolute)(x), (REAL)(sizeof(REAL) == 8 ? 6.0 : 4.0));
    const REAL near = a + a * TYPED(erf_near)(a * a);
    const REAL far = 1 - TYPED(exponential)(-TYPED(erf_far)(a - 1));
    const REAL y = a > 1 ? far : near;
    return x < 0 ? -y : y;
}

INLINE REAL TYPED(gelu_value)(REAL x) {
    return (x < -(REAL)40 ? (REAL)0 : (x * ((REAL)0.5 + ((REAL)0.5 * TYPED(error_function)((x *
        (REAL)0.7071067811865476))))));
}

INLINE REAL TYPED(gelu_derivative)(REAL x) {
    const REAL u = TYPED(at_least)(TYPED(at_most)(x, (REAL)40), -(REAL)40);
    return ((u * ((REAL)0.3989422804014327 * TYPED(exponential)(((-(REAL)0.5 * u) * u)))) +
        ((REAL)0.5 + ((REAL)0.5 * TYPED(error_function)((u * (REAL)0.7071067811865476)))));
}

INLINE REAL TYPED(gelu_tanh_value)(REAL x) {
    return (x < -(REAL)40 ? (REAL)0 : (x * TYPED(sigmoid)(((REAL)1.5957691216057308 * (x +
        ((((REAL)0.044715 * x) * x) * x))))));
}

INLINE REAL TYPED(gelu_tanh_derivative)(REAL x) {
    const REAL u = TYPED(at_least)(TYPED(at_most)(x, (REAL)40), -(REAL)40);
    const REAL s = TYPED(sigmoid)(((REAL)1.5957691216057308 * (u + ((((REAL)0.044715 * u) * u) *
        u))));
    return (s + (((u * s) * ((REAL)1 - s)) * ((REAL)1.5957691216057308 * ((REAL)1 + (((REAL)0.134145
        * u) * u)))));
}

INLINE REAL TYPED(silu_value)(REAL x) {
    return (x < -(REAL)800 ? (REAL)0 : (x * TYPED(sigmoid)(x)));
}

INLINE REAL TYPED(silu_derivative)(REAL x) {
    const REAL u = TYPED(at_least)(TYPED(at_most)(x, (REAL)800), -(REAL)800);
    const REAL s = TYPED(sigmoid)(u);
    return (s + ((u * s) * ((REAL)1 - s)));
}

INLINE REAL TYPED(hard_sigmoid_value)(REAL x) {
    return TYPED(at_least)(TYPED(at_most)(((x / (REAL)6) + (REAL)0.5), (REAL)1), (REAL)0);
}

INLINE REAL TYPED(hard_sigmoid_derivative)(REAL y) {
    return (y > (REAL)0 ? (y < (REAL)1 ? ((REAL)1 / (REAL)6) : (REAL)0) : (REAL)0);
}

INLINE REAL TYPED(hard_swish_value)(REAL x) {
    return (x <= -(REAL)3 ? (REAL)0 : (x * TYPED(at_most)(((x / (REAL)6) + (REAL)0.5), (REAL)1)));
}

INLINE REAL TYPED(hard_swish_derivative)(REAL x) {
    return (x <= -(REAL)3 ? (REAL)0 : (x >= (REAL)3 ? (REAL)1 : ((x / (REAL)3) + (REAL)0.5)));
}

INLINE REAL TYPED(relu6_value)(REAL x) {
    return (x <= (REAL)0 ? (REAL)0 : TYPED(at_most)(x, (REAL)6));
}

INLINE REAL TYPED(relu6_derivative)(REAL y) {
    return (y > (REAL)0 ? (y < (REAL)6 ? (REAL)1 : (REAL)0) : (REAL)0);
}

INLINE REAL TYPED(softsign_value)(REAL x) {
    const REAL u = TYPED(at_least)(TYPED(at_most)(x, (REAL)1e+30), -(REAL)1e+30);
    return (u / ((REAL)1 + TYPED(absolute)(u)));
}

INLINE REAL TYPED(softsign_derivative)(REAL y) {
    const REAL s = ((REAL)1 - TYPED(absolute)(y));
    return (s * s);
}

INLINE REAL TYPED(mish_value)(REAL x) {
    const REAL e = TYPED(exponential)(TYPED(at_most)(x, (REAL)20));
    const REAL n = (e * (e + (REAL)2));
    return (x < -(REAL)800 ? (REAL)0 : (x * (n / (n + (REAL)2))));
}

INLINE REAL TYPED(mish_derivative)(REAL x) {
    const REAL u = TYPED(at_least)(TYPED(at_most)(x, (REAL)40), -(REAL)800);
    const REAL e = TYPED(exponential)(u);
    const REAL n = (e * (e + (REAL)2));
    return ((n + (((((REAL)4 * u) * e) * ((REAL)1 + e)) / (n + (REAL)2))) / (n + (REAL)2));
}

#define EACH_FORMULA(CASE) \
    CASE(KIND_GELU, gelu) \
    CASE(KIND_GELU_TANH, gelu_tanh) \
    CASE(KIND_SILU, silu) \
    CASE(KIND_HARD_SIGMOID, hard_sigmoid) \
    CASE(KIND_HARD_SWISH, hard_swish) \
    CASE(KIND_RELU6, relu6) \
    CASE(KIND_SOFTSIGN, softsign) \
    CASE(KIND_MISH, mish)
