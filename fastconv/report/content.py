"""Contents of a page: sections of paragraphs, statements, pictures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from fastconv.report.drawing import Drawing

DASH = "\N{EN DASH}"
"""Dash where there is no value."""
Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Numbers:
    """Columns of numbers, for a CSV file.

    Parameters
    ----------
    columns
        Their names.
    rows
        Of so many cells each.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture.

    Parameters
    ----------
    name
        Of its files, unique within the page.
    drawing
        What is drawn.
    alternative
        What it shows, for who does not see it; a sentence with the main numbers.
    caption
        Text below it.
    numbers
        What it was drawn from, where these are not pixels.
    """

    name: str
    drawing: Drawing
    alternative: str
    caption: str = ""
    numbers: Numbers | None = None

    @cached_property
    def html(self) -> str:
        """Itself as an element of a page, drawn once however often its page is written."""
        return self.drawing.html(self.name, self.alternative)


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each row is its head.

    Parameters
    ----------
    columns
        Heads of the columns; empty for none.
    rows
        Of so many cells each.
    caption
        Text above it.
    wraps
        Whether long cells are broken into lines, as words want to be.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    wraps: bool = False


@dataclass(frozen=True)
class Plain:
    """Text whose columns and lines stay as they are."""

    text: str


@dataclass(frozen=True)
class Statement:
    """A claim in words, and what measurements say about it.

    Parameters
    ----------
    name
        Of its anchor, unique within the page.
    words
        The claim.
    verdict
        Such as "shown" or "refuted".
    text
        The measurements, in a sentence.
    """

    name: str
    words: str
    verdict: str
    text: str = ""


Item: TypeAlias = Picture | Table | Plain | Statement


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a page.

    Parameters
    ----------
    name
        Of its anchor.
    title, text
        Its heading, and what stands below that.
    items
        In order.
    folded
        Whether it is closed at first.
    """

    name: str
    title: str
    text: str = ""
    items: list[Item] = field(default_factory=list)
    folded: bool = False

    @property
    def pictures(self) -> list[Picture]:
        """Its pictures."""
        return [item for item in self.items if isinstance(item, Picture)]


@dataclass(frozen=True, eq=False)
class Page:
    """A page.

    Parameters
    ----------
    title, lead
        Its heading, and the sentence below it.
    facts
        Numbers that stand out on top: names and values.
    sections
        In order.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def decimal(value: float | None, digits: int = 4) -> str:
    """Return a number for people; a dash where there is none.

    Examples
    --------
    >>> decimal(0.5), decimal(3e-6), decimal(1.5e12)
    ('0.5000', '3e-06', '1.5e+12')
    """
    if value is None or value != value:
        return DASH
    if value and not 0.001 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Return a fraction of 1 as percent, a dash where there is none."""
    return DASH if value is None or value != value else f"{100 * value:.2f} %"


def duration(seconds: float | None) -> str:
    """Return a time for people."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
