"""Trainings in lockstep: threads that take turns, and whose steps one launch of a card makes.

Each training is as it would be by itself, with a loop, a history and checkpoints of its own. What
it hands over is the steps: they wait until every other training has handed over some too, and all
are made at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fastconv.execution.config import ExecutionConfig
from fastconv.execution.side_by_side import share_threads
from fastconv.execution.uploads import Uploads
from fastconv.plans.plan import Plan


class _Steps:
    """Steps that were handed over, and what came of them."""

    def __init__(self, piece: Any) -> None:
        self.piece = piece
        self.statistics: NDArray[Any] | None = None
        self.fault: BaseException | None = None
        self.seconds = 0.0
        self.are_made = False


class Lockstep:
    """What trainings in several threads share: one has its turn at a time, and all wait for steps.

    Parameters
    ----------
    run_together
        Makes pieces of several networks at once, and returns the statistics of each.

    Examples
    --------
    >>> lockstep = Lockstep(lambda pieces: [2 * piece for piece in pieces])
    >>> with lockstep.taking_part():
    ...     lockstep.run(3)[0]
    6
    """

    def __init__(self, run_together: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._run_together = run_together
        self._changed = threading.Condition()
        self._taking_part = 0
        self._is_busy = False
        self._waiting: list[_Steps] = []

    @contextlib.contextmanager
    def taking_part(self) -> Iterator[None]:
        """Let this thread train within the ``with`` block; the others wait for its steps."""
        with self._changed:
            self._taking_part += 1
            self._take_turn()
        try:
            yield
        finally:
            with self._changed:
                self._taking_part -= 1
                self._is_busy = False
                self._changed.notify_all()

    def run(self, piece: Any) -> tuple[Any, float]:
        """Hand steps over, and return what came of them.

        Parameters
        ----------
        piece
            As ``run_together`` takes them.

        Returns
        -------
        statistics : ndarray
            Of these steps.
        seconds : float
            That all steps took which were made at once, without what they waited for.
        """
        own = _Steps(piece)
        with self._changed:
            self._waiting.append(own)
            self._is_busy = False
            self._changed.notify_all()
            while not own.are_made:
                if not self._is_busy and len(self._waiting) == self._taking_part:
                    self._make_all()
                else:
                    self._changed.wait()
            self._take_turn()
        if own.fault is not None:
            raise own.fault
        return own.statistics, own.seconds

    def _take_turn(self) -> None:
        """Wait until no other thread is at work."""
        while self._is_busy:
            self._changed.wait()
        self._is_busy = True

    def _make_all(self) -> None:
        """Make the steps of all, in the thread that came last."""
        made, self._waiting = self._waiting, []
        self._is_busy = True
        self._changed.release()
        began = time.perf_counter()
        try:
            results = self._run_together([each.piece for each in made])
            for each, statistics in zip(made, results, strict=True):
                each.statistics = statistics
        except BaseException as fault:
            for each in made:
                each.fault = fault
        finally:
            seconds = time.perf_counter() - began
            self._changed.acquire()
            for each in made:
                each.seconds, each.are_made = seconds, True
            self._is_busy = False
            self._changed.notify_all()


class LockstepRunner:
    """In place of a backend's runner: its steps are made with those of other networks.

    Parameters
    ----------
    runner
        The backend's.
    lockstep
        What the trainings share.

    Attributes
    ----------
    seconds
        That the last steps took, without what they waited for.
    """

    def __init__(self, runner: Any, lockstep: Lockstep) -> None:
        self._runner = runner
        self._lockstep = lockstep
        self.seconds = 0.0

    @property
    def plan(self) -> Plan:
        """The plan that is run."""
        plan: Plan = self._runner.plan
        return plan

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays that the runner allocated, without the shared ones."""
        return int(self._runner.memory_bytes)

    @property
    def launches(self) -> str:
        """Way in which steps are launched, for people."""
        return str(self._runner.launches)

    def buffer(self, name: str) -> Any:
        """Return the array of the buffer with this name."""
        return self._runner.buffer(name)

    def run(
        self,
        order: NDArray[Any],
        rates: NDArray[Any] | None = None,
        first_step: int = 0,
        nanoseconds: NDArray[Any] | None = None,
        *,
        continues: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> NDArray[Any]:
        """Make a step for each row of ``order``; parameters as of a backend's runner."""
        piece = self._runner.piece(order, rates, first_step, continues=continues)
        statistics: NDArray[Any]
        statistics, self.seconds = self._lockstep.run(piece)
        return statistics


class LockstepConfig(ExecutionConfig):
    """What :func:`in_lockstep` makes: a config whose trainings make their steps together.

    One with another field, by :func:`dataclasses.replace`, is of a training by itself.

    Attributes
    ----------
    lockstep
        What the trainings share.
    """

    lockstep: Lockstep | None = None
    _networks: int
    _uploads: dict[str, Uploads]

    def make_runner(self, plan: Plan, arrays: Mapping[str, Any]) -> Any:
        """Return a runner of steps that are made together, or the backend's own.

        Parameters
        ----------
        plan, arrays
            As for :meth:`ExecutionConfig.make_runner`.
        """
        if self.lockstep is not None and self.precision == "float32":
            made = self.run_module.runner_together(plan, arrays, self._networks)
            if made is not None:
                return LockstepRunner(made, self.lockstep)
        return super().make_runner(plan, arrays)

    def uploads(self, dtype: str) -> Uploads:
        """Return what brings samples to the backend: the same for all, so that each is there once.

        Parameters
        ----------
        dtype
            Of the networks.
        """
        made = super().uploads(dtype)
        return made if self.lockstep is None else self._uploads.setdefault(dtype, made)


def in_lockstep(config: ExecutionConfig, networks: int) -> LockstepConfig:
    """Return a config like this one, whose trainings make their steps together.

    Parameters
    ----------
    config
        Where and how they compute, by a backend that has ``run_together``.
    networks
        How many train at once.
    """
    made = LockstepConfig(**config.fields())  # type: ignore[arg-type]
    lockstep = Lockstep(made.run_module.run_together)
    made._set(why=config.why, lockstep=lockstep, _networks=networks, _uploads={})
    return made


def networks_at_once(config: ExecutionConfig, networks: int) -> int:
    """Return how many networks a backend trains in one launch; 1 where it does not.

    Parameters
    ----------
    config
        Where and how they compute.
    networks
        How many there are.

    Examples
    --------
    >>> networks_at_once(ExecutionConfig("numpy"), 8)
    1
    """
    most = getattr(config.run_module, "networks_together", None)
    return 1 if most is None else min(networks, int(most()))


def share_out(config: ExecutionConfig, networks: int) -> tuple[int, ExecutionConfig]:
    """Return how many networks train at once, and how each of them is to compute.

    Parameters
    ----------
    config
        Of all together.
    networks
        How many there are, 1 or more.
    """
    together = networks_at_once(config, networks)
    if together > 1:
        return together, in_lockstep(config, together)
    workers, each = share_threads(config.threads, networks, config.backend)
    return workers, dataclasses.replace(config, threads=each)


@contextlib.contextmanager
def taking_part(config: ExecutionConfig) -> Iterator[None]:
    """Let this thread train within the ``with`` block: in its turn, if trainings are in lockstep.

    Parameters
    ----------
    config
        Of :func:`share_out`.
    """
    if not isinstance(config, LockstepConfig) or config.lockstep is None:
        yield
        return
    with config.lockstep.taking_part():
        config.select_device()  # a thread has a current one of its own
        yield
