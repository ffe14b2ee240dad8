"""Which arrays of a plan hold interleaved samples: a plan becomes a plan.

Where a convolution is better off with samples in the lanes (:mod:`fastconv.backends.compiled.rules.interleaved`),
all of its passes get interleaved images, and pooling and elementwise activations around it go on
with them. Arrays are interleaved, or brought back, only where a call meets the other order.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.backends.compiled import interleaved
from fastconv.backends.compiled.instructions.record import Target
from fastconv.plans.effects import access_of
from fastconv.plans.operation import ActivationSpec, InputSpec
from fastconv.plans.plan import Buffer, Call, Plan
from fastconv.plans.rewriting import RESULTS, Rewritten
from fastconv.spec import ConvSpec, PoolSpec

_CONVOLUTIONS = {
    "conv.conv2d_forward": (0, 3),
    "conv.conv2d_backward_data": (0, 2),
    "conv.conv2d_backward_weight": (0, 1),
}
"""Which arguments of a convolution are images."""


def interleave(plan: Plan, target: Target) -> Rewritten:
    """Return the plan with interleaved images where they pay; the buffers keep their numbers.

    Parameters
    ----------
    plan
        Any plan.
    target
        The instruction set: as many samples are interleaved as a vector has lanes.
    """
    chosen = {
        call.spec
        for call in plan.calls
        if call.kernel in _CONVOLUTIONS and _pays(call, target, plan.dtype)
    }
    return _Interleaving(plan, target, chosen).run() if chosen else Rewritten.unchanged(plan)


def _pays(call: Call, target: Target, dtype: str) -> bool:
    spec = call.spec
    assert isinstance(spec, ConvSpec)
    backwards = call.kernel == "conv.conv2d_backward_data"
    channels = spec.in_channels if backwards else spec.out_channels
    return interleaved.pays(spec, channels, target, dtype)


class _Interleaving:
    """The state of one pass over the calls: which arrays are where."""

    def __init__(self, plan: Plan, target: Target, chosen: set[object]) -> None:
        self._plan = plan
        self._lanes = target.lanes(plan.dtype)
        self._chosen = chosen
        self._buffers = list(plan.buffers)
        self._twins: dict[int, int] = {}
        self._plain = set(range(len(plan.buffers)))  # owners whose own array is up to date
        self._interleaved: set[int] = set()  # those whose twin is
        self._calls: list[Call] = []
        self._origins: list[tuple[int, ...]] = []

    def run(self) -> Rewritten:
        for number, call in enumerate(self._plan.calls):
            self._add(number, call)
        # What is read from outside.
        for number, buffer in enumerate(self._plan.buffers):
            if buffer.name in RESULTS:
                self._need_plain(number)
        plan = replace(self._plan, buffers=tuple(self._buffers), calls=tuple(self._calls))
        twins = {twin: owner for owner, twin in self._twins.items()}
        return Rewritten(plan, tuple(self._origins), twins)

    def _add(self, origin: int, call: Call) -> None:
        """Add a call in the layout that it gets, behind the copies that it needs."""
        if call.kernel in _CONVOLUTIONS and call.spec in self._chosen:
            made = self._convolution(call)
        elif self._goes_on(call):
            made = self._alike(call)
        else:
            access = access_of(call)
            for number, each in zip(call.arguments, access, strict=True):
                if each != "w":
                    self._need_plain(number)
            for number, each in zip(call.arguments, access, strict=True):
                if each != "r":
                    self._wrote_plain(number)
            made = call
        self._calls.append(made)
        self._origins.append((origin,))

    def _owner(self, number: int | None) -> int:
        """The buffer that owns the memory; -1 without one."""
        memory = self._plan.memory_of(number)
        return -1 if memory is None else memory[0]

    def _convolution(self, call: Call) -> Call:
        images = _CONVOLUTIONS[call.kernel]
        written = images[1:] if call.kernel != "conv.conv2d_backward_weight" else ()
        arguments = list(call.arguments)
        for place in images:
            if place not in written:
                self._need_interleaved(call.arguments[place])
            arguments[place] = self._twin(call.arguments[place])
        function = call.kernel.partition(".")[2]
        for place in written:
            self._wrote_interleaved(call.arguments[place])
        return Call(f"interleaved.{function}", call.spec, tuple(arguments))

    def _goes_on(self, call: Call) -> bool:
        """Whether a call treats all elements, or channels, alike and meets interleaved arrays."""
        if not call.kernel.startswith(("pool.", "activation.activation_")):
            return False
        if self._alike_spec(call.spec) is None:
            return False
        owners = {self._owner(number) for number in call.arguments}
        return bool(owners & (self._interleaved - self._plain))

    def _alike_spec(self, spec: object) -> object | None:
        """The spec for images of ``lanes`` times the channels; None where there is none."""
        if isinstance(spec, ActivationSpec):
            return spec
        if isinstance(spec, PoolSpec | InputSpec) and spec.batch % self._lanes == 0:
            lanes = self._lanes
            return replace(spec, batch=spec.batch // lanes, channels=spec.channels * lanes)
        return None

    def _alike(self, call: Call) -> Call:
        writes = 2 if call.kernel == "pool.max_pool2d_forward" else 1
        read = call.arguments[: len(call.arguments) - writes]
        for number in read:
            self._need_interleaved(number)
        arguments = tuple([self._twin(number) for number in call.arguments])
        for number in call.arguments[len(read) :]:
            self._wrote_interleaved(number)
        return Call(call.kernel, self._alike_spec(call.spec), arguments)

    def _wrote_interleaved(self, number: int | None) -> None:
        owner = self._owner(number)
        self._interleaved.add(owner)
        self._plain.discard(owner)

    def _wrote_plain(self, number: int | None) -> None:
        owner = self._owner(number)
        self._plain.add(owner)
        self._interleaved.discard(owner)

    def _twin(self, number: int | None) -> int:
        """The interleaved array of the memory that a buffer is, or sees in another shape."""
        owner = self._owner(number)
        if owner not in self._twins:
            of = self._plan.buffers[owner]
            self._twins[owner] = len(self._buffers)
            self._buffers.append(Buffer(f"{of.name}.interleaved", of.shape, of.dtype))
        return self._twins[owner]

    def _need_interleaved(self, number: int | None) -> None:
        owner = self._owner(number)
        if number is not None and owner not in self._interleaved:
            lanes, size = self._lanes, self._elements_of_a_sample(number)
            self._transpose(lanes, size, number, self._twin(number))
            self._interleaved.add(owner)

    def _need_plain(self, number: int | None) -> None:
        owner = self._owner(number)
        if number is not None and owner not in self._plain:
            lanes, size = self._lanes, self._elements_of_a_sample(number)
            self._transpose(size, lanes, self._twin(number), number)
            self._plain.add(owner)

    def _elements_of_a_sample(self, number: int) -> int:
        return math.prod(self._plan.buffers[number].shape) // self._plan.batch

    def _transpose(self, rows: int, columns: int, x: int, y: int) -> None:
        spec = InputSpec(self._plan.batch // self._lanes, rows, columns, 1)
        self._calls.append(Call("interleaved.transpose_images", spec, (x, y)))
        self._origins.append(())
