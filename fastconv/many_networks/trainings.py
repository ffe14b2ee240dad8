"""Trainings of many networks side by side: one to a core, over the same data."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv.cli.progress import Display
from fastconv.data import Dataset
from fastconv.data.identity import identify_parts
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.ending import Interruption, interruption
from fastconv.execution.lockstep import share_out, taking_part
from fastconv.execution.side_by_side import side_by_side
from fastconv.network import Sequential
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import Recipe, load_recipe
from fastconv.runs.checkpoints import CheckpointInterval
from fastconv.runs.datasets import Datasets
from fastconv.runs.experiment import preprocessing_of
from fastconv.runs.resumption import reopen_unfinished
from fastconv.runs.saved_run import load_run
from fastconv.runs.written_run import is_finished
from fastconv.spec import SpecError
from fastconv.training_run import RunOptions, explain_run, train_recipe

_page_turn = threading.Lock()
"""Pages are pure Python, of which one thread runs at a time; and matplotlib is not for several."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """Outcome of one of many trainings.

    Parameters
    ----------
    recipe
        The full resolved recipe, its seed included.
    network
        As it was in the end: the averaged one where the recipe averages weights.
    preprocessing
        What happens to images before its first layer, with the statistics of the training set.
    history
        The columns of history.csv, float64; NaN where there is no value.
    summary
        The fields of summary.json: losses, accuracies, seconds, and how the training ``stopped``.
    path
        Folder of the run; None where no files were asked for.
    """

    recipe: Recipe
    network: Sequential
    preprocessing: Preprocessing
    history: dict[str, NDArray[np.float64]]
    summary: dict[str, Any]
    path: Path | None = None

    @property
    def seed(self) -> int:
        """Seed of weights, shuffling, dropout and augmentation."""
        return self.recipe.seed

    @property
    def stopped(self) -> str:
        """How the training ended: "completed", "steps", "stopped early" or "diverged"."""
        return str(self.summary["stopped"])


def train_many(
    recipes: str | Recipe | Sequence[str | Recipe],
    seeds: Sequence[int] | None = None,
    *,
    out: str | Path | None = None,
    steps: int | None = None,
    data_dir: str | Path | None = None,
    dataset: Dataset | None = None,
    backend: str | None = None,
    threads: int | None = None,
    config: ExecutionConfig | None = None,
) -> list[TrainedNetwork]:
    """Train many networks side by side, as many as there are threads, each on one of them.

    What comes out of each has the bits of a training by itself, on any number of threads (with the
    numpy backend, on as many as each has here). The data are loaded once. One that diverges ends
    alone. With the cupy backend small networks are trained together, each by one block of the card,
    in other orders of sums than by itself; larger ones one after another.

    Parameters
    ----------
    recipes
        One recipe or several, each by its name, as the path of a TOML file, or as
        :func:`fastconv.load_recipe` returned it. They need not have the same layers.
    seeds
        Train each recipe with each of these; None: with its own seed.
    out
        A folder for the folders of the runs: ``seed-3`` of one recipe, ``recipe-0-seed-3`` of
        several. The same call goes on with what stopped there, and takes what is finished as it is.
        None: no files are left.
    steps
        Updates to make; None for each recipe's own length.
    data_dir
        As for :func:`fastconv.data.load`.
    dataset
        Data of one's own in place of those that the recipes name.
    backend, threads
        Fields of an :class:`fastconv.ExecutionConfig`. The threads are those of all networks
        together.
    config
        One in their place.

    Returns
    -------
    list of TrainedNetwork
        In the order of the recipes, each with its seeds in their order.

    Raises
    ------
    RecipeError
        If a recipe is not as it must be.
    SpecError
        If there is nothing to train, a seed comes twice, or ``steps`` is less than 1.
    DataError, NetworkError, BackendError
        If something named in a recipe is not there or does not fit; the others are then stopped.
    OutputError
        If ``out`` cannot be written, or holds other runs.
    KeyboardInterrupt
        After Ctrl-C, once each training has stopped between two steps, with a checkpoint in
        ``out``.

    Examples
    --------
    >>> import fastconv
    >>> trained = fastconv.train_many("digits", seeds=range(3), steps=20)
    >>> [each.seed for each in trained], trained[0].summary["steps"]
    ([0, 1, 2], 20)
    """
    given = settle("train_many", config, backend=backend, threads=threads)
    named = [recipes] if isinstance(recipes, (str, Recipe)) else list(recipes)
    if not named or (seeds is not None and not len(seeds)):
        name = "seeds" if named else "recipes"
        raise SpecError("train_many", name, [], "one or more")
    if len(set(seeds or ())) < len(seeds or ()):
        raise SpecError("train_many", "seeds", list(seeds or ()), "each of them once")
    if steps is not None and steps < 1:
        raise SpecError("train_many", "steps", steps, "1 or more")
    loaded = [load_recipe(each) if isinstance(each, str) else each for each in named]
    wanted = [
        Wanted(recipe, None if out is None else Path(out) / name)
        for name, recipe in _with_seeds(loaded, seeds)
    ]
    options = RunOptions(given, data_dir, steps=steps, probes=False)
    trained: dict[int, TrainedNetwork] = {}
    with interruption() as asked:
        for number, each in train_wanted(wanted, options, asked, dataset=dataset):
            trained[number] = each
    if asked():
        raise KeyboardInterrupt
    return [trained[number] for number in range(len(wanted))]


def _with_seeds(
    recipes: Sequence[Recipe], seeds: Sequence[int] | None
) -> Iterator[tuple[str, Recipe]]:
    """Yield each recipe with each seed, and the name of the folder of that run."""
    for number, recipe in enumerate(recipes):
        for seed in [recipe.seed] if seeds is None else seeds:
            before = f"recipe-{number}-" if len(recipes) > 1 else ""
            yield f"{before}seed-{seed}", dataclasses.replace(recipe, seed=int(seed))


@dataclass(frozen=True)
class Wanted:
    """A network to train.

    Parameters
    ----------
    recipe
        The recipe.
    path
        Folder of the run; None for no files.
    """

    recipe: Recipe
    path: Path | None


def train_wanted(
    wanted: Sequence[Wanted],
    options: RunOptions,
    asked: Interruption,
    *,
    dataset: Dataset | None = None,
    reports: bool = False,
    figures: str | None = None,
) -> Iterator[tuple[int, TrainedNetwork]]:
    """Train networks side by side, and give each as soon as its training has ended.

    Parameters
    ----------
    wanted
        The networks, 1 or more.
    options
        How, all of them; the threads of its config are those of all together.
    asked
        Asked whether to end: those that train then stop, with a checkpoint, and no other begins.
    dataset
        As for :func:`train_many`.
    reports, figures
        Whether to write the pages of the runs, and as for
        :func:`fastconv.training_run.explain_run`.

    Yields
    ------
    number : int
        Place in ``wanted``.
    trained : TrainedNetwork
        An interrupted one too.
    """
    workers, config = share_out(options.config, len(wanted))
    of_each = dataclasses.replace(options, config=config, interruption=asked)
    data = _SharedData(options.data_dir, dataset)
    calls = (_Training(one, of_each, data, reports, figures) for one in wanted)
    with threadpool_limits(config.threads):
        yield from side_by_side(calls, workers, asked)


class _SharedData:
    """The data sets of all trainings, each loaded once, and what is known of them."""

    def __init__(self, data_dir: str | Path | None, dataset: Dataset | None) -> None:
        self._datasets = Datasets(data_dir)
        self._given = None if dataset is None else (dataset, identify_parts(dataset))
        self._preprocessing: dict[str, Preprocessing] = {}
        self._turn = threading.Lock()

    def of(self, recipe: Recipe) -> dict[str, Any]:
        """Return the data of a recipe, as :func:`fastconv.training_run.train_recipe` takes them."""
        key = repr((recipe.data, recipe.preprocessing))
        with self._turn:
            found = self._given or (self._datasets.of(recipe), self._datasets.identity_of(recipe))
            if key not in self._preprocessing:
                self._preprocessing[key] = preprocessing_of(recipe, found[0].training)
            return {
                "dataset": found[0],
                "identity": found[1],
                "preprocessing": self._preprocessing[key],
            }


@dataclass(frozen=True)
class _Training:
    """The training of one network, as a call."""

    wanted: Wanted
    options: RunOptions
    data: _SharedData
    reports: bool
    figures: str | None

    def __call__(self) -> TrainedNetwork:
        with taking_part(self.options.config):
            return self._outcome()

    def _outcome(self) -> TrainedNetwork:
        recipe, path, options = self.wanted.recipe, self.wanted.path, self.options
        # A training that diverges is an answer.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if path is None:
                options = dataclasses.replace(options, checkpoints=CheckpointInterval(never=True))
                with tempfile.TemporaryDirectory(prefix="fastconv-") as folder:
                    self._train(Path(folder), options)
                    return dataclasses.replace(_read(Path(folder)), path=None)
            if not is_finished(path, recipe, options.steps):
                self._train(path, options)
            return _read(path)

    def _train(self, path: Path, options: RunOptions) -> None:
        """Train the network into its folder, from where it stopped there."""
        recipe = self.wanted.recipe
        resumption = reopen_unfinished(path, recipe)
        finished = train_recipe(
            recipe if resumption is None else resumption.recipe, path, options,
            Display(quiet=True, to_stderr=False),
            resumption=resumption, **self.data.of(recipe),
        )  # fmt: skip
        if self.reports:
            with _page_turn:
                explain_run(finished, options, figures=self.figures)


def _read(path: Path) -> TrainedNetwork:
    run = load_run(path)
    return TrainedNetwork(
        run.recipe, run.network(), run.preprocessing, run.history, run.summary, path
    )
