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
from fastconv.runs.data_of_run import check_data
from fastconv.runs.saved_run import SavedRun

_OF_TRAINING: tuple[Callable[[Findings], Section | None], ...] = (
    overview.overview,
    training_sections.curves,
    training_sections.augmentation,
)
_OF_CLASSES: tuple[Callable[[Findings], Section | None], ...] = (
    prediction_sections.confusion,
    prediction_sections.examples,
)
_OF_NETWORK: tuple[Callable[[Findings], Section | None], ...] = (
    layer_sections.filters,
    layer_sections.feature_maps,
    layer_sections.saliency,
    layer_sections.maximally_activating,
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
    lead = f"Run {run.name}: data set {findings.dataset.name}, backend "
    lead += f"{run.summary.get('backend')}, seed {run.recipe.seed}"
    if not findings.is_finite:
        lead += "; the training diverged: its weights are not finite numbers any more"
    lead += f". {findings.remark}" if findings.remark else ""
    sections = [section for section in made if section is not None]
    return Page(run.recipe.name, f"{lead}.", overview.facts_of(run), sections)


def write_report(
    run: SavedRun,
    dataset: Dataset,
    *,
    backend: str | None = None,
    figures: str | None = None,
    any_data: bool = False,
) -> Path:
    """Write ``report.html`` into a run's folder, and the numbers of its pictures into ``figures``.

    Parameters
    ----------
    run
        The run.
    dataset
        What it was trained on, in the same parts; data of one's own too.
    backend
        Whose kernels apply the network; for "numpy" and "cupy" the best on the host.
    figures
        Files of the pictures too: "png", or "svg" for SVG beside PNG; None for none.
    any_data
        Whether other data than the run's will do; the page then says so.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    RunError
        If the data are others, or the run's weights are missing or damaged.
    OSError
        If a file cannot be written.
    """
    remark = check_data(run, dataset, any_data=any_data).remark
    return write_run_page(Findings(run, dataset, backend, remark), figures=figures)


def write_run_page(findings: Findings, *, figures: str | None = None) -> Path:
    """Write the page of a run whose data were compared already, as :func:`write_report` does.

    Parameters
    ----------
    findings
        The run and its data.
    figures
        As for :func:`write_report`.
    """
    path = findings.run.path / "report.html"
    write_page(run_page(findings), path, folder=path.parent / "figures", figures=figures)
    return path
