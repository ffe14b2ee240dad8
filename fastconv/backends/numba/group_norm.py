"""Group, layer and instance normalisation."""

from __future__ import annotations

import math

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_of, is_null, pointer
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import load, load_or, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread_beside

# A group of a sample is done by one thread, and so is a piece of the channels whose gradients are
# summed over all rows, in float64: the number of threads changes nothing. The second number is that
# of fastconv/backends/compiled/rules/group_norm.py.
_CHANNELS_OF_PARAMETERS = 16


@kernel(Kernel.GROUP_NORM_FORWARD)
def _group_norm_forward(real: Real) -> KernelFunction:
    def group_norm_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, gamma, beta = pointer(n.x, real), pointer(n.gamma, real), pointer(n.beta, real)
        y, mean, inverse_std = (
            pointer(n.y, real),
            pointer(n.mean, real),
            pointer(n.inverse_std, real),
        )
        pixels, channels, groups, lanes = n.pixels, n.channels, n.groups, lanes_of(real)
        width, count = channels // groups, n.batch * groups
        elements = float(pixels * width)
        for number in range(first_of(count, thread, threads), first_of(count, thread + 1, threads)):
            first = number // groups * pixels * channels + number % groups * width
            last = first + pixels * channels
            total = spread_beside(0, np.float64, real)
            squares = total
            for start in range(first, last, channels):
                for k in range(0, width, lanes):
                    some = load(x, start + k, min(lanes, width - k))
                    total = total + as_dtype(some, np.float64)
            exact = sum_of_lanes(total) / elements
            centre = real(exact)
            for start in range(first, last, channels):
                for k in range(0, width, lanes):
                    some = load_or(x, start + k, min(lanes, width - k), centre)
                    distance = as_dtype(some, np.float64) - float(centre)
                    squares = squares + distance * distance
            # The distances are those from the rounded mean.
            between = exact - float(centre)
            variance = sum_of_lanes(squares) / elements - between * between
            inverse = real(1 / math.sqrt(variance + n.epsilon))
            mean[number], inverse_std[number] = centre, inverse
            for start in range(first, last, channels):
                for k in range(0, width, lanes):
                    some, channel = min(lanes, width - k), number % groups * width + k
                    v = (load(x, start + k, some) - centre) * inverse
                    if not is_null(gamma):
                        v = v * load(gamma, channel, some)
                    if not is_null(beta):
                        v = v + load(beta, channel, some)
                    store(y, start + k, v, some)

    return group_norm_forward


@kernel(Kernel.GROUP_NORM_BACKWARD_DATA)
def _group_norm_backward_data(real: Real) -> KernelFunction:
    def group_norm_backward_data(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x, gamma = pointer(n.dy, real), pointer(n.x, real), pointer(n.gamma, real)
        mean, inverse_std = pointer(n.mean, real), pointer(n.inverse_std, real)
        dx, pixels, channels, groups = pointer(n.dx, real), n.pixels, n.channels, n.groups
        width, count, lanes = channels // groups, n.batch * groups, lanes_of(real)
        elements = float(pixels * width)
        for number in range(first_of(count, thread, threads), first_of(count, thread + 1, threads)):
            first = number // groups * pixels * channels + number % groups * width
            last = first + pixels * channels
            centre, inverse = mean[number], inverse_std[number]
            total = spread_beside(0, np.float64, real)
            products = total
            for start in range(first, last, channels):
                for k in range(0, width, lanes):
                    some, channel = min(lanes, width - k), number % groups * width + k
                    scaled = as_dtype(load(dy, start + k, some), np.float64)
                    if not is_null(gamma):
                        scaled = scaled * as_dtype(load(gamma, channel, some), np.float64)
                    z = (load_or(x, start + k, some, centre) - centre) * inverse
                    total = total + scaled
                    products = products + scaled * as_dtype(z, np.float64)
            of_gradient = real(sum_of_lanes(total) / elements)
            of_products = real(sum_of_lanes(products) / elements)
            for start in range(first, last, channels):
                for k in range(0, width, lanes):
                    some, channel = min(lanes, width - k), number % groups * width + k
                    z = (load(x, start + k, some) - centre) * inverse
                    v = load(dy, start + k, some)
                    if not is_null(gamma):
                        v = v * load(gamma, channel, some)
                    store(dx, start + k, (v - of_gradient - z * of_products) * inverse, some)

    return group_norm_backward_data


@kernel(Kernel.GROUP_NORM_BACKWARD_PARAMETERS)
def _group_norm_backward_parameters(real: Real) -> KernelFunction:
    def group_norm_backward_parameters(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x, mean = pointer(n.dy, real), pointer(n.x, real), pointer(n.mean, real)
        inverse_std = pointer(n.inverse_std, real)
        dgamma, dbeta = pointer(n.dgamma, real), pointer(n.dbeta, real)
        batch, pixels, channels, groups = n.batch, n.pixels, n.channels, n.groups
        width = channels // groups
        pieces = (channels + _CHANNELS_OF_PARAMETERS - 1) // _CHANNELS_OF_PARAMETERS
        begin = first_of(pieces, thread, threads) * _CHANNELS_OF_PARAMETERS
        finish = first_of(pieces, thread + 1, threads) * _CHANNELS_OF_PARAMETERS
        for channel in range(begin, min(channels, finish)):
            total, products = 0.0, 0.0
            for sample in range(batch):
                group = sample * groups + channel // width
                centre, inverse = mean[group], inverse_std[group]
                first = sample * pixels * channels + channel
                for i in range(first, first + pixels * channels, channels):
                    gradient = float(dy[i])
                    total += gradient
                    products += gradient * float((x[i] - centre) * inverse)
            dgamma[channel] = real(products)
            if not is_null(dbeta):
                dbeta[channel] = real(total)

    return group_norm_backward_parameters


group_norm_forward = contract_kernel(engine, "group_norm.group_norm_forward", __name__)
group_norm_backward_data = contract_kernel(engine, "group_norm.group_norm_backward_data", __name__)
group_norm_backward_parameters = contract_kernel(
    engine, "group_norm.group_norm_backward_parameters", __name__
)
workspace_bytes = workspace_of_module(engine, "group_norm", __name__)
