"""Writing a picture to files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastconv._files import replace_file

_FORMATS = ("png", "svg")


def save(
    figure_or_axes: Figure | Axes,
    path_without_suffix: str | Path,
    formats: Sequence[str] = ("png",),
    *,
    dpi: float = 200,
) -> list[Path]:
    """Write a picture, in one or more formats.

    The same picture gives the same bytes: no dates, no random names. A file is complete or not
    there.

    Parameters
    ----------
    figure_or_axes
        A figure, or the Axes that a function of this package returned: the whole figure is written.
    path_without_suffix
        Where; each format adds its suffix. The folder must exist.
    formats
        Any of "png" and "svg".
    dpi
        Pixels in an inch, for PNG. A picture is 6 inches wide.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ValueError
        If a format is another.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from fastconv import plots
    >>> axes = plots.learning_rate_curve([0, 100], [0.1, 0.01])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in plots.save(axes, folder + "/rate", ("png", "svg"))]
    ['rate.png', 'rate.svg']
    """
    if isinstance(formats, str) or not set(formats) <= set(_FORMATS):
        raise ValueError(f"save: formats is {formats!r}; expected any of {_FORMATS}, as a tuple")
    figure = figure_or_axes.get_figure(root=True)
    if figure is None:
        raise ValueError("save: figure_or_axes is in no figure any more; it was removed from it")
    stem = Path(path_without_suffix)
    paths = []
    # Names inside an SVG are hashes: the salt makes them the same each time.
    with matplotlib.rc_context({"svg.hashsalt": "fastconv"}):
        for kind in formats:
            path = stem.with_name(f"{stem.name}.{kind}")
            with replace_file(path, "wb") as file, _layout_kept(figure):
                figure.draw_without_rendering()
                figure.savefig(
                    file,
                    format=kind,
                    dpi=dpi,
                    facecolor=figure.get_facecolor(),
                    metadata={"Software": None} if kind == "png" else {"Date": None},
                )
            paths.append(path)
    return paths


@contextlib.contextmanager
def _layout_kept(figure: Figure) -> Iterator[None]:
    """Put all Axes back to where they were before the block.

    Each drawing starts its layout at the result of the one before, so that pictures would differ.
    """
    before = [(ax, ax.get_position(original=True), ax.get_in_layout()) for ax in figure.axes]
    try:
        yield
    finally:
        for ax, position, in_layout in before:
            ax.set_position(position)
            ax.set_in_layout(in_layout)  # which set_position ends
