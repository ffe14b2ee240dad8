"""Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).

:class:`fastconv.plans.operation.RandomSpec` says which counter gives which word.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba.compilation import inlined
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.vector_functions import high_product
from fastconv.backends.numba.vector_memory import store_interleaved
from fastconv.backends.numba.vectors import count_from, lanes_of, spread

WORDS_AT_ONCE = 256
"""Words that kernels draw together: 64 blocks, which every vector divides."""


@inlined
def fill_words(words: Any, first: int, block: int, blocks: int, n: Fields, step: int) -> None:
    """The words of the blocks from ``block`` on, to ``words`` from element ``first`` on.

    Room for a vector's worth of blocks more must be there, unless vectors divide ``blocks``. ``n``
    is an instruction with a key and a stream.
    """
    lanes = lanes_of(np.uint32)
    for i in range(0, blocks, lanes):
        key0 = spread(n.key0, np.uint32)
        key1 = spread(n.key1, np.uint32)
        c0 = count_from(block + i, np.uint32)
        c1 = spread(n.stream, np.uint32)
        c2, c3 = spread(step & 0xFFFFFFFF, np.uint32), spread(step >> 32, np.uint32)
        for _ in range(10):
            high0, high1 = high_product(c0, 0xD2511F53), high_product(c2, 0xCD9E8D57)
            low0, low1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
            c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
            key0, key1 = key0 + 0x9E3779B9, key1 + 0xBB67AE85
        store_interleaved(words, first + 4 * i, c0, c1, c2, c3)
