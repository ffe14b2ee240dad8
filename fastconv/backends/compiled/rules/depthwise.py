"""Records of depthwise convolutions: vectors over channels, taps outside the image passed by.

Where there are several outputs for each input channel, the input is repeated first, and its
gradient added up at the end.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.record import Pointer
from fastconv.backends.compiled.instructions.recorder import Recorder
from fastconv.backends.compiled.rules.phases import phases_of
from fastconv.backends.compiled.rules.split import parts_of, parts_of_product
from fastconv.spec import ConvSpec

_COST = 4
"""A depthwise operation takes as long as this many of a product: it loads two values for each."""


def is_depthwise(spec: ConvSpec) -> bool:
    """Whether every group has one input channel, and there are several groups."""
    return spec.groups == spec.in_channels and spec.groups > 1


def _times(spec: ConvSpec) -> int:
    return spec.out_channels // spec.in_channels


def _pixels(spec: ConvSpec) -> int:
    return spec.batch * spec.height * spec.width


def _sizes(spec: ConvSpec) -> tuple[int, ...]:
    """The first 14 integers of ``depthwise_tiles`` and ``depthwise_weight_tiles``."""
    return (
        spec.batch, spec.out_channels, spec.height, spec.width,
        spec.out_height, spec.out_width, *spec.kernel, *spec.stride, *spec.dilation,
        spec.padding[0][0], spec.padding[1][0],
    )  # fmt: skip


def _repeated(recorder: Recorder, spec: ConvSpec, x: Pointer) -> Pointer:
    """Return x with every channel repeated for each of its outputs."""
    if _times(spec) == 1:
        return x
    size = _pixels(spec) * spec.out_channels
    place = recorder.take(size)
    recorder.add(
        "spread_channels", (x, place, None),
        _pixels(spec), spec.in_channels, _times(spec), 0, parts=parts_of(size),
    )  # fmt: skip
    return place


def forward(
    recorder: Recorder, spec: ConvSpec, x: Pointer, w: Pointer, b: Pointer | None, y: Pointer
) -> None:
    """Add the records of ``y = x * w + b``."""
    channels = spec.out_channels
    recorder.add(
        "depthwise_tiles", (_repeated(recorder, spec, x), w, b, y),
        *_sizes(spec), spec.kernel[1] * channels, channels,
        0, 0, 1, 1, spec.out_height, spec.out_width,
        parts=parts_of_product(spec.flops * _COST, spec.batch * spec.out_height),
    )  # fmt: skip


def data_gradient(
    recorder: Recorder, spec: ConvSpec, dy: Pointer, w: Pointer, b: Pointer | None, dx: Pointer
) -> None:
    """Add the records of ``dx``, plus ``b`` for a transposed convolution; phase by phase."""
    channels, (sh, sw) = spec.out_channels, spec.stride
    several = _times(spec) > 1
    to = recorder.take(_pixels(spec) * channels) if several else dx
    for down in phases_of(spec, 0):
        for across in phases_of(spec, 1):
            none = not (down.taps and across.taps)
            offset = (down.last * spec.kernel[1] + across.last) * channels * recorder.itemsize
            recorder.add(
                "depthwise_tiles",
                (dy, w.skip(offset), None if several else b, to),
                spec.batch, channels, spec.out_height, spec.out_width, down.pixels, across.pixels,
                0 if none else down.taps, 0 if none else across.taps, 1, 1, down.step, across.step,
                -down.first, -across.first,
                -down.spacing * spec.kernel[1] * channels, -across.spacing * channels,
                down.offset, across.offset, sh, sw, spec.height, spec.width,
                parts=parts_of_product(spec.flops * _COST // (sh * sw), spec.batch * down.pixels),
                barrier=False,
            )  # fmt: skip
    recorder.set_barrier(True)
    if several:
        recorder.add(
            "spread_channels", (to, dx, b),
            _pixels(spec), spec.in_channels, _times(spec), 1,
            parts=parts_of(_pixels(spec) * channels),
        )  # fmt: skip


def weight_gradient(
    recorder: Recorder, spec: ConvSpec, x: Pointer, dy: Pointer, dw: Pointer, db: Pointer | None
) -> None:
    """Add the records of ``dw`` and, unless None, ``db``."""
    pieces = -(-spec.out_channels // recorder.lanes)
    recorder.add(
        "depthwise_weight_tiles", (_repeated(recorder, spec, x), dy, dw, db), *_sizes(spec),
        parts=parts_of_product(spec.flops * _COST, pieces),
    )  # fmt: skip
