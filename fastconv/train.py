"""The command line: ``python -m fastconv.train``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.train")

from fastconv.cli.command_line import (
    EXIT_DIVERGED,
    Parser,
    check_writable,
    execution_config,
    positive,
    run,
    say,
    write_json,
)
from fastconv.cli.process_time import process_seconds
from fastconv.data.names import DATASETS, OWN
from fastconv.recipes.shipped_files import read_toml, shipped_names

if TYPE_CHECKING:
    from fastconv.cli.progress import Display
    from fastconv.data_parallel.group import Group
    from fastconv.many_networks.seeds import SeedRuns
    from fastconv.recipe import Recipe
    from fastconv.runs.resumption import Resumption
    from fastconv.training_run import RunOptions

_MODULE = "fastconv.train"
_SHARDS = 8
"""Of a batch that several workers make, unless the recipe says how many."""
_STARTED_TOGETHER = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables of mpiexec's processes: how many it started."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Train a small convolutional network from a recipe.")
    add = parser.add_argument
    parser.add_recipe("digits, or own-pictures with --data", "train")
    parser.set_defaults(recipe=None)
    add("--list-recipes", action="store_true", help="list the recipes and exit")
    add(
        "--dataset", metavar="NAME", help=f"data set instead of the recipe's: {', '.join(DATASETS)}"
    )
    add(
        "--data", metavar="PATH",
        help="data of your own: a folder or a .zip with one folder of pictures for each class, or "
        "an .npz, .npy, .csv, .parquet or IDX file (docs/data.md)",
    )  # fmt: skip
    add(
        "--target", action="append", metavar="COLUMN",
        help="with --data: a column of a table that a regression is to find (repeatable)",
    )  # fmt: skip
    parser.add_data_dir("FASTCONV_DATA, or download")
    parser.add_backend()
    parser.add_device()
    parser.add_precision()
    add("--epochs", type=positive, metavar="N", help="epochs instead of the recipe's length")
    add(
        "--steps", type=positive, metavar="N",
        help="make N updates; schedules keep the recipe's own length",
    )  # fmt: skip
    add("--batch-size", type=int, metavar="N", help="samples in a step")
    add("--seed", type=int, metavar="N", help="seed of weights, shuffling, dropout, augmentation")
    add(
        "--seeds", type=positive, metavar="N",
        help="train N networks side by side, with that seed and those after it, each in a folder "
        "of its own, and show mean and spread (--threads: of all together)",
    )  # fmt: skip
    parser.add_threads()
    add(
        "--workers", type=positive, metavar="N",
        help="train in N processes, each with its shards of every batch: the same result for any "
        "N (docs/scaling.md); mpiexec says so too",
    )  # fmt: skip
    add(
        "--check", action="store_true",
        help="compare the first 3 steps with the reference's before the training",
    )  # fmt: skip
    add(
        "--on-divergence", choices=("stop", "lower-lr"),
        help="what to do when the loss is not finite any more: stop (exit code 3), or go back to "
        "the last checkpoint with half the learning rates (default: stop)",
    )  # fmt: skip
    add(
        "--init-from", metavar="RUN|FILE",
        help="begin from the weights of a run or a .safetensors file, where names and shapes are "
        "the same",
    )  # fmt: skip
    add(
        "--log", action="append", default=[], choices=("tensorboard", "mlflow", "wandb"),
        help="show the training there too (repeatable)",
    )  # fmt: skip
    add("--validate-every", type=positive, metavar="N", help="steps between validations")
    add("--no-validate", action="store_true", help="skip validation (not the final test)")
    add("--evaluate-train", action="store_true", help="evaluate the result on the training set too")
    add(
        "--out", metavar="DIR",
        help="folder for the run's files (default: runs/NAME-DATE-TIME); the same command goes on "
        "with a run that stopped there",
    )  # fmt: skip
    add(
        "--resume", metavar="RUN",
        help="go on with the run in this folder, as if it had not stopped; with --epochs or "
        "--steps, train it longer",
    )  # fmt: skip
    add(
        "--checkpoint-every", metavar="N|TIME",
        help="keep the state every N steps, or every 30s, 5min or 1h (default: at validations and "
        "ends of epochs, after 30 s or more), and at the end and on Ctrl-C; or never",
    )  # fmt: skip
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="set any key of the recipe, such as optimizer.lr=0.1 (repeatable)",
    )  # fmt: skip
    add(
        "--no-report",
        action="store_true",
        help="measure nothing beside the training, and write no report.html",
    )
    add(
        "--find-lr", action="store_true",
        help="try growing learning rates for 100 steps, draw the losses, and train nothing",
    )  # fmt: skip
    parser.add_figures()
    parser.add_allow_custom()
    add("--quiet", action="store_true", help="print nothing")
    parser.add_json("summary")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    # Called by another program, it is not that program's time that is counted.
    began = time.perf_counter() - (process_seconds() if arguments is None else 0.0)
    typed = tuple(sys.argv[1:] if arguments is None else arguments)
    return run(make_parser(), arguments, lambda options: _train(options, typed, began))


def _list_recipes() -> int:
    names = shipped_names("recipes")
    width = max(map(len, names))
    for name in names:
        table = read_toml("recipe", "recipes", name, "--list-recipes")
        print(f"{name:<{width}}  {table['description']}")
    return 0


def _settings(options: argparse.Namespace) -> list[tuple[str, Any]]:
    """The options that are keys of the recipe, after those of --set."""
    from fastconv.recipe import parse_setting
    from fastconv.recipes.schema import RecipeError

    settings = [parse_setting(text) for text in options.settings]
    if options.data is not None and options.dataset is not None:
        raise RecipeError(
            f"--data is {options.data} and --dataset is {options.dataset}; give one of the two"
        )
    if options.data is not None and options.data_dir is not None:
        raise RecipeError(
            f"--data is {options.data} and --data-dir is {options.data_dir}; the first is the path "
            f"of your data: leave the other out"
        )
    for key, value in (
        ("data.dataset", None if options.data is None else OWN),
        ("data.path", options.data),
        ("data.target", options.target),
        ("data.dataset", options.dataset),
        ("epochs", options.epochs),
        ("batch_size", options.batch_size),
        ("seed", options.seed),
        ("validate_every", options.validate_every),
        ("evaluate_train", options.evaluate_train or None),
    ):
        if value is not None:
            settings.append((key, value))
    return settings


def _named_recipe(options: argparse.Namespace, settings: list[tuple[str, Any]]) -> Recipe:
    """Return the recipe that is named, or the one that the data ask for."""
    from fastconv.recipe import load_recipe

    name = options.recipe or ("digits" if options.data is None else "own-pictures")
    if options.recipe is None and options.target is not None:
        # What a table's columns are found by, unless something else is said.
        name, settings = "own-features", [("loss", "mean_squared_error"), *settings]
    return load_recipe(name, settings)


def _find_seeds(options: argparse.Namespace) -> SeedRuns | None:
    """Return the runs with many seeds to train or to go on with; None where there is one run."""
    from fastconv.many_networks import SEEDS_FILE

    resumed = options.resume is not None and (Path(options.resume) / SEEDS_FILE).is_file()
    if options.seeds is None and not resumed:
        return None
    from fastconv.many_networks import command

    if resumed:
        runs = command.resumed_seeds(options)
        _take_up(options, runs.options.get("backend"), runs.options)
        return runs
    command.check_beside_seeds(options)
    return command.new_seeds(options, _named_recipe(options, _settings(options)))


def _find_run(options: argparse.Namespace) -> tuple[Recipe, Resumption | None]:
    """Return the recipe to train, and the run to go on with where there is one.

    What a resumed run was begun with is put in for what is not typed.
    """
    from fastconv.recipes.schema import RecipeError

    settings = _settings(options)
    if options.resume is None:
        recipe = _named_recipe(options, settings)
        if options.workers is not None and recipe.shards is None:
            recipe = dataclasses.replace(recipe, shards=_SHARDS)
        if options.out is None or not os.path.isdir(options.out):
            return recipe, None
        from fastconv.runs.resumption import reopen_unfinished

        resumption = reopen_unfinished(options.out, recipe)
        return recipe if resumption is None else resumption.recipe, resumption
    for name in ("recipe", "out", "dataset", "data", "init_from"):
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise RecipeError(
                f"--resume is {options.resume} and {option} is {getattr(options, name)}; leave "
                f"{option} out: the run goes on in its folder, with its recipe and data"
            )
    from fastconv.runs.resumption import reopen

    resumption = reopen(options.resume, settings)
    if options.workers is not None and resumption.recipe.shards is None:
        raise RecipeError(
            f"--workers is {options.workers} but run {options.resume} was not trained in shards; "
            f"leave --workers out, or begin another run from its weights with --init-from"
        )
    environment = resumption.environment
    if options.backend is None and options.workers is None:
        options.threads = options.threads or environment.get("threads")
    _take_up(options, environment.get("backend"), resumption.options)
    return resumption.recipe, resumption


def _take_up(options: argparse.Namespace, backend: str | None, before: dict[str, Any]) -> None:
    """Put in for what is not typed what a run was begun with."""
    options.backend = options.backend or backend
    options.data_dir = options.data_dir or before.get("data_dir")
    options.init_from = before.get("init_from")
    if options.steps is None and options.epochs is None:
        options.steps = before.get("steps")
    options.on_divergence = options.on_divergence or before.get("on_divergence")
    options.no_validate |= not before.get("validates", True)
    options.no_report |= not before.get("probes", True)


def _find_rate(
    recipe: Recipe, path: str | None, how: RunOptions, display: Display, json_file: str | None
) -> int:
    """Try growing learning rates, draw what came of them, and say which to use."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from fastconv.rate_finder import find_learning_rate
    from fastconv.report.drawing import Drawing
    from fastconv.runs.experiment import prepare
    from fastconv.runs.run_folder import RunFolder

    with threadpool_limits(how.config.threads):
        experiment = prepare(recipe, data_dir=how.data_dir, config=how.config)
        tried = find_learning_rate(experiment.trainer)
    folder = RunFolder.new(recipe.name) if path is None else RunFolder(path)
    # No run: nothing is trained that would have a history.
    (folder.path / "history.csv").unlink()
    found: dict[str, Any] = {
        "recipe": recipe.name,
        "suggested": tried.suggested,
        "rates": tried.rates.tolist(),
        "losses": tried.losses.tolist(),
        "smoothed": tried.smoothed.tolist(),
    }
    folder.write_json("learning_rates.json", found)
    powers = [math.log10(rate) for rate in tried.rates]
    series = {"loss": (powers, tried.losses), "smoothed": (powers, tried.smoothed)}
    picture = folder.path / "learning_rates"
    drawing = Drawing(
        "learning_curves", series, ylabel="loss", xlabel="logarithm of the learning rate, base 10"
    )
    drawing.save(str(picture), ("png", "svg"))
    write_json(json_file, found)
    display.text(f"suggested learning rate: {tried.suggested:.2g} (--set {recipe.rate_key}=...)")
    display.text(f"picture: {picture}.png")
    return 0


def _train(options: argparse.Namespace, typed: tuple[str, ...], began: float) -> int:
    """Prepare, train, test, write; or do one worker's part of it."""
    if options.list_recipes:
        return _list_recipes()
    with contextlib.ExitStack() as workers:
        group = None
        if any(os.environ.get(name, "1") not in ("", "1") for name in _STARTED_TOGETHER):
            group = workers.enter_context(_started_by_mpiexec(options))
            if group.rank:
                return _serve(group)
        return _train_first(options, typed, began, group, workers)


@contextlib.contextmanager
def _started_by_mpiexec(options: argparse.Namespace) -> Iterator[Group]:
    """Give the workers that mpiexec has started, and let them end behind the block."""
    from fastconv.backends.configuration import available_cores
    from fastconv.data_parallel.mpi import MPIGroup, size_on_this_host
    from fastconv.recipes.schema import RecipeError

    group = MPIGroup()
    try:
        if group.rank == 0 and options.workers not in (None, group.size):
            raise RecipeError(
                f"--workers is {options.workers} but mpiexec started {group.size}; leave --workers "
                f"out"
            )
        options.workers = group.size
        if options.threads is None and "FASTCONV_THREADS" not in os.environ:
            options.threads = max(1, available_cores() // size_on_this_host())
        yield group
    finally:
        if group.rank == 0:
            group.close()


def _serve(group: Group) -> int:
    """Do one worker's part; the first one tells what comes of the training."""
    from fastconv.runs.workers import serve

    try:
        serve(group)
    except Exception as fault:
        say(_MODULE, f"worker {group.rank} of {group.size}: {fault}")
        group.fail(str(fault))
    return 0


def _started_here(options: argparse.Namespace) -> AbstractContextManager[Group]:
    """Start the other workers, once it is known that there is something for them to do."""
    from fastconv.backends.configuration import available_cores
    from fastconv.runs.workers import started_workers

    if options.threads is None and "FASTCONV_THREADS" not in os.environ:
        options.threads = max(1, available_cores() // options.workers)
    return started_workers(options.workers)


def _check_workers(workers: int, recipe: Recipe) -> None:
    """Raise a RecipeError if some workers would have no shard."""
    from fastconv.recipes.schema import RecipeError

    if recipe.shards is not None and workers > recipe.shards:
        raise RecipeError(
            f"--workers is {workers} but shards is {recipe.shards}; expected no more workers than "
            f"shards; use {recipe.shards} workers, or begin with more shards"
        )


def _train_first(
    options: argparse.Namespace,
    typed: tuple[str, ...],
    began: float,
    group: Group | None,
    workers: contextlib.ExitStack,
) -> int:
    """Prepare, train, test, write, as the first worker or the only one."""
    for name in options.log:
        require_extra(name, f"python -m {_MODULE}")
    if options.figures or options.find_lr:
        require_extra("plots", f"python -m {_MODULE}")  # before the work, not after it
    # Imported when used: --help and --list-recipes are to be there at once.
    from fastconv._files import as_text
    from fastconv.cli.progress import Display
    from fastconv.runs.checkpoints import CheckpointInterval
    from fastconv.training_run import (
        RunOptions,
        explain_run,
        show_result,
        train_recipe,
    )

    every = CheckpointInterval.parse(options.checkpoint_every)
    check_writable(options.json)
    many = _find_seeds(options)
    if many is not None:
        recipe, resumption = many.recipe, None
    else:
        recipe, resumption = _find_run(options)
    if options.find_lr:
        recipe = dataclasses.replace(recipe, shards=None, sync_batch_norm=False)
    elif options.workers is not None:
        _check_workers(options.workers, recipe)
        if group is None:
            group = workers.enter_context(_started_here(options))
    config = execution_config(options)
    display = Display(quiet=options.quiet, to_stderr=options.json == "-")
    how = RunOptions(
        config,
        options.data_dir,
        steps=options.steps,
        validates=not options.no_validate,
        probes=not options.no_report,
        checks=options.check,
        checkpoints=every,
        on_divergence=options.on_divergence or "stop",
        init_from=options.init_from,
        logs=tuple(dict.fromkeys(options.log)),
        command=("train", *typed),
        began=began,
        group=group,
    )
    if many is not None:
        from fastconv.many_networks.command import train_seeds

        return train_seeds(many, options, how, display)
    if options.find_lr:
        return _find_rate(recipe, options.out, how, display, options.json)
    finished = train_recipe(recipe, options.out, how, display, resumption=resumption)
    page = None
    try:
        if not options.no_report:
            page = explain_run(finished, how, figures=options.figures)
    finally:
        # How long the page took is part of it; without one, there is the result all the same.
        write_json(options.json, finished.summary)
        show_result(display, finished)
    if page is not None:
        display.text(f"report: {page}")
    if finished.result.stopped == "diverged":
        summary = finished.summary
        kept = any(finished.folder.path.glob("checkpoints/step-*"))
        say(
            _MODULE,
            f"diverged at step {summary['diverged_at_step']}: {summary['diverged_because']}; try a "
            f"smaller learning rate (--set {recipe.rate_key}=...), or --on-divergence lower-lr"
            f"{'; the last good checkpoint is kept' if kept else ''}",
        )
        return EXIT_DIVERGED
    if finished.result.stopped != "interrupted":
        return 0
    number = finished.signal or signal.SIGINT
    by = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    folder = shlex.quote(as_text(str(finished.folder.path)))
    fix = f"go on with python -m {_MODULE} --resume {folder}"
    if every.never:
        fix = f"its weights are in {folder}; there is no checkpoint to go on from"
    say(_MODULE, f"{by} after {finished.summary['steps']} steps; {fix}")
    return 128 + number


if __name__ == "__main__":
    sys.exit(main())
