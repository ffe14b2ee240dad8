"""Colours, dashes, markers and hatches that tell series apart, in files and on pages."""

from __future__ import annotations

LIGHT_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9")
DARK_COLOURS = ("#56B4E9", "#E69F00", "#00B88A", "#CC79A7", "#F0E442", "#FF7F3F")
"""After Okabe and Ito, "Color universal design" (2008): colours that colour-blind readers can tell
apart, here without those that vanish on the background."""

DASHES = ("-", "--", "-.", ":")
MOST_DASHED = 150
"""Points of a line up to which it is dashed: along more, dashes cannot be seen."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

HATCHES = ("", "////", "....")
"""Hatches, which tell bars apart beside their colours."""


def dashes(number: int, points: int) -> str:
    """Return how the line of this number, counted from 0, is dashed.

    Examples
    --------
    >>> dashes(1, 20), dashes(1, 1000)
    ('--', '-')
    """
    return DASHES[number % len(DASHES)] if points <= MOST_DASHED else "-"


def marker(number: int) -> str:
    """Return the marker of the series of this number."""
    return MARKERS[number % len(MARKERS)]
