"""Dense layers: tiles of a convolution, and for a few samples passes over the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import LEAKY_GRADIENT, LEAKY_RELU
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.batch_blocked_instructions import sums_of_lanes
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_of, is_null, local, pointer
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of, select, spread

_DEPTH_OF_A_SUM = 4096
"""Products that are summed in their dtype; a multiple of two vectors."""
_SQUARE = 16 * 16
"""Elements of as many of the widest vectors as they have lanes."""


@inlined
def _products(a: Any, at: int, b: Any, to: int, first: int, end: int, real: Real) -> Any:
    """The sum of the products that no whole vector has."""
    number = real(0)
    for k in range(first, end):
        number += a[at + k] * b[to + k]
    return number


@kernel(Kernel.ROW_PRODUCTS)
def _row_products(real: Real) -> KernelFunction:
    """``c[i, j] = sum over k of a[i, k] b[j, k]``."""

    def row_products(n: Fields, step: int, thread: int, threads: int) -> None:
        a, b, c = pointer(n.a, real), pointer(n.b, real), pointer(n.c, real)
        count, depth, lanes = n.b_rows, n.depth, lanes_of(real)
        row_a, row_b, row_c = n.a_row, n.b_row, n.c_row
        whole = depth // lanes * lanes
        end = first_of(count, thread + 1, threads)
        for j in range(first_of(count, thread, threads), end, 4):
            b0 = j * row_b
            # The last row again, where there are fewer than four: nobody stores that.
            b1 = min(j + 1, end - 1) * row_b
            b2 = min(j + 2, end - 1) * row_b
            b3 = min(j + 3, end - 1) * row_b
            for i in range(n.a_rows):
                left, zero = i * row_a, spread(0, real)
                n0, n1, n2, n3 = 0.0, 0.0, 0.0, 0.0
                # Some of a long sum, whose parts are added in float64.
                for first in range(0, whole, _DEPTH_OF_A_SUM):
                    last = min(whole, first + _DEPTH_OF_A_SUM)
                    s0, s1, s2, s3, t0, t1, t2, t3 = zero, zero, zero, zero, zero, zero, zero, zero
                    for k in range(first, last - lanes, 2 * lanes):
                        v, w = load(a, left + k, lanes), load(a, left + k + lanes, lanes)
                        s0 = s0 + v * load(b, b0 + k, lanes)
                        t0 = t0 + w * load(b, b0 + k + lanes, lanes)
                        s1 = s1 + v * load(b, b1 + k, lanes)
                        t1 = t1 + w * load(b, b1 + k + lanes, lanes)
                        s2 = s2 + v * load(b, b2 + k, lanes)
                        t2 = t2 + w * load(b, b2 + k + lanes, lanes)
                        s3 = s3 + v * load(b, b3 + k, lanes)
                        t3 = t3 + w * load(b, b3 + k + lanes, lanes)
                    if (last - first) // lanes % 2:
                        k = last - lanes
                        v = load(a, left + k, lanes)
                        s0 = s0 + v * load(b, b0 + k, lanes)
                        s1 = s1 + v * load(b, b1 + k, lanes)
                        s2 = s2 + v * load(b, b2 + k, lanes)
                        s3 = s3 + v * load(b, b3 + k, lanes)
                    n0, n1 = n0 + sum_of_lanes(s0 + t0), n1 + sum_of_lanes(s1 + t1)
                    n2, n3 = n2 + sum_of_lanes(s2 + t2), n3 + sum_of_lanes(s3 + t3)
                to = i * row_c + j
                c[to] = real(n0 + _products(a, left, b, b0, whole, depth, real))
                if j + 1 < end:
                    c[to + 1] = real(n1 + _products(a, left, b, b1, whole, depth, real))
                if j + 2 < end:
                    c[to + 2] = real(n2 + _products(a, left, b, b2, whole, depth, real))
                if j + 3 < end:
                    c[to + 3] = real(n3 + _products(a, left, b, b3, whole, depth, real))

    return row_products


@kernel(Kernel.ADD_PARTS)
def _add_parts(real: Real) -> KernelFunction:
    """``y = b`` + the sum of parts, in their order."""

    def add_parts(n: Fields, step: int, thread: int, threads: int) -> None:
        parts, b, y = pointer(n.terms, real), pointer(n.b, real), pointer(n.y, real)
        size, outputs, lanes = n.size, n.b_size, lanes_of(real)
        epilogue, slope = n.epilogue, real(n.slope)
        vectors = (size + lanes - 1) // lanes
        end = first_of(vectors, thread + 1, threads)
        for piece in range(first_of(vectors, thread, threads), end):
            i = piece * lanes
            count = min(lanes, size - i)
            total = spread(0, real)
            if not is_null(b):
                total = load(b, i % outputs, count)
            for part in range(n.parts):
                total = total + load(parts, part * size + i, count)
            if epilogue == LEAKY_RELU:
                total = select(total > 0, total, total * slope)
            store(y, i, total, count)

    return add_parts


@inlined
def _narrow_rows(
    dy: Any, x: Any, w: Any, dx: Any, begin: int, end: int, outputs: int, keep: Any, scale: Any,
    lanes: int, kept: Any, products: Any, real: Real,
) -> None:  # fmt: skip
    """Update rows that are shorter than a vector: as many as there are lanes are read at first.

    A load of a row would meet the store of the one before, which lies in the same vector.
    """
    g = load(dy, 0, outputs)
    step = g * scale
    for first in range(begin, end, lanes):
        rows = min(lanes, end - first)
        for i in range(rows):
            old = load(w, (first + i) * outputs, outputs)
            store(kept, i * lanes, old, lanes)
            store(products, i * lanes, old * g, lanes)
        for i in range(rows, lanes):
            store(products, i * lanes, spread(0, real), lanes)
        sums_of_lanes(products, 0, products, 0)
        for i in range(rows):
            dx[first + i] = products[i]
        for i in range(rows):
            new = load(kept, i * lanes, lanes) * keep - step * x[first + i]
            store(w, (first + i) * outputs, new, outputs)


@kernel(Kernel.DENSE_BACKWARD_UPDATE)
def _dense_backward_update(real: Real) -> KernelFunction:
    """One pass over the weights for one sample: the data gradient, then plain gradient descent."""

    def dense_backward_update(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x, w = pointer(n.dy, real), pointer(n.x, real), pointer(n.w, real)
        b, dx, other = pointer(n.b, real), pointer(n.dx, real), pointer(n.other, real)
        rate = pointer(n.rate, np.float64)[step]
        inputs, outputs, lanes = n.inputs, n.outputs, lanes_of(real)
        gradient = n.epilogue == LEAKY_GRADIENT
        keep, slope = real(1 - rate * n.decay), real(n.slope)
        scale = real(rate)
        whole = outputs // (4 * lanes) * (4 * lanes)
        begin, end = first_of(inputs, thread, threads), first_of(inputs, thread + 1, threads)
        if outputs < lanes:
            kept, products = local(_SQUARE, real), local(_SQUARE, real)
            _narrow_rows(
                dy, x, w, dx, begin, end, outputs, keep, scale, lanes, kept, products, real
            )
            if gradient:
                for i in range(begin, end):
                    if not other[i] > 0:
                        dx[i] *= slope
        for i in range(begin, begin if outputs < lanes else end):
            row, factor, zero = i * outputs, scale * x[i], spread(0, real)
            s0, s1, s2, s3 = zero, zero, zero, zero
            for j in range(0, whole, 4 * lanes):
                at = row + j
                old, g = load(w, at, lanes), load(dy, j, lanes)
                s0 = s0 + old * g
                store(w, at, old * keep - g * factor, lanes)
                old, g = load(w, at + lanes, lanes), load(dy, j + lanes, lanes)
                s1 = s1 + old * g
                store(w, at + lanes, old * keep - g * factor, lanes)
                old, g = load(w, at + 2 * lanes, lanes), load(dy, j + 2 * lanes, lanes)
                s2 = s2 + old * g
                store(w, at + 2 * lanes, old * keep - g * factor, lanes)
                old, g = load(w, at + 3 * lanes, lanes), load(dy, j + 3 * lanes, lanes)
                s3 = s3 + old * g
                store(w, at + 3 * lanes, old * keep - g * factor, lanes)
            for j in range(whole, outputs, lanes):
                count = min(lanes, outputs - j)
                old, g = load(w, row + j, count), load(dy, j, count)
                s0 = s0 + old * g
                store(w, row + j, old * keep - g * factor, count)
            total = sum_of_lanes((s0 + s1) + (s2 + s3))
            if gradient and not other[i] > 0:
                total *= slope
            dx[i] = total
        if thread == 0 and not is_null(b):
            keep_bias = real(1 - rate * n.bias_decay)
            for j in range(outputs):
                b[j] = keep_bias * b[j] - scale * dy[j]

    return dense_backward_update


dense_forward = contract_kernel(engine, "dense.dense_forward", __name__)
dense_backward_data = contract_kernel(engine, "dense.dense_backward_data", __name__)
dense_backward_weight = contract_kernel(engine, "dense.dense_backward_weight", __name__)
workspace_bytes = workspace_of_module(engine, "dense", __name__)
