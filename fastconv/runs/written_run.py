"""What a run wrote down of itself: whether it is the one asked for, and has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastconv.recipe import Recipe, load_written_recipe
from fastconv.runs.saved_run import RunError

FREE = ("epochs", "steps", "evaluate_train")
"""Keys of a recipe that may be another when its run goes on."""
ENDS = ("completed", "steps", "stopped early")
"""In a summary, of runs that came to their end."""


def is_finished(path: str | Path, recipe: Recipe, steps: int | None = None) -> bool:
    """Whether a folder holds the run that is asked for, and nothing is left to do for it.

    One that diverged would do so again.

    Parameters
    ----------
    path
        The folder.
    recipe
        Of the run that is asked for.
    steps
        Updates that it is to make; None for the recipe's own length.

    Raises
    ------
    RunError, RecipeError
        If what the folder holds is damaged.
    """
    folder = Path(path)
    summary = read_json(folder, "summary.json")
    if summary is None or summary.get("stopped") not in (*ENDS, "diverged"):
        return False
    there = load_written_recipe(folder / "recipe.toml")
    length = recipe.epochs, recipe.steps, recipe.evaluate_train
    if length != (there.epochs, there.steps, there.evaluate_train):
        return False
    options = read_environment(folder).get("options") or {}
    return options.get("steps") == steps and not first_difference(recipe, there)


def first_difference(one: Recipe, other: Recipe) -> str:
    """Return the first key in which two recipes differ, of those that must not; empty for none."""
    ours, theirs = one.table(), other.table()
    for table in (ours, theirs):
        for name in FREE:
            table.pop(name, None)
    # "classes" was written down as their number.
    if one.awaits_classes:
        for table, made in zip(ours["layers"], theirs.get("layers", ()), strict=False):
            if table.get("units") == "classes" and "units" in made:
                table["units"] = made["units"]
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    return keys[0] if keys else ""


def read_json(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what a file of a run holds; None where it is not there or damaged."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


_KINDS = {
    "backend": str | None, "threads": int | None, "options": dict | None, "resumed": list | None,
    "options.data_dir": str | None, "options.init_from": str | None, "options.steps": int | None,
    "options.on_divergence": str | None, "options.validates": bool | None,
    "options.probes": bool | None,
}  # fmt: skip
"""Of environment.json: the types of what a run that goes on is begun with."""


def read_environment(folder: Path) -> dict[str, Any]:
    """Return what environment.json holds; nothing where it is not there.

    Raises
    ------
    RunError
        If a value is of a type that it never is.
    """
    content = read_json(folder, "environment.json") or {}
    for path, kind in _KINDS.items():
        first, _, last = path.partition(".")
        value = content.get(first)
        if last and value is not None:
            value = value.get(last)
        if not isinstance(value, kind):
            raise RunError(
                f"run {folder}: environment.json is damaged ({path} is {value!r:.60}); take it "
                f"away, and say with options what it said"
            )
    return content
