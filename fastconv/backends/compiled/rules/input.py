"""Records of the beginning of a step.

The sizes of two kernels' arrays are not in their spec: :func:`spec_of_rows` and
:func:`spec_of_features` put them there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Record, Target
from fastconv.backends.compiled.rules.random import stream_words
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import AugmentSpec, InputSpec
from fastconv.spec import Shape

_Types = tuple[str | None, ...]

_COST_OF_DIVISION = 2
_COST_OF_SAMPLE = 8
"""Of a pixel that is mixed from four, in relation to one that is copied."""


def spec_of_rows(spec: InputSpec, elements: int) -> InputSpec:
    """Return the spec of ``gather_rows`` for rows of so many elements: 1 for labels."""
    return InputSpec(spec.batch, 1, 1, elements)


def spec_of_features(spec: InputSpec, features: int) -> InputSpec:
    """Return the spec of ``standardize_images`` for means of so many elements.

    They are the channels of the result, be it one for each channel or one for each feature.
    """
    if features == spec.channels:
        return spec
    return InputSpec(spec.batch, 1, 1, features)


def spec_for(kernel: str, spec: Any, shapes: tuple[Shape | None, ...]) -> Any:
    """Return the spec that the functions of this module want for a call with these arrays.

    Parameters
    ----------
    kernel
        Its name in this module.
    spec
        Its spec in a plan.
    shapes
        Shapes of its arrays, without the workspace.
    """
    if kernel == "gather_rows" and shapes[0] is not None:
        return spec_of_rows(spec, math.prod(shapes[0][1:]))
    if kernel == "standardize_images" and shapes[1] is not None:
        return spec_of_features(spec, math.prod(shapes[1]))
    return spec


def _elements(spec: InputSpec) -> int:
    """Elements of one image."""
    return spec.height * spec.width * spec.channels


def gather_images(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """Blocks of elements of the batch: bytes or numbers of either size become those of x."""
    elements = _elements(spec)
    record = Record(
        "gather_images",
        str(types[2]),
        (Pointer(0), Pointer(1), Pointer(2)),
        (spec.batch, elements, np.dtype(types[0]).itemsize),
        parts=parts_of(spec.batch * elements),
    )
    return Launch((record,))


def gather_min_max_images(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """``gather_images`` of bytes and ``min_max_images`` in one: images, indices, x."""
    elements = _elements(spec)
    record = Record(
        "gather_min_max_images",
        str(types[2]),
        (Pointer(0), Pointer(1), Pointer(2)),
        (spec.batch, elements),
        parts=min(spec.batch, parts_of(spec.batch * elements, _COST_OF_DIVISION)),
    )
    return Launch((record,))


def gather_rows(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """Copies of bytes, or numbers of the other size; the spec is that of :func:`spec_of_rows`."""
    if types[0] != types[2]:
        return gather_images(spec, types, target)
    elements = _elements(spec)
    record = Record(
        "gather_rows",
        "float32",
        (Pointer(0), Pointer(1), Pointer(2)),
        (spec.batch, elements * np.dtype(types[0]).itemsize),
        parts=min(spec.batch, parts_of(spec.batch * elements)),
    )
    return Launch((record,))


def scale_images(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """One pass."""
    size = spec.batch * _elements(spec)
    pointers = Pointer(0), Pointer(1), Pointer(2)
    record = Record("scale_images", str(types[0]), pointers, (size,), parts=parts_of(size))
    return Launch((record,))


def standardize_images(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """One pass; the spec is that of :func:`spec_of_features`."""
    rows = spec.batch * spec.height * spec.width
    record = Record(
        "standardize_images",
        str(types[0]),
        (Pointer(0), Pointer(1), Pointer(2), Pointer(3)),
        (rows, spec.channels),
        parts=min(rows, parts_of(rows * spec.channels, _COST_OF_DIVISION)),
    )
    return Launch((record,))


def min_max_images(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """One image after the other."""
    elements = _elements(spec)
    record = Record(
        "min_max_images",
        str(types[0]),
        (Pointer(0), Pointer(1)),
        (spec.batch, elements),
        parts=min(spec.batch, parts_of(spec.batch * elements, _COST_OF_DIVISION)),
    )
    return Launch((record,))


def augment_images(spec: AugmentSpec, types: _Types, target: Target) -> Launch:
    """One image after the other."""
    size = spec.input
    elements = _elements(size)
    cost = _COST_OF_SAMPLE if spec.warps else 1
    record = Record(
        "augment_images",
        str(types[0]),
        (Pointer(0), Pointer(1), Pointer(2)),
        (
            *(size.batch, size.height, size.width, size.channels),
            *(int(spec.flip), spec.crop, int(spec.warps), spec.cutout),
            *stream_words(spec.random),
        ),
        (math.radians(spec.rotation), math.radians(spec.shear), spec.translation),
        parts=min(size.batch, parts_of(size.batch * elements, cost)),
    )
    return Launch((record,))
