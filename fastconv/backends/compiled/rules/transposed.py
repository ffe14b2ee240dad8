"""Instructions of convolutions of NCHW images that are transposed to NHWC, chunk by chunk."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastconv.backends.compiled.instructions.builder import Builder
from fastconv.backends.compiled.instructions.instruction import Pointer
from fastconv.backends.compiled.rules import batch_blocked, chunks, conv, winograd
from fastconv.spec import ConvSpec


def _chunks(builder: Builder, spec: ConvSpec, *channels: int) -> list[tuple[int, ConvSpec]]:
    """Cut the batch for passes whose vectors run over these channels."""
    together = batch_blocked.samples_together(
        spec, *channels, target=builder.target, dtype=builder.dtype
    )
    return chunks.chunks_of_batch(spec, builder.itemsize, together)


def _is_the_same(shape: tuple[int, ...]) -> bool:
    """Whether images are the same memory in NCHW and NHWC: of one channel, or of one pixel."""
    return shape[3] == 1 or shape[1] * shape[2] == 1


def _chunk(builder: Builder, images: Pointer, shape: tuple[int, ...], first: int) -> Pointer:
    """Place of the images whose first is number ``first``; the shape is that of NHWC."""
    return images.skip(first * math.prod(shape[1:]) * builder.itemsize)


def _to_nhwc(builder: Builder, images: Pointer, shape: tuple[int, ...]) -> Pointer:
    if _is_the_same(shape):
        return images
    n, h, w, c = shape
    transposed = builder.scratch(math.prod(shape))
    builder.transpose(images, transposed, n, c, h * w)
    return transposed


def _from_nhwc(
    builder: Builder, transposed: Pointer, images: Pointer, shape: tuple[int, ...]
) -> None:
    if transposed != images:
        n, h, w, c = shape
        builder.transpose(transposed, images, n, h * w, c)


def _room(builder: Builder, images: Pointer, shape: tuple[int, ...]) -> Pointer:
    """Place where a kernel writes images in NHWC."""
    return images if _is_the_same(shape) else builder.scratch(math.prod(shape))


def _matrix(spec: ConvSpec) -> tuple[int, int]:
    """Length of a filter, and the period that turns (input, tap) into (tap, input)."""
    taps, inputs = math.prod(spec.kernel), spec.in_channels // spec.groups
    return inputs * taps, taps if inputs > 1 else 1


def _oihw(builder: Builder, spec: ConvSpec, transposed: Pointer, w: Pointer) -> None:
    """Weights HWIO as OIHW."""
    length, period = _matrix(spec)
    builder.transpose(transposed, w, 1, length, spec.out_channels, x_period=period)


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y``."""
    weights = _weights(builder, spec, w)
    for first, part in _chunks(builder, spec, spec.out_channels):
        builder.reset_scratch()
        images = _to_nhwc(builder, _chunk(builder, x, spec.x_shape, first), part.x_shape)
        _forward(builder, part, images, weights, b, _chunk(builder, y, spec.y_shape, first))


class _Weights(NamedTuple):
    """Weights in OIHW, and what they are transformed to where that is profitable."""

    oihw: conv.WeightsOIHW
    transformed: winograd.TransformedWeights | None


def _weights(builder: Builder, spec: ConvSpec, w: Pointer, *, backwards: bool = False) -> _Weights:
    oihw, transformed = conv.WeightsOIHW(builder, spec, w), None
    if winograd.is_profitable_once(spec, builder.target, builder.dtype, backwards=backwards):
        transformed = winograd.transform(
            builder, spec, oihw.hwio(), backwards=backwards, in_parts=True
        )
    return _Weights(oihw, transformed)


def _forward(
    builder: Builder,
    part: ConvSpec,
    x: Pointer,
    w: _Weights,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the forward pass of a chunk in NHWC; ``y`` is NCHW."""
    result = _room(builder, y, part.y_shape)
    if w.transformed is None:
        conv.forward(builder, part, x, w.oihw, b, result)
    else:
        winograd.checked_forward(builder, part, x, w.oihw.hwio(), w.transformed, b, result)
    _from_nhwc(builder, result, y, part.y_shape)


def data_gradient(
    builder: Builder,
    spec: ConvSpec,
    dy: Pointer,
    w: Pointer,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the instructions of ``dx``, plus ``b`` for a transposed convolution."""
    weights = _weights(builder, spec, w, backwards=True)
    for first, part in _chunks(builder, spec, spec.in_channels):
        builder.reset_scratch()
        images = _to_nhwc(builder, _chunk(builder, dy, spec.y_shape, first), part.y_shape)
        chunk = _chunk(builder, dx, spec.x_shape, first)
        _data_gradient(builder, part, images, weights, b, chunk)


def _data_gradient(
    builder: Builder,
    part: ConvSpec,
    dy: Pointer,
    w: _Weights,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the data gradient of a chunk in NHWC; ``dx`` is NCHW."""
    result = _room(builder, dx, part.x_shape)
    if w.transformed is None:
        conv.data_gradient(builder, part, dy, w.oihw.hwio(), b, result)
    else:
        winograd.checked_data_gradient(builder, part, dy, w.oihw.hwio(), w.transformed, b, result)
    _from_nhwc(builder, result, dx, part.x_shape)


class Gradients(NamedTuple):
    """Places that gradients go to; None where they are not needed.

    Parameters
    ----------
    x
        The gradient of the images that go into the convolution of a spec.
    y
        What the convolution makes of its images: the gradient of a transposed convolution.
    w, b
        The gradients of the weights and the bias.
    """

    x: Pointer | None
    y: Pointer | None
    w: Pointer | None
    b: Pointer | None


def backward(
    builder: Builder, spec: ConvSpec, x: Pointer, dy: Pointer, w: Pointer, to: Gradients, *,
    sums_x: bool,
) -> None:  # fmt: skip
    """Add the instructions of gradients; sums over chunks are made in the order of the samples.

    Parameters
    ----------
    x, dy, w
        Images on both sides of the convolution of ``spec``, and its weights OIHW.
    to
        What is needed.
    sums_x
        Whether the gradient of the bias sums x, as that of a transposed convolution does, or dy.
    """
    weights = None
    if to.x is not None or to.y is not None:
        weights = _weights(builder, spec, w, backwards=to.x is not None)
    sums = _Sums(builder, spec, to, sums_x)
    channels = (spec.out_channels,) if to.x is None else (spec.out_channels, spec.in_channels)
    for first, part in _chunks(builder, spec, *channels):
        builder.reset_scratch()
        images = _chunk(builder, x, spec.x_shape, first)
        gradients = _chunk(builder, dy, spec.y_shape, first)
        if to.w is not None or to.y is not None:
            images = _to_nhwc(builder, images, part.x_shape)
        if to.w is not None or to.x is not None:
            gradients = _to_nhwc(builder, gradients, part.y_shape)
        if to.w is not None:
            sums.add(part, images, gradients, is_first=first == 0)
        if to.x is not None and weights is not None:
            chunk = _chunk(builder, to.x, spec.x_shape, first)
            _data_gradient(builder, part, gradients, weights, None, chunk)
        if to.y is not None and weights is not None:
            chunk = _chunk(builder, to.y, spec.y_shape, first)
            _forward(builder, part, images, weights, None, chunk)
    if to.w is not None:
        _oihw(builder, spec, sums.w, to.w)


class _Sums:
    """The gradients of weights, in HWIO, and bias, summed over chunks."""

    def __init__(self, builder: Builder, spec: ConvSpec, to: Gradients, sums_x: bool) -> None:
        self._builder, self._sums_x = builder, sums_x
        self._size = math.prod(spec.w_shape)
        self._biases = spec.in_channels if sums_x else spec.out_channels
        self.w, self._b = builder.allocate(self._size), to.b
        self._more: tuple[Pointer, Pointer | None] | None = None

    def add(
        self, part: ConvSpec, images: Pointer, gradients: Pointer, *, is_first: bool
    ) -> None:  # fmt: skip
        """Add the gradients of a chunk in NHWC."""
        builder, w, b = self._builder, self.w, self._b
        if not is_first:
            if self._more is None:
                more_b = None if b is None else builder.allocate(self._biases)
                self._more = builder.allocate(self._size), more_b
            w, b = self._more
        conv.weight_gradient(builder, part, images, gradients, w, None if self._sums_x else b)
        if b is not None and self._sums_x:
            builder.sum_pixels(images, b, part.batch * part.height * part.width, part.in_channels)
        if is_first:
            return
        builder.add_to(self.w, w, self._size)
        if self._b is not None and b is not None:
            builder.add_to(self._b, b, self._biases)
