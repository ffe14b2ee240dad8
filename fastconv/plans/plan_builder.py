"""Making a plan: a network, a batch size and a purpose give a flat list of kernel calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fastconv.plans.node import Node
from fastconv.plans.operation import (
    AugmentSpec,
    InputSpec,
    LossSpec,
    OptimizerSpec,
    RandomSpec,
)
from fastconv.plans.plan import Buffer, Call, Plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.network import Sequential
    from fastconv.plans.update import UpdateSpec

LOSSES = ("softmax_cross_entropy", "nll", "mean_squared_error")
"""By their names in a recipe."""

_AUGMENT_STREAM = 0
_JITTER_STREAM = 2**31
"""Counted down from; layers count up from the other end."""


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
        Name of the loss, or None: scores only.
    optimizer
        Update the parameters, or None.
    input_gradient
        Compute the gradient of the preprocessed input too: the buffer ``input.gradient``.
    accumulate
        Batches whose gradients are averaged for one update.
    """

    training: bool
    backward: bool
    loss: str | None
    optimizer: OptimizerSpec | UpdateSpec | None = None
    input_gradient: bool = False
    accumulate: int = 1


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
        self._pass_number = 0
        self._numbers: dict[str, int] = {}
        self.indices = self.buffer("indices", (batch * purpose.accumulate,), "int64")
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
        if self._pass_number and name in self._numbers:
            return self._numbers[name]  # what another batch of the step is done with
        self._numbers[name] = len(self._buffers)
        self._buffers.append(Buffer(name, shape, dtype, parent, offset, shared))
        return len(self._buffers) - 1

    def view(self, name: str, of: int, shape: Shape) -> int:
        """Add a view of the front of another buffer."""
        return self.buffer(name, shape, self._buffers[of].dtype, parent=of)

    def shared_buffer(self, name: str, shape: Shape) -> int:
        """Return the shared buffer with this name, which is added where it is not there."""
        known = self._numbers.get(name)
        return self.buffer(name, shape, shared=True) if known is None else known

    def shape_of(self, number: int) -> Shape:
        """Shape of a buffer."""
        return self._buffers[number].shape

    def name_of(self, number: int) -> str:
        """Name of a buffer."""
        return self._buffers[number].name

    def resize(self, number: int, size: int) -> None:
        """Give a flat buffer its final size."""
        self._buffers[number] = replace(self._buffers[number], shape=(size,))

    def call(self, kernel: str, spec: object, *arguments: int | None) -> None:
        """Add a kernel call."""
        self._calls.append(Call(kernel, spec, arguments))

    def update(self, spec: OptimizerSpec, w: int, dw: int, moment: Callable[[str], int]) -> None:
        """Add the call of one update rule; ``moment`` gives the buffer of a moment by its name."""
        rate, step = self.rate, self.step
        if spec.kind == "sgd":
            self.call("optim.sgd_update", spec, w, dw, rate)
        elif spec.kind in ("momentum", "nesterov"):
            self.call("optim.momentum_update", spec, w, dw, moment("first_moment"), rate)
        elif spec.kind == "adagrad":
            self.call("optim.adagrad_update", spec, w, dw, moment("second_moment"), rate)
        elif spec.kind == "rmsprop":
            v = moment("second_moment")
            mean = moment("gradient_mean") if spec.centered else None
            m = moment("first_moment") if spec.momentum else None
            self.call("optim.rmsprop_update", spec, w, dw, v, mean, m, rate)
        else:
            m, v = moment("first_moment"), moment("second_moment")
            self.call(f"optim.{spec.kind}_update", spec, w, dw, m, v, rate, step)

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
        indices, parts = self.indices, self.purpose.accumulate
        for self._pass_number in range(parts):
            if parts > 1:
                self.indices = self.buffer(
                    f"indices.{self._pass_number}", (self.batch,), "int64", parent=indices,
                    offset=self._pass_number * self.batch,
                )  # fmt: skip
            self._add_pass()
            if parts > 1:
                self._accumulate()
        self.indices = indices
        if self.purpose.optimizer is not None:
            self._update(self.purpose.optimizer)
        return Plan(self.batch, self.network.dtype, tuple(self._buffers), tuple(self._calls))

    def _accumulate(self) -> None:
        """Add a share of a batch's gradients to those of the step."""
        # Only where it is used: most trainings have one pass a step.
        from fastconv.plans.gradient import AccumulateSpec

        gradients = self._numbers["gradients"]
        (size,) = self.shape_of(gradients)
        total = self.buffer("accumulated_gradients", (size,))
        spec = AccumulateSpec(size, 1 / self.purpose.accumulate, float(self._pass_number > 0))
        self.call("gradient.accumulate", spec, gradients, total)

    def _add_pass(self) -> None:
        """Add the calls of one batch, from its gathering to its gradients."""
        nodes = self._forward(self._input())
        scores = nodes[-1].y
        # A name to find the result by, whatever layer made it.
        self.view("scores", scores, self._buffers[scores].shape)
        if self.purpose.loss is not None:
            gradient = self._loss(self.purpose.loss, scores)
            if self.purpose.backward and gradient is not None:
                self._backward(nodes, gradient)

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
        if a.moves:
            x = self._move(input_spec, x)
        if a.jitters:
            # Only where it is used.
            from fastconv.plans.jitter import JitterSpec

            stream = _JITTER_STREAM - self._pass_number
            spec = JitterSpec(
                input_spec, RandomSpec(self.seed, stream), a.brightness, a.contrast, a.saturation,
                a.erase, a.erase_area,
            )  # fmt: skip
            self.call("input.jitter_images", spec, x, self.step)
        return x

    def _move(self, input_spec: InputSpec, x: int) -> int:
        a = self.source.augmentation
        random = RandomSpec(self.seed, _AUGMENT_STREAM)
        if self._pass_number:
            random = self.new_random_stream()
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
        if layer.in_place and self.root(node.x) not in kept:
            node.y = self.view(node.name, node.x, shape)
        elif self.purpose.backward:
            node.y = self.buffer(node.name, shape)
        else:
            node.y = spare.take(node.name, shape)
        layer.forward(self, node)
        if self.purpose.backward:
            kept.update(self.root(getattr(node, which)) for which in layer.retains)

    def _loss(self, loss: str, scores: int) -> int | None:
        """Add the loss and its statistics; return the gradient of the scores."""
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; expected one of {', '.join(LOSSES)}")
        (outputs,) = self.network.output_shape
        spec = LossSpec(self.batch, outputs)
        losses = self.buffer("losses", (self.batch,))
        statistics = self.buffer("statistics", (3,), "float64")
        gradient = (
            self.buffer("scores.gradient", (self.batch, outputs)) if self.purpose.backward else None
        )
        if loss == "mean_squared_error":
            shape = (self.source.samples, outputs)
            targets = self.buffer("targets", shape, self.source.target_dtype, shared=True)
            target = self.buffer("target", (self.batch, outputs))
            gather = InputSpec(self.batch, 1, 1, outputs)
            self.call("input.gather_rows", gather, targets, self.indices, target)
            self.call("loss.mean_squared_error_forward", spec, scores, target, losses)
            if gradient is not None:
                self.call("loss.mean_squared_error_backward", spec, scores, target, gradient)
        else:
            labels = self.buffer("labels", (self.source.samples,), "int64", shared=True)
            label = self.buffer("label", (self.batch,), "int64")
            gather = InputSpec(self.batch, 1, 1, 1)
            self.call("input.gather_rows", gather, labels, self.indices, label)
            self.call("loss.count_correct", spec, scores, label, statistics)
            if loss == "nll":
                self.call("loss.nll_forward", spec, scores, label, losses)
                if gradient is not None:
                    self.call("loss.nll_backward", spec, label, gradient)
            else:
                name = "loss.softmax_cross_entropy"
                softmax = self.buffer("probabilities", (self.batch, outputs))
                self.call(f"{name}_forward", spec, scores, label, losses, softmax)
                if gradient is not None:
                    self.call(f"{name}_backward", spec, softmax, label, gradient)
        self.call("loss.sum_losses", spec, losses, statistics)
        return gradient

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

    def _update(self, spec: OptimizerSpec | UpdateSpec) -> None:
        """Add the update of all parameters."""
        w = self._numbers["parameters"]
        dw = self._numbers.get("accumulated_gradients", self._numbers["gradients"])
        if not isinstance(spec, OptimizerSpec):
            from fastconv.plans.update import add_updates

            add_updates(self, spec, w, dw, self._numbers["state"])
            return

        def moment(name: str) -> int:
            return self.buffer(name, self.shape_of(w), shared=True)

        self.update(spec, w, dw, moment)


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
