"""Prediction of a step's time on a card that is not there: a roofline of each launch.

The cupy backend is asked for the launches of a step, with their grids and arrays. Each takes what a
graph takes for a kernel, the trips to memory of a thread with nothing to do, and the longest of
four times:

* its arithmetic: instructions of the main loop of a product, counted in machine code
  (``product_loops.json``), by what the multiprocessors issue, tile after tile;
* its tensor cores, where it has some;
* its bytes, by the bandwidth of the memory, or of the cache where all that a step touches fits;
* what a block waits for, which at batch 1 nothing hides: terms of sums that come one after the
  other, and the sums of parts.

Steps that one block makes (:mod:`fastconv.backends.cupy.block_plan`) take what that module
estimates of their instructions; of many networks at once, each multiprocessor takes one, and all
share the memory.

It is made to compare changes, and is no measurement.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastconv.backends.cupy import run
from fastconv.backends.cupy.block_plan import NotInABlock, place_in_shared
from fastconv.backends.cupy.block_runner import rewritten_in_a_block
from fastconv.backends.cupy.device import Dimensions, in_place_of_a_card
from fastconv.plans.plan import Call, Plan
from fastconv.profiling.cards import Card
from fastconv.spec import ConvSpec, DenseSpec

_ISSUED, _ISSUED_ALONE = 0.85, 0.5
"""Share of the slots in which a multiprocessor issues: with several blocks, and with one."""
_REACHED = 0.85
"""Share of a bandwidth that is reached."""
_WARP, _SCHEDULERS = 32, 4
_PRODUCTS_OF = {"TF32": ("tf32", 16 * 8 * 8), "BF16": ("bf16", 16 * 8 * 16)}
"""Precisions of tensor cores, and what one instruction multiplies."""
_TRIPS = 2
"""Trips to memory that wait for each other in any kernel: for arguments, and for numbers."""
_TRIPS_OF_PARTS = 3
"""Those of the block that adds up parts: it is counted, it reads them, it writes."""
_PRODUCT = re.compile(r"<float, (\d+), (\d+), \d+, fastconv::(\w+)>$")


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch and what is predicted of it.

    Parameters
    ----------
    kernel
        The instance, as C++ names it.
    grid, block
        Its blocks and their threads.
    bytes
        Of the arrays of the plan that it is given.
    microseconds
        In a graph.
    bound_by
        "instructions", "tensor cores", "bytes" or "latency".
    """

    kernel: str
    grid: Dimensions
    block: Dimensions
    bytes: float
    microseconds: float = 0.0
    bound_by: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A step as a card would make it.

    Parameters
    ----------
    card
        Its name.
    rows
        The calls of the plan that are made as one, and their launches; first what begins a step.
    """

    card: str
    rows: tuple[tuple[tuple[Call, ...], tuple[Launch, ...]], ...]

    @property
    def launches(self) -> tuple[Launch, ...]:
        """All launches of a step, in order."""
        return tuple(launch for _, made in self.rows for launch in made)

    @property
    def microseconds(self) -> float:
        """Time of a step."""
        return sum(launch.microseconds for launch in self.launches)


@functools.cache
def product_loops() -> dict[str, tuple[int, int, int]]:
    """Return what the main loops of products have, by instance, for compute capability 9.0.

    Returns
    -------
    dict
        Instructions of a thread, multiplications (FFMA or HMMA) among them, and terms of each sum
        that one round adds.
    """
    text = resources.files(__package__).joinpath("product_loops.json").read_text("utf-8")
    return {name: (each[0], each[1], each[2]) for name, each in json.loads(text)["loops"].items()}


class _Listening:
    """A device that runs nothing, and writes down what it should."""

    arrays = SimpleNamespace(zeros=np.zeros, asarray=np.asarray, array=np.array)
    compute_capability = (9, 0)

    def __init__(self) -> None:
        self.launched: list[Launch] = []
        self.traffic: dict[int, float] = {}

    def launch(
        self,
        source: str,
        dtype: np.dtype[Any],
        kernel: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Sequence[Any],
        shared_bytes: int = 0,
    ) -> None:
        """Write a launch down."""
        arrays = {id(each) for each in arguments}
        size = sum(self.traffic.get(number, 0.0) for number in arrays)
        self.launched.append(Launch(kernel, grid, block, size))

    def load(self, launches: Callable[[], None]) -> None:
        """Load nothing."""

    def record(self, launches: Callable[[], None]) -> None:
        """Record nothing."""

    def stream(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """Wait for nothing."""

    def address_of(self, array: Any) -> int:
        """Say that all arrays are aligned, as a card's are."""
        return 0

    def to_host(self, array: Any) -> Any:
        """Return the array."""
        return array

    def nanoseconds_of(self, launches: Callable[[], None]) -> int:
        """Count the launches instead."""
        before = len(self.launched)
        launches()
        return len(self.launched) - before


def predict(plan: Plan, card: Card, precision: str = "float32") -> Prediction:
    """Predict a step of a plan.

    Parameters
    ----------
    plan
        As any backend has it.
    card
        Which, of :data:`CARDS`.
    precision
        Of products.
    """
    device = _Listening()
    shared = {b.name: np.zeros(b.shape, b.dtype) for b in plan.buffers if b.shared}
    with in_place_of_a_card(device):
        runner = run.Runner(plan, shared, precision=precision)
        device.traffic = _traffic(plan, runner)
        counts = np.zeros(len(runner.origins), np.int64)
        device.launched.clear()
        runner.run(np.zeros((1, plan.samples_of_a_step), np.int64), nanoseconds=counts)
    made = iter(device.launched)
    rows: list[tuple[tuple[Call, ...], tuple[Launch, ...]]] = []
    rows.append(((), (_timed(card, next(made), ()),)))
    for origins, count in zip(runner.origins, counts, strict=True):
        calls = tuple(runner.plan.calls[origin] for origin in origins)
        rows.append((calls, tuple(_timed(card, next(made), calls) for _ in range(count))))
    return Prediction(card.name, tuple(rows))


def predict_in_blocks(plan: Plan, card: Card) -> tuple[float, float] | None:
    """Predict a step that one block makes, and of as many networks as there are multiprocessors.

    Parameters
    ----------
    plan
        As any backend has it.
    card
        Which, of :data:`CARDS`.

    Returns
    -------
    alone, together : float
        Microseconds of a step of one network by itself, and of a step of each of many at once: the
        time of all by their number. None for a plan that no block makes.
    """
    try:
        rewritten, instructions = rewritten_in_a_block(plan)
    except NotInABlock:
        return None
    alone = sum(each.cycles for each in instructions) * 1e-3 / card.gigahertz
    shared = place_in_shared(rewritten, instructions, card.shared_bytes)
    outside = 0.0
    for each in instructions:
        for number, loads in zip(each.buffers, each.loads, strict=True):
            memory = rewritten.memory_of(number)
            if number is None or memory is None or memory[0] in shared.offsets:
                continue
            buffer = rewritten.buffers[number]
            numbers = min(loads, math.prod(buffer.shape))
            outside += numbers * np.dtype(buffer.dtype).itemsize
    is_cached = outside * card.multiprocessors <= card.cache_bytes / 2
    bandwidth = card.cache_gb if is_cached else card.memory_gb
    return alone, max(alone / card.multiprocessors, outside / (bandwidth * _REACHED) / 1e3)


def _traffic(plan: Plan, runner: run.Runner) -> dict[int, float]:
    """Bytes of each array that a step reads or writes; of the data set those of a batch."""
    samples = next((b.shape[0] for b in plan.buffers if b.name == "images"), None)
    sizes = {}
    for buffer in plan.buffers:
        array = runner.buffer(buffer.name)
        is_data = buffer.shared and samples is not None and buffer.shape[:1] == (samples,)
        sizes[id(array)] = array.nbytes * (plan.batch / buffer.shape[0] if is_data else 1.0)
    return sizes


def _timed(card: Card, launch: Launch, calls: Sequence[Call]) -> Launch:
    """Give a launch its time, and what bounds it."""
    cached = launch.bytes <= card.cache_bytes / 2
    bandwidth = card.cache_gb if cached else card.memory_gb
    cycle = 1e-3 / card.gigahertz
    trip = card.trip_cycles / (2 if cached else 1)
    trips = _TRIPS * trip * cycle
    times = {"latency": 0.0, "bytes": launch.bytes / (bandwidth * _REACHED) / 1e3}
    found = _PRODUCT.search(launch.kernel)
    main = next((c for c in calls if isinstance(c.spec, (ConvSpec, DenseSpec))), None)
    if found and main is not None:
        cycles = _cycles_of_product(card, launch, main, found[3], trip)
        times |= {name: number * cycle for name, number in cycles.items()}
    bound = max(times, key=lambda name: times[name])
    return Launch(
        launch.kernel, launch.grid, launch.block, launch.bytes,
        card.node_microseconds + trips + times[bound], bound if times[bound] > trips else "latency",
    )  # fmt: skip


def _cycles_of_product(
    card: Card, launch: Launch, call: Call, kind: str, trip: float
) -> dict[str, float]:
    """Cycles of the blocks of a multiprocessor, by what could bound them."""
    spec = call.spec
    assert isinstance(spec, (ConvSpec, DenseSpec))
    instructions, multiplications, terms = product_loops()[launch.kernel]
    groups = spec.groups if isinstance(spec, ConvSpec) else 1
    parts = launch.grid[1] // groups
    rounds = math.ceil(_depth(spec, call.kernel) / parts / terms)
    blocks = math.prod(launch.grid)
    waves = math.ceil(blocks / card.multiprocessors)
    issued = _ISSUED if waves > 1 else _ISSUED_ALONE
    warps = math.prod(launch.block) / _WARP
    cycles = {"instructions": waves * rounds * instructions * warps / (_SCHEDULERS * issued)}
    # The next terms are on their way while these are multiplied.
    cycles["latency"] = rounds * trip + (_TRIPS_OF_PARTS * trip if parts > 1 else 0)
    if kind in _PRODUCTS_OF:
        name, products = _PRODUCTS_OF[kind]
        made = multiplications * products * warps / card.tensor_products[name]
        cycles["tensor cores"] = waves * rounds * made
    return cycles


def _depth(spec: ConvSpec | DenseSpec, kernel: str) -> int:
    """Terms of each sum of a product."""
    if kernel.endswith("backward_weight"):
        pixels = spec.out_height * spec.out_width if isinstance(spec, ConvSpec) else 1
        return spec.batch * pixels
    backward = kernel.endswith("backward_data")
    if isinstance(spec, DenseSpec):
        return spec.outputs if backward else spec.inputs
    channels = spec.out_channels if backward else spec.in_channels
    return math.prod(spec.kernel) * channels // spec.groups
