"""The page of a reproduction: the table of all systems, and each claim beside what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from fastconv.report.content import DASH, Item, Page, Section, Statement, Table, duration
from fastconv.report.page import write_page
from fastconv.reproduce.claim import Claim, Evidence
from fastconv.reproduce.comparisons import Comparison
from fastconv.reproduce.results import Results, Row
from fastconv.reproduce.systems import reports
from fastconv.runs.saved_run import SavedRun

COLUMNS = (
    "system", "stated result", "ours", "verdict", "stated time", "our training time", "seeds",
    "report",
)  # fmt: skip
_NOT_YET = "not measured"
_ABOUT_CLAIMS = (
    "Verdicts follow from the numbers: a difference counts from two standard errors, which with "
    "one seed are those of the samples alone. Where the report shows something without a claim, "
    "the words are ours."
)


def reproduction_page(results: Results, *, links: bool = True) -> Page:
    """Return the content of the page.

    Parameters
    ----------
    results
        The runs so far.
    links
        Whether the names of systems lead to the pages of their runs.
    """
    rows = results.rows()
    said = results.claims()
    links = links and not results.quick  # shortened runs have no pages
    sections = [
        Section("systems", "All systems", _how_to_read(links=links), _systems(rows, links=links))
    ]
    for report in reports():
        ours = [(claim, evidence) for claim, evidence in said if claim.report == report.name]
        section = Section(
            f"report-{report.name}", f"Report {report.name}: {report.title}", _ABOUT_CLAIMS
        )
        for claim, evidence in ours:
            section.items.extend(_claim(claim, evidence, results))
        sections.append(section)
    sections.append(Section("machine", "Machine", "", [Table((), machine(results))]))
    lead = "Five course reports, each of their systems trained again by fastconv."
    if results.quick:
        lead += (
            " These are shortened trainings, a check that everything works: they say nothing about "
            "the reports."
        )
    return Page("The reports, reproduced", lead, _facts(results, rows, said), sections)


def write_reproduction(results: Results, path: Path, *, links: bool = True) -> None:
    """Write the page.

    Parameters
    ----------
    results
        The runs so far.
    path
        Of the page.
    links
        As for :func:`reproduction_page`; leave them out of a page outside the folder of the runs.
    """
    write_page(reproduction_page(results, links=links), path)


def _how_to_read(*, links: bool) -> str:
    text = (
        "The verdict compares one figure, the mean over the seeds, with what the report states: "
        "that of the test set where there is one; other figures stand beside it. Where a setting "
        "was not stated, it was chosen on samples held out of the training set, never by test "
        "results. Several seeds: mean ± standard deviation. Times are those of the training "
        "steps. Running accuracy counts each image before the step that learns from it."
    )
    if links:
        text += " The name of a system leads to the page of its run."
    return text


def _facts(
    results: Results,
    rows: Sequence[Row],
    said: Sequence[tuple[Claim | Comparison, Evidence | None]],
) -> list[tuple[str, str]]:
    made = [row for row in rows if row.runs]
    stated = [row for row in made if row.outcome.result in ("reached", "missed")]
    reached = sum(row.outcome.result == "reached" for row in stated)
    verdicts = [evidence.verdict for _, evidence in said if evidence is not None]
    facts = [("systems trained", f"{len(made)} of {len(rows)}")]
    if not results.quick:
        facts.append(("stated results reached", f"{reached} of {len(stated)}"))
    facts.append(("claims shown", f"{verdicts.count('shown')} of {len(verdicts)}"))
    facts.append(("claims refuted", str(verdicts.count("refuted"))))
    facts.append(("training time of all", duration(training_seconds(rows))))
    return facts


def training_seconds(rows: Sequence[Row]) -> float:
    """Return the training time of all runs in the table."""
    return math.fsum(run.summary["train_seconds"] for row in rows for run in row.runs)


def _systems(rows: Sequence[Row], *, links: bool) -> list[Item]:
    commands = [
        (row.system.name,
         Markup("{}{}").format(_code(row.command), f" {row.system.note or ''}"))
        for row in rows
    ]  # fmt: skip
    return [
        Table(COLUMNS, [_cells(row, links=links) for row in rows], wraps=True),
        Table((), commands, "The command of each (--seed for other seeds than 0)"),
    ]


def _cells(row: Row, *, links: bool) -> list[str]:
    return [
        _link(row) if links else row.system.name,
        _lines(row.stated),
        _lines(row.ours),
        row.outcome.words,
        row.stated_time,
        row.our_time,
        row.seeds,
        row.system.report,
    ]


def _code(command: str) -> Markup:
    """A command whose words stay whole: browsers break lines within --set."""
    words = [Markup("<span>{}</span>").format(word) for word in command.split(" ")]
    return Markup("<code>{}</code>").format(Markup(" ").join(words))


def _lines(texts: Sequence[str]) -> str:
    """Figures one below the other, each in one line."""
    kept = [text.replace(" ", "\N{NO-BREAK SPACE}") for text in texts]
    return Markup("<br>").join(kept) or DASH


def _link(row: Row) -> str:
    """The name, with a link to the page of the first run where there is one."""
    for run in row.runs[:1]:
        if (run.path / "report.html").is_file():
            page = f"runs/{run.path.name}/report.html"
            return Markup('<a href="{}">{}</a>').format(page, row.system.name)
    return row.system.name


def _claim(claim: Claim | Comparison, evidence: Evidence | None, results: Results) -> list[Item]:
    anchor = f"claim-{claim.name}"
    if evidence is None:
        needs = "all its variations"
        if isinstance(claim, Claim):
            needs = ", ".join(name for name in claim.systems if not results.runs.get(name))
        return [Statement(anchor, claim.words, _NOT_YET, f"It needs runs of {needs}.")]
    text = f"{evidence.text} (The words are ours.)" if claim.is_ours else evidence.text
    statement = Statement(anchor, claim.words, evidence.verdict, text)
    return [statement, *evidence.items]


def machine(results: Results) -> list[tuple[str, str]]:
    """Return what the runs of the systems were made with, and its values."""
    runs = [run for made in results.runs.values() for run in made]
    return [
        ("processor", _each(runs, "processor")),
        ("system", _each(runs, "platform")),
        ("backend", _each(runs, "backend")),
        ("threads", _each(runs, "threads")),
        ("fastconv", _each(runs, "fastconv")),
        ("Python", _each(runs, "python")),
    ]


def _each(runs: Sequence[SavedRun], key: str) -> str:
    """The values that runs have, most often one."""
    values = dict.fromkeys(str(run.environment.get(key, DASH)) for run in runs)
    return ", ".join(values) or DASH
