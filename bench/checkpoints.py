"""What checkpoints cost a training: ``python bench/checkpoints.py``.

Trains recipes in turns, with checkpoints at the defaults and without any, and prints the seconds of
both and the share of the time that was spent in checkpoints: at most 1 % of a training that lasts
longer than a few seconds. Each turn ends with the checkpoint that the end of a run makes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import markdown_table
from threadpoolctl import threadpool_limits

from fastconv.execution.config import ExecutionConfig
from fastconv.recipe import load_recipe
from fastconv.runs.checkpoints import CheckpointInterval, RunCheckpoints
from fastconv.runs.experiment import Experiment, prepare
from fastconv.training_loop import Progress, fit

RECIPES = ("cifar10-deep", "mnist-strided")
MOST = 0.01
"""Share of the time of a training."""


class TimedCheckpoints(RunCheckpoints):
    """Counts what is spent here."""

    spent = 0.0
    made = 0

    def offer(self, progress: Progress, *, at_line: bool, must: bool) -> None:
        """Save the state if it is time to."""
        began = time.perf_counter()
        super().offer(progress, at_line=at_line, must=must)
        self.spent += time.perf_counter() - began

    def save(self, progress: Progress) -> None:
        """Save the state."""
        self.made += 1
        super().save(progress)


def train(experiment: Experiment, steps: int, folder: Path | None) -> tuple[float, int, float]:
    """Train on by so many steps: the seconds, how many checkpoints, and the seconds in them."""
    trainer, checkpoints = experiment.trainer, None
    if folder is not None:
        recipe = experiment.recipe.table()
        checkpoints = TimedCheckpoints(
            folder, trainer, CheckpointInterval(),
            lambda: {"probe": "", "environment": {}, "recipe": recipe}, print,
        )  # fmt: skip
    began = time.perf_counter()
    fit(
        trainer, trainer.step + steps, record_every=experiment.recipe.validate_every,
        checkpoints=checkpoints,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    made = (checkpoints.made, checkpoints.spent) if checkpoints else (0, 0.0)
    return seconds, *made


def measure(name: str, options: argparse.Namespace, folder: Path) -> list[str]:
    """Train a recipe in turns; the cells of a row."""
    config = ExecutionConfig(options.backend, options.threads)
    experiment = prepare(load_recipe(name), data_dir=options.data_dir, config=config)
    fit(experiment.trainer, experiment.trainer.step + 50)
    (folder / name).mkdir()
    steps, seconds = 50, 0.0
    while seconds < 0.5:  # so many steps that the clock can tell
        steps *= 2
        seconds = train(experiment, steps, None)[0]
    steps = max(1, round(steps * options.seconds / seconds))
    kept: list[Any] = []
    plain: list[float] = []
    for _ in range(options.rounds):
        plain.append(train(experiment, steps, None)[0])
        kept.append(train(experiment, steps, folder / name))
    share = sum(spent for *_, spent in kept) / sum(total for total, *_ in kept)
    made = sum(number for _, number, _ in kept)
    ratio = statistics.median(total for total, *_ in kept) / statistics.median(plain)
    each = 1000 * sum(spent for *_, spent in kept) / made
    return [
        name, f"{steps:,}", f"{statistics.median(plain):.2f}",
        f"{statistics.median(total for total, *_ in kept):.2f}", f"{100 * (ratio - 1):+.2f} %",
        str(made), f"{each:.1f}", f"{100 * share:.2f} %",
    ]  # fmt: skip


def main() -> int:
    """Run the command line; the exit code is 1 if checkpoints took more than their share."""
    parser = argparse.ArgumentParser("python bench/checkpoints.py", description=__doc__)
    add = parser.add_argument
    add("--recipe", action="append", help=f"default: {', '.join(RECIPES)}")
    add("--seconds", type=float, default=60.0, help="of a turn (default: %(default)s)")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--backend", default=None)
    add("--threads", type=int, default=None)
    add("--data-dir", default=None)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(options.threads):
        for name in options.recipe or RECIPES:
            rows.append(measure(name, options, Path(folder)))
    head = ("recipe", "steps", "without, s", "with, s", "change", "checkpoints", "ms each",
            "share of the time")  # fmt: skip
    print(markdown_table.head(head), *map(markdown_table.row, rows), sep="\n")
    return int(any(float(row[-1].removesuffix(" %")) > 100 * MOST for row in rows))


if __name__ == "__main__":
    sys.exit(main())
