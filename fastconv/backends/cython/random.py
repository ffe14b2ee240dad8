"""The counter-based random numbers in C (``kernels/cpu/random.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.rules.random import WordsSpec
from fastconv.backends.cython import engine
from fastconv.plans.operation import RandomSpec


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
