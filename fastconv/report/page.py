"""From a page's content to one HTML file that needs nothing else."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from fastconv._extras import missing_extra

try:
    import jinja2
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.report", fault) from None

from markupsafe import Markup

from fastconv._files import replace_file
from fastconv.plots.palette import DARK_COLOURS, LIGHT_COLOURS
from fastconv.report.charts.canvas import MOST_HIDDEN, SMALL, TEXT
from fastconv.report.charts.classification import CELL_DARK, CELL_LIGHT
from fastconv.report.content import Page, Picture, Plain, Statement, Table
from fastconv.report.figure_files import pictures_on, remove_files_of, save_drawings

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
    environment.filters["drawn"] = lambda picture: Markup(picture.html)
    source = (resources.files("fastconv.report") / "page.html").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        page=page,
        colours={"light": LIGHT_COLOURS, "dark": DARK_COLOURS},
        cells={"light": CELL_LIGHT, "dark": CELL_DARK},
        sizes={"text": TEXT, "small": SMALL},
        most_hidden=MOST_HIDDEN,
    )


def write_page(
    page: Page, path: Path, *, folder: Path | None = None, figures: str | None = None
) -> None:
    """Write a page, complete or not at all, and beside it the numbers that its pictures show.

    Parameters
    ----------
    page
        Its content.
    path
        Of the HTML file.
    folder
        Of the numbers, as CSV, and of the pictures; None for neither.
    figures
        Files of the pictures, which matplotlib draws: "png", or "svg" for SVG beside PNG; None for
        none.
    """
    # A folder's name may hold bytes that are no text.
    text = render(page).encode("utf-8", "replace").decode("utf-8")
    earlier = pictures_on(path)
    with replace_file(path) as file:
        file.write(text)
    if folder is not None:
        pictures = [picture for section in page.sections for picture in section.pictures]
        _write_files(pictures, folder, _FORMATS[figures] if figures else (), earlier)


def _write_files(
    pictures: Sequence[Picture], folder: Path, formats: tuple[str, ...], earlier: set[str]
) -> None:
    """Write the numbers behind pictures as CSV, and the pictures in some formats.

    Those of the earlier page that this one does not have are removed.
    """
    folder.mkdir(exist_ok=True)
    with_numbers = [picture for picture in pictures if picture.numbers is not None]
    written = {f"{picture.name}.csv" for picture in with_numbers}
    written |= {f"{picture.name}.{suffix}" for picture in pictures for suffix in formats}
    remove_files_of(earlier | {picture.name for picture in pictures}, folder, written)
    for picture in with_numbers:
        assert picture.numbers is not None
        with replace_file(folder / f"{picture.name}.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(picture.numbers.columns)
            writer.writerows(picture.numbers.rows)
    if formats:
        save_drawings([(str(folder / each.name), each.drawing) for each in pictures], formats)
