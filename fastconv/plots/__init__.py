"""Pictures of data, training and what was learned, drawn with matplotlib.

Every function takes arrays and an optional Axes, and returns the Axes that it drew on; without one
it makes a figure of its own. No function touches pyplot, opens a window or changes a setting::

    from fastconv import plots

    with plots.theme("dark"):
        axes = plots.learning_curves({"training": (steps, losses)}, ylabel="loss")
    plots.save(axes, "loss-dark", formats=("png", "svg"))

In a notebook the Axes as the last line of a cell show the picture.

Colour is never all that tells two things apart: lines have their own dashes and markers, bars their
hatching.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastconv._extras import missing_extra

if TYPE_CHECKING:
    from fastconv.plots.classification import class_scores as class_scores
    from fastconv.plots.classification import confusion_matrix as confusion_matrix
    from fastconv.plots.classification import prediction_bars as prediction_bars
    from fastconv.plots.curves import activation_statistics as activation_statistics
    from fastconv.plots.curves import gradient_norms as gradient_norms
    from fastconv.plots.curves import learning_curves as learning_curves
    from fastconv.plots.curves import learning_rate_curve as learning_rate_curve
    from fastconv.plots.distributions import histograms as histograms
    from fastconv.plots.images import augmented_images as augmented_images
    from fastconv.plots.images import class_templates as class_templates
    from fastconv.plots.images import feature_maps as feature_maps
    from fastconv.plots.images import filters as filters
    from fastconv.plots.images import image_grid as image_grid
    from fastconv.plots.images import saliency as saliency
    from fastconv.plots.regression import predictions_against_targets as predictions_against_targets
    from fastconv.plots.regression import regression_fit as regression_fit
    from fastconv.plots.saving import save as save
    from fastconv.plots.search import accuracy_against as accuracy_against
    from fastconv.plots.search import parallel_coordinates as parallel_coordinates
    from fastconv.plots.style import theme as theme

_ORIGINS = {
    "classification": "class_scores confusion_matrix prediction_bars",
    "curves": "activation_statistics gradient_norms learning_curves learning_rate_curve",
    "distributions": "histograms",
    "images": "augmented_images class_templates feature_maps filters image_grid saliency",
    "regression": "predictions_against_targets regression_fit",
    "saving": "save",
    "search": "accuracy_against parallel_coordinates",
    "style": "theme",
}
_MODULE_OF = {name: module for module, names in _ORIGINS.items() for name in names.split()}

__all__ = [
    "accuracy_against",
    "activation_statistics",
    "augmented_images",
    "class_scores",
    "class_templates",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "gradient_norms",
    "histograms",
    "image_grid",
    "learning_curves",
    "learning_rate_curve",
    "parallel_coordinates",
    "prediction_bars",
    "predictions_against_targets",
    "regression_fit",
    "saliency",
    "save",
    "theme",
]


def __getattr__(name: str) -> Any:
    """Import a function, and matplotlib with it, when it is first used."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'fastconv.plots' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"fastconv.plots.{module}"), name)
    except ModuleNotFoundError as fault:
        raise missing_extra("fastconv.plots", fault) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
