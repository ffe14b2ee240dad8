"""Random words in CUDA (``kernels/cuda/random.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import launch_elements, stream_of
from fastconv.plans.operation import RandomSpec


def random_words(
    spec: RandomSpec,
    step: Array,
    words: Array,
    workspace: Array | None,
) -> None:
    """Fill ``words`` with the stream's words of this step."""
    count = int(words.size)
    launch_elements("random.random_words", count, count, *stream_of(spec), step, words)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
