"""The table of a reproduction as Markdown, between two marks in a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastconv._files import replace_file
from fastconv.report.content import DASH, duration
from fastconv.reproduce.page import COLUMNS, machine, training_seconds
from fastconv.reproduce.results import Results
from fastconv.runs.run_folder import OutputError

BEGIN = "<!-- reproduced: begin -->"
END = "<!-- reproduced: end -->"
"""Marks; ``python -m fastconv.reproduce --table`` writes what stands between them."""


def markdown(results: Results) -> str:
    """Return what the runs were made with, and the tables of systems and of claims."""
    rows = results.rows()
    systems = [
        [
            f"`{row.system.name}`", "<br>".join(row.stated) or DASH, "<br>".join(row.ours) or DASH,
            row.outcome.words, row.stated_time, row.our_time, row.seeds, row.system.report,
            f"`{row.command}`",
        ]
        for row in rows
    ]  # fmt: skip
    claims = [
        [
            claim.report,
            f"{claim.words} (our words)" if claim.is_ours else claim.words,
            evidence.verdict if evidence else DASH,
            evidence.text if evidence else "its runs are missing",
        ]
        for claim, evidence in sorted(results.claims(), key=lambda said: said[0].report)
    ]
    made_with = "; ".join(f"{what} {value}" for what, value in machine(results))
    seconds = training_seconds(rows)
    return (
        f"Training time of all runs: {duration(seconds)}. Made with: {made_with}.\n\n"
        f"{_table((*COLUMNS, 'command'), systems)}\n"
        f"{_table(('report', 'claim', 'verdict', 'measured'), claims)}"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def check_table(path: str | Path) -> None:
    """Find out before the work that a page has the two marks.

    Raises
    ------
    OutputError
        If it cannot be read, or has not each of them once, in order.
    """
    _around(Path(path))


def write_table(results: Results, path: str | Path) -> None:
    """Put the tables between the marks of a page, in place of what stands there.

    Raises
    ------
    OutputError
        As for :func:`check_table`.
    """
    before, after = _around(Path(path))
    with replace_file(path) as file:
        file.write(f"{before}{BEGIN}\n\n{markdown(results)}\n{END}{after}")


def _around(path: Path) -> tuple[str, str]:
    """Return what stands before the first mark and behind the second."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "not UTF-8"
        raise OutputError(
            f"--table {path}: cannot be read ({reason}); give a Markdown file with the lines "
            f"{BEGIN} and {END}"
        ) from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise OutputError(
            f"--table {path}: expected one line {BEGIN} and behind it one line {END}; add them "
            f"where the table is to stand"
        )
    return before, after
