// Windows of a convolution as views of a product: the im2col matrix and its transpose, element by
// element.
#pragma once

#include "factor.cuh"
#include "geometry.cuh"

namespace fastconv {

// A row of pixels that no image has, nor any that is a tap away.
constexpr int NOWHERE = -(1 << 30);

// Taps and input channels, and where they lie from the first pixel of a window.
__device__ inline Count taps_of_windows(const Geometry &g) {
    return {g.kernel_h, g.kernel_w, g.inputs, g.dilation_h * g.x_h, g.dilation_w * g.x_w, g.x_c};
}

// Output pixels, and where their windows begin, but for the padding.
__device__ inline Count windows_of(const Geometry &g) {
    return {g.batch, g.out_height, g.out_width, g.x_n, g.stride_h * g.x_h, g.stride_w * g.x_w};
}
__device__ inline int offset_of_padding(const Geometry &g) { return g.top * g.x_h + g.left * g.x_w; }

// The im2col matrix: a line for each output pixel, a term for each tap and input channel.
template <typename T>
struct Patches {
    Geometry g;
    const T *x; // the group's first channel

    struct Line {
        const T *first;
        int i, j; // where the window begins
    };
    struct Cursor {
        Digits term;
        int i, j; // of the tap
    };
    __device__ Line line(int m, bool exists) const { return window(windows_of(g).of(m), exists); }
    __device__ Line window(const Digits &pixel, bool exists) const {
        return {x + (pixel.offset - offset_of_padding(g)),
                exists ? pixel.middle * g.stride_h - g.top : NOWHERE,
                pixel.low * g.stride_w - g.left};
    }
    __device__ Cursor cursor(int k) const { return tap(taps_of_windows(g).of(k)); }
    __device__ void advance(Cursor &cursor, const Cursor &way) const {
        taps_of_windows(g).add(cursor.term, way.term);
        cursor = tap(cursor.term);
    }
    __device__ bool holds(const Line &line, const Cursor &cursor) const {
        return inside(line.i + cursor.i, line.j + cursor.j, g.height, g.width);
    }
    __device__ const T *address(const Line &line, const Cursor &cursor) const {
        return line.first + cursor.term.offset;
    }

private:
    __device__ Cursor tap(const Digits &term) const {
        return {term, taps_of_windows(g).has(term) ? term.high * g.dilation_h : NOWHERE,
                term.middle * g.dilation_w};
    }
};

// Its transpose, with one more line of ones for the bias.
template <typename T>
struct TransposedPatches {
    Geometry g;
    const T *x;
    int beyond = NOWHERE / g.stride_h; // the row of a pixel that does not exist

    // Of the ones: strides of 0, so that all pixels are the same.
    struct Line {
        const T *first;
        int i, j, stride_h, stride_w, stride;
    };
    struct Cursor {
        Digits pixel;
        int i; // its row, or `beyond`
    };
    __device__ Line line(int m, bool exists) const {
        const Digits term = taps_of_windows(g).of(m);
        if (exists && !taps_of_windows(g).has(term)) return {ones(T()), 0, 0, 0, 0, 0};
        return {x + (term.offset - offset_of_padding(g)),
                exists ? term.high * g.dilation_h - g.top : NOWHERE,
                term.middle * g.dilation_w - g.left, g.stride_h, g.stride_w, 1};
    }
    __device__ Cursor cursor(int k) const { return at(windows_of(g).of(k)); }
    __device__ void advance(Cursor &cursor, const Cursor &way) const {
        windows_of(g).add(cursor.pixel, way.pixel);
        cursor = at(cursor.pixel);
    }
    // There are ones for pixels that do not exist too: the other factor is 0 then.
    __device__ bool holds(const Line &line, const Cursor &cursor) const {
        return inside(line.i + cursor.i * line.stride_h,
                      line.j + cursor.pixel.low * line.stride_w, g.height, g.width);
    }
    __device__ const T *address(const Line &line, const Cursor &cursor) const {
        return line.first + cursor.pixel.offset * line.stride;
    }

private:
    __device__ Cursor at(const Digits &pixel) const {
        return {pixel, windows_of(g).has(pixel) ? pixel.middle : beyond};
    }
};

// Weights with a term for each tap and input channel, a line for each output channel; `w` is the
// group's first one.
template <typename T>
__device__ Counted<T> weights(const Geometry &g, const T *w) {
    return {w, {g.kernel_h, g.kernel_w, g.inputs, g.w_h, g.w_w, g.w_i}, g.w_o};
}

}  // namespace fastconv
