"""The data gradient of a strided convolution, by sub-pixel phases.

Input pixels whose place has the same remainder modulo the stride are reached by the same taps, and
make one convolution of dy with stride 1. With stride 1 there is one phase.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.backends.compiled.instructions.builder import UnpackedWeights
from fastconv.backends.compiled.instructions.instruction import Pointer
from fastconv.spec import ConvSpec


@dataclass(frozen=True, slots=True)
class SubpixelPhase:
    """The input pixels ``offset, offset + stride, ...`` along one axis.

    Tap number j, counted backwards from the last tap of the phase, is tap ``last - j * spacing``
    of the kernel, and input pixel number i gets from it what output pixel ``first + i + j * step``
    gives.

    Parameters
    ----------
    offset
        The first of the input pixels.
    pixels
        How many there are.
    taps
        How many taps reach them.
    last, spacing, first, step
        As above.
    """

    offset: int
    pixels: int
    taps: int
    last: int = 0
    spacing: int = 1
    first: int = 0
    step: int = 1


def subpixel_phases(spec: ConvSpec, axis: int) -> list[SubpixelPhase]:
    """Return the phases along one axis, 0 for height and 1 for width."""
    size = (spec.height, spec.width)[axis]
    return [_phase(spec, axis, offset, size) for offset in range(min(spec.stride[axis], size))]


def _phase(spec: ConvSpec, axis: int, offset: int, size: int) -> SubpixelPhase:
    stride, dilation = spec.stride[axis], spec.dilation[axis]
    place = offset + spec.padding[axis][0]
    taps = [k for k in range(spec.kernel[axis]) if (place - k * dilation) % stride == 0]
    pixels = -(-(size - offset) // stride)
    if not taps:
        return SubpixelPhase(offset, pixels, 0)
    spacing = taps[1] - taps[0] if len(taps) > 1 else 1
    first = (place - taps[-1] * dilation) // stride
    return SubpixelPhase(
        offset, pixels, len(taps), taps[-1], spacing, first, max(1, spacing * dilation // stride)
    )


def reach(spec: ConvSpec, axis: int) -> tuple[int, int]:
    """Return how many pixels in front of dy, and behind it, the phases of an axis read."""
    size = (spec.out_height, spec.out_width)[axis]
    before = after = 0
    for phase in subpixel_phases(spec, axis):
        if phase.taps:
            last = phase.first + phase.pixels - 1 + (phase.taps - 1) * phase.step
            before, after = max(before, -phase.first), max(after, last - (size - 1))
    return before, after


def weights_of_phase(
    spec: ConvSpec, w: Pointer, itemsize: int, down: SubpixelPhase, across: SubpixelPhase
) -> UnpackedWeights:
    """Return the taps of a phase, last to first, with inputs and outputs exchanged.

    Parameters
    ----------
    spec
        Of the convolution.
    w
        Its weights in HWIO.
    itemsize
        Bytes of an element.
    down, across
        The phase along each axis.
    """
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    row, pixel = spec.kernel[1] * inputs * spec.out_channels, inputs * spec.out_channels
    return UnpackedWeights(
        w.skip((down.last * row + across.last * pixel) * itemsize), outputs, spec.out_channels,
        -down.spacing * row, -across.spacing * pixel, 1,
    )  # fmt: skip
