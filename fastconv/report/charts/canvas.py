"""Canvas of a chart: the elements of an SVG, and the names of its series above it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fastconv.plots.palette import LIGHT_COLOURS, dashes, marker
from fastconv.report.charts.text import escaped, text_width

WIDTH = 620.0
"""Width of a chart; the text of a page is 720 pixels wide, so that a unit is somewhat more."""
TEXT, SMALL = 16.0, 13.5
"""Sizes of text; the page's style sheet has the same."""
MOST_HIDDEN = 32
"""Series that a click on their names hides; the page's style sheet has a rule for each."""
_DASH_LENGTHS = {"-": "", "--": "9 4", "-.": "10 3 2.5 3", ":": "2.5 3"}
_MARKERS = {
    "o": "m-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "s": "m-3.4-3.4h6.8v6.8h-6.8z",
    "^": "m0-4.2l4.2 7.6h-8.4z",
    "D": "m0-4.8l4.8 4.8l-4.8 4.8l-4.8-4.8z",
    "v": "m0 4.2l4.2-7.6h-8.4z",
    "P": "m-1.5-4.4h3v2.9h2.9v3h-2.9v2.9h-3v-2.9h-2.9v-3h2.9z",
    "X": "m-4.4-2.4l2-2l2.4 2.4l2.4-2.4l2 2l-2.4 2.4l2.4 2.4l-2 2l-2.4-2.4l-2.4 2.4l-2-2l2.4-2.4z",
}
"""Shapes of the markers around a point."""


def number(value: float) -> str:
    """Return a coordinate, to a tenth of a unit.

    Examples
    --------
    >>> number(12.04), number(-0.01)
    ('12', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def points(xs: Iterable[float], ys: Iterable[float]) -> str:
    """Return the path through some points; it is broken where a coordinate is not finite."""
    path, command = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if np.isfinite(x) and np.isfinite(y):
            path.append(f"{command}{number(x)} {number(y)}")
            command = "L"
        else:
            command = "M"
    return "".join(path)


def markers(series: int, xs: Iterable[float], ys: Iterable[float]) -> str:
    """Return the path of markers of the series of this number around points."""
    shape = _MARKERS[marker(series)]
    return "".join(f"M{number(x)} {number(y)}{shape}" for x, y in zip(xs, ys, strict=True))


def series_class(series: int) -> str:
    """Return the classes of what belongs to the series of this number: its colour, and itself.

    Examples
    --------
    >>> series_class(7)
    'c1 n7'
    """
    return f"c{series % len(LIGHT_COLOURS)} n{series}"


class Canvas:
    """Collects the elements of a chart.

    Parameters
    ----------
    name
        Unique within the page: what refers to parts of the chart is prefixed with it.

    Attributes
    ----------
    width, height
        Of the chart, to be set by what draws it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.width, self.height = WIDTH, 0.0
        self._parts: list[str] = []
        self._names: list[str] = []

    def add(self, element: str) -> None:
        """Add an element."""
        self._parts.append(element)

    def path(self, drawn: str, classes: str, *, dash: str = "-", more: str = "") -> None:
        """Add a path.

        Parameters
        ----------
        drawn
            Its commands; nothing is added for none.
        classes
            For the style sheet of the page.
        dash
            As in :data:`fastconv.plots.palette.DASHES`.
        more
            Further attributes.
        """
        if drawn:
            lengths = _DASH_LENGTHS[dash]
            dashed = f' stroke-dasharray="{lengths}"' if lengths else ""
            self.add(f'<path class="{classes}" d="{drawn}"{dashed}{more}/>')

    def rectangle(
        self, x: float, y: float, width: float, height: float, more: str, *, title: str = ""
    ) -> None:
        """Add a rectangle; its title is shown below the pointer."""
        head = (
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}" {more}'
        )
        self.add(f"{head}><title>{escaped(title)}</title></rect>" if title else f"{head}/>")

    def text(
        self,
        x: float,
        y: float,
        line: str,
        *,
        anchor: str = "start",
        classes: str = "",
        turned: bool = False,
    ) -> None:
        """Add a line of text.

        Parameters
        ----------
        x, y
            Of its baseline.
        line
            The text.
        anchor
            Which part of it is at x: "start", "middle" or "end".
        classes
            "small" for small text.
        turned
            Whether it goes upwards.
        """
        anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
        named = f' class="{classes}"' if classes else ""
        place = f'x="{number(x)}" y="{number(y)}"'
        if turned:
            place = f'transform="translate({number(x)} {number(y)})rotate(-90)"'
        self.add(f"<text {place}{anchored}{named}>{escaped(line)}</text>")

    def name_series(self, name: str, swatch: str) -> None:
        """Put the name of the next series above the chart; a click on it hides the series.

        Parameters
        ----------
        name
            Its text.
        swatch
            What is drawn in 40x16 units before it.
        """
        number_of_it = len(self._names)
        shown = f'<svg aria-hidden="true" viewBox="0 0 40 16">{swatch}</svg>{escaped(name)}'
        if number_of_it >= MOST_HIDDEN:
            self._names.append(f"<span>{shown}</span>")
            return
        key = f"{self.name}-series-{number_of_it}"
        self._names.append(
            f'<input type="checkbox" id="{key}" class="h{number_of_it}" checked=""/>'
            f'<label for="{key}">{shown}</label>'
        )

    def name_line(self, series: int, name: str, count: int, *, marked: bool = True) -> None:
        """Put the name of a line of so many points above the chart."""
        lengths = _DASH_LENGTHS[dashes(series, count)]
        dashed = f' stroke-dasharray="{lengths}"' if lengths else ""
        colour = series_class(series).split()[0]
        swatch = f'<path class="line {colour}" d="M1 8H39"{dashed}/>'
        if marked:
            swatch += f'<path class="mark {colour}" d="{markers(series, [20], [8])}"/>'
        self.name_series(name, swatch)

    def html(self, alternative: str) -> str:
        """Return the chart for a page: the names of its series, and an ``<svg>`` element.

        Parameters
        ----------
        alternative
            What it shows, for who does not see it.
        """
        # As many pixels wide as matplotlib's picture of the same size.
        width = self.width / WIDTH * 720
        return (
            f'<div class="chart">{"".join(self._names)}'
            f'<svg role="img" aria-label="{escaped(alternative)}" '
            f'viewBox="0 0 {number(self.width)} {number(self.height)}" '
            f'style="max-width:{width:.0f}px">{"".join(self._parts)}</svg></div>'
        )


def widest(lines: Sequence[str], size: float = TEXT) -> float:
    """Return the room that lines of text need."""
    return text_width(lines, size)
