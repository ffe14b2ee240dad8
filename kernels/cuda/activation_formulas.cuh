// Activations of one number by the formulas of fastconv/plans/activations.py; the error function.
//
// Made from there; to change it, change that and run
//     python -m fastconv.backends.compiled.instructions.formulas kernels/cuda/activation_formulas.cuh
#pragma once

#include "exponential.cuh"

namespace fastconv {

// In the order of fastconv.plans.activations.ACTIVATIONS.
enum Kind { RELU, LEAKY_RELU, ELU, SELU, SIGMOID, TANH, SOFTPLUS, GELU, GELU_TANH, SILU,
    HARD_SIGMOID, HARD_SWISH, RELU6, SOFTSIGN, MISH };

template <typename T>
__device__ inline T erf_near(T t) {
    if (sizeof(T) == 8) {
        T p = (T)-7.798543850549947e-10;
        p = p * t + (T)1.3721520406351094e-08;
        p = p * t + (T)-1.6208829856810202e-07;
        p = p * t + (T)1.6447471190594618e-06;
        p = p * t + (T)-1.4924740785377576e-05;
        p = p * t + (T)0.00012055295112667001;
        p = p * t + (T)-0.0008548325982543225;
        p = p * t + (T)0.005223977607269946;
        p = p * t + (T)-0.026866170643256995;
        p = p * t + (T)0.1128379167094513;
        p = p * t + (T)-0.37612638903183543;
        p = p * t + (T)0.12837916709551256;
        return p;
    }
    T p = (T)7.882497110086663e-05;
    p = p * t + (T)-0.0008018854992786387;
    p = p * t + (T)0.005189311942686617;
    p = p * t + (T)-0.026854328796067244;
    p = p * t + (T)0.11283597463488053;
    p = p * t + (T)-0.3761262690358044;
    p = p * t + (T)0.12837916588150264;
    return p;
}

template <typename T>
__device__ inline T erf_far(T t) {
    if (sizeof(T) == 8) {
        T p = (T)-1.689635903442928e-11;
        p = p * t + (T)3.526630544001113e-10;
        p = p * t + (T)-3.111795251498792e-09;
        p = p * t + (T)1.3387189060560062e-08;
        p = p * t + (T)-6.333587612819758e-09;
        p = p * t + (T)-3.00778069622876e-07;
        p = p * t + (T)2.2618741717055576e-06;
        p = p * t + (T)-9.800141301190635e-06;
        p = p * t + (T)2.7291927307357773e-05;
        p = p * t + (T)-2.6344569140522587e-05;
        p = p * t + (T)-0.00023729884094834199;
        p = p * t + (T)0.0019778968635633092;
        p = p * t + (T)-0.010033824487107112;
        p = p * t + (T)0.04156109796008069;
        p = p * t + (T)0.8431072563625377;
        p = p * t + (T)2.638967514234718;
        p = p * t + (T)1.8496055099332485;
        return p;
    }
    T p = (T)-0.0001865517095990864;
    p = p * t + (T)0.0018296356919530474;
    p = p * t + (T)-0.009895253011698277;
    p = p * t + (T)0.04150305347580508;
    p = p * t + (T)0.843117797476498;
    p = p * t + (T)2.638966857258258;
    p = p * t + (T)1.8496055160142288;
    return p;
}

template <typename T>
__device__ inline T error_function(T x) {
    const T a = at_most(absolute(x), (T)(sizeof(T) == 8 ? 6.0 : 4.0));
    const T near = a + a * erf_near(a * a);
    const T far = 1 - exponential(-erf_far(a - 1));
    const T y = a > 1 ? far : near;
    return x < 0 ? -y : y;
}

template <typename T>
__device__ inline T gelu_value(T x) {
    return (x < -(T)40 ? (T)0 : (x * ((T)0.5 + ((T)0.5 * error_function((x *
        (T)0.7071067811865476))))));
}

template <typename T>
__device__ inline T gelu_derivative(T x) {
    const T u = at_least(at_most(x, (T)40), -(T)40);
    return ((u * ((T)0.3989422804014327 * exponential(((-(T)0.5 * u) * u)))) + ((T)0.5 + ((T)0.5 *
        error_function((u * (T)0.7071067811865476)))));
}

template <typename T>
__device__ inline T gelu_tanh_value(T x) {
    return (x < -(T)40 ? (T)0 : (x * sigmoid(((T)1.5957691216057308 * (x + ((((T)0.044715 * x) * x)
        * x))))));
}

template <typename T>
__device__ inline T gelu_tanh_derivative(T x) {
    const T u = at_least(at_most(x, (T)40), -(T)40);
    const T s = sigmoid(((T)1.5957691216057308 * (u + ((((T)0.044715 * u) * u) * u))));
    return (s + (((u * s) * ((T)1 - s)) * ((T)1.5957691216057308 * ((T)1 + (((T)0.134145 * u) *
        u)))));
}

template <typename T>
__device__ inline T silu_value(T x) {
    return (x < -(T)800 ? (T)0 : (x * sigmoid(x)));
}

template <typename T>
__device__ inline T silu_derivative(T x) {
    const T u = at_least(at_most(x, (T)800), -(T)800);
    const T s = sigmoid(u);
    return (s + ((u * s) * ((T)1 - s)));
}

template <typename T>
__device__ inline T hard_sigmoid_value(T x) {
    return at_least(at_most(((x / (T)6) + (T)0.5), (T)1), (T)0);
}

template <typename T>
__device__ inline T hard_sigmoid_derivative(T y) {
    return (y > (T)0 ? (y < (T)1 ? ((T)1 / (T)6) : (T)0) : (T)0);
}

template <typename T>
__device__ inline T hard_swish_value(T x) {
    return (x <= -(T)3 ? (T)0 : (x * at_most(((x / (T)6) + (T)0.5), (T)1)));
}

template <typename T>
__device__ inline T hard_swish_derivative(T x) {
    return (x <= -(T)3 ? (T)0 : (x >= (T)3 ? (T)1 : ((x / (T)3) + (T)0.5)));
}

template <typename T>
__device__ inline T relu6_value(T x) {
    return (x <= (T)0 ? (T)0 : at_most(x, (T)6));
}

template <typename T>
__device__ inline T relu6_derivative(T y) {
    return (y > (T)0 ? (y < (T)6 ? (T)1 : (T)0) : (T)0);
}

template <typename T>
__device__ inline T softsign_value(T x) {
    const T u = at_least(at_most(x, (T)1e+30), -(T)1e+30);
    return (u / ((T)1 + absolute(u)));
}

template <typename T>
__device__ inline T softsign_derivative(T y) {
    const T s = ((T)1 - absolute(y));
    return (s * s);
}

template <typename T>
__device__ inline T mish_value(T x) {
    const T e = exponential(at_most(x, (T)20));
    const T n = (e * (e + (T)2));
    return (x < -(T)800 ? (T)0 : (x * (n / (n + (T)2))));
}

template <typename T>
__device__ inline T mish_derivative(T x) {
    const T u = at_least(at_most(x, (T)40), -(T)800);
    const T e = exponential(u);
    const T n = (e * (e + (T)2));
    return ((n + (((((T)4 * u) * e) * ((T)1 + e)) / (n + (T)2))) / (n + (T)2));
}

template <typename T>
__device__ __noinline__ T formula_value(int kind, T x) {
    switch (kind) {
    case GELU: return gelu_value(x);
    case GELU_TANH: return gelu_tanh_value(x);
    case SILU: return silu_value(x);
    case HARD_SIGMOID: return hard_sigmoid_value(x);
    case HARD_SWISH: return hard_swish_value(x);
    case RELU6: return relu6_value(x);
    case SOFTSIGN: return softsign_value(x);
    case MISH: return mish_value(x);
    default: return T(nan(""));
    }
}

template <typename T>
__device__ __noinline__ T formula_derivative(int kind, T kept) {
    switch (kind) {
    case GELU: return gelu_derivative(kept);
    case GELU_TANH: return gelu_tanh_derivative(kept);
    case SILU: return silu_derivative(kept);
    case HARD_SIGMOID: return hard_sigmoid_derivative(kept);
    case HARD_SWISH: return hard_swish_derivative(kept);
    case RELU6: return relu6_derivative(kept);
    case SOFTSIGN: return softsign_derivative(kept);
    case MISH: return mish_derivative(kept);
    default: return T(nan(""));
    }
}

}  // namespace fastconv
