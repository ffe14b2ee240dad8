"""Layers of one's own: classes that are no part of this package, in networks and recipes."""

from __future__ import annotations

import dataclasses
import os
import re
from importlib import import_module
from typing import Any, TypeVar

from fastconv._errors import UserError
from fastconv.layers.base import Layer, LayerTable

_Class = TypeVar("_Class", bound=type[Layer])

_ALLOWED = "FASTCONV_ALLOW_CUSTOM"
"""Environment variable: what a process allows its workers are allowed too."""


class CustomLayerError(UserError, TypeError):
    """A layer of one's own that cannot be taken: which, why, and the fix in one line."""


def add_to(table: LayerTable, layer: _Class) -> _Class:
    """Add a layer to a table by its ``kind``, and return it.

    Parameters
    ----------
    table
        Usually :data:`fastconv.layers.LAYERS`.
    layer
        The class.

    Raises
    ------
    CustomLayerError
        If it is no frozen dataclass derived from ``Layer``, its kind is no name, or another layer
        has it.
    """
    check(layer)
    there = table.get(layer.kind)
    # A module that is loaded again, or a cell that is run again, makes the class again.
    if there is not None and place_of(there) != place_of(layer):
        raise CustomLayerError(
            f"{layer.__name__}.kind is {layer.kind!r}, the name of {place_of(there)}; expected "
            f"another name"
        )
    table.add(layer)
    return layer


def place_of(layer: type[Layer]) -> str:
    """Return where a class is: "package.module:Name"."""
    return f"{layer.__module__}:{layer.__qualname__}"


def check(layer: Any) -> None:
    """Check that a class can be a layer of networks and recipes.

    Raises
    ------
    CustomLayerError
        If not.
    """
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise CustomLayerError(
            f"{layer!r} is no layer; expected a class derived from fastconv.layers.Layer"
        )
    if not (dataclasses.is_dataclass(layer) and layer.__hash__ is not None):
        raise CustomLayerError(
            f"{layer.__name__} is no frozen dataclass; put @dataclass(frozen=True) above it"
        )
    kind = getattr(layer, "kind", None)
    if not (isinstance(kind, str) and re.fullmatch(r"[a-z][a-z0-9_]*", kind)):
        raise CustomLayerError(
            f"{layer.__name__}.kind is {kind!r}; expected a name of small letters, digits and _, "
            f'as kind: ClassVar[str] = "my_layer"'
        )


def allow_custom(allowed: bool = True) -> None:
    """Allow recipes to name layers of one's own, whose modules are then imported and run.

    Parameters
    ----------
    allowed
        False to forbid it again.
    """
    if allowed:
        os.environ[_ALLOWED] = "1"
    else:
        os.environ.pop(_ALLOWED, None)


def find(place: str) -> type[Layer]:
    """Import the layer that a recipe names by "package.module:Name".

    Parameters
    ----------
    place
        Its name there. The module is looked for as Python does, the folder where the command was
        started included.

    Raises
    ------
    CustomLayerError
        If that was not allowed, or there is no such layer.
    """
    module_name, _, name = place.partition(":")
    if os.environ.get(_ALLOWED) != "1":
        raise CustomLayerError(
            f"{place!r} is a layer of your own, whose code would run; if you trust it, give "
            f"--allow-custom (in Python fastconv.layers.allow_custom())"
        )
    try:
        layer = getattr(import_module(module_name), name)
    except AttributeError:
        raise CustomLayerError(f"{place!r}: the module has no {name}") from None
    except Exception as fault:  # whatever the module does when it is imported
        told = str(fault).partition("\n")[0]
        raise CustomLayerError(
            f"{place!r} cannot be imported ({type(fault).__name__}: {told})"
        ) from None
    check(layer)
    return layer  # type: ignore[no-any-return]
