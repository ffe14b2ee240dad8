"""From a plan to records: what runs in a step.

A plan's calls are lowered one by one, and neighbours are fused where that gives the same numbers:

* bytes are gathered and brought to [0, 1] in one pass;
* an activation behind a convolution or a dense layer becomes the end of its tiles (``LEAKY_RELU``);
* the gradient of an activation behind a data gradient likewise (``LEAKY_GRADIENT``);
* plain gradient descent becomes the end of the weight gradient (``UPDATE``), where one pass over
  the samples makes it; then no gradient buffer is written or read for that weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastconv.native import input as input_records
from fastconv.native import pooled, recorder, winograd
from fastconv.native.launches import launch_of
from fastconv.native.record import WORKSPACE, Pointer, Record, Target
from fastconv.native.split import parts_of_product
from fastconv.operation import ActivationSpec, InputSpec, OptimizerSpec
from fastconv.plan import Call, Plan
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

_FORWARD = (
    "conv.conv2d_forward",
    "conv.conv_transpose2d_forward",
    "interleaved.conv2d_forward",
    "dense.dense_forward",
)
_DATA = (
    "conv.conv2d_backward_data",
    "interleaved.conv2d_backward_data",
    "dense.dense_backward_data",
)
_WEIGHT = (
    "conv.conv2d_backward_weight",
    "interleaved.conv2d_backward_weight",
    "dense.dense_backward_weight",
)

_FINISH = {
    "conv_tiles": 26,
    "interleaved_tiles": 24,
    "winograd_tiles": 13,
    "conv_weight_tiles": 25,
    "add_parts": 3,
}
"""Which integer of a record says what becomes of the sums."""
_START = 25
"""Which integer of ``conv_tiles`` says what its sums start from."""
_SAMPLES, _SAMPLES_TOGETHER = 0, 24
"""Integers of ``conv_weight_tiles``."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A plan as records.

    Parameters
    ----------
    records
        Their pointers count the plan's buffers; -1, -2, ... are the memory below.
    memory_bytes
        Bytes of memory beside the plan's buffers.
    origins
        For each record, the numbers of the plan's calls that it does, or a part of them.
    """

    records: tuple[Record, ...]
    memory_bytes: tuple[int, ...]
    origins: tuple[tuple[int, ...], ...] = ()


def lower(plan: Plan, target: Target) -> Lowered:
    """Make the records of one step of a plan."""
    return _Lowering(plan, target).run()


class _Lowering:
    """The state of one lowering: records so far, and what has been fused away."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self._plan = plan
        self._target = target
        self._records: list[Record] = []
        self._origins: list[tuple[int, ...]] = []
        self._numbers = {id(call): number for number, call in enumerate(plan.calls)}
        self._workspace_bytes = 0
        self._updated: list[tuple[int, int]] = []  # ranges of the parameters, in elements

    def run(self) -> Lowered:
        calls = self._plan.calls
        number = 0
        while number < len(calls):
            call, following = calls[number], calls[number + 1 : number + 2]
            if fused := self._gather_min_max(calls[number : number + 2]):
                self._add(fused, calls[number : number + 2])
                number += 2
                continue
            if sparse := self._pooled(calls[number : number + 5]):
                self._add(sparse[0], calls[number : number + sparse[1]])
                number += sparse[1]
                continue
            if dense := self._dense_update(calls[number : number + 3]):
                self._add([dense[0]], calls[number : number + dense[1]])
                number += dense[1]
                continue
            first = number
            records = plain = self._launch(call)
            number += 1
            if following and self._fuses_activation(call, following[0], records):
                records = self._with_activation(call, following[0], records)
                number += 1
            elif call.kernel in _WEIGHT:
                records = self._with_update(call, records)
            elif call.kernel == "optim.sgd_update":
                records = self._rest_of_update(call, records)
            self._add(records, calls[first:number], plain)
        memory = (self._workspace_bytes,) if self._workspace_bytes else ()
        done = tuple(_without_idle_barriers(self._records))
        return Lowered(done, memory, origins=tuple(self._origins))

    def _add(
        self, records: Sequence[Record], calls: Sequence[Call], plain: Sequence[Record] = ()
    ) -> None:
        """Add what some calls became; a record that reads the learning rate updates.

        ``plain`` is what the first call became before others were fused into it.
        """
        optimizer = self._optimizer()
        for record in records:
            made = [self._numbers[id(call)] for call in calls[: 1 if record in plain else None]]
            if optimizer is not None and _names(record, optimizer.arguments[2]):
                made.append(self._numbers[id(optimizer)])
            self._records.append(record)
            self._origins.append(tuple(sorted(set(made))))

    def _launch(self, call: Call) -> list[Record]:
        buffers = self._plan.buffers
        types = tuple([None if n is None else buffers[n].dtype for n in call.arguments])
        spec: object = call.spec
        module, _, function = call.kernel.partition(".")
        if module == "input":
            shapes = tuple([None if n is None else buffers[n].shape for n in call.arguments])
            spec = input_records.spec_for(function, spec, shapes)
        kernel = self._winograd(call) or call.kernel
        launch = launch_of(kernel, spec, types, self._target)
        self._workspace_bytes = max(self._workspace_bytes, launch.workspace_bytes)
        return [_bound(record, call.arguments) for record in launch.records]

    def _winograd(self, call: Call) -> str | None:
        """The kernel that does a convolution with fewer products, where one pays."""
        spec, dtype = call.spec, self._plan.dtype
        if not isinstance(spec, ConvSpec):
            return None
        if call.kernel == _FORWARD[0] and winograd.pays(spec, self._target, dtype):
            return "winograd.conv2d_forward"
        backwards = call.kernel == _DATA[0]
        if backwards and winograd.pays(spec, self._target, dtype, backwards=True):
            return "winograd.conv2d_backward_data"
        return None

    def _gather_min_max(self, calls: Sequence[Call]) -> list[Record] | None:
        """Gather bytes and bring each image to [0, 1] in one pass over it."""
        if [call.kernel for call in calls] != ["input.gather_images", "input.min_max_images"]:
            return None
        images, indices, x = calls[0].arguments
        if images is None or self._plan.buffers[images].dtype != "uint8":
            return None
        if calls[1].arguments != (x, x):
            return None
        spec, types = calls[0].spec, ("uint8", "int64", self._plan.dtype)
        assert isinstance(spec, InputSpec)
        launch = input_records.gather_min_max_images(spec, types, self._target)
        return [_bound(record, (images, indices, x)) for record in launch.records]

    def _pooled(self, calls: Sequence[Call]) -> tuple[tuple[Record, ...], int] | None:
        """The backward passes of a convolution behind a max pool, in place of so many calls."""
        pool, dtype = calls[0].spec, self._plan.dtype
        if calls[0].kernel != "pool.max_pool2d_backward" or not isinstance(pool, PoolSpec):
            return None
        dy, where, unpooled = calls[0].arguments
        rest = list(calls[1:])
        above = rest.pop(0) if rest and self._is_gradient_in_place(rest[0], unpooled) else None
        conv = rest[0].spec if rest else None
        if not isinstance(conv, ConvSpec) or not pooled.fits(pool, conv, self._target, dtype):
            return None
        data = rest.pop(0) if rest[0].kernel == _DATA[0] else None
        dx = None if data is None else data.arguments[2]
        below = None
        if data is not None and rest and self._is_gradient_in_place(rest[0], dx):
            below = rest.pop(0)
        if not rest or rest[0].kernel != _WEIGHT[0] or rest[0].spec != conv:
            return None
        weight = rest[0]
        y = None if above is None else self._pooled_output(where)
        if above is not None and y is None:
            return None
        for user in filter(None, (data, weight)):
            if self._plan.memory_of(user.arguments[0]) != self._plan.memory_of(unpooled):
                return None
        gradients, decays, rate = weight.arguments[2:4], (0.0, 0.0), None
        places = _pointer(gradients[0]), _pointer(gradients[1])
        optimizer = self._optimizer()
        if optimizer is not None and (updated := self._update_of(optimizer, weight)):
            (places, decays), rate = updated, _pointer(optimizer.arguments[2])
        x = weight.arguments[1]
        assert None not in (dy, where, x)
        records, size = pooled.records_of(
            pooled.PooledBackward(
                pool, conv, Pointer(dy or 0), Pointer(where or 0), _pointer(y),
                _slope(above) or 0.0, Pointer(x or 0),
                Pointer(0) if data is None else Pointer(data.arguments[1] or 0),
                _pointer(dx), *places, rate, decays,
                None if below is None else _pointer(below.arguments[1]), _slope(below) or 0.0,
            ),
            self._target, dtype,
        )  # fmt: skip
        self._workspace_bytes = max(self._workspace_bytes, size)
        return records, len(calls) - len(rest) + 1

    def _is_gradient_in_place(self, call: Call, number: int | None) -> bool:
        """Whether a call is the gradient of a (leaky) ReLU in place of this buffer."""
        if call.kernel != "activation.activation_backward" or _slope(call) is None:
            return False
        dy, _, dx = call.arguments
        return self._plan.memory_of(dy) == self._plan.memory_of(dx) == self._plan.memory_of(number)

    def _pooled_output(self, where: int | None) -> int | None:
        """The output of the pool that wrote ``where``, if its signs still stand there."""
        y = None
        for call in self._plan.calls:
            if call.kernel == "pool.max_pool2d_forward" and call.arguments[2] == where:
                y = call.arguments[1]
            elif (
                y is not None
                and call.kernel == "activation.activation_forward"
                and self._plan.memory_of(call.arguments[1]) == self._plan.memory_of(y)
                and _slope(call) is None
            ):
                return None
        return y

    def _fuses_activation(
        self, call: Call, following: Call, records: Sequence[Record] | None
    ) -> bool:
        """Whether the next call is an activation in place of what this one writes.

        With ``records``, also whether these are tiles that can end with it.
        """
        if not isinstance(following.spec, ActivationSpec) or _slope(following) is None:
            return False
        if call.kernel in _FORWARD and following.kernel == "activation.activation_forward":
            x, y = following.arguments
            result = call.arguments[3]
        elif call.kernel in _DATA and following.kernel == "activation.activation_backward":
            x, _, y = following.arguments
            result = call.arguments[2]
        else:
            return False
        in_place = (
            self._plan.memory_of(x) == self._plan.memory_of(y) == self._plan.memory_of(result)
        )
        if records is None:
            return in_place
        writers = [
            # What adds to sums that are there already does not see all of them.
            "" if record.kernel == "conv_tiles" and record.integers[_START] == recorder.START_C
            else record.kernel
            for record in records if _names(record, result)
        ]  # fmt: skip
        known = ["conv_tiles", "interleaved_tiles", "winograd_tiles"] + ["add_parts"] * (
            call.kernel in _FORWARD
        )
        return in_place and bool(writers) and all(writer in known for writer in writers)

    def _with_activation(
        self, call: Call, following: Call, records: Sequence[Record]
    ) -> list[Record]:
        slope = _slope(following) or 0.0
        forward = call.kernel in _FORWARD
        result = call.arguments[3 if forward else 2]
        other = None if forward else following.arguments[1]
        finish = recorder.LEAKY_RELU if forward else recorder.LEAKY_GRADIENT
        done: list[Record] = []
        for record in records:
            if _names(record, result):
                record = _finish(record, finish, (slope,))
                if other is not None:
                    place = record.pointers[2]
                    assert place is not None
                    # What `other` points to lies as C does.
                    pointer = Pointer(other, place.offset)
                    record = replace(record, pointers=(*record.pointers[:4], pointer))
            done.append(record)
        return done

    def _optimizer(self) -> Call | None:
        last = self._plan.calls[-1]
        return last if last.kernel == "optim.sgd_update" else None

    def _dense_update(self, calls: Sequence[Call]) -> tuple[Record, int] | None:
        """One pass over the weights of a dense layer of one sample, in place of so many calls."""
        optimizer, first = self._optimizer(), calls[0]
        spec = first.spec
        if optimizer is None or not isinstance(spec, DenseSpec) or spec.batch != 1:
            return None
        with_gradient = len(calls) > 1 and self._fuses_activation(first, calls[1], None)
        last = calls[2:3] if with_gradient else calls[1:2]
        if first.kernel not in _DATA or not last or last[0].kernel not in _WEIGHT:
            return None
        if last[0].spec != spec:
            return None
        updated = self._update_of(optimizer, last[0])
        if updated is None:
            return None
        (w, b), decays = updated
        other, slope, finish = None, 0.0, recorder.STORE
        if with_gradient:
            other, finish = _pointer(calls[1].arguments[1]), recorder.LEAKY_GRADIENT
            slope = _slope(calls[1]) or 0.0
        dy, _, dx = first.arguments
        x, rate = last[0].arguments[1], _pointer(optimizer.arguments[2])
        record = Record(
            "dense_backward_update",
            self._plan.dtype,
            (_pointer(dy), _pointer(x), w, b, _pointer(dx), other, rate),
            (spec.inputs, spec.outputs, finish),
            (*decays, slope),
            parts=parts_of_product(2 * spec.flops, spec.inputs),
        )
        return record, len(last) + (2 if with_gradient else 1)

    def _with_update(self, call: Call, records: list[Record]) -> list[Record]:
        """Let the weight gradient update its weight, if it can."""
        optimizer = self._optimizer()
        if optimizer is None:
            return records
        dw, db = call.arguments[2], call.arguments[3]
        writers = [r for r in records if _names(r, dw) or (db is not None and _names(r, db))]
        if not (
            len(writers) == 1
            and writers[0].kernel == "conv_weight_tiles"
            and writers[0].integers[_SAMPLES] <= writers[0].integers[_SAMPLES_TOGETHER]
        ):
            return records
        updated = self._update_of(optimizer, call)
        if updated is None:
            return records
        pointers, decays = updated
        rate = _pointer(optimizer.arguments[2])
        done = []
        for record in records:
            if record is writers[0]:
                record = _finish(record, recorder.UPDATE, decays)
                record = replace(record, pointers=(*record.pointers[:2], *pointers, rate))
            done.append(record)
        return done

    def _update_of(
        self, optimizer: Call, call: Call
    ) -> tuple[tuple[Pointer | None, Pointer | None], tuple[float, float]] | None:
        """Where the weight and the bias of a weight gradient are, and their factors of decay.

        None if they cannot be updated each by itself. What is returned counts as updated.
        """
        spec = optimizer.spec
        assert isinstance(spec, OptimizerSpec)
        parameters, gradients, _ = optimizer.arguments
        itemsize = np.dtype(self._plan.dtype).itemsize
        decays: list[float] = []
        pointers: list[Pointer | None] = []
        ranges = []
        for number in call.arguments[2:4]:
            if number is None:
                decays.append(0.0)
                pointers.append(None)
                continue
            owner, offset = self._plan.memory_of(number) or (-1, 0)
            size = math.prod(self._plan.buffers[number].shape)
            decay = _decay(spec, offset, offset + size)
            if owner != gradients or decay is None:
                return None
            decays.append(decay)
            pointers.append(Pointer(parameters or 0, offset * itemsize))
            ranges.append((offset, offset + size))
        self._updated.extend(ranges)
        return (pointers[0], pointers[1]), (decays[0], decays[1])

    def _rest_of_update(self, call: Call, records: list[Record]) -> list[Record]:
        """Update what no weight gradient has updated."""
        if not self._updated:
            return records
        named = {
            (self._plan.memory_of(number) or (-1, 0))[1]: math.prod(buffer.shape)
            for number, buffer in enumerate(self._plan.buffers)
            if buffer.parent is not None
            and (self._plan.memory_of(number) or (-1,))[0] == call.arguments[1]
        }
        assert isinstance(call.spec, OptimizerSpec)
        itemsize = np.dtype(self._plan.dtype).itemsize
        done = []
        for offset, size in sorted(named.items()):
            if (offset, offset + size) in self._updated:
                continue
            spec = replace(
                call.spec,
                size=size,
                weights=max(0, min(size, call.spec.weights - offset)),
                decayed=max(0, min(size, call.spec.decayed - offset)),
            )
            types = (self._plan.dtype, self._plan.dtype, "float64")
            for record in launch_of(call.kernel, spec, types, self._target).records:
                bound = _bound(record, call.arguments)
                moved = [_moved(p, offset * itemsize) for p in bound.pointers[:2]]
                done.append(replace(bound, pointers=(*moved, *bound.pointers[2:])))
        return done


def data_before_weight(plan: Plan) -> Plan:
    """Let each layer's data gradient come before its weight gradient, which may change weights.

    The gradient of an activation that follows in place goes with the data gradient.
    """
    ordered = list(plan.calls)
    for i in range(len(ordered) - 1):
        first, second = ordered[i], ordered[i + 1]
        if first.kernel in _WEIGHT and second.kernel in _DATA and first.spec == second.spec:
            ordered[i], ordered[i + 1] = second, first
            after = ordered[i + 2 : i + 3]
            if after and after[0].kernel == "activation.activation_backward":
                ordered[i + 1], ordered[i + 2] = after[0], first
    return replace(plan, calls=tuple(ordered))


def _without_idle_barriers(records: Sequence[Record]) -> Iterator[Record]:
    """Drop the barriers between records that all are done by the same single thread.

    What lies between two barriers counts as a whole: any of it may need what came before.
    """
    stretches: list[list[Record]] = [[]]
    for record in records:
        stretches[-1].append(record)
        if record.barrier:
            stretches.append([])
    alone = [bool(s) and all(record.parts == 1 for record in s) for s in stretches]
    for stretch, here, after in zip(stretches, alone, [*alone[1:], False], strict=True):
        yield from stretch[:-1]
        for record in stretch[-1:]:
            yield replace(record, barrier=False) if here and after else record


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


def _names(record: Record, number: int | None) -> bool:
    """Whether a pointer of a record is this buffer."""
    return any(p is not None and p.argument == number for p in record.pointers)


def _finish(record: Record, finish: int, reals: tuple[float, ...]) -> Record:
    place = _FINISH[record.kernel]
    integers = (*record.integers[:place], finish, *record.integers[place + 1 :])
    return replace(record, integers=integers, reals=reals)


def _slope(call: Call | None) -> float | None:
    """Slope of a (leaky) ReLU; 1 without a call, None for another activation."""
    if call is None:
        return 1.0
    assert isinstance(call.spec, ActivationSpec)
    return {"relu": 0.0, "leaky_relu": call.spec.alpha}.get(call.spec.kind)


def _pointer(number: int | None) -> Pointer | None:
    return None if number is None else Pointer(number)


def _moved(pointer: Pointer | None, offset: int) -> Pointer | None:
    return None if pointer is None else pointer.skip(offset)


def _bound(record: Record, arguments: tuple[int | None, ...]) -> Record:
    """Let the pointers of a record count buffers of the plan instead of arguments of its kernel."""
    pointers: list[Pointer | None] = []
    for pointer in record.pointers:
        if pointer is None or pointer.argument == WORKSPACE:
            pointers.append(pointer)
            continue
        number = arguments[pointer.argument]
        pointers.append(None if number is None else Pointer(number, pointer.offset))
    return replace(record, pointers=tuple(pointers))
