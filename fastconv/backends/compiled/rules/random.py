"""Instructions of the random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import RandomSpec

_Types = tuple[str | None, ...]

COST_OF_WORD = 4
"""A random word in relation to an addition of numbers from memory."""
_WORDS_AT_ONCE = 256
"""Words that are drawn at once, as in ``kernels/cpu/random.h``."""


@dataclass(frozen=True, slots=True)
class WordsSpec:
    """A stream and how many of its words are wanted."""

    random: RandomSpec
    words: int


def spec_of_words(spec: RandomSpec, _: np.ndarray, words: np.ndarray, *__: object) -> WordsSpec:
    """Return the spec of ``random_words`` for this array of words."""
    return WordsSpec(spec, words.size)


def random_key(random: RandomSpec) -> dict[str, Any]:
    """Return what a kernel must know of a stream: both words of the key, and its number."""
    return {"key0": random.seed & 0xFFFFFFFF, "key1": random.seed >> 32, "stream": random.stream}


def random_words(spec: WordsSpec, types: _Types, target: Target) -> LoweredKernel:
    """Chunks of words."""
    instruction = Instruction.of(
        Kernel.RANDOM_WORDS,
        "float32",
        **arrays("step", "words"),
        count=spec.words,
        **random_key(spec.random),
        max_threads=min(
            -(-spec.words // _WORDS_AT_ONCE), threads_for_elements(spec.words, COST_OF_WORD)
        ),
    )
    return LoweredKernel((instruction,))
