"""Making a plan: a network, a batch size and a purpose give a flat list of kernel calls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fastconv.plans.loss import LOSSES as LOSSES
from fastconv.plans.loss import Loss, add_loss
from fastconv.plans.node import Node
from fastconv.plans.operation import (
    AugmentSpec,
    InputSpec,
    OptimizerSpec,
    RandomSpec,
)
from fastconv.plans.plan import Buffer, Call, Plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.network import Sequential

_AUGMENT_STREAM = 0


@dataclass(frozen=True)
class Purpose:
    """Purpose of a plan.

    Parameters
    ----------
    training
        Batch statistics, dropout and augmentation; else inference.
    backward
        Compute the gradients.
    loss
        The loss, or its name; None: scores only.
    optimizer
        Update the parameters, or None.
    input_gradient
        Compute the gradient of the preprocessed input too: the buffer ``input.gradient``.
    sample_weights
        Each sample counts by its own weight: the shared buffer ``sample_weights``.
    """

    training: bool
    backward: bool
    loss: str | Loss | None
    optimizer: OptimizerSpec | None = None
    input_gradient: bool = False
    sample_weights: bool = False


@dataclass(frozen=True)
class Source:
    """The data set that a plan gathers from.

    Parameters
    ----------
    samples
        Number of samples.
    image_dtype
        "uint8", "float32" or "float64"; a batch has the network's dtype.
    preprocessing, augmentation
        What happens to a batch; the augmentation in training only.
    target_dtype
        Of a regression: "float32" or "float64", or None for the network's dtype.
    """

    samples: int
    image_dtype: str = "uint8"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    augmentation: Augmentation = field(default_factory=Augmentation)
    target_dtype: str | None = None


class PlanBuilder:
    """Collects buffers and calls; layers add to it.

    Parameters
    ----------
    network
        The network.
    batch
        Samples in a step.
    purpose, source
        What the plan is for, and what it gathers from.
    seed
        Of dropout and augmentation.
    """

    def __init__(
        self, network: Sequential, batch: int, purpose: Purpose, source: Source, seed: int = 0
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch size is {batch}; expected 1 or more")
        self.network = network
        self.batch = batch
        self.purpose = purpose
        self.source = source
        self.seed = seed
        self._buffers: list[Buffer] = []
        self._calls: list[Call] = []
        self._streams = _AUGMENT_STREAM
        self.indices = self.buffer("indices", (batch,), "int64")
        self.rate = self.buffer("rate", (1,), "float64")
        self.step = self.buffer("step", (1,), "int64")

    @property
    def training(self) -> bool:
        """Whether layers behave as in training."""
        return self.purpose.training

    def batched(self, shape: Shape) -> Shape:
        """Shape of a batch of samples of this shape."""
        return (self.batch, *shape)

    def buffer(
        self,
        name: str,
        shape: Shape,
        dtype: str | None = None,
        *,
        parent: int | None = None,
        offset: int = 0,
        shared: bool = False,
    ) -> int:
        """Add a buffer and return its number; the network's dtype by default."""
        dtype = dtype or self.network.dtype
        self._buffers.append(Buffer(name, shape, dtype, parent, offset, shared))
        return len(self._buffers) - 1

    def view(self, name: str, of: int, shape: Shape) -> int:
        """Add a view of the front of another buffer."""
        return self.buffer(name, shape, self._buffers[of].dtype, parent=of)

    def resize(self, number: int, size: int) -> None:
        """Give a flat buffer its final size."""
        self._buffers[number] = replace(self._buffers[number], shape=(size,))

    def call(self, kernel: str, spec: object, *arguments: int | None) -> None:
        """Add a kernel call."""
        self._calls.append(Call(kernel, spec, arguments))

    def new_random_stream(self) -> RandomSpec:
        """Return a stream of random numbers that no other call uses."""
        self._streams += 1
        return RandomSpec(self.seed, self._streams)

    def root(self, number: int) -> int:
        """Number of the buffer that owns the memory of a view."""
        parent = self._buffers[number].parent
        return number if parent is None else self.root(parent)

    def build(self) -> Plan:
        """Add everything, first gather to last update, and return the plan."""
        nodes = self._forward(self._input())
        scores = nodes[-1].y
        # A name to find the result by, whatever layer made it.
        self.view("scores", scores, self._buffers[scores].shape)
        if self.purpose.loss is not None:
            gradient = add_loss(self, Loss.of(self.purpose.loss), scores)
            if self.purpose.backward and gradient is not None:
                self._backward(nodes, gradient)
        if self.purpose.optimizer is not None:
            self._update(self.purpose.optimizer)
        return Plan(self.batch, self.network.dtype, tuple(self._buffers), tuple(self._calls))

    def _input(self) -> int:
        """Gather, augment, normalise."""
        shape = self.network.input_shape
        spec = InputSpec(self.batch, *_as_image(shape))
        images_shape = (self.source.samples, *_as_image(shape))
        images = self.buffer("images", images_shape, self.source.image_dtype, shared=True)
        x = self.buffer("input", spec.x_shape)
        self.call("input.gather_images", spec, images, self.indices, x)
        if self.training and self.source.augmentation.is_active:
            x = self._augment(spec, x)
        self._preprocess(spec, x)
        return self.view("input.sample", x, self.batched(shape)) if len(shape) != 3 else x

    def _augment(self, input_spec: InputSpec, x: int) -> int:
        a = self.source.augmentation
        random = RandomSpec(self.seed, _AUGMENT_STREAM)
        spec = AugmentSpec(
            input_spec, random, a.flip, a.crop, a.rotation, a.shear, a.translation, a.cutout
        )
        y = self.buffer("input.augmented", input_spec.x_shape)
        self.call("input.augment_images", spec, x, self.step, y)
        return y

    def _preprocess(self, spec: InputSpec, x: int) -> None:
        p = self.source.preprocessing
        if p.kind == "scale":
            factor = self.buffer("factor", (1,), "float64", shared=True)
            self.call("input.scale_images", spec, x, factor, x)
        elif p.kind == "min_max":
            self.call("input.min_max_images", spec, x, x)
        elif p.kind == "standardize" and p.mean is not None:
            size = (p.mean.size,)
            mean = self.buffer("mean", size, shared=True)
            std = self.buffer("std", size, shared=True)
            self.call("input.standardize_images", spec, x, mean, std, x)

    def _forward(self, x: int) -> list[Node]:
        """Add every layer's forward calls."""
        network = self.network
        parameters = {
            name: self.buffer(name, (flat.size,), shared=True)
            for name, flat in (("parameters", network.parameters), ("state", network.state))
        }
        gradients = (
            self.buffer("gradients", (network.parameters.size,), shared=True)
            if self.purpose.backward
            else None
        )
        kept: set[int] = {self.root(x)} if self.training else set()
        spare = _Alternating(self)
        nodes = []
        for number, layer in enumerate(network.layers):
            node = Node(
                layer, network.names[number], network.shapes[number], network.shapes[number + 1], x
            )
            for name, place in network.places.items():
                if place.layer != number:
                    continue
                p, key = place.parameter, place.parameter.name
                node.parameters[key] = self.buffer(
                    name, p.shape, parent=parameters[place.buffer], offset=place.offset
                )
                if gradients is not None and place.buffer == "parameters":
                    node.gradients[key] = self.buffer(
                        f"{name}.gradient", p.shape, parent=gradients, offset=place.offset
                    )
            self._add_layer(node, kept, spare)
            nodes.append(node)
            x = node.y
        spare.finish()
        return nodes

    def _add_layer(self, node: Node, kept: set[int], spare: _Alternating) -> None:
        """Choose where the layer's output goes, and add its forward calls."""
        layer, shape = node.layer, self.batched(node.output_shape)
        if layer.is_view or (layer.training_only and not self.training):
            node.y = self.view(node.name, node.x, shape)
            return
        needs_x = self.purpose.backward and "x" in layer.retains
        if layer.in_place and not needs_x and self.root(node.x) not in kept:
            node.y = self.view(node.name, node.x, shape)
        elif self.purpose.backward:
            node.y = self.buffer(node.name, shape)
        else:
            node.y = spare.take(node.name, shape)
        layer.forward(self, node)
        if self.purpose.backward:
            kept.update(self.root(getattr(node, which)) for which in layer.retains)

    def _backward(self, nodes: list[Node], dy: int) -> None:
        """Add every layer's backward calls, last to first, down to the first with parameters."""
        trained = [number for number, node in enumerate(nodes) if node.gradients]
        if self.purpose.input_gradient:
            first = -1
        elif trained:
            first = trained[0]
        else:
            return
        spare = _Alternating(self)
        for number in range(len(nodes) - 1, max(first, 0) - 1, -1):
            node = nodes[number]
            name, shape = f"{node.name}.dx", self.batched(node.input_shape)
            if node.layer.is_view:
                dy = self.view(name, dy, shape)
                continue
            dx = None
            if number > first:
                in_place = node.layer.in_place
                dx = self.view(name, dy, shape) if in_place else spare.take(name, shape)
            node.layer.backward(self, node, dy, dx)
            if dx is not None:
                dy = dx
        if self.purpose.input_gradient:
            self.view("input.gradient", dy, self.batched(self.network.input_shape))
        spare.finish()

    def _update(self, spec: OptimizerSpec) -> None:
        """Add the update of all parameters at once."""
        names = [buffer.name for buffer in self._buffers]
        w, dw = names.index("parameters"), names.index("gradients")
        shape = self._buffers[w].shape
        if spec.kind == "sgd":
            self.call("optim.sgd_update", spec, w, dw, self.rate)
            return
        m = self.buffer("first_moment", shape, shared=True)
        if spec.kind == "adam":
            v = self.buffer("second_moment", shape, shared=True)
            self.call("optim.adam_update", spec, w, dw, m, v, self.rate, self.step)
        else:
            self.call("optim.momentum_update", spec, w, dw, m, self.rate)


class _Alternating:
    """Two buffers used in turn, where a result is read by the next call only."""

    def __init__(self, builder: PlanBuilder) -> None:
        self._builder = builder
        self._numbers: list[int] = []
        self._sizes: list[int] = []
        self._turn = 0

    def take(self, name: str, shape: Shape) -> int:
        """Return a view of the buffer whose turn it is."""
        turn = self._turn % 2
        self._turn += 1
        if turn == len(self._numbers):
            self._numbers.append(self._builder.buffer(f"{name}.memory", (0,)))
            self._sizes.append(0)
        self._sizes[turn] = max(self._sizes[turn], math.prod(shape))
        return self._builder.view(name, self._numbers[turn], shape)

    def finish(self) -> None:
        """Give both the size of the largest view."""
        for number, size in zip(self._numbers, self._sizes, strict=True):
            self._builder.resize(number, size)


def _as_image(shape: Shape) -> tuple[int, int, int]:
    """Feature vectors are images of one pixel."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, math.prod(shape))


def build_plan(
    network: Sequential, batch: int, purpose: Purpose, source: Source, seed: int = 0
) -> Plan:
    """Make the plan of one step; parameters as for :class:`PlanBuilder`."""
    return PlanBuilder(network, batch, purpose, source, seed).build()
