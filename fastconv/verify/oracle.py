"""Expected results of a call: what the reference says, or its sums a tap at a time.

The reference meets every output pixel with every tap in a Python loop. Where that would take too
long, the same sums are made tap by tap over whole images, in float64 too; where the reference is
quick enough it is the reference itself that is asked, and the tests hold both to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.selection import load_module
from fastconv.spec import ConvSpec, DenseSpec, tap_range
from fastconv.verify.kernel_calls import Call, parameters_of

_MOST_MEETINGS = 1000
"""Of taps and output pixels, times the groups, that the reference's loops are asked for."""
_MOST_SUMS = 4000
"""Outputs of a dense layer that the reference's loops are asked for."""

Array = NDArray[np.float64]


def expected(call: Call) -> dict[str, NDArray[Any]]:
    """Return what a call gives by the reference's formulas, in float64.

    Parameters
    ----------
    call
        Of a convolution, a pooling or a dense layer.

    Examples
    --------
    >>> from fastconv.verify.kernel_calls import calls_of
    >>> call = next(calls_of(DenseSpec(2, 3, 4), "float32", integers=True))
    >>> expected(call)["y"].shape
    (2, 4)
    """
    wide = call.in_float64()
    spec = call.spec
    if isinstance(spec, ConvSpec) and _meetings(spec) > _MOST_MEETINGS:
        return by_taps(wide)
    if isinstance(spec, DenseSpec) and max(spec.batch, spec.inputs) * spec.outputs > _MOST_SUMS:
        return _dense(wide)
    return of_reference(wide)


def of_reference(call: Call) -> dict[str, NDArray[Any]]:
    """Return what the reference's kernel itself gives.

    Parameters
    ----------
    call
        With float64 arrays.
    """
    module, _, name = call.kernel.partition(".")
    results = {key: np.zeros(*output) for key, output in call.outputs.items()}
    arrays = call.reads | results
    kernel = getattr(load_module("reference", module), name)
    kernel(call.spec, *(arrays.get(key) for key in parameters_of(call.kernel)), None)
    return results


def _meetings(spec: ConvSpec) -> int:
    taps = spec.kernel[0] * spec.kernel[1] * spec.groups
    return spec.out_height * spec.out_width * taps


def by_taps(call: Call) -> dict[str, NDArray[Any]]:
    """Return what a convolution gives, a tap at a time over whole images.

    Parameters
    ----------
    call
        With float64 arrays, of ``conv.py`` or ``nchw.py``.
    """
    spec, reads, wanted = call.spec, call.reads, call.outputs
    planes = call.kernel.startswith("nchw.")
    name = call.kernel.partition(".")[2]
    narrow_gradient = not name.startswith("conv_transpose2d")
    given = {
        key: _to_last(key, a) if planes and a is not None and a.ndim == 4 else a
        for key, a in reads.items()
    }
    x, w, dy, bias = (given.get(key) for key in ("x", "w", "dy", "b"))
    results: dict[str, NDArray[Any]] = {}
    if name.endswith("forward"):
        results["y"] = (_forward(spec, x, w) if narrow_gradient else _data(spec, x, w)) + (
            0.0 if bias is None else bias
        )
    if "dx" in wanted:
        results["dx"] = _data(spec, dy, w) if narrow_gradient else _forward(spec, dy, w)
    if "dw" in wanted:
        results["dw"] = _weight(spec, dy, x) if narrow_gradient else _weight(spec, x, dy)
    if "db" in wanted:
        assert dy is not None  # of every kernel that has such a gradient
        results["db"] = dy.sum(axis=(0, 1, 2))
    if not planes:
        return results
    return {key: _to_first(key, a) if a.ndim == 4 else a for key, a in results.items()}


def _to_last(name: str, array: NDArray[Any]) -> NDArray[Any]:
    return array.transpose(2, 3, 1, 0) if name == "w" else array.transpose(0, 2, 3, 1)


def _to_first(name: str, array: NDArray[Any]) -> NDArray[Any]:
    return array.transpose(3, 2, 0, 1) if name == "dw" else array.transpose(0, 3, 1, 2)


def _taps(spec: ConvSpec) -> Iterator[tuple[int, int, Any, Any]]:
    """Each tap with the outputs that it is for, and the pixels that it meets there."""
    (top, _), (left, _) = spec.padding
    for kh in range(spec.kernel[0]):
        rows = _span(spec.out_height, spec.height, spec.stride[0], top, kh * spec.dilation_height)
        for kw in range(spec.kernel[1]):
            columns = _span(
                spec.out_width, spec.width, spec.stride[1], left, kw * spec.dilation_width
            )
            if rows is not None and columns is not None:
                yield kh, kw, (slice(None), rows[0], columns[0]), (slice(None), rows[1], columns[1])


def _span(
    outputs: int, size: int, stride: int, before: int, offset: int
) -> tuple[slice, slice] | None:
    first, end = tap_range(outputs, size, stride, before, offset)
    if first == end:
        return None
    start = first * stride - before + offset
    return slice(first, end), slice(start, start + (end - first - 1) * stride + 1, stride)


def _by_group(spec: ConvSpec, array: Array) -> Array:
    """Pixels of each group: (groups, pixels, channels of a group)."""
    return np.moveaxis(array.reshape(-1, spec.groups, array.shape[-1] // spec.groups), 1, 0)


def _weights_by_group(spec: ConvSpec, w: Array) -> Array:
    """The weights of a tap: (groups, inputs, outputs)."""
    return np.moveaxis(w.reshape(w.shape[0], spec.groups, -1), 1, 0)


def _forward(spec: ConvSpec, x: Any, w: Any) -> Array:
    total = np.zeros(spec.y_shape)
    for kh, kw, outputs, pixels in _taps(spec):
        part = _by_group(spec, x[pixels]) @ _weights_by_group(spec, w[kh, kw])
        total[outputs] += np.moveaxis(part, 0, 1).reshape(total[outputs].shape)
    return total


def _data(spec: ConvSpec, dy: Any, w: Any) -> Array:
    total = np.zeros(spec.x_shape)
    for kh, kw, outputs, pixels in _taps(spec):
        weights = _weights_by_group(spec, w[kh, kw]).transpose(0, 2, 1)
        part = _by_group(spec, dy[outputs]) @ weights
        total[pixels] += np.moveaxis(part, 0, 1).reshape(total[pixels].shape)
    return total


def _weight(spec: ConvSpec, dy: Any, x: Any) -> Array:
    total = np.zeros(spec.w_shape)
    for kh, kw, outputs, pixels in _taps(spec):
        part = _by_group(spec, x[pixels]).transpose(0, 2, 1) @ _by_group(spec, dy[outputs])
        total[kh, kw] = np.moveaxis(part, 0, 1).reshape(total[kh, kw].shape)
    return total


def _dense(call: Call) -> dict[str, NDArray[Any]]:
    arrays: dict[str, Any] = call.reads
    x, w, dy = (arrays.get(key, np.empty(0)) for key in ("x", "w", "dy"))
    bias = arrays.get("b")
    makers = {
        "y": lambda: x @ w + (0.0 if bias is None else bias),
        "dx": lambda: dy @ w.T,
        "dw": lambda: x.T @ dy,
        "db": lambda: dy.sum(axis=0),
    }
    return {name: makers[name]() for name in call.outputs}
