"""Instructions of the beginning of a step.

The sizes of two kernels' arrays are not in their spec: :func:`spec_of_rows` and
:func:`spec_of_features` put them there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.random import random_key
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import AugmentSpec, InputSpec
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.plans.jitter import JitterSpec

_Types = tuple[str | None, ...]

_COST_OF_DIVISION = 2
_COST_OF_SAMPLE = 8
"""Cost of a pixel that is mixed from four, in relation to one that is copied."""


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


def spec_of_gathered_rows(spec: InputSpec, rows: np.ndarray, *_: np.ndarray | None) -> InputSpec:
    """Return the spec of ``gather_rows`` for these rows."""
    return spec_of_rows(spec, rows.size // max(1, len(rows)))


def spec_of_standardized_images(
    spec: InputSpec, _: np.ndarray, mean: np.ndarray, *__: np.ndarray | None
) -> InputSpec:
    """Return the spec of ``standardize_images`` for these means."""
    return spec_of_features(spec, mean.size)


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


def gather_images(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """Blocks of elements of the batch: bytes or numbers of either size become those of x."""
    elements = _elements(spec)
    instruction = Instruction.of(
        Kernel.GATHER_IMAGES,
        str(types[2]),
        **arrays("images", "indices", "x"),
        batch=spec.batch,
        elements=elements,
        itemsize=np.dtype(types[0]).itemsize,
        max_threads=threads_for_elements(spec.batch * elements),
    )
    return LoweredKernel((instruction,))


def gather_min_max_images(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """``gather_images`` of bytes and ``min_max_images`` in one: images, indices, x."""
    elements = _elements(spec)
    instruction = Instruction.of(
        Kernel.GATHER_MIN_MAX_IMAGES,
        str(types[2]),
        **arrays("images", "indices", "x"),
        batch=spec.batch,
        elements=elements,
        max_threads=min(spec.batch, threads_for_elements(spec.batch * elements, _COST_OF_DIVISION)),
    )
    return LoweredKernel((instruction,))


def gather_rows(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """Copies of bytes, or numbers of the other size; the spec is that of :func:`spec_of_rows`."""
    if types[0] != types[2]:
        return gather_images(spec, types, target)
    elements = _elements(spec)
    instruction = Instruction.of(
        Kernel.GATHER_ROWS,
        "float32",
        **arrays("rows", "indices", "y"),
        batch=spec.batch,
        bytes=elements * np.dtype(types[0]).itemsize,
        max_threads=min(spec.batch, threads_for_elements(spec.batch * elements)),
    )
    return LoweredKernel((instruction,))


def scale_images(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    size = spec.batch * _elements(spec)
    instruction = Instruction.of(
        Kernel.SCALE_IMAGES,
        str(types[0]),
        **arrays("x", "factor", "y"),
        size=size,
        max_threads=threads_for_elements(size),
    )
    return LoweredKernel((instruction,))


def standardize_images(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass; the spec is that of :func:`spec_of_features`."""
    rows = spec.batch * spec.height * spec.width
    instruction = Instruction.of(
        Kernel.STANDARDIZE_IMAGES,
        str(types[0]),
        **arrays("x", "mean", "std", "y"),
        rows=rows,
        period=spec.channels,
        max_threads=min(rows, threads_for_elements(rows * spec.channels, _COST_OF_DIVISION)),
    )
    return LoweredKernel((instruction,))


def min_max_images(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """One image after the other."""
    elements = _elements(spec)
    instruction = Instruction.of(
        Kernel.MIN_MAX_IMAGES,
        str(types[0]),
        **arrays("x", "y"),
        batch=spec.batch,
        elements=elements,
        max_threads=min(spec.batch, threads_for_elements(spec.batch * elements, _COST_OF_DIVISION)),
    )
    return LoweredKernel((instruction,))


def augment_images(spec: AugmentSpec, types: _Types, target: Target) -> LoweredKernel:
    """One image after the other."""
    size = spec.input
    elements = _elements(size)
    cost = _COST_OF_SAMPLE if spec.warps else 1
    instruction = Instruction.of(
        Kernel.AUGMENT_IMAGES,
        str(types[0]),
        **arrays("x", "step", "y"),
        batch=size.batch,
        height=size.height,
        width=size.width,
        channels=size.channels,
        flip=int(spec.flip),
        crop=spec.crop,
        warps=int(spec.warps),
        cutout=spec.cutout,
        **random_key(spec.random),
        rotation=math.radians(spec.rotation),
        shear=math.radians(spec.shear),
        translation=spec.translation,
        max_threads=min(size.batch, threads_for_elements(size.batch * elements, cost)),
    )
    return LoweredKernel((instruction,))


def jitter_images(spec: JitterSpec, types: _Types, target: Target) -> LoweredKernel:
    """One image after the other."""
    size = spec.input
    instruction = Instruction.of(
        Kernel.JITTER_IMAGES, str(types[0]), **arrays("x", "step"), batch=size.batch,
        height=size.height, width=size.width, channels=size.channels, **random_key(spec.random),
        brightness=spec.brightness, contrast=spec.contrast, saturation=spec.saturation,
        erase=spec.erase, erase_area=spec.erase_area,
        max_threads=max(
            1, min(size.batch, threads_for_elements(size.batch * _elements(size), 2))
        ),
    )  # fmt: skip
    return LoweredKernel((instruction,))
