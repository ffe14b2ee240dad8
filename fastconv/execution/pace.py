"""Pace of a run: steps at a time, so that whoever waits in between is soon heard."""

from __future__ import annotations

_SECONDS = 0.04
"""A run of steps takes about this long: soon for Ctrl-C, long beside the cost of a call."""
_GROWTH = 10
"""At most from one run to the next: the first steps may be odd ones."""


class Pace:
    """Steps that take about a twenty-fifth of a second, as measured so far.

    Parameters
    ----------
    together
        Steps that are faster together: it begins with so many, and goes on in multiples of them
        unless that takes too long.

    Attributes
    ----------
    steps
        To run at a time.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.measure(1, 0.004)
    >>> pace.steps
    10
    """

    def __init__(self, together: int = 1) -> None:
        self._together = together
        self.steps = together

    def measure(self, steps: int, seconds: float) -> None:
        """Take into account how long some steps took."""
        most = max(self.steps, _GROWTH * steps)
        if seconds > 0:
            most = max(1, min(most, int(steps * _SECONDS / seconds)))
        self.steps = most - most % self._together if most > self._together else most
