"""The counter-based random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.rules.random import WordsSpec
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import Kernel, Real, kernel
from fastconv.backends.numba.philox import WORDS_AT_ONCE, fill_words
from fastconv.backends.numba.pointers import copy, first_of, integer_of, local, pointer_of
from fastconv.plans.operation import RandomSpec


@kernel
def _random_words(real: Real) -> Kernel:
    def random_words(record: int, step: int, thread: int, threads: int) -> None:
        number = pointer_of(record, 0, np.int64)[0] + step
        words, some = pointer_of(record, 1, np.uint32), local(WORDS_AT_ONCE, np.uint32)
        count = integer_of(record, 0)
        chunks = (count + WORDS_AT_ONCE - 1) // WORDS_AT_ONCE
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            blocks, first = WORDS_AT_ONCE // 4, chunk * WORDS_AT_ONCE
            fill_words(some, 0, chunk * blocks, blocks, record, 1, number)
            copy(words, first, some, 0, min(WORDS_AT_ONCE, count - first))

    return random_words


def random_words(
    spec: RandomSpec,
    step: np.ndarray,
    words: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Fill ``words`` (uint32, 1-D) with the stream's words of this step."""
    engine.execute("random.random_words", WordsSpec(spec, words.size), step, words, workspace)


def workspace_bytes(kernel: str, spec: RandomSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
