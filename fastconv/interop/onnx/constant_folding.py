"""Nodes that do not depend on the network's input, such as the shapes that exporters compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
_MOST_ELEMENTS = 2**27
"""Of a constant that nodes compute: a file of few bytes cannot ask for more memory."""
_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.FLOAT16: "float32",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.BOOL: "bool",
}


class CannotFold(Exception):
    """A node that is not computed ahead: the reason."""


def _limited(shape: Iterable[int]) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes) or math.prod(sizes) > _MOST_ELEMENTS:
        raise CannotFold(f"makes a constant of the sizes {sizes}")
    return sizes


def _binary(function: Callable[[Array, Array], Any]) -> Callable[..., Array]:
    def fold(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
        first, second = inputs
        _limited(np.broadcast_shapes(first.shape, second.shape))
        return np.asarray(function(first, second))

    return fold


def _divide(first: Array, second: Array) -> Any:
    if first.dtype.kind in "iu" and second.dtype.kind in "iu":
        if not np.all(second):
            raise CannotFold("divides integers by 0")
        return np.trunc(first / second).astype(first.dtype)  # towards 0, as ONNX has it
    return first / second


def _unary(function: Callable[[Array], Any]) -> Callable[..., Array]:
    return lambda inputs, attributes: np.asarray(function(inputs[0])).astype(inputs[0].dtype)


def _integers(
    inputs: list[Array], place: int, attributes: Mapping[str, Any], name: str
) -> list[int]:
    given = inputs[place].ravel() if len(inputs) > place else attributes.get(name, [])
    return [int(n) for n in given]


def _gather(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    data, indices = inputs
    axis = int(attributes.get("axis", 0))
    _limited((*data.shape, *indices.shape))
    return np.take(data, indices.astype(np.int64), axis=axis)


def _unsqueeze(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    axes = _integers(inputs, 1, attributes, "axes")
    return np.expand_dims(inputs[0], tuple(axes))


def _squeeze(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    axes = _integers(inputs, 1, attributes, "axes")
    return np.squeeze(inputs[0], tuple(axes) or None)


def _slice(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    data = inputs[0]
    starts = _integers(inputs, 1, attributes, "starts")
    ends = _integers(inputs, 2, attributes, "ends")
    axes = _integers(inputs, 3, attributes, "axes") or list(range(len(starts)))
    steps = _integers(inputs, 4, attributes, "steps") or [1] * len(starts)
    taken = [slice(None)] * data.ndim
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        # Before the first entry, going down, is not the last one.
        before_all = stride < 0 and end < -data.shape[axis]
        taken[axis] = slice(start, None if before_all else end, stride)
    return data[tuple(taken)]


def _reshape(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    data, shape = inputs
    sizes = [int(n) for n in shape]
    if not attributes.get("allowzero", 0):
        sizes = [data.shape[place] if n == 0 else n for place, n in enumerate(sizes)]
    return data.reshape(sizes)


def _cast(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    dtype = _DTYPES.get(attributes.get("to", 0))
    if dtype is None:
        raise CannotFold(f"makes a constant of the type {attributes.get('to')}")
    return inputs[0].astype(dtype)


def _constant_of_shape(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    value = attributes.get("value", np.zeros(1, np.float32))
    shape = _limited(inputs[0].ravel())
    made: Array = np.full(shape, value.ravel()[0], value.dtype)
    return made


def _expand(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    shape = np.broadcast_shapes(inputs[0].shape, _limited(inputs[1].ravel()))
    return np.broadcast_to(inputs[0], _limited(shape))


def _tile(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    repeats = [int(n) for n in inputs[1]]
    _limited([n * r for n, r in zip(inputs[0].shape, repeats, strict=True)])
    return np.tile(inputs[0], repeats)


def _range(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    start, limit, delta = (each.ravel()[0] for each in inputs)
    if delta == 0:
        raise CannotFold("counts by 0")
    _limited([max(0, math.ceil((limit - start) / delta))])
    return np.arange(start, limit, delta).astype(inputs[0].dtype)


def _concat(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    _limited([sum(each.size for each in inputs)])
    return np.concatenate(inputs, axis=int(attributes.get("axis", 0)))


def _reduced(function: Callable[..., Any]) -> Callable[..., Array]:
    def fold(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
        axes = tuple(_integers(inputs, 1, attributes, "axes"))
        keeps = bool(attributes.get("keepdims", 1))
        return np.asarray(function(inputs[0], axis=axes or None, keepdims=keeps)).astype(
            inputs[0].dtype
        )

    return fold


def _shape(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    sizes = np.array(inputs[0].shape, np.int64)
    return sizes[attributes.get("start", 0) : attributes.get("end")]


def _transpose(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    return inputs[0].transpose(attributes.get("perm"))


def _where(inputs: list[Array], attributes: Mapping[str, Any]) -> Array:
    _limited(np.broadcast_shapes(*(each.shape for each in inputs)))
    return np.where(*inputs)


_FOLDS: dict[str, Callable[..., Array]] = {
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
    "Mod": _binary(np.mod),
    "Pow": _binary(lambda a, b: np.power(a, b).astype(a.dtype)),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Equal": _binary(np.equal),
    "Greater": _binary(np.greater),
    "Less": _binary(np.less),
    "And": _binary(np.logical_and),
    "Or": _binary(np.logical_or),
    "Neg": _unary(np.negative),
    "Abs": _unary(np.abs),
    "Sqrt": _unary(np.sqrt),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Reciprocal": _unary(np.reciprocal),
    "Not": _unary(np.logical_not),
    "Identity": lambda inputs, attributes: inputs[0],
    "Gather": _gather,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Reshape": _reshape,
    "Flatten": lambda inputs, attributes: inputs[0].reshape(
        math.prod(inputs[0].shape[: attributes.get("axis", 1)]), -1
    ),
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "Concat": _concat,
    "Transpose": _transpose,
    "Shape": _shape,
    "Size": lambda inputs, attributes: np.array(inputs[0].size, np.int64),
    "Where": _where,
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceMean": _reduced(np.mean),
}


def fold(kind: str, inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    """Compute a node of constants.

    Parameters
    ----------
    kind
        The operator.
    inputs
        What it reads.
    attributes
        By name.

    Raises
    ------
    CannotFold
        If it is no such operator, or its output would be too large, or does not exist.

    Examples
    --------
    >>> fold("Concat", [np.array([8]), np.array([-1])], {"axis": 0}).tolist()
    [8, -1]
    """
    function = _FOLDS.get(kind)
    if function is None:
        raise CannotFold("combines constants alone, in a way that fastconv does not compute ahead")
    try:
        with np.errstate(all="ignore"):
            # NumPy makes numbers of arrays without axes.
            return np.asarray(function(list(inputs), attributes))
    except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as fault:
        raise CannotFold(f"cannot be computed ({fault})") from None
