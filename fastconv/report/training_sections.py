"""Sections on the training: curves, learning rate, gradients, activations, weights."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fastconv.preprocessing import Augmentation
from fastconv.report.content import Numbers, Picture, Section, decimal, percent
from fastconv.report.drawing import Drawing
from fastconv.report.findings import Findings
from fastconv.runs.saved_run import SavedRun
from fastconv.schedules import as_schedule

_RATES = 500
"""Steps whose learning rate is drawn."""
_AUGMENTED, _TIMES = 5, 7
"""Images whose augmentation is shown, and how often each."""
_BINS = 40
"""Intervals of a histogram."""


def steps_per_epoch(run: SavedRun) -> int | None:
    """Return how many steps an epoch has, or None where the summary does not say."""
    steps, epochs = run.summary.get("steps"), run.summary.get("epochs")
    return round(steps / epochs) if steps and epochs else None


def curves(findings: Findings) -> Section:
    """Loss, accuracy and learning rate over the steps."""
    run = findings.run
    validated = bool(np.isfinite(run.history["validation_loss"]).any())
    section = Section(
        "curves",
        "Learning curves",
        "Training values are means since the point before, each batch counted before its update."
        + (" Validation values are of the network as it was then." if validated else ""),
    )
    section.items.append(_curve(run, "loss", "loss", percent_values=False))
    if findings.is_classification:
        section.items.append(_curve(run, "accuracy", "accuracy", percent_values=True))
    section.items.append(learning_rate(run))
    return section


def augmentation(findings: Findings) -> Section | None:
    """Some training images, and what steps of the training made of them."""
    recipe, training = findings.run.recipe, findings.dataset.training
    changes = recipe.augmentation.augmentation()
    if not changes.is_active or not findings.looks_at_images or len(training) < 2:
        return None
    from fastconv.analysis.augmented_images import augmented_images

    images = training.images[:_AUGMENTED]
    made = augmented_images(images, changes, times=_TIMES, seed=recipe.seed)
    if images.dtype != np.uint8:
        made = np.clip(made, 0, 1)
    rows = np.concatenate([images[:, None], made], axis=1)
    said = _changes_of(changes)
    return Section(
        "augmentation",
        "Augmented images",
        f"The first {len(images)} training images, at the left, and what was drawn for each: "
        f"{said}.",
        [
            Picture(
                "augmented-images",
                Drawing("image_grid", rows.reshape(-1, *images.shape[1:]), columns=1 + _TIMES),
                f"{len(images)} rows of a training image and {_TIMES} made of it: {said}.",
                "Augmented training images",
                Numbers(
                    ("change", "value"),
                    [(name, str(value)) for name, value in _in_use(changes).items()],
                ),
            )
        ],
    )


def _in_use(changes: Augmentation) -> dict[str, object]:
    """The changes that are not as they are by default."""
    return {
        f.name: getattr(changes, f.name)
        for f in dataclasses.fields(changes)
        if getattr(changes, f.name) != f.default
    }


def _changes_of(changes: Augmentation) -> str:
    return ", ".join(
        name.replace("_", " ") + ("" if value is True else f" {value}")
        for name, value in _in_use(changes).items()
    )


def learning_rate(run: SavedRun) -> Picture:
    """The learning rate by step, also between the lines of the history."""
    steps, rates, of_groups = _rates(run)
    ends = f"from {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else "without a value"
    return Picture(
        "learning-rate",
        Drawing(
            "learning_rate_curve", steps, rates, steps_per_epoch=steps_per_epoch(run),
            groups=of_groups,
        ),
        f"Learning rate by step, {ends}.",
        "Learning rate",
        Numbers(
            ("step", "learning_rate", *of_groups), _rows(steps, rates, *of_groups.values())
        ),
    )  # fmt: skip


def _rates(
    run: SavedRun,
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Some steps of a run, the learning rate at each, and those of groups with a schedule.

    They are more than the history has.
    """
    recipe, count, per_epoch = run.recipe, run.summary.get("steps"), steps_per_epoch(run)
    if not count or per_epoch is None:
        return run.history["step"], run.history["learning_rate"], {}
    total = recipe.steps or (recipe.epochs or 0) * per_epoch
    schedule = recipe.schedule.schedule(recipe.optimizer.lr, per_epoch, total)
    steps = np.unique(np.linspace(0, count - 1, _RATES).astype(np.int64))
    of_groups = {
        group.names: as_schedule("recipe", group.schedule).rates(steps) * group.rate_factor
        for group in recipe.make_optimizer(per_epoch, total).groups
        if group.schedule is not None
    }
    return (steps + 1).astype(np.float64), schedule.rates(steps), of_groups


def _curve(run: SavedRun, column: str, ylabel: str, *, percent_values: bool) -> Picture:
    history = run.history
    steps = history["step"]
    series = {"training": (steps, history[column])}
    validation = history[f"validation_{column}"]
    if np.isfinite(validation).any():
        series["validation"] = (steps, validation)
    said = percent if percent_values else decimal
    ends = ", ".join(f"{name} ends at {said(_last(v))}" for name, (_, v) in series.items())
    return Picture(
        f"{column}-curve",
        Drawing(
            "learning_curves",
            series,
            ylabel=ylabel,
            steps_per_epoch=steps_per_epoch(run),
            percent=percent_values,
        ),
        f"{ylabel.capitalize()} by step: {ends}.",
        ylabel.capitalize(),
        Numbers(("step", *series), _rows(steps, *(values for _, values in series.values()))),
    )


def _last(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else None


def _rows(*columns: NDArray[np.float64]) -> list[list[float | None]]:
    """Rows of numbers; None where a value is not finite."""
    return [
        [float(value) if np.isfinite(value) else None for value in row]
        for row in zip(*columns, strict=True)
    ]


def gradients(findings: Findings) -> Section | None:
    """Gradient norms by layer."""
    probe = findings.run.probe
    with_norms = {
        layer: columns
        for layer, columns in probe.items()
        if np.isfinite(columns["gradient_norm"]).any()
    }
    if not with_norms:
        return None
    steps = next(iter(with_norms.values()))["step"]
    norms = {layer: columns["gradient_norm"] for layer, columns in with_norms.items()}
    largest = max(norms, key=lambda layer: _last(norms[layer]) or 0.0)
    return Section(
        "gradients",
        "Gradient norms",
        "Euclidean norm of each layer's gradient of the mean loss, on one fixed batch of training "
        "samples.",
        [
            Picture(
                "gradient-norms",
                Drawing("gradient_norms", steps, norms),
                f"Gradient norms of {len(norms)} layers by step; at the end that of {largest} is "
                f"the largest, {decimal(_last(norms[largest]), 3)}.",
                "",
                Numbers(("step", *norms), _rows(steps, *norms.values())),
            )
        ],
    )


def activations(findings: Findings) -> Section | None:
    """Mean, std and dead units of activations."""
    chosen = {
        layer: columns
        for layer, columns in findings.run.probe.items()
        if np.isfinite(columns["dead"]).any()
    }
    if not chosen:
        return None
    steps = next(iter(chosen.values()))["step"]
    statistics = {
        layer: (columns["mean"], columns["std"], columns["dead"])
        for layer, columns in chosen.items()
    }
    dead = {layer: _last(columns["dead"]) for layer, columns in chosen.items()}
    worst = max(dead, key=lambda layer: dead[layer] or 0.0)
    names = [f"{layer}: {what}" for layer in chosen for what in ("mean", "std", "dead")]
    flat = [column for three in statistics.values() for column in three]
    return Section(
        "activations",
        "Activations",
        "What the activations give on one fixed batch of training samples. A unit (a channel, of "
        "images) is dead if no sample of the batch brings it above 0 or, for sigmoid, tanh and "
        "softplus, if its outputs stay within 0.001.",
        [
            Picture(
                "activation-statistics",
                Drawing("activation_statistics", steps, statistics),
                f"Mean, std and dead share of {len(chosen)} activations by step; at the end "
                f"{worst} has the most dead units, {percent(dead[worst])}.",
                "",
                Numbers(("step", *names), _rows(steps, *flat)),
            )
        ],
    )


def weights(findings: Findings) -> Section:
    """Histograms of weights and biases before and after."""
    section = Section(
        "weights",
        "Weights before and after",
        "How the weights and biases of each layer are spread before the first step and after the "
        "last.",
    )
    before, after = findings.initial, findings.network
    for layer in before.names:
        names = [
            name for name, place in before.places.items()
            if before.names[place.layer] == layer and place.buffer == "parameters"
        ]  # fmt: skip
        if not names:
            continue
        pairs, spreads, rows = {}, [], []
        for name in names:
            kind = name.rpartition(".")[2]
            pairs[kind] = before[name], after[name]
            rows += [(kind, *row) for row in _histogram_rows(before[name], after[name])]
            first, last = (float(network[name].std()) for network in (before, after))
            spreads.append(f"{kind} std {decimal(first, 3)} before, {decimal(last, 3)} after")
        section.items.append(
            Picture(
                f"weights-{layer}",
                Drawing("histogram_pairs", pairs, bins=_BINS),
                f"Histograms of {layer}: {'; '.join(spreads)}.",
                layer,
                Numbers(("parameter", "from", "to", "before", "after"), rows),
            )
        )
    return section


def _histogram_rows(
    before: NDArray[np.floating], after: NDArray[np.floating]
) -> list[tuple[float, float, int, int]]:
    """Ends of each interval, and how many weights are in it before and after."""
    finite = [values[np.isfinite(values)].astype(np.float64) for values in (before, after)]
    everything = np.concatenate([values.ravel() for values in finite])
    if not everything.size:
        return []
    edges = np.histogram_bin_edges(everything, _BINS)
    counts = [np.histogram(values, edges)[0] for values in finite]
    return [
        (float(edges[n]), float(edges[n + 1]), int(counts[0][n]), int(counts[1][n]))
        for n in range(_BINS)
    ]
