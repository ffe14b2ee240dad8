"""Records of dropout."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Record, Target
from fastconv.backends.compiled.rules.random import COST_OF_WORD, stream_words
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import DropoutSpec

_Types = tuple[str | None, ...]


def dropout_forward(spec: DropoutSpec, types: _Types, target: Target) -> Launch:
    """One pass that draws its words as it goes."""
    record = Record(
        "dropout_forward",
        str(types[0]),
        (Pointer(0), Pointer(1), Pointer(2), Pointer(3)),
        (spec.size, spec.threshold, *stream_words(spec.random)),
        (spec.scale,),
        parts=parts_of(spec.size, COST_OF_WORD),
    )
    return Launch((record,))


def dropout_backward(spec: DropoutSpec, types: _Types, target: Target) -> Launch:
    """One pass."""
    record = Record(
        "dropout_backward",
        str(types[0]),
        (Pointer(0), Pointer(1), Pointer(2)),
        (spec.size,),
        (spec.scale,),
        parts=parts_of(spec.size),
    )
    return Launch((record,))
