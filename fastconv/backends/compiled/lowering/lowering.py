"""From a plan to instructions: what runs in a step.

A plan's calls are lowered one by one, and neighbours are fused where that gives the same numbers:

* bytes are gathered and brought to [0, 1] in one pass;
* an activation behind a convolution, a dense layer, a sum or a batch normalisation becomes the end
  of its tiles (``LEAKY_RELU``);
* the sum of a residual block becomes the end of the batch normalisation in front of it;
* the gradient of an activation behind a data gradient or a sum likewise (``LEAKY_GRADIENT``);
* plain gradient descent becomes the end of the weight gradient (``UPDATE``), where one pass over
  the samples makes it, and where nothing reads the weight after that: no gradient buffer is written
  or read for it then.

Instructions that read constant buffers alone, such as those that pack weights that nobody changes,
are no part of a step: they are its preparation.

Calls change their places by :class:`fastconv.plans.rewriting.Rewriting`, which makes legal moves
only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fastconv.backends.compiled.instructions.choices import (
    INIT_C,
    LEAKY_GRADIENT,
    LEAKY_RELU,
    STORE,
    UPDATE,
)
from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.compiled.lowering.reordering import signed_output_of_pool
from fastconv.backends.compiled.rules import bf16, pooled, winograd, winograd_gradient
from fastconv.backends.compiled.rules import input as input_rules
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.plans.effects import argument_of, span_of
from fastconv.plans.merging import BroadcastSpec
from fastconv.plans.operation import ActivationSpec, InputSpec, OptimizerSpec
from fastconv.plans.plan import Call, Plan
from fastconv.plans.rewriting import Rewriting
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

if TYPE_CHECKING:
    from fastconv.backends.compiled.lowering.preparation import Preparation

_FORWARD = (
    "conv.conv2d_forward",
    "conv.conv_transpose2d_forward",
    "batch_blocked.conv2d_forward",
    "dense.dense_forward",
)
_DATA = (
    "conv.conv2d_backward_data",
    "batch_blocked.conv2d_backward_data",
    "dense.dense_backward_data",
)
_WEIGHT = (
    "conv.conv2d_backward_weight",
    "batch_blocked.conv2d_backward_weight",
    "dense.dense_backward_weight",
)
_NORM = ("norm.batch_norm_forward_training", "norm.batch_norm_forward_inference")
_SUM = "merge.add_forward"
_UPDATE = "optim.sgd_update"
_DIVIDING_UPDATES = (
    "optim.adam_update",
    "optim.rmsprop_update",
    "optim.adagrad_update",
    "optim.nadam_update",
    "optim.lamb_update",
)

_WITH_EPILOGUE = (
    Kernel.CONV_TILES, Kernel.BATCH_BLOCKED_TILES, Kernel.WINOGRAD_TILES, Kernel.BF16_TILES,
    Kernel.NORM_APPLY,
)  # fmt: skip
"""Kernels whose epilogue may be an activation or the gradient of one."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A plan as instructions.

    Parameters
    ----------
    instructions
        Their pointers count the plan's buffers; -1, -2, ... are the memory below.
    memory_bytes
        Bytes of memory beside the plan's buffers.
    origins
        For each instruction, the numbers of the plan's calls that it does, or a part of them.
    holds
        For some instructions, by number: buffers that the plan's calls do not read, each with the
        number of the call whose output it must hold.
    preparation
        Instructions that run once, before the first step.
    prepared_for
        For each of these, the numbers of the plan's calls that it does a part of.
    """

    instructions: tuple[Instruction, ...]
    memory_bytes: tuple[int, ...]
    origins: tuple[tuple[int, ...], ...] = ()
    holds: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    preparation: tuple[Instruction, ...] = ()
    prepared_for: tuple[tuple[int, ...], ...] = ()


def lower(plan: Plan, target: Target, precision: str = "float32") -> Lowered:
    """Make the instructions of one step of a plan.

    Parameters
    ----------
    plan
        Any plan.
    target
        The instruction set.
    precision
        "bf16" rounds the factors of products to it, where they fill its tiles.
    """
    return _Lowering(plan, target, precision).run()


@dataclass(frozen=True, slots=True)
class _Update:
    """The update of one layer, right behind its weight gradient.

    Parameters
    ----------
    order
        The calls, with that update where it belongs.
    pieces
        How many calls it is: of the weight, and of the bias where there is one.
    w, b
        What is updated; b None where there is no bias.
    rate
        Where the learning rate is.
    decays
        Factors of rate * w and rate * b that are subtracted beside.
    """

    order: Rewriting
    pieces: int
    w: Pointer | None
    b: Pointer | None
    rate: Pointer
    decays: tuple[float, float]


class _Lowering:
    """The state of one lowering: the calls as they are now, and instructions so far."""

    def __init__(self, plan: Plan, target: Target, precision: str) -> None:
        self._plan = plan
        self._precision = precision
        self._target = target
        self._order = Rewriting(plan)
        self._instructions: list[Instruction] = []
        self._origins: list[tuple[int, ...]] = []
        self._holds: dict[int, tuple[tuple[int, int], ...]] = {}
        self._workspace_bytes = 0
        self._preparation: Preparation | None = None
        if any(buffer.constant for buffer in plan.buffers):
            # Only where it is used: most plans have no constants.
            from fastconv.backends.compiled.lowering.preparation import Preparation

            self._preparation = Preparation(plan, target)
        # Adam and its kin divide each element of a gradient by its own size. The errors of fewer
        # products are those of the largest elements around.
        self._divides_gradients = any(call.kernel in _DIVIDING_UPDATES for call in plan.calls)

    def run(self) -> Lowered:
        position = 0
        while position < len(self._order.calls):
            position += (
                self._gather_min_max(position)
                or self._pooled(position)
                or self._dense_update(position)
                or self._call(position)
            )
        memory = (self._workspace_bytes,) if self._workspace_bytes else ()
        done = tuple(_without_idle_barriers(self._instructions))
        lowered = Lowered(done, memory, tuple(self._origins), self._holds)
        prepared = self._preparation
        if prepared is None or not prepared.instructions:
            return lowered
        return replace(
            lowered, memory_bytes=(self._workspace_bytes, prepared.memory_bytes),
            preparation=tuple(prepared.instructions), prepared_for=tuple(prepared.origins),
        )  # fmt: skip

    def _calls(self, position: int, count: int) -> tuple[Call, ...]:
        return self._order.calls[position : position + count]

    def _call(self, position: int) -> int:
        """Add a call, and what can be the epilogue of its tiles; return how many calls that is."""
        call, *following = self._calls(position, 3)
        instructions = self._lowered(call)
        if self._preparation is not None:
            origins = self._order.origins[position]
            instructions = self._preparation.without_prepared(instructions, origins)
        plain = instructions
        count = 1
        if following and (summed := self._with_addend(position, instructions)):
            call, *following = following
            instructions, count = summed, 2
        if following and self._fuses_activation(call, following[0], instructions):
            instructions = self._with_activation(call, following[0], instructions)
            count += 1
        elif (
            call.kernel in _WEIGHT
            and (writer := self._only_writer(call, instructions))
            and (update := self._update_behind(position))
        ):
            self._order = update.order
            instructions = [_updating(r, update) if r is writer else r for r in instructions]
            count += update.pieces
        self._add(instructions, position, count, plain)
        return count

    def _add(
        self,
        instructions: Sequence[Instruction],
        position: int,
        count: int,
        plain: Sequence[Instruction] = (),
    ) -> None:
        """Add what some calls became; only an instruction that reads the learning rate updates.

        ``plain`` is what the first call became before others were fused into it.
        """
        calls, origins = self._calls(position, count), self._order.origins[position:]
        for instruction in instructions:
            made: set[int] = set()
            for call, numbers in zip(
                calls[: 1 if instruction in plain else None], origins, strict=False
            ):
                if call.kernel != _UPDATE or instruction.points_to(argument_of(call, "rate")):
                    made.update(numbers)
            self._instructions.append(instruction)
            self._origins.append(tuple(sorted(made)))

    def _lowered(self, call: Call) -> list[Instruction]:
        buffers = self._order.plan.buffers
        types = tuple([None if n is None else buffers[n].dtype for n in call.arguments])
        spec: object = call.spec
        module, _, function = call.kernel.partition(".")
        if module == "input":
            shapes = tuple([None if n is None else buffers[n].shape for n in call.arguments])
            spec = input_rules.spec_for(function, spec, shapes)
        kernel = self._bf16(call) or self._winograd(call) or call.kernel
        lowered = lower_kernel(kernel, spec, types, self._target)
        self._workspace_bytes = max(self._workspace_bytes, lowered.workspace_bytes)
        return [self._bound(instruction, call.arguments) for instruction in lowered.instructions]

    def _bf16(self, call: Call) -> str | None:
        """The kernel whose products have factors of bf16, where they are to have them."""
        module, _, function = call.kernel.partition(".")
        spec = call.spec
        if self._precision != "bf16" or module not in ("conv", "dense"):
            return None
        if not isinstance(spec, ConvSpec | DenseSpec) or not bf16.is_profitable(function, spec):
            return None
        return f"bf16.{function}"

    def _winograd(self, call: Call) -> str | None:
        """The kernel that does a convolution with fewer products, where that is profitable."""
        spec, dtype = call.spec, self._plan.dtype
        if not isinstance(spec, ConvSpec):
            return None
        if call.kernel == _FORWARD[0] and winograd.is_profitable(spec, self._target, dtype):
            return "winograd.conv2d_forward"
        backwards = call.kernel == _DATA[0]
        if backwards and winograd.is_profitable(spec, self._target, dtype, backwards=True):
            return "winograd.conv2d_backward_data"
        if (
            call.kernel == _WEIGHT[0]
            and winograd_gradient.is_profitable(spec, self._target, dtype)
            and not self._divides_gradients
        ):
            return "winograd_gradient.conv2d_backward_weight"
        return None

    def _gather_min_max(self, position: int) -> int:
        """Gather bytes and bring each image to [0, 1] in one pass over it; 0 if that is not so."""
        calls = self._calls(position, 2)
        if [call.kernel for call in calls] != ["input.gather_images", "input.min_max_images"]:
            return 0
        images, indices, x = calls[0].arguments
        if images is None or self._plan.buffers[images].dtype != "uint8":
            return 0
        if calls[1].arguments != (x, x):
            return 0
        spec, types = calls[0].spec, ("uint8", "int64", self._plan.dtype)
        assert isinstance(spec, InputSpec)
        lowered = input_rules.gather_min_max_images(spec, types, self._target)
        arguments = images, indices, x
        self._add(
            [self._bound(instruction, arguments) for instruction in lowered.instructions],
            position,
            2,
        )
        return 2

    def _pooled(self, position: int) -> int:
        """The backward passes of a convolution behind a max pool, for so many calls; or 0."""
        calls = self._calls(position, 5)
        pool, dtype = calls[0].spec, self._plan.dtype
        if calls[0].kernel != "pool.max_pool2d_backward" or not isinstance(pool, PoolSpec):
            return 0
        dy, argmax, unpooled = calls[0].arguments
        rest = list(calls[1:])
        above = rest.pop(0) if rest and self._is_gradient_in_place(rest[0], unpooled) else None
        conv = rest[0].spec if rest else None
        if not isinstance(conv, ConvSpec) or not pooled.is_supported(
            pool, conv, self._target, dtype
        ):
            return 0
        data = rest.pop(0) if rest[0].kernel == _DATA[0] else None
        dx = None if data is None else argument_of(data, "dx")
        below = None
        if data is not None and rest and self._is_gradient_in_place(rest[0], dx):
            below = rest.pop(0)
        if not rest or rest[0].kernel != _WEIGHT[0] or rest[0].spec != conv:
            return 0
        weight = rest[0]
        if self._bf16(weight):
            return 0
        y: int | None = None
        holds: tuple[tuple[int, int], ...] = ()
        if above is not None:
            found = signed_output_of_pool(self._order, argmax, position)
            if found is None:
                return 0
            y, writer = found
            memory = span_of(self._plan, y).memory
            holds = ((memory, max(self._order.origins[writer])),)
        for user in filter(None, (data, weight)):
            if self._plan.memory_of(argument_of(user, "dy")) != self._plan.memory_of(unpooled):
                return 0
        count = len(calls) - len(rest) + 1
        # Nobody writes the gradient that the pool spreads: it must have no other reader.
        if unpooled is not None and self._order.reads_result(unpooled, position + count):
            return 0
        decays, rate = (0.0, 0.0), None
        places = _pointer(argument_of(weight, "dw")), _pointer(argument_of(weight, "db"))
        if update := self._update_behind(position + count - 1):
            self._order = update.order
            places, decays, rate = (update.w, update.b), update.decays, update.rate
            count += update.pieces
        x = argument_of(weight, "x")
        assert None not in (dy, argmax, x)
        instructions, size = pooled.instructions_of(
            pooled.PooledBackward(
                pool, conv, Pointer(dy or 0), Pointer(argmax or 0), _pointer(y),
                _slope(above) or 0.0, Pointer(x or 0),
                Pointer(0) if data is None else Pointer(argument_of(data, "w") or 0),
                _pointer(dx), *places, rate, decays,
                None if below is None else _pointer(argument_of(below, "y")), _slope(below) or 0.0,
            ),
            self._target, dtype,
        )  # fmt: skip
        self._workspace_bytes = max(self._workspace_bytes, size)
        if holds:
            first = len(self._instructions)
            self._holds.update(dict.fromkeys(range(first, first + len(instructions)), holds))
        self._add(instructions, position, count)
        return count

    def _is_gradient_in_place(self, call: Call, number: int | None) -> bool:
        """Whether a call is the gradient of a (leaky) ReLU in place of this buffer."""
        if call.kernel != "activation.activation_backward" or _slope(call) is None:
            return False
        dy, *_, dx = call.arguments
        return self._plan.memory_of(dy) == self._plan.memory_of(dx) == self._plan.memory_of(number)

    def _fuses_activation(
        self, call: Call, following: Call, instructions: Sequence[Instruction] | None = None
    ) -> bool:
        """Whether the next call is an activation in place of what this one writes.

        With ``instructions``, also whether these are tiles that can end with it.
        """
        if not isinstance(following.spec, ActivationSpec) or _slope(following) is None:
            return False
        forward = following.kernel == "activation.activation_forward"
        if call.kernel in (*_FORWARD, *_NORM, _SUM) and forward:
            x, y = following.arguments
            result = argument_of(call, "y")
        elif call.kernel in (*_DATA, _SUM) and following.kernel == "activation.activation_backward":
            x, *_, y = following.arguments
            result = argument_of(call, "y" if call.kernel == _SUM else "dx")
        else:
            return False
        in_place = (
            self._plan.memory_of(x) == self._plan.memory_of(y) == self._plan.memory_of(result)
        )
        if instructions is None:
            return in_place
        writers = [
            # What adds to sums that are there already does not see all of them.
            None if getattr(each.integers, "accumulator_init", None) == INIT_C else each.kernel
            for each in instructions if each.points_to(result)
        ]  # fmt: skip
        known = (*_WITH_EPILOGUE, Kernel.MERGE_ELEMENTS) + (Kernel.ADD_PARTS,) * (
            call.kernel in _FORWARD
        )
        return in_place and bool(writers) and all(writer in known for writer in writers)

    def _with_addend(
        self, position: int, instructions: Sequence[Instruction]
    ) -> list[Instruction] | None:
        """A batch normalisation that ends with the sum behind it, if it may.

        Its own result is then written nowhere: it is where the sum goes, or nobody else reads it.
        """
        norm, merged = self._calls(position, 2)
        spec = merged.spec
        if norm.kernel not in _NORM or merged.kernel != _SUM:
            return None
        result, total = argument_of(norm, "y"), argument_of(merged, "y")
        memory = self._plan.memory_of(result)
        others = [n for n in merged.arguments[:2] if self._plan.memory_of(n) != memory]
        assert isinstance(spec, BroadcastSpec)
        if spec.per_channel or len(others) != 1:
            return None
        if self._plan.memory_of(total) != memory and (
            result is None or self._order.reads_result(result, position + 2)
        ):
            return None
        return [
            each.with_fields(y=_pointer(total), addend=_pointer(others[0]))
            if each.points_to(result)
            else each
            for each in instructions
        ]

    def _with_activation(
        self, call: Call, following: Call, instructions: Sequence[Instruction]
    ) -> list[Instruction]:
        slope = _slope(following) or 0.0
        forward = following.kernel == "activation.activation_forward"
        result = argument_of(call, "dx" if call.kernel in _DATA else "y")
        other = None if forward else argument_of(following, "y")
        epilogue = LEAKY_RELU if forward else LEAKY_GRADIENT
        done: list[Instruction] = []
        for instruction in instructions:
            if instruction.points_to(result):
                instruction = instruction.with_fields(epilogue=epilogue, slope=slope)
                if other is not None:
                    # What `other` points to lies as C does; a sum begins where its arrays do.
                    offset = 0 if call.kernel == _SUM else instruction.pointers.c.offset
                    instruction = instruction.with_fields(other=Pointer(other, offset))
            done.append(instruction)
        return done

    def _dense_update(self, position: int) -> int:
        """One pass over the weights of a dense layer of one sample, for so many calls; or 0."""
        first, *after = self._calls(position, 3)
        spec = first.spec
        if first.kernel not in _DATA or not isinstance(spec, DenseSpec) or spec.batch != 1:
            return 0
        activation = after.pop(0) if after and self._fuses_activation(first, after[0]) else None
        if not after or after[0].kernel not in _WEIGHT or after[0].spec != spec:
            return 0
        count = 2 if activation is None else 3
        update = self._update_behind(position + count - 1)
        if update is None:
            return 0
        self._order = update.order
        other, slope, epilogue = None, 0.0, STORE
        if activation is not None:
            other, epilogue = _pointer(argument_of(activation, "y")), LEAKY_GRADIENT
            slope = _slope(activation) or 0.0
        dy, _, dx = first.arguments
        instruction = Instruction.of(
            Kernel.DENSE_BACKWARD_UPDATE, self._plan.dtype,
            dy=_pointer(dy), x=_pointer(argument_of(after[0], "x")), w=update.w, b=update.b,
            dx=_pointer(dx), other=other, rate=update.rate,
            inputs=spec.inputs, outputs=spec.outputs, epilogue=epilogue,
            decay=update.decays[0], bias_decay=update.decays[1], slope=slope,
            max_threads=threads_for_product(2 * spec.flops, spec.inputs),
            is_narrow=self._target.narrow is not None
            and spec.outputs < self._target.lanes(self._plan.dtype),
        )  # fmt: skip
        self._add([instruction], position, count + update.pieces)
        return count + update.pieces

    def _only_writer(self, call: Call, instructions: Sequence[Instruction]) -> Instruction | None:
        """The instruction that makes a weight gradient in one pass over the samples, if any."""
        results = [n for n in (argument_of(call, "dw"), argument_of(call, "db")) if n is not None]
        writers = [i for i in instructions if any(i.points_to(number) for number in results)]
        if len(writers) != 1:
            return None
        if writers[0].kernel == Kernel.CONV_WEIGHT_TILES:
            n = writers[0].integers
            return writers[0] if n.samples <= n.together else None
        last = Kernel.WINOGRAD_WEIGHT_GRADIENT, Kernel.BF16_WEIGHT_GRADIENT
        return writers[0] if writers[0].kernel in last else None

    def _update_behind(self, position: int) -> _Update | None:
        """Take the update of a layer's parameters right behind its weight gradient, if it may go.

        None if the optimiser is no plain gradient descent, if parameters cannot be updated each by
        itself, or if a call in between reads what is updated: the data gradient of the same layer,
        say. Nothing has changed until the order that is returned is taken.
        """
        order, weight = self._order.copy(), self._order.calls[position]
        decays: list[float] = []
        pointers: list[Pointer | None] = []
        rate, pieces = None, 0
        for number in (argument_of(weight, "dw"), argument_of(weight, "db")):
            decay, pointer = 0.0, None
            if number is not None:
                found = _piece_of_update(order, number)
                if found is None:
                    return None
                piece, decay = found
                call = order.calls[piece]
                pointer = self._bind(order, argument_of(call, "w"))
                own = argument_of(call, "rate")
                if rate not in (None, own):
                    return None  # what is fused has one rate
                rate = own
                pieces += 1
                if not order.move(piece, position + pieces):
                    return None
            decays.append(decay)
            pointers.append(pointer)
        if rate is None:
            return None
        return _Update(
            order, pieces, pointers[0], pointers[1], Pointer(rate), (decays[0], decays[1])
        )

    def _bind(self, order: Rewriting, number: int | None) -> Pointer | None:
        """A pointer to a buffer, or for a view that was added to the plan, into its owner."""
        if number is None or number < len(self._plan.buffers):
            return _pointer(number)
        owner, offset = order.plan.memory_of(number) or (-1, 0)
        return Pointer(owner, offset * np.dtype(self._plan.buffers[owner].dtype).itemsize)

    def _bound(self, instruction: Instruction, arguments: tuple[int | None, ...]) -> Instruction:
        """Let pointers count buffers of the plan, not arguments of a kernel."""

        def bound(pointer: Pointer) -> Pointer | None:
            if pointer.argument == WORKSPACE:
                return pointer
            array = self._bind(self._order, arguments[pointer.argument])
            return None if array is None else array.skip(pointer.offset)

        return instruction.with_pointers(bound)


def _piece_of_update(order: Rewriting, gradient: int) -> tuple[int, float] | None:
    """Cut plain gradient descent so that one call updates the parameter of a gradient alone.

    Returns its position and the factor of rate * w that it subtracts beside; None if the gradient
    is not what an update reads, or decay begins within it.
    """
    wanted = span_of(order.plan, gradient)
    for position, call in enumerate(order.calls):
        spec = call.spec
        if call.kernel != _UPDATE or not isinstance(spec, OptimizerSpec):
            continue
        if spec.rate_factor != 1:
            return None  # what is fused takes the rate as it is
        w, dw, rate = call.arguments
        assert w is not None
        assert dw is not None
        whole, parameters = span_of(order.plan, dw), span_of(order.plan, w)
        if not whole.covers(wanted):
            continue
        before, after = wanted.start - whole.start, wanted.stop - whole.start
        decay = _decay(spec, before, after)
        if decay is None:
            return None
        cuts = sorted({0, before, after, spec.size})
        parts = []
        for start, stop in pairwise(cuts):
            views = [
                order.add_view(
                    f"{order.plan.buffers[span.memory].name}.{span.start + start}",
                    span.memory, span.start + start, stop - start,
                )
                for span in (parameters, whole)
            ]  # fmt: skip
            part = replace(
                spec, size=stop - start,
                weights=max(0, min(stop, spec.weights) - start),
                decayed=max(0, min(stop, spec.decayed) - start),
            )  # fmt: skip
            parts.append(Call(_UPDATE, part, (*views, rate)))
        order.split(position, parts)
        return position + cuts.index(before), decay
    return None


def _without_idle_barriers(instructions: Sequence[Instruction]) -> Iterator[Instruction]:
    """Drop the barriers between instructions that all are done by the same single thread.

    What lies between two barriers counts as a whole: any of it may need what came before.
    """
    stretches: list[list[Instruction]] = [[]]
    for instruction in instructions:
        stretches[-1].append(instruction)
        if instruction.barrier:
            stretches.append([])
    alone = [bool(s) and all(instruction.max_threads == 1 for instruction in s) for s in stretches]
    for stretch, here, after in zip(stretches, alone, [*alone[1:], False], strict=True):
        yield from stretch[:-1]
        for instruction in stretch[-1:]:
            yield replace(instruction, barrier=False) if here and after else instruction


def _decay(spec: OptimizerSpec, start: int, end: int) -> float | None:
    """Factor of rate * w that is subtracted; None where it changes within the range."""
    factor = 0.0
    for limit, share in (
        (spec.weights, 2 * spec.l2),
        (spec.decayed, spec.coupled_decay + spec.decoupled_decay),
    ):
        if end <= limit:
            factor += share
        elif start < limit and share:
            return None
    return factor


def _updating(instruction: Instruction, update: _Update) -> Instruction:
    """Let a weight gradient update its parameters in place of being stored."""
    return instruction.with_fields(
        dw=update.w, db=update.b, rate=update.rate, epilogue=UPDATE,
        decay=update.decays[0], bias_decay=update.decays[1],
    )  # fmt: skip


def _slope(call: Call | None) -> float | None:
    """Slope of a (leaky) ReLU; 1 without a call, None for another activation."""
    if call is None:
        return 1.0
    assert isinstance(call.spec, ActivationSpec)
    return {"relu": 0.0, "leaky_relu": call.spec.alpha}.get(call.spec.kind)


def _pointer(number: int | None) -> Pointer | None:
    return None if number is None else Pointer(number)
