"""Forward and backward passes of convolutions: the samples all at once, or chunk after chunk."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.selection import choose_backend, load_module
from fastconv.functional import chunks
from fastconv.functional.arrays import (
    Array,
    Layout,
    from_hwio,
    from_nhwc,
    is_dense,
    launch,
    result_buffer,
    shape_from_nhwc,
    to_hwio,
    to_nhwc,
    workspace_bytes,
)
from fastconv.functional.chunks import samples_of_chunk
from fastconv.functional.memory import bytes_of, cut, keep_memory, take_memory
from fastconv.spec import ConvSpec

_COMPILED = ("cython", "numba")
"""Backends whose layout kernels make chunks worth their calls."""
_NHWC = (0, 2, 3, 1)


def forward(
    backend: str | None,
    function: str,
    spec: ConvSpec,
    x: Array,
    w: Array,
    b: Array | None,
    layout: Layout,
    out: Array | None,
) -> Array:
    """Convolve checked arrays.

    Parameters
    ----------
    function
        "conv2d" or "conv_transpose2d".
    spec
        Its spec; the images of a transposed convolution are those that come out of it.
    x, w, b, layout, out, backend
        As for :func:`fastconv.conv2d`; ``b`` is contiguous.
    """
    shape = spec.y_shape if function == "conv2d" else spec.x_shape
    kernel = f"conv.{function}_forward"
    name = choose_backend(backend).name
    if layout == "NCHW" and _walks(name, x.nbytes + math.prod(shape) * x.itemsize):
        y = np.empty(shape_from_nhwc(shape, layout), x.dtype) if out is None else out
        _forward_in_chunks(name, kernel, spec, x, w, b, y)
        return y
    y = result_buffer(out if layout == "NHWC" else None, shape, x.dtype)
    x, w = to_nhwc(x, layout, name), to_hwio(w, layout, name)
    launch(name, kernel, spec, x.dtype, x, w, b, y)
    return from_nhwc(y, layout, out, name)


def backward(
    backend: str | None,
    function: str,
    spec: ConvSpec,
    dy: Array,
    x: Array,
    w: Array,
    layout: Layout,
    needs: Sequence[str],
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of x, w and b that are needed; the others are None.

    Parameters
    ----------
    function, spec
        As for :func:`forward`.
    dy, x, w, layout, needs, backend
        As for :func:`fastconv.conv2d_backward`, checked.
    """
    name = choose_backend(backend).name
    dx = dw = db = None
    if layout == "NCHW" and _walks(name, x.nbytes + dy.nbytes):
        if "x" in needs or "w" in needs:
            dx, dw, db = _backward_in_chunks(name, function, spec, dy, x, w, needs)
        if "b" in needs and "w" not in needs:
            db = _sum(dy, (0, 2, 3))
        return dx, dw, db
    dy = to_nhwc(dy, layout, name)
    if "x" in needs:
        dx_nhwc = np.empty(spec.x_shape if function == "conv2d" else spec.y_shape, x.dtype)
        w = to_hwio(w, layout, name)
        launch(name, f"conv.{function}_backward_data", spec, x.dtype, dy, w, dx_nhwc)
        dx = from_nhwc(dx_nhwc, layout, backend=name)
    if "w" in needs:
        dw_hwio = np.empty(spec.w_shape, x.dtype)
        db = np.empty(dy.shape[-1], x.dtype) if "b" in needs else None
        x = to_nhwc(x, layout, name)
        launch(name, f"conv.{function}_backward_weight", spec, x.dtype, dy, x, dw_hwio, db)
        dw = from_hwio(dw_hwio, layout, name)
    elif "b" in needs:
        db = _sum(dy, (0, 1, 2))
    return dx, dw, db


def _walks(backend: str, size: int) -> bool:
    """Whether images of so many bytes in NCHW are worth more than their copies."""
    return size >= chunks.WORTH_CHUNKS_BYTES and backend in _COMPILED


def _sum(dy: Array, axes: tuple[int, ...]) -> Array:
    with np.errstate(all="ignore"):
        total: Array = dy.sum(axis=axes)
    return total


class _Walk(NamedTuple):
    """A pass over a batch: which samples each chunk has, its spec, and what all chunks share."""

    parts: tuple[tuple[slice, ConvSpec], ...]
    workspace_bytes: int


@functools.lru_cache(maxsize=1024)
def _walk(
    backend: str, kernels: tuple[str, ...], spec: ConvSpec, dtype: np.dtype[Any], chunk_bytes: int
) -> _Walk:
    """Plan a pass with these kernels; an empty batch is one chunk."""
    together = load_module(backend, "engine").samples_together(spec, dtype)
    samples = samples_of_chunk(spec, dtype.itemsize, together, chunk_bytes)
    parts = []
    for start in range(0, max(1, spec.batch), max(1, samples)):
        stop = min(spec.batch, start + samples)
        parts.append((slice(start, stop), replace(spec, batch=stop - start)))
    sizes = [workspace_bytes(backend, k, part, dtype) for k in kernels for _, part in parts]
    return _Walk(tuple(parts), max(sizes))


def _turned_shape(images: Array, samples: int) -> tuple[int, int, int, int]:
    """NHWC shape of so many samples of NCHW images."""
    _, c, h, w = images.shape
    return samples, h, w, c


def _in_nhwc(images: Array) -> Array | None:
    """NCHW images as NHWC where that is the same memory: of one channel, or of one pixel."""
    turned = images.transpose(_NHWC)
    return turned if is_dense(turned) else None


def _turned(backend: str, images: Array, memory: Array) -> Array:
    """Return a chunk's images in NHWC, in ``memory`` if they have to be moved."""
    same = _in_nhwc(images)
    return to_nhwc(images, "NCHW", backend, memory[: len(images)]) if same is None else same


def _launch_turned(
    backend: str, kernel: str, spec: ConvSpec, arrays: tuple[Array | None, ...],
    result: Array, memory: Array, workspace: Array,
) -> None:  # fmt: skip
    """Call a kernel whose last array is to be in NCHW; it writes to ``memory`` if not at once."""
    same = _in_nhwc(result)
    turned = memory[: len(result)] if same is None else same
    launch(backend, kernel, spec, result.dtype, *arrays, turned, workspace=workspace)
    if same is None:
        from_nhwc(turned, "NCHW", result, backend)


def _forward_in_chunks(
    backend: str, kernel: str, spec: ConvSpec, x: Array, w: Array, b: Array | None, y: Array
) -> None:
    dtype = x.dtype
    parts, most = _walk(backend, (kernel,), spec, dtype, chunks.CHUNK_BYTES)
    samples = parts[0][1].batch
    shapes = _turned_shape(x, samples), _turned_shape(y, samples), spec.w_shape
    memory = take_memory(bytes_of(shapes, dtype.itemsize) + most)
    x_memory, y_memory, w_memory, workspace = cut(memory, shapes, dtype)
    w = to_hwio(w, "NCHW", backend, w_memory)
    for chunk, part in parts:
        x_nhwc = _turned(backend, x[chunk], x_memory)
        _launch_turned(backend, kernel, part, (x_nhwc, w, b), y[chunk], y_memory, workspace)
    keep_memory(memory)


def _backward_in_chunks(
    backend: str, function: str, spec: ConvSpec, dy: Array, x: Array, w: Array, needs: Sequence[str]
) -> tuple[Array | None, Array | None, Array | None]:
    """Turn each chunk of dy around once; sums over chunks are made in the order of the samples."""
    dtype, filters = x.dtype, (dy.shape[1],)
    of_data, of_weight = f"conv.{function}_backward_data", f"conv.{function}_backward_weight"
    kernels = tuple([k for need, k in (("x", of_data), ("w", of_weight)) if need in needs])
    parts, most = _walk(backend, kernels, spec, dtype, chunks.CHUNK_BYTES)
    samples, weights = parts[0][1].batch, spec.w_shape
    shapes = (
        _turned_shape(dy, samples), _turned_shape(x, samples), weights, weights, weights, filters
    )  # fmt: skip
    memory = take_memory(bytes_of(shapes, dtype.itemsize) + most)
    arrays = cut(memory, shapes, dtype)
    dy_memory, x_memory, w_hwio, dw_hwio, more_dw, more_db, workspace = arrays
    dx = np.empty(x.shape, dtype) if "x" in needs else None
    db = np.empty(filters, dtype) if "w" in needs and "b" in needs else None
    if dx is not None:
        to_hwio(w, "NCHW", backend, w_hwio)
    for number, (chunk, part) in enumerate(parts):
        dy_nhwc = _turned(backend, dy[chunk], dy_memory)
        if "w" in needs:
            x_nhwc = _turned(backend, x[chunk], x_memory)
            sums = (dw_hwio, db) if number == 0 else (more_dw, None if db is None else more_db)
            launch(backend, of_weight, part, dtype, dy_nhwc, x_nhwc, *sums, workspace=workspace)
            if number:
                _add(dw_hwio, more_dw)
                _add(db, more_db)
        if dx is not None:
            # What the weights' gradient has read of x is overwritten with the gradient of x.
            arguments = dy_nhwc, w_hwio
            _launch_turned(backend, of_data, part, arguments, dx[chunk], x_memory, workspace)
    dw = None
    if "w" in needs:
        dw = from_hwio(dw_hwio, "NCHW", backend, np.empty(w.shape, dtype))
    keep_memory(memory)
    return dx, dw, db


def _add(total: Array | None, more: Array) -> None:
    if total is not None:
        with np.errstate(all="ignore"):
            np.add(total, more, out=total)
