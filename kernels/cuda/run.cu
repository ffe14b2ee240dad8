// What happens before a step's kernels (backends/cupy/run.py): the step's row of the order, its
// learning rate and its number go where the kernels look for them. All is read from device memory,
// so that a recorded graph needs nothing from the host between its steps.

// indices = order[place], the `numbers` of rate = rates[place], step = *next, for place = *next - *first; then one
// is added to *next. Launch with one block.
__global__ void begin_step(int batch, const long long *order, int numbers,
                           const double *rates, const long long *first, long long *next,
                           long long *indices, double *rate, long long *step) {
    const long long number = *next, place = number - *first;
    for (int n = threadIdx.x; n < batch; n += blockDim.x) indices[n] = order[place * batch + n];
    __syncthreads(); // all have read the number
    if (threadIdx.x != 0) return;
    for (int i = 0; i < numbers; i++) rate[i] = rates[place * numbers + i];
    *step = number;
    *next = number + 1;
}
