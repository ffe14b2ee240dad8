"""Tables of a recipe for layers of layers.

Their layers are tables too: ``layers = [{ kind = "conv2d", ... }, ...]``. Only recipes that have
some load this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastconv.layers import Layer
from fastconv.layers.graph import Graph
from fastconv.layers.merging import Concatenate, Residual, Scale
from fastconv.recipes.schema import RecipeError, nearest, one_of

_KEYS = {
    "residual": ("layers", "shortcut"),
    "scale": ("layers",),
    "concatenate": ("branches",),
    "graph": ("steps",),
}
"""Keys of each kind; all hold layers, ``branches`` lists of them, ``steps`` tables of them."""
_STEP_KEYS = ("name", "reads", "layer")

MakeLayer = Callable[[Mapping[str, Any], str], Layer]
"""Makes a layer of its table and the dotted path of that."""


def read_nested(table: Mapping[str, Any], where: str, make: MakeLayer) -> Layer:
    """Make a layer of layers.

    Parameters
    ----------
    table
        Keys and values.
    where
        Dotted path of the table, for error messages.
    make
        Makes each of the layers in it.

    Raises
    ------
    RecipeError
        If a key is unknown or missing, or holds no layers.
    """
    kind = table["kind"]
    keys = _KEYS[kind]
    for key in table:
        if key not in ("kind", *keys):
            raise RecipeError(
                f"{where}.{key} is unknown; a layer of kind {kind!r} has {one_of(keys)}"
                f"{nearest(key, keys)}"
            )
    if keys[0] not in table:
        raise RecipeError(f"{where}.{keys[0]} is missing; a layer of kind {kind!r} needs it")
    if kind == "concatenate":
        branches = _as_list(table["branches"], f"{where}.branches", "lists of layers")
        return Concatenate(
            *(
                _layers(branch, f"{where}.branches.{number}", make)
                for number, branch in enumerate(branches)
            )
        )
    if kind == "graph":
        return _graph(table["steps"], f"{where}.steps", make)
    layers = _layers(table["layers"], f"{where}.layers", make)
    if kind == "scale":
        return Scale(layers)
    return Residual(layers, _layers(table.get("shortcut", ()), f"{where}.shortcut", make))


def _graph(value: Any, where: str, make: MakeLayer) -> Graph:
    """Make a graph of the tables of its steps."""
    steps = []
    for number, step in enumerate(_as_list(value, where, "steps")):
        here = f"{where}.{number}"
        if not isinstance(step, Mapping) or set(step) != set(_STEP_KEYS):
            raise RecipeError(f"{here} is {step!r}; expected a table with {one_of(_STEP_KEYS)}")
        if not isinstance(step["layer"], Mapping):
            raise RecipeError(
                f"{here}.layer is {step['layer']!r}; expected a layer, such as {{ kind = 'relu' }}"
            )
        layer = make(step["layer"], f"{here}.layer")
        steps.append((step["name"], layer, step["reads"]))
    try:
        return Graph(steps)
    except (TypeError, ValueError) as fault:
        raise RecipeError(f"{where}: {fault}") from None


def _as_list(value: Any, where: str, of: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise RecipeError(f"{where} is {value!r}; expected a list of {of}")
    return value


def _layers(value: Any, where: str, make: MakeLayer) -> tuple[Layer, ...]:
    tables = _as_list(value, where, "layers")
    for number, table in enumerate(tables):
        if not isinstance(table, Mapping):
            raise RecipeError(
                f"{where}.{number} is {table!r}; expected a layer, such as {{ kind = 'relu' }}"
            )
    return tuple(make(table, f"{where}.{number}") for number, table in enumerate(tables))


def nested_table(layer: Layer, write: Callable[[Layer], dict[str, Any]]) -> dict[str, Any]:
    """Return the table of a layer of layers, each of which ``write`` makes a table of."""
    if isinstance(layer, Concatenate):
        return {"branches": [[write(each) for each in path] for path in layer.paths]}
    if isinstance(layer, Graph):
        return {
            "steps": [
                {"name": name, "reads": list(inputs), "layer": write(each)}
                for name, each, inputs in layer.graph_steps
            ]
        }
    assert isinstance(layer, (Residual, Scale))
    table = {"layers": [write(each) for each in layer.layers]}
    if isinstance(layer, Residual) and layer.shortcut:
        table["shortcut"] = [write(each) for each in layer.shortcut]
    return table
