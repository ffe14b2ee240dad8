"""The command line: ``python -m fastconv.report RUN...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.report")

from fastconv.cli.command_line import Parser, run, say

_MODULE = "fastconv.report"


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        _MODULE, "Write the page of a run again, or one page that compares several runs."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder that fastconv.train wrote")
    parser.add_argument(
        "--out", metavar="FILE",
        help="the page that compares runs (default: comparison.html beside the first of them)",
    )  # fmt: skip
    parser.add_data_dir("FASTCONV_DATA, or download")
    parser.add_any_data()
    parser.add_backend()
    parser.add_allow_custom()
    parser.add_figures()
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _report)


def _report(options: argparse.Namespace) -> int:
    if options.figures:
        require_extra("plots", f"python -m {_MODULE}")
    if len(options.runs) > 1:
        return _compare(options)
    # Imported when used: --help is to be there at once.
    from fastconv.report.findings import Findings
    from fastconv.report.run_report import write_run_page
    from fastconv.runs.data_of_run import check_data, load_data
    from fastconv.runs.run_folder import OutputError
    from fastconv.runs.saved_run import load_run

    if options.out is not None:
        raise OutputError(
            f"--out {options.out}: is for several runs; the page of one run is in its folder"
        )
    saved = load_run(options.runs[0])
    dataset = load_data(saved, options.data_dir, any_data=options.any_data)
    check = check_data(saved, dataset, any_data=options.any_data)
    say(_MODULE, check.remark)
    findings = Findings(saved, dataset, options.backend, check.remark)
    print(write_run_page(findings, figures=options.figures))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from fastconv.report.comparison import write_comparison
    from fastconv.runs.run_folder import OutputError
    from fastconv.runs.saved_run import RunError, load_run

    for option, value in (
        ("--backend", options.backend),
        ("--data-dir", options.data_dir),
        ("--any-data", options.any_data or None),
    ):
        if value is not None:
            raise RunError(
                f"{option}: is for the page of one run; several are compared without data"
            )
    runs = [load_run(path) for path in options.runs]
    path = Path(options.out or runs[0].path.resolve().parent / "comparison.html")
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(f"--out {path}: no such folder, or a folder itself; give a file's path")
    print(write_comparison(runs, path, figures=options.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
