// Images of another size: padded, cropped or upsampled (backends/cupy/resample.py). Any grid and block of one
// dimension.
#include "threads.cuh"

namespace {

// In the order of fastconv.plans.resample_operation.RESAMPLE_KINDS.
enum Kind { ZEROS, REFLECT, NEAREST, BILINEAR };

// A pixel along an axis: (1 - share) times pixel `low` and share times pixel `high`; -1: 0.
struct Source {
    int low, high;
    double share;
};

__device__ Source source_of(int kind, int i, int size, int out, int offset, int align_corners) {
    int low = i - offset;
    if (kind == BILINEAR) {
        double place = (i + 0.5) * size / out - 0.5;
        if (align_corners) place = out > 1 ? static_cast<double>(i) * (size - 1) / (out - 1) : 0;
        if (place < 0) place = 0;
        low = static_cast<int>(place);
        const double share = place - low;
        return {low, share != 0 && low + 1 < size ? low + 1 : low, share};
    }
    if (kind == NEAREST) {
        low = static_cast<int>(static_cast<long long>(i) * size / out);
    } else if (kind == REFLECT) {
        low = low < 0 ? -low : low;
        if (low >= size) low = 2 * (size - 1) - low;
    } else if (low < 0 || low >= size) {
        low = -1;
    }
    return {low, low, 0};
}

// The share of pixel `place` in a source.
__device__ double share_of(const Source &source, int place) {
    return (source.low == place ? 1 - source.share : 0) +
           (source.high == place ? source.share : 0);
}

}  // namespace

template <typename T>
__global__ void resample_forward(int batch, int height, int width, int channels, int out_height,
                                 int out_width, int top, int left, int kind, int align_corners,
                                 const T *x, T *y) {
    using namespace fastconv;
    const int size = batch * out_height * out_width * channels;
    for (int index = first_index(); index < size; index += index_step()) {
        const int k = index % channels, pixel = index / channels;
        const int j = pixel % out_width, i = pixel / out_width % out_height;
        const T *const image =
            x + static_cast<long long>(pixel / out_width / out_height) * height * width * channels;
        const Source r = source_of(kind, i, height, out_height, top, align_corners);
        const Source c = source_of(kind, j, width, out_width, left, align_corners);
        if (r.low < 0 || c.low < 0) {
            y[index] = 0;
            continue;
        }
        const T a = image[(r.low * width + c.low) * channels + k];
        if (r.share == 0 && c.share == 0) {
            y[index] = a;
            continue;
        }
        const T down = static_cast<T>(r.share), across = static_cast<T>(c.share);
        const T b = image[(r.low * width + c.high) * channels + k];
        const T d = image[(r.high * width + c.low) * channels + k];
        const T e = image[(r.high * width + c.high) * channels + k];
        y[index] = (1 - down) * ((1 - across) * a + across * b) +
                   down * ((1 - across) * d + across * e);
    }
}

// Each thread looks for the pixels that its own is a part of.
template <typename T>
__global__ void resample_backward(int batch, int height, int width, int channels, int out_height,
                                  int out_width, int top, int left, int kind, int align_corners,
                                  const T *dy, T *dx) {
    using namespace fastconv;
    const int size = batch * height * width * channels;
    for (int index = first_index(); index < size; index += index_step()) {
        const int k = index % channels, pixel = index / channels;
        const int column = pixel % width, row = pixel / width % height;
        const T *const image = dy + static_cast<long long>(pixel / width / height) * out_height *
                                        out_width * channels;
        T total = 0;
        for (int i = 0; i < out_height; i++) {
            const Source r = source_of(kind, i, height, out_height, top, align_corners);
            const double of_row = r.low < 0 ? 0 : share_of(r, row);
            if (of_row == 0) continue;
            for (int j = 0; j < out_width; j++) {
                const Source c = source_of(kind, j, width, out_width, left, align_corners);
                const double share = c.low < 0 ? 0 : of_row * share_of(c, column);
                if (share != 0)
                    total += static_cast<T>(share) * image[(i * out_width + j) * channels + k];
            }
        }
        dx[index] = total;
    }
}
