"""The folder that a run leaves: recipe, environment, history, weights, summary."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import os
import re
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastconv._errors import UserError
from fastconv._files import lock_folder, remove_left_behind, replace_file, write_toml
from fastconv.data import Dataset
from fastconv.data.identity import PartIdentity, identify_parts
from fastconv.network import Sequential
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import Recipe

if TYPE_CHECKING:
    from fastconv.analysis.probe import LayerState
    from fastconv.training_loop import HistoryRecord

HISTORY_COLUMNS = (
    "step",
    "epoch",
    "learning_rate",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "train_seconds",
)
"""Columns of history.csv; accuracies are fractions of 1, empty where there is none."""
PROBE_COLUMNS = (
    "step",
    "layer",
    "gradient_norm",
    "weight_norm",
    "mean",
    "std",
    "dead",
)
"""Columns of probe.csv; see :class:`fastconv.analysis.probe.LayerState`."""
FORMAT = 1
"""Version of a run's folder, in model.json; a newer one is refused."""
_LEAST_SIDE, _MOST_GROUNDS = 4, 1000
"""Pixels of pictures that have edges, and how many of them are looked at."""


class OutputError(UserError, OSError):
    """A folder or file that cannot be written: which, why, and the fix, in one line."""


class RunFolder:
    """Writes a run's files as they come, and keeps other processes from doing so too.

    Parameters
    ----------
    path
        The folder; it is made, with its parents. It must be empty or not exist, so that no earlier
        run is overwritten.

    Raises
    ------
    OutputError
        If it cannot be made or written, holds files already, or another process writes there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
        self._begin()

    @classmethod
    def new(cls, name: str) -> RunFolder:
        """Return a folder that nobody else has: runs/NAME-DATE-TIME, with a number if need be.

        Parameters
        ----------
        name
            Of the recipe.
        """
        made = cls.__new__(cls)
        for made.path in _new_paths(name):
            with contextlib.suppress(FileExistsError), made._writable():
                made.path.parent.mkdir(parents=True, exist_ok=True)
                made.path.mkdir()
                break
        made._begin()
        return made

    @classmethod
    def reopened(cls, path: str | Path) -> RunFolder:
        """Return the folder of a run that is to go on; what it holds stays.

        Parameters
        ----------
        path
            The folder.

        Raises
        ------
        OutputError
            If it cannot be written, or another process writes there.
        """
        made = cls.__new__(cls)
        made.path = Path(path)
        made._lock()
        for folder in (made.path, made.path / "figures", made.path / "checkpoints"):
            remove_left_behind(folder)
        return made

    def _begin(self) -> None:
        """Lock an empty folder, and find out now, not after hours, whether it can be written."""
        self._lock()
        with self._writable():
            taken = next(self.path.iterdir(), None)
            if taken is None:
                self.write_history(())
        if taken is not None:
            self.close()
            raise OutputError(
                f"output folder {self.path}: not empty ({taken.name}); choose another with --out, "
                f"or remove it"
            )

    def _lock(self) -> None:
        with self._writable():
            handle = lock_folder(self.path)
        if handle is None:
            raise OutputError(
                f"output folder {self.path}: another process is training there; wait for it, or "
                f"choose another with --out"
            )
        self._unlock = weakref.finalize(self, os.close, handle)

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as fault:
            if fault.filename is not None and Path(fault.filename).is_dir():
                raise  # a folder that somebody else has just made
            raise self._not_writable(fault) from None
        except OSError as fault:
            raise self._not_writable(fault) from None

    def _not_writable(self, fault: OSError) -> OutputError:
        return OutputError(
            f"output folder {self.path}: cannot be written ({fault.strerror}); choose another "
            f"with --out"
        )

    def close(self) -> None:
        """Let other processes write there."""
        self._unlock()

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the full resolved recipe, which ``--recipe FILE`` runs again."""
        write_toml(recipe.table(), self.path / "recipe.toml")

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file."""
        with replace_file(self.path / name) as file:
            file.write(to_json(content))

    metrics: tuple[str, ...] = ()
    """Of validations, beside loss and accuracy: more columns of history.csv."""

    def append_history(self, record: HistoryRecord) -> None:
        """Add a line to history.csv."""
        self._append("history.csv", [_history_row(record, self.metrics)])

    def write_history(self, records: Sequence[HistoryRecord]) -> None:
        """Write history.csv again."""
        with replace_file(self.path / "history.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow((*HISTORY_COLUMNS, *(f"validation_{each}" for each in self.metrics)))
            writer.writerows(_history_row(record, self.metrics) for record in records)

    @property
    def probe_text(self) -> str:
        """What is in probe.csv; empty where it is not there."""
        try:
            return (self.path / "probe.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def write_probe(self, text: str) -> None:
        """Write probe.csv again, or remove it where there is nothing to write."""
        if text:
            with replace_file(self.path / "probe.csv") as file:
                file.write(text)
        else:
            (self.path / "probe.csv").unlink(missing_ok=True)

    def append_probe(self, step: int, states: Sequence[LayerState]) -> None:
        """Add a line for each layer to probe.csv."""
        rows = [(step, each.layer, *map(_cell, dataclasses.astuple(each)[1:])) for each in states]
        if not (self.path / "probe.csv").exists():
            rows.insert(0, PROBE_COLUMNS)
        self._append("probe.csv", rows)

    def _append(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Add lines to a CSV file, at once."""
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(rows)
        with open(self.path / name, "a", encoding="utf-8", newline="\n") as file:
            file.write(lines.getvalue())

    def write_model(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        identity: Mapping[str, PartIdentity] | None = None,
    ) -> None:
        """Write model.json: what it takes beside recipe and weights to use the network.

        Also which data it is trained on, to tell other data of the same name from them: their
        identity, read from the data unless it is given.
        """
        parts = identify_parts(dataset) if identity is None else identity
        content = {
            "format": FORMAT,
            "dataset": dataset.name,
            "data": {part: samples.table() for part, samples in parts.items()},
            "class_names": list(dataset.class_names),
            "image_shape": list(dataset.image_shape),
            "image_range": _range(dataset.training.images),
            "bits": dataset.bits,
            "ground": _ground(dataset.training.images),
            "preprocessing": preprocessing.table(),
        }
        self.write_json("model.json", content)

    def write_best(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Write best.safetensors: the weights of the best validation."""
        from safetensors.numpy import save

        with replace_file(self.path / "best.safetensors", "wb") as file:
            file.write(save(dict(sorted(weights.items()))))

    def write_weights(self, network: Sequential) -> None:
        """Write weights.safetensors."""
        network.save_weights(self.path / "weights.safetensors")


def _history_row(record: HistoryRecord, metrics: Sequence[str] = ()) -> tuple[object, ...]:
    validation = record.validation
    return (
        record.step,
        record.epoch,
        repr(record.learning_rate),
        repr(record.training.loss),
        _cell(record.training.accuracy),
        _cell(validation.loss if validation else None),
        _cell(validation.accuracy if validation else None),
        f"{record.seconds:.6f}",
        f"{record.train_seconds:.6f}",
        *(_cell(record.metrics.get(name)) for name in metrics),
    )


def _range(images: NDArray[Any]) -> list[float] | None:
    """Return the smallest and the largest value of floating images; None of pixels of a byte."""
    if images.dtype == np.uint8:
        return None
    return [float(images.min()), float(images.max())]


def _ground(images: NDArray[Any]) -> float | None:
    """Return the usual brightness, 0 to 1, at the edges of grey pictures of bytes; None of others.

    It tells ink on paper from chalk on a board.
    """
    if images.dtype != np.uint8 or images.shape[3] != 1 or min(images.shape[1:3]) < _LEAST_SIDE:
        return None
    if not len(images):
        return None
    return brightness_of_edges(images[:_MOST_GROUNDS])


def brightness_of_edges(images: NDArray[np.uint8]) -> float:
    """Return the mean brightness, 0 to 1, of the outermost pixels of images."""
    edges = (images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1])
    total = sum(float(edge.sum(dtype=np.float64)) for edge in edges)
    return total / (255 * sum(edge.size for edge in edges))


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def to_json(content: dict[str, Any]) -> str:
    """Return strict JSON: numbers that are not finite become null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(clean(content), indent=2, allow_nan=False) + "\n"


def _new_paths(recipe: str) -> Iterator[Path]:
    """Paths for a run's folder, the first of them runs/NAME-DATE-TIME."""
    encoding = sys.getfilesystemencoding()  # a recipe's name is any text, a folder's is not
    name = re.sub(r"[^\w.-]+", "-", recipe.encode(encoding, "replace").decode(encoding))
    base = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")
