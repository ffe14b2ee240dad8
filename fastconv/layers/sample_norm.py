"""Layers that normalise each sample by its own statistics, in training and inference alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.layers.base import Layer, Node, Parameter, image_shape
from fastconv.plans.norm_operation import GroupNormSpec
from fastconv.spec import Shape, SpecError

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


class _SampleNorm(Layer):
    """A normalisation by :class:`fastconv.plans.norm_operation.GroupNormSpec`."""

    retains: ClassVar[tuple[str, ...]] = ("x",)

    def spec(self, batch: int, input_shape: Shape) -> GroupNormSpec:
        """Spec of the layer on ``batch`` such samples."""
        raise NotImplementedError

    def _has(self) -> tuple[bool, bool]:
        """Whether there is a scale, and an offset."""
        raise NotImplementedError

    def _parameter_shape(self, input_shape: Shape) -> Shape:
        return input_shape[-1:]

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input."""
        self.spec(1, input_shape)  # checks the options
        return input_shape

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Scale and shift, where they are wanted."""
        shape = self._parameter_shape(input_shape)
        has_scale, has_offset = self._has()
        scale = Parameter("gamma", shape, "scale", start=1.0), Parameter("beta", shape, "bias")
        return tuple(p for p, has in zip(scale, (has_scale, has_offset), strict=True) if has)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call, which leaves the statistics for the way back."""
        spec, p = self.spec(builder.batch, node.input_shape), node.parameters
        for name in ("mean", "inverse_std"):
            shape = (spec.batch, spec.groups)
            node.saved[name] = builder.buffer(f"{node.name}.{name}", shape)
        builder.call(
            "group_norm.group_norm_forward", spec, node.x, p.get("gamma"), p.get("beta"), node.y,
            node.saved["mean"], node.saved["inverse_std"],
        )  # fmt: skip

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the gradients of scale and shift, and the data gradient, where needed."""
        spec, g = self.spec(builder.batch, node.input_shape), node.gradients
        statistics = node.saved["mean"], node.saved["inverse_std"]
        if g:
            builder.call(
                "group_norm.group_norm_backward_parameters", spec, dy, node.x, *statistics,
                g["gamma"], g.get("beta"),
            )  # fmt: skip
        if dx is not None:
            gamma = node.parameters.get("gamma")
            builder.call(
                "group_norm.group_norm_backward_data", spec, dy, node.x, gamma, *statistics, dx
            )


@dataclass(frozen=True)
class LayerNorm(_SampleNorm):
    """Layer normalisation over the last axes (Ba, Kiros & Hinton, arXiv:1607.06450).

    Parameters
    ----------
    normalized_shape
        Sizes of the last axes of a sample that are normalised together, or the size of the last one
        alone: (height, width, channels) for whole images, or (channels,) for each pixel by itself.
        Left out, the whole sample.
    eps
        Added to the variance.
    elementwise_affine
        Whether there is a scale for each element, which is learned.
    bias
        Whether there is an offset beside it.
    """

    kind: ClassVar[str] = "layer_norm"

    normalized_shape: Any = None
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def _parameter_shape(self, input_shape: Shape) -> Shape:
        given = self.normalized_shape
        if given is None:
            return input_shape
        shape = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        if not shape or shape != input_shape[len(input_shape) - len(shape) :]:
            expected = f"the last sizes of a sample {input_shape}"
            raise SpecError("layer_norm", "normalized_shape", given, expected)
        return shape

    def _has(self) -> tuple[bool, bool]:
        return self.elementwise_affine, self.elementwise_affine and self.bias

    def spec(self, batch: int, input_shape: Shape) -> GroupNormSpec:
        """Spec of the layer on ``batch`` such samples: rows of what is normalised together."""
        size = math.prod(self._parameter_shape(input_shape))
        return GroupNormSpec(batch * (math.prod(input_shape) // size), 1, size, 1, self.eps)


@dataclass(frozen=True)
class GroupNorm(_SampleNorm):
    """Group normalisation: neighbouring channels together (Wu & He, arXiv:1803.08494).

    Parameters
    ----------
    num_groups
        Groups that the channels are divided into.
    eps
        Added to the variance.
    affine
        Whether each channel has a scale and an offset, which are learned.
    """

    kind: ClassVar[str] = "group_norm"

    num_groups: int
    eps: float = 1e-5
    affine: bool = True

    def _has(self) -> tuple[bool, bool]:
        return self.affine, self.affine

    def spec(self, batch: int, input_shape: Shape) -> GroupNormSpec:
        """Spec of the layer on ``batch`` such samples."""
        pixels, channels = math.prod(input_shape[:-1]), input_shape[-1]
        try:
            return GroupNormSpec(batch, pixels, channels, self.num_groups, self.eps)
        except SpecError as fault:
            raise fault.of("group_norm", groups="num_groups", epsilon="eps") from None


@dataclass(frozen=True)
class InstanceNorm(_SampleNorm):
    """Instance normalisation: each channel by itself (Ulyanov et al., arXiv:1607.08022).

    Parameters
    ----------
    eps
        Added to the variance.
    affine
        Whether each channel has a scale and an offset, which are learned.
    """

    kind: ClassVar[str] = "instance_norm"

    eps: float = 1e-5
    affine: bool = False

    def _has(self) -> tuple[bool, bool]:
        return self.affine, self.affine

    def spec(self, batch: int, input_shape: Shape) -> GroupNormSpec:
        """Spec of the layer on ``batch`` such samples."""
        height, width, channels = image_shape(self.kind, input_shape)
        if height * width == 1:
            raise ValueError(
                f"instance_norm takes images of more than one pixel but gets {input_shape}: each "
                f"channel would become 0; use layer_norm"
            )
        try:
            return GroupNormSpec(batch, height * width, channels, channels, self.eps)
        except SpecError as fault:
            raise fault.of("instance_norm", epsilon="eps") from None
