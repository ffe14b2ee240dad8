"""The part of ``python -m fastconv.train`` that trains one recipe with many seeds."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path

from fastconv._files import as_text
from fastconv.cli.command_line import EXIT_DIVERGED, say, write_json
from fastconv.cli.progress import Display
from fastconv.many_networks.seeds import SeedRuns, read_seeds
from fastconv.recipe import Recipe
from fastconv.recipes.schema import RecipeError
from fastconv.training_run import RunOptions, run_options_table

_MODULE = "fastconv.train"


def check_beside_seeds(options: argparse.Namespace) -> None:
    """Raise a RecipeError for an option that goes with a single training alone.

    Parameters
    ----------
    options
        Of the command line; ``seeds`` is how many, or None beside ``resume``.
    """
    many = "--seeds" if options.resume is None else "--resume of many seeds"
    for name, reason in (
        ("workers", "networks are trained side by side in this process"),
        ("find_lr", "it is for one network"),
        ("log", "loggers show one training at a time"),
    ):
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise RecipeError(f"{option} does not go with {many}: {reason}; leave {option} out")


def resumed_seeds(options: argparse.Namespace) -> SeedRuns:
    """Return the runs with many seeds that ``--resume`` names.

    Parameters
    ----------
    options
        Of the command line.

    Raises
    ------
    RecipeError
        If something is to be otherwise than it was.
    RunError
        If the folder's file is damaged.
    """
    check_beside_seeds(options)
    for name in (
        "recipe", "out", "dataset", "data", "init_from", "seeds", "epochs", "steps", "batch_size",
        "seed", "validate_every", "settings", "evaluate_train",
    ):  # fmt: skip
        if getattr(options, name):
            option = "--set" if name == "settings" else f"--{name.replace('_', '-')}"
            raise RecipeError(
                f"{option} does not go with --resume {options.resume}, which holds runs of many "
                f"seeds; leave {option} out, or name one of the runs: --resume "
                f"{options.resume}/seed-0"
            )
    return read_seeds(options.resume)


def new_seeds(options: argparse.Namespace, recipe: Recipe) -> SeedRuns:
    """Return the runs that ``--seeds`` asks for: with the recipe's seed, and those after it.

    Parameters
    ----------
    options
        Of the command line.
    recipe
        What to train.
    """
    seeds = range(recipe.seed, recipe.seed + options.seeds)
    dataclasses.replace(recipe, seed=seeds[-1])  # raises where the last one is too large
    return SeedRuns(recipe, seeds, None if options.out is None else Path(options.out))


def train_seeds(
    runs: SeedRuns, options: argparse.Namespace, how: RunOptions, display: Display
) -> int:
    """Train them side by side; return the exit code.

    Parameters
    ----------
    runs
        The runs.
    options
        Of the command line.
    how
        How to train each.
    display
        Shows how it goes.
    """
    runs.options = run_options_table(how) | {"backend": how.config.backend}
    runs.train(how, display, reports=not options.no_report, figures=options.figures)
    write_json(options.json, runs.results())
    folder = shlex.quote(as_text(str(runs.folder)))
    if runs.signal is not None:
        ended = len(runs.in_order) - runs.count("interrupted")
        again = f"go on with python -m {_MODULE} --resume {folder}"
        say(_MODULE, f"interrupted after {ended} of {len(runs.seeds)} trainings; {again}")
        return 128 + runs.signal
    diverged = [each for each in runs.in_order if each["stopped"] == "diverged"]
    if not diverged:
        return 0
    say(
        _MODULE,
        f"{len(diverged)} of {len(runs.seeds)} trainings diverged, seed {diverged[0]['seed']} at "
        f"step {diverged[0]['diverged_at_step']}: {diverged[0]['diverged_because']}; the mean "
        f"counts the others; try a smaller learning rate (--set {runs.recipe.rate_key}=...)",
    )
    return EXIT_DIVERGED
