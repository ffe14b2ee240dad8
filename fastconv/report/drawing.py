"""Drawings, for a page or a file."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from fastconv.report import charts
from fastconv.report.charts.canvas import Canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Drawing:
    """A function that draws, and what it is given; nothing is drawn yet.

    Parameters
    ----------
    kind
        Name of a function of :mod:`fastconv.plots` or :mod:`fastconv.report.composites`. The one of
        that name in :mod:`fastconv.report.charts`, where there is one, draws it for a page.
    arguments, options
        As for these functions.

    Examples
    --------
    >>> drawing = Drawing("learning_rate_curve", [0, 100], [0.1, 0.01])
    >>> drawing.html("rate", "The learning rate.")[:60]
    '<div class="chart"><svg role="img" aria-label="The learning '
    """

    def __init__(self, kind: str, *arguments: Any, **options: Any) -> None:
        self.kind = kind
        self.arguments, self.options = arguments, options

    def html(self, name: str, alternative: str) -> str:
        """Return the picture for a page, without matplotlib where our charts can draw it.

        Parameters
        ----------
        name
            Unique within the page.
        alternative
            What the picture shows, for who does not see it.
        """
        draw = getattr(charts, self.kind, None)
        if draw is None:
            from fastconv.plots import theme
            from fastconv.report.svg import inline_svg

            with theme("light"), warnings.catch_warnings():
                _ignore_missing_letters()
                return inline_svg(self.axes(), name, alternative)
        canvas = Canvas(name)
        draw(canvas, *self.arguments, **self.options)
        return canvas.html(alternative)

    def axes(self) -> Axes:
        """Return matplotlib's picture, in the theme that is set."""
        from fastconv import plots
        from fastconv.report import composites

        draw = getattr(composites if hasattr(composites, self.kind) else plots, self.kind)
        axes: Axes = draw(*self.arguments, **self.options)
        return axes

    def save(self, path_without_suffix: str, formats: tuple[str, ...]) -> None:
        """Write matplotlib's picture to files on white paper, as :func:`fastconv.plots.save` does.

        Parameters
        ----------
        path_without_suffix, formats
            As for :func:`fastconv.plots.save`.
        """
        from fastconv import plots

        with plots.theme("light"), warnings.catch_warnings():
            _ignore_missing_letters()
            axes = self.axes()
            # A file may be looked at on any background, the page's own pictures are clear.
            axes.figure.set_facecolor("white")
            plots.save(axes, path_without_suffix, formats)


def _ignore_missing_letters() -> None:
    # Characters that the font lacks become boxes.
    warnings.filterwarnings("ignore", "Glyph .* missing from font")
