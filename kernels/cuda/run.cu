// What happens before a step's kernels (backends/cupy/run.py): the step's row of the order and its
// learning rate go where the kernels look for them. All is read from device memory, so that a
// recorded graph needs nothing from the host between its steps.

// indices = order[place], rate = rates[place], for place = *step - first. Launch with one block.
__global__ void begin_step(int batch, const long long *order, const double *rates,
                           const long long *first, const long long *step, long long *indices,
                           double *rate) {
    const long long place = *step - *first;
    for (int n = threadIdx.x; n < batch; n += blockDim.x) indices[n] = order[place * batch + n];
    if (threadIdx.x == 0) *rate = rates[place];
}

// Launch with one thread.
__global__ void end_step(long long *step) {
    *step += 1;
}
