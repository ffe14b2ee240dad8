"""The page of one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastconv.data import Dataset
from fastconv.report import (
    layer_sections,
    overview,
    prediction_sections,
    training_sections,
)
from fastconv.report.content import Page, Section
from fastconv.report.findings import Findings
from fastconv.report.page import write_page
from fastconv.saved_run import SavedRun

_OF_TRAINING: tuple[Callable[[Findings], Section | None], ...] = (
    overview.overview,
    training_sections.curves,
)
_OF_CLASSES: tuple[Callable[[Findings], Section | None], ...] = (
    prediction_sections.confusion,
    prediction_sections.examples,
)
_OF_NETWORK: tuple[Callable[[Findings], Section | None], ...] = (
    layer_sections.filters,
    layer_sections.feature_maps,
    layer_sections.saliency,
    layer_sections.excitation,
    training_sections.weights,
)
_OF_PROBE: tuple[Callable[[Findings], Section | None], ...] = (
    training_sections.activations,
    training_sections.gradients,
    overview.model_summary,
)


def run_page(findings: Findings) -> Page:
    """Return the content of a run's page.

    A training that diverged has no predictions and no weights to show.
    """
    of_data = _OF_CLASSES if findings.is_classification else (prediction_sections.regression,)
    of_network = (*of_data, *_OF_NETWORK) if findings.is_finite else ()
    made = [make(findings) for make in (*_OF_TRAINING, *of_network, *_OF_PROBE)]
    run = findings.run
    lead = f"Run {run.name}: data set {run.recipe.data.dataset}, backend "
    lead += f"{run.summary.get('backend')}, seed {run.recipe.seed}"
    if not findings.is_finite:
        lead += "; the training diverged: its weights are not finite numbers any more"
    sections = [section for section in made if section is not None]
    return Page(run.recipe.name, f"{lead}.", overview.facts_of(run), sections)


def write_report(
    run: SavedRun, dataset: Dataset, *, backend: str | None = None, figures: str = "png"
) -> Path:
    """Write ``report.html`` into a run's folder, and its pictures into ``figures``.

    Parameters
    ----------
    run
        The run.
    dataset
        What it was trained on, in the same parts.
    backend
        Whose kernels apply the network; for "numpy" and "cupy" the best on the host.
    figures
        "png", or "svg" for SVG files beside the PNG ones.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    RunError
        If the run's weights are missing or damaged.
    OSError
        If a file cannot be written.
    """
    path = run.path / "report.html"
    write_page(lambda: run_page(Findings(run, dataset, backend)), path, figures=figures)
    return path
