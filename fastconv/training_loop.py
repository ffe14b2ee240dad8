"""The training loop: steps, validation, history, and when to stop."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from fastconv.data import Samples
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.inference import Score
from fastconv.schedules import observe_validation
from fastconv.trainer import Trainer

Stopped: TypeAlias = Literal["completed", "steps", "interrupted", "diverged"]


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
    """

    step: int
    epoch: int
    learning_rate: float
    training: Score
    validation: Score | None
    seconds: float
    train_seconds: float


@dataclass(slots=True)
class Result:
    """Outcome of a run.

    Parameters
    ----------
    stopped
        "completed": all steps of the recipe; "steps": as many as asked for; "interrupted";
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


class Observer(Protocol):
    """Is told what happens; see :mod:`fastconv.cli.progress`."""

    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        """Some steps were made; ``score`` is over the epoch so far."""
        ...

    def on_record(self, record: HistoryRecord) -> None:
        """A line of the history is complete."""
        ...


class _Silent:
    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        pass

    def on_record(self, record: HistoryRecord) -> None:
        pass


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a question to ask; a second one raises KeyboardInterrupt.

    Yields a function that says whether Ctrl-C was pressed. Outside the main thread, where Python
    allows no signal handlers, it never was.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def handle(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pressed.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def fit(
    trainer: Trainer,
    steps: int,
    *,
    validation: Samples | None = None,
    record_every: int | None = None,
    is_shortened: bool = False,
    observer: Observer | None = None,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Result:
    """Train until ``trainer.step`` reaches ``steps``.

    Ctrl-C is heard within some hundredths of a second, between two steps or in the midst of a
    validation. The line that was begun is then ended and told to the observer, so that the last one
    is of ``trainer.step``, before KeyboardInterrupt is raised (or what else Ctrl-C does here: see
    :func:`interruption`). Another call goes on from there.

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

    Returns
    -------
    Result
    """
    with DeferredInterrupts() as interrupts:
        result, interrupt = _fit(
            trainer, steps, validation, record_every, is_shortened, observer or _Silent(),
            is_interrupted, interrupts,
        )  # fmt: skip
    if interrupt is not None:
        raise interrupt
    return result


def _fit(
    trainer: Trainer,
    steps: int,
    validation: Samples | None,
    record_every: int | None,
    is_shortened: bool,
    observer: Observer,
    is_interrupted: Callable[[], bool],
    interrupts: DeferredInterrupts,
) -> tuple[Result, KeyboardInterrupt | None]:
    """Train, and return the interrupt that ended it besides."""
    nothing = Score(0.0, 0.0, 0.0, trainer.training.has_classes)
    result = Result("steps" if is_shortened else "completed", nothing)
    epoch_score = record_score = last_epochs_score = nothing
    record_every = record_every or trainer.steps_per_epoch
    line_began = time.perf_counter()
    interrupt: KeyboardInterrupt | None = None
    while trainer.step < steps:
        to_record = record_every - trainer.step % record_every
        left = min(steps - trainer.step, trainer.steps_left_in_epoch(), to_record)
        epoch, score = trainer.epoch + 1, nothing
        try:
            score = trainer.train(min(trainer.steps_at_a_time, left))
            interrupts.let_through()
        except KeyboardInterrupt as raised:
            interrupt = raised
        epoch_score, record_score = epoch_score + score, record_score + score
        diverged = not math.isfinite(score.loss_sum)
        if score.samples:
            observer.on_steps(trainer.step, epoch, epoch_score)
            last_epochs_score = epoch_score
        if trainer.step % trainer.steps_per_epoch == 0:
            epoch_score = nothing
        interrupted = interrupt is not None or (trainer.step < steps and is_interrupted())
        ending = trainer.step == steps or diverged or interrupted
        if record_score.samples and (trainer.step % record_every == 0 or ending):
            if validation is not None and not interrupted:
                try:
                    result.validation = trainer.evaluate(validation)
                except KeyboardInterrupt as raised:
                    interrupt, interrupted = raised, True
            rate = float(trainer.schedule.rates([trainer.step - 1])[0])
            now = time.perf_counter()
            record = HistoryRecord(
                trainer.step,
                epoch,
                rate,
                record_score,
                None if interrupted else result.validation,
                now - line_began,
                trainer.train_seconds,
            )
            if record.validation is not None:
                observe_validation(trainer.schedule, record.validation.loss)
            record_score = nothing
            result.history.append(record)
            observer.on_record(record)
            line_began = time.perf_counter()
        if diverged or interrupted:
            result.stopped = "diverged" if diverged else "interrupted"
            break
    result.training = last_epochs_score
    # The losses were counted before their updates: the last update may have ruined the network.
    if not trainer.is_finite():
        result.stopped = "diverged"
    return result, interrupt
