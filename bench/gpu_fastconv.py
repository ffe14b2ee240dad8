"""fastconv's training step on a GPU, by launches to a stream and as a CUDA graph."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from turns import MOST_STEPS, STEPS_OF_A_PIECE, Contender, Run
from workload import Workload

from fastconv.backends.cupy.device import Recording, device, stand_in
from fastconv.execution.config import ExecutionConfig
from fastconv.profiling.step_profile import gflop_of_step, synthetic_dataset
from fastconv.runs.experiment import prepare
from fastconv.trainer import Trainer

GRAPH, STREAM = "fastconv graph", "fastconv stream"
PRECISIONS = ("float32", "tf32", "bf16")


class _WithoutGraphs:
    """A device that does not record, so that every launch goes to the stream."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def record(self, launches: Callable[[], None]) -> Recording | None:
        return None


@contextlib.contextmanager
def _without_graphs() -> Iterator[None]:
    """Let the runners that are made within the block launch every kernel by itself."""
    whole = device()
    stand_in(_WithoutGraphs(whole))
    try:
        yield
    finally:
        stand_in(whole)


def trainer_of(workload: Workload, precision: str) -> Trainer:
    """A trainer of the workload on the card."""
    config = ExecutionConfig("cupy", precision=precision)
    return prepare(workload.recipe, dataset=workload.dataset(), config=config).trainer


@functools.cache
def gflop_of_image(name: str) -> float:
    """Dense operations of a recipe's step at batch size 1 in 1e9, forward and backward."""
    recipe = Workload.of(name, 1).recipe
    trainer = prepare(
        recipe, dataset=synthetic_dataset(recipe), config=ExecutionConfig("numpy")
    ).trainer
    return gflop_of_step(trainer.runner.plan)


def _prepared(workload: Workload, precision: str, as_graph: bool) -> Run:
    with contextlib.nullcontext() if as_graph else _without_graphs():
        trainer = trainer_of(workload, precision)
    order, rates = workload.order(MOST_STEPS), trainer.schedule.rates(np.arange(MOST_STEPS))
    runner = trainer.runner

    def run(steps: int) -> None:
        runner.run(order[:steps], rates[:steps])

    run(STEPS_OF_A_PIECE)
    if (runner.steps_of_a_graph > 1) is not as_graph:
        raise RuntimeError(f"a graph holds {runner.steps_of_a_graph} steps")
    return run


def seconds_of(work: Callable[[], None]) -> float:
    """Time work between two events of the current stream."""
    return device().nanoseconds_of(work) / 1e9


def contenders(workload: Workload, precision: str) -> list[Contender]:
    """The two ways in which a step can run."""
    return [
        Contender(
            who, "", functools.partial(_prepared, workload, precision, who == GRAPH), seconds_of
        )
        for who in (GRAPH, STREAM)
    ]


@dataclass(frozen=True)
class WholeTraining:
    """A training at batch size 1 by the clock on the wall."""

    recipe: str
    precision: str
    steps: int
    seconds_to_get_ready: float
    seconds: float
    loss: float


def train(recipe: str, precision: str, steps: int) -> WholeTraining:
    """Train from scratch, one image at a time."""
    start = time.perf_counter()
    trainer = trainer_of(Workload.of(recipe, 1), precision)
    ready = time.perf_counter()
    left, loss = steps, float("nan")
    while left:
        now = min(left, trainer.steps_left_in_epoch())
        loss = trainer.train(now).loss
        left -= now
    return WholeTraining(recipe, precision, steps, ready - start, time.perf_counter() - ready, loss)
