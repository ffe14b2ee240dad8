"""Layers that make images of another size: padding, cropping, upsampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fastconv.layers.base import Layer, Node, image_shape
from fastconv.plans.resample_operation import ResampleKind, ResampleSpec
from fastconv.spec import Shape, SpecError, as_pair

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


def _sides(owner: str, name: str, given: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ((top, bottom), (left, right)) of an int, (height, width) or the sides themselves."""
    pair = tuple(given) if isinstance(given, (tuple, list)) else (given, given)
    if len(pair) == 2:
        sides = [tuple(side) if isinstance(side, (tuple, list)) else (side, side) for side in pair]
        if all(len(side) == 2 and all(type(n) is int and n >= 0 for n in side) for side in sides):
            (top, bottom), (left, right) = sides
            return (top, bottom), (left, right)
    expected = "an integer of 0 or more, (height, width) or ((top, bottom), (left, right))"
    raise SpecError(owner, name, given, expected)


class _Resampling(Layer):
    """Images whose pixels come from those of others, by a ``ResampleSpec``."""

    def spec(self, batch: int, input_shape: Shape) -> ResampleSpec:
        """Spec of the layer on ``batch`` such samples."""
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.spec(1, input_shape).y_shape[1:]

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self.spec(builder.batch, node.input_shape)
        builder.call("resample.resample_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self.spec(builder.batch, node.input_shape)
            builder.call("resample.resample_backward", spec, dy, dx)

    def _moved(
        self, kind: ResampleKind, batch: int, shape: Shape, name: str, given: Any, sign: int
    ) -> ResampleSpec:
        """Return the spec of images with so many pixels more or less at each side."""
        height, width, channels = image_shape(self.kind, shape)
        (top, bottom), (left, right) = _sides(self.kind, name, given)
        out = height + sign * (top + bottom), width + sign * (left + right)
        if min(out) < 1:
            raise SpecError(self.kind, name, given, f"less than the {height} x {width} pixels")
        try:
            return ResampleSpec(kind, batch, height, width, channels, *out, sign * top, sign * left)
        except SpecError as fault:
            raise SpecError(self.kind, name, given, fault.expected) from None


@dataclass(frozen=True)
class ZeroPad2D(_Resampling):
    """Zeros around images.

    Parameters
    ----------
    padding
        Pixels at every side, (height, width) or ((top, bottom), (left, right)).
    """

    kind: ClassVar[str] = "zero_pad2d"

    padding: Any = 1

    def spec(self, batch: int, input_shape: Shape) -> ResampleSpec:
        """Spec of the layer on ``batch`` such samples."""
        return self._moved("zeros", batch, input_shape, "padding", self.padding, 1)


@dataclass(frozen=True)
class ReflectPad2D(_Resampling):
    """Images mirrored at their borders, whose own pixels are not repeated.

    Parameters
    ----------
    padding
        As for :class:`ZeroPad2D`; less than there are pixels.
    """

    kind: ClassVar[str] = "reflect_pad2d"

    padding: Any = 1

    def spec(self, batch: int, input_shape: Shape) -> ResampleSpec:
        """Spec of the layer on ``batch`` such samples."""
        return self._moved("reflect", batch, input_shape, "padding", self.padding, 1)


@dataclass(frozen=True)
class Crop2D(_Resampling):
    """Images without some pixels at their sides.

    Parameters
    ----------
    cropping
        Pixels at every side, (height, width) or ((top, bottom), (left, right)).
    """

    kind: ClassVar[str] = "crop2d"

    cropping: Any = 1

    def spec(self, batch: int, input_shape: Shape) -> ResampleSpec:
        """Spec of the layer on ``batch`` such samples."""
        return self._moved("zeros", batch, input_shape, "cropping", self.cropping, -1)


@dataclass(frozen=True)
class Upsample2D(_Resampling):
    """Larger images, by PyTorch's rules.

    Parameters
    ----------
    scale_factor
        An integer, or (height, width).
    mode
        "nearest": every pixel as often; "bilinear": mixed with its neighbours.
    align_corners
        Of bilinear: whether the pixels at the corners keep their values.
    """

    kind: ClassVar[str] = "upsample2d"

    scale_factor: Any = 2
    mode: Literal["nearest", "bilinear"] = "nearest"
    align_corners: bool = False

    def spec(self, batch: int, input_shape: Shape) -> ResampleSpec:
        """Spec of the layer on ``batch`` such samples."""
        height, width, channels = image_shape(self.kind, input_shape)
        if self.mode not in ("nearest", "bilinear"):
            raise SpecError(self.kind, "mode", self.mode, "nearest or bilinear")
        if self.align_corners and self.mode == "nearest":
            raise SpecError(self.kind, "align_corners", True, "False with mode nearest")
        down, across = as_pair(self.kind, "scale_factor", self.scale_factor)
        return ResampleSpec(
            self.mode, batch, height, width, channels, height * down, width * across,
            align_corners=self.align_corners,
        )  # fmt: skip
