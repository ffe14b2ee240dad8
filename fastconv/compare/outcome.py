"""What the turns say: ratios, and the width at which a peer catches up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastconv.compare.measuring import Turns
from fastconv.compare.setting import Setting

NAMES = {"pytorch": "PyTorch", "jax": "JAX"}


@dataclass(frozen=True)
class Measured:
    """A setting, and the turns of everyone on it, fastconv's first."""

    setting: Setting
    turns: tuple[Turns, ...]

    def ratio(self, peer: str) -> float:
        """Return a peer's time over fastconv's, of the fastest rounds: above 1, fastconv is."""
        return self._of(peer).best / self.turns[0].best

    def ratio_of_medians(self, peer: str) -> float:
        """Return the same of the middle rounds."""
        return self._of(peer).median / self.turns[0].median

    def _of(self, who: str) -> Turns:
        return next(each for each in self.turns if each.who == who)

    def table(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self.setting), "turns": [asdict(each) for each in self.turns]}


def crossover(widths: Sequence[int], ratios: Sequence[float]) -> float:
    """Return the width from which on a peer is as fast.

    Parameters
    ----------
    widths
        Rising.
    ratios
        The peer's time over fastconv's at each.

    Returns
    -------
    float
        Between the last width at which fastconv is faster and the next one, on a straight line of
        the logarithms; 0 where it is faster at none, infinity where it is at the last.

    Examples
    --------
    >>> crossover([8, 32], [4.0, 0.25])
    16.0
    >>> crossover([8, 32], [4.0, 1.5]), crossover([8, 32], [0.9, 0.5])
    (inf, 0.0)
    """
    faster = [number for number, ratio in enumerate(ratios) if ratio > 1]
    if not faster:
        return 0.0
    last = faster[-1]
    if last == len(widths) - 1:
        return math.inf
    above, below = math.log(ratios[last]), math.log(ratios[last + 1])
    share = above / (above - below)
    return float(widths[last] * (widths[last + 1] / widths[last]) ** share)


def report(measured: Sequence[Measured], peers: Sequence[str], machine: str) -> str:
    """Return both tables in Markdown: how small is small, and what was measured.

    Parameters
    ----------
    measured
        All settings.
    peers
        Who took turns with fastconv.
    machine
        A line about it.
    """
    lines = [
        machine,
        "",
        "A peer's time over fastconv's, of the fastest rounds: above 1, fastconv is faster. In",
        "brackets that of the medians.",
        "",
        _row(["depth", "batch", *(f"{NAMES[peer]} is as fast from width" for peer in peers)]),
        _row(["---"] * (2 + len(peers))),
    ]
    for depth, batch in sorted({(m.setting.depth, m.setting.batch) for m in measured}):
        own = series(measured, depth, batch)
        widths = [each.setting.width for each in own]
        cells = [
            _width(crossover(widths, [each.ratio(peer) for each in own]), widths) for peer in peers
        ]
        lines.append(_row([str(depth), str(batch), *cells]))
    head = ["depth", "batch", "width", "fastconv, us a step", *(NAMES[peer] for peer in peers)]
    lines += ["", _row(head), _row(["---"] * len(head))]
    for each in measured:
        sizes = each.setting.depth, each.setting.batch, each.setting.width
        ratios = [f"{each.ratio(peer):.2f} ({each.ratio_of_medians(peer):.2f})" for peer in peers]
        lines.append(_row([*map(str, sizes), f"{1e6 * each.turns[0].best:.0f}", *ratios]))
    return "\n".join(lines) + "\n"


def series(measured: Sequence[Measured], depth: int, batch: int) -> list[Measured]:
    """Return the settings of a depth and a batch size, by their widths."""
    own = [m for m in measured if (m.setting.depth, m.setting.batch) == (depth, batch)]
    return sorted(own, key=lambda each: each.setting.width)


def _width(found: float, widths: Sequence[int]) -> str:
    if found == 0:
        return f"below {widths[0]}"
    return f"above {widths[-1]}" if math.isinf(found) else f"{found:.0f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
