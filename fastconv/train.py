"""The command line: ``python -m fastconv.train``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv.backends.selection import NAMES, BackendError
from fastconv.configuration import available_cores, environment
from fastconv.data import DATASETS, DataError
from fastconv.experiment import Experiment, prepare, summarize
from fastconv.files import replace_file
from fastconv.network import NetworkError
from fastconv.progress import Display, percent
from fastconv.recipe import load_recipe, parse_setting, recipe_names
from fastconv.run_folder import OutputError, RunFolder, new_run_path, to_json
from fastconv.schema import RecipeError
from fastconv.training_loop import Result, fit, interruption

USER_ERRORS = (RecipeError, DataError, NetworkError, BackendError, OutputError)
"""Mistakes of the user: one line on stderr and exit code 2."""

_EXIT_USER_ERROR = 2
_EXIT_DIVERGED = 1
_EXIT_INTERRUPTED = 130


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; expected 1 or more")
    return number


_positive.__name__ = "integer"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> Any:
        self.exit(_EXIT_USER_ERROR, f"fastconv.train: {message} (see --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="python -m fastconv.train",
        description="Train a small convolutional network from a recipe.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--recipe", default="digits", metavar="NAME|FILE", help="recipe to train (default: digits)")
    add("--list-recipes", action="store_true", help="list the recipes and exit")
    add(
        "--dataset", metavar="NAME", help=f"data set instead of the recipe's: {', '.join(DATASETS)}"
    )
    add(
        "--data-dir",
        metavar="DIR",
        help="folder of the data sets (default: FASTCONV_DATA, or download)",
    )
    add(
        "--backend", metavar="NAME",
        help=f"auto, {', '.join(NAMES)} (default: FASTCONV_BACKEND, or auto)",
    )  # fmt: skip
    add("--epochs", type=_positive, metavar="N", help="epochs instead of the recipe's length")
    add(
        "--steps", type=_positive, metavar="N",
        help="make N updates; schedules keep the recipe's own length",
    )  # fmt: skip
    add("--batch-size", type=int, metavar="N", help="samples in a step")
    add("--seed", type=int, metavar="N", help="seed of weights, shuffling, dropout, augmentation")
    add("--threads", type=_positive, metavar="N", help="threads (default: the cores there are)")
    add("--validate-every", type=_positive, metavar="N", help="steps between validations")
    add("--no-validate", action="store_true", help="skip validation (not the final test)")
    add("--evaluate-train", action="store_true", help="evaluate the result on the training set too")
    add("--out", metavar="DIR", help="folder for the run's files (default: runs/NAME-DATE-TIME)")
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="set any key of the recipe, such as optimizer.lr=0.1 (repeatable)",
    )  # fmt: skip
    add("--quiet", action="store_true", help="print nothing")
    add("--json", metavar="FILE|-", help="write the summary as JSON; - is stdout, left to it alone")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        if options.list_recipes:
            return _list_recipes()
        return _train(options)
    except OutputError as fault:
        return _fail(str(fault))
    except OSError as fault:  # a full disk, a folder taken away
        return _fail(f"{fault.filename or 'output'}: {fault.strerror or fault}")
    except USER_ERRORS as fault:
        return _fail(str(fault))
    except MemoryError as fault:
        print(
            f"fastconv.train: not enough memory ({fault}); use a smaller batch size or network",
            file=sys.stderr,
        )
        return _EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("fastconv.train: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _fail(message: str) -> int:
    """Say what is wrong in one line."""
    print(f"fastconv.train: {' '.join(message.split())}", file=sys.stderr)
    return _EXIT_USER_ERROR


def _list_recipes() -> int:
    width = max(map(len, recipe_names()))
    for name in recipe_names():
        print(f"{name:<{width}}  {load_recipe(name).description}")
    return 0


def _settings(options: argparse.Namespace) -> list[tuple[str, Any]]:
    """The options that are keys of the recipe, after those of --set."""
    settings = [parse_setting(text) for text in options.settings]
    for key, value in (
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


def _train(options: argparse.Namespace) -> int:
    """Prepare, train, test, write."""
    recipe = load_recipe(options.recipe, _settings(options))
    if options.json not in (None, "-"):
        _check_writable(Path(options.json))
    threads = options.threads or available_cores()
    display = Display(quiet=options.quiet, to_stderr=options.json == "-")
    with threadpool_limits(threads):
        experiment = prepare(recipe, data_dir=options.data_dir, backend=options.backend)
        folder = RunFolder(new_run_path(recipe.name) if options.out is None else options.out)
        folder.write_recipe(recipe)
        folder.write_json("environment.json", _environment(experiment, threads))
        _show_head(display, experiment, threads)
        result, summary = _run(options, experiment, folder, display, threads)
    folder.write_weights(experiment.trainer.network)
    folder.write_json("summary.json", summary)
    if options.json == "-":
        print(to_json(summary), end="")
    elif options.json:
        with replace_file(options.json) as file:
            file.write(to_json(summary))
    _show_result(display, experiment, summary, folder)
    if result.stopped == "diverged":
        print(
            f"fastconv.train: diverged: the loss is not finite after {summary['steps']} steps; "
            f"try a smaller learning rate (--set optimizer.lr=...)",
            file=sys.stderr,
        )
        return _EXIT_DIVERGED
    return _EXIT_INTERRUPTED if result.stopped == "interrupted" else 0


def _run(
    options: argparse.Namespace,
    experiment: Experiment,
    folder: RunFolder,
    display: Display,
    threads: int,
) -> tuple[Result, dict[str, Any]]:
    """Train and test."""
    recipe, trainer, dataset = experiment.recipe, experiment.trainer, experiment.dataset
    validation = None if options.no_validate else dataset.validation
    steps = options.steps or experiment.steps
    if validation is not None:
        trainer.prepare_evaluation(validation)
    display.start(trainer.step, steps, recipe.batch_size)
    watcher = _Watcher(display, folder)
    try:
        with interruption() as is_interrupted:
            result = fit(
                trainer,
                steps,
                validation=validation,
                line_every=recipe.validate_every,
                is_shortened=options.steps is not None,
                observer=watcher,
                is_interrupted=is_interrupted,
            )
            display.stop()
            test = final = None
            if result.stopped in ("completed", "steps") and not is_interrupted():
                test = trainer.evaluate(dataset.test) if len(dataset.test) else None
                if recipe.evaluate_train and not is_interrupted():
                    final = trainer.evaluate(experiment.plain_training)
            if result.stopped != "diverged" and is_interrupted():
                # Ctrl-C within the evaluations: the network is kept all the same.
                result.stopped = "interrupted"
    finally:
        display.stop()
    summary = summarize(experiment, result, threads=threads, test=test, train_final=final)
    return result, summary


class _Watcher:
    """Shows each line of the history and writes it down."""

    def __init__(self, display: Display, folder: RunFolder) -> None:
        self._display, self._folder = display, folder
        self.on_steps = display.on_steps

    def on_entry(self, entry: Any) -> None:
        self._folder.append_history(entry)
        self._display.on_entry(entry)


def _check_writable(path: Path) -> None:
    """Find out before the training that the JSON file can be written."""
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(f"--json {path}: no such folder, or a folder itself; give a file's path")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as fault:
        raise OutputError(
            f"--json {path}: cannot be written ({fault.strerror}); give another file's path"
        ) from None


def _environment(experiment: Experiment, threads: int) -> dict[str, Any]:
    trainer = experiment.trainer
    return {
        **environment(),
        "backend": trainer.backend,
        "backend_choice": trainer.why,
        "threads": threads,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _show_head(display: Display, experiment: Experiment, threads: int) -> None:
    recipe, trainer, dataset = experiment.recipe, experiment.trainer, experiment.dataset
    sizes = ", ".join(f"{len(samples)} {part}" for part, samples in dataset.parts.items())
    plural = "s" if threads != 1 else ""
    display.text(f"recipe {recipe.name}: {recipe.description}")
    display.text(f"data set {dataset.name}: {sizes}")
    display.text(f"backend {trainer.backend} ({trainer.why}), {threads} thread{plural}")
    display.text()
    for line in trainer.network.summary().splitlines():
        display.text(line)
    display.text()


def _show_result(
    display: Display, experiment: Experiment, summary: dict[str, Any], folder: RunFolder
) -> None:
    rows = [
        ("stopped", str(summary["stopped"])),
        ("steps", f"{summary['steps']:,} of batch size {summary['batch_size']}"),
        ("training", f"{summary['train_seconds']:.2f} s, {summary['step_ms']:.3f} ms a step"),
        ("samples per second", f"{summary['samples_per_second']:,.0f}"),
    ]
    for part in ("train", "validation", "test"):
        loss, accuracy = summary[f"{part}_loss"], summary[f"{part}_accuracy"]
        if loss is not None:
            label = "training (running)" if part == "train" else part
            shown = f", accuracy {percent(accuracy)} %" if accuracy is not None else ""
            rows.append((label, f"loss {loss:.4f}{shown}"))
    if summary["train_accuracy_final"] is not None:
        rows.append(("training (final)", f"accuracy {percent(summary['train_accuracy_final'])} %"))
    display.text()
    display.table("Result", rows)
    display.text(f"files: {folder.path}")  # not in the table, which would cut a long path short


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
