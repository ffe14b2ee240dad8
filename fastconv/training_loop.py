"""The training loop: steps, validation, history, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from numpy.typing import NDArray

from fastconv._extras import missing_extra
from fastconv.data import Samples
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.inference import Score
from fastconv.schedules import observe_validation
from fastconv.trainer import Trainer

if TYPE_CHECKING:
    from fastconv.early_stopping import EarlyStopping

Stopped: TypeAlias = Literal["completed", "steps", "stopped early", "interrupted", "diverged"]
Metric: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], float]
"""Gives a number for scores (samples, outputs) and labels."""


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """One line of the history.

    Parameters
    ----------
    step, epoch
        Updates made so far, and the epoch (from 1) that the last one belongs to.
    learning_rate
        Of the last update.
    training
        Since the line before.
    validation
        Of the network as it is now, or None.
    seconds
        Since the line before, validation included.
    train_seconds
        In training steps, since the run began.
    metrics
        Others of the validation, by name.
    """

    step: int
    epoch: int
    learning_rate: float
    training: Score
    validation: Score | None
    seconds: float
    train_seconds: float
    metrics: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, float | int | None]:
        """Return it as a line of a table: the columns of history.csv, and the metrics."""
        validation = self.validation
        return {
            "step": self.step,
            "epoch": self.epoch,
            "learning_rate": self.learning_rate,
            "loss": self.training.loss,
            "accuracy": self.training.accuracy,
            "validation_loss": validation.loss if validation else None,
            "validation_accuracy": validation.accuracy if validation else None,
            "seconds": self.seconds,
            "train_seconds": self.train_seconds,
            **{f"validation_{name}": value for name, value in self.metrics.items()},
        }

    def table(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        scores = {"training": _numbers(self.training), "validation": _numbers(self.validation)}
        return {name: getattr(self, name) for name in self.__slots__} | scores

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> HistoryRecord:
        """Return what :meth:`table` was made of.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it was made of nothing such.
        """
        names = ("step", "epoch", "learning_rate", "seconds", "train_seconds")
        numbers = [*(table[name] for name in names), *table["metrics"].values()]
        _require_numbers("a line of the history", numbers)
        scores = {name: _score(table[name]) for name in ("training", "validation")}
        if scores["training"] is None:
            raise ValueError("a line of the history without losses")
        return cls(**{**table, **scores})


def _numbers(score: Score | None) -> list[Any] | None:
    return None if score is None else [getattr(score, name) for name in score.__slots__]


def _score(numbers: list[Any] | None) -> Score | None:
    if numbers is None:
        return None
    _require_numbers("a score", [each for each in numbers if each is not None])
    return Score(*numbers)


def _require_numbers(owner: str, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, (int, float)):
            raise ValueError(f"{owner} holds {value!r:.40}; expected numbers")


_NOTHING = Score(0.0, 0.0, 0.0)


@dataclass(slots=True)
class Progress:
    """State of the loop between two steps, beside that of the trainer.

    Losses are added step by step between two borders, each the end of a line or of an epoch, and
    sum by sum there: what comes out does not depend on where a training stopped in between.

    Parameters
    ----------
    segment
        Since the last border.
    line, epoch
        Since the last line and in this epoch, each up to the last border.
    running
        Of the last epoch that has steps, as :attr:`Result.training`.
    validation
        The last one, or None.
    history
        The lines so far.
    line_seconds
        Since the last line.
    """

    segment: Score = _NOTHING
    line: Score = _NOTHING
    epoch: Score = _NOTHING
    running: Score = _NOTHING
    validation: Score | None = None
    history: list[HistoryRecord] = field(default_factory=list)
    line_seconds: float = 0.0

    def table(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        scores = {name: _numbers(getattr(self, name)) for name in _SCORES}
        history = [record.table() for record in self.history]
        return {**scores, "history": history, "line_seconds": self.line_seconds}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Progress:
        """Return what :meth:`table` was made of.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it was made of nothing such.
        """
        scores = {name: _score(table[name]) for name in _SCORES}
        if any(scores[name] is None for name in _SCORES if name != "validation"):
            raise ValueError("a sum of losses is missing")
        _require_numbers("line_seconds", [table["line_seconds"]])
        history = [HistoryRecord.from_table(each) for each in table["history"]]
        return cls(**{**table, **scores, "history": history})

    def cross_border(self, *, ends_epoch: bool) -> None:
        """Add the segment to what it is a part of."""
        self.line += self.segment
        self.epoch = _NOTHING if ends_epoch else self.epoch + self.segment
        self.segment = _NOTHING


_SCORES = ("segment", "line", "epoch", "running", "validation")


@dataclass(slots=True)
class Result:
    """Outcome of a run.

    Parameters
    ----------
    stopped
        "completed": all steps of the recipe; "steps": as many as asked for; "stopped early": no
        validation was better for a while; or a callback wanted the end; "interrupted";
        "diverged": the loss is not finite.
    training
        Running means over the last epoch (over all steps if shorter).
    validation
        The last one, or None.
    history
        One record for each line.
    """

    stopped: Stopped
    training: Score
    validation: Score | None = None
    history: list[HistoryRecord] = field(default_factory=list)

    def rows(self) -> list[dict[str, float | int | None]]:
        """Return the history as a list of dictionaries, one for each line.

        Examples
        --------
        >>> Result("completed", Score(0.0, 0.0, 0.0)).rows()
        []
        """
        return [record.row() for record in self.history]

    def to_pandas(self) -> Any:
        """Return the history as a DataFrame of pandas, which comes with the extra "pandas"."""
        try:
            import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ModuleNotFoundError as fault:
            raise missing_extra("Result.to_pandas", fault) from None
        return pandas.DataFrame(self.rows())


class Callback:
    """Something that is told how a training goes; any object with some of these methods is one.

    Without ``on_step`` the steps are made many at a time, and a callback costs nothing in between.
    What returns True ends the training there.

    Examples
    --------
    >>> class Printer(Callback):
    ...     def on_history(self, trainer, record):
    ...         print(record.step, record.training.loss)
    """

    def on_step(self, trainer: Trainer, loss: float) -> bool | None:
        """A step was made, with this mean loss before its update. Costs a call for each step."""

    def on_history(self, trainer: Trainer, record: HistoryRecord) -> bool | None:
        """A line of the history is complete."""

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """The training has ended, for whatever reason."""


def _methods(callbacks: Sequence[Any], name: str) -> list[Callable[..., Any]]:
    """Return the callbacks' methods of a name, without those that do nothing."""
    return [
        getattr(each, name)
        for each in callbacks
        if getattr(type(each), name, None) is not getattr(Callback, name)
        and callable(getattr(each, name, None))
    ]


class Observer(Protocol):
    """Is told what happens; see :mod:`fastconv.cli.progress`."""

    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        """Some steps were made; ``score`` is over the epoch so far."""
        ...

    def on_record(self, record: HistoryRecord) -> None:
        """A line of the history is complete."""
        ...


class Checkpoints(Protocol):
    """Keeps the state of a training now and then; see :mod:`fastconv.runs.checkpoints`."""

    def steps_left(self, step: int) -> int:
        """Return the steps that may be made before :meth:`offer` must be called again."""
        ...

    def offer(self, progress: Progress, *, at_line: bool, must: bool) -> None:
        """Save the state, if it is time to, or if it ``must`` be.

        ``at_line``: a line was just ended, or an epoch.
        """
        ...


class _NoCheckpoints:
    def steps_left(self, step: int) -> int:
        return 2**62

    def offer(self, progress: Progress, *, at_line: bool, must: bool) -> None:
        pass


class _Silent:
    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        pass

    def on_record(self, record: HistoryRecord) -> None:
        pass


def fit(
    trainer: Trainer,
    steps: int,
    *,
    validation: Samples | None = None,
    record_every: int | None = None,
    is_shortened: bool = False,
    observer: Observer | None = None,
    is_interrupted: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    metrics: Mapping[str, Metric] | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Train until ``trainer.step`` reaches ``steps``.

    Ctrl-C is heard within some hundredths of a second, between two steps or in the midst of a
    validation. The line that was begun is then ended and told to the observer, so that the last one
    is of ``trainer.step``, before KeyboardInterrupt is raised (or what else Ctrl-C does here: see
    :func:`fastconv.execution.ending.interruption`). Another call goes on from there.

    Parameters
    ----------
    trainer
        The network in training.
    steps
        Updates to end at.
    validation
        Samples to evaluate at every line of the history, or None.
    record_every
        Steps between lines; None for one line an epoch.
    is_shortened
        Whether ``steps`` was asked for instead of the recipe's own length.
    observer
        Is told what happens.
    is_interrupted
        Asked between pieces of work.
    progress
        Of a checkpoint, to which the trainer was brought back: history and sums go on from there.
    checkpoints
        Keeps the state of the training now and then, and where it ends.
    metrics
        What else is measured at validations, by name.
    early_stopping
        Chooses the best weights, and may end the training.
    callbacks
        Are told how it goes: see :class:`Callback`.

    Returns
    -------
    Result
    """
    with DeferredInterrupts() as interrupts:
        loop = _Loop(
            trainer, steps, validation, record_every or trainer.steps_per_epoch,
            observer or _Silent(), is_interrupted, progress or Progress(),
            checkpoints or _NoCheckpoints(), interrupts, metrics or {}, early_stopping,
            _methods(callbacks, "on_step"), _methods(callbacks, "on_history"),
        )  # fmt: skip
        result = loop.run("steps" if is_shortened else "completed")
        if early_stopping is not None and result.stopped not in ("interrupted", "diverged"):
            early_stopping.finish(trainer)
        for on_end in _methods(callbacks, "on_end"):
            on_end(trainer, result)
    if loop.interrupt is not None:
        raise loop.interrupt
    return result


@dataclass
class _Loop:
    """One call of :func:`fit`."""

    trainer: Trainer
    steps: int
    validation: Samples | None
    record_every: int
    observer: Observer
    is_interrupted: Callable[[], bool]
    progress: Progress
    checkpoints: Checkpoints
    interrupts: DeferredInterrupts
    metrics: Mapping[str, Metric]
    early_stopping: EarlyStopping | None
    on_step: list[Callable[..., Any]]
    on_history: list[Callable[..., Any]]
    values: dict[str, float] = field(default_factory=dict)
    wants_end: bool = False
    interrupt: KeyboardInterrupt | None = None
    line_began: float = 0.0

    def run(self, stopped: Stopped) -> Result:
        """Train, and return the outcome: as it would be, or the reason for another end."""
        trainer, progress = self.trainer, self.progress
        result = Result(stopped, progress.running, history=progress.history)
        self.line_began = time.perf_counter() - progress.line_seconds
        while trainer.step < self.steps or self._has_line():
            if self._ends_early():
                result.stopped = "stopped early"
                break
            loss = progress.segment.loss_sum
            if not self._has_line():
                loss = self._train()
            diverged = not math.isfinite(loss)
            interrupted = self.interrupt is not None or (
                trainer.step < self.steps and self.is_interrupted()
            )
            if diverged or interrupted:
                result.stopped = "diverged" if diverged else "interrupted"
                if not diverged:
                    self._offer(must=True)
                if self._samples():
                    # Told, and not kept: a training that goes on ends the line where it is due.
                    validated = None if interrupted else self._validate()
                    result.history = [*progress.history, self._record(validated)]
                    self._tell(result.history[-1])
                break
            if self._has_line():
                if not self._end_line():
                    result.stopped = "interrupted"
                    result.history = [*progress.history, self._record(None)]
                    self._tell(result.history[-1])
                    break
            else:
                self._offer(at_line=trainer.step % trainer.steps_per_epoch == 0)
        result.validation = progress.validation
        result.training = progress.running
        # The losses were counted before their updates: the last update may have ruined the network.
        if not trainer.is_finite():
            result.stopped = "diverged"
        return result

    def _ends_early(self) -> bool:
        """Whether a callback or the patience wants the end; the line that was begun is ended."""
        if not (self.wants_end or (self.early_stopping is not None and self.early_stopping.stops)):
            return False
        self._offer(must=True)
        if self._samples():
            self._tell(record := self._record(self._validate()))
            self.progress.history.append(record)
        return True

    def _tell(self, record: HistoryRecord) -> None:
        self.observer.on_record(record)
        for on_history in self.on_history:
            self.wants_end |= on_history(self.trainer, record) is True

    def _samples(self) -> float:
        """Samples since the last line."""
        return self.progress.line.samples + self.progress.segment.samples

    def _has_line(self) -> bool:
        """Whether there is a line to end here."""
        step = self.trainer.step
        return self._samples() > 0 and (step % self.record_every == 0 or step == self.steps)

    def _train(self) -> float:
        """Make some steps, up to the next border at most, and return the sum of losses."""
        trainer, progress, before = self.trainer, self.progress, self.trainer.step
        left = min(
            1 if self.on_step else trainer.steps_at_a_time,
            self.steps - before,
            trainer.steps_left_in_epoch(),
            self.record_every - before % self.record_every,
            self.checkpoints.steps_left(before),
        )
        since = progress.segment if progress.segment.samples else None
        try:
            progress.segment = trainer.train(left, since=since)
            self.interrupts.let_through()
        except KeyboardInterrupt as raised:
            self.interrupt = raised
            if trainer.step > before:
                progress.segment = trainer.score
        loss = progress.segment.loss_sum
        if self.on_step and trainer.step > before:
            samples = trainer.samples_of(1, before)
            mean = (loss - (since.loss_sum if since else 0.0)) / samples
            for on_step in self.on_step:
                self.wants_end |= on_step(trainer, mean) is True
        if trainer.step > before:
            progress.running = progress.epoch + progress.segment
            self.observer.on_steps(trainer.step, self._epoch(), progress.running)
            ends_epoch = trainer.step % trainer.steps_per_epoch == 0
            if ends_epoch or trainer.step % self.record_every == 0:
                progress.cross_border(ends_epoch=ends_epoch)
        return loss

    def _epoch(self) -> int:
        """Number from 1 of the epoch that the last update belongs to."""
        return (self.trainer.step - 1) // self.trainer.steps_per_epoch + 1

    def _end_line(self) -> bool:
        """Validate and write the line down; False if interrupted in that."""
        at_border = self.trainer.step % self.record_every == 0
        if not at_border:
            # The last line of all, but no other's end: a longer training will not have it.
            self._offer(must=True)
        before = self.progress.validation
        validated = self._validate()
        if self.interrupt is not None:
            self.progress.validation = before
            self._offer(must=True)
            return False
        if validated is not None and self.validation is not None:
            observe_validation(self.trainer.schedule, validated.loss)
        record, progress = self._record(validated), self.progress
        progress.line = progress.segment = _NOTHING
        progress.history.append(record)
        if self.early_stopping is not None:
            self.early_stopping.observe(self.trainer, record)
        self._tell(record)
        self.line_began = time.perf_counter()
        if at_border:
            self._offer(at_line=True, must=self.trainer.step == self.steps)
        return True

    def _validate(self) -> Score | None:
        if self.validation is not None:
            try:
                if self.metrics:
                    scores = self.trainer.inference.empty_scores(self.validation)
                    validated = self.trainer.evaluate(self.validation, scores=scores)
                    labels = self.validation.labels
                    self.values = {n: each(scores, labels) for n, each in self.metrics.items()}
                else:
                    validated = self.trainer.evaluate(self.validation)
                self.progress.validation = validated
            except KeyboardInterrupt as raised:
                self.interrupt = raised
                return None
        return self.progress.validation

    def _record(self, validated: Score | None) -> HistoryRecord:
        """Return the line since the last one."""
        trainer, progress = self.trainer, self.progress
        return HistoryRecord(
            trainer.step,
            self._epoch(),
            float(trainer.rates([trainer.step - 1])[0]),
            progress.line + progress.segment,
            validated,
            time.perf_counter() - self.line_began,
            trainer.train_seconds,
            {} if validated is None else self.values,
        )

    def _offer(self, *, at_line: bool = False, must: bool = False) -> None:
        self.progress.line_seconds = time.perf_counter() - self.line_began
        self.checkpoints.offer(self.progress, at_line=at_line, must=must)
