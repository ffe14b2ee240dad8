"""Walking through an ONNX graph: constants, activations and operators become layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fastconv.interop.onnx.assembly import Assembly, told
from fastconv.interop.onnx.constant_folding import CannotFold, fold
from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.model_file import tensor_array
from fastconv.interop.onnx.operation import BATCH, Argument, Handler, Operation, name_of
from fastconv.interop.onnx.operators import (
    activations,
    arithmetic,
    normalization,
    products,
    shapes,
    windows,
)
from fastconv.interop.onnx.patterns import Found, Patterns
from fastconv.interop.onnx.values import Value

HANDLERS: dict[str, Handler] = {
    **windows.HANDLERS,
    **products.HANDLERS,
    **activations.HANDLERS,
    **arithmetic.HANDLERS,
    **normalization.HANDLERS,
    **shapes.HANDLERS,
}
"""By the operators of ONNX's own domain."""
_DOMAINS = ("", "ai.onnx")
_OLDEST, _NEWEST = 6, 28
"""Operator sets whose differences the handlers know."""


class GraphReader:
    """Reads the graph of a model.

    Parameters
    ----------
    model
        The model.
    path
        Of its file, for error messages and weights in other files.
    given
        Arrays for inputs of the graph that are no data.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        path: str,
        given: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.path = path
        self.version = _version(model, path)
        if model.functions:
            model = _inlined(model, path)
        self.graph = model.graph
        self.constants: dict[str, NDArray[Any]] = dict(given or {})
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        if self.graph.sparse_initializer:
            raise OnnxError(f"{path}: has sparse weights; expected dense ones")
        self._makers: dict[str, onnx.NodeProto] = {}
        self._attributes: dict[int, dict[str, Any]] = {}
        for name in self._initializers:
            if name not in self.constants:
                self.constants[name] = tensor_array(self._initializers[name], path)
        self._learn_nodes()

    @property
    def data_inputs(self) -> list[onnx.ValueInfoProto]:
        """Inputs of the graph that are no constants."""
        return [each for each in self.graph.input if each.name not in self.constants]

    def _learn_nodes(self) -> None:
        """Note which node makes which value, and compute those that are constants."""
        known = {each.name for each in self.graph.input} | set(self.constants)
        for node in self.graph.node:
            names = (node.name, node.op_type, node.domain, *node.input, *node.output)
            if not all(isinstance(name, str) for name in names):  # bytes that are no UTF-8
                raise OnnxError(f"{self.path}: a node has a name that is no text; export it again")
            if not any(node.output):
                raise OnnxError(
                    f"{self.path}: node {name_of(node)!r} ({node.op_type}) makes nothing; export "
                    f"it again"
                )
            for name in node.input:
                if name and name not in known:
                    raise OnnxError(
                        f"{self.path}: node {name_of(node)!r} ({node.op_type}) reads {name!r}, "
                        f"which nothing before it makes; export it again"
                    )
            for name in filter(None, node.output):
                if name in known:
                    raise OnnxError(f"{self.path}: two nodes make {name!r}; export it again")
                known.add(name)
                self._makers[name] = node
            if node.domain not in _DOMAINS:
                continue
            if node.op_type == "Constant":
                self.constants[node.output[0]] = self._constant(node)
            elif node.input and all(n in self.constants for n in node.input if n):
                self._fold(node)

    def _fold(self, node: onnx.NodeProto) -> None:
        """Compute a node of constants, unless it is one that only its readers can refuse."""
        inputs = [self.constants[name] for name in node.input if name]
        try:
            made = fold(node.op_type, inputs, self.attributes(node))
        except CannotFold:
            return
        self.constants[node.output[0]] = made

    def _constant(self, node: onnx.NodeProto) -> NDArray[Any]:
        given = self.attributes(node)
        for name, dtype in (
            ("value_float", np.float32), ("value_floats", np.float32),
            ("value_int", np.int64), ("value_ints", np.int64),
        ):  # fmt: skip
            if name in given:
                return np.array(given[name], dtype)
        value = given.get("value")
        if not isinstance(value, np.ndarray):
            raise OnnxError(
                f"{self.path}: node {name_of(node)!r} (Constant): has "
                f"{', '.join(given) or 'nothing'}; expected numbers"
            )
        return value

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Return the attributes of a node as numbers, texts, lists and arrays."""
        key = id(node)
        if key not in self._attributes:
            self._attributes[key] = {
                each.name: self._attribute(node, each) for each in node.attribute
            }
        return self._attributes[key]

    def _attribute(self, node: onnx.NodeProto, given: onnx.AttributeProto) -> Any:
        kinds = onnx.AttributeProto
        if given.type == kinds.TENSOR:
            return tensor_array(given.t, self.path)
        if given.type in (kinds.FLOAT, kinds.INT, kinds.STRING, kinds.FLOATS, kinds.INTS,
                          kinds.STRINGS):  # fmt: skip
            value = onnx.helper.get_attribute_value(given)
            if isinstance(value, bytes):
                return value.decode("utf-8", "replace")
            return list(value) if given.type in (kinds.FLOATS, kinds.INTS) else value
        raise OnnxError(
            f"{self.path}: node {name_of(node)!r} ({node.op_type}): attribute {given.name} is a "
            f"graph or another thing that fastconv does not read"
        )

    def needed(self, output: str) -> tuple[list[onnx.NodeProto], dict[str, Found], Counter[str]]:
        """Say what an output is made of.

        Returns
        -------
        list, dict, Counter
            The nodes, in order; activations by the names of the values that nodes of several make
            up; and how many nodes read a value.
        """
        patterns = Patterns(self._makers, self.constants, self.attributes)
        found: dict[str, Found] = {}
        wanted, nodes, readers = {output}, [], Counter([output])
        for node in reversed(self.graph.node):
            made = [name for name in node.output if name in wanted and name not in self.constants]
            if not made:
                continue
            activation = patterns.find(made[0])
            if activation is not None:
                found[made[0]] = activation
                read = [activation[1]]
            else:
                read = [name for name in node.input if name]
            readers.update(read)
            wanted.update(read)
            nodes.append(node)
        return nodes[::-1], found, readers

    def read(
        self, output: str, assembly: Assembly, values: Mapping[str, Value], batch: int | None
    ) -> Value | NDArray[Any]:
        """Add the layers that an output is made of.

        Parameters
        ----------
        output
            Its name.
        assembly
            What they are added to.
        values
            The data inputs.
        batch
            Size of a batch, or None where the file leaves it open.

        Returns
        -------
        Value or ndarray
            The output; an array where it does not depend on the data.

        Raises
        ------
        OnnxError
            If a node is none that fastconv has layers for.
        """
        known: dict[str, Argument] = {**self.constants, **values}
        nodes, found, readers = self.needed(output)
        for node in nodes:
            outputs = self._outputs(node, known, found, assembly, batch or BATCH)
            for name, made in zip(node.output, outputs, strict=False):
                if isinstance(made, Value) and readers[name] > 1:
                    made = replace(made, is_shared=True)
                known[name] = made
        if known.get(output) is None:
            raise OnnxError(
                f"{self.path}: fastconv does not compute the output {output!r}; leave it out of "
                f"the outputs when exporting"
            )
        result = known[output]
        assert result is not None
        return result

    def _outputs(
        self,
        node: onnx.NodeProto,
        known: Mapping[str, Argument],
        found: Mapping[str, Found],
        assembly: Assembly,
        batch: int,
    ) -> Sequence[Argument]:
        """Return what a node makes."""
        where = f"{self.path}: node {name_of(node)!r} ({node.op_type})"
        attributes = self.attributes(node)
        inputs: list[Argument] = [
            known[name] if name else None for name in node.input if (not name) or name in known
        ]
        operation = Operation(
            self.path, node, self.version, inputs, attributes, assembly, batch, self._hint(node)
        )
        activation = found.get(node.output[0])
        if activation is not None:
            value = known[activation[1]]
            if not isinstance(value, Value):
                operation.refuse("is an activation of a constant")
            return [assembly.elementwise(operation.hint, activation[0], value)]
        if len(inputs) < len(node.input):
            missing = next(n for n in node.input if n and n not in known)
            raise OnnxError(
                f"{where}: reads {missing!r}, which fastconv does not compute: statistics, a mask "
                f"or the places of the largest"
            )
        if node.domain not in _DOMAINS:
            raise OnnxError(f"{where}: is of the domain {node.domain!r}; expected ONNX's own")
        if node.op_type in ("Shape", "Size") and inputs and isinstance(inputs[0], Value):
            sizes = np.array(operation.shape_of(inputs[0]), np.int64)
            if node.op_type == "Size":
                return [np.array(math.prod(sizes.tolist()), np.int64)]
            return [sizes[attributes.get("start", 0) : attributes.get("end")]]
        if not any(isinstance(each, Value) for each in inputs):
            try:
                return [
                    fold(node.op_type, [i for i in inputs if isinstance(i, np.ndarray)], attributes)
                ]
            except CannotFold as fault:
                operation.refuse(str(fault))
        handler = HANDLERS.get(node.op_type)
        if handler is None:
            raise OnnxError(f"{where}: fastconv has no layer for this operator")
        return _handled(operation, handler)

    def _hint(self, node: onnx.NodeProto) -> str:
        """Return a name for the step of a node: that of its weights, or its own."""
        for name in map(str, node.input[1:]):
            if name.endswith((".weight", ".bias", "/kernel")):
                return name.rpartition("." if "." in name else "/")[0]
        return name_of(node)


def _handled(operation: Operation, handler: Handler) -> Sequence[Value]:
    """Make the layers of a node; what does not fit is said of the node."""
    try:
        made = handler(operation)
    except OnnxError:
        raise
    except ValueError as fault:
        operation.refuse(told(fault))
    except (TypeError, LookupError, ArithmeticError, MemoryError) as fault:
        # A damaged file: attributes of other types, inputs with other axes than they must have.
        operation.refuse(f"is not as ONNX has it ({fault})")
    operation.check_attributes()
    return [made] if isinstance(made, Value) else made


def _version(model: onnx.ModelProto, path: str) -> int:
    """Return the version of ONNX's own operators."""
    versions = [each.version for each in model.opset_import if each.domain in _DOMAINS]
    if not versions:
        raise OnnxError(f"{path}: does not say which version of the operators it has")
    version = int(max(versions))
    if not _OLDEST <= version <= _NEWEST:
        raise OnnxError(
            f"{path}: has the operators of version {version}; expected {_OLDEST} to {_NEWEST}: "
            f"export it again, or use onnx.version_converter"
        )
    return version


def _inlined(model: onnx.ModelProto, path: str) -> onnx.ModelProto:
    """Return a model whose own functions are replaced by their nodes."""
    import onnx.inliner

    try:
        made: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    except Exception as fault:  # whatever the compiled inliner finds in a damaged file
        raise OnnxError(f"{path}: its functions cannot be read ({_first_line(fault)})") from None
    return made


def _first_line(fault: BaseException) -> str:
    return str(fault).partition("\n")[0]


def declared_sizes(info: onnx.ValueInfoProto) -> list[int | None] | None:
    """Return the sizes that a model says an input has, None for each open one.

    Parameters
    ----------
    info
        The input.
    """
    kind = info.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return [
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in kind.tensor_type.shape.dim
    ]
