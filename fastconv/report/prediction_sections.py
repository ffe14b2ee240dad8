"""Sections on predictions: classes, mistakes, numbers of a regression."""

from __future__ import annotations

import numpy as np

from fastconv import metrics
from fastconv.report.content import Numbers, Picture, Section, Table, decimal, percent
from fastconv.report.drawing import Drawing
from fastconv.report.findings import Findings


def confusion(findings: Findings) -> Section:
    """The confusion matrix, and precision, recall and F1 of each class."""
    names, matrix = findings.dataset.class_names, findings.confusion
    scores = metrics.class_scores(matrix)
    off = matrix - np.diag(np.diag(matrix))
    true, taken = np.unravel_index(off.argmax(), off.shape)
    worst = (
        f" The most frequent confusion: {names[true]} predicted as {names[taken]}, "
        f"{'once' if off.max() == 1 else f'{off.max():,} times'}."
        if off.any()
        else " No sample is misclassified."
    )
    rows = [
        (name, *(percent(values[n]) for values in (scores.precision, scores.recall, scores.f1)),
         f"{scores.support[n]:,}", f"{scores.predicted[n]:,}")
        for n, name in enumerate(names)
    ]  # fmt: skip
    columns = ("class", "precision", "recall", "F1", "samples", "predicted")
    accuracy = percent(scores.accuracy)
    return Section(
        "confusion",
        "Confusion matrix",
        f"All {len(findings.samples):,} samples of the {findings.part} part; accuracy {accuracy}."
        + worst,
        [
            Picture(
                "confusion-matrix",
                Drawing("confusion_matrix", matrix, names),
                f"Confusion matrix of {len(names)} classes in percent of each true class.{worst}",
                "Percent of the samples of each true class (rows).",
                Numbers(
                    ("true class", *names),
                    [(name, *map(int, row)) for name, row in zip(names, matrix, strict=True)],
                ),
            ),
            Picture(
                "class-scores",
                Drawing("class_scores", scores, names),
                "Precision, recall and F1 of each class; the table below has the numbers.",
                "",
                Numbers(
                    columns,
                    [
                        (
                            name,
                            *_number(scores.precision[n], scores.recall[n], scores.f1[n]),
                            int(scores.support[n]),
                            int(scores.predicted[n]),
                        )
                        for n, name in enumerate(names)
                    ],
                ),
            ),
            Table(columns, rows),
        ],
    )


def _number(*values: float) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def examples(findings: Findings) -> Section | None:
    """The most confident misclassified samples, and some correctly classified ones."""
    if not findings.looks_at_images:
        return None
    section = Section(
        "examples",
        "Misclassified samples",
        f"Images of the {findings.part} part with their predicted class and its probability, those "
        f"that are misclassified also with their true class; and some that are right.",
    )
    for name, what, chosen in (
        ("mistakes", "The most confident misclassified samples", findings.mistakes),
        (
            "correct",
            "The most confident correctly classified samples of each class",
            findings.correct,
        ),
    ):
        if not len(chosen):
            continue
        titles = [findings.title_of(int(index)) for index in chosen]
        said = "; ".join(title.replace("\n", ", ") for title in titles[:6])
        section.items.append(
            Picture(
                name,
                Drawing("image_grid", findings.samples.images[chosen], titles=titles),
                f"{what}, {len(chosen)} images: {said}{' ...' if len(titles) > 6 else ''}.",
                what,
                Numbers(
                    ("sample", "predicted", "probability", "class"),
                    [_said_of(findings, int(index)) for index in chosen],
                ),
            )
        )
    return section if section.items else None


def _said_of(findings: Findings, index: int) -> tuple[int, str, float, str]:
    names, guess = findings.dataset.class_names, int(findings.predictions[index])
    label = int(findings.samples.labels[index])
    return index, names[guess], float(findings.probabilities[index, guess]), names[label]


def regression(findings: Findings) -> Section:
    """Predicted numbers against data."""
    targets, predictions = findings.samples.labels, findings.scores
    section = Section(
        "regression",
        "Predictions and data",
        f"All {len(findings.samples):,} samples of the {findings.part} part.",
    )
    if findings.dataset.image_shape == (1, 1, 1) and targets.shape[1] == 1:
        section.items.append(_fit(findings))
    scores = metrics.regression_scores(targets, predictions)
    section.items.append(
        Picture(
            "predictions-against-targets",
            Drawing("predictions_against_targets", targets, predictions),
            f"Predicted numbers over their targets: mean squared error "
            f"{decimal(scores.mean_squared_error)}, R² {decimal(scores.r2, 3)}.",
            "Right predictions lie on the diagonal.",
            Numbers(
                ("sample", "output", "target", "prediction"),
                [
                    (n, output, float(targets[n, output]), float(predictions[n, output]))
                    for n, output in np.ndindex(targets.shape)
                ],
            ),
        )
    )
    rows = [
        ("mean squared error", decimal(scores.mean_squared_error)),
        ("its root", decimal(scores.root_mean_squared_error)),
        ("mean absolute error", decimal(scores.mean_absolute_error)),
        ("R²", decimal(scores.r2, 3)),
    ]
    section.items.append(Table((), rows))
    return section


def _fit(findings: Findings) -> Picture:
    """The curve over the data, of a function of one number."""
    training, samples = findings.dataset.training, findings.samples
    x, y = training.images.reshape(-1), training.labels[:, 0]
    test = samples.images.reshape(-1), samples.labels[:, 0]
    others = None if findings.part == "training" else test
    both = np.concatenate([x, test[0]])
    grid = np.linspace(both.min(), both.max(), 400).astype(training.images.dtype)
    curve = findings.observed.scores(grid.reshape(-1, 1, 1, 1))[:, 0]
    return Picture(
        "fit",
        Drawing("regression_fit", x, y, grid, curve, test=others, test_name=findings.part),
        f"The fitted curve from {both.min():.3g} to {both.max():.3g}, over {len(x)} samples of the "
        f"training part" + (f" and {len(test[0])} of the {findings.part} part." if others else "."),
        "The curve that was learned, and the data.",
        Numbers(("x", "y"), [(float(a), float(b)) for a, b in zip(grid, curve, strict=True)]),
    )
