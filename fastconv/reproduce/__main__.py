"""The command line: ``python -m fastconv.reproduce``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.reproduce")

from fastconv._files import replace_file
from fastconv.backends.selection import choose_backend
from fastconv.cli.command_line import (
    EXIT_INTERRUPTED,
    Parser,
    check_writable,
    execution_config,
    positive,
    run,
    say,
    write_json,
)
from fastconv.cli.progress import Display
from fastconv.recipes.schema import RecipeError
from fastconv.reproduce import runs
from fastconv.reproduce.comparisons import comparisons_of
from fastconv.reproduce.markdown import check_table, write_table
from fastconv.reproduce.page import write_reproduction
from fastconv.reproduce.results import Results, wanted_run
from fastconv.reproduce.runs import Wanted
from fastconv.reproduce.systems import FIGURES, System, chosen_systems, systems
from fastconv.reproduce.verdicts import shown_figure
from fastconv.runs.datasets import Datasets
from fastconv.runs.run_folder import OutputError, to_json
from fastconv.runs.saved_run import SavedRun
from fastconv.training_run import RunOptions

_MODULE = "fastconv.reproduce"
_EXIT_MISSED = 1


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        _MODULE,
        "Train the systems of the course reports again, and write a page that compares what comes "
        "out with what they state.",
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="systems to train (default: all)")
    add("--list", action="store_true", help="list the systems with their stated results and exit")
    add(
        "--out", metavar="DIR",
        help="folder for the page and the runs (default: reproduction; with --quick: "
        "reproduction-quick)",
    )  # fmt: skip
    add(
        "--table", metavar="FILE",
        help="Markdown page that gets the tables, between two marks that it has",
    )  # fmt: skip
    add(
        "--page", metavar="FILE",
        help="also write the page there, without links to the pages of the runs",
    )  # fmt: skip
    add(
        "--seeds", type=positive, metavar="N",
        help="train each system with so many seeds, 0 to N-1 (default: 1; 5 for the regressions)",
    )  # fmt: skip
    add(
        "--comparisons", action="store_true",
        help="also train the variations that the reports compare, shortened",
    )  # fmt: skip
    add("--full", action="store_true", help="do not shorten the trainings of --comparisons")
    add(
        "--quick", action="store_true",
        help="shorten all trainings, and fail where one misses the least that it must reach",
    )  # fmt: skip
    add("--again", action="store_true", help="train again what is there already")
    parser.add_backend()
    parser.add_threads()
    parser.add_data_dir("FASTCONV_DATA, or download")
    parser.add_any_data()
    add("--quiet", action="store_true", help="print nothing")
    parser.add_json("results")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _reproduce)


def _list_systems() -> int:
    width = max(len(system.name) for system in systems())
    for system in systems():
        stated = ", ".join(
            f"{FIGURES[figure]} {shown_figure(figure, value)}"
            for figure, value in system.stated.items()
        )
        print(f"{system.report}  {system.name:<{width}}  {stated or 'nothing stated'}")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    """Make the runs, and write the page after each."""
    if options.list:
        return _list_systems()
    chosen = chosen_systems(options.names)
    _check(options)
    out = Path(options.out or ("reproduction-quick" if options.quick else "reproduction"))
    _make_folder(out, options.quick)
    display = Display(quiet=options.quiet, to_stderr=options.json == "-")
    how = RunOptions(execution_config(options), options.data_dir)
    datasets = Datasets(
        options.data_dir, any_data=options.any_data, tell=lambda remark: say(_MODULE, remark)
    )
    results = Results(out, datasets, options.quick, options.backend)
    results.find_runs()
    for maker in (_make_systems, _make_comparisons):
        for made in maker(options, chosen, how, results, display):
            if made.summary.get("stopped") == "interrupted":
                display.text(f"interrupted; what is finished is in {out / 'index.html'}")
                return EXIT_INTERRUPTED
    _write(options, results)
    if options.page is not None:
        write_reproduction(results, Path(options.page), links=False)
    write_json(options.json, results.table())
    display.text(f"page: {out / 'index.html'}")
    return _floors(results) if options.quick else 0


def _check(options: argparse.Namespace) -> None:
    """Find mistakes before the work."""
    if options.quick and options.comparisons:
        raise RecipeError("--quick and --comparisons: give one of the two")
    if options.full and not options.comparisons:
        raise RecipeError("--full: is for --comparisons; add it, or leave --full out")
    check_writable(options.json)
    check_writable(options.page, "--page")
    choose_backend(options.backend)
    if options.table is not None:
        check_table(options.table)


def _make_folder(out: Path, quick: bool) -> None:
    """Make the folder; runs of full length and shortened ones do not share one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise OutputError(
            f"--out {out}: cannot be made ({fault.strerror}); choose another folder"
        ) from None
    file = out / "results.json"
    if not file.is_file():
        return
    try:
        earlier: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return  # damaged: it is written again
    if isinstance(earlier, dict) and earlier.get("quick") not in (None, quick):
        kind = "shortened trainings" if earlier["quick"] else "trainings of full length"
        raise OutputError(f"--out {out}: holds {kind}; choose another folder")


def _make_systems(
    options: argparse.Namespace,
    chosen: Sequence[System],
    how: RunOptions,
    results: Results,
    display: Display,
) -> Iterator[SavedRun]:
    """Make the runs of the systems, one at a time."""
    wanted = [
        (system, wanted_run(system, seed, results.out, quick=options.quick))
        for system in chosen
        for seed in range(options.seeds or (1 if options.quick else system.seeds))
    ]
    for number, (system, each) in enumerate(wanted, 1):
        display.text(f"[{number}/{len(wanted)}] {each.path.name}")
        run, is_new = _make(options, each, how, results)
        yield run
        results.add(system, run)
        display.text(f"    {_said(run, is_new)}")
        if is_new:
            _write(options, results)


def _make_comparisons(
    options: argparse.Namespace,
    chosen: Sequence[System],
    how: RunOptions,
    results: Results,
    display: Display,
) -> Iterator[SavedRun]:
    """Make the runs of the comparisons, one at a time."""
    for comparison in comparisons_of(chosen) if options.comparisons else ():
        display.text(f"comparison {comparison.name}: {comparison.words}")
        for variation in comparison.variations:
            for seed in range(options.seeds or comparison.seeds):
                wanted = comparison.wanted(variation, seed, results.out, full=options.full)
                run, is_new = _make(options, wanted, how, results, reports=False)
                yield run
                results.compare(comparison, variation.label, run)
                display.text(f"    {variation.label}, seed {seed}: {_said(run, is_new)}")
        _write(options, results)


def _make(
    options: argparse.Namespace,
    wanted: Wanted,
    how: RunOptions,
    results: Results,
    *,
    reports: bool = True,
) -> tuple[SavedRun, bool]:
    # The pages of the runs would take most of the time of a quick check.
    wants_report = reports and not options.quick
    return runs.make(wanted, how, results.datasets, reports=wants_report, again=options.again)


def _said(run: SavedRun, is_new: bool) -> str:
    """One line about a run."""
    summary = run.summary
    figures = [
        f"{FIGURES[key]} {shown_figure(key, summary[key])}"
        for key in FIGURES
        if summary.get(key) is not None and ("accuracy" in key) == bool(run.class_names)
    ]
    ended = "" if summary["stopped"] == "completed" else f", {summary['stopped']}"
    made = f"{summary['train_seconds']:.1f} s" if is_new else "is there already"
    return f"{', '.join(figures)}{ended} ({made})"


def _write(options: argparse.Namespace, results: Results) -> None:
    """Write the page, the numbers and the table as they are now."""
    with replace_file(results.out / "results.json") as file:
        file.write(to_json(results.table()))
    write_reproduction(results, results.out / "index.html")
    if options.table is not None:
        write_table(results, options.table)


def _floors(results: Results) -> int:
    """Say which shortened trainings miss what they must reach; return the exit code."""
    missed = results.floors_missed()
    for line in missed:
        print(f"{_MODULE}: {line}", file=sys.stderr)
    return _EXIT_MISSED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
