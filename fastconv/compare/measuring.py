"""Contenders that take turns, each in a process of its own, so that what else goes on meets all."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from fastconv._errors import UserError
from fastconv.compare.contender import whole_steps
from fastconv.compare.setting import Setting

PEERS = {"pytorch": "torch", "jax": "jax"}
"""Who fastconv is compared with, and the modules that they need."""
_PAUSE = 0.02
"""Seconds between two turns, in which the threads of the one before fall asleep."""


class CompareError(UserError):
    """A contender could not be measured."""


@dataclass(frozen=True)
class Turns:
    """What a contender's steps took.

    Parameters
    ----------
    who
        "fastconv", or one of :data:`PEERS`.
    variant
        How it made them: the fastest of its ways.
    seconds
        Of one step, in each round.
    """

    who: str
    variant: str
    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """Of the fastest round."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Of the middle round."""
        return statistics.median(self.seconds)


class Contender:
    """A child process that makes training steps on demand.

    Parameters
    ----------
    who, threads, span
        As for :func:`fastconv.compare.contender.main`.
    """

    def __init__(self, who: str, threads: int, span: float) -> None:
        self.who = who
        self._told = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115, __exit__ closes
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastconv.compare.contender", who, str(threads), str(span)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            text=True,
        )

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.kill()
        self._process.communicate()
        self._told.close()

    def prepare(self, setting: Setting) -> tuple[str, float]:
        """Return its fastest way to make steps of a setting, and the seconds of one."""
        name, seconds = self._ask(asdict(setting))
        return str(name), float(seconds)

    def seconds(self, steps: int) -> float:
        """Return the seconds of one step, from so many."""
        return float(self._ask({"steps": steps})) / steps

    def _ask(self, what: dict[str, int]) -> Any:
        assert self._process.stdin is not None  # both are pipes
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._told.seek(0)
            lines = self._told.read().strip().splitlines() or ["it said nothing"]
            raise CompareError(f"{self.who}: its process ended: {lines[-1]}")
        return json.loads(line)


def measure(
    setting: Setting, contenders: Sequence[Contender], rounds: int, span: float
) -> list[Turns]:
    """Let contenders take turns on a setting.

    Parameters
    ----------
    setting
        What is trained.
    contenders
        Who takes turns, in this order.
    rounds
        Turns of each.
    span
        Seconds that a turn should last.

    Raises
    ------
    CompareError
        If a contender's process ends.
    """
    chosen = [contender.prepare(setting) for contender in contenders]
    steps = [whole_steps(seconds, span) for _, seconds in chosen]
    found: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):  # the first warms up
        for contender, count, seconds in zip(contenders, steps, found, strict=True):
            time.sleep(_PAUSE)
            taken = contender.seconds(count)
            if number:
                seconds.append(taken)
    return [
        Turns(contender.who, variant, tuple(seconds))
        for contender, (variant, _), seconds in zip(contenders, chosen, found, strict=True)
    ]
