// Pooling of NHWC images by all threads of a grid of one dimension, or by those of one block. One
// thread makes each element of the result, the backward passes too: a pixel gathers from the windows
// that cover it, so nothing is added atomically. An activation in front of the backward pass, with
// what it keeps in `kept`, is theirs.
#pragma once

#include "activation.cuh"
#include "threads.cuh"

// The arguments of every function with windows.
#define WINDOWS                                                                                  \
    int batch, int height, int width, int channels, int out_height, int out_width, int kernel_h, \
        int kernel_w, int stride_h, int stride_w, int top, int left
#define WINDOWS_VALUES                                                                           \
    batch, height, width, channels, out_height, out_width, kernel_h, kernel_w, stride_h,         \
        stride_w, top, left

namespace fastconv {

struct Element {
    int n, i, j, c;
};

// Where element `index` of an NHWC array lies.
__device__ inline Element element_at(int index, int height, int width, int channels) {
    Element e;
    e.c = index % channels;
    index /= channels;
    e.j = index % width;
    index /= width;
    e.i = index % height;
    e.n = index / height;
    return e;
}

// Windows first to last - 1 cover a place of one axis.
struct Cover {
    int first, last;
};

__device__ inline Cover windows_over(int place, int before, int kernel, int stride, int windows) {
    const int at = place + before;
    const int first = at < kernel ? 0 : (at - kernel) / stride + 1;
    const int last = at / stride + 1;
    return {first, last < windows ? last : windows};
}

// Cells of a window that lie on the image or its padding, or on the image alone.
__device__ inline int cells_of(int window, int stride, int kernel, int before, int size, int after,
                               bool padding_counts) {
    const int from = window * stride - before, to = from + kernel;
    const int low = padding_counts || from > 0 ? from : 0;
    const int high = padding_counts ? size + after : size;
    return (to < high ? to : high) - low;
}

// The first largest pixel in row order, a NaN being the largest; where = ih * width + iw.
template <typename T>
__device__ inline void max_pool2d_forward(WINDOWS, const T *__restrict__ x, T *__restrict__ y,
                                          int *__restrict__ where) {
    const int count = batch * out_height * out_width * channels;
    for (int index = first_index(); index < count; index += index_step()) {
        const Element e = element_at(index, out_height, out_width, channels);
        const T *const image = x + static_cast<long long>(e.n) * height * width * channels + e.c;
        T best = 0;
        int place = -1;
        for (int kh = 0; kh < kernel_h; kh++) {
            const int ih = e.i * stride_h - top + kh;
            if (ih < 0 || ih >= height) continue;
            for (int kw = 0; kw < kernel_w; kw++) {
                const int iw = e.j * stride_w - left + kw;
                if (iw < 0 || iw >= width) continue;
                const T value = image[(ih * width + iw) * channels];
                if (place < 0 || wins(value, best)) {
                    best = value;
                    place = ih * width + iw;
                }
            }
        }
        y[index] = best;
        where[index] = place;
    }
}

template <typename T>
__device__ inline void max_pool2d_backward(WINDOWS, int kind, double alpha,
                                           const T *__restrict__ dy,
                                           const int *__restrict__ where, const T *kept, T *dx) {
    const ActivationGradient<T> activation = {kind, T(alpha), kept};
    const int count = batch * height * width * channels;
    for (int index = first_index(); index < count; index += index_step()) {
        const Element e = element_at(index, height, width, channels);
        const Cover rows = windows_over(e.i, top, kernel_h, stride_h, out_height);
        const Cover columns = windows_over(e.j, left, kernel_w, stride_w, out_width);
        T sum = 0;
        for (int oh = rows.first; oh < rows.last; oh++)
            for (int ow = columns.first; ow < columns.last; ow++) {
                const int from = ((e.n * out_height + oh) * out_width + ow) * channels + e.c;
                if (where[from] == e.i * width + e.j) sum += dy[from];
            }
        dx[index] = activation(sum, index);
    }
}

template <typename T>
__device__ inline void avg_pool2d_forward(WINDOWS, int bottom, int right, int padding_counts,
                                          const T *__restrict__ x, T *__restrict__ y) {
    const int count = batch * out_height * out_width * channels;
    for (int index = first_index(); index < count; index += index_step()) {
        const Element e = element_at(index, out_height, out_width, channels);
        const T *const image = x + static_cast<long long>(e.n) * height * width * channels + e.c;
        LongSum<T> sum;
        for (int kh = 0; kh < kernel_h; kh++) {
            const int ih = e.i * stride_h - top + kh;
            if (ih < 0 || ih >= height) continue;
            for (int kw = 0; kw < kernel_w; kw++) {
                const int iw = e.j * stride_w - left + kw;
                if (iw >= 0 && iw < width) sum += image[(ih * width + iw) * channels];
            }
        }
        const int high = cells_of(e.i, stride_h, kernel_h, top, height, bottom, padding_counts);
        const int wide = cells_of(e.j, stride_w, kernel_w, left, width, right, padding_counts);
        y[index] = static_cast<T>(sum.value() / (static_cast<double>(high) * wide));
    }
}

template <typename T>
__device__ inline void avg_pool2d_backward(WINDOWS, int bottom, int right, int padding_counts,
                                           int kind, double alpha, const T *__restrict__ dy,
                                           const T *kept, T *dx) {
    const ActivationGradient<T> activation = {kind, T(alpha), kept};
    const int count = batch * height * width * channels;
    for (int index = first_index(); index < count; index += index_step()) {
        const Element e = element_at(index, height, width, channels);
        const Cover rows = windows_over(e.i, top, kernel_h, stride_h, out_height);
        const Cover columns = windows_over(e.j, left, kernel_w, stride_w, out_width);
        T sum = 0;
        for (int oh = rows.first; oh < rows.last; oh++) {
            const int high = cells_of(oh, stride_h, kernel_h, top, height, bottom, padding_counts);
            for (int ow = columns.first; ow < columns.last; ow++) {
                const int wide =
                    cells_of(ow, stride_w, kernel_w, left, width, right, padding_counts);
                const int from = ((e.n * out_height + oh) * out_width + ow) * channels + e.c;
                sum += dy[from] / (high * wide);
            }
        }
        dx[index] = activation(sum, index);
    }
}

template <typename T>
__device__ inline void global_avg_pool2d_forward(int batch, int pixels, int channels,
                                                 const T *__restrict__ x, T *__restrict__ y) {
    for (int index = first_index(); index < batch * channels; index += index_step()) {
        const T *const image =
            x + static_cast<long long>(index / channels) * pixels * channels + index % channels;
        LongSum<T> sum;
        for (int pixel = 0; pixel < pixels; pixel++) sum += image[pixel * channels];
        y[index] = static_cast<T>(sum.value() / pixels);
    }
}

template <typename T>
__device__ inline void global_avg_pool2d_backward(int batch, int pixels, int channels,
                                                  const T *__restrict__ dy, T *__restrict__ dx) {
    for (int index = first_index(); index < batch * pixels * channels; index += index_step())
        dx[index] = dy[index / (pixels * channels) * channels + index % channels] / pixels;
}

}  // namespace fastconv
