// Fully connected layers: y = x w + b and its gradients, float and double.
//
//   dense_forward_TYPE(batch, inputs, outputs, x, w, b, y)            b may be null
//   dense_backward_data_TYPE(batch, inputs, outputs, dy, w, dx)
//   dense_backward_weight_TYPE(batch, inputs, outputs, dy, x, dw, db)   db may be null
//
// with TYPE float32 or float64, x (batch, inputs), w (inputs, outputs), y (batch, outputs), all
// C-contiguous. Launch with any one-dimensional grid and block: the threads share the outputs, each
// gathering what it needs for one at a time, so that nothing is added atomically and the bits do not
// depend on the launch. Neighbouring threads take neighbouring columns.
//
// The file compiles by itself, with no -D and no headers. Nothing in fastconv launches these
// kernels; the tests run them on the host.

namespace {

// The first output of this thread, and how far apart its outputs are.
__device__ long long first_index() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ long long index_step() { return static_cast<long long>(gridDim.x) * blockDim.x; }

template <typename T>
__device__ void dense_forward(long long batch, long long inputs, long long outputs,
                              const T *__restrict__ x, const T *__restrict__ w,
                              const T *__restrict__ b, T *__restrict__ y) {
    for (long long i = first_index(); i < batch * outputs; i += index_step()) {
        const long long sample = i / outputs, output = i % outputs;
        T sum = b ? b[output] : T(0);
        for (long long k = 0; k < inputs; k++)
            sum += x[sample * inputs + k] * w[k * outputs + output];
        y[i] = sum;
    }
}

template <typename T>
__device__ void dense_backward_data(long long batch, long long inputs, long long outputs,
                                    const T *__restrict__ dy, const T *__restrict__ w,
                                    T *__restrict__ dx) {
    for (long long i = first_index(); i < batch * inputs; i += index_step()) {
        const long long sample = i / inputs, input = i % inputs;
        T sum = T(0);
        for (long long k = 0; k < outputs; k++)
            sum += dy[sample * outputs + k] * w[input * outputs + k];
        dx[i] = sum;
    }
}

// The bias is one more row of the weights, with an input that is always 1.
template <typename T>
__device__ void dense_backward_weight(long long batch, long long inputs, long long outputs,
                                      const T *__restrict__ dy, const T *__restrict__ x,
                                      T *__restrict__ dw, T *__restrict__ db) {
    const long long rows = db ? inputs + 1 : inputs;
    for (long long i = first_index(); i < rows * outputs; i += index_step()) {
        const long long input = i / outputs, output = i % outputs;
        T sum = T(0);
        if (input < inputs) {
            for (long long n = 0; n < batch; n++)
                sum += x[n * inputs + input] * dy[n * outputs + output];
            dw[i] = sum;
        } else {
            for (long long n = 0; n < batch; n++) sum += dy[n * outputs + output];
            db[output] = sum;
        }
    }
}

}  // namespace

extern "C" __global__ void dense_forward_float32(
    long long batch, long long inputs, long long outputs,
    const float *x, const float *w, const float *b, float *y) {
    dense_forward(batch, inputs, outputs, x, w, b, y);
}

extern "C" __global__ void dense_forward_float64(
    long long batch, long long inputs, long long outputs,
    const double *x, const double *w, const double *b, double *y) {
    dense_forward(batch, inputs, outputs, x, w, b, y);
}

extern "C" __global__ void dense_backward_data_float32(
    long long batch, long long inputs, long long outputs,
    const float *dy, const float *w, float *dx) {
    dense_backward_data(batch, inputs, outputs, dy, w, dx);
}

extern "C" __global__ void dense_backward_data_float64(
    long long batch, long long inputs, long long outputs,
    const double *dy, const double *w, double *dx) {
    dense_backward_data(batch, inputs, outputs, dy, w, dx);
}

extern "C" __global__ void dense_backward_weight_float32(
    long long batch, long long inputs, long long outputs,
    const float *dy, const float *x, float *dw, float *db) {
    dense_backward_weight(batch, inputs, outputs, dy, x, dw, db);
}

extern "C" __global__ void dense_backward_weight_float64(
    long long batch, long long inputs, long long outputs,
    const double *dy, const double *x, double *dw, double *db) {
    dense_backward_weight(batch, inputs, outputs, dy, x, dw, db);
}
