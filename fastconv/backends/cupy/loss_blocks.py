"""How many blocks make the losses of a batch together."""

from __future__ import annotations

import math

from fastconv.backends.cupy.launches import THREADS, WARP
from fastconv.plans.operation import LossSpec

_FEW_SAMPLES = 32
"""Samples whose losses one block makes as soon as several do."""
_MOST_BLOCKS = 64
"""Blocks whose sums one thread adds up."""


def blocks_of_losses(spec: LossSpec) -> int:
    """Blocks that share the samples of a fused loss: one for each of its warps, but for few."""
    if spec.batch <= _FEW_SAMPLES:
        return 1
    return min(_MOST_BLOCKS, math.ceil(spec.batch * WARP / THREADS))
