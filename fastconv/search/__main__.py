"""The command line: ``python -m fastconv.search NAME|FILE``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("search", "python -m fastconv.search")

from fastconv.backends.configuration import available_cores
from fastconv.cli.command_line import (
    Parser,
    check_writable,
    positive,
    run,
    write_json,
)
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.ending import interruption
from fastconv.recipe import parse_setting
from fastconv.search.definition import Search, SearchError, load_search, search_names
from fastconv.search.folder import SearchFolder
from fastconv.search.outcome import Outcome

_MODULE = "fastconv.search"
_EXIT_NOTHING = 1


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        _MODULE,
        "Search for the settings of a recipe. The same command goes on where it was stopped.",
    )
    add = parser.add_argument
    add("search", nargs="?", metavar="NAME|FILE", help="a search by its name, or a TOML file")
    add("--list", action="store_true", help="list the searches and exit")
    add("--trials", type=positive, metavar="N", help="trials of the first stage")
    add(
        "--jobs", type=positive, metavar="N",
        help="trainings side by side (default: as many as there are cores for)",
    )  # fmt: skip
    add(
        "--executor", choices=("joblib", "dask", "ray"),
        help="train in the workers of one of these (extras), which may be on other machines; one "
        "that dies loses its trial alone",
    )  # fmt: skip
    add("--threads", type=positive, metavar="N", help="threads of each training (default: 1)")
    parser.add_backend()
    parser.add_allow_custom()
    parser.add_data_dir("FASTCONV_DATA, or download")
    add(
        "--storage", metavar="URL",
        help="data base of the study, which several machines may share (default: a file of SQLite "
        "in the search's folder)",
    )  # fmt: skip
    add("--out", metavar="DIR", help="folder for the search's files (default: searches/NAME)")
    add(
        "--prune", action="store_true",
        help="give up trials that are worse than the median of the others at the same line",
    )  # fmt: skip
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="set a key of the recipe in all trials, such as epochs=5 (repeatable)",
    )  # fmt: skip
    parser.add_figures("png")
    parser.add_json("summary")
    add("--quiet", action="store_true", help="print nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _search)


def _list_searches() -> int:
    width = max(map(len, search_names()))
    for name in search_names():
        print(f"{name:<{width}}  {load_search(name).definition.description}")
    return 0


def _search(options: argparse.Namespace) -> int:
    """Search, show, write."""
    if options.list:
        return _list_searches()
    if options.search is None:
        raise SearchError(
            "say which search: NAME or FILE; --list lists those that come with fastconv"
        )
    if importlib.util.find_spec("optuna") is None:
        raise ModuleNotFoundError(name="optuna")  # before there is a folder
    if options.executor is not None:
        require_extra(options.executor, f"python -m {_MODULE} --executor {options.executor}")
        if options.prune:
            raise SearchError(
                f"--prune goes by lines of the history, and --executor {options.executor} tells "
                f"nothing of them; leave one of the two out"
            )
    search = load_search(
        options.search, [parse_setting(text) for text in options.settings], options.trials
    )
    check_writable(options.json)
    config = ExecutionConfig(options.backend, options.threads or 1)
    jobs = _jobs(options, config)
    folder = SearchFolder(options.out or Path("searches") / search.definition.name)
    with folder.alone() if options.storage is None else contextlib.nullcontext():
        return _run(options, search, folder, jobs, config)


def _jobs(options: argparse.Namespace, config: ExecutionConfig) -> int:
    from fastconv.search.pool import share_cores

    on_device = config.backend == "cupy"
    if options.executor is not None and options.jobs is not None:
        return int(options.jobs)  # the cores need not be this machine's
    return share_cores(available_cores(), options.jobs, options.threads, on_device=on_device)


def _run(
    options: argparse.Namespace,
    search: Search,
    folder: SearchFolder,
    jobs: int,
    config: ExecutionConfig,
) -> int:
    from fastconv.search.display import SearchDisplay
    from fastconv.search.engine import Engine
    from fastconv.search.study import open_storage, url_of_file
    from fastconv.search.worker import WorkerConfig

    is_shared = options.storage is not None
    storage = open_storage(options.storage or url_of_file(folder.study_path), is_shared=is_shared)
    definition = search.definition
    display = SearchDisplay(definition, quiet=options.quiet, to_stderr=options.json == "-")
    with interruption() as is_interrupted:
        engine = Engine(
            search,
            storage,
            is_alone=not is_shared,
            config=WorkerConfig(search, options.data_dir, config, options.prune),
            jobs=jobs,
            watcher=display,
            is_interrupted=is_interrupted,
            executor=options.executor,
        )
        engine.open()
        folder.write_definition(search)
        display.show_head(search, jobs, config.threads)
        try:
            engine.run()
        finally:
            display.stop()
    outcome = engine.outcome()
    folder.write_results(outcome)
    write_json(options.json, outcome.summary())
    display.show_best(outcome)
    if outcome.trials:
        from fastconv.search.page import write_search_page  # and matplotlib with it

        page = write_search_page(outcome, folder.path, figures=options.figures)
        display.text(f"report: {page}")
    if engine.interrupted:
        print(
            f"{_MODULE}: interrupted after {len(outcome.trials)} of {outcome.wanted} trials; the "
            f"same command goes on",
            file=sys.stderr,
        )
        return 128 + (is_interrupted.signal or signal.SIGINT)
    return 0 if outcome.best(1) else _say_nothing_found(outcome)


def _say_nothing_found(outcome: Outcome) -> int:
    reason = next((trial.reason for trial in outcome.trials if trial.reason), None)
    told = f"the first of them: {reason}" if reason else "try smaller learning rates"
    print(f"{_MODULE}: no trial came to a result; {' '.join(told.split())}", file=sys.stderr)
    return _EXIT_NOTHING


if __name__ == "__main__":
    sys.exit(main())
