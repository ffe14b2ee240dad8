"""The pictures of a page: charts as SVG in its colours, grids of pixels as PNG inside it.

Each function has the name and the arguments of the one of :mod:`fastconv.plots`, or of
:mod:`fastconv.report.composites`, that draws the same as a file with matplotlib, and draws it on a
:class:`fastconv.report.charts.canvas.Canvas`. No script is needed: what is below the pointer is
told by titles and by the style sheet of the page, which also hides what is switched off.
"""

from fastconv.report.charts.classification import class_scores, confusion_matrix
from fastconv.report.charts.curves import (
    activation_statistics,
    gradient_norms,
    learning_curves,
    learning_rate_curve,
)
from fastconv.report.charts.distributions import histogram_pairs
from fastconv.report.charts.regression import predictions_against_targets, regression_fit
from fastconv.report.charts.tiles import (
    class_templates,
    feature_maps,
    filters,
    image_grid,
    saliency_grid,
)

__all__ = [
    "activation_statistics",
    "class_scores",
    "class_templates",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "gradient_norms",
    "histogram_pairs",
    "image_grid",
    "learning_curves",
    "learning_rate_curve",
    "predictions_against_targets",
    "regression_fit",
    "saliency_grid",
]
