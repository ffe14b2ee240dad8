"""The trainings of trials, in a process of their own."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv.backends.selection import BackendError
from fastconv.data import DataError, Dataset
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.ending import Interruption
from fastconv.execution.lockstep import share_out, taking_part
from fastconv.execution.side_by_side import side_by_side
from fastconv.inference import Score
from fastconv.network import NetworkError
from fastconv.recipe import Recipe
from fastconv.recipes.recipe_sections import DataSection
from fastconv.recipes.schema import RecipeError
from fastconv.runs.experiment import load_dataset, prepare
from fastconv.search.definition import Search, SearchError
from fastconv.search.folds import folds_of, without_test
from fastconv.search.outcome import State
from fastconv.search.space import Settings
from fastconv.training_loop import HistoryRecord, fit

_IMPOSSIBLE = (RecipeError, DataError, NetworkError)
"""Errors of some settings, while others can be trained."""


@dataclass(frozen=True)
class WorkerConfig:
    """Configuration that is the same in all trials of a search.

    Parameters
    ----------
    search
        The search.
    data_dir, execution
        As for :func:`fastconv.runs.experiment.prepare`.
    reports_records
        Whether to validate, and report, at every line of the history; else at the end alone.
    """

    search: Search
    data_dir: str | Path | None = None
    execution: ExecutionConfig = field(default_factory=lambda: ExecutionConfig(threads=1))
    reports_records: bool = False


@dataclass(frozen=True)
class Task:
    """To a worker: train with these settings."""

    number: int
    settings: Settings


@dataclass(frozen=True)
class Prune:
    """To a worker: give the trial of this number up."""

    number: int


@dataclass(frozen=True)
class Stop:
    """To a worker: give everything up."""


@dataclass(frozen=True)
class Ready:
    """From a worker: the data are loaded."""

    backend: str


@dataclass(frozen=True)
class ConfigError:
    """From a worker: the search cannot be made."""

    reason: str


@dataclass(frozen=True)
class IntermediateValue:
    """From a worker: the metric at a line of the history, counted over all trainings of a trial."""

    number: int
    line: int
    value: float


@dataclass(frozen=True)
class Done:
    """From a worker: a trial ended; a ``state`` of None: it was stopped, and is to be repeated."""

    number: int
    state: State | None
    scores: tuple[float, ...]
    seconds: float
    reason: str = ""
    training_scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class Lost:
    """Of a worker that is gone: its trial is to be made again."""

    number: int


@dataclass(frozen=True)
class WorkerCrash:
    """From a worker: a mistake of the program, with its traceback."""

    text: str


Order: TypeAlias = Task | Prune | Stop
Message: TypeAlias = Ready | ConfigError | IntermediateValue | Done | Lost | WorkerCrash


class Trainings:
    """Trains trials, and keeps the data of the last one.

    Parameters
    ----------
    config
        What is the same in all trials.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._section: DataSection | None = None
        self._dataset: Dataset | None = None

    def check(self, settings: Settings) -> str:
        """Find out whether there are data to judge by; return the backend that will train.

        Raises
        ------
        DataError, NetworkError, RecipeError, BackendError
            If something is not there or does not fit.
        """
        given = self._config
        recipe = given.search.recipe(settings)
        dataset = next(iter(self._divided(recipe)))
        if given.search.definition.metric == "validation_accuracy" and not dataset.class_names:
            raise SearchError(
                f"metric is 'validation_accuracy' but {dataset.name} is a regression, which has no "
                f"classes; set metric = 'validation_loss'"
            )
        return given.execution.backend

    def train(
        self,
        task: Task,
        on_line: Callable[[int, float], None] = lambda line, value: None,
        reason_to_stop: Callable[[], Order | None] = lambda: None,
    ) -> Done:
        """Make all trainings of a trial.

        Parameters
        ----------
        task
            Which.
        on_line
            Is told each line's number, over all trainings, and the metric there.
        reason_to_stop
            Asked between pieces of work.
        """
        began = time.perf_counter()
        found: dict[int, tuple[float, float | None]] = {}

        def done(state: State | None, reason: str = "") -> Done:
            seconds = time.perf_counter() - began
            in_order = [found[number] for number in sorted(found)]
            scores = tuple(score for score, _ in in_order)
            of_training = tuple(score for _, score in in_order if score is not None)
            return Done(task.number, state, scores, seconds, reason, of_training)

        lines = 0

        def report(record: HistoryRecord) -> None:
            nonlocal lines
            value = None if record.validation is None else self._metric(record.validation)
            is_told = self._config.reports_records  # else there is one at the end of a training
            if is_told and value is not None:
                on_line(lines, value)
            lines += 1

        asked = Interruption()

        def must_stop() -> bool:
            return asked() or reason_to_stop() is not None

        try:
            workers, execution = self._shared_out()
            calls = (
                functools.partial(self._take_part, recipe, dataset, execution, report, must_stop)
                for recipe, dataset in self._trainings(task.settings)
            )
            with contextlib.closing(side_by_side(calls, workers, asked)) as trainings:
                for number, (stopped, score, of_training) in trainings:
                    if stopped == "interrupted":
                        reason = reason_to_stop()
                        if reason is None:
                            continue  # by the mistake of another one, which is raised behind it
                        return done("pruned" if isinstance(reason, Prune) else None)
                    if stopped == "diverged" or score is None:
                        return done("diverged")
                    found[number] = score, of_training
        except _IMPOSSIBLE as fault:
            return done("impossible", str(fault))
        return done("completed")

    def _shared_out(self) -> tuple[int, ExecutionConfig]:
        """How many trainings of a trial go side by side, and how each is executed.

        Each on fewer threads has the same bits, and waits for nobody; a card trains small networks
        in one launch. Where lines are told they come one training after the other.
        """
        given = self._config
        if given.reports_records or given.execution.backend == "numpy":
            return 1, given.execution
        return share_out(given.execution, given.search.definition.trainings)

    def _trainings(self, settings: Settings) -> Iterator[tuple[Recipe, Dataset]]:
        """The trainings of a trial, each with its data."""
        first = self._config.search.recipe(settings)
        for repeat in range(self._config.search.definition.repeats):
            recipe = self._config.search.recipe({**settings, "seed": first.seed + repeat})
            for dataset in self._divided(recipe):
                yield recipe, dataset

    def _take_part(
        self,
        recipe: Recipe,
        dataset: Dataset,
        execution: ExecutionConfig,
        report: Callable[[HistoryRecord], None],
        must_stop: Callable[[], bool],
    ) -> tuple[str, float | None, float | None]:
        """Make one training in its turn; parameters and result as of :meth:`_train`."""
        with taking_part(execution):
            return self._train(recipe, dataset, execution, report, must_stop)

    def _train(
        self,
        recipe: Recipe,
        dataset: Dataset,
        execution: ExecutionConfig,
        report: Callable[[HistoryRecord], None],
        must_stop: Callable[[], bool],
    ) -> tuple[str, float | None, float | None]:
        """Make one training; return how it stopped, its score, and that of its own samples.

        The last is None unless the recipe has the training samples evaluated.
        """
        given = self._config
        experiment = prepare(recipe, dataset=dataset, config=execution)
        assert dataset.validation is not None  # _divided gives no other
        experiment.trainer.prepare_evaluation(dataset.validation)
        result = fit(
            experiment.trainer,
            experiment.steps,
            validation=dataset.validation,
            # The steps are the same, however often they are interrupted for a look.
            record_every=recipe.validate_every if given.reports_records else experiment.steps,
            observer=_Observer(report),
            is_interrupted=must_stop,
        )
        score = of_training = None
        if result.stopped not in ("interrupted", "diverged") and result.validation is not None:
            score = self._metric(result.validation)
            if recipe.evaluate_train:
                of_training = self._metric(experiment.trainer.evaluate(experiment.plain_training))
        return result.stopped, score, of_training

    def _metric(self, score: Score) -> float | None:
        """The metric; None for one that is not finite."""
        definition = self._config.search.definition
        value = score.accuracy if definition.metric == "validation_accuracy" else score.loss
        return value if value is not None and np.isfinite(value) else None

    def _divided(self, recipe: Recipe) -> Iterable[Dataset]:
        """The data sets to train on, one after the other, none with a test part."""
        whole = self._load(recipe)
        folds = self._config.search.definition.folds
        if folds:
            return folds_of(whole, folds, self._config.search.definition.seed)
        if whole.validation is None or not len(whole.validation):
            raise SearchError(
                f"recipe {recipe.name} holds no samples out to judge by, and a search never looks "
                f'at the test part; set "data.validation" = N in [settings], or folds = 5'
            )
        return [whole]

    def _load(self, recipe: Recipe) -> Dataset:
        if self._dataset is None or recipe.data != self._section:
            self._dataset = None  # not two at a time
            self._dataset = without_test(load_dataset(recipe, self._config.data_dir))
            self._section = recipe.data
        return self._dataset


class _Observer:
    def __init__(self, report: Callable[[HistoryRecord], None]) -> None:
        self.on_record = report

    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        pass


class _Orders:
    """Exchange with the parent while a trial is trained."""

    def __init__(self, connection: Connection[Message, Order], number: int) -> None:
        self._connection, self._number = connection, number
        self._turn = threading.Lock()
        self.reason: Order | None = None

    def on_line(self, line: int, value: float) -> None:
        """Tell the metric at a line."""
        self._connection.send(IntermediateValue(self._number, line, value))

    def reason_to_stop(self) -> Order | None:
        """Return what was said that ends this trial."""
        with self._turn:
            while self.reason is None and self._connection.poll():
                order = self._connection.recv()
                is_late = isinstance(order, Prune) and order.number != self._number
                self.reason = None if is_late else order
            return self.reason


def work(connection: Connection[Message, Order], config: WorkerConfig) -> None:
    """Train what is asked for, until there is nobody any more who asks.

    Parameters
    ----------
    connection
        To the process that asks.
    config
        What is the same in all trials.
    """
    # Ctrl-C reaches every process of a terminal; the parent is the one who answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with (
            threadpool_limits(config.execution.threads),
            # A training that diverges is an answer.
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            _work(connection, config)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    except BaseException:
        connection.send(WorkerCrash(traceback.format_exc()))


def _work(connection: Connection[Message, Order], config: WorkerConfig) -> None:
    trainings = Trainings(config)
    try:
        backend = trainings.check(config.search.first_settings())
    except (*_IMPOSSIBLE, BackendError) as fault:
        connection.send(ConfigError(str(fault)))
        return
    connection.send(Ready(backend))
    while not isinstance(order := connection.recv(), Stop):
        if isinstance(order, Task):
            orders = _Orders(connection, order.number)
            connection.send(trainings.train(order, orders.on_line, orders.reason_to_stop))
            if isinstance(orders.reason, Stop):
                return
