"""The configuration of a run, where it ran, and what came of it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.report.content import DASH, Plain, Section, Table, decimal, duration, percent
from fastconv.report.findings import Findings
from fastconv.runs.saved_run import SavedRun

_STOPPED = {
    "completed": "all steps of the recipe",
    "steps": "as many steps as were asked for",
    "stopped early": "early, before all steps of the recipe",
    "interrupted": "interrupted",
    "diverged": "diverged: the loss is not a finite number any more",
}


def facts_of(run: SavedRun) -> list[tuple[str, str]]:
    """Return the numbers that stand out on top."""
    summary = run.summary
    facts = []
    final = "_final" if summary.get("train_loss_final") is not None else ""
    for part, name, which in (
        ("test", "test", ""),
        ("validation", "validation", ""),
        ("train", "training" if final else "running training", final),
    ):
        accuracy, loss = summary.get(f"{part}_accuracy{which}"), summary.get(f"{part}_loss{which}")
        if accuracy is not None:
            facts.append((f"{name} accuracy", percent(accuracy)))
        elif loss is not None:
            facts.append((f"{name} loss", decimal(loss)))
    facts.append(("training time", duration(summary.get("train_seconds"))))
    facts.append(("time of a step", duration_of_step(summary.get("step_ms"))))
    return facts


def duration_of_step(milliseconds: float | None) -> str:
    """Return the time of a step for people."""
    if milliseconds is None:
        return DASH
    return f"{milliseconds:.2f} ms" if milliseconds >= 0.1 else f"{1000 * milliseconds:.1f} µs"


def overview(findings: Findings) -> Section:
    """Recipe, machine, seed, and time beside the work done."""
    run = findings.run
    recipe, summary, environment = run.recipe, run.summary, run.environment
    parts = findings.dataset.parts.items()
    rows = [
        ("recipe", recipe.name),
        ("data set", f"{findings.dataset.name}: "
         + ", ".join(f"{len(samples):,} {part}" for part, samples in parts)),
        ("loss", _settings(recipe.make_loss()).replace("_", " ")),
        ("optimiser", _settings(recipe.optimizer, recipe.rate_key.removeprefix("optimizer."))),
        ("schedule", _settings(recipe.schedule)),
        *(
            [("momentum schedule", _settings(recipe.momentum_schedule))]
            if recipe.momentum_schedule is not None
            else []
        ),
        (
            "batch size",
            f"{recipe.batch_size:,}"
            + (f", {recipe.accumulate} for a step" if recipe.accumulate > 1 else ""),
        ),
        ("seed", str(recipe.seed)),
        ("stopped", _STOPPED.get(str(summary.get("stopped")), DASH)),
    ]  # fmt: skip
    return Section(
        "what-ran",
        "Configuration",
        recipe.description,
        [
            Table((), rows),
            Table((), _work(findings), "Time and throughput"),
            Table((), _machine(environment, summary), "Machine"),
            Table((), [("command", _command(environment))]),
        ],
    )


def _settings(section: Any, *always: str) -> str:
    """The kind of a section, and what is not as it usually is."""
    usual = {field.name: field.default for field in dataclasses.fields(section)}
    if isinstance(section, Optimizer):
        usual |= dataclasses.asdict(Optimizer(section.kind))  # some depend on the kind
    shown = [
        f"{name} {getattr(section, name)}"
        for name in usual
        if name != "kind" and (name in always or getattr(section, name) != usual[name])
    ]
    return f"{section.kind} ({', '.join(shown)})" if shown else str(section.kind)


def _samples_seen(findings: Findings, steps: int) -> int:
    recipe, summary = findings.run.recipe, findings.run.summary
    if recipe.last_batch == "keep" and steps and summary.get("epochs"):
        return round(float(summary["epochs"]) * len(findings.dataset.training))
    return int(steps * recipe.batch_size * recipe.accumulate)


def _work(findings: Findings) -> list[tuple[str, str]]:
    summary, network = findings.run.summary, findings.initial
    steps, seconds = summary.get("steps") or 0, summary.get("train_seconds")
    samples = _samples_seen(findings, steps)
    operations = float(step_operations(network) * samples)
    rows = [
        ("training steps", f"{steps:,} in {duration(seconds)}"),
        ("samples seen", f"{samples:,}"),
        ("arithmetic of convolutions and dense layers", _operations(operations)),
        ("warm-up", duration(summary.get("warmup_seconds"))),
    ]
    # A run of an earlier version has none of these.
    rows += [
        (name, duration(summary[key]))
        for name, key in (
            ("starting the program", "start_seconds"),
            ("loading data and network, warm-up included", "load_seconds"),
            ("validation and probe", "validate_seconds"),
            ("testing", "test_seconds"),
        )
        if summary.get(key) is not None
    ]
    if seconds and steps:
        rows.insert(2, ("samples per second", f"{samples / seconds:,.0f}"))
        per_second = _operations(operations / seconds)
        rows.insert(4, ("arithmetic throughput", f"{per_second} per second"))
    if summary.get("peak_rss_mib") is not None:
        rows.append(("peak memory", f"{summary['peak_rss_mib']:,.0f} MiB"))
    return rows


def step_operations(network: Sequential) -> int:
    """Floating-point operations of a training step on one sample.

    The data gradient and the weight gradient each take what the forward pass takes; nobody asks
    for the data gradient of the first layer with parameters.
    """
    operations, is_first = 0, True
    for vertex in network.vertices:
        operations += (2 if is_first else 3) * vertex.flops
        is_first = is_first and not vertex.parameters
    return operations


def _operations(count: float) -> str:
    """Return a number of floating-point operations for people."""
    for factor, unit in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:,.0f} FLOP"


def _machine(environment: dict[str, Any], summary: dict[str, Any]) -> list[tuple[str, str]]:
    packages = environment.get("packages")
    named = ", ".join(f"{n} {v}" for n, v in (packages or {}).items() if v) or DASH
    threads = summary.get("threads")
    return [
        ("backend", f"{environment.get('backend')} ({environment.get('backend_choice')})"),
        ("threads", str(threads) if threads is not None else DASH),
        ("processor", str(environment.get("processor", DASH))),
        ("system", str(environment.get("platform", DASH))),
        ("fastconv, Python", f"{environment.get('fastconv')}, {environment.get('python')}"),
        ("packages", named),
    ]  # fmt: skip


def _command(environment: dict[str, Any]) -> str:
    """The command line, so that it can be typed again."""
    command: Sequence[str] = environment.get("command") or ()
    return f"python -m fastconv.train {shlex.join(map(str, command[1:]))}" if command else DASH


def model_summary(findings: Findings) -> Section:
    """The layers with their shapes and parameters."""
    return Section(
        "model",
        "The network",
        f"{findings.initial.parameter_count:,} parameters.",
        [Plain(findings.initial.summary())],
    )
