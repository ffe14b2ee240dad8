"""Checkpoints of a run: when they are made, which are kept, and which is taken."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.execution.checkpoint import Checkpoint, CheckpointError
from fastconv.runs.run_folder import RunFolder
from fastconv.trainer import Trainer
from fastconv.training_loop import Progress

if TYPE_CHECKING:
    from fastconv.early_stopping import EarlyStopping
    from fastconv.runs.divergence import Divergence

FOLDER = "checkpoints"
"""In a run's folder."""
_KEPT = 2
_BEST = "best/"
"""Before the names of the best weights in a checkpoint."""
_AT_LINES = 30.0
"""Seconds from one checkpoint to the next at a line's or an epoch's end, unless said otherwise."""
_ANYWHERE = 300.0
"""Seconds from one checkpoint to the next at any step."""
_SHARE = 0.01
"""Of the time of a run that checkpoints may take, unless said otherwise."""
_NAME = re.compile(r"step-(\d+)\.safetensors")
_EVERY = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|s|sec|seconds?|m|min|minutes?|h|hours?)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class CheckpointInterval:
    """Distance from one checkpoint to the next: in steps, in seconds, or chosen here.

    Parameters
    ----------
    steps, seconds
        One of the two, or neither.
    never
        No checkpoint is made, at the end neither.
    """

    steps: int | None = None
    seconds: float | None = None
    never: bool = False

    @classmethod
    def parse(cls, text: str | None) -> CheckpointInterval:
        """Read what --checkpoint-every says.

        Parameters
        ----------
        text
            A number of steps, or of s, min or h, or "never"; None: chosen here.

        Raises
        ------
        CheckpointError
            If it is neither.

        Examples
        --------
        >>> CheckpointInterval.parse("500"), CheckpointInterval.parse("2min").seconds
        (CheckpointInterval(steps=500, seconds=None, never=False), 120.0)
        """
        if text is None:
            return cls()
        if text.strip().lower() == "never":
            return cls(never=True)
        found = _EVERY.fullmatch(text.strip().lower())
        if found is None or float(found[1]) == 0:
            raise CheckpointError(
                f"--checkpoint-every is {text!r}; expected a number of steps, such as 500, a "
                f"time, such as 30s, 5min or 1h, or never"
            )
        if found[2] is not None and not found[2].startswith("step"):
            return cls(seconds=float(found[1]) * _SECONDS[found[2][0]])
        if not found[1].isdecimal():
            raise CheckpointError(
                f"--checkpoint-every is {text!r}; expected a whole number of steps, or a time, "
                f"such as {found[1]}min"
            )
        return cls(steps=int(found[1]))


class RunCheckpoints:
    """Checkpoints of one run, as they are made: the last two are kept.

    Parameters
    ----------
    path
        The run's folder.
    trainer
        Whose state is kept.
    interval
        When.
    more
        Gives what is kept beside the states of trainer and loop.
    say
        Is told what went wrong: a disk that is full ends no training.
    early_stopping
        Whose state and best weights are kept too.
    """

    def __init__(
        self,
        path: Path,
        trainer: Trainer,
        interval: CheckpointInterval,
        more: Callable[[], dict[str, Any]],
        say: Callable[[str], None],
        early_stopping: EarlyStopping | None = None,
    ) -> None:
        self._folder = path / FOLDER
        self._trainer, self._interval = trainer, interval
        self._more, self._say = more, say
        self._early_stopping = early_stopping
        self._last = time.monotonic()
        self._cost = 0.0
        self._first = self._state(Progress())

    def steps_left(self, step: int) -> int:
        """Return the steps that may be made before :meth:`offer` must be called again."""
        every = self._interval.steps
        return 2**62 if every is None else every - step % every

    def offer(self, progress: Progress, *, at_line: bool, must: bool) -> None:
        """Save the state if it is time to, or if it ``must`` be."""
        if must or self._is_due(at_line):
            self.save(progress)

    def _is_due(self, at_line: bool) -> bool:
        steps, seconds = self._interval.steps, self._interval.seconds
        if steps is not None:
            return self._trainer.step % steps == 0
        passed = time.monotonic() - self._last
        if seconds is not None:
            return passed >= seconds
        return passed >= max(_AT_LINES if at_line else _ANYWHERE, self._cost / _SHARE)

    def save(self, progress: Progress) -> None:
        """Save the state, unless the network is ruined: then the last good one stays."""
        if self._interval.never:
            return
        began = time.monotonic()
        checkpoint = self._state(progress)
        if not np.isfinite(self._trainer.network.parameters).all():
            return
        try:
            self._folder.mkdir(exist_ok=True)
            checkpoint.write(self._folder / f"step-{self._trainer.step:09}.safetensors")
            for _, file in _files(self._folder)[:-_KEPT]:
                file.unlink(missing_ok=True)
        except OSError as fault:
            self._say(
                f"no checkpoint was written at step {self._trainer.step} "
                f"({fault.strerror or fault}); the training goes on"
            )
        self._last = time.monotonic()
        self._cost = self._last - began

    def _state(self, progress: Progress) -> Checkpoint:
        checkpoint = self._trainer.checkpoint()
        checkpoint.state.update(progress=progress.table(), **self._more())
        if self._early_stopping is not None:
            checkpoint.state["early_stopping"] = self._early_stopping.state()
            for name, array in self._early_stopping.weights.items():
                checkpoint.arrays[_BEST + name] = array
        return checkpoint

    def newest(self) -> Checkpoint:
        """Return the last good state: the newest checkpoint, or that of the beginning."""
        try:
            found, _ = newest_checkpoint(self._folder.parent)
        except CheckpointError:
            found = None
        return self._first if found is None else found

    def find_divergence(self) -> Divergence:
        """Return where the training diverged since the last good state."""
        from fastconv.runs.divergence import find_divergence

        return find_divergence(self._trainer, self.newest())

    def go_back(self, folder: RunFolder, factor: float) -> Progress:
        """Bring trainer and files back to the last good state, and lower the learning rates.

        Parameters
        ----------
        folder
            Of the run.
        factor
            By which all rates to come are multiplied, beside those before.
        """
        checkpoint, trainer = self.newest(), self._trainer
        lowered = trainer.rate_factor * factor
        trainer.restore(checkpoint)
        trainer.rate_factor = lowered
        if self._early_stopping is not None:
            load_early_stopping(self._early_stopping, checkpoint)
        progress = Progress.from_table(checkpoint.state["progress"])
        folder.write_history(progress.history)
        folder.write_probe(checkpoint.state["probe"])
        self.save(progress)
        return progress


def load_early_stopping(early_stopping: EarlyStopping, checkpoint: Checkpoint) -> None:
    """Bring early stopping back to where it was.

    Parameters
    ----------
    early_stopping
        What goes on.
    checkpoint
        Of a run that had it; of another one, it begins again.
    """
    if checkpoint.state.get("early_stopping") is not None:
        kinds = {"best_value": int | float | None, "best_step": int | None, "waited": int}
        state = checkpoint.part("early_stopping", kinds)
        weights = {
            name.removeprefix(_BEST): array
            for name, array in checkpoint.arrays.items()
            if name.startswith(_BEST)
        }
        early_stopping.load(state, weights)


def _files(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints of a folder by their steps, the newest last."""
    if not folder.is_dir():
        return []
    found = [(_NAME.fullmatch(file.name), file) for file in folder.iterdir()]
    return sorted((int(match[1]), file) for match, file in found if match)


def newest_checkpoint(path: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint of a run that is whole, and what is wrong with those after it.

    Parameters
    ----------
    path
        The run's folder.

    Raises
    ------
    CheckpointError
        If there are some and none is whole.
    """
    wrong: list[str] = []
    for _, file in reversed(_files(path / FOLDER)):
        try:
            return Checkpoint.read(file), wrong
        except CheckpointError as fault:
            wrong.append(str(fault))
    if wrong:
        raise CheckpointError(f"{wrong[0]}; no other one of the run is whole: train it again")
    return None, []
