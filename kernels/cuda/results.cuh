// Where the results of a product go: sums of parts are added up, activated and stored.
//
// What stores has, for a row of the product that may not exist, a column and its sum:
//     Row row(group, m)                       where the results of a row go,
//     T argument(row, n, sum, exists)         what the activation is of,
//     T result(row, n, sum, activated)        what is stored,
//     void put(row, n, result)
//     Activation<T> or Slope<T> activation    as activation.cuh has them.
#pragma once

#include "tiles.cuh"

namespace fastconv {

// Sizes of a product, and the parts that its sums are made in.
struct Sizes {
    int rows, columns, depth, groups, parts;
};

// The row of a tile that line `line` in shared memory is. For windows, the four rows of one are
// results of one thread.
template <bool WINDOWS, typename Tile>
__device__ int row_of(int line) {
    if constexpr (!WINDOWS) return line;
    constexpr int APART = Tile::APART;
    const int window = line / (4 * APART) * APART + line % APART;
    return 4 * window + line / APART % 4;
}

// Element (m, n), where its whole sum is one thread's.
template <typename T, typename Store>
__device__ void store_one(const Store &store, int group, int m, int n, T sum) {
    const auto row = store.row(group, m);
    const T activated = store.activation(store.argument(row, n, sum, true));
    store.put(row, n, store.result(row, n, sum, activated));
}

// Whether this block is the last of `parts` that comes here, for a tile with a counter of 0, which is
// 0 again then. What the others wrote before is there.
__device__ inline bool is_last_of(int parts, int *counter) {
    __shared__ bool is_last;
    __threadfence(); // what this block wrote is there before it is counted
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(counter, 1) == parts - 1;
        if (is_last) *counter = 0;
    }
    __syncthreads();
    if (!is_last) return false;
    __threadfence();
    return true;
}

// Element `place` of a product of `count` elements, from the sums of its parts, in order.
template <typename T>
__device__ T sum_of_parts(const volatile T *partial, int parts, int count, int place) {
    T sum = 0;
#pragma unroll 4
    for (int part = 0; part < parts; part++) sum += partial[part * count + place];
    return sum;
}

// The results of this thread in the tile that begins at a row and a column.
template <typename Tile, bool WINDOWS>
struct Results {
    Sizes size;
    int group, first_row, first_column;

    __device__ int row(int i) const { return first_row + row_of<WINDOWS, Tile>(Tile::row(i)); }
    __device__ int column(int j) const { return first_column + Tile::column(j); }

    // `take(i, n, result, exists)` for each, of row i of this thread and column n of the product.
    template <typename Take>
    __device__ void each(const Take &take) const {
#pragma unroll
        for (int i = 0; i < Tile::ROWS_OF_A_THREAD; i++)
#pragma unroll
            for (int j = 0; j < Tile::COLUMNS_OF_A_THREAD; j++)
                take(i, column(j), Tile::result(i, j),
                     row(i) < size.rows && column(j) < size.columns);
    }

    // Write sums of this block's part, and, where there is a counter and all parts are there, take
    // those of all instead; else return false.
    template <typename T>
    __device__ bool add_parts(T *sums, T *partial, int *counters) const {
        const int count = size.groups * size.rows * size.columns;
        int lines[Tile::ROWS_OF_A_THREAD];
#pragma unroll
        for (int i = 0; i < Tile::ROWS_OF_A_THREAD; i++)
            lines[i] = (group * size.rows + row(i)) * size.columns;
        T *const own = partial + blockIdx.y / size.groups * count;
        each([&](int i, int n, int r, bool exists) {
            if (exists) own[lines[i] + n] = sums[r];
        });
        if (!counters) return false;
        if (!is_last_of(size.parts, counters + group * gridDim.x + blockIdx.x)) return false;
#pragma unroll
        for (int r = 0; r < Tile::RESULTS; r++) sums[r] = 0;
#pragma unroll 1
        for (int part = 0; part < size.parts; part++) {
            // Other blocks wrote these: they are not taken from this one's cache.
            const volatile T *const of_part = partial + part * count;
            each([&](int i, int n, int r, bool exists) {
                sums[r] += exists ? of_part[lines[i] + n] : T(0);
            });
        }
        return true;
    }

    // `room` is shared memory of RESULTS numbers for each thread.
    template <typename T, typename Store>
    __device__ void store(T *sums, const Store &store, T *room) const {
        decltype(store.row(0, 0)) rows[Tile::ROWS_OF_A_THREAD];
#pragma unroll
        for (int i = 0; i < Tile::ROWS_OF_A_THREAD; i++) rows[i] = store.row(group, row(i));
        if (store.activation.is_short()) {
            each([&](int i, int n, int r, bool exists) {
                const T argument = store.argument(rows[i], n, sums[r], exists);
                sums[r] = store.result(rows[i], n, sums[r], store.activation.shortly(argument));
            });
        } else {
            // A long formula stands in the code once, not once for each result.
            T *const own = room + threadIdx.x;
            each([&](int i, int n, int r, bool exists) {
                own[r * THREADS] = store.argument(rows[i], n, sums[r], exists);
            });
#pragma unroll 1
            for (int r = 0; r < Tile::RESULTS; r++)
                own[r * THREADS] = store.activation(own[r * THREADS]);
            each([&](int i, int n, int r, bool) {
                sums[r] = store.result(rows[i], n, sums[r], own[r * THREADS]);
            });
        }
        each([&](int i, int n, int r, bool exists) {
            if (exists) store.put(rows[i], n, sums[r]);
        });
        if constexpr (WINDOWS) {
#pragma unroll
            for (int i = 0; i < Tile::ROWS_OF_A_THREAD; i += 4)
                store_windows(sums, i, rows[i], store);
        }
    }

    // Rows i to i + 3 of this thread are the pixels of a window of 2 x 2, row by row:
    // `store.window(row of the first, n, value, pixel)` takes the largest, and which one it was.
    template <typename T, typename Row, typename Store>
    __device__ void store_windows(const T *values, int i, const Row &first,
                                  const Store &store) const {
#pragma unroll
        for (int j = 0; j < Tile::COLUMNS_OF_A_THREAD; j++) {
            T largest = values[Tile::result(i, j)];
            int pixel = 0;
#pragma unroll
            for (int e = 1; e < 4; e++) {
                const T other = values[Tile::result(i + e, j)];
                if (wins(other, largest)) {
                    largest = other;
                    pixel = e;
                }
            }
            if (row(i) < size.rows && column(j) < size.columns)
                store.window(first, column(j), largest, pixel);
        }
    }
};

// Add up what the parts of a product came to. Launch with any grid and block of one dimension.
template <typename T, typename Store>
__device__ void sum_parts(const Sizes &size, const T *partial, const Store &store) {
    const int plane = size.rows * size.columns, count = size.groups * plane;
    for (int i = first_index(); i < count; i += index_step()) {
        const T sum = sum_of_parts(partial, size.parts, count, i);
        store_one(store, i / plane, i % plane / size.columns, i % size.columns, sum);
    }
}

}  // namespace fastconv
