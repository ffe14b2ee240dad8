"""Networks into ONNX files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fastconv._files import replace_file
from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.exported_layers import WRITERS
from fastconv.interop.onnx.graph_writer import GraphWriter, Tensor
from fastconv.interop.onnx.loading import ORDER
from fastconv.interop.onnx.model_file import read_model
from fastconv.layers.graph import INPUT
from fastconv.network import Sequential
from fastconv.preprocessing import Preprocessing, as_preprocessing

_OPSETS = {18: 8, 19: 9, 20: 9, 21: 10}
"""Versions of the operators, and of the format that each came with."""
_CLASS_NAMES, _PREPROCESSING = "fastconv.class_names", "fastconv.preprocessing"
_LARGEST = 2**31 - 2**20
"""Bytes of weights that fit in one file of the format."""

Order = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Metadata:
    """What goes along with a network in a file, for those who apply it.

    Parameters
    ----------
    class_names
        Of its outputs; none where they are not known.
    preprocessing
        What its input expects to be done to raw pixels; "none" where the file does it itself.
    """

    class_names: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def export(
    network: Sequential,
    path: str | os.PathLike[str],
    *,
    opset: int = 18,
    order: Order = "NCHW",
    batch: int | None = None,
    preprocessing: Preprocessing | str | None = None,
    takes_pixels: bool = False,
    class_names: Sequence[str] = (),
    probabilities: bool = False,
) -> None:
    """Write a network to an ONNX file, as it is applied: dropout does nothing.

    Its input is called "input", its output "output". The file is checked by ``onnx.checker``, and
    holds the shapes of all values.

    Parameters
    ----------
    network
        The network.
    path
        The file to write.
    opset
        Version of the operators: 18 to 21.
    order
        Of the axes of images that it takes and gives: "NCHW" or "NHWC".
    batch
        Samples in a batch; None for any number.
    preprocessing
        As in training. Without ``takes_pixels``, it only goes along: see :func:`read_metadata`.
    takes_pixels
        Whether the file takes raw pixels, bytes, and does the preprocessing itself.
    class_names
        Of the outputs: they go along.
    probabilities
        Whether the scores of a vector become probabilities, by a softmax at the end.

    Raises
    ------
    OnnxError
        If a layer has no operator, an argument is not as it must be, or the file cannot be
        written.

    Examples
    --------
    >>> import tempfile, fastconv, onnx
    >>> from fastconv.layers import Dense
    >>> network = fastconv.Sequential([Dense(3)], input_shape=(4,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(network, f"{folder}/network.onnx", class_names=["ant", "bee", "fly"])
    ...     [node.op_type for node in onnx.load(f"{folder}/network.onnx").graph.node]
    ['Gemm']
    """
    _check_arguments(network, opset, order, batch, class_names, probabilities)
    prepared = as_preprocessing("export", preprocessing)
    model = _model(network, opset, order, batch, prepared, takes_pixels, probabilities)
    along = Preprocessing() if takes_pixels else prepared
    helper.set_model_props(
        model,
        {
            _CLASS_NAMES: json.dumps(list(class_names)),
            _PREPROCESSING: json.dumps(along.table()),
            ORDER: order,
        },
    )
    try:
        model = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as fault:
        raise OnnxError(
            f"export: onnx refuses what was made of the network: {str(fault).partition(chr(10))[0]}"
        ) from None
    _write(model, path)


def _check_arguments(
    network: Sequential,
    opset: int,
    order: str,
    batch: int | None,
    class_names: Sequence[str],
    probabilities: bool,
) -> None:
    if not isinstance(network, Sequential):
        raise OnnxError(f"export: network is a {type(network).__name__}; expected a Sequential")
    if opset not in _OPSETS:
        raise OnnxError(f"export: opset is {opset!r}; expected 18 to 21")
    if order not in ("NCHW", "NHWC"):
        raise OnnxError(f"export: order is {order!r}; expected 'NCHW' or 'NHWC'")
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise OnnxError(f"export: batch is {batch!r}; expected None, or an integer of 1 or more")
    outputs = network.output_shape
    if class_names and (len(outputs) != 1 or len(class_names) != outputs[0]):
        raise OnnxError(
            f"export: class_names has {len(class_names)} names; expected one for each of the "
            f"network's outputs {outputs}"
        )
    if probabilities and len(outputs) != 1:
        raise OnnxError(
            f"export: probabilities is True, but the network gives {outputs}; expected a vector"
        )
    if (network.parameters.nbytes + network.state.nbytes) > _LARGEST:
        raise OnnxError("export: the weights have more than 2 GiB, which one ONNX file cannot hold")


def _model(
    network: Sequential,
    opset: int,
    order: Order,
    batch: int | None,
    preprocessing: Preprocessing,
    takes_pixels: bool,
    probabilities: bool,
) -> onnx.ModelProto:
    """Return the model, without what goes along."""
    writer = GraphWriter(network, opset)
    shape = network.input_shape
    real = helper.np_dtype_to_tensor_dtype(np.dtype(network.dtype))
    leads = len(shape) == 3 and order == "NCHW"
    x = Tensor(INPUT, shape, channels_first=leads)
    given = helper.make_tensor_value_info(
        INPUT, TensorProto.UINT8 if takes_pixels else real, [batch or "N", *x.stored]
    )
    if takes_pixels:
        x = x.named(writer.node("Cast", [INPUT], "pixels", to=real))
        x = _preprocessed(writer, x, preprocessing)
    values = {-1: x}
    for number, vertex in enumerate(network.vertices):
        write = WRITERS.get(vertex.layer.kind)
        if write is None:
            raise OnnxError(
                f"export: layer {vertex.name} is of kind {vertex.layer.kind!r}, for which ONNX has "
                f"no operator; leave it out, or write it as layers that come with fastconv"
            )
        values[number] = write(writer, vertex, [values[each] for each in vertex.inputs])
    y = values[len(network.vertices) - 1]
    leads = len(y.shape) == 3 and order == "NCHW"
    y = writer.channels_first(y) if leads else writer.in_order(y)
    if probabilities:
        y = y.named(writer.node("Softmax", [y.name], "probabilities", axis=-1))
    writer.node("Identity", [y.name], "output", rename=False)
    output = helper.make_tensor_value_info("output", real, [batch or "N", *y.stored])
    graph = helper.make_graph(
        writer.finished(), "network", [given], [output], initializer=writer.initializers
    )
    return helper.make_model(
        graph,
        producer_name="fastconv",
        ir_version=_OPSETS[opset],
        opset_imports=[helper.make_opsetid("", opset)],
    )


def _preprocessed(writer: GraphWriter, x: Tensor, given: Preprocessing) -> Tensor:
    """Write what happens to raw pixels before the first layer."""
    if given.kind == "scale":
        return x.named(writer.node("Mul", [x.name, writer.constant(given.factor)], "scaled"))
    if given.kind == "min_max":
        axes = writer.integers(range(1, len(x.shape) + 1))
        low = writer.node("ReduceMin", [x.name, axes], "smallest", keepdims=1)
        high = writer.node("ReduceMax", [x.name, axes], "largest", keepdims=1)
        above = writer.node("Sub", [x.name, low], "above")
        room = writer.node("Sub", [high, low], "range")
        # A constant image becomes 0: pixels are bytes, and a range of them is 1 or more, or 0.
        divisor = writer.node("Max", [room, writer.constant(1.0)], "divisor")
        return x.named(writer.node("Div", [above, divisor], "min_max"))
    if given.kind == "standardize":
        mean: NDArray[np.float64]
        std: NDArray[np.float64]
        mean, std = (np.asarray(a, np.float64).reshape(-1) for a in (given.mean, given.std))
        channels = x.shape[-1]
        if mean.size != channels:  # one for each feature
            mean, std = mean.reshape(x.shape), std.reshape(x.shape)
            if x.channels_first:
                mean, std = (np.moveaxis(a, -1, 0) for a in (mean, std))
        elif x.channels_first:
            mean, std = (a.reshape(-1, 1, 1) for a in (mean, std))
        shifted = writer.node("Sub", [x.name, writer.constant(mean)], "centred")
        return x.named(writer.node("Div", [shifted, writer.constant(std)], "standardized"))
    return x


def _write(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise OnnxError(f"export: path is a {type(path).__name__}; expected a path")
    target = Path(path)
    if target.is_dir():
        raise OnnxError(
            f"export: {path} is a folder; expected a file in it, such as {target / 'network.onnx'}"
        )
    if not target.parent.is_dir():
        raise OnnxError(f"export: {path}: there is no folder {target.parent}; make it first")
    try:
        with replace_file(target, "wb") as file:
            file.write(model.SerializeToString(deterministic=True))
    except OSError as fault:
        raise OnnxError(f"export: {path}: cannot be written ({fault.strerror})") from None


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """Return what :func:`export` let go along with a network.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OnnxError
        If it is no ONNX file.

    Examples
    --------
    >>> import tempfile, fastconv
    >>> from fastconv.layers import Dense
    >>> network = fastconv.Sequential([Dense(2)], input_shape=(4,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(network, f"{folder}/network.onnx", class_names=["cat", "dog"])
    ...     read_metadata(f"{folder}/network.onnx").class_names
    ('cat', 'dog')
    """
    told = {each.key: each.value for each in read_model(path).metadata_props}
    try:
        names: Any = json.loads(told.get(_CLASS_NAMES, "[]"))
        table: Any = json.loads(told.get(_PREPROCESSING, "null"))
        preprocessing = Preprocessing() if table is None else Preprocessing.from_table(table)
        return Metadata(tuple(map(str, names)), preprocessing)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OnnxError(
            f"{os.fspath(path)}: its class names or its preprocessing are damaged; export it again"
        ) from None
