"""One recipe with many seeds, in a folder: what ``python -m fastconv.train --seeds`` does."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._files import as_text, replace_file
from fastconv.cli.progress import Display
from fastconv.execution.ending import interruption
from fastconv.execution.lockstep import share_out
from fastconv.many_networks import SEEDS_FILE
from fastconv.many_networks.results import (
    FIGURES,
    mean_and_spread,
    shown_figure,
    table_of_results,
)
from fastconv.many_networks.trainings import TrainedNetwork, Wanted, train_wanted
from fastconv.recipe import Recipe, read_recipe
from fastconv.runs.run_folder import OutputError, RunFolder, to_json
from fastconv.runs.saved_run import DAMAGE, RunError
from fastconv.runs.written_run import first_difference

if TYPE_CHECKING:
    import signal

    from fastconv.training_run import RunOptions


@dataclass
class SeedRuns:
    """Runs of one recipe with many seeds.

    Parameters
    ----------
    recipe
        The recipe.
    seeds
        Of the runs, each once.
    folder
        Holds a folder ``seed-N`` for each; None: a new one under ``runs/``.
    options
        That the runs are begun with, as :func:`run_options_table` returns them.
    summaries
        Of the runs that have ended, by their seeds.
    signal
        By which they were asked to end before their time, or None.
    """

    recipe: Recipe
    seeds: Sequence[int]
    folder: Path | None
    options: dict[str, Any] = field(default_factory=dict)
    summaries: dict[int, dict[str, Any]] = field(default_factory=dict)
    signal: signal.Signals | None = None

    @property
    def in_order(self) -> list[dict[str, Any]]:
        """The summaries in the order of the seeds."""
        return [self.summaries[seed] for seed in self.seeds if seed in self.summaries]

    def count(self, stopped: str) -> int:
        """Return how many runs ended so."""
        return sum(each["stopped"] == stopped for each in self.in_order)

    def results(self) -> dict[str, Any]:
        """Return what came of them: the summaries, the mean and the std of each figure."""
        mean, std = mean_and_spread(self.in_order)
        return {
            "recipe": self.recipe.name, "seeds": list(self.seeds), "runs": self.in_order,
            "mean": mean, "std": std,
        }  # fmt: skip

    def train(
        self, options: RunOptions, display: Display, *, reports: bool, figures: str | None = None
    ) -> None:
        """Train those that have not ended, side by side; a file tells what came of them so far.

        Parameters
        ----------
        options
            How; the threads of its config are those of all together.
        display
            Shows each that ends, and the table.
        reports, figures
            As for :func:`fastconv.many_networks.trainings.train_wanted`.

        Raises
        ------
        OutputError
            If the folder cannot be written, or holds something else.
        """
        folder = self._open()
        config = options.config
        workers, config_of_each = share_out(config, len(self.seeds))
        each = config_of_each.threads
        display.text(f"recipe {self.recipe.name}: {self.recipe.description}")
        display.text(
            f"backend {config.backend} ({config.why}), {len(self.seeds)} seeds, {workers} at once, "
            f"{each} thread{'s' if each != 1 else ''} each"
        )
        wanted = [
            Wanted(dataclasses.replace(self.recipe, seed=seed), folder / f"seed-{seed}")
            for seed in self.seeds
        ]
        with interruption() as asked:
            for number, trained in train_wanted(
                wanted, options, asked, reports=reports, figures=figures
            ):
                self.summaries[self.seeds[number]] = trained.summary
                self._write(folder)
                display.text(f"[{len(self.summaries)}/{len(self.seeds)}] {_said(trained)}")
            self.signal = asked.signal
        display.text()
        if self.summaries:
            display.columns(*table_of_results(self.in_order))
        display.text(f"files: {folder}")

    def _open(self) -> Path:
        """Make the folder, or see that it holds nothing else."""
        if self.folder is None:
            made = RunFolder.new(self.recipe.name)
            made.close()
            # No run itself: those within it have a history.
            (made.path / "history.csv").unlink()
            self.folder = made.path
        folder = self.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            taken = next(folder.iterdir(), None)
        except OSError as fault:
            raise OutputError(
                f"output folder {folder}: cannot be written ({fault.strerror}); choose another "
                f"with --out"
            ) from None
        if taken is not None:
            if not (folder / SEEDS_FILE).is_file():
                raise OutputError(
                    f"output folder {folder}: not empty ({taken.name}); choose another with --out, "
                    f"or remove it"
                )
            key = first_difference(self.recipe, dataclasses.replace(
                read_seeds(folder).recipe, seed=self.recipe.seed
            ))  # fmt: skip
            if key:
                raise OutputError(
                    f"output folder {folder}: holds runs of another recipe ({key} differs); choose "
                    f"another with --out"
                )
        self._write(folder)
        return folder

    def _write(self, folder: Path) -> None:
        content = self.results() | {"table": self.recipe.table(), "options": self.options}
        with replace_file(folder / SEEDS_FILE) as file:
            file.write(to_json(content))


def _said(trained: TrainedNetwork) -> str:
    """One line about a run."""
    summary = trained.summary
    figures = [
        f"{FIGURES[name].removesuffix(', %')} {shown_figure(name, summary[name])}"
        f"{' %' if name.endswith('_accuracy') else ''}"
        for name in ("validation_accuracy", "test_loss", "test_accuracy")
        if summary.get(name) is not None
    ]
    how = ", ".join([trained.stopped, *figures])
    return f"seed {trained.seed}: {how} ({summary['total_seconds']:.1f} s)"


def read_seeds(path: str | Path) -> SeedRuns:
    """Read what a folder of many seeds was begun with.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    RunError
        If what it says is damaged.
    RecipeError
        If its recipe is not as it must be.
    """
    folder = Path(path)
    try:
        content = json.loads((folder / SEEDS_FILE).read_text(encoding="utf-8"))
        seeds, options, table = content["seeds"], content["options"], content["table"]
        if not (isinstance(seeds, list) and seeds and isinstance(options, dict)):
            raise ValueError("expected a list of seeds, and options")
        if not all(isinstance(seed, int) and 0 <= seed < 2**64 for seed in seeds):
            raise ValueError("a seed is no number from 0 to 2**64 - 1")
        if not isinstance(table, dict):
            raise ValueError("expected a recipe")
    except OSError as fault:
        raise RunError(f"{folder}: {SEEDS_FILE} cannot be read ({fault.strerror})") from None
    except DAMAGE as fault:
        raise RunError(
            f"{folder}: {SEEDS_FILE} is damaged ({fault}); go on with each run by itself, such as "
            f"--resume {shlex.quote(as_text(str(folder)))}/seed-0"
        ) from None
    return SeedRuns(read_recipe(table), seeds, folder, options)
