"""Making a plan: a network, a batch size and a purpose give a flat list of kernel calls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fastconv.plans.loss import LOSSES as LOSSES
from fastconv.plans.loss import Loss, add_loss
from fastconv.plans.node import Node, ParameterGradients, ReusedMemory
from fastconv.plans.operation import InputSpec, OptimizerSpec, RandomSpec
from fastconv.plans.plan import Buffer, Call, Plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.network import Place, Sequential
    from fastconv.plans.update import UpdateSpec

_FOR_BACKWARD = -(10**6)
"""Number, among the values, of what the backward pass reads later: its memory is kept."""
_INPUT = -1
"""The number of the network's input among the values; those of layers' outputs are theirs."""


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
    accumulate
        Batches whose gradients are averaged for one update.
    given_gradient
        Without a loss: the backward pass begins with a gradient of the scores that others give, the
        shared buffer ``output_gradient``. What it is given for is in the buffer ``outputs`` then.
    frozen
        Parameters and state are constant: nobody writes them while the plan is in use.
    untrained
        Start and size of the stretches of the parameters that nobody updates: the plan leaves out
        their gradients, which stay what they are in ``gradients``, and what only these need.
    """

    training: bool
    backward: bool
    loss: str | Loss | None
    optimizer: OptimizerSpec | UpdateSpec | None = None
    input_gradient: bool = False
    sample_weights: bool = False
    accumulate: int = 1
    given_gradient: bool = False
    frozen: bool = False
    untrained: tuple[tuple[int, int], ...] = ()


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
    steps_per_epoch
        Of training.
    """

    samples: int
    image_dtype: str = "uint8"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    augmentation: Augmentation = field(default_factory=Augmentation)
    target_dtype: str | None = None
    steps_per_epoch: int = 1


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

    Attributes
    ----------
    mixture
        The buffers of the partners and the shares that images were mixed by; None where they are
        not.
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
        self.mixture: tuple[int, int] | None = None
        self._streams = 0  # that of the augmentation
        self._pass_number = 0
        self._numbers: dict[str, int] = {}
        self._kept: set[int] = set()
        self._needed: dict[int, bool] = {}
        self._memory = ReusedMemory(self)
        self.indices = self.buffer("indices", (batch * purpose.accumulate,), "int64")
        # With a momentum behind it where that is scheduled; one for each schedule.
        numbers = 2 if getattr(purpose.optimizer, "scheduled_momentum", False) else 1
        schedules = getattr(purpose.optimizer, "schedules", 0)
        shape = (1 + schedules, numbers) if schedules else (numbers,)
        self.rate = self.buffer("rate", shape, "float64")
        self.step = self.buffer("step", (1,), "int64")

    @property
    def training(self) -> bool:
        """Whether layers behave as in training."""
        return self.purpose.training

    @property
    def pass_number(self) -> int:
        """Number of the batch of the step that calls are added for, from 0."""
        return self._pass_number

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
        constant: bool = False,
    ) -> int:
        """Add a buffer and return its number; the network's dtype by default."""
        dtype = dtype or self.network.dtype
        if self._pass_number and name in self._numbers:
            return self._numbers[name]  # what another batch of the step is done with
        self._numbers[name] = len(self._buffers)
        self._buffers.append(Buffer(name, shape, dtype, parent, offset, shared, constant))
        return len(self._buffers) - 1

    def take(self, name: str, shape: Shape) -> int:
        """Add a view of memory that is free until the next layer, and while a value is in it."""
        return self._memory.take(name, shape)

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

    def rate_of(self, schedule: int) -> int:
        """Return the buffer of the learning rate that a schedule gives, by its number."""
        shape = self.shape_of(self.rate)
        if len(shape) == 1:
            return self.rate
        name, numbers = f"rate.{schedule}", shape[1]
        known = self._numbers.get(name)
        if known is not None:
            return known
        offset = schedule * numbers
        return self.buffer(name, (numbers,), "float64", parent=self.rate, offset=offset)

    def update(
        self, spec: OptimizerSpec, w: int, dw: int, moment: Callable[[str], int], rate: int
    ) -> None:
        """Add the call of one update rule; ``moment`` gives the buffer of a moment by its name."""
        step = self.step
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

    def build_update(self) -> Plan:
        """Add the update alone, by gradients that are there, and return the plan."""
        network = self.network
        for name, flat in (("parameters", network.parameters), ("state", network.state)):
            self.buffer(name, (flat.size,), shared=True)
        self.buffer("gradients", (network.parameters.size,), shared=True)
        if self.purpose.optimizer is not None:
            self._update(self.purpose.optimizer)
        return Plan(self.batch, network.dtype, tuple(self._buffers), tuple(self._calls))

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
            gradient = add_loss(self, Loss.of(self.purpose.loss), scores)
            if self.purpose.backward and gradient is not None:
                self._backward(nodes, gradient)
        elif self.purpose.given_gradient:
            self._backward(nodes, self._given_gradient(scores))

    def _given_gradient(self, scores: int) -> int:
        """Add what lies between the passes: the outputs set aside, their gradient taken in."""
        # Only here: trainings have a loss.
        from fastconv.plans.gradient import AccumulateSpec

        shape = self._buffers[scores].shape
        size = math.prod(shape)
        outputs = self.buffer("outputs", shape)
        flat = (
            self.view("scores.flat", scores, (size,)),
            self.view("outputs.flat", outputs, (size,)),
        )
        self.call("gradient.accumulate", AccumulateSpec(size, 1.0, 0.0), *flat)
        given = self.buffer("output_gradient", (self.source.samples, *shape[1:]), shared=True)
        gradient = self.buffer("scores.gradient", shape)
        spec = InputSpec(self.batch, 1, 1, math.prod(shape[1:]))
        self.call("input.gather_rows", spec, given, self.indices, gradient)
        return gradient

    def _input(self) -> int:
        """Gather, augment, normalise."""
        shape = self.network.input_shape
        spec = InputSpec(self.batch, *_as_image(shape))
        images_shape = (self.source.samples, *_as_image(shape))
        images = self.buffer("images", images_shape, self.source.image_dtype, shared=True)
        x = self.buffer("input", spec.x_shape)
        self.call("input.gather_images", spec, images, self.indices, x)
        if self.training and self.source.augmentation.is_active:
            # Only where it is used.
            from fastconv.plans.augmented_input import add_augmentation

            x = add_augmentation(self, spec, x)
        self._preprocess(spec, x)
        return self.view("input.sample", x, self.batched(shape)) if len(shape) != 3 else x

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
            name: self.buffer(name, (flat.size,), shared=True, constant=self.purpose.frozen)
            for name, flat in (("parameters", network.parameters), ("state", network.state))
        }
        gradients = (
            self.buffer("gradients", (network.parameters.size,), shared=True)
            if self.purpose.backward
            else None
        )
        self._kept = {self.root(x)} if self.training else set()
        self._memory = ReusedMemory(self)
        self._memory.hold(x, _INPUT)
        self._needed = self._needed_gradients()
        values, readers = {_INPUT: x}, Counter(i for v in network.vertices for i in v.inputs)
        nodes = []
        for number, vertex in enumerate(network.vertices):
            inputs = tuple(values[each] for each in vertex.inputs)
            node = Node(
                vertex.layer, vertex.name, vertex.input_shapes[0], vertex.output_shape, inputs[0],
                inputs=inputs, input_shapes=vertex.input_shapes,
            )  # fmt: skip
            node.gradients = ParameterGradients(self, node)
            for name, place in network.places.items():
                if place.layer != number:
                    continue
                p, key = place.parameter, place.parameter.name
                node.parameters[key] = self.buffer(
                    name, p.shape, parent=parameters[place.buffer], offset=place.offset
                )
                if gradients is not None and self._is_trained(place):
                    node.gradients[key] = self.buffer(
                        f"{name}.gradient", p.shape, parent=gradients, offset=place.offset
                    )
            readers.subtract(vertex.inputs)
            done = {each for each in vertex.inputs if not readers[each]}
            free = [values[i] for i in vertex.inputs if i in done and self._is_free(values[i], i)]
            self._add_layer(node, free, self._needed[number])
            values[number] = node.y
            self._memory.hold(node.y, number)
            for each in done:
                self._memory.release(values[each], each)
            self._memory.settle()
            nodes.append(node)
        self._memory.finish()
        return nodes

    def _is_free(self, number: int, value: int) -> bool:
        """Whether a value's last reader may overwrite it: nobody reads its memory later."""
        return self._memory.holds_only(number, value) and self.root(number) not in self._kept

    def _is_trained(self, place: Place) -> bool:
        """Whether a place is that of a parameter with a gradient in this plan."""
        return place.buffer == "parameters" and not any(
            start <= place.offset < start + size for start, size in self.purpose.untrained
        )

    def _needed_gradients(self) -> dict[int, bool]:
        """Of each value, by its number, whether the plan computes its gradient.

        Those of the outputs of layers with trained parameters are needed, and all that follow.
        """
        network, backward = self.network, self.purpose.backward
        trained = {p.layer for p in network.places.values() if self._is_trained(p)}
        needed = {_INPUT: backward and self.purpose.input_gradient}
        for number, vertex in enumerate(network.vertices):
            own = backward and number in trained
            needed[number] = own or any(needed[each] for each in vertex.inputs)
        return needed

    def _add_layer(self, node: Node, free: list[int], needed: bool) -> None:
        """Choose where the layer's output goes, and add its forward calls."""
        layer, shape = node.layer, self.batched(node.output_shape)
        if layer.is_view or (layer.training_only and not self.training):
            node.y = self.view(node.name, node.x, shape)
            return
        needs_x = needed and "x" in layer.retains
        if layer.in_place and not needs_x and free:
            node.y = self.view(node.name, free[0], shape)
        elif needed:
            node.y = self.buffer(node.name, shape)
        else:
            node.y = self.take(node.name, shape)
        layer.forward(self, node)
        if needed:
            for which in layer.retains:
                for number in node.inputs if which == "x" else (node.y,):
                    self._kept.add(self.root(number))
                    self._memory.hold(number, _FOR_BACKWARD)

    def _backward(self, nodes: list[Node], dy: int) -> None:
        """Add every layer's backward calls, last to first, where a gradient is needed.

        A value that several layers read has the sum of their gradients.
        """
        vertices, needed = self.network.vertices, self._needed
        if not any(needed.values()):
            return
        self._memory = ReusedMemory(self)
        found = {len(nodes) - 1: dy}
        self._memory.hold(dy, len(nodes) - 1)
        for number in range(len(nodes) - 1, -1, -1):
            if needed[number]:
                inputs = vertices[number].inputs
                dy = found.pop(number)
                gradients = self._backward_of(
                    nodes[number], number, dy, [needed[i] for i in inputs]
                )
                self._memory.release(dy, number)
                self._add_gradients(nodes[number], inputs, gradients, found)
                self._memory.settle()
        if self.purpose.input_gradient:
            shape = self.batched(self.network.input_shape)
            self.view("input.gradient", found[_INPUT], shape)
        self._memory.finish()

    def _backward_of(
        self, node: Node, number: int, dy: int, needed: list[bool]
    ) -> list[int | None]:
        """Add a layer's backward calls; return the gradients of its inputs."""
        name, shape = f"{node.name}.dx", self.batched(node.input_shape)
        if node.layer.branches:
            gradients = node.layer.backward_of_branches(self, node, dy, needed)
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    self._memory.hold(gradient, _own(place))
            return gradients
        if node.layer.is_view or (node.layer.training_only and not self.training):
            return [self.view(name, dy, shape)]
        dx = None
        if needed[0]:
            in_place = node.layer.in_place and self._memory.holds_only(dy, number)
            dx = self.view(name, dy, shape) if in_place else self.take(name, shape)
        node.layer.backward(self, node, dy, dx)
        return [dx]

    def _add_gradients(
        self,
        node: Node,
        inputs: tuple[int, ...],
        gradients: list[int | None],
        found: dict[int, int],
    ) -> None:
        """Add the gradients that a layer gives its inputs to those of their other readers."""
        memory = self._memory
        for place, (value, own) in enumerate(zip(inputs, gradients, strict=True)):
            if own is None:
                continue
            total, before = own, found.get(value)
            if before is not None:
                shape = self._buffers[before].shape
                if memory.holds_only(before, value):
                    total = before
                elif not memory.holds_only(own, _own(place)):
                    total = self.take(f"{node.name}.dx_sum_{place + 1}", shape)
                self._sum(before, own, total)
                memory.release(before, value)
            memory.release(own, _own(place))
            memory.hold(total, value)
            found[value] = total

    def _sum(self, x1: int, x2: int, y: int) -> None:
        # Only here: a chain of layers needs no sums, and no module for them.
        from fastconv.plans.merging import BroadcastSpec

        batch, *pixels, channels = self._buffers[x1].shape
        spec = BroadcastSpec(batch, math.prod(pixels), channels)
        self.call("merge.add_forward", spec, x1, x2, y)

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

        self.update(spec, w, dw, moment, self.rate)


def _own(place: int) -> int:
    """The number of a gradient that a layer has made for one of its inputs, among the values."""
    return _INPUT - 1 - place


def _as_image(shape: Shape) -> tuple[int, int, int]:
    """Feature vectors are images of one pixel."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, math.prod(shape))


def build_plan(
    network: Sequential, batch: int, purpose: Purpose, source: Source, seed: int = 0
) -> Plan:
    """Make the plan of one step; parameters as for :class:`PlanBuilder`."""
    return PlanBuilder(network, batch, purpose, source, seed).build()


def build_update_plan(network: Sequential, optimizer: OptimizerSpec | UpdateSpec) -> Plan:
    """Make the plan of an update alone, by gradients that are there: it gathers no samples.

    Parameters
    ----------
    network
        The network.
    optimizer
        The update.
    """
    purpose = Purpose(True, False, None, optimizer)
    return PlanBuilder(network, 1, purpose, Source(1)).build_update()
