"""Dropout."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.philox import WORDS_AT_ONCE, fill_words
from fastconv.backends.numba.pointers import first_in_blocks, first_of, local, pointer
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select


@kernel(Kernel.DROPOUT_FORWARD)
def _dropout_forward(real: Real) -> KernelFunction:
    def dropout_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, mask = pointer(n.x, real), pointer(n.mask, np.uint8)
        y, words = pointer(n.y, real), local(WORDS_AT_ONCE, np.uint32)
        number = pointer(n.step, np.int64)[0] + step
        size, threshold, scale = n.size, n.threshold, real(n.scale)
        chunks, lanes = (size + WORDS_AT_ONCE - 1) // WORDS_AT_ONCE, lanes_of(real)
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            blocks, first = WORDS_AT_ONCE // 4, chunk * WORDS_AT_ONCE
            fill_words(words, 0, chunk * blocks, blocks, n, number)
            end = min(WORDS_AT_ONCE, size - first)
            for i in range(0, end, lanes):
                count = min(lanes, end - i)
                kept = load_beside(words, i, count, real) >> 8 >= threshold
                store(mask, first + i, as_dtype(kept, np.uint8), count)
                # An infinity that is dropped becomes 0, too.
                store(y, first + i, select(kept, load(x, first + i, count) * scale, 0), count)

    return dropout_forward


@kernel(Kernel.DROPOUT_BACKWARD)
def _dropout_backward(real: Real) -> KernelFunction:
    def dropout_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, mask = pointer(n.dy, real), pointer(n.mask, np.uint8)
        dx, scale = pointer(n.dx, real), real(n.scale)
        size, lanes = n.size, lanes_of(real)
        end = first_in_blocks(size, thread + 1, threads)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            kept = load_beside(mask, i, count, real) != 0
            store(dx, i, select(kept, load(dy, i, count) * scale, 0), count)

    return dropout_backward


@kernel(Kernel.DROP_CHANNELS)
def _drop_channels(real: Real) -> KernelFunction:
    def drop_channels(n: Fields, step: int, thread: int, threads: int) -> None:
        x, mask = pointer(n.x, real), pointer(n.mask, np.uint8)
        y, scale = pointer(n.y, real), real(n.scale)
        pixels, channels, lanes = n.pixels, n.channels, lanes_of(real)
        rows = n.batch * pixels
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            drawn, first = row // pixels * channels, row * channels
            for k in range(0, channels, lanes):
                count = min(lanes, channels - k)
                kept = load_beside(mask, drawn + k, count, real) != 0
                store(y, first + k, select(kept, load(x, first + k, count) * scale, 0), count)

    return drop_channels


dropout_forward = contract_kernel(engine, "dropout.dropout_forward", __name__)
dropout_backward = contract_kernel(engine, "dropout.dropout_backward", __name__)
drop_channels = contract_kernel(engine, "dropout.drop_channels", __name__)
workspace_bytes = workspace_of_module(engine, "dropout", __name__)
