"""A fastconv network of a model of PyTorch, with its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from fastconv import layers
from fastconv.interop.pytorch.graph_readers import PixelFromVector, Step, read_graph
from fastconv.interop.pytorch.layer_readers import (
    PASSING,
    Place,
    WeightedLayer,
    assign,
    one_pixel,
    read_layer,
)
from fastconv.network import NetworkError, Sequential
from fastconv.spec import Shape


def from_torch(module: nn.Module, example: torch.Tensor) -> Sequential:
    """Return the fastconv network that computes what a model of PyTorch does.

    The model may be made of layers, of functions of ``torch.nn.functional`` and of branches that
    read one value and meet again: sums (residual blocks), products with factors of the channels
    (squeeze and excitation) and channels side by side.

    Parameters
    ----------
    module
        The model; it is left as it is. It is recorded by ``torch.fx``.
    example
        A batch of its input, (N, C, H, W) or (N, features).

    Returns
    -------
    Sequential
        Of float64 where the model's weights are, else of float32. Its images are (N, H, W, C).

    Raises
    ------
    NetworkError
        If the model has a layer or a shape of graph that fastconv has not; the message says which.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> network = from_torch(model, torch.zeros(1, 1, 8, 8))
    >>> network.names, network.input_shape
    (('conv2d_1', 'relu_1', 'flatten_1', 'dense_1'), (8, 8, 1))
    """
    if not isinstance(module, nn.Module):
        raise NetworkError(
            f"from_torch: module is a {type(module).__name__}; expected a torch.nn.Module"
        )
    if not isinstance(example, torch.Tensor) or example.dim() not in (2, 4):
        told = tuple(example.shape) if isinstance(example, torch.Tensor) else type(example).__name__
        raise NetworkError(
            f"from_torch: example is {told}; expected a tensor (N, C, H, W) or (N, features)"
        )
    steps, output = read_graph(module, example)
    builder = _Builder(steps)
    found = builder.chain(steps[0].node, output)
    channels, *image = steps[0].shape
    dtypes = {p.dtype for p in module.parameters()}
    network = Sequential(
        [each.layer for each in found],
        (*image, channels) if image else (channels,),
        dtype="float64" if torch.float64 in dtypes else "float32",
    )
    for vertex in network.vertices:
        for name, array in builder.weights.get(id(vertex.layer), {}).items():
            assign(network[f"{vertex.name}.{name}"], array)
    return network


class _Builder:
    """Nests the steps of a graph: layers one after the other, and layers of layers."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = {step.node: step for step in steps}
        self.weights: dict[int, Any] = {}
        """Arrays of the layers, by the layers' identity: equal layers have weights of their own."""
        self._dominators = self._find_dominators()
        self._readers: dict[fx.Node, list[fx.Node]] = {node: [] for node in self.steps}
        for step in steps:
            for node in step.inputs:
                self._readers[node].append(step.node)
        self._images: dict[fx.Node, Shape] = {}
        """Vectors in fastconv's order: the image that each was."""
        self._used: set[fx.Node] = set()
        self._used_modules: set[int] = set()
        for step in steps:
            self._find_order(step)

    def _find_dominators(self) -> dict[fx.Node, list[fx.Node]]:
        """For each value, those that every way from the input to it leads through, in order."""
        found: dict[fx.Node, list[fx.Node]] = {}
        for node, step in self.steps.items():
            common = [found[each] for each in step.inputs]
            shared = [n for n in common[0] if all(n in c for c in common[1:])] if common else []
            found[node] = [*shared, node]
        return found

    # The order of the elements of vectors.

    def _find_order(self, step: Step) -> None:
        if len(step.inputs) != 1 or not isinstance(step.layer, PASSING):
            return
        before = self.steps[step.inputs[0]].shape
        if isinstance(step.layer, nn.Flatten) and len(before) == 3:
            channels, height, width = before
            if channels > 1 and height * width > 1 and self._ends_in_linear(step.node):
                self._images[step.node] = before
        elif step.inputs[0] in self._images:
            self._images[step.node] = self._images[step.inputs[0]]

    def _ends_in_linear(self, node: fx.Node) -> bool:
        """Whether only layers read a vector that do not mind its order."""
        readers = self._readers[node]
        return bool(readers) and all(self._does_not_mind(self.steps[each]) for each in readers)

    def _does_not_mind(self, step: Step) -> bool:
        if step.merge is not None or len(step.shape) != 1:
            return False
        if isinstance(step.layer, nn.Linear):
            return True
        return isinstance(step.layer, PASSING) and self._ends_in_linear(step.node)

    # Layers one after the other.

    def chain(self, source: fx.Node, target: fx.Node) -> list[WeightedLayer]:
        """Return the layers that make one value of another."""
        pieces: list[list[WeightedLayer]] = []
        while target is not source:
            step = self.steps[target]
            if not step.inputs or target in self._used:
                raise NetworkError(
                    f"from_torch: {step.owner} is read by branches that do not begin and meet "
                    f"together; expected branches within each other"
                )
            self._used.add(target)
            if step.merge is None:
                pieces.append(self._layers(step))
                target = step.inputs[0]
                continue
            fork = self._dominators[target][-2]
            pieces.append([self._merge(step, fork)])
            target = fork
        return _simplified([layer for piece in reversed(pieces) for layer in piece])

    def _layers(self, step: Step) -> list[WeightedLayer]:
        module, node = step.layer, step.inputs[0]
        place = Place(step.owner, self.steps[node].shape, self._images.get(node))
        if isinstance(module, PixelFromVector):
            return [one_pixel(step.shape[0])]
        if isinstance(module, nn.Sequential):  # of a mean over the pixels
            pool, _ = module
            return _simplified([*read_layer(pool, place), WeightedLayer(layers.Flatten())])
        assert module is not None
        if id(module) in self._used_modules and any(True for _ in module.parameters()):
            raise NetworkError(
                f"from_torch: {step.owner} is used twice, with the same weights; expected each "
                f"layer once"
            )
        self._used_modules.add(id(module))
        found = read_layer(module, place)
        if isinstance(module, nn.Flatten) and len(place.shape) == 3:
            channels, height, width = place.shape
            if channels > 1 and height * width > 1 and step.node not in self._images:
                # Somebody behind it counts on PyTorch's order.
                found = [WeightedLayer(layers.Permute((2, 0, 1))), *found]
        for each in found:
            self.weights[id(each.layer)] = each.weights
        return found

    def _merge(self, step: Step, fork: fx.Node) -> WeightedLayer:
        branches = [self.chain(fork, node) for node in step.inputs]
        plain = [tuple(each.layer for each in branch) for branch in branches]
        if step.merge == "concatenate":
            return WeightedLayer(layers.Concatenate(*plain))
        if len(branches) != 2:
            raise NetworkError(f"from_torch: {step.owner} merges {len(branches)}; expected two")
        if step.merge == "add":
            first, second = plain if plain[0] else plain[::-1]
            return WeightedLayer(layers.Residual(first, second))
        # Factors that are one number for each channel are a vector in fastconv.
        if plain[0] and plain[1]:
            raise NetworkError(
                f"from_torch: {step.owner} multiplies what two branches make; expected the value "
                f"that they read as one of both"
            )
        factors, node = (plain[0], step.inputs[0]) if plain[0] else (plain[1], step.inputs[1])
        if self.steps[node].shape != step.shape:
            ending = [WeightedLayer(layer) for layer in (*factors, layers.Flatten())]
            factors = tuple(each.layer for each in _simplified(ending))
        return WeightedLayer(layers.Scale(factors))


def _simplified(found: list[WeightedLayer]) -> list[WeightedLayer]:
    """Leave out vectors that become images of one pixel and vectors again at once."""
    kept: list[WeightedLayer] = []
    for each in found:
        if kept and isinstance(each.layer, layers.Flatten):
            before = kept[-1].layer
            if isinstance(before, layers.Reshape) and before.shape[:2] == (1, 1):
                kept.pop()
                continue
        kept.append(each)
    return kept
