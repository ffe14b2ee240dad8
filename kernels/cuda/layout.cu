// Images from one layout to the other (backends/cupy/layout.py): y[n, j, i] = x[n, i, j], a matrix
// of `rows` x `columns` for each sample. Launch with a grid of any two dimensions and blocks of
// SIDE x ROWS threads. A tile goes through shared memory, so that both arrays are read and written
// along their lines; the extra column keeps the threads of a warp in different banks.
#include "threads.cuh"

namespace {
constexpr int SIDE = 32, ROWS = 8;
}

template <typename T>
__global__ void __launch_bounds__(SIDE *ROWS)
    transpose_samples(int batch, int rows, int columns, const T *__restrict__ x,
                      T *__restrict__ y) {
    __shared__ T tile[SIDE][SIDE + 1];
    const int across = (columns + SIDE - 1) / SIDE, down = (rows + SIDE - 1) / SIDE;
    for (int sample = blockIdx.y; sample < batch; sample += gridDim.y) {
        const T *const from = x + static_cast<long long>(sample) * rows * columns;
        T *const to = y + static_cast<long long>(sample) * rows * columns;
        for (int part = blockIdx.x; part < across * down; part += gridDim.x) {
            const int row = part / across * SIDE, column = part % across * SIDE;
            for (int i = threadIdx.y; i < SIDE; i += ROWS)
                if (row + i < rows && column + static_cast<int>(threadIdx.x) < columns)
                    tile[i][threadIdx.x] = from[(row + i) * columns + column + threadIdx.x];
            __syncthreads();
            for (int i = threadIdx.y; i < SIDE; i += ROWS)
                if (column + i < columns && row + static_cast<int>(threadIdx.x) < rows)
                    to[(column + i) * rows + row + threadIdx.x] = tile[threadIdx.x][i];
            __syncthreads();
        }
    }
}
