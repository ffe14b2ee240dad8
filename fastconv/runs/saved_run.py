"""Reading the folder of a run: what was trained, how it went, and the weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastconv._errors import UserError
from fastconv._files import as_text
from fastconv.data.identity import PartIdentity
from fastconv.execution.config import ExecutionConfig
from fastconv.inference import Inference
from fastconv.network import NetworkError, Sequential
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import EARLIER_NAMES, Recipe, load_written_recipe
from fastconv.recipes.schema import RecipeError
from fastconv.runs.run_folder import FORMAT, HISTORY_COLUMNS, PROBE_COLUMNS

_T = TypeVar("_T")

SUMMARY_NUMBERS = (
    "batch_size", "steps", "epochs", "parameters", "warmup_seconds", "train_seconds", "step_ms",
    "samples_per_second", "train_loss", "train_accuracy", "train_loss_final",
    "train_accuracy_final", "validation_loss", "validation_accuracy", "test_loss",
    "test_accuracy", "peak_rss_mib", "start_seconds", "load_seconds", "validate_seconds",
    "test_seconds", "report_seconds", "total_seconds",
)  # fmt: skip
"""Keys of a summary that are numbers, or null."""


DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError,
    csv.Error,
)  # fmt: skip
"""Errors that reading a damaged file raises."""


class RunError(UserError, ValueError):
    """A run's folder that cannot be read: which file, why, and the fix, in one line."""


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A finished run.

    Parameters
    ----------
    path
        Its folder.
    recipe
        The full resolved recipe.
    environment, summary
        As in environment.json and summary.json.
    class_names
        Empty for a regression.
    image_shape
        (height, width, channels) of the data set's images.
    preprocessing
        What happens to images before the first layer, with the statistics of the training set.
    history
        The columns of history.csv, float64; NaN where there is no value.
    dataset_name
        Of the data that it was trained on: the recipe's, unless other data were given.
    probe
        For each layer, the columns of probe.csv by name, float64; empty where the run has none.
    data
        Which samples each part of the data had, by its name; empty for a run of an earlier version,
        which does not say.
    image_range
        Smallest and largest value of floating images that it was trained on; None for pixels of a
        byte, and for a run of an earlier version.
    ground
        Usual brightness, 0 to 1, at the edges of the grey pictures that it was trained on; None for
        others, and for a run of an earlier version.
    bits
        Of the values of pictures with more than 8 bits that it was trained on; else None.
    """

    path: Path
    recipe: Recipe
    environment: dict[str, Any]
    summary: dict[str, Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    history: dict[str, NDArray[np.float64]]
    dataset_name: str
    probe: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    data: dict[str, PartIdentity] = field(default_factory=dict)
    image_range: tuple[float, float] | None = None
    ground: float | None = None
    bits: int | None = None

    @property
    def name(self) -> str:
        """The folder's own name, as text."""
        return as_text(self.path.resolve().name)

    def inference(self, config: ExecutionConfig | None = None) -> Inference:
        """Return the trained network, ready to be applied.

        Parameters
        ----------
        config
            Where and how it computes; None for what is chosen here.

        Raises
        ------
        RunError
            If the weights are missing, damaged or not this network's.
        """
        return self.inference_of(self.network(), config)

    def inference_of(self, network: Sequential, config: ExecutionConfig | None = None) -> Inference:
        """Return a network that takes what this run's takes, ready to be applied.

        Parameters
        ----------
        network
            The network, such as one from :meth:`network`.
        config
            As for :meth:`inference`.
        """
        return Inference(
            network,
            loss=self.recipe.make_loss(),
            preprocessing=self.preprocessing,
            config=config,
        )

    def require_finite(self, scores: NDArray[Any]) -> None:
        """Raise a RunError unless what the network says are finite numbers."""
        if not np.isfinite(scores).all():
            raise RunError(
                f"run {self.path}: the network's scores are not finite numbers: its training "
                f"diverged; train again with a smaller learning rate"
            )

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the network's output."""
        return self.initial_network().output_shape

    def initial_network(self, images: NDArray[Any] | None = None) -> Sequential:
        """Return the network as it was before the first step.

        Parameters
        ----------
        images
            What it was trained on, of which whitening filters are made; without them these are not
            as they were.
        """
        return self.recipe.make_network(self.image_shape, images, self.preprocessing)

    def network(self) -> Sequential:
        """Return the trained network.

        Raises
        ------
        RunError
            If the weights are missing, damaged or not this network's.
        """
        network = self.initial_network()
        try:
            network.load_weights(self.path / "weights.safetensors")
        except NetworkError as fault:
            raise RunError(f"run {self.path}: {fault}; train it again") from None
        return network


def load_run(path: str | Path) -> SavedRun:
    """Read the folder of a run, all but the weights.

    Parameters
    ----------
    path
        As ``python -m fastconv.train`` wrote it.

    Raises
    ------
    RunError
        If it is not there, incomplete, damaged, or of a newer version.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"run {folder}: no such folder; give one that fastconv.train wrote")
    model = _read(folder, "model.json", _object)
    made = model.get("format")
    if not isinstance(made, int) or isinstance(made, bool) or made < 1:
        raise RunError(f"run {folder}: model.json has no format number; train it again")
    if made > FORMAT:
        raise RunError(
            f"run {folder}: its format is {made}, but this fastconv reads up to {FORMAT}; update "
            f"fastconv"
        )
    if not (folder / "weights.safetensors").is_file():
        raise _missing(folder, "weights.safetensors")
    names, shape, preprocessing = _read(folder, "model.json", lambda _: _fields(model))
    name, data = _read(folder, "model.json", lambda _: _data(model))
    run = SavedRun(
        folder,
        _read(folder, "recipe.toml", load_written_recipe),
        _read(folder, "environment.json", _object),
        _read(folder, "summary.json", _summary),
        names,
        shape,
        preprocessing,
        _read(folder, "history.csv", _history),
        name,
        _read(folder, "probe.csv", _probe) if (folder / "probe.csv").exists() else {},
        data,
        _read(folder, "model.json", lambda _: _image_range(model)),
        _read(folder, "model.json", lambda _: _ground(model)),
        _read(folder, "model.json", lambda _: _bits(model)),
    )
    outputs = len(names) or None
    if not run.recipe.make_loss().takes_labels:
        fits = outputs is None
    else:
        fits = run.output_shape == (outputs,)
    if not fits:
        raise RunError(
            f"run {folder}: model.json is damaged ({len(names)} names of classes do not fit the "
            f"network and its loss); train it again"
        )
    return run


def _missing(folder: Path, name: str) -> RunError:
    if any(folder.glob("checkpoints/step-*")):
        return RunError(
            f"run {folder}: {name} is missing: the run stopped before its end; go on with "
            f"python -m fastconv.train --resume {folder}"
        )
    return RunError(
        f"run {folder}: {name} is missing, so this is no finished run; train it again, or give "
        f"another run's folder"
    )


def _read(folder: Path, name: str, read: Callable[[Path], _T]) -> _T:
    """Read a file, and say what is wrong with it."""
    file = folder / name
    if not file.is_file():
        raise _missing(folder, name)
    try:
        return read(file)
    except RecipeError as fault:
        raise RunError(f"run {folder}: {fault}; train it again") from None
    except UserError as fault:  # nothing is wrong with the run
        raise RunError(f"run {folder}: {fault}") from None
    except DAMAGE as fault:
        reason = f"{type(fault).__name__}: {fault}"
        raise RunError(f"run {folder}: {name} is damaged ({reason}); train it again") from None
    except OSError as fault:
        raise RunError(f"run {folder}: {name} cannot be read ({fault.strerror})") from None


def _object(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    return content


def _summary(file: Path) -> dict[str, Any]:
    summary = _object(file)
    for name in SUMMARY_NUMBERS:
        value = summary.get(name)
        if value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"{name} is {value!r}; expected a number")
    return summary


def _fields(
    model: dict[str, Any],
) -> tuple[tuple[str, ...], tuple[int, int, int], Preprocessing]:
    """Class names, shape of the images, and preprocessing, of what model.json holds."""
    height, width, channels = (int(size) for size in model["image_shape"])
    names = tuple(str(name) for name in model["class_names"])
    table = {EARLIER_NAMES.get(key, key): value for key, value in model["preprocessing"].items()}
    return names, (height, width, channels), Preprocessing.from_table(table)


def _image_range(model: dict[str, Any]) -> tuple[float, float] | None:
    found = model.get("image_range")
    if found is None:
        return None
    low, high = found
    return float(low), float(high)


def _ground(model: dict[str, Any]) -> float | None:
    found = model.get("ground")
    return None if found is None else float(found)


def _bits(model: dict[str, Any]) -> int | None:
    found = model.get("bits")
    return None if found is None else int(found)


def _data(model: dict[str, Any]) -> tuple[str, dict[str, PartIdentity]]:
    """Name and parts of the data, of what model.json holds."""
    name, parts = model["dataset"], model.get("data", {})
    if not isinstance(name, str) or not isinstance(parts, dict):
        raise ValueError("expected a name in dataset, and an object in data")
    return name, {part: PartIdentity.from_table(table) for part, table in parts.items()}


def _rows(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with open(file, encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        names = [EARLIER_NAMES.get(name, name) for name in reader.fieldnames or ()]
        reader.fieldnames = names
        rows = list(reader)
    lacking = [name for name in columns if name not in names]
    if lacking:
        raise ValueError(f"no column {lacking[0]}")
    return rows


def _numbers(rows: list[dict[str, str]], column: str) -> NDArray[np.float64]:
    return np.array([float(row[column] or "nan") for row in rows], np.float64)


def _history(file: Path) -> dict[str, NDArray[np.float64]]:
    rows = _rows(file, HISTORY_COLUMNS)
    more = [name for name in (rows[0] if rows else ()) if str(name).startswith("validation_")]
    columns = dict.fromkeys([*HISTORY_COLUMNS, *more])
    return {column: _numbers(rows, column) for column in columns}


def _probe(file: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    rows = _rows(file, PROBE_COLUMNS)
    numbers = [column for column in PROBE_COLUMNS if column != "layer"]
    found = {
        layer: {
            column: _numbers([row for row in rows if row["layer"] == layer], column)
            for column in numbers
        }
        for layer in dict.fromkeys(row["layer"] for row in rows)
    }
    steps = [columns["step"].tolist() for columns in found.values()]
    if any(each != steps[0] for each in steps):
        raise ValueError("the layers have different steps")
    return found
