"""Searches: TOML files that say what to vary, how, and by what to judge it."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fastconv._files import as_text
from fastconv.recipe import Recipe, load_recipe, read_recipe, set_keys
from fastconv.recipes.schema import RecipeError, read_dataclass
from fastconv.recipes.shipped_files import is_path, read_toml, shipped_names
from fastconv.search.space import Dimension, Settings, combinations


class SearchError(RecipeError):
    """A search that cannot be made: what is wrong, and the fix, in one line."""


@dataclass(frozen=True)
class Finer:
    """``[finer]``: a second stage, in the range that the best of the first stage span.

    Parameters
    ----------
    trials
        So many more.
    best
        How many of the first stage say where.
    """

    trials: int
    best: int = 3

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}; expected 1 or more")
        if self.best < 2:
            raise ValueError(f"best is {self.best}; expected 2 or more, which span a range")


@dataclass(frozen=True)
class Definition:
    """Contents of a search file.

    Parameters
    ----------
    recipe
        Name of a recipe, or the path of one, from the folder of the search file.
    space
        A dimension for each key of the recipe that varies.
    name, description
        For people; the name is that of the study and of the folder too.
    method
        "random", "grid" (every combination once) or "tpe" (tree-structured Parzen estimators).
    trials
        So many; a grid has a trial for each combination, or the first so many.
    metric
        "validation_accuracy", the more the better, or "validation_loss", the less the better: of
        the network at the end of the training.
    seed
        Of the draws and of the folds.
    repeats
        Trainings of each setting: with the recipe's seed, the seed after that, and so on.
    folds
        Cross validation: the training part is divided into so many, each held out once. 0 judges
        by the recipe's validation part.
    settings
        Keys of the recipe that are the same in all trials.
    finer
        A second stage.
    """

    recipe: str
    space: dict[str, Dimension]
    name: str
    description: str = ""
    method: Literal["random", "grid", "tpe"] = "random"
    trials: int | None = None
    metric: Literal["validation_accuracy", "validation_loss"] = "validation_accuracy"
    seed: int = 0
    repeats: int = 1
    folds: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    finer: Finer | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise RecipeError(
                f"name is {self.name!r}; expected letters, digits, '.', '_' and '-': it names a "
                f"folder"
            )
        if not self.space:
            raise RecipeError('space: there is no key to vary; add [space."optimizer.lr"]')
        if self.trials is None and self.method != "grid":
            raise RecipeError(f"trials: missing; say how many trials method {self.method!r} makes")
        for name, value, least in (("trials", self.trials, 1), ("repeats", self.repeats, 1)):
            if value is not None and value < least:
                raise RecipeError(f"{name} is {value}; expected {least} or more")
        if self.folds < 0 or self.folds == 1:
            raise RecipeError(f"folds is {self.folds}; expected 2 or more, or 0 for none")
        if not 0 <= self.seed < 2**32:
            raise RecipeError(f"seed is {self.seed}; expected 0 to 2**32 - 1")
        if self.method == "grid":
            self._check_grid()
        for key in self.space:
            if key in self.settings:
                raise RecipeError(f"{key} is in [settings] and in [space]; leave one of them out")

    def _check_grid(self) -> None:
        for key, dimension in self.space.items():
            if dimension.values is None:
                raise RecipeError(
                    f"space.{key}: kind is {dimension.kind!r}, but method 'grid' visits points; "
                    f"give values = [...], or set method to 'random' or 'tpe'"
                )
        if self.finer is not None:
            raise RecipeError(
                "finer: a grid has no finer stage; leave [finer] out, or set method to 'random' or "
                "'tpe'"
            )

    @property
    def is_maximised(self) -> bool:
        """Whether more is better."""
        return self.metric == "validation_accuracy"

    @property
    def first_trials(self) -> int:
        """Trials of the first stage."""
        if self.method != "grid":
            assert self.trials is not None  # checked when it was made
            return self.trials
        points = len(combinations(self.space))
        return points if self.trials is None else min(points, self.trials)

    @property
    def trainings(self) -> int:
        """Trainings of one trial."""
        return self.repeats * max(1, self.folds)


@dataclass(frozen=True)
class Search:
    """A search and the recipe that it varies.

    Parameters
    ----------
    definition
        What the file says.
    base
        Table of the whole recipe, with what is the same in all trials.
    """

    definition: Definition
    base: dict[str, Any]

    def recipe(self, settings: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a trial.

        Raises
        ------
        RecipeError
            If a key or a value is not as it must be.
        """
        return varied(self.base, settings)

    def first_settings(self) -> Settings:
        """Return one point of the space."""
        return {key: d.ends()[0] for key, d in self.definition.space.items()}

    def identity(self) -> dict[str, Any]:
        """Return all that the result of a trial depends on, to tell one search from another.

        The number of trials is not in it, nor the finer stage: both can grow later.
        """
        given = self.definition
        for_people = ("name", "description")
        return {
            "recipe": {key: each for key, each in self.base.items() if key not in for_people},
            "space": {key: dimension_table(each) for key, each in given.space.items()},
            "method": given.method,
            "metric": given.metric,
            "seed": given.seed,
            "repeats": given.repeats,
            "folds": given.folds,
        }

    def table(self) -> dict[str, Any]:
        """Return the search as a TOML table."""
        given = dataclasses.asdict(self.definition)
        space = {key: dimension_table(each) for key, each in self.definition.space.items()}
        return {key: value for key, value in {**given, "space": space}.items() if value is not None}


def varied(base: Mapping[str, Any], settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a table with some keys set to other values."""
    table = copy.deepcopy(dict(base))
    set_keys(table, settings.items())
    return read_recipe(table)


def dimension_table(dimension: Dimension) -> dict[str, Any]:
    """Return a dimension as a table."""
    values = dataclasses.asdict(dimension).items()
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values
        if value is not None
    }


def search_names() -> tuple[str, ...]:
    """Names of the searches that come with fastconv."""
    return shipped_names("search/searches")


def load_search(
    name_or_file: str, settings: Sequence[tuple[str, Any]] = (), trials: int | None = None
) -> Search:
    """Load a search by its name, or from a TOML file.

    Parameters
    ----------
    name_or_file
        One of :func:`search_names`, or a path (with a slash, or ending in .toml).
    settings
        (key, value) pairs: keys of the recipe, instead of or besides those of ``[settings]``.
    trials
        Of the first stage, instead of what the file says.

    Raises
    ------
    RecipeError
        If there is no such search, or what it says is not as it must be.
    """
    table = read_toml("search", "search/searches", name_or_file, "--list")
    table.setdefault("name", as_text(Path(name_or_file).stem))
    if trials is not None:
        table["trials"] = trials
    try:
        table["space"] = _read_space(table.get("space", {}))
        _refuse_sections("settings", table.get("settings", {}))
        # Defaults first, so that --set wins over the file.
        fixed = {**table.get("settings", {}), **dict(settings)}
        definition = read_dataclass(Definition, {**table, "settings": fixed}, "")
        base = _base(definition, name_or_file)
        search = Search(definition, base)
        _check_space(search)
    except RecipeError as fault:
        raise SearchError(f"search {name_or_file}: {fault}") from None
    return search


def _read_space(tables: Any) -> dict[str, Dimension]:
    if not isinstance(tables, dict):
        raise RecipeError(f"space is {tables!r}; expected a table for each key of the recipe")
    _refuse_sections("space", {k: v for k, v in tables.items() if _holds_tables(v)})
    space = {}
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise RecipeError(f"space.{key} is {table!r}; expected kind, low and high, or values")
        space[key] = read_dataclass(Dimension, table, f"space.{key}")
    return space


def _holds_tables(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(each, dict) for each in value.values())


def _refuse_sections(where: str, table: Any) -> None:
    """Say that dotted keys need quotes: without them TOML reads sections."""
    for key, value in table.items() if isinstance(table, dict) else ():
        if isinstance(value, dict):
            inner = next(iter(value), "lr")
            shown = f"{key}.{inner}"
            form = f'[space."{shown}"]' if where == "space" else f'"{shown}" = ...'
            raise RecipeError(f"{where}.{key}: is a section; write its keys in quotes: {form}")


def _base(definition: Definition, name_or_file: str) -> dict[str, Any]:
    """Table of the recipe with the settings of the file."""
    recipe = definition.recipe
    if is_path(recipe) and is_path(name_or_file):
        recipe = str(Path(name_or_file).parent / recipe)
    try:
        return load_recipe(recipe, list(definition.settings.items())).table()
    except RecipeError as fault:
        raise RecipeError(str(fault).replace("--set ", "settings: ")) from None


def _check_space(search: Search) -> None:
    """Find out before the work that every value can be set, beside the first of the others."""
    first = search.first_settings()
    for key, dimension in search.definition.space.items():
        for value in dimension.ends():
            try:
                search.recipe({**first, key: value})
            except RecipeError as fault:
                told = str(fault).removeprefix("--set ")
                raise RecipeError(f"space: {told}") from None
