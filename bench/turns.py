"""Contenders that take turns, A B A B, so that what else the machine does meets all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Run = Callable[[int], None]
"""Makes so many training steps."""
Clock = Callable[[Callable[[], None]], float]
"""Does some work and returns its seconds."""

STEPS_OF_A_PIECE = 16
"""Turns are made of pieces of so many steps: those that a graph holds."""
MOST_STEPS = 4096
"""Of a turn."""
OUT_OF_MEMORY = "out of memory"


class Rounds:
    """What a contender took in each round."""

    seconds: list[float]

    @property
    def best(self) -> float:
        """Fastest round."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Middle round."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Contender:
    """Someone who makes training steps.

    ``prepare`` takes the memory, warms up and returns what makes the steps; ``clock`` times it.
    """

    who: str
    variant: str
    prepare: Callable[[], Run]
    clock: Clock


@dataclass
class Line(Rounds):
    """Seconds of one step of a contender in each round, or why there are none."""

    who: str
    variant: str
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    failure: str | None = None


def told(fault: Exception) -> str:
    """Say in a few words what went wrong."""
    text = " ".join(str(fault).split())
    # Libraries that find no memory say so in errors of their own.
    if isinstance(fault, MemoryError) or "out of memory" in text.lower():
        return OUT_OF_MEMORY
    return f"{type(fault).__name__}: {text[:200]}"


def _steps_of_a_turn(clock: Clock, run: Run, span: float) -> int:
    """Whole pieces that last ``span`` seconds, at least one."""
    each = min(clock(lambda: run(STEPS_OF_A_PIECE)) for _ in range(2))
    pieces = min(MOST_STEPS // STEPS_OF_A_PIECE, round(span / max(each, 1e-9)))
    return STEPS_OF_A_PIECE * max(1, pieces)


def take_turns(
    contenders: Sequence[Contender],
    rounds: int,
    steps: int | None = None,
    span: float = 0.05,
    release: Callable[[], object] = lambda: None,
) -> list[Line]:
    """Measure contenders round after round.

    Whoever fails says why in a line of its own, and the others go on. ``steps`` are those of a
    turn; without a number, each contender makes as many as last ``span`` seconds. ``release`` gives
    back the memory of those who are gone.
    """
    lines = [Line(each.who, each.variant) for each in contenders]
    runs: dict[int, Run] = {}

    def attempt(number: int, work: Callable[[], None]) -> None:
        try:
            work()
            return
        except Exception as fault:
            lines[number].failure = told(fault)
            lines[number].seconds.clear()
        # Outside the block above, where the error still holds on to its memory.
        runs.pop(number, None)
        release()

    def warm_up(number: int) -> None:
        contender = contenders[number]
        runs[number] = run = contender.prepare()
        run(STEPS_OF_A_PIECE)
        turn = steps or _steps_of_a_turn(contender.clock, run, span)
        lines[number].steps = turn
        contender.clock(lambda: run(turn))

    def take_turn(number: int) -> None:
        line, run = lines[number], runs[number]
        seconds = contenders[number].clock(lambda: run(line.steps))
        line.seconds.append(seconds / line.steps)

    for number in range(len(contenders)):
        attempt(number, lambda number=number: warm_up(number))
    for _ in range(rounds):
        for number in list(runs):
            attempt(number, lambda number=number: take_turn(number))
    runs.clear()
    release()
    return lines
