"""Records of convolutions of NCHW images that are turned around to NHWC, chunk by chunk."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastconv.backends.compiled import chunks, conv, interleaved
from fastconv.backends.compiled.instructions.record import Pointer
from fastconv.backends.compiled.instructions.recorder import Recorder
from fastconv.spec import ConvSpec


def _parts(recorder: Recorder, spec: ConvSpec) -> list[tuple[int, ConvSpec]]:
    together = interleaved.samples_together(spec, recorder.target, recorder.dtype)
    return chunks.parts_of_batch(spec, recorder.itemsize, together)


def _is_the_same(shape: tuple[int, ...]) -> bool:
    """Whether images are the same memory in NCHW and NHWC: of one channel, or of one pixel."""
    return shape[3] == 1 or shape[1] * shape[2] == 1


def _chunk(recorder: Recorder, images: Pointer, shape: tuple[int, ...], first: int) -> Pointer:
    """Where the images begin whose first is number ``first``; the shape is that of NHWC."""
    return images.skip(first * math.prod(shape[1:]) * recorder.itemsize)


def _to_nhwc(recorder: Recorder, images: Pointer, shape: tuple[int, ...]) -> Pointer:
    if _is_the_same(shape):
        return images
    n, h, w, c = shape
    turned = recorder.take(math.prod(shape))
    recorder.transpose(images, turned, n, c, h * w)
    return turned


def _from_nhwc(
    recorder: Recorder, turned: Pointer, images: Pointer, shape: tuple[int, ...]
) -> None:
    if turned != images:
        n, h, w, c = shape
        recorder.transpose(turned, images, n, h * w, c)


def _room(recorder: Recorder, images: Pointer, shape: tuple[int, ...]) -> Pointer:
    """Where a kernel writes images in NHWC."""
    return images if _is_the_same(shape) else recorder.take(math.prod(shape))


def _matrix(spec: ConvSpec) -> tuple[int, int]:
    """Length of a filter, and the period that turns (input, tap) into (tap, input)."""
    taps, inputs = math.prod(spec.kernel), spec.in_channels // spec.groups
    return inputs * taps, taps if inputs > 1 else 1


def _hwio(recorder: Recorder, spec: ConvSpec, w: Pointer) -> Pointer:
    """Weights OIHW as HWIO."""
    turned, (length, period) = recorder.take_for_good(math.prod(spec.w_shape)), _matrix(spec)
    recorder.transpose(w, turned, 1, spec.out_channels, length, y_period=period)
    return turned


def _oihw(recorder: Recorder, spec: ConvSpec, turned: Pointer, w: Pointer) -> None:
    """Weights HWIO as OIHW."""
    length, period = _matrix(spec)
    recorder.transpose(turned, w, 1, length, spec.out_channels, x_period=period)


def forward(
    recorder: Recorder, spec: ConvSpec, x: Pointer, w: Pointer, b: Pointer | None, y: Pointer
) -> None:
    """Add the records of ``y``."""
    w = _hwio(recorder, spec, w)
    for first, part in _parts(recorder, spec):
        recorder.take_again()
        images = _to_nhwc(recorder, _chunk(recorder, x, spec.x_shape, first), part.x_shape)
        _forward(recorder, part, images, w, b, _chunk(recorder, y, spec.y_shape, first))


def _forward(
    recorder: Recorder, part: ConvSpec, x: Pointer, w: Pointer, b: Pointer | None, y: Pointer
) -> None:
    """Of a chunk in NHWC; ``y`` is NCHW."""
    turned = _room(recorder, y, part.y_shape)
    conv.forward(recorder, part, x, w, b, turned)
    _from_nhwc(recorder, turned, y, part.y_shape)


def data_gradient(
    recorder: Recorder, spec: ConvSpec, dy: Pointer, w: Pointer, b: Pointer | None, dx: Pointer
) -> None:
    """Add the records of ``dx``, plus ``b`` for a transposed convolution."""
    w = _hwio(recorder, spec, w)
    for first, part in _parts(recorder, spec):
        recorder.take_again()
        images = _to_nhwc(recorder, _chunk(recorder, dy, spec.y_shape, first), part.y_shape)
        _data_gradient(recorder, part, images, w, b, _chunk(recorder, dx, spec.x_shape, first))


def _data_gradient(
    recorder: Recorder, part: ConvSpec, dy: Pointer, w: Pointer, b: Pointer | None, dx: Pointer
) -> None:
    """Of a chunk in NHWC; ``dx`` is NCHW."""
    turned = _room(recorder, dx, part.x_shape)
    conv.data_gradient(recorder, part, dy, w, b, turned)
    _from_nhwc(recorder, turned, dx, part.x_shape)


class Gradients(NamedTuple):
    """Where gradients go; None where they are not needed.

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
    recorder: Recorder, spec: ConvSpec, x: Pointer, dy: Pointer, w: Pointer, to: Gradients, *,
    sums_x: bool,
) -> None:  # fmt: skip
    """Add the records of gradients; sums over chunks are made in the order of the samples.

    Parameters
    ----------
    x, dy, w
        Images on both sides of the convolution of ``spec``, and its weights OIHW.
    to
        What is needed.
    sums_x
        Whether the gradient of the bias sums x, as that of a transposed convolution does, or dy.
    """
    hwio = w if to.x is None and to.y is None else _hwio(recorder, spec, w)
    sums = _Sums(recorder, spec, to, sums_x)
    for first, part in _parts(recorder, spec):
        recorder.take_again()
        images = _chunk(recorder, x, spec.x_shape, first)
        gradients = _chunk(recorder, dy, spec.y_shape, first)
        if to.w is not None or to.y is not None:
            images = _to_nhwc(recorder, images, part.x_shape)
        if to.w is not None or to.x is not None:
            gradients = _to_nhwc(recorder, gradients, part.y_shape)
        if to.w is not None:
            sums.add(part, images, gradients, is_first=first == 0)
        if to.x is not None:
            chunk = _chunk(recorder, to.x, spec.x_shape, first)
            _data_gradient(recorder, part, gradients, hwio, None, chunk)
        if to.y is not None:
            chunk = _chunk(recorder, to.y, spec.y_shape, first)
            _forward(recorder, part, images, hwio, None, chunk)
    if to.w is not None:
        _oihw(recorder, spec, sums.w, to.w)


class _Sums:
    """The gradients of weights, in HWIO, and bias, summed over chunks."""

    def __init__(self, recorder: Recorder, spec: ConvSpec, to: Gradients, sums_x: bool) -> None:
        self._recorder, self._sums_x = recorder, sums_x
        self._size = math.prod(spec.w_shape)
        self._biases = spec.in_channels if sums_x else spec.out_channels
        self.w, self._b = recorder.take_for_good(self._size), to.b
        self._more: tuple[Pointer, Pointer | None] | None = None

    def add(
        self, part: ConvSpec, images: Pointer, gradients: Pointer, *, is_first: bool
    ) -> None:  # fmt: skip
        """Add the gradients of a chunk in NHWC."""
        recorder, w, b = self._recorder, self.w, self._b
        if not is_first:
            if self._more is None:
                more_b = None if b is None else recorder.take_for_good(self._biases)
                self._more = recorder.take_for_good(self._size), more_b
            w, b = self._more
        conv.weight_gradient(recorder, part, images, gradients, w, None if self._sums_x else b)
        if b is not None and self._sums_x:
            recorder.sum_pixels(images, b, part.batch * part.height * part.width, part.in_channels)
        if is_first:
            return
        recorder.add_to(self.w, w, self._size)
        if self._b is not None and b is not None:
            recorder.add_to(self._b, b, self._biases)
