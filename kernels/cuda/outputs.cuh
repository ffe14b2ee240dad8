// Gradients of a convolution's outputs as views of a product: what the data gradient and the weight
// gradient multiply.
#pragma once

#include "windows.cuh"

namespace fastconv {

// A divisor by which many numbers are divided: by a multiplication, exact where the number times the
// divisor is below 2^32, as pixels of an image times strides are. Source: Granlund and Montgomery,
// "Division by Invariant Integers using Multiplication" (PLDI 1994).
struct Divisor {
    int by;
    unsigned reciprocal; // 2^32 / by, rounded up

    __device__ explicit Divisor(int by) : by(by), reciprocal(0xffffffffu / by + 1) {}
    __device__ int quotient(int number) const {
        return by == 1 ? number : static_cast<int>(__umulhi(number, reciprocal));
    }
};

// What Patches are to the forward pass, for the data gradient: a line for each input pixel, a term
// for each tap and output channel; 0 where the tap of no window lies on the pixel.
//
// Pixel and tap are divided by the stride once each: a window lies on both where the remainders are
// the same, and it is the difference of the quotients.
template <typename T>
struct Outputs {
    Geometry g;
    const T *y; // the group's first channel
    Divisor stride_h{g.stride_h}, stride_w{g.stride_w};

    struct Line {
        const T *first;
        int i, j;  // quotients
        int phase; // remainders
    };
    struct Cursor {
        Digits term;
        int i, j, phase, offset; // of the tap
    };
    __device__ Line line(int m, bool exists) const {
        const Pixel p = pixel_at(m, g.height, g.width);
        const Cursor at = divided({}, p.i + g.top, p.j + g.left);
        return {y + (p.n * g.y_n + at.offset), at.i, at.j, exists ? at.phase : -1};
    }
    __device__ Cursor cursor(int k) const { return tap(terms().of(k)); }
    __device__ void advance(Cursor &cursor, const Cursor &way) const {
        terms().add(cursor.term, way.term);
        cursor = tap(cursor.term);
    }
    __device__ bool holds(const Line &line, const Cursor &cursor) const {
        return line.phase == cursor.phase &&
               inside(line.i - cursor.i, line.j - cursor.j, g.out_height, g.out_width);
    }
    __device__ const T *address(const Line &line, const Cursor &cursor) const {
        return line.first + (cursor.term.offset - cursor.offset);
    }

private:
    // Taps and output channels; where a tap lies is not a matter of strides alone.
    __device__ Count terms() const { return {g.kernel_h, g.kernel_w, g.outputs, 0, 0, g.y_c}; }
    __device__ Cursor divided(const Digits &term, int i, int j) const {
        const int row = stride_h.quotient(i), column = stride_w.quotient(j);
        const int phase = (i - row * g.stride_h) * g.stride_w + (j - column * g.stride_w);
        return {term, row, column, phase, row * g.y_h + column * g.y_w};
    }
    __device__ Cursor tap(const Digits &term) const {
        Cursor at = divided(term, term.high * g.dilation_h, term.middle * g.dilation_w);
        if (!terms().has(term)) at.phase = -2;
        return at;
    }
};

// Weights with a term for each tap and output channel, a line for each input channel.
template <typename T>
__device__ Counted<T> transposed_weights(const Geometry &g, const T *w) {
    return {w, {g.kernel_h, g.kernel_w, g.outputs, g.w_h, g.w_w, g.w_o}, g.w_i};
}

// A term for each output pixel, a line for each output channel.
template <typename T>
__device__ Counted<T> output_columns(const Geometry &g, const T *y) {
    return {y, {g.batch, g.out_height, g.out_width, g.y_n, g.y_h, g.y_w}, g.y_c};
}

}  // namespace fastconv
