"""Images of another size: padded, cropped or upsampled."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import clear, copy, first_of, pointer
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of

# In the order of fastconv.plans.resample_operation.RESAMPLE_KINDS.
_ZEROS, _REFLECT, _NEAREST, _BILINEAR = range(4)
_CHANNELS_AT_ONCE = 16
"""Channels of a sample whose gradients one thread sums, as in the rules."""


@inlined
def _source_of(
    kind: int, i: int, size: int, out: int, offset: int, align_corners: int
) -> tuple[int, int, float]:
    """A pixel along an axis: two of x, -1 for 0, and the share of the second."""
    low, high, share = i - offset, 0, 0.0
    if kind == _BILINEAR:
        place = (float(i) + 0.5) * float(size) / float(out) - 0.5
        if align_corners != 0:
            place = float(i * (size - 1)) / float(max(1, out - 1))
        place = max(place, 0.0)
        low = int(place)
        share = place - float(low)
        high = low + 1 if share != 0 and low + 1 < size else low
    else:
        if kind == _NEAREST:
            low = i * size // out
        elif kind == _REFLECT:
            low = abs(low)
            low = 2 * (size - 1) - low if low >= size else low
        elif low >= size:
            low = -1
        high = low
    return low, high, share


@kernel(Kernel.RESAMPLE_FORWARD)
def _resample_forward(real: Real) -> KernelFunction:
    def resample_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, lanes = pointer(n.x, real), pointer(n.y, real), lanes_of(real)
        height, width, channels = n.height, n.width, n.channels
        out_height, out_width, count = n.out_height, n.out_width, n.batch * n.out_height
        for number in range(first_of(count, thread, threads), first_of(count, thread + 1, threads)):
            above, below, down = _source_of(
                n.kind, number % out_height, height, out_height, n.top, n.align_corners
            )
            image = number // out_height * height * width
            for j in range(out_width):
                left, right, across = _source_of(
                    n.kind, j, width, out_width, n.left, n.align_corners
                )
                to = (number * out_width + j) * channels
                if above < 0 or left < 0:
                    clear(y, to, channels)
                    continue
                a = (image + above * width + left) * channels
                if down == 0 and across == 0:
                    copy(y, to, x, a, channels)
                    continue
                b = (image + above * width + right) * channels
                d = (image + below * width + left) * channels
                e = (image + below * width + right) * channels
                for k in range(0, channels, lanes):
                    some = min(lanes, channels - k)
                    upper = load(x, a + k, some) * real(1 - across)
                    upper = upper + load(x, b + k, some) * real(across)
                    lower = load(x, d + k, some) * real(1 - across)
                    lower = lower + load(x, e + k, some) * real(across)
                    store(y, to + k, upper * real(1 - down) + lower * real(down), some)

    return resample_forward


@kernel(Kernel.RESAMPLE_BACKWARD)
def _resample_backward(real: Real) -> KernelFunction:
    def resample_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, dx, lanes = pointer(n.dy, real), pointer(n.dx, real), lanes_of(real)
        height, width, channels = n.height, n.width, n.channels
        out_height, out_width = n.out_height, n.out_width
        pieces = (channels + _CHANNELS_AT_ONCE - 1) // _CHANNELS_AT_ONCE
        count = n.batch * pieces
        for number in range(first_of(count, thread, threads), first_of(count, thread + 1, threads)):
            first = number % pieces * _CHANNELS_AT_ONCE
            last = min(channels, first + _CHANNELS_AT_ONCE)
            image = number // pieces * height * width
            source = number // pieces * out_height * out_width
            for i in range(height * width):
                clear(dx, (image + i) * channels + first, last - first)
            for i in range(out_height):
                above, below, down = _source_of(
                    n.kind, i, height, out_height, n.top, n.align_corners
                )
                if above < 0:
                    continue
                for j in range(out_width):
                    left, right, across = _source_of(
                        n.kind, j, width, out_width, n.left, n.align_corners
                    )
                    if left < 0:
                        continue
                    at = (source + i * out_width + j) * channels
                    for pair in range(4):
                        row, of_row = (below, down) if pair >= 2 else (above, 1 - down)
                        column, of_column = (right, across) if pair % 2 else (left, 1 - across)
                        share = of_row * of_column
                        if share == 0:
                            continue
                        to = (image + row * width + column) * channels
                        for k in range(first, last, lanes):
                            some = min(lanes, last - k)
                            more = load(dy, at + k, some) * real(share)
                            store(dx, to + k, load(dx, to + k, some) + more, some)

    return resample_backward


resample_forward = contract_kernel(engine, "resample.resample_forward", __name__)
resample_backward = contract_kernel(engine, "resample.resample_backward", __name__)
workspace_bytes = workspace_of_module(engine, "resample", __name__)
