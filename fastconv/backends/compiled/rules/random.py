"""Records of the random numbers."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Record, Target
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import RandomSpec

_Types = tuple[str | None, ...]

COST_OF_WORD = 4
"""A random word in relation to an addition of numbers from memory."""
_WORDS_AT_ONCE = 256
"""As in ``kernels/cpu/random.h``."""


@dataclass(frozen=True, slots=True)
class WordsSpec:
    """A stream and how many of its words are wanted."""

    random: RandomSpec
    words: int


def stream_words(random: RandomSpec) -> tuple[int, int, int]:
    """Return what a kernel must know of a stream: both words of the key, and its number."""
    return random.seed & 0xFFFFFFFF, random.seed >> 32, random.stream


def random_words(spec: WordsSpec, types: _Types, target: Target) -> Launch:
    """Chunks of words."""
    record = Record(
        "random_words",
        "float32",
        (Pointer(0), Pointer(1)),
        (spec.words, *stream_words(spec.random)),
        parts=min(-(-spec.words // _WORDS_AT_ONCE), parts_of(spec.words, COST_OF_WORD)),
    )
    return Launch((record,))
