"""The systems of the reports: what each is, what is stated about it, and the recipe that is it."""

from __future__ import annotations

import functools
import json
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from fastconv.recipe import Recipe, load_recipe
from fastconv.recipes.schema import RecipeError, nearest, read_dataclass

FIGURES = {
    "test_accuracy": "test",
    "validation_accuracy": "validation",
    "train_accuracy": "running",
    "train_accuracy_final": "training",
    "test_loss": "test loss",
    "train_loss_final": "training loss",
}
"""Figures of a run's summary that reports state, and what people call them."""


def is_accuracy(figure: str) -> bool:
    """Whether a figure is a fraction of 1, of which more is better; else a loss."""
    return "accuracy" in figure


@dataclass(frozen=True)
class Report:
    """A course report.

    Parameters
    ----------
    name
        A letter.
    title
        What it is about.
    """

    name: str
    title: str


@dataclass(frozen=True)
class Quick:
    """A shortened run and what it must reach.

    Parameters
    ----------
    figure
        Of the run's summary.
    at_least, at_most
        Its bounds; one of the two.
    settings
        Keys of the recipe that make it short.
    """

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("quick: expected at_least or at_most")

    def misses(self, value: float | None) -> bool:
        """Whether a figure is out of bounds; a training that diverged has none."""
        if value is None:
            return True
        if self.at_least is not None:
            return value < self.at_least
        return self.at_most is not None and value > self.at_most


@dataclass(frozen=True)
class System:
    """A system of a report.

    Parameters
    ----------
    name, report
        Its name, and that of the report.
    quick
        Its shortened run.
    recipe
        The recipe that it is; None for that of its name.
    settings
        Keys of the recipe that are other than there.
    stated
        Figures that the report states.
    decides
        The figure that says whether the result is reached.
    not_comparable
        Why the stated figures cannot be compared with ours, if so.
    if_missed
        What to say where the result is not reached.
    note
        What else is to be known.
    time, seconds
        What the report says the training took: in words, and for the whole training.
    seeds
        Runs without --seeds.
    """

    name: str
    report: str
    quick: Quick
    recipe: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    stated: dict[str, float] = field(default_factory=dict)
    decides: str = "test_accuracy"
    not_comparable: str | None = None
    if_missed: str | None = None
    note: str | None = None
    time: str | None = None
    seconds: float | None = None
    seeds: int = 1

    def __post_init__(self) -> None:
        for figure in (self.decides, self.quick.figure, *self.stated):
            if figure not in FIGURES:
                raise ValueError(f"{figure!r}: expected one of {', '.join(FIGURES)}")

    @property
    def recipe_name(self) -> str:
        """The name of its recipe."""
        return self.recipe or self.name

    def load(self, seed: int = 0, *, quick: bool = False) -> Recipe:
        """Return its recipe with one seed; ``quick`` for the shortened run."""
        return load_recipe(self.recipe_name, self._settings(seed, quick))

    def command(self, seed: int = 0, *, quick: bool = False) -> str:
        """Return the command line that trains it."""
        return train_command(self.recipe_name, self._settings(seed, quick))

    def _settings(self, seed: int, quick: bool) -> list[tuple[str, Any]]:
        shortened = self.quick.settings if quick else {}
        seeded = {"seed": seed} if seed else {}
        return list({**self.settings, **shortened, **seeded}.items())


def train_command(recipe: str, settings: Sequence[tuple[str, Any]]) -> str:
    """Return the command line that trains a recipe with some keys set.

    Examples
    --------
    >>> train_command("digits", [("epochs", 2), ("data.dataset", "mnist"), ("seed", 3)])
    'python -m fastconv.train --recipe digits --set epochs=2 --set data.dataset=mnist --seed 3'
    """
    words = ["python", "-m", "fastconv.train", "--recipe", recipe]
    for key, value in settings:
        if key == "seed":
            words += ["--seed", str(value)]
        else:
            text = value if isinstance(value, str) else _toml(value)
            words += ["--set", f"{key}={text}"]
    return shlex.join(words)


def _toml(value: Any) -> str:
    """A value as TOML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)  # numbers, truth values and strings are written alike


@dataclass(frozen=True)
class _Systems:
    reports: tuple[Report, ...]
    systems: tuple[System, ...]


@functools.cache
def _read() -> _Systems:
    source = resources.files("fastconv.reproduce") / "systems.toml"
    return read_dataclass(_Systems, tomllib.loads(source.read_text(encoding="utf-8")), "")


def reports() -> tuple[Report, ...]:
    """Return the reports."""
    return _read().reports


def systems() -> tuple[System, ...]:
    """Return all systems, in the order of the reports."""
    return _read().systems


def chosen_systems(names: Sequence[str]) -> tuple[System, ...]:
    """Return the systems of these names, in the order of the reports; all without names.

    Raises
    ------
    RecipeError
        If there is no such system.
    """
    known = {system.name: system for system in systems()}
    for name in names:
        if name not in known:
            raise RecipeError(
                f"system is {name!r}; expected one of {', '.join(known)}{nearest(name, known)}"
            )
    return tuple(s for s in systems() if not names or s.name in names)
