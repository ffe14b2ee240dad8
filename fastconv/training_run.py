"""One run from a recipe to its folder: what ``python -m fastconv.train`` does, as a function."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv._errors import WorkerLost
from fastconv._files import as_text
from fastconv.backends.configuration import environment
from fastconv.cli.progress import Display, percent
from fastconv.data import Dataset, epoch_order
from fastconv.data.identity import PartIdentity
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.ending import Interruption, interruption
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import Recipe
from fastconv.runs.checkpoints import CheckpointInterval, RunCheckpoints
from fastconv.runs.experiment import Experiment, prepare, summarize
from fastconv.runs.run_folder import OutputError, RunFolder
from fastconv.trainer import Trainer
from fastconv.training_loop import Callback, HistoryRecord, Metric, Progress, Result, fit

if TYPE_CHECKING:
    import signal

    from fastconv.analysis.probe import Probe
    from fastconv.data_parallel.group import Group
    from fastconv.early_stopping import EarlyStopping
    from fastconv.execution.checkpoint import Checkpoint
    from fastconv.runs.resumption import Resumption
    from fastconv.step_check.step_comparison import StepCheck

_CHECKED_STEPS = 3
OnDivergence: TypeAlias = Literal["stop", "lower-lr"]
_LOWER = 0.5
"""Of the learning rates, each time that a training diverges and goes back."""
_MOST_LOWERED = 10
_MOST_PROBES = 50
"""Most probes of a run, evenly spaced among its validations; and one before its first step."""


@dataclass(frozen=True, init=False)
class RunOptions:
    """Options of a run: all that is no key of its recipe.

    Parameters
    ----------
    config
        Where and how it computes.
    backend, threads
        Fields of one, in its place.
    data_dir
        As for :func:`fastconv.data.load`.
    steps
        Updates to make; None for the recipe's own length.
    validates
        Whether to validate (the final test is made in any case).
    probes
        Whether to measure the layers beside the training, for the report.
    checks
        Whether to compare the first steps with the reference's before the training.
    checkpoints
        When the state is kept, from which a run that stopped goes on.
    on_divergence
        "stop", or "lower-lr": go back to the last checkpoint, with half the learning rates.
    init_from
        Weights to begin from: a run's folder, or a file.
    callbacks
        As for :func:`fastconv.training_loop.fit`.
    logs
        Where the training is shown too: some of ``fastconv.loggers.LOGGERS``.
    command
        The command line that makes this run, for environment.json.
    began
        Moment by ``time.perf_counter`` from which seconds of starting are counted; None: when
        :func:`train_recipe` is called.
    group
        The workers that make the shards of each batch, this process the first; None for it alone.
    interruption
        Asked whether the training is to end; None: it answers Ctrl-C, SIGTERM and SIGHUP itself.
    """

    config: ExecutionConfig
    data_dir: str | Path | None
    steps: int | None
    validates: bool
    probes: bool
    checks: bool
    checkpoints: CheckpointInterval
    on_divergence: OnDivergence
    init_from: str | Path | None
    callbacks: Sequence[Any]
    logs: Sequence[str]
    command: Sequence[str]
    began: float | None
    group: Group | None
    interruption: Interruption | None

    def __init__(
        self,
        config: ExecutionConfig | None = None,
        data_dir: str | Path | None = None,
        *,
        backend: str | None = None,
        threads: int | None = None,
        steps: int | None = None,
        validates: bool = True,
        probes: bool = True,
        checks: bool = False,
        checkpoints: CheckpointInterval | None = None,
        on_divergence: OnDivergence = "stop",
        init_from: str | Path | None = None,
        callbacks: Sequence[Any] = (),
        logs: Sequence[str] = (),
        command: Sequence[str] = (),
        began: float | None = None,
        group: Group | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        settled = settle("RunOptions", config, backend=backend, threads=threads)
        for name, value in (
            ("config", settled),
            ("data_dir", data_dir),
            ("steps", steps),
            ("validates", validates),
            ("probes", probes),
            ("checks", checks),
            ("checkpoints", checkpoints or CheckpointInterval()),
            ("on_divergence", on_divergence),
            ("init_from", init_from),
            ("callbacks", callbacks),
            ("logs", logs),
            ("command", command),
            ("began", began),
            ("group", group),
            ("interruption", interruption),
        ):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class FinishedRun:
    """Outcome of a run.

    Parameters
    ----------
    experiment
        What was trained.
    folder
        Where its files are.
    result
        Of the training.
    summary
        As in summary.json.
    test_scores
        The network's scores of the test part, where the page of the run will want them.
    began
        Moment by ``time.perf_counter`` from which its seconds are counted.
    signal
        By which it was asked to end before its time, or None.
    """

    experiment: Experiment
    folder: RunFolder
    result: Result
    summary: dict[str, Any]
    test_scores: NDArray[Any] | None = None
    began: float = 0.0
    signal: signal.Signals | None = None


def train_recipe(
    recipe: Recipe,
    path: str | Path | None,
    options: RunOptions,
    display: Display,
    *,
    dataset: Dataset | None = None,
    identity: Mapping[str, PartIdentity] | None = None,
    preprocessing: Preprocessing | None = None,
    resumption: Resumption | None = None,
) -> FinishedRun:
    """Prepare, train, test, and write the files of a run; the report is :func:`explain_run`'s.

    Parameters
    ----------
    recipe
        What to train.
    path
        The run's folder, as for :class:`fastconv.runs.run_folder.RunFolder`; None for a new one.
    options
        How.
    display
        Shows how it goes.
    dataset
        As for :func:`fastconv.runs.experiment.prepare`; data of one's own too.
    identity
        Which samples its parts have, where that is known already.
    preprocessing
        As for :func:`fastconv.runs.experiment.prepare`.
    resumption
        A run to go on with, in place of a new one; ``path`` is not used then.

    Raises
    ------
    DataError, NetworkError, RecipeError, BackendError
        If something named in the recipe is not there or does not fit.
    RunError, CheckpointError
        If the run cannot go on: it is complete, or was trained on other data.
    StepCheckError
        If the first steps are to be checked and are not those of the reference.
    OutputError
        If the folder cannot be written or is not empty.
    """
    called = time.perf_counter()
    began = called if options.began is None else options.began
    folder = None if resumption is None else resumption.folder
    try:
        with threadpool_limits(options.config.threads):
            if options.group is not None:
                from fastconv.runs.workers import begin

                dataset = begin(options.group, recipe, options.data_dir, options.config, dataset)
            experiment = prepare(
                recipe, data_dir=options.data_dir, config=options.config, dataset=dataset,
                init_from=options.init_from, group=options.group, preprocessing=preprocessing,
            )  # fmt: skip
            progress = None
            if resumption is not None and folder is not None:
                folder.metrics = recipe.validation.metrics
                resumption.check_data(experiment.plain_dataset, identity)
                progress = resumption.restore(experiment.trainer, options.steps or experiment.steps)
            elif options.checks:
                display.text(f"check {check_first_steps(experiment).summary}")
            if folder is None:
                folder = RunFolder.new(recipe.name) if path is None else RunFolder(path)
            if resumption is None and recipe.validation.metrics:
                folder.metrics = recipe.validation.metrics
                folder.write_history(())
            _write_head(folder, experiment, options, identity, resumption)
            _show_head(display, experiment)
            if resumption is not None:
                remarks = resumption.remarks_on(experiment.trainer)
                for remark in [*resumption.remarks, *remarks]:
                    display.text(f"run {folder.path}: {remark}")
            loaded = time.perf_counter()
            result, summary, test_scores, number = _train(
                options, experiment, folder, display, progress,
                None if resumption is None else resumption.checkpoint,
            )  # fmt: skip
            folder.write_weights(experiment.trainer.trained_network)
            summary["start_seconds"] = called - began
            summary["load_seconds"] = loaded - called
            summary["report_seconds"] = None
            summary["total_seconds"] = time.perf_counter() - began
            folder.write_json("summary.json", summary)
    except WorkerLost as fault:
        if folder is None:
            raise
        kept = any(folder.path.glob("checkpoints/step-*"))
        path = shlex.quote(as_text(str(folder.path)))
        raise WorkerLost(
            f"{fault}; "
            + ("the last checkpoint is kept: " if kept else "no checkpoint was made before: ")
            + f"go on with python -m fastconv.train --resume {path}"
        ) from None
    finally:
        if folder is not None:
            folder.close()
    return FinishedRun(experiment, folder, result, summary, test_scores, began, number)


def _write_head(
    folder: RunFolder,
    experiment: Experiment,
    options: RunOptions,
    identity: Mapping[str, PartIdentity] | None,
    resumption: Resumption | None,
) -> None:
    """Write what is known of a run before its first step."""
    content = _environment(experiment.trainer.config, options)
    if resumption is not None and resumption.environment:
        # The machine and the command that began it; after them, those that went on.
        content = {
            **resumption.environment,
            "options": content["options"],
            "resumed": [
                *resumption.environment.get("resumed", ()),
                {"step": experiment.trainer.step, **content},
            ],
        }
    folder.write_json("environment.json", content)
    # After it: from here on there is a run to go on with, by the options in that file.
    folder.write_recipe(experiment.recipe)
    preprocessing = experiment.trainer.inference.preprocessing
    folder.write_model(experiment.plain_dataset, preprocessing, identity)


def check_first_steps(experiment: Experiment) -> StepCheck:
    """Compare the first steps of a training with those of the reference; see ``check_step``.

    Parameters
    ----------
    experiment
        What is to be trained: its network, data, optimiser, rates, seed and config as they are.

    Raises
    ------
    StepCheckError
        If they are not the same but for rounding.
    """
    from fastconv.step_check.check import StepCheckError, check_step

    recipe, trainer = experiment.recipe, experiment.trainer
    training = trainer.training
    order = epoch_order(len(training), trainer.seed, 0)[: _CHECKED_STEPS * trainer.batch_size]
    appended = recipe.augmentation.mode == "append"  # part of the data already
    check = check_step(
        trainer.network,
        training.images[order],
        trainer.optimizer,
        training.labels[order],
        loss=trainer.loss,
        rate=trainer.rates_and_momenta(np.arange(_CHECKED_STEPS)),
        steps=_CHECKED_STEPS,
        batch_size=trainer.batch_size,
        preprocessing=trainer.inference.preprocessing,
        augmentation=None if appended else recipe.augmentation.augmentation(),
        seed=trainer.seed,
        config=trainer.config,
        verbose=False,
    )
    if check.differs:
        raise StepCheckError(
            f"check {check.summary}; nothing was trained; use another --backend, and report this"
        )
    return check


def explain_run(run: FinishedRun, options: RunOptions, *, figures: str | None = None) -> Path:
    """Write the page that explains a run, and return its path.

    How long that took is added to the run's summary.

    Parameters
    ----------
    run
        The run.
    options
        How it was run.
    figures
        Files of the pictures too: "png", or "svg" for SVG beside PNG; None for none.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    # And matplotlib with it, only where it is wanted.
    from fastconv.report.findings import Findings
    from fastconv.report.run_report import write_run_page
    from fastconv.runs.saved_run import load_run

    experiment, path = run.experiment, run.folder.path
    started = time.perf_counter()
    try:
        with threadpool_limits(options.config.threads):
            # Without the copy that augmentation appends: what the command that writes it again
            # loads, and compares with what was trained on, which these data are.
            findings = Findings(
                load_run(path), experiment.plain_dataset, experiment.trainer.config.backend,
                test_scores=run.test_scores,
            )  # fmt: skip
            page = write_run_page(findings, figures=figures)
        ended = time.perf_counter()
        run.summary["report_seconds"] = ended - started
        run.summary["total_seconds"] = ended - run.began
        run.folder.write_json("summary.json", run.summary)
        return page
    except OSError as fault:
        raise OutputError(
            f"{path}: the run is complete, but its report cannot be written "
            f"({fault.strerror or fault}); make room and write it with python -m fastconv.report"
        ) from None


def show_result(display: Display, run: FinishedRun) -> None:
    """Show what came of a run, and where its files are."""
    summary = run.summary
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
    # Not in the table, which would cut what is long short.
    display.text(f"time: {seconds_of(summary)}")
    display.text(f"files: {run.folder.path}")


def seconds_of(summary: Mapping[str, Any]) -> str:
    """Return where the time of a run went, from the start of the process on.

    Parameters
    ----------
    summary
        As in summary.json.
    """
    parts = [
        f"{name} {summary[key]:.2f} s"
        for name, key in (
            ("starting", "start_seconds"),
            ("loading", "load_seconds"),
            ("training", "train_seconds"),
            ("validation and probe", "validate_seconds"),
            ("testing", "test_seconds"),
            ("report", "report_seconds"),
        )
        if summary[key] is not None
    ]
    return f"{', '.join(parts)}; {summary['total_seconds']:.2f} s in all"


def _train(
    options: RunOptions,
    experiment: Experiment,
    folder: RunFolder,
    display: Display,
    progress: Progress | None,
    checkpoint: Checkpoint | None,
) -> tuple[Result, dict[str, Any], NDArray[Any] | None, signal.Signals | None]:
    """Train and test."""
    recipe, trainer, dataset = experiment.recipe, experiment.trainer, experiment.dataset
    validation = dataset.validation if options.validates else None
    steps = options.steps or experiment.steps
    if validation is not None:
        trainer.prepare_evaluation(validation)
    display.start(trainer.step, steps, trainer.samples_per_step)
    probe = _probe(experiment) if options.probes else None
    lines = -(-steps // (recipe.validate_every or trainer.steps_per_epoch))
    watcher = _Watcher(
        display, folder, trainer, probe, steps, -(-lines // _MOST_PROBES), progress or Progress()
    )
    machine = environment()
    metrics, early_stopping = _chosen_by(experiment, checkpoint) if validation else ({}, None)
    checkpoints = RunCheckpoints(
        folder.path, trainer, options.checkpoints,
        lambda: {"probe": folder.probe_text, "environment": machine, "recipe": recipe.table()},
        lambda told: display.text(f"run {folder.path}: {told}"), early_stopping,
    )  # fmt: skip
    callbacks = [*options.callbacks, *_loggers(options.logs, recipe, folder)]
    divergence = None
    fitting = fitted = time.perf_counter()
    trained = trainer.train_seconds
    try:
        given = options.interruption
        with interruption() if given is None else nullcontext(given) as is_interrupted:
            for lowered in range(_MOST_LOWERED + 1):
                result = fit(
                    trainer,
                    steps,
                    validation=validation,
                    record_every=recipe.validate_every,
                    is_shortened=options.steps is not None,
                    observer=watcher,
                    is_interrupted=is_interrupted,
                    progress=progress,
                    checkpoints=checkpoints,
                    metrics=metrics,
                    early_stopping=early_stopping,
                    callbacks=callbacks,
                )
                if result.stopped != "diverged":
                    break
                divergence = checkpoints.find_divergence()
                if options.on_divergence == "stop" or lowered == _MOST_LOWERED:
                    break
                progress = checkpoints.go_back(folder, _LOWER)
                watcher.go_back(progress)
                display.text(
                    f"run {folder.path}: diverged at step {divergence.step} "
                    f"({divergence.cause}); goes back to step {trainer.step}, with learning "
                    f"rates times {trainer.rate_factor:g}"
                )
            display.stop()
            fitted = time.perf_counter()
            test = final = test_scores = None
            if result.stopped in ("completed", "steps", "stopped early") and not is_interrupted():
                if len(dataset.test):
                    if options.probes:
                        test_scores = trainer.inference.empty_scores(dataset.test)
                    test = trainer.evaluate(dataset.test, scores=test_scores)
                if recipe.evaluate_train and not is_interrupted():
                    final = trainer.evaluate(experiment.plain_training)
            if result.stopped != "diverged" and is_interrupted():
                # Ctrl-C within the evaluations: the network is kept all the same.
                result.stopped = "interrupted"
    finally:
        display.stop()
    tested = time.perf_counter() - fitted
    summary = summarize(experiment, result, test=test, train_final=final)
    summary["validate_seconds"] = fitted - fitting - (trainer.train_seconds - trained)
    summary["test_seconds"] = tested if test or final else None
    summary["best_step"] = early_stopping.best_step if early_stopping else None
    summary["best_value"] = early_stopping.best_value if early_stopping else None
    if early_stopping is not None and early_stopping.weights and recipe.validation.best != "none":
        folder.write_best(early_stopping.weights)
    ruined = divergence if result.stopped == "diverged" else None
    summary["diverged_at_step"] = ruined.step if ruined else None
    summary["diverged_in_layer"] = ruined.layer if ruined else None
    summary["diverged_because"] = ruined.cause if ruined else None
    return result, summary, test_scores, is_interrupted.signal


def _loggers(names: Sequence[str], recipe: Recipe, folder: RunFolder) -> list[Callback]:
    """Return the callbacks that show a run elsewhere; imported where used."""
    if not names:
        return []
    from fastconv.loggers import make_logger

    table = recipe.table()
    parameters = {
        f"{section}.{key}" if isinstance(value, dict) else section: item
        for section, value in table.items()
        for key, item in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return [make_logger(name, folder.path.name, parameters, folder.path) for name in names]


def _chosen_by(
    experiment: Experiment, checkpoint: Checkpoint | None
) -> tuple[dict[str, Metric], EarlyStopping | None]:
    """Return what is measured at validations, and what chooses by it; imported where used."""
    section, metrics, early_stopping = experiment.recipe.validation, {}, None
    if section.metrics:
        from fastconv.validation_metrics import validation_metrics

        metrics = validation_metrics(
            section.metrics, is_classification=experiment.trainer.training.has_classes
        )
    if section.chooses:
        from fastconv.early_stopping import EarlyStopping
        from fastconv.runs.checkpoints import load_early_stopping

        early_stopping = EarlyStopping(
            section.metric, patience=section.patience, least_change=section.least_change,
            restore_best=section.best == "restore",
        )  # fmt: skip
        if checkpoint is not None:
            load_early_stopping(early_stopping, checkpoint)
    return metrics, early_stopping


def _probe(experiment: Experiment) -> Probe:
    """Return what looks at the network beside the training."""
    from fastconv.analysis.probe import Probe

    recipe, trainer = experiment.recipe, experiment.trainer
    return Probe(
        trainer.network,
        experiment.plain_training,
        loss=recipe.make_loss(),
        preprocessing=trainer.inference.preprocessing,
        seed=recipe.seed,
        backend=trainer.config.backend,
    )


class _Watcher:
    """Shows each line of the history and writes it down, and what a probe sees then."""

    def __init__(
        self,
        display: Display,
        folder: RunFolder,
        trainer: Trainer,
        probe: Probe | None,
        steps: int,
        every: int,
        progress: Progress,
    ) -> None:
        self._display, self._folder = display, folder
        self._trainer, self._probe = trainer, probe
        self._steps, self._every = steps, every
        self._lines = len(progress.history)
        self.on_steps = display.on_steps
        if trainer.step == 0:
            self._measure()

    def go_back(self, progress: Progress) -> None:
        """The training is where it was at an earlier step."""
        self._lines = len(progress.history)

    def on_record(self, record: HistoryRecord) -> None:
        self._folder.append_history(record)
        self._display.on_record(record)
        self._lines += 1
        if self._lines % self._every == 0 or record.step == self._steps:
            self._measure()

    def _measure(self) -> None:
        if self._probe is not None:
            self._trainer.update_network()
            self._folder.append_probe(self._trainer.step, self._probe.measure())


def _environment(config: ExecutionConfig, options: RunOptions) -> dict[str, Any]:
    return {
        **environment(),
        "backend": config.backend,
        "backend_choice": config.why,
        "threads": config.threads,
        "precision": config.precision,
        **({} if options.group is None else {"workers": options.group.size}),
        "command": list(options.command),
        "options": run_options_table(options),
    }


def run_options_table(options: RunOptions) -> dict[str, Any]:
    """Return what ``--resume`` takes up again, as environment.json has it.

    Parameters
    ----------
    options
        That a run is begun with.
    """
    return {
        "data_dir": None if options.data_dir is None else as_text(str(options.data_dir)),
        "steps": options.steps,
        "validates": options.validates,
        "probes": options.probes,
        "on_divergence": options.on_divergence,
        "init_from": None if options.init_from is None else as_text(str(options.init_from)),
    }


def _show_head(display: Display, experiment: Experiment) -> None:
    recipe, trainer, dataset = experiment.recipe, experiment.trainer, experiment.dataset
    sizes = ", ".join(f"{len(samples)} {part}" for part, samples in dataset.parts.items())
    config = trainer.config
    plural = "s" if config.threads != 1 else ""
    display.text(f"recipe {recipe.name}: {recipe.description}")
    display.text(f"data set {dataset.name}: {sizes}")
    for remark in dataset.remarks:
        display.text(f"data: {remark}")
    precision = "" if config.precision == "float32" else f", products in {config.precision}"
    display.text(
        f"backend {config.backend} ({config.why}), {config.threads} thread{plural}{precision}"
    )
    if trainer.shards is not None:
        size = trainer.runner.workers
        display.text(
            f"shards {trainer.shards} of {trainer.batch_size // trainer.shards} samples, "
            f"{size} worker{'s' if size != 1 else ''}"
        )
    if experiment.left_out:
        display.text(f"weights: not taken: {', '.join(experiment.left_out)}")
    display.text()
    for line in trainer.network.summary().splitlines():
        display.text(line)
    display.text()
