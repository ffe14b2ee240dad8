"""Pictures as SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastconv.plots.style import WIDTH, page_colours

_PAGE_WIDTH = 720
"""Pixels of a page's text."""
_ID = re.compile(r' id="([^"]+)"')
_USE = re.compile(r'(?:href="#|url\(#)([^")]+)')


def inline_svg(picture: Axes | Figure, name: str, alternative: str) -> str:
    """Return a picture as an ``<svg>`` element for a page.

    What was drawn in the colours of the light theme takes those of the page, so that one picture
    is for a light and a dark page: text has ``currentColor``, series the CSS variables
    ``--series-0``, ``--series-1``, ...

    Parameters
    ----------
    picture
        A figure, or Axes in it.
    name
        Unique within the page: what refers to parts of the picture is prefixed with it.
    alternative
        What it shows, for who does not see it.
    """
    figure = picture.get_figure(root=True)
    if figure is None:
        raise ValueError("inline_svg: picture is in no figure any more")
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            file, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.05
        )
    figure.set_layout_engine("none")  # all is in its place now; finding it takes as long as drawing
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    for colour, value in page_colours().items():
        text = re.sub(re.escape(colour), value, text, flags=re.IGNORECASE)
    used = set(_USE.findall(text))
    text = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = _USE.sub(lambda found: found[0].replace(f"#{found[1]}", f"#{name}-{found[1]}"), text)
    # In points; a picture as wide as a figure is by itself fills the page.
    width, height = (float(n) for n in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0])
    head = (
        f'<svg role="img" aria-label="{_escaped(alternative)}" viewBox="0 0 {width} {height}" '
        f'style="max-width: {width / (72 * WIDTH) * _PAGE_WIDTH:.0f}px" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)


def _escaped(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )
