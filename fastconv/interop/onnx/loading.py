"""Networks from ONNX files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import numpy as np
import onnx

from fastconv.interop.onnx.assembly import Assembly
from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.graph_reader import GraphReader, declared_sizes
from fastconv.interop.onnx.model_file import read_model
from fastconv.interop.onnx.values import Value
from fastconv.layers.graph import INPUT
from fastconv.network import Sequential
from fastconv.spec import Shape, as_plain

_BEFORE_TRANSPOSITIONS = {
    "Cast", "Identity", "Add", "Sub", "Mul", "Div", "Max", "Clip", "ReduceMin", "ReduceMax",
}  # fmt: skip
"""Operators of preprocessing, which comes before images are turned around."""
ORDER = "fastconv.order"
"""Of the axes of images in a file of ours: its name among what goes along."""
_ORDERS = ("NCHW", "NHWC")
_REAL = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16,
    onnx.TensorProto.UINT8,
)  # fmt: skip


def load(
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[int] | None = None,
    output: str | None = None,
    order: Literal["NCHW", "NHWC"] | None = None,
    dtype: str = "float32",
) -> Sequential:
    """Return the network in an ONNX file, with its weights; it can be trained on.

    Images that the file takes as (batch, channels, height, width) the network takes as fastconv
    has them, (batch, height, width, channels), and gives so. Rows (batch, channels, length) are
    images of height 1.

    Parameters
    ----------
    path
        The file. Weights in other files lie in its folder.
    input_shape
        Of a sample, (height, width, channels) or (features,), where the file leaves it open.
    output
        Name of the output to read, where there are several.
    order
        Of the axes of images in the file: "NCHW" or "NHWC". Left out, NCHW, unless the file says
        otherwise, or turns its images around first.
    dtype
        Of the network: "float32" or "float64".

    Returns
    -------
    Sequential
        The layers one after the other, with a :class:`fastconv.layers.Graph` for what has
        branches. Constants for each channel behind a layer are learned; single numbers are not.

    Raises
    ------
    OnnxError
        If the file is damaged, or has a node that fastconv has no layers for: its name, the
        operator, and the attribute.

    Examples
    --------
    >>> import tempfile, os, fastconv
    >>> from fastconv.interop.onnx import export, load
    >>> from fastconv.layers import Conv2D, Dense, Flatten, ReLU
    >>> layers = [Conv2D(4), ReLU(), Flatten(), Dense(10)]
    >>> network = fastconv.Sequential(layers, input_shape=(8, 8, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "network.onnx")
    ...     export(network, path)
    ...     [layer.kind for layer in load(path).layers]
    ['conv2d', 'relu', 'flatten', 'dense']
    """
    if dtype not in ("float32", "float64"):
        raise OnnxError(f"load: dtype is {dtype!r}; expected 'float32' or 'float64'")
    if order not in (None, *_ORDERS):
        raise OnnxError(f"load: order is {order!r}; expected 'NCHW', 'NHWC' or None")
    name = os.fspath(path) if isinstance(path, os.PathLike) else str(path)
    model = read_model(path)
    reader = GraphReader(model, name)
    given = _input_of(reader)
    told = {each.key: each.value for each in model.metadata_props}.get(ORDER)
    if order is not None or told in _ORDERS:
        channels_last = (order or told) == "NHWC"
    else:
        channels_last = _takes_channels_last(reader, given.name)
    shape, axes, batch = _input_shape(reader, given, input_shape, channels_last)
    assembly = Assembly(shape)
    sizes = shape if axes != 2 else shape[1:]
    value = Value.of_axes(INPUT, shape, sizes, _order(axes, channels_last))
    result = reader.read(_output_of(reader, output), assembly, {given.name: value}, batch)
    if isinstance(result, np.ndarray):
        raise OnnxError(f"{name}: its output does not depend on its input; export it again")
    rank = len(result.sizes)
    if rank > 3:
        raise OnnxError(
            f"{name}: its output has {rank + 1} axes; expected (batch, features) or images"
        )
    last = _order(rank, channels_last) if rank else ()
    step, _ = assembly.read(result, last)
    return assembly.network(step, dtype, name)


def _order(axes: int, channels_last: bool) -> tuple[int, ...]:
    """Return the order of the axes in memory."""
    if channels_last or axes < 2:
        return tuple(range(axes))
    return (*range(1, axes), 0)


def _input_of(reader: GraphReader) -> onnx.ValueInfoProto:
    """Return the one input that is data."""
    inputs = reader.data_inputs
    if len(inputs) != 1:
        names = ", ".join(repr(each.name) for each in inputs) or "none"
        raise OnnxError(f"{reader.path}: has the inputs {names}; expected one")
    (given,) = inputs
    kind = given.type.tensor_type.elem_type
    if not given.type.HasField("tensor_type") or kind not in _REAL:
        raise OnnxError(
            f"{reader.path}: input {given.name!r} is no array of real numbers or bytes, which "
            f"fastconv takes"
        )
    return given


def _output_of(reader: GraphReader, wanted: str | None) -> str:
    names = [str(each.name) for each in reader.graph.output]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise OnnxError(
            f"{reader.path}: has the outputs {', '.join(map(repr, names)) or 'none'}; say which "
            f"one: output={names[-1] if names else ''!r}"
        )
    if wanted not in names:
        raise OnnxError(
            f"{reader.path}: has no output {wanted!r}; expected one of "
            f"{', '.join(map(repr, names))}"
        )
    return wanted


def _takes_channels_last(reader: GraphReader, name: str) -> bool:
    """Whether all that reads the input first puts the channels in front."""
    found = False
    names = {name}
    for node in reader.graph.node:
        if not names & set(node.input):
            continue
        if node.op_type in _BEFORE_TRANSPOSITIONS:
            names.update(node.output)
            continue
        if node.op_type != "Transpose" or reader.attributes(node).get("perm") != [0, 3, 1, 2]:
            return False
        found = True
    return found


def _input_shape(
    reader: GraphReader,
    info: onnx.ValueInfoProto,
    wanted: Sequence[int] | None,
    channels_last: bool,
) -> tuple[Shape, int, int | None]:
    """Return the shape of a sample, how many axes ONNX's have, and the size of a batch."""
    declared = declared_sizes(info)
    told = f"{reader.path}: input {info.name!r}"

    def refuse(reason: str) -> NoReturn:
        raise OnnxError(f"{told} {reason}")

    shape: Shape | None = None
    if wanted is not None:
        plain: Any = as_plain(wanted)
        shape = tuple(plain) if isinstance(plain, (tuple, list)) else ()
        if len(shape) not in (1, 3) or not all(type(n) is int and n >= 1 for n in shape):
            raise OnnxError(
                f"load: input_shape is {wanted!r}; expected (height, width, channels) or "
                f"(features,)"
            )
    if declared is None:
        if shape is None:
            refuse("has no sizes; give input_shape=(height, width, channels) or (features,)")
        return shape, len(shape), None
    axes = len(declared) - 1
    if axes not in (1, 2, 3):
        refuse(
            f"has {axes + 1} axes; expected (batch, features), (batch, channels, length) or "
            f"(batch, channels, height, width)"
        )
    stored = [declared[1:][a] for a in _order(axes, channels_last)]
    stored = [1, *stored] if axes == 2 else stored
    if shape is None:
        if None in stored:
            names = "(features,)" if axes == 1 else "(height, width, channels)"
            refuse(f"leaves sizes open; give input_shape={names}")
        shape = tuple(n for n in stored if n is not None)
    if len(shape) != len(stored) or any(
        s is not None and s != n for s, n in zip(stored, shape, strict=True)
    ):
        there = tuple("any" if n is None else n for n in stored)
        refuse(f"takes samples {there}; input_shape is {shape}")
    return shape, axes, declared[0]
