"""Columns of a table: the class, the group, and pixels or features."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.data.dataset import Array
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions

_LONGEST_NAME = 1000
"""Characters of a class or group."""
_LABEL_NAMES = ("label", "labels", "class", "target", "y")
_PIXEL = re.compile(r"(pixel|pix|px|p)?[_\- ]?\d+([x_]\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Numbers of the columns of a table by what they are for.

    Parameters
    ----------
    label, group
        None where there is none.
    targets
        Of a regression, in place of a label.
    values
        Pixels or features, in their order.
    names
        Of all columns.
    """

    label: int | None
    group: int | None
    values: tuple[int, ...]
    names: tuple[str, ...]
    targets: tuple[int, ...] = ()


def as_names(owner: str, names: Sequence[str]) -> Array:
    """Return names of classes or groups as an array of text.

    Parameters
    ----------
    owner
        The file and the column, for error messages.
    names
        One for each row.

    Raises
    ------
    DataError
        If one is too long to be a name: the array has room for as many characters in each row.

    Examples
    --------
    >>> as_names("table.csv: column 0", ["cat", "dog"]).tolist()
    ['cat', 'dog']
    """
    longest = max(map(len, names), default=0)
    if longest > _LONGEST_NAME:
        raise DataError(
            f"{owner} has a name of {longest} characters; expected at most {_LONGEST_NAME}; say "
            f"with --set data.label=NAME which column has the classes"
        )
    return np.array(names, np.str_)


def find_columns(
    owner: str, names: Sequence[str], options: OwnOptions, *, requires_label: bool = True
) -> Columns:
    """Decide what each column is for.

    Parameters
    ----------
    owner
        The file, for error messages.
    names
        Of the columns, in their order.
    options
        What is said about them.
    requires_label
        Whether a table without a column of classes is a mistake.

    Raises
    ------
    DataError
        If a column that is named is not there, none is left for values, or it is not clear which
        has the classes.
    """
    label = None
    targets: list[int] = []
    for name in options.target or ():
        number = _column(owner, names, name, "target", requires_label)
        if number is not None:
            targets.append(number)
    if options.target is not None:
        pass  # whatever its name, no column has classes
    elif options.label is not None:
        label = _column(owner, names, options.label, "label", requires_label)
    else:
        lower = [name.strip().lower() for name in names]
        found = [lower.index(name) for name in _LABEL_NAMES if name in lower]
        if found:
            label = found[0]
        elif requires_label:
            raise DataError(
                f"{owner}: no column is named {', '.join(_LABEL_NAMES)}; the columns are "
                f"{_shown(names)}; say which has the classes, such as --set "
                f"data.label={names[0]!r}, or what a regression is to find, such as "
                f"--target {names[-1]!r}"
            )
    group = None
    if options.group is not None:
        group = _column(owner, names, options.group, "group", requires_label)
    out = {
        _column(owner, names, name, "leave_out", requires_label) for name in options.leave_out or ()
    }
    taken = {label, group, *targets, *out}
    values = tuple(n for n in range(len(names)) if n not in taken)
    if not values:
        raise DataError(f"{owner}: no column is left for pixels or features; add them")
    return Columns(label, group, values, tuple(names), tuple(targets))


def _column(owner: str, names: Sequence[str], wanted: str, key: str, required: bool) -> int | None:
    if wanted in names:
        return list(names).index(wanted)
    if wanted.lstrip("-").isdecimal() and -len(names) <= int(wanted) < len(names):
        return int(wanted) % len(names)
    if not required:
        return None
    raise DataError(
        f"{owner}: there is no column {wanted!r}, which data.{key} names; the columns are "
        f"{_shown(names)}"
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", ... ({len(names)})" if len(names) > 6 else "")


def holds_pixels(columns: Columns, options: OwnOptions) -> bool:
    """Whether the values are pixels, by the names of their columns or because a shape is given."""
    if options.image_shape is not None:
        return True
    side = math.isqrt(len(columns.values))
    named = all(_PIXEL.fullmatch(columns.names[n].strip()) for n in columns.values)
    return named and side > 1 and side * side == len(columns.values)


def as_table_images(owner: str, values: Array, columns: Columns, options: OwnOptions) -> Array:
    """Return the values of a table as images: (samples, height, width, channels).

    Parameters
    ----------
    owner
        The file, for error messages.
    values
        (samples, values).
    columns
        Of the table.
    options
        The shape, if one is given.

    Raises
    ------
    DataError
        If the shape has another number of values.
    """
    count = len(columns.values)
    if options.image_shape is not None:
        shape = (*options.image_shape, 1)[:3]
        if math.prod(shape) != count:
            raise DataError(
                f"{owner}: data.image_shape is {list(options.image_shape)}, which is "
                f"{math.prod(shape)} values, but a row has {count}; correct it, or leave out "
                f"columns with data.leave_out"
            )
    elif holds_pixels(columns, options):
        side = math.isqrt(count)
        shape = (side, side, 1)
    else:
        shape = (1, 1, count)
    return values.reshape(len(values), *shape)
