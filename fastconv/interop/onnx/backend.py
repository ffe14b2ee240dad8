"""fastconv as a backend of ONNX: what :mod:`onnx.backend` calls to run a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from fastconv.backends.selection import backend_state
from fastconv.interop.onnx.assembly import Assembly
from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.graph_reader import GraphReader
from fastconv.interop.onnx.values import Value
from fastconv.layers.graph import INPUT
from fastconv.network import Sequential
from fastconv.predictor import Predictor

_REAL = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.FLOAT16: np.float16,
}
"""Types of outputs; networks compute in one of the first two."""
_NAME = "model"
"""What errors call a model that is in no file."""


class FastconvRep(BackendRep):  # type: ignore[misc]  # onnx is not typed where it is missing
    """A model, ready to run.

    Parameters
    ----------
    model
        The model.
    backend
        fastconv's own backend that computes it.
    """

    def __init__(self, model: onnx.ModelProto, backend: str | None) -> None:
        self._model, self._backend = model, backend
        held = {tensor.name for tensor in model.graph.initializer}
        self._names = [each.name for each in model.graph.input if each.name not in held]

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Return the outputs of the model.

        The first input is data, whose first axis is the batch; further ones are constants where
        the graph wants them so, such as weights.

        Parameters
        ----------
        inputs
            Arrays in the order of the model's inputs, or by name.
        **options
            None are known.

        Raises
        ------
        OnnxError
            If the model has a node that fastconv has no layers for.
        """
        if options:
            raise OnnxError(f"run: {', '.join(options)} is unknown; expected inputs alone")
        given = inputs if isinstance(inputs, dict) else dict(zip(self._names, inputs, strict=False))
        arrays = {name: np.asarray(array) for name, array in given.items()}
        lacking = [name for name in self._names if name not in arrays]
        if lacking:
            raise OnnxError(f"run: input {lacking[0]!r} is missing; give an array for it")
        try:
            return self._run(arrays, self._names[:1])
        except OnnxError as first:
            # Two inputs that are both data, such as those of a sum, share the axis of the batch.
            together = _with_one_batch(arrays)
            if len(together) < 2:
                raise
            try:
                return self._run(arrays, together)
            except OnnxError:
                raise first from None

    def _run(self, arrays: dict[str, NDArray[Any]], data: Sequence[str]) -> tuple[Any, ...]:
        """Run the model with some inputs as data, and the others as constants."""
        others = {name: array for name, array in arrays.items() if name not in data}
        reader = GraphReader(self._model, _NAME, others)
        return tuple(
            _computed(reader, output.name, {name: arrays[name] for name in data}, self._backend)
            for output in self._model.graph.output
        )


def _with_one_batch(arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Return the names of arrays of real numbers with as many samples as the first."""
    first = next(iter(arrays.values()), None)
    if first is None or first.ndim == 0:
        return []
    return [
        name
        for name, array in arrays.items()
        if array.dtype.kind == "f" and array.ndim and len(array) == len(first)
    ]


def _computed(
    reader: GraphReader, output: str, data: dict[str, NDArray[Any]], backend: str | None
) -> NDArray[Any]:
    """Return one output."""
    for name, array in data.items():
        if array.ndim == 0 or array.dtype not in (np.float32, np.float64) or not array.size:
            raise OnnxError(
                f"{_NAME}: input {name!r} is {array.dtype.name} {array.shape}; expected float32 or "
                f"float64 with a batch in front"
            )
    dtype = next((array.dtype.name for array in data.values()), "float32")
    batch = next((len(array) for array in data.values()), 1)
    # All inputs side by side in one vector for each sample.
    flat = [array.reshape(batch, -1) for array in data.values()]
    width = sum(array.shape[1] for array in flat)
    assembly = Assembly((width,))
    values, begin = {}, 0
    whole = Value.of_axes(INPUT, (width,), (width,), (0,))
    for name, array in data.items():
        size = math.prod(array.shape[1:])
        part = assembly.cropped(name, whole, 0, begin, begin + size)
        step, shape = assembly.shaped(part, (size,))
        sizes = array.shape[1:]
        values[name] = Value.of_axes(step, shape, sizes, range(len(sizes)))
        begin += size
    result = reader.read(output, assembly, values, batch)
    if isinstance(result, np.ndarray):
        return result
    declared = next(
        each.type.tensor_type.elem_type for each in reader.graph.output if each.name == output
    )
    step, shape = assembly.read(result, range(len(result.sizes)), (result.elements,))
    network = assembly.network(step, dtype, _NAME)
    scores = _predicted(network, np.concatenate(flat, axis=1), backend)
    found = scores.reshape(batch, *result.sizes)
    return found.astype(_REAL[declared]) if declared in _REAL else found


def _predicted(network: Sequential, rows: NDArray[Any], backend: str | None) -> NDArray[Any]:
    predictor = Predictor(network, backend=backend)
    return predictor(np.ascontiguousarray(rows).reshape(len(rows), 1, 1, -1))


class FastconvBackend(Backend):  # type: ignore[misc]  # as above
    """fastconv as a backend of ONNX.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from onnx import TensorProto, helper
    >>> node = helper.make_node("Relu", ["x"], ["y"])
    >>> x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in "xy")
    >>> model = helper.make_model(helper.make_graph([node], "bend", [x], [y]))
    >>> FastconvBackend.run_model(model, [np.array([[-1, 0, 2]], np.float32)])[0].tolist()
    [[0.0, 0.0, 2.0]]
    """

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **options: Any) -> FastconvRep:
        """Return a model, ready to run.

        Parameters
        ----------
        model
            The model.
        device
            "CPU", or "CUDA" where the cupy backend works.
        **options
            ``backend``: the name of one of fastconv's.
        """
        if not cls.supports_device(device):
            raise OnnxError(f"prepare: device is {device!r}; expected one that works here")
        backend = options.pop("backend", None)
        if options:
            raise OnnxError(f"prepare: {', '.join(options)} is unknown; expected backend")
        if backend is None and Device(device).type == DeviceType.CUDA:
            backend = "cupy"
        return FastconvRep(model, backend)

    @classmethod
    def run_model(
        cls, model: Any, inputs: Any, device: str = "CPU", **options: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of a model; parameters as for :meth:`prepare` and its ``run``."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models run on a device: on the CPU, and on CUDA where the cupy backend works."""
        try:
            kind = Device(device).type
        except (AttributeError, ValueError):
            return False
        return kind == DeviceType.CPU or bool(backend_state("cupy").works)


prepare = FastconvBackend.prepare
run_model = FastconvBackend.run_model
supports_device = FastconvBackend.supports_device
