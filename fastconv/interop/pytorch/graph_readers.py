"""A model of PyTorch as a graph of steps: its layers, and the calls in its own code.

``torch.fx`` records them. Calls of functions and methods become the layers that they are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional

from fastconv.interop.pytorch.layer_readers import can_read
from fastconv.network import NetworkError
from fastconv.spec import Shape

Merge = Literal["add", "multiply", "concatenate"]


@dataclass(frozen=True)
class Step:
    """One value of a model.

    Parameters
    ----------
    owner
        Where it comes from, for error messages.
    node
        Of the graph.
    inputs
        The nodes that it is computed of.
    shape
        Of a sample, as PyTorch has it.
    layer
        What computes it; None for an input, and where values are merged.
    merge
        How they are, if they are.
    """

    owner: str
    node: fx.Node
    inputs: tuple[fx.Node, ...]
    shape: Shape
    layer: nn.Module | None = None
    merge: Merge | None = None


class _Tracer(fx.Tracer):
    """Goes into modules until it meets layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is recorded as it is."""
        if can_read(m):
            return True
        is_container = isinstance(m, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
        return not is_container and super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shapes of its values."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n] = tuple(map(int, result.shape))
        return result


def _made_of(layer: Callable[..., nn.Module], *names: str) -> Callable[..., nn.Module]:
    """Make the layer of a function: its arguments behind the input by name or in order."""

    def make(*arguments: Any, **keywords: Any) -> nn.Module:
        given = dict(zip(names, arguments, strict=False)) | keywords
        return layer(**{name: given[name] for name in names if name in given and name[0] != "_"})

    return make


_POOL = ("kernel_size", "stride", "padding")
_LAYER_OF_FUNCTION: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: _made_of(nn.ReLU),
    torch.relu: _made_of(nn.ReLU),
    functional.relu6: _made_of(nn.ReLU6),
    functional.leaky_relu: _made_of(nn.LeakyReLU, "negative_slope"),
    functional.elu: _made_of(nn.ELU, "alpha"),
    functional.selu: _made_of(nn.SELU),
    functional.gelu: _made_of(nn.GELU, "approximate"),
    functional.silu: _made_of(nn.SiLU),
    functional.mish: _made_of(nn.Mish),
    functional.hardsigmoid: _made_of(nn.Hardsigmoid),
    functional.hardswish: _made_of(nn.Hardswish),
    functional.softplus: _made_of(nn.Softplus, "beta", "threshold"),
    functional.softsign: _made_of(nn.Softsign),
    functional.sigmoid: _made_of(nn.Sigmoid),
    torch.sigmoid: _made_of(nn.Sigmoid),
    functional.tanh: _made_of(nn.Tanh),
    torch.tanh: _made_of(nn.Tanh),
    functional.softmax: _made_of(nn.Softmax, "dim"),
    torch.softmax: _made_of(nn.Softmax, "dim"),
    functional.log_softmax: _made_of(nn.LogSoftmax, "dim"),
    torch.log_softmax: _made_of(nn.LogSoftmax, "dim"),
    functional.dropout: _made_of(nn.Dropout, "p"),
    functional.dropout2d: _made_of(nn.Dropout2d, "p"),
    functional.max_pool2d: _made_of(
        nn.MaxPool2d, *_POOL, "dilation", "ceil_mode", "return_indices"
    ),
    torch.max_pool2d: _made_of(nn.MaxPool2d, *_POOL, "dilation", "ceil_mode"),
    functional.avg_pool2d: _made_of(
        nn.AvgPool2d, *_POOL, "ceil_mode", "count_include_pad", "divisor_override"
    ),
    functional.adaptive_avg_pool2d: _made_of(nn.AdaptiveAvgPool2d, "output_size"),
    functional.adaptive_max_pool2d: _made_of(nn.AdaptiveMaxPool2d, "output_size"),
    functional.interpolate: _made_of(nn.Upsample, "size", "scale_factor", "mode", "align_corners"),
}
_LAYER_OF_METHOD: dict[str, Callable[..., nn.Module]] = {
    "relu": _made_of(nn.ReLU),
    "relu_": _made_of(nn.ReLU),
    "sigmoid": _made_of(nn.Sigmoid),
    "tanh": _made_of(nn.Tanh),
    "softmax": _made_of(nn.Softmax, "dim"),
    "log_softmax": _made_of(nn.LogSoftmax, "dim"),
    "contiguous": _made_of(nn.Identity),
    "clone": _made_of(nn.Identity),
}
_RESHAPING: set[Any] = {
    torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, "flatten", "view", "reshape",
    "squeeze", "unsqueeze",
}  # fmt: skip
_MERGES: dict[Any, Merge] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", "add": "add", "add_": "add",
    operator.mul: "multiply", operator.imul: "multiply", torch.mul: "multiply", "mul": "multiply",
    "mul_": "multiply", torch.cat: "concatenate", torch.concat: "concatenate",
}  # fmt: skip


class PixelFromVector(nn.Module):
    """Vectors (N, C) as images of one pixel."""


def read_graph(module: nn.Module, example: torch.Tensor) -> tuple[list[Step], fx.Node]:
    """Record what a model computes.

    Parameters
    ----------
    module
        The model; it is run once, in evaluation.
    example
        A batch of what it takes.

    Returns
    -------
    steps, output
        The values in the order in which they are computed, the input first; and the node of the
        last one.

    Raises
    ------
    NetworkError
        If the model cannot be recorded, or computes what fastconv does not.
    """
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        root: Any = module
        if can_read(module):
            root = nn.Sequential(module)  # a layer alone has no code of its own to record
        graph = _Tracer().trace(root)
        recorded = fx.GraphModule(root, graph)
        run = _Shapes(recorded)
        with torch.no_grad():
            run.run(example)
    except Exception as fault:  # whatever the model's own code raises
        told = str(fault).strip().partition("\n")[0]
        raise NetworkError(
            f"from_torch: {type(module).__name__} cannot be recorded by torch.fx "
            f"({type(fault).__name__}: {told}); make it of layers, without branches on values"
        ) from None
    finally:
        for each, was_training in modes:
            each.training = was_training
    return _Steps(recorded, run.shapes).made()


class _Steps:
    """Makes the steps of a recorded graph."""

    def __init__(self, recorded: fx.GraphModule, shapes: dict[fx.Node, Shape]) -> None:
        self.recorded, self.shapes = recorded, shapes

    def made(self) -> tuple[list[Step], fx.Node]:
        """Return the steps, and the node of the output."""
        steps: list[Step] = []
        nodes = list(self.recorded.graph.nodes)
        inputs = [node for node in nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise NetworkError(
                f"from_torch: the model takes {len(inputs)} inputs; expected one tensor"
            )
        batch = self.shapes[inputs[0]][0]
        for node in nodes:
            if node.op == "output":
                (result,) = node.args
                if not isinstance(result, fx.Node) or result not in self.shapes:
                    raise NetworkError(
                        "from_torch: the model returns more than one tensor; expected one"
                    )
                return steps, result
            if node not in self.shapes:
                continue  # a size, which the shapes tell
            shape = self.shapes[node]
            if not shape or shape[0] != batch:
                raise NetworkError(
                    f"from_torch: {node.name} has shape {shape}; expected {batch} samples along "
                    f"the first axis, as the example has"
                )
            steps.append(self._step(node, shape[1:]))
        raise NetworkError("from_torch: the model returns nothing; expected one tensor")

    def _step(self, node: fx.Node, shape: Shape) -> Step:
        if node.op == "placeholder":
            return Step("the input", node, (), shape)
        if node.op == "call_module":
            name = str(node.target)
            layer = self.recorded.get_submodule(name)
            return Step(name, node, self._one_input(name, node), shape, layer)
        name = getattr(node.target, "__name__", str(node.target))
        owner = f"{name} ({node.name})"
        if node.op == "get_attr":
            raise NetworkError(
                f"from_torch: {node.target}, a tensor of the model, is read by its own code; "
                f"expected layers alone"
            )
        if node.target in _MERGES:
            return self._merge(owner, node, shape, _MERGES[node.target])
        if node.target in ("expand", "expand_as"):
            # What it is multiplied with spreads it by itself.
            expanded: Any = node.args[0]
            return Step(owner, node, (expanded,), self.shapes[expanded][1:], nn.Identity())
        inputs = self._one_input(owner, node)
        arguments = node.args[1:]
        if node.target in _RESHAPING:
            layer = self._reshaping(owner, self.shapes[inputs[0]][1:], shape)
        elif node.target in ("mean", torch.mean):
            layer = self._mean(owner, node, self.shapes[inputs[0]][1:])
        else:
            makers: dict[Any, Any] = {**_LAYER_OF_FUNCTION, **_LAYER_OF_METHOD}
            if node.target not in makers:
                raise NetworkError(
                    f"from_torch: {owner} has no counterpart in fastconv; replace it by layers"
                )
            keywords = {k: v for k, v in node.kwargs.items() if k not in ("input", "_stacklevel")}
            try:
                layer = makers[node.target](*arguments, **keywords)
            except TypeError as fault:
                raise NetworkError(f"from_torch: {owner}: {fault}") from None
        return Step(owner, node, inputs, shape, layer)

    def _one_input(self, owner: str, node: fx.Node) -> tuple[fx.Node, ...]:
        tensors = [each for each in node.all_input_nodes if each in self.shapes]
        if len(tensors) != 1:
            raise NetworkError(
                f"from_torch: {owner} reads {len(tensors)} tensors; expected one, as a layer does"
            )
        return (tensors[0],)

    def _merge(self, owner: str, node: fx.Node, shape: Shape, merge: Merge) -> Step:
        given: Any = node.args
        if merge == "concatenate":
            dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
            if dim not in (1, -len(shape)):
                raise NetworkError(f"from_torch: {owner}: dim is {dim}; expected 1, the channels")
            given = node.args[0] if node.args else node.kwargs["tensors"]
        elif node.kwargs.get("alpha", 1) != 1:
            raise NetworkError(f"from_torch: {owner}: alpha is not 1; expected a plain sum")
        else:
            given = (*node.args, *(v for k, v in node.kwargs.items() if k == "other"))
        inputs = tuple(each for each in given if isinstance(each, fx.Node))
        if len(inputs) != len(given) or any(each not in self.shapes for each in inputs):
            raise NetworkError(
                f"from_torch: {owner}: it takes a number; expected values of the network alone"
            )
        if merge == "add" and len({self.shapes[each] for each in inputs}) > 1:
            raise NetworkError(
                f"from_torch: {owner}: it adds {[self.shapes[each] for each in inputs]}; expected "
                f"one shape"
            )
        return Step(owner, node, inputs, shape, merge=merge)

    @staticmethod
    def _reshaping(owner: str, before: Shape, after: Shape) -> nn.Module:
        if before == after:
            return nn.Identity()
        size = 1
        for each in before:
            size *= each
        if after == (size,):
            return nn.Flatten()
        if len(before) == 1 and after == (*before, 1, 1):
            return PixelFromVector()
        raise NetworkError(
            f"from_torch: {owner} makes {after} of {before}; expected vectors of images, or images "
            f"of one pixel of vectors"
        )

    @staticmethod
    def _mean(owner: str, node: fx.Node, before: Shape) -> nn.Module:
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = dims if isinstance(dims, (tuple, list)) else (dims,)
        numbers = {axis % 4 for axis in axes if isinstance(axis, int)}
        if len(before) != 3 or numbers != {2, 3}:
            raise NetworkError(
                f"from_torch: {owner}: dim is {dims}; expected (2, 3), all pixels of images"
            )
        keep = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
        pool = nn.AdaptiveAvgPool2d(1)
        return pool if keep else nn.Sequential(pool, nn.Flatten())
