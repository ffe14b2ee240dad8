"""The counter-based random numbers in C (``kernels/cpu/random.h``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.kernels import contract_kernel
from fastconv.backends.compiled.rules.random import spec_of_words
from fastconv.backends.cython import engine
from fastconv.plans.operation import RandomSpec

random_words = contract_kernel(engine, "random.random_words", __name__, spec_of_words)


def workspace_bytes(kernel: str, spec: RandomSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
