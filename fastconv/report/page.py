"""From a page's content to one HTML file that needs nothing else."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from fastconv._extras import missing_extra

try:
    import jinja2
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.report", fault) from None

from markupsafe import Markup

from fastconv import plots
from fastconv._files import replace_file
from fastconv.plots import save
from fastconv.plots.style import DARK_COLOURS, LIGHT_COLOURS
from fastconv.report.content import Page, Picture, Plain, Statement, Table

_FORMATS = {"png": ("png",), "svg": ("png", "svg")}


def render(page: Page) -> str:
    """Return a page as HTML: one document, without a script, that loads nothing.

    Parameters
    ----------
    page
        Its content.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.tests.update(
        picture=lambda item: isinstance(item, Picture),
        table=lambda item: isinstance(item, Table),
        plain=lambda item: isinstance(item, Plain),
        statement=lambda item: isinstance(item, Statement),
    )
    environment.filters["svg"] = lambda picture: Markup(picture.svg)
    source = (resources.files("fastconv.report") / "page.html").read_text(encoding="utf-8")
    colours = {"light": LIGHT_COLOURS, "dark": DARK_COLOURS}
    return environment.from_string(source).render(page=page, colours=colours)


def write_page(
    make: Callable[[], Page],
    path: Path,
    *,
    figures: str | None = None,
    folder: Path | None = None,
) -> None:
    """Make a page and write it, complete or not at all, and its pictures beside it.

    Parameters
    ----------
    make
        Returns the page; its pictures are drawn in the colours of the light theme, in place of
        which the page has its own.
    path
        Of the HTML file.
    figures
        Files of the pictures: "png", or "svg" for SVG beside PNG; None for none.
    folder
        Of these files; None: ``figures`` beside the page.
    """
    with plots.theme("light"), warnings.catch_warnings():
        # Characters that the font lacks become boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        page = make()
        # A folder's name may hold bytes that are no text.
        text = render(page).encode("utf-8", "replace").decode("utf-8")
        with replace_file(path) as file:
            file.write(text)
        if figures is not None:
            pictures = [picture for section in page.sections for picture in section.pictures]
            _write_pictures(pictures, folder or path.parent / "figures", figures)


def _write_pictures(pictures: Sequence[Picture], folder: Path, figures: str) -> None:
    """Write pictures as files, and beside each the numbers that it was drawn from as CSV.

    Pictures and numbers of an earlier page that this one does not have are removed.

    Parameters
    ----------
    pictures
        The pictures.
    folder
        Where; it is made if need be.
    figures
        "png", or "svg" for SVG beside PNG.
    """
    folder.mkdir(exist_ok=True)
    names = {picture.name for picture in pictures}
    for old in folder.iterdir():
        if old.suffix in (".png", ".svg", ".csv") and old.stem not in names:
            old.unlink()
    for picture in pictures:
        # A file may be looked at on any background, the page's own pictures are clear.
        picture.axes.figure.set_facecolor("white")
        save(picture.axes, folder / picture.name, _FORMATS[figures])
        if picture.numbers is not None:
            with replace_file(folder / f"{picture.name}.csv") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(picture.numbers.columns)
                writer.writerows(picture.numbers.rows)
