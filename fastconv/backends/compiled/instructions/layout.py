"""Words of an encoded instruction: where every kernel has its pointers, integers and reals.

Word by word, an encoded instruction is

* 0: the address of the kernel;
* 1: how many threads find work in it, at most; threads beyond that pass by;
* 2: 1 if all threads must have finished it before the next instruction starts;
* 3: the address of a table of tiles, where the engine has one;
* 4 to 15: addresses of arrays;
* 16 to 47: integers, which are sizes, strides in elements, choices;
* 48 to 62: float64 numbers;
* 63: the address of 16 words, if the instruction is to run only where one of them is not 0.

Which array, integer or real stands in which of its words is the :class:`Layout` of the kernel,
which :mod:`.layouts` declares for each: everything else comes from there, the structures of the C
kernels (:mod:`.header`) as well as the attributes that the Numba kernels read.
"""

from __future__ import annotations

import difflib
import functools
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastconv.backends.compiled.instructions.kernels import Kernel

WORDS = 64
KERNEL, MAX_THREADS, BARRIER, TILE_TABLE = range(4)
POINTERS, INTEGERS, REALS, CONDITION = 4, 16, 48, 63
"""Words of an encoded instruction: single ones, and where a kind of them begins."""

CONDITION_WORDS = 16
"""Words of a condition: an instruction that has one runs if any of them is not 0."""

MOST_POINTERS = INTEGERS - POINTERS
MOST_INTEGERS = REALS - INTEGERS
MOST_REALS = CONDITION - REALS


@dataclass(frozen=True, slots=True)
class Group:
    """Integers or reals that stand side by side in several kernels, whose C code shares functions.

    Parameters
    ----------
    name
        Of the structure, and of the member that has it.
    fields
        Names in their order.
    """

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Names and meanings of what stands in the instructions of one kernel.

    Parameters
    ----------
    kernel
        The kernel.
    formula
        What it computes.
    pointers, integers, reals
        Names in their order.
    meanings
        What each of them is.
    optional
        Pointers that may be null.
    signed
        Integers that may be negative: strides that go backwards, places in front of an array.
    groups
        Which of the integers and reals belong together.
    """

    kernel: Kernel
    formula: str
    pointers: tuple[str, ...]
    integers: tuple[str, ...]
    reals: tuple[str, ...]
    meanings: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    signed: frozenset[str] = frozenset()
    groups: tuple[Group, ...] = ()
    words: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        words: dict[str, int] = {}
        for what, names, first, most in (
            ("pointers", self.pointers, POINTERS, MOST_POINTERS),
            ("integers", self.integers, INTEGERS, MOST_INTEGERS),
            ("reals", self.reals, REALS, MOST_REALS),
        ):
            if len(names) > most:
                raise ValueError(f"{self.kernel}: {len(names)} {what}; an instruction holds {most}")
            for word, name in enumerate(names, first):
                if name in words:
                    raise ValueError(f"{self.kernel}: two fields are called {name!r}")
                if name not in self.meanings:
                    raise ValueError(f"{self.kernel}: the field {name!r} has no meaning")
                words[name] = word
        object.__setattr__(self, "words", words)

    @functools.cached_property
    def _types(self) -> tuple[Any, ...]:
        """Named tuples of pointers, integers and reals: made when the kernel is first called."""
        return tuple(
            namedtuple(f"{self.kernel}_{what}", names)
            for what, names in (
                ("pointers", self.pointers), ("integers", self.integers), ("reals", self.reals),
            )
        )  # fmt: skip

    def arrange(self, fields: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """Return pointers, integers and reals as named tuples in their order.

        Raises
        ------
        TypeError
            If a name is no field, or a field is left out; an optional pointer is None then.
        ValueError
            If a number that must not be is negative, or a pointer None.
        """
        for name in fields.keys() - self.words.keys():
            raise TypeError(f"{self.kernel} has no field {name!r}; {self._names_like(name)}")
        given: dict[str, Any] = {**dict.fromkeys(self.optional), **fields}
        for name in self.words:
            if name not in given:
                raise TypeError(f"{self.kernel}: {name!r} is left out; {self.meaning_of(name)}")
        for name in self.pointers:
            if given[name] is None and name not in self.optional:
                raise ValueError(f"{self.kernel}: {name} is None; {self.meaning_of(name)}")
        for name in self.integers:
            if given[name] < 0 and name not in self.signed:
                raise ValueError(
                    f"{self.kernel}: {name} is {given[name]}; expected 0 or more: "
                    f"{self.meanings[name]}"
                )
        pointers, integers, reals = self._types
        return (
            pointers._make(given[name] for name in self.pointers),
            integers._make(given[name] for name in self.integers),
            reals._make(given[name] for name in self.reals),
        )

    def meaning_of(self, name: str) -> str:
        """Return what to give for a field: its name and its meaning."""
        return f"give {name}=..., {self.meanings[name]}"

    def _names_like(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.words, 1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return f"{guess}its fields are {', '.join(self.words)}"
