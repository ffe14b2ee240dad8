"""Checks of what is to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.functional.arrays import as_numbers, check_dimensions

FloatArray: TypeAlias = npt.NDArray[np.float64]


def with_axes(owner: str, name: str, values: npt.ArrayLike, axes: str) -> FloatArray:
    """Return numbers as float64; ``axes`` names their dimensions, as in "NHWC"."""
    array = as_numbers(owner, name, values)
    check_dimensions(owner, name, array, axes)
    return array


def same_length(
    owner: str, x_name: str, x: npt.ArrayLike, y_name: str, y: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return two sequences of numbers, which must be equally long."""
    first, second = with_axes(owner, x_name, x, "N"), with_axes(owner, y_name, y, "N")
    if first.shape != second.shape:
        raise ValueError(
            f"{owner}: {y_name} has {second.size} values but {x_name} has {first.size}; expected "
            f"one for each"
        )
    return first, second


def names_of(owner: str, name: str, names: Sequence[str], count: int, of: str) -> list[str]:
    """Return one name for each of ``count`` things; ``of`` says which."""
    if isinstance(names, str) or len(names) != count:
        given = repr(names) if isinstance(names, str) else f"{len(names)} names"
        raise ValueError(f"{owner}: {name} is {given}; expected {count}, one for each {of}")
    return [str(entry) for entry in names]


def check_range(owner: str, name: str, values: FloatArray, low: float, high: float) -> None:
    """Check that all values are in [low, high]."""
    inside = (values >= low) & (values <= high)
    if not inside.all():
        raise ValueError(
            f"{owner}: {name} holds {values[~inside][0]}; expected {low:g} to {high:g}"
        )
