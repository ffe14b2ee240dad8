// What a CUDA C++ kernel needs to compile and run as ordinary C++: one thread at a time, no
// shared memory, no barriers. HOST_LAUNCH(name) exports host_launch_name(grid, block, arguments), with
// one-dimensional grid and block and the arguments as cuLaunchKernel takes them: an array of pointers.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#define __global__
#define __device__

struct HostIndex {
    unsigned x, y, z;
};
static HostIndex gridDim{1, 1, 1}, blockDim{1, 1, 1}, blockIdx{0, 0, 0}, threadIdx{0, 0, 0};

template <typename... P, std::size_t... I>
void host_launch(void (*kernel)(P...), unsigned grid, unsigned block, void **arguments,
                 std::index_sequence<I...>) {
    gridDim.x = grid;
    blockDim.x = block;
    const std::tuple<P...> values{*static_cast<P *>(arguments[I])...};
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) kernel(std::get<I>(values)...);
}

template <typename... P>
void host_launch(void (*kernel)(P...), unsigned grid, unsigned block, void **arguments) {
    host_launch(kernel, grid, block, arguments, std::index_sequence_for<P...>{});
}

#define HOST_LAUNCH(name)                                                                 \
    extern "C" void host_launch_##name(unsigned grid, unsigned block, void **arguments) { \
        host_launch(name, grid, block, arguments);                                        \
    }
