"""Metrics of a validation by the names that recipes have for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastconv.metrics import class_scores, confusion_matrix, regression_scores, top_k_accuracy
from fastconv.recipes.recipe_sections import CLASS_METRICS, REGRESSION_METRICS
from fastconv.recipes.schema import RecipeError

if TYPE_CHECKING:
    from fastconv.training_loop import Metric


def validation_metrics(names: Iterable[str], *, is_classification: bool) -> dict[str, Metric]:
    """Return functions of scores and labels, for :func:`fastconv.training_loop.fit`.

    Parameters
    ----------
    names
        As in ``validation.metrics`` of a recipe.
    is_classification
        Whether labels are class numbers; else targets of a regression.

    Raises
    ------
    RecipeError
        If one is not for such labels.

    Examples
    --------
    >>> import numpy as np
    >>> metrics = validation_metrics(["top_2_accuracy"], is_classification=True)
    >>> metrics["top_2_accuracy"](np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), np.array([1, 2]))
    0.5
    """
    known = CLASS_METRICS if is_classification else REGRESSION_METRICS
    found: dict[str, Metric] = {}
    for name in names:
        if name not in known:
            kind = "classes" if is_classification else "a regression"
            raise RecipeError(
                f"validation.metrics holds {name!r}, which is not for {kind}; expected some of "
                f"{', '.join(known)}"
            )
        found[name] = _of_classes(name) if is_classification else _of_targets(name)
    return found


def _of_classes(name: str) -> Metric:
    if name.startswith("top_"):
        k = int(name.split("_")[1])
        return lambda scores, labels: top_k_accuracy(scores, labels, min(k, scores.shape[1]))

    def measure(scores: NDArray[Any], labels: NDArray[Any]) -> float:
        matrix = confusion_matrix(labels, scores.argmax(axis=1), scores.shape[1])
        return float(getattr(class_scores(matrix), name))

    return measure


def _of_targets(name: str) -> Metric:
    return lambda scores, labels: float(getattr(regression_scores(labels, scores), name))
