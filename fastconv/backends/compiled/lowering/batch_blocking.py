"""Choice of the arrays of a plan that hold batch-blocked images: a plan becomes a plan.

Where a convolution is better off with samples in the lanes
(:mod:`fastconv.backends.compiled.rules.batch_blocked`), all of its passes get batch-blocked images,
and pooling and elementwise activations around it go on with them. Arrays are blocked, or brought
back, only where a call meets the other order.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.rules import batch_blocked
from fastconv.plans.effects import ACCESS, access_of, argument_of
from fastconv.plans.operation import ActivationSpec, ElementwiseSpec, InputSpec
from fastconv.plans.plan import Buffer, Call, Plan
from fastconv.plans.rewriting import RESULTS, Rewritten
from fastconv.spec import ConvSpec, PoolSpec

_CONVOLUTIONS = {
    "conv.conv2d_forward": ("x", "y"),
    "conv.conv2d_backward_data": ("dy", "dx"),
    "conv.conv2d_backward_weight": ("dy", "x"),
}
"""Arrays of a convolution that are images."""


def block_batches(plan: Plan, target: Target) -> Rewritten:
    """Return the plan with batch-blocked images where that is faster; buffers keep their numbers.

    Parameters
    ----------
    plan
        Any plan.
    target
        The instruction set: as many samples lie side by side as a vector has lanes.
    """
    chosen = {
        call.spec
        for call in plan.calls
        if call.kernel in _CONVOLUTIONS and _is_profitable(call, target, plan.dtype)
    }
    return _BatchBlocking(plan, target, chosen).run() if chosen else Rewritten.unchanged(plan)


def _is_profitable(call: Call, target: Target, dtype: str) -> bool:
    spec = call.spec
    assert isinstance(spec, ConvSpec)
    backwards = call.kernel == "conv.conv2d_backward_data"
    channels = spec.in_channels if backwards else spec.out_channels
    return batch_blocked.is_profitable(spec, channels, target, dtype)


class _BatchBlocking:
    """The state of one pass over the calls: which arrays are where."""

    def __init__(self, plan: Plan, target: Target, chosen: set[object]) -> None:
        self._plan = plan
        self._lanes = target.lanes(plan.dtype)
        self._chosen = chosen
        self._buffers = list(plan.buffers)
        self._twins: dict[int, int] = {}
        self._plain = set(range(len(plan.buffers)))  # owners whose own array is up to date
        self._batch_blocked: set[int] = set()  # those whose twin is
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
        images, arrays = _CONVOLUTIONS[call.kernel], ACCESS[call.kernel]
        arguments: list[int | None] = []
        for number, (array, access) in zip(call.arguments, arrays.items(), strict=True):
            if array in images and access == "r":
                self._need_batch_blocked(number)
            arguments.append(self._twin(number) if array in images else number)
        for array in images:
            if arrays[array] == "w":
                self._wrote_batch_blocked(argument_of(call, array))
        function = call.kernel.partition(".")[2]
        return Call(f"batch_blocked.{function}", call.spec, tuple(arguments))

    def _goes_on(self, call: Call) -> bool:
        """Whether a call treats all elements, or channels, alike and meets batch-blocked arrays."""
        if not call.kernel.startswith(("pool.", "activation.activation_", "elementwise.")):
            return False
        if self._alike_spec(call.spec) is None:
            return False
        owners = {self._owner(number) for number in call.arguments}
        return bool(owners & (self._batch_blocked - self._plain))

    def _alike_spec(self, spec: object) -> object | None:
        """The spec for images of ``lanes`` times the channels; None where there is none."""
        if isinstance(spec, ActivationSpec | ElementwiseSpec):
            return spec
        if isinstance(spec, PoolSpec | InputSpec) and spec.batch % self._lanes == 0:
            lanes = self._lanes
            return replace(spec, batch=spec.batch // lanes, channels=spec.channels * lanes)
        return None

    def _alike(self, call: Call) -> Call:
        writes = 2 if call.kernel == "pool.max_pool2d_forward" else 1
        read = call.arguments[: len(call.arguments) - writes]
        for number in read:
            self._need_batch_blocked(number)
        arguments = tuple(
            [None if number is None else self._twin(number) for number in call.arguments]
        )
        for number in call.arguments[len(read) :]:
            self._wrote_batch_blocked(number)
        return Call(call.kernel, self._alike_spec(call.spec), arguments)

    def _wrote_batch_blocked(self, number: int | None) -> None:
        owner = self._owner(number)
        self._batch_blocked.add(owner)
        self._plain.discard(owner)

    def _wrote_plain(self, number: int | None) -> None:
        owner = self._owner(number)
        self._plain.add(owner)
        self._batch_blocked.discard(owner)

    def _twin(self, number: int | None) -> int:
        """The batch-blocked array of the memory that a buffer is, or sees in another shape."""
        owner = self._owner(number)
        if owner not in self._twins:
            of = self._plan.buffers[owner]
            self._twins[owner] = len(self._buffers)
            self._buffers.append(Buffer(f"{of.name}.batch_blocked", of.shape, of.dtype))
        return self._twins[owner]

    def _need_batch_blocked(self, number: int | None) -> None:
        owner = self._owner(number)
        if number is not None and owner not in self._batch_blocked:
            lanes, size = self._lanes, self._elements_of_a_sample(number)
            self._transpose(lanes, size, number, self._twin(number))
            self._batch_blocked.add(owner)

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
        self._calls.append(Call("batch_blocked.transpose_images", spec, (x, y)))
        self._origins.append(())
