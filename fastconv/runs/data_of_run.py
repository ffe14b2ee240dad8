"""Whether data are those that a run was trained on, and finding them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from fastconv.data import Dataset
from fastconv.data.catalogue import has_files
from fastconv.data.identity import PartIdentity, differences, identify_parts
from fastconv.runs.experiment import load_dataset
from fastconv.runs.saved_run import RunError, SavedRun

Agreement: TypeAlias = Literal["same", "other", "unknown"]
"""Agreement of data with those of a run; unknown where the run does not say which these were."""


@dataclass(frozen=True)
class DataCheck:
    """Result of comparing data with those of a run.

    Parameters
    ----------
    agreement
        Whether they are the same.
    remark
        Where they are not known to be, that in one line; else empty.
    """

    agreement: Agreement
    remark: str = ""


def load_data(run: SavedRun, data_dir: str | Path | None, *, any_data: bool = False) -> Dataset:
    """Load the data of a run's recipe, which :func:`check_data` compares with those of the run.

    Parameters
    ----------
    run
        The run.
    data_dir
        As for :func:`fastconv.data.load`.
    any_data
        Whether others than those that it was trained on will do.

    Raises
    ------
    DataError, RecipeError
        If they are not there.
    RunError
        If the run's are data of one's own, of which no command knows where they are.
    """
    if run.dataset_name != run.recipe.data.name and not any_data:
        raise RunError(
            f"run {run.path}: was trained on data of one's own, named {run.dataset_name!r}, which "
            f"a command cannot load; give them in Python: fastconv.report.write_report(load_run"
            f"(...), dataset), load_run(...).inference().evaluate(dataset.test); or take "
            f"{run.recipe.data.name} in their place with --any-data"
        )
    return load_dataset(run.recipe, data_dir)


def check_data(
    run: SavedRun,
    dataset: Dataset,
    *,
    any_data: bool = False,
    found: Mapping[str, PartIdentity] | None = None,
) -> DataCheck:
    """Compare data with those that a run was trained on.

    Parameters
    ----------
    run
        The run.
    dataset
        The data.
    any_data
        Whether others will do, if only the network can be applied to them.
    found
        Which samples the data have, where that is known already; else they are read.

    Raises
    ------
    RunError
        If they are others.
    """
    other = _differences(run, dataset, found)
    if other and not any_data:
        fix = "give the folder of its data with --data-dir"
        if not (dataset.name == run.recipe.data.name and has_files(run.recipe.data.dataset)):
            fix = "give the data set that it was trained on, or train it again"
        raise RunError(
            f"run {run.path}: was trained on other data than this {dataset.name}, which has "
            f"{', '.join(other)}; {fix}, or go on with --any-data (any_data=True in Python)"
        )
    _require_form(run, dataset)
    if other:
        return DataCheck(
            "other",
            f"run {run.path}: goes on with other data than it was trained on: this {dataset.name} "
            f"has {', '.join(other)}",
        )
    if not run.data:
        return DataCheck(
            "unknown",
            f"run {run.path}: is of an earlier version, which did not write down its data; this "
            f"{dataset.name} could not be compared with them",
        )
    return DataCheck("same")


def _differences(
    run: SavedRun, dataset: Dataset, found: Mapping[str, PartIdentity] | None
) -> list[str]:
    """Differences of the data, in words."""
    other = []
    if dataset.name != run.dataset_name:
        other.append(f"another name than {run.dataset_name!r}")
    if run.data and dataset.class_names != run.class_names:
        other.append("other names of classes")
    if run.data:
        other += differences(run.data, identify_parts(dataset) if found is None else found)
    return other


def _require_form(run: SavedRun, dataset: Dataset) -> None:
    """Raise a RunError unless the network can be applied to the data."""
    labels = dataset.training.labels
    expected = run.image_shape, len(run.class_names), run.output_shape
    outputs = (len(dataset.class_names) or labels.shape[1],)
    if expected != (dataset.image_shape, len(dataset.class_names), outputs):
        kind = "classes" if dataset.class_names else "numbers"
        wanted = "classes" if run.class_names else "numbers"
        raise RunError(
            f"run {run.path}: its network takes images of shape {run.image_shape} for "
            f"{expected[2][0]} {wanted}, but {dataset.name} has images of shape "
            f"{dataset.image_shape} for {outputs[0]} {kind}; give data of the same form"
        )
