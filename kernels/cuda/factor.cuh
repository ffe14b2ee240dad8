// The factors of a product: views of memory, and the parts of their tiles that a thread brings.
//
// A view of A has a line for each row of the product, a view of B one for each column, and a cursor
// for each term of the sums. It has
//     Line line(int, bool exists)        what belongs to a line; none of its elements may exist,
//     Cursor cursor(int k)               what belongs to term k, and also the way from a term to the
//                                        one k later,
//     advance(cursor, way)               that way, without division,
//     bool holds(line, cursor)           whether there is such an element (0 stands for others),
//     const T *address(line, cursor)     where it lies.
//
// Source of the idea of cursors: NVIDIA, "CUTLASS: Implicit GEMM Convolution" (2020).
#pragma once

#include "tiles.cuh"

namespace fastconv {

// Numbers as three digits, the last one running fastest: row, column and channel of a term, or sample,
// row and column of a pixel. What is a digit further lies a stride further.
struct Digits {
    int high, middle, low, offset;
};

struct Count {
    int high, middle, low; // how many values a digit has
    int high_stride, middle_stride, low_stride;

    __device__ Digits of(int number) const {
        const int rest = number / low;
        const Digits at = {rest / middle, rest % middle, number % low, 0};
        return {at.high, at.middle, at.low, offset_of(at)};
    }
    __device__ int offset_of(const Digits &at) const {
        return at.high * high_stride + at.middle * middle_stride + at.low * low_stride;
    }
    __device__ void add(Digits &at, const Digits &way) const {
        at.low += way.low;
        at.middle += way.middle;
        at.high += way.high;
        carry(at.low, low, at.middle);
        carry(at.middle, middle, at.high);
        at.offset = offset_of(at);
    }
    __device__ bool has(const Digits &at) const { return at.high < high; }

private:
    __device__ static void carry(int &digit, int values, int &next) {
        const bool is_full = digit >= values;
        digit -= is_full ? values : 0;
        next += is_full;
    }
};

// A factor whose terms are counted, and whose lines lie one line_stride after the other.
template <typename T>
struct Counted {
    const T *first;
    Count count;
    int line_stride;

    struct Line {
        const T *first;
        int high; // terms end here; 0 where there are none
    };
    using Cursor = Digits;
    __device__ Line line(int line, bool exists) const {
        return {first + line * line_stride, exists ? count.high : 0};
    }
    __device__ Cursor cursor(int k) const { return count.of(k); }
    __device__ void advance(Cursor &cursor, const Cursor &way) const { count.add(cursor, way); }
    __device__ bool holds(const Line &line, const Cursor &cursor) const {
        return cursor.high < line.high;
    }
    __device__ const T *address(const Line &line, const Cursor &cursor) const {
        return line.first + cursor.offset;
    }
};

// A matrix in memory of `depth` terms.
template <typename T>
struct Matrix {
    const T *first;
    int line_stride, term_stride, depth;

    struct Line {
        const T *first;
        int depth; // 0 where there are no terms
    };
    using Cursor = int;
    __device__ Line line(int line, bool exists) const {
        return {first + line * line_stride, exists ? depth : 0};
    }
    __device__ Cursor cursor(int k) const { return k; }
    __device__ void advance(Cursor &k, Cursor by) const { k += by; }
    __device__ bool holds(const Line &line, Cursor k) const { return k < line.depth; }
    __device__ const T *address(const Line &line, Cursor k) const {
        return line.first + k * term_stride;
    }
};

// Ones that lie in memory, for factors that are not there: the inputs that belong to a bias.
__device__ const Pack<float, QUAD> ONES_FLOAT = {{1, 1, 1, 1}};
__device__ const Pack<double, QUAD> ONES_DOUBLE = {{1, 1, 1, 1}};
__device__ inline const float *ones(float) { return ONES_FLOAT.of; }
__device__ inline const double *ones(double) { return ONES_DOUBLE.of; }

// What a thread brings of the tiles of a factor, one tile after the other: QUADs of neighbours along
// the terms or along the lines. WIDTH of them are one load: neighbours in memory, that exist or not
// together.
template <int SIDE, int DEPTH, bool ALONG_K, int WIDTH, typename View>
class Factor {
    static_assert(WIDTH == 1 || WIDTH == QUAD, "loads of numbers or of quads");
    static constexpr int LOADS = QUAD / WIDTH; // of a quad
    // Threads beside each other have quads beside each other: at most 64 lines.
    static constexpr int SPAN = ALONG_K ? DEPTH : SIDE < 64 ? SIDE : 64;
    static constexpr int ACROSS = SPAN / QUAD, APART = THREADS / ACROSS;
    // Quads of a thread: of so many lines (or quads of lines), at so many terms (or quads of terms).
    static constexpr int DOWN = ALONG_K ? SIDE / APART : SIDE / SPAN;
    static constexpr int TERMS = ALONG_K ? 1 : DEPTH / APART;
    static constexpr int LINES = ALONG_K ? DOWN : DOWN * LOADS;
    static constexpr int CURSORS = ALONG_K ? LOADS : TERMS;
    static constexpr int WAY = ALONG_K ? 1 : APART; // between cursors of a tile, and to the next one
    static constexpr int LAST_WAY = DEPTH - (CURSORS - 1) * WAY;

public:
    static constexpr int QUADS = DOWN * TERMS;

    // `number(line)` is the number in the product of a line of the tile, of `count` lines.
    template <typename Number>
    __device__ Factor(const View &view, int start, int count, const Number &number)
        : view(view), way(view.cursor(WAY)), last_way(view.cursor(LAST_WAY)) {
        const int across = threadIdx.x % ACROSS * QUAD, down = threadIdx.x / ACROSS;
        first_line = ALONG_K ? down : across;
        first_k = ALONG_K ? across : down;
        cursor = view.cursor(start + first_k);
#pragma unroll
        for (int i = 0; i < LINES; i++) {
            const int line = number(line_of(i));
            lines[i] = view.line(line < count ? line : 0, line < count);
        }
    }

    // `load(quad, element, line, k, address, exists)` for each load of this thread's quads in the
    // next tile.
    template <typename Load>
    __device__ void bring(const Load &load) {
#pragma unroll
        for (int c = 0; c < CURSORS; c++) {
#pragma unroll
            for (int i = 0; i < LINES; i++)
                load(ALONG_K ? i : c * DOWN + i / LOADS, ALONG_K ? c : i % LOADS, line_of(i),
                     first_k + c * WAY, view.address(lines[i], cursor),
                     view.holds(lines[i], cursor));
            view.advance(cursor, c + 1 < CURSORS ? way : last_way);
        }
    }

private:
    __device__ int line_of(int i) const {
        return first_line + (ALONG_K ? i * APART : i / LOADS * SPAN + i % LOADS);
    }

    const View view;
    const typename View::Cursor way, last_way;
    int first_line, first_k;
    typename View::Cursor cursor;
    typename View::Line lines[LINES];
};

}  // namespace fastconv
