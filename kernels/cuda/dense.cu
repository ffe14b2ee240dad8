// Fully connected layers: y = x w + b and its gradients (backends/cupy/dense.py).
//
// x is (batch, inputs), w (inputs, outputs), y (batch, outputs), all C-contiguous. The kernels
// named _parts finish those of the same name where the sums were made in parts. An activation
// behind the forward pass, or in front of the data gradient with what it keeps in `kept`, is theirs.
#include "activation.cuh"
#include "product.cuh"

namespace {

using fastconv::Activation;
using fastconv::ActivationGradient;
using fastconv::LeftMatrix;
using fastconv::Precision;
using fastconv::RightMatrix;
using fastconv::Sizes;

template <typename T>
struct ToOutputs {
    T *y;
    const T *b; // may be null
    int columns;
    Activation<T> activation;
    __device__ void operator()(int, int m, int n, T sum) const {
        y[m * columns + n] = activation(b ? sum + b[n] : sum);
    }
};

template <typename T>
struct ToInputs {
    T *dx;
    int columns;
    ActivationGradient<T> activation;
    __device__ void operator()(int, int m, int n, T sum) const {
        dx[m * columns + n] = activation(sum, m * columns + n);
    }
};

// The bias is one more row of the weights, with an input that is always 1.
template <typename T>
struct InputsAndOne {
    const T *x;
    int inputs;
    struct Line {
        int input;
    };
    __device__ Line row(int m) const { return {m}; }
    __device__ T at(const Line &line, int n) const {
        return line.input < inputs ? x[static_cast<long long>(n) * inputs + line.input] : T(1);
    }
};

template <typename T>
struct WeightsAndBias {
    T *dw, *db;
    int inputs, outputs;
    __device__ void operator()(int, int m, int n, T sum) const {
        if (m < inputs) dw[static_cast<long long>(m) * outputs + n] = sum;
        else db[n] = sum;
    }
};

}  // namespace

template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_forward(int batch, int inputs, int outputs, int parts, int kind, double alpha,
                  const T *__restrict__ x, const T *__restrict__ w, const T *b, T *y, T *partial,
                  int *counters) {
    const LeftMatrix<T> left = {{x, inputs, 1}};
    const RightMatrix<T> right = {{w, outputs, 1}};
    fastconv::multiply<PRECISION, SIDE, true, false>(
        {batch, outputs, inputs, 1, parts}, left, right,
        ToOutputs<T>{y, b, outputs, {kind, T(alpha)}}, partial, counters);
}

template <typename T>
__global__ void dense_forward_parts(int batch, int inputs, int outputs, int parts, int kind,
                                    double alpha, const T *partial, const T *b, T *y) {
    fastconv::sum_parts({batch, outputs, inputs, 1, parts}, partial,
                        ToOutputs<T>{y, b, outputs, {kind, T(alpha)}});
}

template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_backward_data(int batch, int inputs, int outputs, int parts, int kind, double alpha,
                        const T *__restrict__ dy, const T *__restrict__ w, const T *kept,
                        T *dx, T *partial, int *counters) {
    const LeftMatrix<T> left = {{dy, outputs, 1}};
    const RightMatrix<T> right = {{w, 1, outputs}};
    fastconv::multiply<PRECISION, SIDE, true, true>(
        {batch, inputs, outputs, 1, parts}, left, right,
        ToInputs<T>{dx, inputs, {kind, T(alpha), kept}}, partial, counters);
}

template <typename T>
__global__ void dense_backward_data_parts(int batch, int inputs, int outputs, int parts, int kind,
                                          double alpha, const T *partial, const T *kept,
                                          T *dx) {
    fastconv::sum_parts({batch, inputs, outputs, 1, parts}, partial,
                        ToInputs<T>{dx, inputs, {kind, T(alpha), kept}});
}

// db may be null.
template <typename T, int SIDE, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_backward_weight(int batch, int inputs, int outputs, int parts, const T *__restrict__ dy,
                          const T *__restrict__ x, T *dw, T *db, T *partial,
                          int *counters) {
    const RightMatrix<T> right = {{dy, outputs, 1}};
    fastconv::multiply<PRECISION, SIDE, false, false>(
        {inputs + (db ? 1 : 0), outputs, batch, 1, parts}, InputsAndOne<T>{x, inputs}, right,
        WeightsAndBias<T>{dw, db, inputs, outputs}, partial, counters);
}

template <typename T>
__global__ void dense_backward_weight_parts(int batch, int inputs, int outputs, int parts,
                                            const T *partial, T *dw, T *db) {
    fastconv::sum_parts({inputs + (db ? 1 : 0), outputs, batch, 1, parts}, partial,
                        WeightsAndBias<T>{dw, db, inputs, outputs});
}
