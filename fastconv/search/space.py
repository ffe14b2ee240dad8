"""Space of a search: one dimension for each key of the recipe."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Value: TypeAlias = str | int | float | bool
"""Value of a key that Optuna keeps in its storage."""
Settings: TypeAlias = dict[str, Value]
"""Values by dotted keys of a recipe."""


@dataclass(frozen=True)
class Dimension:
    """The values that one key may take.

    Parameters
    ----------
    kind
        "uniform" and "log_uniform": any number from ``low`` to ``high``, evenly by itself or by its
        logarithm; "int": any integer, both ends included; "choice": one of ``values``.
    low, high
        Ends of a range.
    values
        Of a choice, or the points of a grid: strings, numbers, true or false.

    Raises
    ------
    ValueError
        If these do not fit together.

    Examples
    --------
    >>> Dimension("int", 1, 8).ends()
    (1, 8)
    """

    kind: Literal["uniform", "log_uniform", "int", "choice"] = "choice"
    low: float | None = None
    high: float | None = None
    values: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind == "choice":
            self._check_choice()
        else:
            self._check_range()

    def _check_choice(self) -> None:
        if self.low is not None or self.high is not None:
            raise ValueError(
                f"low is {self.low} and high is {self.high}, but a choice has values = [...]; for "
                f"a range add kind = 'uniform', 'log_uniform' or 'int'"
            )
        if not self.values:
            raise ValueError("there is nothing to choose from; give values = [...]")
        for value in self.values:
            if not isinstance(value, (str, int, float)):
                shown = list(value) if isinstance(value, tuple) else value
                raise ValueError(f"values holds {shown!r}; expected strings, numbers or booleans")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"values is {list(self.values)}; expected each value once")

    def _check_range(self) -> None:
        if self.values is not None:
            raise ValueError(f"kind is {self.kind!r}, which has low and high; leave values out")
        if self.low is None or self.high is None:
            raise ValueError(f"kind is {self.kind!r}; give low and high")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}; expected low < high")
        if self.kind == "log_uniform" and not self.low > 0:
            raise ValueError(f"low is {self.low:g}; expected more than 0 for log_uniform")
        whole = float(self.low).is_integer() and float(self.high).is_integer()
        if self.kind == "int" and not whole:
            raise ValueError(f"low is {self.low} and high is {self.high}; expected integers")

    def ends(self) -> tuple[Value, ...]:
        """Return both ends of a range, or all values of a choice."""
        if self.values is not None:
            return self.values
        assert self.low is not None  # checked when it was made
        assert self.high is not None
        if self.kind == "int":
            return int(self.low), int(self.high)
        return float(self.low), float(self.high)

    def narrowed(self, found: Sequence[Value]) -> Dimension:
        """Return the range that some values span, or the choice among them.

        Examples
        --------
        >>> Dimension("log_uniform", 1e-5, 1e-1).narrowed([0.002, 0.001, 0.01])
        Dimension(kind='log_uniform', low=0.001, high=0.01, values=None)
        """
        distinct = tuple(dict.fromkeys(found))
        if self.kind == "choice" or len(distinct) == 1:
            order = self.values or distinct
            return Dimension("choice", values=tuple(v for v in order if v in distinct))
        numbers = [float(value) for value in distinct]
        return Dimension(self.kind, min(numbers), max(numbers))


Space: TypeAlias = Mapping[str, Dimension]


def combinations(space: Space) -> list[Settings]:
    """Return every combination of the values of choices, the last key changing fastest.

    Examples
    --------
    >>> combinations({"a": Dimension(values=(1, 2)), "b": Dimension(values=("x", "y"))})[:3]
    [{'a': 1, 'b': 'x'}, {'a': 1, 'b': 'y'}, {'a': 2, 'b': 'x'}]
    """
    points = itertools.product(*(dimension.ends() for dimension in space.values()))
    return [dict(zip(space, values, strict=True)) for values in points]
