// Convolutions and dense layers (of one pixel) by the threads of one block, without tiles: what all
// three passes have in common is that `lanes` neighbouring threads, a power of two up to a warp, add
// up COLUMNS results that lie side by side. The order of a sum follows from `lanes` alone.
#pragma once

#include "activation.cuh"
#include "geometry.cuh"
#include "threads.cuh"

namespace fastconv {

constexpr int COLUMNS = 4; // results that a thread adds up at once: each x is read once for all

// Called, not inlined into each loop: the code of one block is that of all layers.
template <typename T>
__device__ __noinline__ T activated(int kind, T alpha, T x) {
    return value_of(kind, alpha, x);
}

template <typename T>
__device__ __noinline__ T slope_of(int kind, T alpha, T kept) {
    return slope_at(kind, alpha, kept);
}

// Images in NHWC, weights in HWIO; inputs and outputs are those of one group.
struct Convolution {
    int batch, groups, inputs, outputs, height, width, out_height, out_width, kernel_h, kernel_w;
    int stride_h, stride_w, dilation_h, dilation_w, top, left;

    __device__ int all_inputs() const { return groups * inputs; }
    __device__ int all_outputs() const { return groups * outputs; }
};

// Results `first` to `first + count - 1` of a row of a group.
struct Columns {
    int group, first, count;
};

// What a thread reads for a term after the other: a number, and a factor of it for each column.
template <typename T>
struct Terms {
    int count;
    const T *value, *factor;
    int value_step, factor_step, apart; // from term to term, and from column to column
};

// Adds to pointers: an address that is made of indices takes more instructions than the product.
template <bool ARE_ONES, typename T>
__device__ inline void add_terms(const Terms<T> &terms, int columns, T *sums) {
    const T *value = terms.value, *factor = terms.factor;
    if (columns == COLUMNS) {
        for (int k = 0; k < terms.count; k++) {
            const T number = ARE_ONES ? T(1) : *value;
            for (int c = 0; c < COLUMNS; c++) sums[c] += number * factor[c * terms.apart];
            value += terms.value_step;
            factor += terms.factor_step;
        }
        return;
    }
#pragma unroll 1
    for (int k = 0; k < terms.count; k++) {
        const T number = ARE_ONES ? T(1) : *value;
        for (int c = 0; c < COLUMNS; c++)
            if (c < columns) sums[c] += number * factor[c * terms.apart];
        value += terms.value_step;
        factor += terms.factor_step;
    }
}

// How many of `count` terms a lane has.
__device__ inline int terms_of_lane(int count, int lane, int lanes) {
    return (count - lane + lanes - 1) / lanes;
}

__device__ inline int quads_of(int columns) { return (columns + COLUMNS - 1) / COLUMNS; }

__device__ inline Columns columns_at(int quad, int columns) {
    const int quads = quads_of(columns), first = quad % quads * COLUMNS, left = columns - first;
    return {quad / quads, first, left < COLUMNS ? left : COLUMNS};
}

// add(item, lane, sums) for each item and lane, and store(item, sums) of what the lanes have together.
// All threads of the block take part in every round, so that whole warps exchange their sums.
template <int THREADS, typename T, typename Add, typename Store>
__device__ inline void add_by_lanes(int items, int lanes, const Add &add, const Store &store) {
    for (int first = 0; first < items * lanes; first += THREADS) {
        const int place = first + threadIdx.x;
        const int item = place / lanes, lane = place % lanes;
        T sums[COLUMNS] = {};
        if (item < items) add(item, lane, sums);
        for (int distance = lanes / 2; distance > 0; distance /= 2)
            for (int c = 0; c < COLUMNS; c++)
                sums[c] += __shfl_xor_sync(ALL_LANES, sums[c], distance);
        if (item < items && lane == 0) store(item, sums);
    }
}

// y = activation(conv(x, w) + b); b may be null.
template <int THREADS, typename T>
__device__ inline void block_forward(const Convolution &s, int lanes, Activation<T> activation,
                                     const T *x, const T *w, const T *b, T *y) {
    const int outputs = s.all_outputs(), quads = s.groups * quads_of(s.outputs);
    const auto add = [&](int item, int lane, T *sums) {
        const Pixel to = pixel_at(item / quads, s.out_height, s.out_width);
        const Columns columns = columns_at(item % quads, s.outputs);
        const int count = terms_of_lane(s.inputs, lane, lanes);
        for (int kh = 0; kh < s.kernel_h; kh++) {
            const int i = to.i * s.stride_h - s.top + kh * s.dilation_h;
            for (int kw = 0; kw < s.kernel_w; kw++) {
                const int j = to.j * s.stride_w - s.left + kw * s.dilation_w;
                if (!inside(i, j, s.height, s.width)) continue;
                const T *const from = x + ((to.n * s.height + i) * s.width + j) * s.all_inputs() +
                                      columns.group * s.inputs + lane;
                const T *const weights = w + ((kh * s.kernel_w + kw) * s.inputs + lane) * outputs +
                                         columns.group * s.outputs + columns.first;
                add_terms<false, T>({count, from, weights, lanes, lanes * outputs, 1},
                                    columns.count, sums);
            }
        }
    };
    const auto store = [&](int item, const T *sums) {
        const Columns columns = columns_at(item % quads, s.outputs);
        for (int c = 0; c < columns.count; c++) {
            const int column = columns.group * s.outputs + columns.first + c;
            const T sum = b ? sums[c] + b[column] : sums[c];
            y[item / quads * outputs + column] =
                activation.is_short() ? activation.shortly(sum)
                                      : activated(activation.kind, activation.alpha, sum);
        }
    };
    add_by_lanes<THREADS, T>(s.batch * s.out_height * s.out_width * quads, lanes, add, store);
}

// dx, times the slope of an activation in front of the convolution, at what that keeps.
template <int THREADS, typename T>
__device__ inline void block_backward_data(const Convolution &s, int lanes, Slope<T> slope,
                                           const T *kept, const T *dy, const T *w, T *dx) {
    const int inputs = s.all_inputs(), outputs = s.all_outputs();
    const int quads = s.groups * quads_of(s.inputs);
    const auto add = [&](int item, int lane, T *sums) {
        const Pixel to = pixel_at(item / quads, s.height, s.width);
        const Columns columns = columns_at(item % quads, s.inputs);
        const int count = terms_of_lane(s.outputs, lane, lanes);
        for (int kh = 0; kh < s.kernel_h; kh++) {
            const int down = to.i + s.top - kh * s.dilation_h;
            if (down < 0 || down % s.stride_h != 0) continue;
            for (int kw = 0; kw < s.kernel_w; kw++) {
                const int right = to.j + s.left - kw * s.dilation_w;
                if (right < 0 || right % s.stride_w != 0) continue;
                const int i = down / s.stride_h, j = right / s.stride_w;
                if (i >= s.out_height || j >= s.out_width) continue;
                const T *const from = dy + ((to.n * s.out_height + i) * s.out_width + j) * outputs +
                                      columns.group * s.outputs + lane;
                const T *const weights =
                    w + ((kh * s.kernel_w + kw) * s.inputs + columns.first) * outputs +
                    columns.group * s.outputs + lane;
                add_terms<false, T>({count, from, weights, lanes, lanes, outputs}, columns.count,
                                    sums);
            }
        }
    };
    const auto store = [&](int item, const T *sums) {
        const Columns columns = columns_at(item % quads, s.inputs);
        for (int c = 0; c < columns.count; c++) {
            const int place =
                item / quads * inputs + columns.group * s.inputs + columns.first + c;
            const T at = kept ? kept[place] : T(0);
            dx[place] = sums[c] * (slope.is_short() ? slope.shortly(at)
                                                    : slope_of(slope.kind, slope.alpha, at));
        }
    };
    add_by_lanes<THREADS, T>(s.batch * s.height * s.width * quads, lanes, add, store);
}

// dw and, unless it is null, db: one more row of the weights, with an input that is always 1. Lanes
// take rows of pixels in turn.
template <int THREADS, typename T>
__device__ inline void block_backward_weight(const Convolution &s, int lanes, const T *dy,
                                             const T *x, T *dw, T *db) {
    const int outputs = s.all_outputs(), quads = s.groups * quads_of(s.outputs);
    const int weights = s.kernel_h * s.kernel_w * s.inputs;
    const auto add = [&](int item, int lane, T *sums) {
        const Columns columns = columns_at(item % quads, s.outputs);
        const int row = item / quads, tap = row / s.inputs;
        const int kh = tap / s.kernel_w;
        const bool is_bias = row == weights;
        // Pixels `first` to `last - 1` of a row of y read pixels of a row of x, from `left` of it on.
        const int left = is_bias ? 0 : tap % s.kernel_w * s.dilation_w - s.left;
        const int first = left < 0 ? (s.stride_w - 1 - left) / s.stride_w : 0;
        const int end = left < s.width ? (s.width - 1 - left) / s.stride_w + 1 : 0;
        const int last = is_bias || end > s.out_width ? s.out_width : end;
        const int apart = s.stride_w * s.all_inputs();
        for (int line = lane; line < s.batch * s.out_height; line += lanes) {
            const int n = line / s.out_height;
            const int i =
                is_bias ? 0 : line % s.out_height * s.stride_h - s.top + kh * s.dilation_h;
            if (i < 0 || i >= s.height) continue;
            const int j = first * s.stride_w + left;
            const T *const from = x + ((n * s.height + i) * s.width + j) * s.all_inputs() +
                                  columns.group * s.inputs + row % s.inputs;
            const T *const gradient = dy + (line * s.out_width + first) * outputs +
                                      columns.group * s.outputs + columns.first;
            const Terms<T> terms = {last - first, from, gradient, apart, outputs, 1};
            if (is_bias)
                add_terms<true>(terms, columns.count, sums);
            else
                add_terms<false>(terms, columns.count, sums);
        }
    };
    const auto store = [&](int item, const T *sums) {
        const Columns columns = columns_at(item % quads, s.outputs);
        const int row = item / quads;
        T *const to = row == weights ? db : dw + row * outputs;
        for (int c = 0; c < columns.count; c++)
            to[columns.group * s.outputs + columns.first + c] = sums[c];
    };
    add_by_lanes<THREADS, T>((weights + (db != nullptr)) * quads, lanes, add, store);
}

}  // namespace fastconv
