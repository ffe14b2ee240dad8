"""The command line: ``python -m fastconv.train``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv.analysis.probe import Probe
from fastconv.command_line import (
    EXIT_INTERRUPTED,
    Parser,
    check_precision,
    check_writable,
    positive,
    run,
    thread_count,
    use_device,
    write_json,
)
from fastconv.configuration import environment
from fastconv.data import DATASETS
from fastconv.experiment import Experiment, prepare, summarize
from fastconv.progress import Display, percent
from fastconv.recipe import load_recipe, parse_setting, recipe_names
from fastconv.run_folder import RunFolder, new_run_path
from fastconv.saved_run import load_run
from fastconv.trainer import Trainer
from fastconv.training_loop import Entry, Result, fit, interruption

_MODULE = "fastconv.train"
_MOST_PROBES = 50
"""Of a run, evenly spaced among its validations; and one before its first step."""
_EXIT_DIVERGED = 1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Train a small convolutional network from a recipe.")
    add = parser.add_argument
    parser.add_recipe("digits", "train")
    add("--list-recipes", action="store_true", help="list the recipes and exit")
    add(
        "--dataset", metavar="NAME", help=f"data set instead of the recipe's: {', '.join(DATASETS)}"
    )
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
    parser.add_threads()
    add("--validate-every", type=positive, metavar="N", help="steps between validations")
    add("--no-validate", action="store_true", help="skip validation (not the final test)")
    add("--evaluate-train", action="store_true", help="evaluate the result on the training set too")
    add("--out", metavar="DIR", help="folder for the run's files (default: runs/NAME-DATE-TIME)")
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="set any key of the recipe, such as optimizer.lr=0.1 (repeatable)",
    )  # fmt: skip
    add(
        "--no-report",
        action="store_true",
        help="measure nothing beside the training, and write no report.html",
    )
    parser.add_figures()
    add("--quiet", action="store_true", help="print nothing")
    parser.add_json("summary")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = make_parser().parse_args(arguments)
    return run(_MODULE, lambda: _list_recipes() if options.list_recipes else _train(options))


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
    check_writable(options.json)
    threads = thread_count(options)
    use_device(options)
    check_precision(options)
    display = Display(quiet=options.quiet, to_stderr=options.json == "-")
    with threadpool_limits(threads):
        experiment = prepare(
            recipe, data_dir=options.data_dir, backend=options.backend, threads=threads,
            precision=options.precision,
        )  # fmt: skip
        folder = RunFolder(new_run_path(recipe.name) if options.out is None else options.out)
        folder.write_recipe(recipe)
        folder.write_json("environment.json", _environment(experiment, threads))
        folder.write_model(
            experiment.dataset.name,
            experiment.dataset.class_names,
            experiment.dataset.image_shape,
            experiment.trainer.inference.preprocessing,
        )
        _show_head(display, experiment, threads)
        result, summary = _run(options, experiment, folder, display, threads)
        folder.write_weights(experiment.trainer.network)
        folder.write_json("summary.json", summary)
        write_json(options.json, summary)
        _show_result(display, experiment, summary, folder)
        if not options.no_report:
            _report(options, experiment, folder, display)
    if result.stopped == "diverged":
        print(
            f"fastconv.train: diverged: the loss is not finite after {summary['steps']} steps; "
            f"try a smaller learning rate (--set optimizer.lr=...)",
            file=sys.stderr,
        )
        return _EXIT_DIVERGED
    return EXIT_INTERRUPTED if result.stopped == "interrupted" else 0


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
    probe = None if options.no_report else _probe(experiment)
    lines = -(-steps // (recipe.validate_every or trainer.steps_per_epoch))
    watcher = _Watcher(display, folder, trainer, probe, -(-lines // _MOST_PROBES))
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


def _probe(experiment: Experiment) -> Probe:
    """Return what looks at the network beside the training."""
    recipe, trainer = experiment.recipe, experiment.trainer
    return Probe(
        trainer.network,
        experiment.plain_training,
        loss=recipe.loss,
        preprocessing=trainer.inference.preprocessing,
        seed=recipe.seed,
        backend=trainer.backend,
    )


class _Watcher:
    """Shows each line of the history and writes it down, and what a probe sees then."""

    def __init__(
        self,
        display: Display,
        folder: RunFolder,
        trainer: Trainer,
        probe: Probe | None,
        every: int,
    ) -> None:
        self._display, self._folder = display, folder
        self._trainer, self._probe, self._every = trainer, probe, every
        self._lines = 0
        self.on_steps = display.on_steps
        self._measure()

    def on_entry(self, entry: Entry) -> None:
        self._folder.append_history(entry)
        self._display.on_entry(entry)
        self._lines += 1
        if self._lines % self._every == 0:
            self._measure()

    def _measure(self) -> None:
        if self._probe is not None:
            self._trainer.update_network()
            self._folder.append_probe(self._trainer.step, self._probe.measure())


def _report(
    options: argparse.Namespace, experiment: Experiment, folder: RunFolder, display: Display
) -> None:
    """Write the page that explains the run."""
    from fastconv.report import write_report  # and matplotlib with it, only where it is wanted

    dataset = experiment.dataset
    page = write_report(
        load_run(folder.path), dataset, backend=experiment.trainer.backend, figures=options.figures
    )
    display.text(f"report: {page}")


def _environment(experiment: Experiment, threads: int) -> dict[str, Any]:
    trainer = experiment.trainer
    return {
        **environment(),
        "backend": trainer.backend,
        "backend_choice": trainer.why,
        "threads": threads,
        "precision": trainer.precision,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _show_head(display: Display, experiment: Experiment, threads: int) -> None:
    recipe, trainer, dataset = experiment.recipe, experiment.trainer, experiment.dataset
    sizes = ", ".join(f"{len(samples)} {part}" for part, samples in dataset.parts.items())
    plural = "s" if threads != 1 else ""
    display.text(f"recipe {recipe.name}: {recipe.description}")
    display.text(f"data set {dataset.name}: {sizes}")
    precision = "" if trainer.precision == "float32" else f", products in {trainer.precision}"
    display.text(f"backend {trainer.backend} ({trainer.why}), {threads} thread{plural}{precision}")
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
    if summary["launches"] is not None:
        rows.append(("launches", summary["launches"]))
    for label, part, final in (
        ("training (running)", "train", ""),
        ("validation", "validation", ""),
        ("test", "test", ""),
        ("training (final)", "train", "_final"),
    ):
        loss, accuracy = summary[f"{part}_loss{final}"], summary[f"{part}_accuracy{final}"]
        if loss is not None:
            shown = f", accuracy {percent(accuracy)} %" if accuracy is not None else ""
            rows.append((label, f"loss {loss:.4f}{shown}"))
    display.text()
    display.table("Result", rows)
    display.text(f"files: {folder.path}")  # not in the table, which would cut a long path short


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
