"""Reading tables of a recipe into dataclasses: unknown keys and wrong types are errors."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from fastconv._errors import UserError
from fastconv.spec import SpecError

T = TypeVar("T")


class RecipeError(UserError, ValueError):
    """A recipe that says something impossible: the key, the value and the fix in one line."""


def used_under(
    by: str, *values: str, default: Any, instead: Mapping[str, str] | None = None
) -> Any:
    """Declare a key of a section that does something under some values of another key alone.

    Parameters
    ----------
    by
        The other key of the section, such as "kind".
    values
        Of that key.
    default
        Of this one.
    instead
        What to use under a value that is none of these, by that value; else the key is to be left
        out.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Rule:
    ...     kind: Literal["sgd", "momentum"] = "sgd"
    ...     momentum: float = used_under("kind", "momentum", default=0.9)
    >>> read_dataclass(Rule, {"momentum": 0.5}, "rule")
    Traceback (most recent call last):
    fastconv.recipes.schema.RecipeError: rule.momentum does nothing under rule.kind = 'sgd'; ...
    """
    metadata = {"by": by, "values": values, "instead": instead or {}}
    return dataclasses.field(default=default, metadata=metadata)


def unused_keys(kind: Any, table: Mapping[str, Any]) -> list[str]:
    """Return the keys of a section's table that do nothing beside its other keys.

    Parameters
    ----------
    kind
        The dataclass of the section.
    table
        Keys and values; what is missing has its default.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    found = []
    for key in table:
        by = fields[key].metadata.get("by") if key in fields else None
        if by is not None:
            chosen = table.get(by, fields[by].default)
            if chosen not in fields[key].metadata["values"]:
                found.append(key)
    return found


def one_of(names: Iterable[str]) -> str:
    """Return names as a sentence has them.

    Examples
    --------
    >>> one_of(["a", "b", "c"])
    'a, b or c'
    """
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the nearest known name, or nothing."""
    lower = {item.lower(): item for item in known}
    # "lr" is meant for "optimizer.lr", however far apart they are as strings.
    ends = [item for key, item in lower.items() if key.endswith(f".{name.lower()}")]
    near = ends or difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    return f"; did you mean {lower.get(near[0].lower(), near[0])!r}?" if near else ""


def read_dataclass(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a ``kind`` of a table, recursively.

    Parameters
    ----------
    kind
        A dataclass whose fields are annotated with int, float, bool, str, Literal, tuples of these,
        other such dataclasses, unions with None, or Any.
    table
        Keys and values.
    where
        Dotted path of the table, for error messages.

    Raises
    ------
    RecipeError
        If a key is unknown, missing or does nothing (:func:`used_under`), or a value has the wrong
        type or is out of range.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    values = {}
    for key, value in table.items():
        path = f"{where}.{key}" if where else key
        if key not in fields:
            has = f" ({', '.join(fields)})" if fields else ""
            raise RecipeError(f"{path}: no such key{nearest(key, fields) or has}")
        values[key] = _read_value(hints[key], value, path)
    for key in unused_keys(kind, values) if fields else ():
        raise RecipeError(_says_unused(fields, values, key, where))
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise RecipeError(f"{where}.{name}: missing" if where else f"{name}: missing")
    try:
        return kind(**values)
    except RecipeError:
        raise
    except SpecError as fault:
        raise RecipeError(str(fault.within(where))) from None
    except ValueError as fault:
        raise RecipeError(f"{where}: {fault}" if where else str(fault)) from None


def _says_unused(fields: Mapping[str, Any], values: Mapping[str, Any], key: str, where: str) -> str:
    use = fields[key].metadata
    chosen = values.get(use["by"], fields[use["by"]].default)
    instead = use["instead"].get(chosen)
    fix = f"use {instead}" if instead else "leave it out"
    other = f"{where}.{use['by']}"
    return (
        f"{where}.{key} does nothing under {other} = {chosen!r}; {fix}, or set {other} to "
        f"{one_of(map(repr, use['values']))}"
    )


def _read_value(hint: Any, value: Any, path: str) -> Any:
    """Check one value against its annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return tuple(value) if isinstance(value, list) else value
    if origin in (types.UnionType, typing.Union):
        inner = [a for a in arguments if a is not type(None)]
        return _read_value(inner[0], value, path)
    if origin is Literal:
        if value not in arguments:
            known = [str(a) for a in arguments]
            raise RecipeError(
                f"{path} is {value!r}; expected one of {', '.join(known)}"
                f"{nearest(str(value), known)}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{path} is {value!r}; expected a list")
        return tuple(_read_value(arguments[0], v, f"{path}.{i}") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise RecipeError(f"{path} is {value!r}; expected a table")
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{path} is {value!r}; expected a table [{path}]")
        return read_dataclass(typing.cast(type, hint), value, path)
    return _read_scalar(hint, value, path)


_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def _read_scalar(hint: type, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise RecipeError(f"{path} is too large; expected a finite number") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        kind = type(value).__name__
        article = "an" if kind[0] in "aeiou" else "a"
        raise RecipeError(f"{path} is {value!r}, {article} {kind}; expected {_NAMES[hint]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{path} is {value!r}; expected a finite number")
    return value
