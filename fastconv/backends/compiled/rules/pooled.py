"""Instructions of the backward passes of a convolution behind a 2x2 max pool.

Three of four entries of the gradient behind such a pool are exactly zero; see
``kernels/cpu/pooled.h``. The rule: stride 1, no dilation, one group, no padding, taps 3x3, whole
vectors of input channels, and registers for the 3x4 pixels that a pooled pixel reaches from one row
of its window.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Taps,
    UnpackedWeights,
)
from fastconv.backends.compiled.instructions.choices import LEAKY_GRADIENT, STORE, UPDATE
from fastconv.backends.compiled.instructions.instruction import Instruction, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.tiles import even_part
from fastconv.spec import ConvSpec, PoolSpec

_MOST_SUMS = {32: 24, 16: 12}
"""Sums of a weight tile by registers, as many as the engines have tiles for."""
_MOST_VECTORS = 12
_FEW_SAMPLES = 8
"""Samples below which an image is cut into two strips for the data gradient: each does again a
pooled row of its neighbour."""
_BAND_BYTES = 40 * 1024
"""Bytes of x and of the lists that a weight gradient takes through all channels together: about
what L1 holds."""
_LEAST_OF_A_BAND = 24
"""Pooled pixels below which the sums that go to memory and back cost more than is gained."""
_NO_PADDING = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class PooledBackward:
    """The arrays of a convolution's backward pass behind a pool; all are buffers of a plan.

    Parameters
    ----------
    pool, conv
        The specs.
    dy, argmax, y
        Gradient of the pool's output, the flat indices of its maxima, and its output: None if there
        is no activation between convolution and pool; else ``slope`` is that activation's.
    x, w, dx
        Of the convolution; dx None where it is not needed.
    dw, db
        The gradients, or with ``rate`` the weights and the bias that are updated; db may be None.
    decays
        Factors of rate * w and rate * b that an update subtracts beside.
    other, other_slope
        The activation below, whose gradient ends dx, or None.
    """

    pool: PoolSpec
    conv: ConvSpec
    dy: Pointer
    argmax: Pointer
    y: Pointer | None
    slope: float
    x: Pointer
    w: Pointer
    dx: Pointer | None
    dw: Pointer | None
    db: Pointer | None
    rate: Pointer | None = None
    decays: tuple[float, float] = (0.0, 0.0)
    other: Pointer | None = None
    other_slope: float = 0.0


def is_supported(pool: PoolSpec, conv: ConvSpec, target: Target, dtype: str) -> bool:
    """Whether the kernels can do this pair."""
    return (
        pool.kernel == pool.stride == (2, 2)
        and pool.padding == _NO_PADDING
        and 2 * pool.out_height <= pool.height
        and 2 * pool.out_width <= pool.width
        and conv.kernel == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding == _NO_PADDING
        and conv.groups == 1
        and conv.in_channels % target.lanes(dtype) == 0
        and conv.batch > 0
        and target.lanes(dtype) > 1
        and target.registers >= 16
    )


def instructions_of(
    call: PooledBackward, target: Target, dtype: str
) -> tuple[tuple[Instruction, ...], int]:
    """Return the instructions and the bytes of workspace that they share."""
    builder = Builder(dtype, target)
    pool, conv = call.pool, call.conv
    samples, pixels = conv.batch, pool.out_height * pool.out_width
    channels, inputs, (kh, kw) = conv.out_channels, conv.in_channels, conv.kernel
    row, size = conv.width * inputs, samples * pixels * channels
    plain, offsets = builder.scratch(size), _integers(builder, size)
    gradient = order = count = None
    packed = None
    if call.dx is not None:
        gradient, order = builder.scratch(size), _integers(builder, size)
        count = _integers(builder, samples * pixels * 4)
    builder.add(
        Kernel.POOLED_LISTS,
        dy=call.dy, argmax=call.argmax, y=call.y, gradient=plain, offset=offsets,
        sorted_gradient=gradient, channel=order, count=count,
        samples=samples, rows=pool.out_height, columns=pool.out_width, channels=channels,
        plane_width=pool.width, x_row=row, x_pixel=inputs, slope=call.slope,
        max_threads=min(samples * pool.out_height, threads_for_elements(size, 4)),
        barrier=call.dx is None,
    )  # fmt: skip
    if call.dx is not None:
        # [vector of inputs][output][tap][lane]: what is read for one output is one run.
        source = UnpackedWeights(call.w, 0, channels, 0, 1, inputs * channels)
        packed = builder.pack(source, Taps(1, channels, kh * kw), inputs, 1, 1).pointer
    sums, bias = builder.scratch(channels * kh * kw * inputs), builder.scratch(channels)
    vectors = kw * inputs // builder.lanes
    most = _MOST_SUMS[32 if target.registers >= 32 else 16]
    rows = max(1, min(kh, 3, most // min(vectors, _MOST_VECTORS)))
    flops = conv.flops // 4
    has_bias = call.db is not None
    builder.add(
        Kernel.POOLED_WEIGHT_TILES,
        x=call.x, gradient=plain, offset=offsets, dw=sums, db=bias if has_bias else None,
        samples=samples, pixels=pixels, channels=channels, x_sample=conv.height * row, x_row=row,
        taps_down=kh, vectors=vectors, tile_rows=rows,
        band=_rows_of_band(call, builder.itemsize) * pool.out_width,
        max_threads=threads_for_product(flops, channels), barrier=call.dx is None,
    )  # fmt: skip
    if call.dx is not None:
        strip = -(-conv.height // 2) if samples < _FEW_SAMPLES else conv.height
        builder.add(
            Kernel.POOLED_DATA_TILES,
            gradient=gradient, channel=order, count=count, w=packed, dx=call.dx, other=call.other,
            samples=samples, rows=pool.out_height, columns=pool.out_width, channels=channels,
            height=conv.height, width=conv.width, inputs=inputs, strip=strip,
            epilogue=STORE if call.other is None else LEAKY_GRADIENT, slope=call.other_slope,
            max_threads=threads_for_product(flops, samples * -(-conv.height // strip)),
        )  # fmt: skip
    builder.add(
        Kernel.TRANSPOSE_WEIGHTS,
        sums=sums, bias_sums=bias if has_bias else None, dw=call.dw, db=call.db, rate=call.rate,
        depth=kh * kw * inputs, outputs=channels,
        epilogue=STORE if call.rate is None else UPDATE,
        decay=call.decays[0], bias_decay=call.decays[1],
        max_threads=threads_for_elements(kh * kw * inputs * channels, 2),
    )  # fmt: skip
    lowered = builder.lowered()
    return lowered.instructions, lowered.workspace_bytes


def _rows_of_band(call: PooledBackward, itemsize: int) -> int:
    """Pooled rows that a weight gradient takes together; of x they read two rows each, and two."""
    pool, conv = call.pool, call.conv
    line = conv.width * conv.in_channels * itemsize
    lists = pool.out_width * conv.out_channels * (itemsize + 4)
    least = -(-_LEAST_OF_A_BAND // pool.out_width)
    fitting = max(least, (_BAND_BYTES - 2 * line) // (2 * line + lists))
    return even_part(pool.out_height, fitting)


def _integers(builder: Builder, count: int) -> Pointer:
    """Room for int32 numbers."""
    return builder.scratch(-(-count * 4 // builder.itemsize))
