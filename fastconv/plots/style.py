"""Colours, dashes, markers and sizes: the looks of all pictures in one place."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, NullFormatter

from fastconv.plots.palette import DARK_COLOURS, LIGHT_COLOURS, dashes, marker

ThemeName: TypeAlias = Literal["light", "dark"]

WIDTH = 6.0
"""Width of a picture in inches. Its text is readable on a page 720 pixels wide, and on a phone."""

_DARK_BLUES = ("#10243a", "#1f5a94", "#4f9bd5", "#d6ebfa")

_THEME: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 11.0,
    "axes.labelsize": "medium",
    "axes.titlesize": "medium",
    "xtick.labelsize": "medium",
    "ytick.labelsize": "medium",
    "legend.fontsize": "medium",
    "hatch.linewidth": 0.6,
    "grid.color": "#808080",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    # Names of classes and runs are no formulas.
    "text.parse_math": False,
}
_COLOURED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_INK = {"light": "#1f2328", "dark": "#e6edf3"}
_PAPER = {"light": "#fefefe", "dark": "#161b22"}


@contextlib.contextmanager
def theme(name: ThemeName) -> Iterator[None]:
    """Draw what is made inside the block for a light or a dark page.

    The background is transparent, so that a page can show one picture of each theme. Only
    matplotlib's settings inside the block are changed, and only until it ends.

    Parameters
    ----------
    name
        "light" or "dark".

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> from fastconv import plots
    >>> with plots.theme("dark"):
    ...     axes = plots.learning_rate_curve([0, 100], [0.1, 0.01])
    >>> axes.xaxis.label.get_color()
    '#e6edf3'
    """
    if name not in _INK:
        raise ValueError(f"theme: name is {name!r}; expected 'light' or 'dark'")
    settings: dict[Any, Any] = {**_THEME, **dict.fromkeys(_COLOURED, _INK[name])}
    settings.update({"legend.facecolor": _PAPER[name], "legend.edgecolor": "#808080"})
    with matplotlib.rc_context(settings):
        yield


def page_colours() -> dict[str, str]:
    """Stand-ins for the colours of the light theme in a page that knows both.

    Returns
    -------
    dict
        From colours to CSS values: ``currentColor`` for text, ``var(--paper)`` behind it,
        ``var(--series-0)`` and so on.
    """
    series = {each: f"var(--series-{number})" for number, each in enumerate(LIGHT_COLOURS)}
    return {_INK["light"]: "currentColor", _PAPER["light"]: "var(--paper)", **series}


def ink() -> Any:
    """Colour of text, under the theme or whatever style is set."""
    return matplotlib.rcParams["text.color"]


def paper() -> Any:
    """Colour of the background, for what text on top of lines is written on."""
    return _PAPER["dark" if is_dark() else "light"]


def is_dark() -> bool:
    """Whether text is light, so that the background must be dark."""
    return _luminance(ink()) > 0.4


def colour(number: int) -> str:
    """Colour of the series of this number, counted from 0."""
    colours = DARK_COLOURS if is_dark() else LIGHT_COLOURS
    return colours[number % len(colours)]


def stroke(number: int, points: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line of this number."""
    return {
        "color": colour(number),
        "linestyle": dashes(number, points),
        "marker": marker(number),
    }


def amounts() -> Colormap:
    """Colours from little, near the background, to much."""
    if is_dark():
        return LinearSegmentedColormap.from_list("dark blues", _DARK_BLUES)
    return matplotlib.colormaps["Blues"]


def signed_amounts() -> Colormap:
    """Colours from negative, blue, over white to positive, red."""
    return matplotlib.colormaps["RdBu_r"]


def text_on(background: Any) -> str:
    """Black or white, whichever is easier to read on a colour."""
    # Where the contrasts of WCAG 2 with black and with white are equal.
    return "black" if _luminance(background) > 0.179 else "white"


def _luminance(any_colour: Any) -> float:
    """Relative luminance as WCAG 2 has it: 0 is black, 1 is white."""
    channels = np.array(to_rgb(any_colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def small_text() -> float:
    """Size in points of text inside a picture: never under 9."""
    return max(9.0, 0.85 * float(matplotlib.rcParams["font.size"]))


def make_logarithmic(ax: Axes, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with numbers that are plain text.

    Matplotlib's own are formulas, which are shown as they are written.
    """
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


class NotebookAxes(Axes):
    """Axes of a figure that pyplot does not hold: a notebook shows their picture."""

    def _repr_png_(self) -> bytes | None:
        """Return the whole figure, for a notebook; None where they were removed from it."""
        figure = self.get_figure(root=True)
        if figure is None:
            return None
        content = io.BytesIO()
        # On paper of the theme: a notebook's own may be dark under a light picture.
        figure.savefig(content, format="png", facecolor=paper())
        return content.getvalue()


def axes_or_new(
    ax: Axes | None,
    *,
    width: float = WIDTH,
    height: float = 3.75,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Axes:
    """Return the given Axes, or those of a new figure that no one else holds.

    The layout is "compressed" for what has pixels, which must stay square.
    """
    if ax is not None:
        return ax
    figure = Figure(figsize=(width, height), layout=layout)
    return figure.add_subplot(axes_class=NotebookAxes)


def say_no_data(ax: Axes) -> None:
    """Write "no data" across empty Axes."""
    ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", va="center")
    ax.set_xticks([])
    ax.set_yticks([])


def text_inches(lines: Iterable[str], size: float) -> float:
    """Width in inches of the widest of some lines of text, without drawing any."""
    font = FontProperties(family=matplotlib.rcParams["font.family"])
    paths = (TextPath((0, 0), line, size=size, prop=font) for line in set(lines) if line.strip())
    widest = max((float(path.get_extents().width) for path in paths), default=0.0)
    # In pixels it is somewhat wider: each letter starts at a whole one.
    return 1.08 * widest / 72


def legend_above(ax: Axes, names: Iterable[str]) -> None:
    """Put the legend above the Axes, where it hides nothing, in as many columns as fit."""
    labels = list(names)
    size = float(FontProperties(size=matplotlib.rcParams["legend.fontsize"]).get_size_in_points())
    # Besides its text, an entry has a line, a gap after it, and a gap to the next column.
    entry = text_inches(labels, size) + 5 * size / 72
    rows = -(-len(labels) // max(1, int((width_inches(ax) - 0.2) / entry)))
    columns = -(-len(labels) // rows)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False)


def width_inches(ax: Axes) -> float:
    """Width that Axes will have, about: their layout is made when they are drawn."""
    width = float(ax.get_window_extent().width)
    figure = ax.get_figure(root=True)
    if figure is None:
        return width / 100
    # A layout takes from the margins what no label needs.
    return width / figure.dpi * (1.13 if figure.get_layout_engine() else 1.0)


def colour_bar(image: AxesImage, label: str) -> Colorbar:
    """Draw the scale of an image beside its Axes."""
    figure = image.axes.get_figure(root=True)
    assert figure is not None  # an image was drawn on it
    bar = figure.colorbar(image, ax=image.axes, fraction=0.04, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(label)
    return bar
