"""Spec of weights that another set of weights follows slowly, and is brought back to."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.spec import SpecError, require_int


@dataclass(frozen=True, slots=True)
class LookaheadSpec:
    """Slow weights beside the ones that an update rule moves, the fast ones.

    Where ``t = step + 1`` is a multiple of ``steps``: ``slow = slow + alpha * (w - slow)`` and
    ``w = slow``; else nothing. Zhang et al., "Lookahead Optimizer" (arXiv:1907.08610), algorithm 1.

    Parameters
    ----------
    size
        Elements of both.
    steps
        From one synchronisation to the next.
    alpha
        Share of the way that the slow weights go.
    """

    size: int
    steps: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        require_int("LookaheadSpec", "size", self.size, 0)
        require_int("LookaheadSpec", "steps", self.steps, 1)
        if not 0 < self.alpha <= 1:
            raise SpecError("LookaheadSpec", "alpha", self.alpha, "more than 0, at most 1")
