"""Measuring one training step, call by call or instruction by instruction."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.work import is_product, multiplications
from fastconv.backends.selection import BackendError, load_module
from fastconv.data import Dataset, Samples, load_curve
from fastconv.execution.config import ExecutionConfig
from fastconv.plans.operation import ActivationSpec, InputSpec, OptimizerSpec
from fastconv.plans.plan import Call, Plan
from fastconv.recipe import Recipe
from fastconv.recipes.schema import RecipeError
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec, describe
from fastconv.trainer import Trainer

_IMAGE_SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
_WITH_GEOMETRY = (ConvSpec, DenseSpec, PoolSpec)
_LEAST_SAMPLES = 1024
_SECONDS_OF_A_REPEAT = 0.05
_MOST_TRIES = 100
"""To time a repeat of which the caller makes a part."""
_MOST_STEPS = 1000
_BARRIERS = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction of a stream, or one call of a plan.

    Parameters
    ----------
    kernel
        The kernel that ran.
    calls
        The plan's calls that it does, or a part of.
    spec
        Their specs.
    median_microseconds, least_microseconds
        Time in a step, the barrier behind it included: over all repeats.
    gflop
        Its share of the dense operations, in 1e9; 0 beside convolutions and dense layers.
    share
        Of the sum of all rows, by the medians.
    threads
        Threads that find work in it.
    barrier
        Whether threads wait for each other behind it.
    """

    kernel: str
    calls: tuple[str, ...]
    spec: str
    median_microseconds: float
    least_microseconds: float
    gflop: float
    share: float
    threads: int
    barrier: bool

    @property
    def gflop_per_second(self) -> float | None:
        """Speed by the median; None for what is no product."""
        if not (self.gflop and self.median_microseconds):
            return None
        return 1e6 * self.gflop / self.median_microseconds


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Profile of a step; microseconds unless said otherwise.

    Parameters
    ----------
    recipe, backend, batch_size, threads, precision, steps, repeats
        What was measured: ``repeats`` times ``steps`` steps.
    rows
        In the order in which they run.
    median_step, least_step
        A step, measured without reading the clock in between.
    gflop
        Dense operations of a step, in 1e9.
    barriers, barrier_nanoseconds
        Barriers in a step, and what one costs that nobody is late for; None without a thread pool.
    empty_step, empty_run
        A step of a plan without calls, and a whole call of ``run`` with it.
    """

    recipe: str
    backend: str
    batch_size: int
    threads: int
    precision: str
    steps: int
    repeats: int
    rows: tuple[Row, ...]
    median_step: float
    least_step: float
    gflop: float
    barriers: int | None
    barrier_nanoseconds: float | None
    empty_step: float
    empty_run: float

    @property
    def sum_of_rows(self) -> float:
        """Sum of the rows' medians."""
        return sum(row.median_microseconds for row in self.rows)

    @property
    def gflop_per_second(self) -> float:
        """Dense operations of a step by its median time."""
        return 1e6 * self.gflop / self.median_step

    def table(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        table = asdict(self)
        for row, each in zip(self.rows, table["rows"], strict=True):
            each["gflop_per_second"] = row.gflop_per_second
        table["sum_of_rows"] = self.sum_of_rows
        table["gflop_per_second"] = self.gflop_per_second
        return table


def synthetic_dataset(recipe: Recipe, samples: int = 0) -> Dataset:
    """Make random images and labels of the shape of a recipe's data set.

    Parameters
    ----------
    recipe
        Whose data set and batch size.
    samples
        How many; 0 for enough to profile with.
    """
    if recipe.data.dataset not in _IMAGE_SHAPES and recipe.data.dataset != "curve":
        raise RecipeError(
            f"recipe {recipe.name}: is for data of one's own, of which no random ones can be made; "
            f"give them with --data-dir PATH"
        )
    samples = samples or max(recipe.batch_size, _LEAST_SAMPLES)
    generator = np.random.default_rng(recipe.seed)
    if recipe.data.dataset == "curve":
        return load_curve(samples=samples)
    shape = (samples, *_IMAGE_SHAPES[recipe.data.dataset])
    images = generator.integers(0, 256, shape, np.uint8)
    training = Samples(images, generator.integers(0, 10, samples))
    classes = tuple(str(number) for number in range(10))
    return Dataset(f"synthetic {recipe.data.dataset}", training, training.take([]), classes)


def measure(
    trainer: Trainer, recipe: str, steps: int | None = None, repeats: int = 15
) -> StepProfile:
    """Measure the steps of a trainer; it trains on meanwhile.

    Parameters
    ----------
    trainer
        Made by :func:`fastconv.runs.experiment.prepare`.
    recipe
        Its name.
    steps
        In each repeat; None: as many as take 50 ms, at most an epoch.
    repeats
        How often; they follow a warm-up.

    Raises
    ------
    BackendError
        If the backend has no clock for the parts of a step.
    """
    runner, config = trainer.runner, trainer.config
    if not hasattr(runner, "origins"):
        raise BackendError(
            f"backend {config.backend!r} does not time the parts of a step; "
            f"use --backend numpy, numba or cython"
        )
    parts = len(runner.origins)

    def run(count: int, times: np.ndarray | None = None) -> float:
        """Microseconds of a step."""
        order = np.arange(count * trainer.samples_per_step).reshape(count, -1) % len(
            trainer.training
        )
        rates = trainer.rates_and_momenta(np.arange(count))
        started = time.perf_counter()
        runner.run(order, rates, 0, times)
        return 1e6 * (time.perf_counter() - started) / count

    run(1)
    if steps is None:
        steps = int(max(1, min(_MOST_STEPS, 1e6 * _SECONDS_OF_A_REPEAT / run(2))))
    run(steps)
    whole: list[float] = []
    timed = np.zeros((repeats, parts), np.int64)
    for repeat in range(repeats):
        for _ in range(_MOST_TRIES):
            run(steps, timed[repeat])
            # The caller's clock: where it lost its core, others may have made all of it.
            if timed[repeat].any():
                break
        whole.append(run(steps))
    microseconds = timed / (1000.0 * steps)
    rows = _rows(runner, config, np.median(microseconds, axis=0), microseconds.min(axis=0))
    barriers, cost = _barriers(config, rows)
    empty_step, empty_run = _empty(config, runner.plan, repeats)
    return StepProfile(
        recipe, config.backend, trainer.batch_size, config.threads, config.precision, steps,
        repeats, rows, statistics.median(whole), min(whole), gflop_of_step(runner.plan),
        barriers, cost, empty_step, empty_run,
    )  # fmt: skip


def _rows(
    runner: Any, config: ExecutionConfig, medians: np.ndarray, least: np.ndarray
) -> tuple[Row, ...]:
    calls: Sequence[Call] = runner.plan.calls
    instructions = getattr(runner, "instructions", None)
    gflops = _gflops(runner, instructions)
    total = float(medians.sum()) or 1.0
    rows = []
    for number, origins in enumerate(runner.origins):
        made = [calls[origin] for origin in origins]
        names = tuple(call.kernel for call in made)
        instruction = None if instructions is None else instructions[number]
        # The sizes of what is fused into a product follow from the product's.
        main = [call.spec for call in made if isinstance(call.spec, _WITH_GEOMETRY)]
        specs = dict.fromkeys(map(_describe, main or [call.spec for call in made]))
        rows.append(
            Row(
                names[0].partition(".")[2] if instruction is None else instruction.kernel,
                names,
                ", ".join(specs),
                float(medians[number]),
                float(least[number]),
                gflops[number],
                float(medians[number]) / total,
                # NumPy's own loops take one thread, its matrix products those of the BLAS library.
                (config.threads if gflops[number] else 1)
                if instruction is None
                else min(config.threads, max(1, instruction.max_threads)),
                instruction is not None and instruction.barrier,
            )
        )
    return tuple(rows)


def _gflops(runner: Any, instructions: Sequence[Any] | None) -> list[float]:
    """Share each call's dense operations among the products that do it."""
    gflops = [0.0] * len(runner.origins)
    for number, call in enumerate(runner.plan.calls):
        doing = [place for place, origins in enumerate(runner.origins) if number in origins]
        if instructions is not None:
            doing = [place for place in doing if is_product(instructions[place])]
            weights = [multiplications(instructions[place]) for place in doing]
        else:
            weights = [1] * len(doing)
        for place, weight in zip(doing, weights, strict=True):
            gflops[place] += _gflop(call) * weight / (sum(weights) or 1)
    return gflops


def gflop_of_step(plan: Plan) -> float:
    """Dense operations of a plan's step, in 1e9: of its convolutions and dense layers.

    Parameters
    ----------
    plan
        The plan.
    """
    return sum(map(_gflop, plan.calls))


def _gflop(call: Call) -> float:
    return call.spec.flops / 1e9 if isinstance(call.spec, (ConvSpec, DenseSpec)) else 0.0


def _describe(spec: object) -> str:
    """The sizes of a spec in a few words."""
    match spec:
        case DenseSpec():
            return f"{spec.batch}x{spec.inputs} to {spec.outputs}"
        case ActivationSpec() | OptimizerSpec():
            return f"{spec.kind} of {spec.size}"
        case InputSpec():
            return "x".join(map(str, spec.x_shape))
    return describe(spec)


def _barriers(config: ExecutionConfig, rows: Sequence[Row]) -> tuple[int | None, float | None]:
    if importlib.util.find_spec(f"fastconv.backends.{config.backend}.engine") is None:
        return None, None
    engine: Any = load_module(config.backend, "engine")
    count = sum(row.barrier for row in rows) if config.threads > 1 else 0
    return count, float(engine.barrier_nanoseconds(config.threads, _BARRIERS))


def _empty(config: ExecutionConfig, plan: Plan, repeats: int) -> tuple[float, float]:
    """Microseconds of a step of a plan without calls, and of a call of ``run`` with one step."""
    names = ("indices", "rate", "step")
    buffers = tuple(plan.buffers[plan.number_of(name)] for name in names)
    empty = Plan(plan.batch, plan.dtype, buffers, ())
    runner = config.make_runner(empty, {})
    order, rates = np.zeros((_MOST_STEPS, plan.samples_of_a_step), np.int64), np.zeros(_MOST_STEPS)

    def least(work: Callable[[], object]) -> float:
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return 1e6 * min(times)

    one = least(lambda: runner.run(order[:1], rates[:1]))
    many = least(lambda: runner.run(order, rates))
    return max(0.0, many - one) / (_MOST_STEPS - 1), one
