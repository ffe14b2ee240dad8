"""The counter-based generator Philox4x32-10, whole blocks at a time.

Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), section 5.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import RandomSpec

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_BLOCKS_AT_ONCE = 4096
"""Four 32-bit words each; the arrays of one chunk (six of 32 KiB) stay in L2."""


def random_words(
    spec: RandomSpec, step: np.ndarray, words: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Fill ``words`` (uint32, 1-D) with the stream's words of this step."""
    blocks = -(-len(words) // 4)
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        count = min(_BLOCKS_AT_ONCE, blocks - first)
        counters = Carver(workspace).take((6, count), np.uint64)
        counters[0] = np.arange(first, first + count, dtype=np.uint64)
        counters[1] = spec.stream
        counters[2] = int(step[0]) & 0xFFFFFFFF
        counters[3] = int(step[0]) >> 32
        _philox(counters, spec.seed & 0xFFFFFFFF, spec.seed >> 32)
        chunk = words[4 * first : 4 * (first + count)]
        for component in range(4):
            target = chunk[component::4]
            target[:] = counters[component, : len(target)]


def _philox(counters: np.ndarray, key0: int, key1: int) -> None:
    """Run the ten rounds in place over rows 0 to 3; rows 4 and 5 are scratch."""
    c0, c1, c2, c3, product0, product1 = counters
    for _ in range(_ROUNDS):
        np.multiply(c0, _MULTIPLIERS[0], out=product0)
        np.multiply(c2, _MULTIPLIERS[1], out=product1)
        np.right_shift(product1, _SHIFT, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, np.uint64(key0), out=c0)
        np.right_shift(product0, _SHIFT, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, np.uint64(key1), out=c2)
        np.bitwise_and(product1, _LOW, out=c1)
        np.bitwise_and(product0, _LOW, out=c3)
        key0 = (key0 + _KEY_STEPS[0]) & 0xFFFFFFFF
        key1 = (key1 + _KEY_STEPS[1]) & 0xFFFFFFFF


def workspace_bytes(kernel: str, spec: RandomSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return size_of((6, _BLOCKS_AT_ONCE), np.uint64)
