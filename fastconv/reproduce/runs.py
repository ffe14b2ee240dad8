"""The runs of a reproduction: made where they are not there yet, found again where they are."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from fastconv.backends.configuration import package_version
from fastconv.cli.progress import Display
from fastconv.recipe import Recipe
from fastconv.report.findings import Findings
from fastconv.runs.datasets import Datasets
from fastconv.runs.run_folder import OutputError
from fastconv.runs.saved_run import RunError, SavedRun, load_run
from fastconv.training_run import FinishedRun, RunOptions, explain_run, train_recipe

_ENDS = ("completed", "steps", "diverged")
"""Ways to stop that are the end of a run: one that diverged would do so again."""
_FILES = ("recipe.toml", "history.csv")
"""Files that tell a folder of a run from any other."""


@dataclass(frozen=True)
class Wanted:
    """A run that there should be.

    Parameters
    ----------
    path
        Its folder.
    recipe
        What to train.
    command
        The command line that makes the same.
    """

    path: Path
    recipe: Recipe
    command: str


def find(wanted: Wanted) -> SavedRun | None:
    """Return a run if it is there: complete, of the same resolved recipe and of this version."""
    try:
        run = load_run(wanted.path)
    except RunError:
        return None
    complete = run.summary.get("stopped") in _ENDS
    same = run.recipe.table() == wanted.recipe.table()
    current = run.environment.get("fastconv") == package_version("fastconv")
    return run if complete and same and current else None


def make(
    wanted: Wanted,
    options: RunOptions,
    datasets: Datasets,
    *,
    reports: bool,
    again: bool = False,
) -> tuple[SavedRun, bool]:
    """Make a run unless it is there.

    Parameters
    ----------
    wanted
        The run.
    options
        How to run it; its command is put in here.
    datasets
        Where its data are from.
    reports
        Whether to write its page.
    again
        Make it even if it is there.

    Returns
    -------
    run
        What is there now; its summary says whether it was interrupted.
    is_new
        Whether it was made now.

    Raises
    ------
    OutputError
        If the folder holds something else than a run.
    RunError
        If the run that is there was trained on other data.
    """
    found = None if again else find(wanted)
    if found is not None:
        findings = findings_of(found, datasets, options.config.backend)
        if reports and not (found.path / "report.html").is_file():
            from fastconv.report.run_report import write_run_page

            write_run_page(findings)
        return found, False
    _clear(wanted.path)
    # The command as typed, without "python -m fastconv.train".
    command = ("train", *shlex.split(wanted.command)[3:])
    options = RunOptions(options.config, options.data_dir, probes=reports, command=command)
    display = Display(quiet=True, to_stderr=False)
    dataset = datasets.of(wanted.recipe)
    finished: FinishedRun = train_recipe(
        wanted.recipe, wanted.path, options, display,
        dataset=dataset, identity=datasets.identity_of(wanted.recipe),
    )  # fmt: skip
    if reports and finished.result.stopped != "interrupted":
        explain_run(finished, options)
    return load_run(wanted.path), True


def _clear(path: Path) -> None:
    """Remove a run that is not the one wanted; refuse to remove anything else."""
    if not path.exists():
        return
    entries = list(path.iterdir()) if path.is_dir() else [path]
    if entries and not any((path / name).is_file() for name in _FILES):
        raise OutputError(
            f"output folder {path}: holds {entries[0].name}, which is no run; choose another with "
            f"--out"
        )
    shutil.rmtree(path)


def findings_of(run: SavedRun, datasets: Datasets, backend: str | None) -> Findings:
    """Return a run with its data and what its network says about them.

    Raises
    ------
    RunError
        If the data are not those that it was trained on.
    """
    remark = datasets.check(run)
    return Findings(run, datasets.of(run.recipe), backend, remark)
