"""The counter-based random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel
from fastconv.backends.compiled.rules.random import spec_of_words
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.philox import WORDS_AT_ONCE, fill_words
from fastconv.backends.numba.pointers import copy, first_of, local, pointer
from fastconv.plans.operation import RandomSpec


@kernel(Kernel.RANDOM_WORDS)
def _random_words(real: Real) -> KernelFunction:
    def random_words(n: Fields, step: int, thread: int, threads: int) -> None:
        number = pointer(n.step, np.int64)[0] + step
        words, some = pointer(n.words, np.uint32), local(WORDS_AT_ONCE, np.uint32)
        count = n.count
        chunks = (count + WORDS_AT_ONCE - 1) // WORDS_AT_ONCE
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            blocks, first = WORDS_AT_ONCE // 4, chunk * WORDS_AT_ONCE
            fill_words(some, 0, chunk * blocks, blocks, n, number)
            copy(words, first, some, 0, min(WORDS_AT_ONCE, count - first))

    return random_words


random_words = contract_kernel(engine, "random.random_words", __name__, spec_of_words)


def workspace_bytes(kernel: str, spec: RandomSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
