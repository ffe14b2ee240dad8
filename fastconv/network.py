"""A network: layers, their shapes, and one flat buffer of parameters."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv._errors import UserError
from fastconv._extras import missing_extra
from fastconv._files import replace_file
from fastconv.initializers import He, Initializer
from fastconv.layers import Layer, Parameter
from fastconv.spec import Shape, SpecError, as_plain, require_int

if TYPE_CHECKING:
    from fastconv.network_function import NetworkFunction, Pullback
    from fastconv.plans.loss import Loss

_ALIGNMENT = 16
"""Elements: every parameter starts on a cache line (64 bytes of float32)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a parameter: elements of one of the flat buffers.

    Parameters
    ----------
    layer
        Number of the vertex that the layer is.
    parameter
        What it is.
    buffer
        "parameters", or "state" for what is not trained.
    offset
        First element.
    """

    layer: int
    parameter: Parameter
    buffer: str
    offset: int

    @property
    def end(self) -> int:
        """One past the last element."""
        return self.offset + self.parameter.size


@dataclass(frozen=True, slots=True)
class Vertex:
    """A layer at its place in a network.

    Parameters
    ----------
    layer
        The layer; one of layers stands for what merges their outputs, behind them.
    name
        Its name, such as "conv2d_1", or "residual_1.conv2d_1" within a layer of layers.
    inputs
        Numbers of the vertices whose outputs it reads; -1 is the network's input.
    input_shapes, output_shape
        Of one sample.
    """

    layer: Layer
    name: str
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters of the layer itself, not of layers in it."""
        return () if self.layer.branches else self.layer.parameters(self.input_shapes[0])

    @property
    def flops(self) -> int:
        """Floating point operations of its forward pass on one sample."""
        return 0 if self.layer.branches else self.layer.flops(self.input_shapes[0])


class NetworkError(UserError, ValueError):
    """A network that cannot be: the layer and the reason in one line."""


class Sequential:
    """Layers one after the other.

    Parameters
    ----------
    layers
        The layers, first to last.
    input_shape
        Of one sample: (height, width, channels), or (features,).
    initializer
        Draws the weights, He's by default; or several by patterns of the weights' names, such as
        ``{"conv2d_1.weight": Dirac(), "*": He()}``: the first that fits counts, He's for others.
    seed
        Of the weights.
    dtype
        "float32" or "float64".

    Attributes
    ----------
    parameters, state
        Flat buffers: all weights first, then biases and scales; and what is not trained. Layers
        hold views.
    vertices
        The layers as a graph, those in layers too, in the order in which they run. A chain of
        layers has one for each of them.
    names, shapes
        Of the vertices: their names; and the input's shape, then that of each one's output.
    weights_end
        The first ``weights_end`` elements of ``parameters`` are weights.

    Raises
    ------
    NetworkError
        If a layer does not accept what the one before gives, or shrinks an image below 1x1.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, Dense, Flatten, ReLU
    >>> network = Sequential([Conv2D(8), ReLU(), Flatten(), Dense(10)], input_shape=(8, 8, 1))
    >>> network.output_shape, network.parameter_count
    ((10,), 2970)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Sequence[int],
        *,
        initializer: Initializer | Mapping[str, Initializer] | None = None,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise NetworkError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
        self.layers: tuple[Layer, ...] = _layers(layers)
        self.input_shape: Shape = _input_shape(input_shape)
        seed = require_int("Sequential", "seed", seed, 0)
        self.dtype = dtype
        self.vertices = self._make_vertices()
        self.names = tuple(vertex.name for vertex in self.vertices)
        self.shapes = (self.input_shape, *(vertex.output_shape for vertex in self.vertices))
        self.places = self._place_parameters()
        try:
            self.parameters: NDArray[np.floating] = np.zeros(self._end("parameters"), dtype)
            self.state: NDArray[np.floating] = np.zeros(self._end("state"), dtype)
        except (MemoryError, ValueError):  # ValueError where the count is beyond NumPy's range
            raise NetworkError(
                f"the network has {self.parameter_count:,} parameters, more than fit in memory; "
                f"make its layers smaller"
            ) from None
        self.weights_end = max(
            (place.end for place in self.places.values() if place.parameter.kind == "weight"),
            default=0,
        )
        self.initialize(initializer or He(), seed)

    def _make_vertices(self) -> tuple[Vertex, ...]:
        """Number the layers, and find who reads what."""
        if not self.layers:
            raise NetworkError("the network has no layers; give it at least one")
        found: list[Vertex] = []
        self._add_vertices(self.layers, "", -1, found)
        return tuple(found)

    def _add_vertices(
        self, layers: Sequence[Layer], of: str, source: int, found: list[Vertex], outer: int = 0
    ) -> int:
        """Add layers one after the other that begin at a vertex; return the last one's number."""
        for number, (layer, kind) in enumerate(zip(layers, _names(layers), strict=True), start=1):
            source = self._add_vertex(layer, f"{of}{kind}", (source,), found, outer or number)
        return source

    def _add_vertex(
        self,
        layer: Layer,
        name: str,
        sources: tuple[int, ...],
        found: list[Vertex],
        outer: int,
    ) -> int:
        """Add a layer that reads some vertices, and those in it; return its number."""
        if layer.graph_steps:
            return self._add_graph(layer, name, sources[0], found, outer)
        inputs = list(sources)
        if branches := layer.branches:
            starts = sources if len(sources) > 1 else sources * len(branches)
            inputs = [
                self._add_vertices(
                    branch.layers, f"{name}.{branch.name}{'.' if branch.name else ''}",
                    start, found, outer,
                )
                for branch, start in zip(branches, starts, strict=True)
            ]  # fmt: skip
        shapes = [found[each].output_shape if each >= 0 else self.input_shape for each in inputs]
        try:
            shape = layer.merged_shape(shapes) if branches else layer.output_shape(shapes[0])
        except ValueError as fault:
            told = fault.said if isinstance(fault, SpecError) else fault
            raise NetworkError(f"layer {outer} ({name}), input {shapes[0]}: {told}") from None
        found.append(Vertex(layer, name, tuple(inputs), tuple(shapes), shape))
        return len(found) - 1

    def _add_graph(
        self, graph: Layer, name: str, source: int, found: list[Vertex], outer: int
    ) -> int:
        """Add the steps of a graph; return the number of the last one, which is its output."""
        values = {"input": source}
        for step, layer, read in graph.graph_steps:
            sources = tuple(values[each] for each in read)
            source = self._add_vertex(layer, f"{name}.{step}", sources, found, outer)
            values[step] = source
        return source

    def _place_parameters(self) -> dict[str, Place]:
        """Lay the parameters out: weights first, so that L2 and decay act on a front part."""
        found = [
            (f"{vertex.name}.{parameter.name}", number, parameter)
            for number, vertex in enumerate(self.vertices)
            for parameter in vertex.parameters
        ]
        ends = {"parameters": 0, "state": 0}
        places: dict[str, Place] = {}
        for weights in (True, False):
            for name, number, parameter in found:
                if (parameter.kind == "weight") is not weights:
                    continue
                buffer = "state" if parameter.kind == "state" else "parameters"
                places[name] = Place(number, parameter, buffer, ends[buffer])
                ends[buffer] += -(-parameter.size // _ALIGNMENT) * _ALIGNMENT
        return places

    def _end(self, buffer: str) -> int:
        return max((p.end for p in self.places.values() if p.buffer == buffer), default=0)

    @property
    def output_shape(self) -> Shape:
        """Shape of one output sample."""
        return self.shapes[-1]

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters, without the gaps that align them."""
        places = self.places.values()
        return sum(p.parameter.size for p in places if p.buffer == "parameters")

    @property
    def flops(self) -> int:
        """Floating point operations of the forward pass on one sample."""
        return sum(vertex.flops for vertex in self.vertices)

    def initialize(self, initializer: Initializer | Mapping[str, Initializer], seed: int) -> None:
        """Draw new weights; biases become 0, scales 1, running statistics those of N(0, 1).

        Parameters
        ----------
        initializer, seed
            As for the network itself.

        Raises
        ------
        SpecError
            If a pattern fits no weight, or an initialiser cannot draw such weights.
        """
        weights = [name for name, place in self.places.items() if place.parameter.kind == "weight"]
        by_pattern = initializer if isinstance(initializer, Mapping) else {"*": initializer}
        for pattern in by_pattern:
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in weights):
                fix = f"a pattern of some of {', '.join(weights)}"
                raise SpecError("Sequential", "initializer", pattern, fix)
        generator = np.random.default_rng([seed, 0x5EED])
        for name, place in self.places.items():
            view, parameter = self[name], place.parameter
            if parameter.kind != "weight":
                view[...] = parameter.start
                continue
            fitting = (each for pattern, each in by_pattern.items() if fnmatchcase(name, pattern))
            view[...] = next(fitting, He()).draw(
                generator, parameter.shape, parameter.fan_in, parameter.fan_out
            )

    def __getitem__(self, name: str) -> NDArray[np.floating]:
        """Return the view of a parameter, such as ``network["conv2d_1.weight"]``."""
        place = self.places[name]
        flat = self.parameters if place.buffer == "parameters" else self.state
        return flat[place.offset : place.end].reshape(place.parameter.shape)

    def named_arrays(self) -> dict[str, NDArray[np.floating]]:
        """All parameters and states by name, as views, in the order of the layers."""
        order = sorted(self.places, key=lambda name: self.places[name].layer)
        return {name: self[name] for name in order}

    def gradient_views(self, gradients: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Views into a flat gradient buffer by parameter name."""
        return {
            name: gradients[place.offset : place.end].reshape(place.parameter.shape)
            for name, place in self.places.items()
            if place.buffer == "parameters"
        }

    def __call__(
        self,
        images: NDArray[Any],
        *,
        training: bool = False,
        seed: int = 0,
        step: int = 0,
        backend: str | None = None,
        threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the outputs for images; see :class:`fastconv.NetworkFunction`.

        Parameters
        ----------
        images, training, seed, step
            As for its calls.
        backend, threads
            As for :class:`fastconv.ExecutionConfig`.
        """
        function = self._function(backend, threads)
        return function(images, training=training, seed=seed, step=step)

    def value_and_gradient(
        self,
        theta: ArrayLike | None,
        images: NDArray[Any],
        labels: ArrayLike,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        sample_weights: ArrayLike | None = None,
        batch_size: int | None = None,
        training: bool = True,
        seed: int = 0,
        step: int = 0,
        out: NDArray[np.floating] | None = None,
        backend: str | None = None,
        threads: int | None = None,
    ) -> tuple[float, NDArray[np.floating]]:
        """Return the mean loss of a batch at ``theta``, and its gradient by ``theta``.

        :meth:`fastconv.NetworkFunction.value_and_gradient` has the parameters and
        what is returned.
        """
        return self._function(backend, threads).value_and_gradient(
            theta, images, labels, loss=loss, sample_weights=sample_weights,
            batch_size=batch_size, training=training, seed=seed, step=step, out=out,
        )  # fmt: skip

    def vjp(
        self,
        images: NDArray[Any],
        *,
        input_gradient: bool = False,
        training: bool = True,
        seed: int = 0,
        step: int = 0,
        backend: str | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[Any], Pullback]:
        """Return the outputs for images, and the function that makes gradients of theirs.

        :meth:`fastconv.NetworkFunction.vjp` has the parameters and what is
        returned.
        """
        return self._function(backend, threads).vjp(
            images, input_gradient=input_gradient, training=training, seed=seed, step=step
        )

    def _function(self, backend: str | None, threads: int | None) -> NetworkFunction:
        """Return the network as a function there, which is kept with its plans."""
        # What computes stands above what is computed: it is looked up when it is asked for.
        above = import_module("fastconv.network_function")
        config = above.ExecutionConfig(backend, threads)
        kept: dict[Any, NetworkFunction] = self.__dict__.setdefault("_functions", {})
        if config not in kept or not kept[config].is_current:
            kept[config] = above.NetworkFunction(self, config)
        return kept[config]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what computes with the arrays of this very object."""
        return {name: value for name, value in self.__dict__.items() if name != "_functions"}

    def penalty(self, factor: float) -> float:
        """``factor * ||W||^2`` over the weights, summed in float64."""
        if factor == 0:
            return 0.0
        weights = self.parameters[: self.weights_end].astype(np.float64)
        return factor * float(weights @ weights)

    def summary(self) -> str:
        """Table of the layers: output shape, parameters, forward MFLOP of one sample."""
        return _table(self._rows())

    def _rows(self) -> list[tuple[str, str, str, str]]:
        """The cells of the summary, head first and total last."""
        rows = [("layer", "output shape", "parameters", "MFLOP")]
        rows.append(("input", _times(self.input_shape), "", ""))
        for number, vertex in enumerate(self.vertices):
            places = (p for p in self.places.values() if p.layer == number)
            count = sum(p.parameter.size for p in places if p.buffer == "parameters")
            flops = vertex.flops
            rows.append(
                (
                    vertex.name,
                    _times(vertex.output_shape),
                    f"{count:,}" if count else "",
                    f"{flops / 1e6:,.3f}" if flops else "",
                )
            )
        rows.append(("total", "", f"{self.parameter_count:,}", f"{self.flops / 1e6:,.3f}"))
        return rows

    def __repr__(self) -> str:
        return f"Sequential of {len(self.layers)} layers\n{self.summary()}"

    def _repr_html_(self) -> str:
        """Return the summary as a table, for a notebook."""
        head, *body = self._rows()
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in body
        )
        return f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"

    def save_weights(self, path: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write all parameters and states as safetensors; equal weights give equal bytes.

        Convolution weights are HWIO, dense weights (inputs, units).

        Parameters
        ----------
        path
            The file to write, or a binary file that is open for writing, such as ``io.BytesIO()``.

        Raises
        ------
        NetworkError
            If the folder is missing, the path is a folder, or it cannot be written to.
        """
        try:
            from safetensors.numpy import save
        except ModuleNotFoundError as fault:
            raise missing_extra("save_weights", fault) from None
        arrays = {name: np.ascontiguousarray(a) for name, a in self.named_arrays().items()}
        content = save(dict(sorted(arrays.items())))
        if not isinstance(path, (str, os.PathLike)):
            if not hasattr(path, "write"):
                raise NetworkError(
                    f"save_weights: path is a {type(path).__name__}; expected a path or a binary "
                    f"file open for writing"
                )
            path.write(content)
            return
        target = Path(path)
        if target.is_dir():
            raise NetworkError(
                f"save_weights: {path} is a folder; expected a file in it, such as "
                f"{target / 'weights.safetensors'}"
            )
        if not target.parent.is_dir():
            raise NetworkError(
                f"save_weights: {path}: there is no folder {target.parent}; make it first"
            )
        try:
            with replace_file(target, "wb") as file:
                file.write(content)
        except OSError as fault:
            raise NetworkError(
                f"save_weights: {path}: cannot be written ({fault.strerror})"
            ) from None

    def load_matching_weights(self, path: str | os.PathLike[str]) -> list[str]:
        """Read what there is of a file for this network, by names: to begin from other weights.

        Parameters
        ----------
        path
            As for :meth:`load_weights`, or a checkpoint; of any network.

        Returns
        -------
        list of str
            What was left out, each with the reason: in the file or in the network alone, or of
            another shape.

        Raises
        ------
        NetworkError
            If the file is damaged, or nothing in it fits.
        """
        stored = {
            n: a for n, a in _read_weights("load_matching_weights", path).items() if "/" not in n
        }
        own, left_out = self.named_arrays(), []
        fitting = [name for name in own if name in stored and stored[name].shape == own[name].shape]
        if not fitting:
            raise NetworkError(
                f"{path}: nothing in it fits the network, whose first parameter is "
                f"{next(iter(own), None)!r}; give weights of a network that shares layers with it"
            )
        for name in fitting:
            own[name][...] = stored[name]
        for name in dict.fromkeys([*own, *stored]):
            if name not in stored:
                left_out.append(f"{name} (not in the file)")
            elif name not in own:
                left_out.append(f"{name} (not in the network)")
            elif name not in fitting:
                left_out.append(
                    f"{name} ({stored[name].shape} in the file, {own[name].shape} here"
                    f"{_of_pytorch(stored[name].shape, own[name].shape)})"
                )
        return left_out

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read what :meth:`save_weights` wrote.

        Raises
        ------
        NetworkError
            If the file is damaged or belongs to another network; then nothing is changed.
        """
        stored = _read_weights("load_weights", path)
        own = self.named_arrays()
        for name in sorted(own.keys() ^ stored.keys()):
            where = "lacks" if name in own else "has"
            raise NetworkError(f"{path}: the file {where} {name!r}, unlike the network")
        for name, view in own.items():
            if stored[name].shape != view.shape:
                raise NetworkError(
                    f"{path}: {name!r} has shape {stored[name].shape}; the network has "
                    f"{view.shape}{_of_pytorch(stored[name].shape, view.shape)}"
                )
            if stored[name].dtype.kind != "f":
                raise NetworkError(
                    f"{path}: {name!r} has dtype {stored[name].dtype}; expected {view.dtype}"
                )
        for name, view in own.items():
            view[...] = stored[name]


def _layers(given: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return layers as they were given, once it is clear that they are some."""
    if isinstance(given, Layer) or not hasattr(given, "__iter__"):
        raise NetworkError(
            f"layers is a {type(given).__name__}; expected a list of layers, such as [Flatten(), "
            f"Dense(10)]"
        )
    layers = tuple(given)
    for number, layer in enumerate(layers, start=1):
        if isinstance(layer, type) and issubclass(layer, Layer):
            name = layer.__name__
            raise NetworkError(f"layer {number} is the class {name}; expected one made: {name}()")
        if not isinstance(layer, Layer):
            raise NetworkError(
                f"layer {number} is {layer!r}; expected one of fastconv.layers, such as Dense(10)"
            )
    return layers


def _input_shape(given: Sequence[int]) -> Shape:
    """Return the shape of a sample as plain integers."""
    plain = as_plain(given)
    sizes = tuple(map(as_plain, plain)) if isinstance(plain, (tuple, list)) else ()
    if len(sizes) not in (1, 3) or not all(type(n) is int and n >= 1 for n in sizes):
        raise NetworkError(
            f"input_shape is {given!r}; expected (height, width, channels) or (features,), each an "
            f"integer of 1 or more"
        )
    return sizes


def _read_weights(owner: str, path: str | os.PathLike[str]) -> Mapping[str, NDArray[np.floating]]:
    """Return the arrays of a safetensors file."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ModuleNotFoundError as fault:
        raise missing_extra("load_weights", fault) from None
    if not isinstance(path, (str, os.PathLike)):
        raise NetworkError(f"{owner}: path is a {type(path).__name__}; expected a path")
    if not os.path.exists(path):
        raise NetworkError(f"{owner}: {path}: there is no such file; correct the path")
    try:
        stored: Mapping[str, NDArray[np.floating]] = load_file(path)
    except OSError as fault:
        # What safetensors raises by itself has no strerror.
        why = fault.strerror or " ".join(str(fault).split())
        raise NetworkError(f"{path}: cannot be read ({why})") from None
    except (SafetensorError, TypeError, AttributeError) as fault:
        # The last two: a dtype that NumPy does not have, such as bfloat16.
        raise NetworkError(f"{path}: not a readable safetensors file ({fault})") from None
    return stored


def _of_pytorch(stored: Shape, own: Shape) -> str:
    """What to do with weights in PyTorch's order; or nothing."""
    if len(own) == 4 and tuple(stored[axis] for axis in (2, 3, 1, 0)[: len(stored)]) == own:
        return "; it is in PyTorch's order, OIHW: use transpose(2, 3, 1, 0)"
    if len(own) == 2 and stored == own[::-1]:
        return "; it is in PyTorch's order, (outputs, inputs): use its transpose"
    return ""


def _names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Name each layer by its kind and a count: conv2d_1, conv2d_2, dense_1, ..."""
    counts: dict[str, int] = {}
    names = []
    for layer in layers:
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
        names.append(f"{layer.kind}_{counts[layer.kind]}")
    return tuple(names)


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    """Align the columns, numbers to the right, with rules below the head and above the total."""
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        name, shape, count, flops = (cell for cell in row)
        lines.append(
            f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}  {flops:>{widths[3]}}"
        )
    rule = "-" * (sum(widths) + 6)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
