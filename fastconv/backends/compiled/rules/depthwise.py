"""Instructions of depthwise convolutions: vectors over channels, taps outside the image passed by.

Where there are several outputs for each input channel, the input is repeated first, and its
gradient added up at the end.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.builder import Builder
from fastconv.backends.compiled.instructions.instruction import Pointer
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.subpixel_phases import subpixel_phases
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


def _sizes(spec: ConvSpec) -> dict[str, Any]:
    """The fields that ``depthwise_tiles`` and ``depthwise_weight_tiles`` have in common."""
    return {
        "samples": spec.batch, "channels": spec.out_channels,
        "height": spec.height, "width": spec.width,
        "rows": spec.out_height, "columns": spec.out_width,
        "taps_down": spec.kernel[0], "taps_across": spec.kernel[1],
        "stride_down": spec.stride[0], "stride_across": spec.stride[1],
        "dilation_down": spec.dilation_height, "dilation_across": spec.dilation_width,
        "top": spec.padding[0][0], "left": spec.padding[1][0],
    }  # fmt: skip


def _repeated(builder: Builder, spec: ConvSpec, x: Pointer) -> Pointer:
    """Return x with every channel repeated for each of its outputs."""
    if _times(spec) == 1:
        return x
    size = _pixels(spec) * spec.out_channels
    place = builder.scratch(size)
    builder.add(
        Kernel.SPREAD_CHANNELS, x=x, y=place, pixels=_pixels(spec), channels=spec.in_channels,
        times=_times(spec), adds=0, max_threads=threads_for_elements(size),
    )  # fmt: skip
    return place


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y = x * w + b``."""
    channels = spec.out_channels
    builder.add(
        Kernel.DEPTHWISE_TILES, x=_repeated(builder, spec, x), w=w, b=b, y=y, **_sizes(spec),
        w_down=spec.kernel[1] * channels, w_across=channels, first_row=0, first_column=0,
        row_step=1, column_step=1, y_height=spec.out_height, y_width=spec.out_width,
        max_threads=threads_for_product(spec.flops * _COST, spec.batch * spec.out_height),
    )  # fmt: skip


def data_gradient(
    builder: Builder,
    spec: ConvSpec,
    dy: Pointer,
    w: Pointer,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the instructions of ``dx``, by sub-pixel phases; plus ``b`` where it is transposed."""
    channels, (sh, sw) = spec.out_channels, spec.stride
    several = _times(spec) > 1
    to = builder.scratch(_pixels(spec) * channels) if several else dx
    for down in subpixel_phases(spec, 0):
        for across in subpixel_phases(spec, 1):
            none = not (down.taps and across.taps)
            offset = (down.last * spec.kernel[1] + across.last) * channels * builder.itemsize
            builder.add(
                Kernel.DEPTHWISE_TILES,
                x=dy, w=w.skip(offset), b=None if several else b, y=to,
                samples=spec.batch, channels=channels,
                height=spec.out_height, width=spec.out_width,
                rows=down.pixels, columns=across.pixels,
                taps_down=0 if none else down.taps, taps_across=0 if none else across.taps,
                stride_down=1, stride_across=1, dilation_down=down.step,
                dilation_across=across.step, top=-down.first, left=-across.first,
                w_down=-down.spacing * spec.kernel[1] * channels,
                w_across=-across.spacing * channels,
                first_row=down.offset, first_column=across.offset, row_step=sh, column_step=sw,
                y_height=spec.height, y_width=spec.width,
                max_threads=threads_for_product(
                    spec.flops * _COST // (sh * sw), spec.batch * down.pixels
                ),
                barrier=False,
            )  # fmt: skip
    builder.set_barrier(True)
    if several:
        builder.add(
            Kernel.SPREAD_CHANNELS, x=to, y=dx, b=b, pixels=_pixels(spec),
            channels=spec.in_channels, times=_times(spec), adds=1,
            max_threads=threads_for_elements(_pixels(spec) * channels),
        )  # fmt: skip


def weight_gradient(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    dy: Pointer,
    dw: Pointer,
    db: Pointer | None,
) -> None:
    """Add the instructions of ``dw`` and, unless None, ``db``."""
    pieces = -(-spec.out_channels // builder.lanes)
    builder.add(
        Kernel.DEPTHWISE_WEIGHT_TILES, x=_repeated(builder, spec, x), dy=dy, dw=dw, db=db,
        **_sizes(spec),
        max_threads=threads_for_product(spec.flops * _COST, pieces),
    )  # fmt: skip
