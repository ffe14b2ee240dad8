"""The calls of a plan that change a batch of images at random, and the targets with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.plans.operation import AugmentSpec, InputSpec, RandomSpec

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder

_AUGMENT_STREAM = 0
# Counted down from, a stream for each pass of a step; layers count up from the other end.
_JITTER_STREAM = 2**31
_CROP_STREAM = 3 * 2**30
_MIX_STREAM = 7 * 2**29


def add_augmentation(builder: PlanBuilder, spec: InputSpec, x: int) -> int:
    """Add what is asked for, in this order: parts, movements, colours, mixtures.

    Parameters
    ----------
    builder
        Of the plan.
    spec
        Shape of the batch.
    x
        The batch.

    Returns
    -------
    int
        The buffer that the images are in then.
    """
    a = builder.source.augmentation
    if a.crops:
        x = _crop(builder, spec, x)
    if a.moves:
        x = _move(builder, spec, x)
    if a.jitters:
        # Only where it is used.
        from fastconv.plans.jitter import JitterSpec

        random = RandomSpec(builder.seed, _JITTER_STREAM - builder.pass_number)
        changes = a.brightness, a.contrast, a.saturation, a.erase, a.erase_area
        builder.call("input.jitter_images", JitterSpec(spec, random, *changes), x, builder.step)
    return _mix(builder, spec, x) if a.mixes else x


def _crop(builder: PlanBuilder, spec: InputSpec, x: int) -> int:
    from fastconv.plans.augmentation import CropSpec

    a = builder.source.augmentation
    random = RandomSpec(builder.seed, _CROP_STREAM - builder.pass_number)
    cropped = CropSpec(
        spec, random, a.kind_of_flip, a.mirrored_crop, a.resized_crop,
        builder.source.steps_per_epoch,
    )  # fmt: skip
    y = builder.buffer("input.cropped", spec.x_shape)
    builder.call("augment.crop_images", cropped, x, builder.indices, builder.step, y)
    return y


def _move(builder: PlanBuilder, spec: InputSpec, x: int) -> int:
    a = builder.source.augmentation
    random = RandomSpec(builder.seed, _AUGMENT_STREAM)
    if builder.pass_number:
        random = builder.new_random_stream()
    moved = AugmentSpec(
        spec, random, a.flip and not a.crops, a.crop - a.mirrored_crop, a.rotation, a.shear,
        a.translation, a.cutout,
    )  # fmt: skip
    y = builder.buffer("input.augmented", spec.x_shape)
    builder.call("input.augment_images", moved, x, builder.step, y)
    return y


def _mix(builder: PlanBuilder, spec: InputSpec, x: int) -> int:
    from fastconv.plans.augmentation import MixSpec

    a = builder.source.augmentation
    random = RandomSpec(builder.seed, _MIX_STREAM - builder.pass_number)
    mixed = MixSpec(spec, random, a.mixup, a.cutmix)
    y = builder.buffer("input.mixed", spec.x_shape)
    partners = builder.buffer("partners", (builder.batch,), "int64")
    shares = builder.buffer("shares", (builder.batch,))
    builder.call("augment.mix_images", mixed, x, builder.step, y, partners, shares)
    builder.mixture = partners, shares
    return y


def add_mixed_targets(builder: PlanBuilder, target: int, outputs: int) -> int:
    """Mix the targets of a batch as its images were mixed.

    Parameters
    ----------
    builder
        Of the plan.
    target
        The targets, (batch, outputs).
    outputs
        Elements of each.

    Returns
    -------
    int
        The buffer of the mixed ones, or the same where no images are mixed.
    """
    if builder.mixture is None:
        return target
    mixed = builder.buffer("target.mixed", (builder.batch, outputs))
    spec = InputSpec(builder.batch, 1, 1, outputs)
    builder.call("augment.mix_rows", spec, target, *builder.mixture, mixed)
    return mixed
