// Fully connected layers: y = x w + b and its gradients (backends/cupy/dense.py).
//
// x is (batch, inputs), w (inputs, outputs), y (batch, outputs), all C-contiguous. The kernels
// named _parts finish those of the same name where the sums were made in parts. An activation
// behind the forward pass, or in front of the data gradient with what it keeps in `kept`, is theirs.
#include "activation.cuh"
#include "gemv.cuh"
#include "product.cuh"

namespace {

using fastconv::Activation;
using fastconv::Matrix;
using fastconv::Precision;
using fastconv::Slope;

template <typename T>
struct ToOutputs {
    T *y;
    const T *b; // may be null
    int columns;
    Activation<T> activation;
    __device__ int row(int, int m) const { return m * columns; }
    __device__ T argument(int, int n, T sum, bool exists) const {
        return b && exists ? sum + b[n] : sum;
    }
    __device__ T result(int, int, T, T activated) const { return activated; }
    __device__ void put(int row, int n, T result) const { y[row + n] = result; }
};

template <typename T>
struct ToInputs {
    T *dx;
    int columns;
    const T *kept; // by the activation, if there is one
    Slope<T> activation;
    __device__ int row(int, int m) const { return m * columns; }
    __device__ T argument(int row, int n, T, bool exists) const {
        return exists && activation.kind >= 0 ? kept[row + n] : T(0);
    }
    __device__ T result(int, int, T sum, T slope) const { return sum * slope; }
    __device__ void put(int row, int n, T result) const { dx[row + n] = result; }
};

// The bias is one more row of the weights, with an input that is always 1.
template <typename T>
struct InputsAndOne {
    const T *x;
    int inputs, batch;

    struct Line {
        const T *first;
        int depth, stride;
    };
    using Cursor = int;
    __device__ Line line(int m, bool exists) const {
        if (m == inputs) return {fastconv::ones(T()), exists ? batch : 0, 0};
        return {x + m, exists ? batch : 0, inputs};
    }
    __device__ Cursor cursor(int n) const { return n; }
    __device__ void advance(Cursor &n, Cursor by) const { n += by; }
    __device__ bool holds(const Line &line, Cursor n) const { return n < line.depth; }
    __device__ const T *address(const Line &line, Cursor n) const {
        return line.first + n * line.stride;
    }
};

template <typename T>
struct WeightsAndBias {
    T *dw, *db;
    int inputs, outputs;
    Activation<T> activation = {-1, 0};
    __device__ int row(int, int m) const { return m; }
    __device__ T argument(int, int, T sum, bool) const { return sum; }
    __device__ T result(int, int, T sum, T) const { return sum; }
    __device__ void put(int m, int n, T sum) const {
        if (m < inputs) dw[m * outputs + n] = sum;
        else db[n] = sum;
    }
};

}  // namespace

template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_forward(int batch, int inputs, int outputs, int parts, int kind, double alpha,
                  const T *__restrict__ x, const T *__restrict__ w, const T *b, T *y, T *partial,
                  int *counters) {
    const Matrix<T> left = {x, inputs, 1, inputs}, right = {w, 1, outputs, inputs};
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, true, false>(
        {batch, outputs, inputs, 1, parts}, left, right,
        ToOutputs<T>{y, b, outputs, {kind, T(alpha)}}, partial, counters);
}

// The same for few rows. Their `_parts` are those of the kernels for many.
template <typename T>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_forward_gemv(int batch, int inputs, int outputs, int parts, int kind, double alpha,
                       const T *__restrict__ x, const T *__restrict__ w, const T *b, T *y,
                       T *partial, int *counters) {
    const Matrix<T> left = {x, inputs, 1, inputs}, right = {w, 1, outputs, inputs};
    fastconv::multiply_few_rows<false>({batch, outputs, inputs, 1, parts}, left, right,
                                       ToOutputs<T>{y, b, outputs, {kind, T(alpha)}}, partial,
                                       counters);
}

template <typename T>
__global__ void dense_forward_parts(int batch, int inputs, int outputs, int parts, int kind,
                                    double alpha, const T *partial, const T *b, T *y) {
    fastconv::sum_parts({batch, outputs, inputs, 1, parts}, partial,
                        ToOutputs<T>{y, b, outputs, {kind, T(alpha)}});
}

template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_backward_data(int batch, int inputs, int outputs, int parts, int kind, double alpha,
                        const T *__restrict__ dy, const T *__restrict__ w, const T *kept,
                        T *dx, T *partial, int *counters) {
    const Matrix<T> left = {dy, outputs, 1, outputs}, right = {w, outputs, 1, outputs};
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, true, true>(
        {batch, inputs, outputs, 1, parts}, left, right,
        ToInputs<T>{dx, inputs, kept, {kind, T(alpha)}}, partial, counters);
}

// The same for few rows.
template <typename T>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_backward_data_gemv(int batch, int inputs, int outputs, int parts, int kind,
                             double alpha, const T *__restrict__ dy, const T *__restrict__ w,
                             const T *kept, T *dx, T *partial, int *counters) {
    const Matrix<T> left = {dy, outputs, 1, outputs}, right = {w, outputs, 1, outputs};
    fastconv::multiply_few_rows<true>({batch, inputs, outputs, 1, parts}, left, right,
                                      ToInputs<T>{dx, inputs, kept, {kind, T(alpha)}}, partial,
                                      counters);
}

template <typename T>
__global__ void dense_backward_data_parts(int batch, int inputs, int outputs, int parts, int kind,
                                          double alpha, const T *partial, const T *kept,
                                          T *dx) {
    fastconv::sum_parts({batch, inputs, outputs, 1, parts}, partial,
                        ToInputs<T>{dx, inputs, kept, {kind, T(alpha)}});
}

// db may be null.
template <typename T, int ROWS, int COLUMNS, int WIDTH, Precision PRECISION>
__global__ void __launch_bounds__(fastconv::THREADS)
    dense_backward_weight(int batch, int inputs, int outputs, int parts, const T *__restrict__ dy,
                          const T *__restrict__ x, T *dw, T *db, T *partial,
                          int *counters) {
    const InputsAndOne<T> left = {x, inputs, batch};
    const Matrix<T> right = {dy, 1, outputs, batch};
    fastconv::multiply<PRECISION, ROWS, COLUMNS, WIDTH, false, false>(
        {inputs + (db ? 1 : 0), outputs, batch, 1, parts}, left, right,
        WeightsAndBias<T>{dw, db, inputs, outputs}, partial, counters);
}

template <typename T>
__global__ void dense_backward_weight_parts(int batch, int inputs, int outputs, int parts,
                                            const T *partial, T *dw, T *db) {
    fastconv::sum_parts({inputs + (db ? 1 : 0), outputs, batch, 1, parts}, partial,
                        WeightsAndBias<T>{dw, db, inputs, outputs});
}
