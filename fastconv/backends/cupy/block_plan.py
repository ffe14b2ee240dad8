"""Plans that one block of a card makes: their instructions, and what lies in shared memory.

The kernel of ``kernels/cuda/block_steps.cu`` walks through them, step after step, without leaving
the card's multiprocessor. What it has no instruction for is :class:`NotInABlock`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any

import numpy as np

from fastconv.backends.cupy import fused_kernels
from fastconv.backends.cupy.fused_kernels import averages_of, windows_of
from fastconv.backends.cupy.fusion import FusedCall, check_fused, fuse_in_a_block
from fastconv.backends.cupy.launches import WARP, check_size, numbers_of
from fastconv.backends.cupy.strided_conv import geometry_of_nhwc
from fastconv.plans.activations import activation_of
from fastconv.plans.effects import argument_of
from fastconv.plans.operation import (
    ActivationSpec,
    DropoutSpec,
    InputSpec,
    LossSpec,
    OptimizerSpec,
)
from fastconv.plans.plan import Plan
from fastconv.plans.plan_check import is_wanted
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

THREADS = 512
"""Threads of a block, as in ``kernels/cuda/block_steps.cu``."""
COLUMNS = 4
"""Results of a product that a thread adds up at once, as in ``kernels/cuda/block_products.cuh``."""
_GEOMETRY = 16
"""Numbers of a convolution in front of its strides."""
_ALIGNMENT = 16
"""Bytes: arrays in shared memory begin at multiples of it."""
_IN_GLOBAL_MEMORY = ("statistics",)
"""Arrays that the host reads and writes between steps."""
_TERM_INSTRUCTIONS = 16
"""Of a thread, for a term of COLUMNS sums: the loops have 13 to 22 in machine code for sm_90."""
_RUN_INSTRUCTIONS = 40
"""Of a thread, to find where the terms of a tap, or of a row of pixels, lie."""
_ELEMENT_INSTRUCTIONS = 16
"""Of a thread, for an element of what is no product."""
_ISSUED = 4 * 0.5
"""Instructions of warps that a multiprocessor with one block issues in a cycle."""
_TERM_CYCLES, _RUN_CYCLES = 15, 60
"""Until a term of a sum is added, of which four are read at once, and until its run is found, where
no other warp has anything to do meanwhile."""
_ELEMENT_CYCLES = 60
"""The same of an element of what is no product."""
_INSTRUCTION_CYCLES = 400
"""Of an instruction of the plan, beside its terms: it is read, begun, waited for."""


class Operation(IntEnum):
    """Instructions that a block makes, as in ``kernels/cuda/block_steps.cu``."""

    GATHER_BYTES = 0
    GATHER_NUMBERS = auto()
    GATHER_LABELS = auto()
    SCALE = auto()
    STANDARDIZE = auto()
    MIN_MAX = auto()
    FORWARD = auto()
    BACKWARD_DATA = auto()
    BACKWARD_WEIGHT = auto()
    ACTIVATE = auto()
    ACTIVATION_GRADIENT = auto()
    MAX_POOL = auto()
    MAX_POOL_GRADIENT = auto()
    AVG_POOL = auto()
    AVG_POOL_GRADIENT = auto()
    GLOBAL_AVG_POOL = auto()
    GLOBAL_AVG_POOL_GRADIENT = auto()
    DROPOUT = auto()
    DROPOUT_GRADIENT = auto()
    LOSS = auto()
    SGD = auto()
    MOMENTUM = auto()
    ADAM = auto()


_GATHERS = (Operation.GATHER_BYTES, Operation.GATHER_NUMBERS, Operation.GATHER_LABELS)
"""Instructions that read the samples, which are far too large for shared memory."""
INSTRUCTION = np.dtype(
    [("operation", "i4"), ("numbers", "i4", 19), ("reals", "f8", 8), ("places", "u8", 8)]
)
"""Layout of ``Instruction`` in ``kernels/cuda/block_steps.cu``."""
COPY = np.dtype([("place", "u8"), ("address", "u8"), ("words", "i4"), ("stores", "i4")])
"""That of ``Copy``."""
PIECE = np.dtype(
    [
        ("instructions", "u8"), ("copies", "u8"), ("order", "u8"), ("rates", "u8"),
        ("indices", "u8"), ("rate", "u8"), ("step", "u8"), ("first_step", "i8"),
        ("instruction_count", "i4"), ("copy_count", "i4"), ("samples", "i4"),
        ("rate_numbers", "i4"), ("steps", "i4"), ("unused", "i4"),
    ]
)  # fmt: skip
"""That of ``Piece``."""


class NotInABlock(ValueError):
    """A plan that one block does not make, and why."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction over buffers of a plan.

    Parameters
    ----------
    operation
        What is done.
    numbers, reals
        As ``make`` of the kernel takes them.
    buffers
        Numbers of the buffers, in the order of the places that ``make`` takes; None for null.
    loads
        About how many numbers the threads read from each of them, or write there.
    cycles
        About how long a multiprocessor takes that has nothing else to do.
    seed
        Of random numbers; it stands in the place behind four buffers.
    """

    operation: Operation
    numbers: tuple[int, ...]
    reals: tuple[float, ...]
    buffers: tuple[int | None, ...]
    loads: tuple[float, ...]
    cycles: float
    seed: int | None = None


def instructions_of(plan: Plan) -> list[Instruction]:
    """Return what a block does in a step of a plan, which has been rewritten as a runner does.

    Raises
    ------
    NotInABlock
        If there is a call that it has no instruction for.
    """
    if not any(buffer.name == "statistics" for buffer in plan.buffers):
        raise NotInABlock("a plan without a loss")
    fused = fuse_in_a_block(plan)
    if is_wanted():
        check_fused(plan, fused)
    return [_instruction_of(plan, each) for each in fused]


def _instruction_of(plan: Plan, fused: FusedCall) -> Instruction:
    if fused.function is fused_kernels.softmax_cross_entropy:
        make: _Maker | None = _loss
    else:
        make = _MAKERS.get(fused.call.kernel)
    if make is None:
        raise NotInABlock(f"{fused.call.kernel} is not among what a block makes")
    for number in fused.arguments:
        if number is not None:
            check_size("block_steps", buffer=math.prod(plan.buffers[number].shape))
    return make(plan, fused)


_Maker = Callable[[Plan, FusedCall], Instruction]


def _elements(
    plan: Plan,
    fused: FusedCall,
    operation: Operation,
    numbers: Sequence[int],
    reals: Sequence[float] = (),
    buffers: Sequence[int | None] | None = None,
    *,
    work: float = 1.0,
    seed: int | None = None,
) -> Instruction:
    """Return an instruction whose threads share the elements of what is written last.

    ``work`` is how many times as long as usual an element takes.
    """
    arguments = tuple(fused.arguments if buffers is None else buffers)
    (written,) = (n for n in arguments[-1:] if n is not None)
    count = math.prod(plan.buffers[written].shape)
    sizes = tuple(
        0.0 if n is None else float(min(count, math.prod(plan.buffers[n].shape))) for n in arguments
    )
    rounds = math.ceil(count / THREADS)
    warps = min(THREADS, count) / WARP
    cycles = _INSTRUCTION_CYCLES + work * rounds * max(
        _ELEMENT_CYCLES, _ELEMENT_INSTRUCTIONS * warps / _ISSUED
    )
    return Instruction(operation, tuple(numbers), tuple(reals), arguments, sizes, cycles, seed)


def _spec(fused: FusedCall, kind: type[Any]) -> Any:
    spec = fused.call.spec
    if not isinstance(spec, kind):
        raise NotInABlock(f"{fused.call.kernel} of a {type(spec).__name__}")
    return spec


# Products.


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of a product.

    Parameters
    ----------
    items
        Groups of COLUMNS results.
    runs, terms
        Runs that each result is added up in, and the terms of each.
    shares_runs
        Whether lanes share the runs, else the terms of each.
    """

    items: int
    runs: int
    terms: int
    shares_runs: bool = False

    def lanes(self) -> int:
        """Threads that add up an item: those with which it is done soonest."""
        shared = self.runs if self.shares_runs else self.terms
        choices = [lanes for lanes in (1, 2, 4, 8, 16, WARP) if lanes < 2 * shared]
        return min(choices, key=lambda lanes: (self.cycles(lanes), lanes))

    def cycles(self, lanes: int) -> float:
        """Return about how long they take."""
        rounds = math.ceil(self.items * lanes / THREADS)
        runs = math.ceil(self.runs / lanes) if self.shares_runs else self.runs
        terms = runs * (self.terms if self.shares_runs else math.ceil(self.terms / lanes))
        exchanges = 2 * COLUMNS * lanes.bit_length()
        instructions = runs * _RUN_INSTRUCTIONS + terms * _TERM_INSTRUCTIONS + exchanges
        waits = runs * _RUN_CYCLES + terms * _TERM_CYCLES + 8 * exchanges
        warps = min(THREADS, self.items * lanes) / WARP
        return _INSTRUCTION_CYCLES + rounds * max(waits, instructions * warps / _ISSUED)


def _convolution(spec: ConvSpec | DenseSpec) -> ConvSpec:
    """Return a dense layer as the convolution of one pixel that it is."""
    if isinstance(spec, ConvSpec):
        return spec
    return ConvSpec(spec.batch, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))


def _product(
    fused: FusedCall, operation: Operation, sums: _Sums, buffers: Sequence[int | None]
) -> Instruction:
    spec = _convolution(fused.call.spec)  # type: ignore[arg-type]
    lanes = sums.lanes()
    kind, alpha = numbers_of(fused.activation)
    numbers = (*geometry_of_nhwc(spec)[:_GEOMETRY], lanes, kind)
    once = float(sums.items * sums.runs * sums.terms)
    each = once * COLUMNS
    results = float(sums.items * COLUMNS)
    loads = {
        Operation.FORWARD: (once, each, results, results),
        Operation.BACKWARD_DATA: (results, once, each, results),
        Operation.BACKWARD_WEIGHT: (each, once, results, results),
    }[operation]
    return Instruction(operation, numbers, (alpha,), tuple(buffers), loads, sums.cycles(lanes))


def _quads(channels: int, groups: int) -> int:
    return groups * math.ceil(channels // groups / COLUMNS)


def _forward(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _convolution(_spec(fused, (ConvSpec, DenseSpec)))  # type: ignore[arg-type]
    pixels = spec.batch * spec.out_height * spec.out_width
    items = pixels * _quads(spec.out_channels, spec.groups)
    sums = _Sums(items, math.prod(spec.kernel), spec.in_channels // spec.groups)
    return _product(fused, Operation.FORWARD, sums, fused.arguments)


def _backward_data(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _convolution(_spec(fused, (ConvSpec, DenseSpec)))  # type: ignore[arg-type]
    pixels = spec.batch * spec.height * spec.width
    # Where the stride is more than 1, most taps of a pixel have no term.
    taps = max(1, math.prod(spec.kernel) // math.prod(spec.stride))
    items = pixels * _quads(spec.in_channels, spec.groups)
    sums = _Sums(items, taps, spec.out_channels // spec.groups)
    return _product(fused, Operation.BACKWARD_DATA, sums, _with_kept(fused))


def _backward_weight(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _convolution(_spec(fused, (ConvSpec, DenseSpec)))  # type: ignore[arg-type]
    rows = math.prod(spec.kernel) * spec.in_channels // spec.groups
    has_bias = fused.arguments[-1] is not None
    items = (rows + has_bias) * _quads(spec.out_channels, spec.groups)
    sums = _Sums(items, spec.batch * spec.out_height, spec.out_width, shares_runs=True)
    return _product(fused, Operation.BACKWARD_WEIGHT, sums, fused.arguments)


def _with_kept(fused: FusedCall) -> tuple[int | None, ...]:
    """Arguments behind what the activation in front of a layer keeps, or None."""
    return fused.arguments if fused.activation is not None else (None, *fused.arguments)


# All else.


def _gather_images(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _spec(fused, InputSpec)
    return _gather(plan, fused, spec, spec.height * spec.width * spec.channels)


def _gather_rows(plan: Plan, fused: FusedCall) -> Instruction:
    rows = fused.arguments[0]
    assert rows is not None
    return _gather(plan, fused, _spec(fused, InputSpec), math.prod(plan.buffers[rows].shape[1:]))


def _gather(plan: Plan, fused: FusedCall, spec: InputSpec, size: int) -> Instruction:
    rows = fused.arguments[0]
    assert rows is not None
    dtype = plan.buffers[rows].dtype
    operations = {
        "uint8": Operation.GATHER_BYTES,
        "int64": Operation.GATHER_LABELS,
        plan.dtype: Operation.GATHER_NUMBERS,
    }
    if dtype not in operations:
        raise NotInABlock(f"samples of {dtype}")
    return _elements(plan, fused, operations[dtype], (spec.batch, size), work=4.0)


def _count(spec: InputSpec) -> int:
    return math.prod(spec.x_shape)


def _scale(plan: Plan, fused: FusedCall) -> Instruction:
    # The factor comes second, and the result third.
    return _elements(plan, fused, Operation.SCALE, (_count(_spec(fused, InputSpec)),))


def _standardize(plan: Plan, fused: FusedCall) -> Instruction:
    mean = fused.arguments[1]
    assert mean is not None
    period = math.prod(plan.buffers[mean].shape)
    numbers = (_count(_spec(fused, InputSpec)), period)
    return _elements(plan, fused, Operation.STANDARDIZE, numbers, work=2.0)


def _min_max(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _spec(fused, InputSpec)
    size = _count(spec) // max(1, spec.batch)
    made = _elements(plan, fused, Operation.MIN_MAX, (spec.batch, size), work=2.0)
    # Image after image, with two barriers and the exchanges of the warps.
    return dataclasses.replace(made, cycles=made.cycles + spec.batch * 600)


def _activate(plan: Plan, fused: FusedCall) -> Instruction:
    spec: ActivationSpec = _spec(fused, ActivationSpec)
    kind, alpha = numbers_of(spec)
    buffers = fused.arguments[0], fused.arguments[-1]
    numbers = spec.size, kind
    return _elements(plan, fused, Operation.ACTIVATE, numbers, (alpha,), buffers)


def _activation_gradient(plan: Plan, fused: FusedCall) -> Instruction:
    spec: ActivationSpec = _spec(fused, ActivationSpec)
    kind, alpha = numbers_of(spec)
    kept = argument_of(fused.call, activation_of(spec.kind).keeps)
    buffers = fused.arguments[0], kept, fused.arguments[-1]
    numbers = spec.size, kind
    return _elements(plan, fused, Operation.ACTIVATION_GRADIENT, numbers, (alpha,), buffers)


def _max_pool(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _spec(fused, PoolSpec)
    return _elements(
        plan, fused, Operation.MAX_POOL, windows_of(spec), work=float(math.prod(spec.kernel))
    )


def _max_pool_gradient(plan: Plan, fused: FusedCall) -> Instruction:
    numbers = windows_of(_spec(fused, PoolSpec))
    return _elements(plan, fused, Operation.MAX_POOL_GRADIENT, numbers, work=3.0)


def _avg_pool(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _spec(fused, PoolSpec)
    return _elements(
        plan, fused, Operation.AVG_POOL, averages_of(spec), work=float(math.prod(spec.kernel))
    )


def _avg_pool_gradient(plan: Plan, fused: FusedCall) -> Instruction:
    numbers = averages_of(_spec(fused, PoolSpec))
    return _elements(plan, fused, Operation.AVG_POOL_GRADIENT, numbers, work=3.0)


def _global_avg_pool(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _spec(fused, InputSpec)
    pixels = spec.height * spec.width
    numbers = spec.batch, pixels, spec.channels
    return _elements(plan, fused, Operation.GLOBAL_AVG_POOL, numbers, work=float(pixels))


def _global_avg_pool_gradient(plan: Plan, fused: FusedCall) -> Instruction:
    spec = _spec(fused, InputSpec)
    numbers = spec.batch, spec.height * spec.width, spec.channels
    return _elements(plan, fused, Operation.GLOBAL_AVG_POOL_GRADIENT, numbers)


def _dropout(plan: Plan, fused: FusedCall) -> Instruction:
    spec: DropoutSpec = _spec(fused, DropoutSpec)
    numbers = spec.size, spec.threshold, _as_signed(spec.random.stream)
    return _elements(
        plan, fused, Operation.DROPOUT, numbers, (spec.scale,), work=4.0, seed=spec.random.seed
    )


def _as_signed(word: int) -> int:
    """Return the int32 of the same bits."""
    return word - 2**32 if word >= 2**31 else word


def _dropout_gradient(plan: Plan, fused: FusedCall) -> Instruction:
    spec: DropoutSpec = _spec(fused, DropoutSpec)
    return _elements(plan, fused, Operation.DROPOUT_GRADIENT, (spec.size,), (spec.scale,))


def _loss(plan: Plan, fused: FusedCall) -> Instruction:
    spec: LossSpec = _spec(fused, LossSpec)
    made = _elements(plan, fused, Operation.LOSS, (spec.batch, spec.outputs))
    rounds = math.ceil(spec.batch / (THREADS / WARP))
    # A sample is a warp's: exchanges, exponentials and a logarithm, then the sums of the warps.
    cycles = _INSTRUCTION_CYCLES + rounds * 1500 + 600
    return Instruction(made.operation, made.numbers, (), made.buffers, made.loads, cycles)


def _update(
    operation: Operation, plan: Plan, fused: FusedCall, numbers: Sequence[int],
    reals: Sequence[float], arrays: int,
) -> Instruction:  # fmt: skip
    """Return an update of the first ``arrays`` buffers of a call."""
    spec: OptimizerSpec = _spec(fused, OptimizerSpec)
    sizes = spec.size, spec.weights, spec.decayed
    penalties = spec.l2, spec.coupled_decay, spec.decoupled_decay, spec.rate_factor
    loads = tuple(float(spec.size) if n < arrays else 1.0 for n in range(len(fused.arguments)))
    rounds = math.ceil(spec.size / THREADS)
    cycles = (
        _INSTRUCTION_CYCLES + rounds * arrays * _ELEMENT_INSTRUCTIONS * (THREADS / WARP) / _ISSUED
    )
    return Instruction(
        operation, (*sizes, *numbers), (*penalties, *reals), fused.arguments, loads, cycles
    )


def _sgd(plan: Plan, fused: FusedCall) -> Instruction:
    return _update(Operation.SGD, plan, fused, (), (), 2)


def _momentum(plan: Plan, fused: FusedCall) -> Instruction:
    spec: OptimizerSpec = _spec(fused, OptimizerSpec)
    share = 1.0 - spec.momentum if spec.averaged else 1.0
    scheduled = int(spec.scheduled_momentum) * (2 if spec.averaged else 1)
    numbers = int(spec.kind == "nesterov"), scheduled
    return _update(Operation.MOMENTUM, plan, fused, numbers, (spec.momentum, share), 3)


def _adam(plan: Plan, fused: FusedCall) -> Instruction:
    spec: OptimizerSpec = _spec(fused, OptimizerSpec)
    rule = spec.beta1, spec.beta2, spec.epsilon
    return _update(Operation.ADAM, plan, fused, (int(spec.scheduled_momentum),), rule, 4)


_MAKERS: dict[str, _Maker] = {
    "input.gather_images": _gather_images,
    "input.gather_rows": _gather_rows,
    "input.scale_images": _scale,
    "input.standardize_images": _standardize,
    "input.min_max_images": _min_max,
    "conv.conv2d_forward": _forward,
    "conv.conv2d_backward_data": _backward_data,
    "conv.conv2d_backward_weight": _backward_weight,
    "dense.dense_forward": _forward,
    "dense.dense_backward_data": _backward_data,
    "dense.dense_backward_weight": _backward_weight,
    "activation.activation_forward": _activate,
    "activation.activation_backward": _activation_gradient,
    "pool.max_pool2d_forward": _max_pool,
    "pool.max_pool2d_backward": _max_pool_gradient,
    "pool.avg_pool2d_forward": _avg_pool,
    "pool.avg_pool2d_backward": _avg_pool_gradient,
    "pool.global_avg_pool2d_forward": _global_avg_pool,
    "pool.global_avg_pool2d_backward": _global_avg_pool_gradient,
    "dropout.dropout_forward": _dropout,
    "dropout.dropout_backward": _dropout_gradient,
    "optim.sgd_update": _sgd,
    "optim.momentum_update": _momentum,
    "optim.adam_update": _adam,
}
"""What a block makes, by the kernel of the first call."""


# Memory.


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Which arrays of a plan lie in shared memory while a block makes its steps.

    Parameters
    ----------
    offsets
        Bytes from the beginning, by the number of the buffer that owns the memory.
    size
        Bytes in all.
    """

    offsets: dict[int, int]
    size: int


def place_in_shared(plan: Plan, instructions: Sequence[Instruction], most: int) -> SharedMemory:
    """Choose arrays for shared memory: those with the most reads for each byte first.

    Parameters
    ----------
    plan, instructions
        The plan, and what is done in a step.
    most
        Bytes that there are.
    """
    loads = dict.fromkeys((plan.number_of(name) for name in ("indices", "rate", "step")), math.inf)
    for each in instructions:
        for given, count in zip(each.buffers, each.loads, strict=True):
            memory = plan.memory_of(given)
            if memory is not None:
                loads[memory[0]] = loads.get(memory[0], 0.0) + count
    gathered = {each.buffers[0] for each in instructions if each.operation in _GATHERS}
    sizes = {}
    for number in loads:
        buffer = plan.buffers[number]
        size = math.prod(buffer.shape) * np.dtype(buffer.dtype).itemsize
        # Copies are of words.
        if number not in gathered and buffer.name not in _IN_GLOBAL_MEMORY and size % 4 == 0:
            sizes[number] = max(1, math.ceil(size / _ALIGNMENT)) * _ALIGNMENT
    offsets: dict[int, int] = {}
    used = 0
    for number in sorted(sizes, key=lambda n: (-loads[n] / sizes[n], n)):
        if used + sizes[number] <= most:
            offsets[number] = used
            used += sizes[number]
    return SharedMemory(offsets, used)
