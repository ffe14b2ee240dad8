// Products of matrices that need not be there: the one building block of convolutions and dense
// layers.
//
// A and B are views (factor.cuh). A block of THREADS threads makes a tile of ROWS x COLUMNS elements
// of the product, DEPTH terms of the sums at a time: tiles of A and B come to shared memory while the
// ones before them are multiplied. Where there are few tiles, blocks share the sum over k: each
// writes the sum of its part. Where there is a counter for each tile, the block that finds all parts
// of its tile there adds them up, else `sum_parts` does in a launch of its own: in the same order, so
// no result depends on which block is last.
//
// Source of the idea: NVIDIA, "CUTLASS: Fast Linear Algebra in CUDA C++" (2017), and Chetlur et
// al., "cuDNN: Efficient Primitives for Deep Learning" (arXiv:1410.0759) for the views.
#pragma once

#include "async_copy.cuh"
#include "factor.cuh"
#include "results.cuh"
#include "tensor_tiles.cuh"

namespace fastconv {

// Tiles in shared memory, and who brings them. Three stages where copies go on by themselves; else
// numbers pass through registers, which are a stage of their own.
template <typename Tile>
struct Stages {
    static constexpr int COUNT = Tile::IS_ASYNC ? 3 : 2;
    static constexpr int SIZE = Tile::A::SIZE + Tile::B::SIZE; // elements of one
};

// sums += the products of tiles `first` to `first + count - 1`.
template <int WIDTH, typename Tile, typename T, typename A, typename B>
__device__ void multiply_async(int steps, A &a, B &b, typename Tile::Element *room, T *sums) {
    constexpr int COUNT = Stages<Tile>::COUNT, SIZE = Stages<Tile>::SIZE;
    const auto bring = [&](T *tile) {
        a.bring([&](int, int, int line, int k, const T *from, bool exists) {
            copy_async<WIDTH>(tile + Tile::A::place(line, k), from, exists);
        });
        b.bring([&](int, int, int line, int k, const T *from, bool exists) {
            copy_async<WIDTH>(tile + Tile::A::SIZE + Tile::B::place(line, k), from, exists);
        });
    };
#pragma unroll 1
    for (int stage = 0; stage < COUNT - 1; stage++) {
        if (stage < steps) bring(room + stage * SIZE);
        commit_copies();
    }
    T *filled = room, *empty = room + (COUNT - 1) * SIZE;
    T *const end = room + COUNT * SIZE;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        wait_for_copies<COUNT - 2>();
        // The tiles in `filled` are there, and all threads are done with those in `empty`.
        __syncthreads();
        if (step + COUNT - 1 < steps) bring(empty);
        commit_copies();
        Tile::multiply(filled, filled + Tile::A::SIZE, sums);
        filled = filled + SIZE == end ? room : filled + SIZE;
        empty = empty + SIZE == end ? room : empty + SIZE;
    }
    wait_for_copies<0>();
}

// The same where numbers are rounded to words of two on their way.
template <int WIDTH, typename Tile, typename A, typename B>
__device__ void multiply_rounded(int steps, A &a, B &b, typename Tile::Element *room, float *sums) {
    constexpr int SIZE = Stages<Tile>::SIZE;
    using Word = Pack<unsigned, QUAD / 2>;
    float a_quads[A::QUADS][QUAD], b_quads[B::QUADS][QUAD];
    int a_places[A::QUADS], b_places[B::QUADS];
    const auto bring = [&] {
        a.bring([&](int quad, int e, int line, int k, const float *from, bool exists) {
            const Pack<float, WIDTH> numbers = read_global<WIDTH>(from, exists);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) a_quads[quad][e + i] = numbers.of[i];
            if (e == 0) a_places[quad] = Tile::A::place(line, k);
        });
        b.bring([&](int quad, int e, int line, int k, const float *from, bool exists) {
            const Pack<float, WIDTH> numbers = read_global<WIDTH>(from, exists);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) b_quads[quad][e + i] = numbers.of[i];
            if (e == 0) b_places[quad] = Tile::B::place(line, k);
        });
    };
    const auto put = [&](typename Tile::Element *tile) {
#pragma unroll
        for (int i = 0; i < A::QUADS; i++)
            *reinterpret_cast<Word *>(tile + a_places[i]) = {
                to_bf16(a_quads[i][0], a_quads[i][1]), to_bf16(a_quads[i][2], a_quads[i][3])};
#pragma unroll
        for (int i = 0; i < B::QUADS; i++)
            *reinterpret_cast<Word *>(tile + Tile::A::SIZE + b_places[i]) = {
                to_bf16(b_quads[i][0], b_quads[i][1]), to_bf16(b_quads[i][2], b_quads[i][3])};
    };
    if (steps <= 0) return;
    bring();
    put(room);
    typename Tile::Element *filled = room, *empty = room + SIZE;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        __syncthreads();
        const bool is_more = step + 1 < steps;
        if (is_more) bring();
        Tile::multiply(filled, filled + Tile::A::SIZE, sums);
        if (is_more) put(empty);
        typename Tile::Element *const next = empty;
        empty = filled;
        filled = next;
    }
}

// `store` (results.cuh) takes each sum where there is one part, else the sum goes to `partial`
// (parts, groups, rows, columns). `counters` may be null; else they are 0, one for each tile of
// each group, and 0 again afterwards. Launch with a grid of (tiles, groups * parts) and THREADS
// threads. A_ALONG_K: neighbours in A are those along k, so a thread takes these; WIDTH of them are
// one load. WINDOWS: `store` takes windows too, as store_windows says.
template <Precision PRECISION, int ROWS, int COLUMNS, int WIDTH, bool A_ALONG_K, bool B_ALONG_K,
          bool WINDOWS = false, typename T, typename A, typename B, typename Store>
__device__ void multiply(const Sizes &size, const A &a, const B &b, const Store &store, T *partial,
                         int *counters) {
    using Tile = Tiles<PRECISION, ROWS, COLUMNS, A_ALONG_K, B_ALONG_K, T>;
    using Element = typename Tile::Element;
    constexpr int TILE_BYTES = Stages<Tile>::COUNT * Stages<Tile>::SIZE * sizeof(Element);
    constexpr int RESULT_BYTES = ROWS * COLUMNS * sizeof(T);
    constexpr int BYTES = TILE_BYTES > RESULT_BYTES ? TILE_BYTES : RESULT_BYTES;
    using Aligned = Pack<unsigned, 4>;
    __shared__ Aligned room[BYTES / sizeof(Aligned)];
    static_assert(BYTES % sizeof(Aligned) == 0, "whole packs");

    const int group = blockIdx.y % size.groups, part = blockIdx.y / size.groups;
    const int across = (size.columns + COLUMNS - 1) / COLUMNS;
    const int first_row = blockIdx.x / across * ROWS, first_column = blockIdx.x % across * COLUMNS;
    const int steps = (size.depth + Tile::DEPTH - 1) / Tile::DEPTH;
    const int share = (steps + size.parts - 1) / size.parts, from = part * share;
    const int own_steps = from + share < steps ? share : steps - from;

    Factor<ROWS, Tile::DEPTH, A_ALONG_K, WIDTH, A> of_a(
        a, from * Tile::DEPTH, size.rows,
        [&](int line) { return first_row + row_of<WINDOWS, Tile>(line); });
    Factor<COLUMNS, Tile::DEPTH, B_ALONG_K, WIDTH, B> of_b(
        b, from * Tile::DEPTH, size.columns, [&](int line) { return first_column + line; });
    T sums[Tile::RESULTS] = {};
    Element *const tiles = reinterpret_cast<Element *>(room);
    if constexpr (Tile::IS_ASYNC) multiply_async<WIDTH, Tile>(own_steps, of_a, of_b, tiles, sums);
    else multiply_rounded<WIDTH, Tile>(own_steps, of_a, of_b, tiles, sums);

    const Results<Tile, WINDOWS> results = {size, group, first_row, first_column};
    if (size.parts > 1 && !results.add_parts(sums, partial, counters)) return;
    __syncthreads(); // nobody reads tiles any more
    results.store(sums, store, reinterpret_cast<T *>(room));
}

}  // namespace fastconv
