"""Instructions of crops, flips and mixtures of images."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.random import random_key
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.augmentation import FLIPS, CropSpec, MixSpec
from fastconv.plans.operation import InputSpec

_Types = tuple[str | None, ...]

_COST_OF_SAMPLE = 8
"""Cost of a pixel that is mixed from four, in relation to one that is copied."""


def _threads(size: InputSpec, cost: int) -> int:
    elements = size.batch * size.height * size.width * size.channels
    return max(1, min(size.batch, threads_for_elements(elements, cost)))


def crop_images(spec: CropSpec, types: _Types, target: Target) -> LoweredKernel:
    """One image after the other."""
    size = spec.input
    instruction = Instruction.of(
        Kernel.CROP_IMAGES, str(types[0]), **arrays("x", "indices", "step", "y"), batch=size.batch,
        height=size.height, width=size.width, channels=size.channels, flip=FLIPS.index(spec.flip),
        crop=spec.crop, steps_per_epoch=spec.steps_per_epoch, **random_key(spec.random),
        least_area=spec.least_area,
        max_threads=_threads(size, _COST_OF_SAMPLE if spec.least_area else 2),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def mix_images(spec: MixSpec, types: _Types, target: Target) -> LoweredKernel:
    """One image after the other."""
    size = spec.input
    instruction = Instruction.of(
        Kernel.MIX_IMAGES, str(types[0]), **arrays("x", "step", "y", "partners", "shares"),
        batch=size.batch, height=size.height, width=size.width, channels=size.channels,
        **random_key(spec.random), mixup=spec.mixup, cutmix=spec.cutmix,
        max_threads=_threads(size, 1),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def mix_rows(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """One row after the other."""
    instruction = Instruction.of(
        Kernel.MIX_ROWS, str(types[0]), **arrays("rows", "partners", "shares", "y"),
        batch=spec.batch, elements=spec.channels, max_threads=_threads(spec, 1),
    )  # fmt: skip
    return LoweredKernel((instruction,))
