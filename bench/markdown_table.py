"""Tables as Markdown has them."""

from __future__ import annotations

from collections.abc import Sequence


def row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def head(names: Sequence[str]) -> str:
    """The first two lines of a table."""
    return f"{row(names)}\n|{'---|' * len(names)}"


def page(title: str, text: str, table: str) -> str:
    """A page of the documentation that is a table, below a line on what it is."""
    return f"# {title}\n\n{text}\n\n{table}"
