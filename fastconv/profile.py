"""The command line ``python -m fastconv.profile``: where the time of a step goes."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.profile")

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv.backends.selection import BackendError
from fastconv.cli.command_line import (
    Parser,
    check_writable,
    execution_config,
    positive,
    run,
    write_json,
)
from fastconv.cli.progress import PipedConsole
from fastconv.execution.config import ExecutionConfig
from fastconv.profiling.cards import CARDS
from fastconv.profiling.cold_start import PHASES, ColdStart, ColdStartError, measure_cold_start
from fastconv.profiling.step_profile import StepProfile, measure, synthetic_dataset
from fastconv.recipe import Recipe, load_recipe
from fastconv.runs.experiment import prepare

if TYPE_CHECKING:
    from fastconv.profiling.card_model import Prediction

_MODULE = "fastconv.profile"
_WIDTH = 180
"""Columns of a table where there is no terminal."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Show where the time of a training step goes, kernel by kernel.")
    parser.add_recipe("cifar10-deep", "profile")
    parser.add_backend()
    parser.add_device()
    parser.add_precision()
    parser.add_argument("--batch-size", type=int, metavar="N", help="samples in a step")
    parser.add_argument(
        "--steps", type=positive, metavar="N", help="steps in a repeat (default: some 50 ms)"
    )
    parser.add_argument(
        "--repeats", type=positive, metavar="N",
        help="repeats that medians and minima are taken over (default: 15; 5 with --cold)",
    )  # fmt: skip
    parser.add_threads()
    parser.add_allow_custom()
    parser.add_data_dir("synthetic images of the data set's shape")
    parser.add_argument(
        "--cold", action="store_true",
        help="measure from the start of a process to its first step instead",
    )  # fmt: skip
    parser.add_argument(
        "--model", choices=tuple(CARDS),
        help="with --backend cupy: predict the step on this card, which need not be there",
    )  # fmt: skip
    parser.add_json("numbers")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _profile)


def _profile(options: argparse.Namespace) -> int:
    check_writable(options.json)
    settings = [] if options.batch_size is None else [("batch_size", options.batch_size)]
    recipe = load_recipe(options.recipe, settings)
    if options.model is None:
        config = execution_config(options)
    elif options.backend != "cupy":
        raise BackendError(
            f"--model is {options.model!r}, which is for launches on a card; expected it with "
            f"--backend cupy"
        )
    console = PipedConsole(stderr=options.json == "-", highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    if options.model is not None:
        write_json(options.json, _predicted(options, recipe, console))
        return 0
    content = (
        _cold(options, recipe, settings, config, console)
        if options.cold
        else _steps(options, recipe, config, console)
    )
    write_json(options.json, content)
    return 0


def _steps(
    options: argparse.Namespace, recipe: Recipe, config: ExecutionConfig, console: Console
) -> dict[str, Any]:
    # Kernel by kernel it is the whole batch that can be looked at.
    recipe = dataclasses.replace(recipe, shards=None, sync_batch_norm=False)
    dataset = None if options.data_dir else synthetic_dataset(recipe)
    with threadpool_limits(config.threads):
        trainer = prepare(recipe, data_dir=options.data_dir, config=config, dataset=dataset).trainer
        profile = measure(trainer, recipe.name, options.steps, options.repeats or 15)
    show(profile, console)
    return profile.table()


def _predicted(options: argparse.Namespace, recipe: Recipe, console: Console) -> dict[str, Any]:
    """Predict a step of the plan that any backend would run."""
    from fastconv.profiling.card_model import predict, predict_in_blocks

    recipe = dataclasses.replace(recipe, shards=None, sync_batch_norm=False)
    config = ExecutionConfig("numpy")
    plan = prepare(recipe, config=config, dataset=synthetic_dataset(recipe)).trainer.runner.plan
    prediction = predict(plan, CARDS[options.model], options.precision)
    show_prediction(recipe, options.precision, prediction, console)
    in_blocks = None
    if options.precision == "float32":
        in_blocks = predict_in_blocks(plan, CARDS[options.model])
    if in_blocks is not None:
        networks = CARDS[options.model].multiprocessors
        console.print(
            f"by one block: {in_blocks[0]:.1f} us; {networks} networks at once, a block each: "
            f"{in_blocks[1]:.2f} us a step of one"
        )
    return {
        "recipe": recipe.name,
        "batch_size": recipe.batch_size,
        "precision": options.precision,
        "card": prediction.card,
        "predicted_microseconds": prediction.microseconds,
        "launches": [asdict(launch) for launch in prediction.launches],
        "microseconds_in_blocks": in_blocks,
    }


def show_prediction(
    recipe: Recipe, precision: str, prediction: Prediction, console: Console
) -> None:
    """Print what a model predicts of a step.

    Parameters
    ----------
    recipe, precision
        What it is a step of.
    prediction
        What the model says.
    console
        Where to.
    """
    console.print(
        f"{recipe.name}, batch size {recipe.batch_size}, {precision}, predicted for "
        f"{prediction.card}: a model, no measurement"
    )
    table = Table()
    table.add_column("kernel", overflow="fold")
    table.add_column("does", overflow="fold")
    for name in ("blocks", "MB", "us", "bound by"):
        table.add_column(name, justify="right", no_wrap=True)
    for calls, launches in prediction.rows:
        for launch in launches:
            table.add_row(
                launch.kernel,
                " + ".join(call.kernel.partition(".")[2] for call in calls),
                "x".join(str(size) for size in launch.grid[:2]),
                f"{launch.bytes / 1e6:.2f}",
                f"{launch.microseconds:.2f}",
                launch.bound_by,
            )
    console.print(table)
    count = _counted(len(prediction.launches), "launch", "launches")
    console.print(f"a step: {prediction.microseconds:.1f} us, in {count}")


def _cold(
    options: argparse.Namespace,
    recipe: Recipe,
    settings: list[tuple[str, Any]],
    config: ExecutionConfig,
    console: Console,
) -> dict[str, Any]:
    try:
        starts = measure_cold_start(options.recipe, config, settings, options.repeats or 5)
    except ColdStartError as fault:
        raise BackendError(str(fault)) from None
    show_cold_starts(recipe.name, config.backend, starts, console)
    return {
        "recipe": recipe.name,
        "backend": config.backend,
        "batch_size": recipe.batch_size,
        "threads": config.threads,
        "precision": config.precision,
        "phases": list(PHASES),
        "starts": [asdict(start) for start in starts],
    }


def show(profile: StepProfile, console: Console) -> None:
    """Print a step's table, and its totals.

    Parameters
    ----------
    profile
        What was measured.
    console
        Where to.
    """
    console.print(
        f"{profile.recipe}, batch size {profile.batch_size}, backend {profile.backend}, "
        f"{_counted(profile.threads, 'thread')}: {_counted(profile.repeats, 'repeat')} of "
        f"{_counted(profile.steps, 'step')}"
    )
    table = Table(caption="times in microseconds a step, over the repeats", caption_justify="left")
    table.add_column("kernel", overflow="fold")
    table.add_column("does", overflow="fold")
    table.add_column("spec", overflow="fold")
    for name in ("median", "minimum", "GFLOP/s", "share", "threads"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in profile.rows:
        speed = row.gflop_per_second
        table.add_row(
            row.kernel,
            " + ".join(call.partition(".")[2] for call in row.calls),
            row.spec,
            f"{row.median_microseconds:.2f}",
            f"{row.least_microseconds:.2f}",
            "" if speed is None else f"{speed:.1f}",
            f"{100 * row.share:.1f} %",
            str(row.threads),
        )
    console.print(table)
    console.print(_totals(profile))


def _totals(profile: StepProfile) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column()
    table.add_row(
        "sum of the rows", f"{profile.sum_of_rows:.2f} us (medians, clock reads included)"
    )
    table.add_row(
        "step without clock reads",
        f"{profile.median_step:.2f} us median, {profile.least_step:.2f} us minimum",
    )
    table.add_row(
        "whole step",
        f"{profile.gflop_per_second:.1f} GFLOP/s ({1e3 * profile.gflop:.3f} MFLOP in convolutions "
        f"and dense layers)",
    )
    if profile.barriers is not None and profile.barrier_nanoseconds is not None:
        cost = profile.barriers * profile.barrier_nanoseconds / 1000
        table.add_row(
            "barriers",
            f"{profile.barriers} of {profile.barrier_nanoseconds:.0f} ns: {cost:.2f} us a step",
        )
    table.add_row(
        "empty plan",
        f"{profile.empty_step:.3f} us a step, {profile.empty_run:.2f} us a call of run",
    )
    return table


def show_cold_starts(
    recipe: str, backend: str, starts: Sequence[ColdStart], console: Console
) -> None:
    """Print the phases from the start of a process to its first step.

    Parameters
    ----------
    recipe, backend
        What was started.
    starts
        The kinds of start.
    console
        Where to.
    """
    console.print(f"{recipe}, backend {backend}: from the start of a process to its first step")
    table = Table(caption="milliseconds", caption_justify="left")
    table.add_column("phase")
    for start in starts:
        processes = _counted(start.processes, "process", "processes")
        table.add_column(f"{start.kind}: median of {processes}", justify="right")
        table.add_column("minimum", justify="right")
    for number, phase in enumerate(PHASES):
        cells = [f"{ms:.1f}" for s in starts for ms in (s.median[number], s.least[number])]
        table.add_row(phase, *cells)
    table.add_section()
    totals = [f"{ms:.1f}" for s in starts for ms in (s.total_median, s.total_least)]
    table.add_row("all", *totals)
    console.print(table)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


if __name__ == "__main__":
    sys.exit(main())
