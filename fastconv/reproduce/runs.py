"""The runs of a reproduction: made where they are not there yet, found again where they are."""

from __future__ import annotations

import shlex
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastconv.backends.configuration import package_version
from fastconv.cli.progress import Display
from fastconv.data import Dataset
from fastconv.data.identity import PartIdentity, identify_parts
from fastconv.recipe import Recipe
from fastconv.report.findings import Findings
from fastconv.runs.data_of_run import check_data
from fastconv.runs.experiment import load_dataset
from fastconv.runs.run_folder import OutputError
from fastconv.runs.saved_run import RunError, SavedRun, load_run
from fastconv.training_run import FinishedRun, RunOptions, explain_run, train_recipe

_MOST_DATASETS = 3
_ENDS = ("completed", "steps", "diverged")
"""Ways to stop that are the end of a run: one that diverged would do so again."""
_FILES = ("recipe.toml", "history.csv")
"""Files that tell a folder of a run from any other."""


class Datasets:
    """Data sets of recipes, the last few kept: many systems share one.

    Parameters
    ----------
    data_dir
        As for :func:`fastconv.data.load`.
    any_data
        Whether other data than those of a run will do.
    tell
        Is told, once for each run, that its data are others or could not be compared.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        any_data: bool = False,
        tell: Callable[[str], None] = lambda remark: None,
    ) -> None:
        self._data_dir, self._any_data, self._tell = data_dir, any_data, tell
        self._kept: OrderedDict[str, Dataset] = OrderedDict()
        self._identities: dict[str, Mapping[str, PartIdentity]] = {}
        self._told: set[str] = set()

    def of(self, recipe: Recipe) -> Dataset:
        """Return the data set of a recipe, with the parts that it asks for."""
        key = repr(recipe.data)
        if key not in self._kept:
            self._kept[key] = load_dataset(recipe, self._data_dir)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_DATASETS:
            self._kept.popitem(last=False)
        return self._kept[key]

    def identity_of(self, recipe: Recipe) -> Mapping[str, PartIdentity]:
        """Return which samples the parts of that data set have; they are read once."""
        key = repr(recipe.data)
        if key not in self._identities:
            self._identities[key] = identify_parts(self.of(recipe))
        return self._identities[key]

    def check(self, run: SavedRun) -> str:
        """Compare the data set with that of a run; return the remark, if there is one.

        Raises
        ------
        RunError
            If they differ, and others will not do.
        """
        dataset, found = self.of(run.recipe), self.identity_of(run.recipe)
        try:
            remark = check_data(run, dataset, any_data=self._any_data, found=found).remark
        except RunError as fault:
            raise RunError(f"{fault}; --again trains it again") from None
        if remark and remark not in self._told:
            self._told.add(remark)
            self._tell(remark)
        return remark


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
