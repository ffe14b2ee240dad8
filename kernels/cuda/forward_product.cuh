// The product that the forward pass of a convolution is, which two kernels make.
#pragma once

#include "product.cuh"
#include "windows.cuh"

namespace fastconv {

__device__ inline Sizes forward_sizes(const Geometry &g, int parts) {
    return {g.out_pixels(), g.outputs, g.taps() * g.inputs, g.groups, parts};
}

}  // namespace fastconv
