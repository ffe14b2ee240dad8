"""The counter-based generator Philox4x32-10, one block of four words at a time.

Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), section 5.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.operation import RandomSpec


def random_words(
    spec: RandomSpec, step: np.ndarray, words: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Fill ``words`` with the stream's words of this step.

    Parameters
    ----------
    spec
        Seed and stream; :class:`fastconv.plans.operation.RandomSpec` says which counter gives which word.
    step
        int64, (1,): the step ``t``.
    words
        uint32, 1-D, written.
    workspace
        Not used.

    Examples
    --------
    >>> words = np.empty(2, np.uint32)
    >>> random_words(RandomSpec(0, 0), np.array([0]), words, None)
    >>> [hex(word) for word in words]
    ['0x6627e8d5', '0xe169c58d']
    """
    t = int(step[0])
    key = (spec.seed & 0xFFFFFFFF, spec.seed >> 32)
    for i in range(len(words)):
        if i % 4 == 0:
            block = _philox_block((i // 4, spec.stream, t & 0xFFFFFFFF, t >> 32), key)
        words[i] = block[i % 4]


def _philox_block(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Ten rounds of two 32x32-bit multiplications, each followed by a step of the key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        high0, low0 = product0 >> 32, product0 & 0xFFFFFFFF
        high1, low1 = product1 >> 32, product1 & 0xFFFFFFFF
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def workspace_bytes(kernel: str, spec: RandomSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
