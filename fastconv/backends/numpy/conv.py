"""Convolution by im2col and matrix products, in chunks within a byte budget.

An im2col matrix has one row for each output pixel: the patch of the input under the kernel. Then
forward is ``y = columns @ w``, and the weight gradient ``dw = columns.T @ dy``. The data gradient
goes tap by tap: the product ``dy @ w[i, j].T`` is added to the input pixels that tap (i, j) read.
That costs no memory for columns, and two outputs never add to one pixel at a time.

Chellapilla, Puri & Simard, "High Performance Convolutional Neural Networks for Document
Processing" (2006).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.numpy.sums import sum_rows
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.spec import ConvSpec, tap_range

COLUMNS_BUDGET = 4 * 2**20
"""Bytes for the im2col matrix of one chunk.

Measured on a core with 1 MiB of L2 and shared L3: 2 to 8 MiB
are equally fast, the whole batch at once is 1.5 to 4 times slower."""
TAP_BUDGET = 2**19
"""Bytes for the product of one tap of one chunk, which is read back at once: it should stay in
L2."""
_PIXELS_OF_A_SUM = 4096
"""Pixels whose products BLAS may sum in float32 where it multiplies a matrix with a vector, or the
small matrices of groups, of which some processors' versions keep few digits in longer sums; its
products of two matrices sum in blocks of their own."""


class _Chunk(NamedTuple):
    """Output rows [row, row_end) of images [image, image_end)."""

    image: int
    image_end: int
    row: int
    row_end: int


def _chunks(spec: ConvSpec, row_bytes: int, budget: int) -> Iterator[_Chunk]:
    """Cut the output into whole images, or into rows of one image where one is too large."""
    rows = spec.out_height
    images, rows_at_once = _chunk_size(spec, row_bytes, budget)
    for image in range(0, spec.batch, images):
        image_end = min(spec.batch, image + images)
        for row in range(0, rows, rows_at_once):
            yield _Chunk(image, image_end, row, min(rows, row + rows_at_once))


def _chunk_size(spec: ConvSpec, row_bytes: int, budget: int) -> tuple[int, int]:
    """Images and rows of the largest chunk."""
    rows = spec.out_height
    if row_bytes * rows <= budget:
        return max(1, min(spec.batch, budget // max(1, row_bytes * rows))), rows
    return 1, max(1, budget // row_bytes)


def _needs_no_columns(spec: ConvSpec) -> bool:
    """Whether the input itself is the im2col matrix: 1x1, stride 1, no padding."""
    return spec.kernel == (1, 1) and spec.stride == (1, 1) and spec.padding == ((0, 0), (0, 0))


def _is_padded(spec: ConvSpec) -> bool:
    return spec.padding != ((0, 0), (0, 0))


def _depth(spec: ConvSpec) -> int:
    """Length of an im2col row within one group."""
    return spec.kernel[0] * spec.kernel[1] * (spec.in_channels // spec.groups)


def _columns_row_bytes(spec: ConvSpec, itemsize: int) -> int:
    return spec.out_width * spec.groups * _depth(spec) * itemsize


def _block_rows(spec: ConvSpec, rows: int) -> int:
    """Padded input rows that ``rows`` output rows read."""
    return (rows - 1) * spec.stride[0] + (spec.kernel[0] - 1) * spec.dilation_height + 1


def _block_columns(spec: ConvSpec) -> int:
    return (spec.out_width - 1) * spec.stride[1] + (spec.kernel[1] - 1) * spec.dilation_width + 1


def _columns_shape(spec: ConvSpec, images: int, rows: int) -> tuple[int, ...]:
    return images * rows * spec.out_width, spec.groups, _depth(spec)


def _block_shape(spec: ConvSpec, images: int, rows: int) -> tuple[int, ...]:
    return images, _block_rows(spec, rows), _block_columns(spec), spec.in_channels


def _columns_bytes(spec: ConvSpec, dtype: Any) -> int:
    """Workspace for :func:`_im2col`."""
    if _needs_no_columns(spec) or spec.batch == 0:
        return 0
    itemsize = np.dtype(dtype).itemsize
    images, rows = _chunk_size(spec, _columns_row_bytes(spec, itemsize), COLUMNS_BUDGET)
    size = size_of(_columns_shape(spec, images, rows), dtype)
    if _is_padded(spec):
        size += size_of(_block_shape(spec, images, rows), dtype)
    return size


def _im2col(
    spec: ConvSpec, x: np.ndarray, workspace: np.ndarray | None
) -> Iterator[tuple[_Chunk, np.ndarray]]:
    """Yield each chunk with its im2col matrix (output pixels, groups, depth)."""
    chunks = _chunks(spec, _columns_row_bytes(spec, x.itemsize), COLUMNS_BUDGET)
    for chunk in chunks:
        images, rows = chunk.image_end - chunk.image, chunk.row_end - chunk.row
        shape = _columns_shape(spec, images, rows)
        if _needs_no_columns(spec):
            yield (
                chunk,
                x[chunk.image : chunk.image_end, chunk.row : chunk.row_end].reshape(shape),
            )
            continue
        carver = Carver(workspace)
        columns = carver.take(shape, x.dtype)
        if _is_padded(spec):
            block = carver.take(_block_shape(spec, images, rows), x.dtype)
            _fill_padded(spec, x, chunk, block)
            offset = 0
        else:
            block = x
            offset = chunk.image * x.strides[0] + chunk.row * spec.stride[0] * x.strides[1]
        np.copyto(
            columns.reshape(
                images, rows, spec.out_width, spec.groups, *spec.kernel,
                spec.in_channels // spec.groups,
            ),
            _patches(spec, block, offset, images, rows),
        )  # fmt: skip
        yield chunk, columns


def _fill_padded(spec: ConvSpec, x: np.ndarray, chunk: _Chunk, block: np.ndarray) -> None:
    """Copy the input rows that a chunk reads, with zeros around, into ``block``."""
    (top, _), (left, _) = spec.padding
    first = chunk.row * spec.stride[0] - top
    y0, y1 = max(0, first), min(spec.height, first + block.shape[1])
    x1 = min(spec.width, block.shape[2] - left)
    block.fill(0)
    if y0 < y1 and x1 > 0:
        block[:, y0 - first : y1 - first, left : left + x1] = x[
            chunk.image : chunk.image_end, y0:y1, :x1
        ]


def _patches(spec: ConvSpec, block: np.ndarray, offset: int, images: int, rows: int) -> np.ndarray:
    """View (images, rows, columns, groups, kh, kw, channels of a group): overlapping windows."""
    by_image, by_row, by_column, by_channel = block.strides
    channels = spec.in_channels // spec.groups
    return np.ndarray(
        (images, rows, spec.out_width, spec.groups, *spec.kernel, channels),
        block.dtype,
        buffer=block,
        offset=offset,
        strides=(
            by_image,
            by_row * spec.stride[0],
            by_column * spec.stride[1],
            by_channel * channels,
            by_row * spec.dilation_height,
            by_column * spec.dilation_width,
            by_channel,
        ),
    )


def _grouped(spec: ConvSpec, y: np.ndarray, chunk: _Chunk) -> np.ndarray:
    """View a chunk of an output-shaped array as (groups, output pixels, channels of a group)."""
    part = y[chunk.image : chunk.image_end, chunk.row : chunk.row_end]
    return part.reshape(-1, spec.groups, spec.out_channels // spec.groups).transpose(1, 0, 2)


def _grouped_weights(spec: ConvSpec, w: np.ndarray) -> np.ndarray:
    """View HWIO weights as (groups, depth, output channels of a group)."""
    outputs = spec.out_channels // spec.groups
    return w.reshape(_depth(spec), spec.groups, outputs).transpose(1, 0, 2)


def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Convolve: ``y = x * w + b``."""
    weights = _grouped_weights(spec, w)
    for chunk, columns in _im2col(spec, x, workspace):
        np.matmul(columns.transpose(1, 0, 2), weights, out=_grouped(spec, y, chunk))
        if b is not None:
            part = y[chunk.image : chunk.image_end, chunk.row : chunk.row_end]
            np.add(part, b, out=part)


def conv2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the weights and, unless None, the bias."""
    total = _grouped_weights(spec, dw)
    columns_bytes = _columns_bytes(spec, x.dtype)
    carver = Carver(None if workspace is None else workspace[columns_bytes:])
    part = carver.take(total.shape, dw.dtype)
    outputs = spec.out_channels // spec.groups
    pixels = (
        _PIXELS_OF_A_SUM
        if 1 in (outputs, _depth(spec)) or spec.groups > 1
        else spec.batch * spec.out_height * spec.out_width
    )
    dw.fill(0)
    bias = np.zeros(spec.out_channels)
    for chunk, columns in _im2col(spec, x, workspace):
        dy_chunk = _grouped(spec, dy, chunk)
        for first in range(0, len(columns), pixels):
            here = slice(first, first + pixels)
            np.matmul(columns[here].transpose(1, 2, 0), dy_chunk[:, here], out=part)
            np.add(total, part, out=total)
        if db is not None:
            rows = dy[chunk.image : chunk.image_end, chunk.row : chunk.row_end]
            bias += sum_rows(rows.reshape(-1, spec.out_channels))
    if db is not None:
        np.copyto(db, bias)


def conv2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of the input."""
    groups, inputs = spec.groups, spec.in_channels // spec.groups
    (kh, kw), (sh, sw), (dh, dw) = spec.kernel, spec.stride, spec.dilation
    (top, _), (left, _) = spec.padding
    weights = w.reshape(kh, kw, inputs, groups, -1).transpose(0, 1, 3, 4, 2)
    if _needs_no_columns(spec):
        out = dx.reshape(-1, groups, inputs).transpose(1, 0, 2)
        np.matmul(_grouped(spec, dy, _Chunk(0, spec.batch, 0, spec.height)), weights[0, 0], out=out)
        return
    dx.fill(0)
    for chunk in _chunks(spec, _tap_row_bytes(spec, dy.itemsize), TAP_BUDGET):
        images, rows = chunk.image_end - chunk.image, chunk.row_end - chunk.row
        dy_chunk = _grouped(spec, dy, chunk)
        product = Carver(workspace).take((images, rows, spec.out_width, spec.in_channels), dy.dtype)
        out = product.reshape(-1, groups, inputs).transpose(1, 0, 2)
        for i in range(kh):
            r0, r1 = tap_range(spec.out_height, spec.height, sh, top, i * dh)
            r0, r1 = max(r0, chunk.row), min(r1, chunk.row_end)
            if r0 >= r1:
                continue
            y0 = r0 * sh - top + i * dh
            for j in range(kw):
                c0, c1 = tap_range(spec.out_width, spec.width, sw, left, j * dw)
                if c0 == c1:
                    continue
                x0 = c0 * sw - left + j * dw
                np.matmul(dy_chunk, weights[i, j], out=out)
                target = dx[
                    chunk.image : chunk.image_end,
                    y0 : y0 + (r1 - r0 - 1) * sh + 1 : sh,
                    x0 : x0 + (c1 - c0 - 1) * sw + 1 : sw,
                ]
                np.add(target, product[:, r0 - chunk.row : r1 - chunk.row, c0:c1], out=target)


def _tap_row_bytes(spec: ConvSpec, itemsize: int) -> int:
    return spec.out_width * spec.in_channels * itemsize


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Transposed convolution: the data gradient of the convolution ``spec``, plus a bias."""
    conv2d_backward_data(spec, x, w, y, workspace)
    if b is not None:
        np.add(y, b, out=y)


def conv_transpose2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of the transposed convolution's input: the convolution ``spec`` itself."""
    conv2d_forward(spec, dy, w, None, dx, workspace)


def conv_transpose2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the transposed convolution's weights and, unless None, its bias."""
    conv2d_backward_weight(spec, x, dy, dw, None, workspace)
    if db is not None:
        np.copyto(db, sum_rows(dy.reshape(-1, spec.in_channels)))


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel in ("conv2d_forward", "conv_transpose2d_backward_data"):
        return _columns_bytes(spec, dtype)
    if kernel in ("conv2d_backward_weight", "conv_transpose2d_backward_weight"):
        return _columns_bytes(spec, dtype) + size_of(spec.w_shape, dtype)
    if _needs_no_columns(spec) or spec.batch == 0:
        return 0
    row_bytes = _tap_row_bytes(spec, np.dtype(dtype).itemsize)
    images, rows = _chunk_size(spec, row_bytes, TAP_BUDGET)
    return size_of((images, rows, spec.out_width, spec.in_channels), dtype)
