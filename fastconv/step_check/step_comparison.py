"""Comparison of a backend's steps with the reference's, and the table of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastconv.network import Sequential
from fastconv.step_check.training_steps import ReferenceSteps, Snapshot

_MARGIN = 24.0
"""Multiple of the difference that drawn errors make which a backend's may be: it is the largest of
few draws, and of other errors. Of 20000 drawn networks all but eight needed less than 8. Those
normalise batches of 2 to 4 samples that hardly differ, mostly twice, and need up to 24, one 40."""
_DECIDED = 0.25
"""Part of the change of an array below which its tolerance must lie for a comparison to tell."""
_LEAST_CHANGE = 1e-3
"""Part of the largest change of all arrays that counts as one in an array that hardly moves."""
_MOST_UNDECIDED = 0.02
"""Part of all parameters that may be undecided before a step, so that it is compared: what follows
from more of them is more than a multiple of what few draws come to."""
_GAP = "gap before "
_PAIRS = (1, 3, 8)
"""Pairs of steps with drawn errors: as many as there are at first, and once something differs."""


@dataclass(frozen=True, slots=True)
class ArrayCheck:
    """Comparison of one array, over all steps.

    Parameters
    ----------
    name
        The parameter, moment or running statistic; or "loss", "correct".
    compared
        Elements, counted in every step, that can be compared.
    undecided
        Elements left out, because what rounding alone may do to them is as much as the training
        does: a max pooling or a ReLU that is nearly undecided, or Adam on a gradient that is zero
        but for rounding. So is all of a step that begins with many such parameters, and of one
        where training diverges.
    step
        The step where the difference is largest beside its tolerance, from 1.
    backend, reference
        The two values there.
    difference, tolerance
        Their difference, and how large it may be.
    """

    name: str
    compared: int
    undecided: int
    step: int
    backend: float
    reference: float
    difference: float
    tolerance: float

    @property
    def error(self) -> float:
        """The difference in multiples of the tolerance."""
        if self.difference == 0:
            return 0.0
        if not np.isfinite(self.difference):
            return np.inf
        return self.difference / self.tolerance if self.tolerance else np.inf


@dataclass(frozen=True)
class StepCheck:
    """The comparison of all arrays; ``str()`` is a table.

    Parameters
    ----------
    rows
        One for each array.
    backend
        Name of the backend.
    steps
        Number of steps.
    batch_size
        Samples in a step that was checked.
    asked_batch_size
        Samples in a step that was asked for: more, if not all of them were checked.
    """

    rows: tuple[ArrayCheck, ...]
    backend: str
    steps: int
    batch_size: int
    asked_batch_size: int

    @property
    def error(self) -> float:
        """The largest error of all, in multiples of its tolerance."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def differs(self) -> bool:
        """Whether some array is not that of the reference."""
        return not self.error <= 1

    @property
    def passed(self) -> bool:
        """Whether every array was compared and is within its tolerance."""
        return not self.differs and all(row.compared > 0 for row in self.rows)

    @property
    def worst(self) -> ArrayCheck:
        """The array whose error is largest."""
        return max(self.rows, key=lambda row: row.error)

    @property
    def summary(self) -> str:
        """Result, in one line."""
        samples = f"{self.batch_size}"
        if self.batch_size < self.asked_batch_size:
            samples += f" of {self.asked_batch_size}"
        made = f"{self.steps} steps of {samples} samples on {self.backend}"
        if self.differs:
            row = self.worst
            return (
                f"FAILED: {made} are not those of the reference: {row.name} is "
                f"{row.backend:.7g} after step {row.step}, expected {row.reference:.7g} "
                f"(difference {row.difference:.1e}, tolerance {row.tolerance:.1e})"
            )
        largest = f"largest error {self.error:.2g} of its tolerance"
        if not self.passed:
            names = ", ".join(row.name for row in self.rows if not row.compared)
            return f"NOT PROVEN: {made} agree ({largest}), but rounding decides all of {names}"
        return f"passed: {made} are those of the reference ({largest})"

    def __str__(self) -> str:
        width = max([len("array"), *(len(row.name) for row in self.rows)])
        lines = [
            f"{'array':<{width}}  {'compared':>8}  {'undecided':>9}  {'step':>4}  "
            f"{'difference':>10}  {'tolerance':>9}  {'backend':>12}  {'reference':>12}"
        ]
        lines.append("-" * len(lines[0]))
        for row in self.rows:
            mark = "" if row.error <= 1 else "  <-- differs"
            if not row.compared:
                mark = "  <-- not compared"
            lines.append(
                f"{row.name:<{width}}  {row.compared:>8}  {row.undecided:>9}  {row.step:>4}  "
                f"{row.difference:>10.1e}  {row.tolerance:>9.1e}  {row.backend:>12.5e}  "
                f"{row.reference:>12.5e}{mark}"
            )
        return "\n".join([*lines, self.summary])


def compare(
    reference: ReferenceSteps, each: Sequence[Snapshot], at_once: Snapshot | None = None
) -> tuple[ArrayCheck, ...]:
    """Compare what a backend's steps come to with the reference's, array by array.

    Parameters
    ----------
    reference
        The reference's steps; more of them are made with drawn errors where something differs.
    each
        What there is after each of the backend's steps.
    at_once
        What there is after all of them in one call.
    """
    rows: list[ArrayCheck] = []
    for pairs in _PAIRS:
        reference.draw(pairs)
        comparison = _Comparison(reference)
        rows = [comparison.row(part, each, at_once) for part in comparison.parts]
        # Nothing of interest is between two parameters, as long as nothing is there.
        rows = [row for row in rows if not row.name.startswith(_GAP) or row.error > 0]
        if all(row.error <= 1 for row in rows):
            break
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class _Part:
    """A named part of a buffer of a snapshot."""

    name: str
    buffer: str
    within: slice


def _parts(network: Sequential, moments: Sequence[str]) -> Iterator[_Part]:
    """Everything that a step may change, and what lies between."""
    for buffer in ("parameters", *moments):
        label = "" if buffer == "parameters" else f" {buffer.replace('_', ' ')}"
        end = 0
        for name, place in network.places.items():
            if place.buffer == "parameters":
                if end < place.offset:
                    yield _Part(f"{_GAP}{name}{label}", buffer, slice(end, place.offset))
                yield _Part(f"{name}{label}", buffer, slice(place.offset, place.end))
                end = place.end
    for name, place in network.places.items():
        if place.buffer == "state":
            yield _Part(name, "state", slice(place.offset, place.end))
    yield _Part("loss", "loss", slice(1))
    yield _Part("correct", "correct", slice(1))


class _Comparison:
    """Judgement of a backend's steps by the reference's, part by part."""

    def __init__(self, reference: ReferenceSteps) -> None:
        self._reference = reference
        steps = reference.steps
        self._start = steps.start
        self._epsilon = float(np.finfo(steps.network.dtype).eps)
        self.parts = list(_parts(steps.network, steps.optimizer.moments))
        self._changes = {
            buffer: max(_largest(exact[buffer] - start) for exact in reference.exact)
            for buffer, start in self._start.items()
        }
        self._settled = self._count_settled_steps()

    def _count_settled_steps(self) -> int:
        """Steps until one goes beyond all bounds, or begins with many undecided parameters."""
        count = len(self._reference.exact)
        # The square of anything is to be a number still.
        bound = float(np.finfo(self._reference.steps.network.dtype).max) ** 0.5
        for step, exact in enumerate(self._reference.exact):
            if not all((np.abs(array) < bound).all() for array in exact.values()):
                count = step
                break
        parameters = [p for p in self.parts if p.buffer == "parameters" and _GAP not in p.name]
        for step in range(1, count):
            decided = np.concatenate(
                [np.ones(1, bool), *(self._tolerance(part, step)[1] for part in parameters)]
            )
            if 1 - decided.mean() > _MOST_UNDECIDED:
                return step
        return count

    def _tolerance(
        self, part: _Part, step: int, *, of_all: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
        """Tolerance of each element, whether it tells anything, and what it should be."""
        exact = self._reference.exact[0 if of_all else step - 1 : step]
        spread = self._reference.spread[0 if of_all else step - 1 : step]
        wanted = np.sum([each[part.buffer][part.within] for each in exact], axis=0)
        allowed = np.sum([each[part.buffer][part.within] for each in spread], axis=0)
        change = _largest(wanted - self._start[part.buffer][part.within])
        change = max(change, _LEAST_CHANGE * self._changes[part.buffer])
        # What is stored is rounded in every step, once for the update and once for decay.
        stored = 2 * step * self._epsilon * np.abs(wanted)
        tolerance = stored + _MARGIN * (allowed + self._epsilon * change)
        return tolerance, (tolerance <= _DECIDED * change) | (tolerance == 0), wanted

    def row(self, part: _Part, each: Sequence[Snapshot], at_once: Snapshot | None) -> ArrayCheck:
        """Compare a part after every step, and after all of them in one call."""
        made = [(step, after, False) for step, after in enumerate(each, start=1)]
        if at_once is not None:
            # The backend gives the sum over all steps.
            made.append((len(each), at_once, part.buffer in ("loss", "correct")))
        compared = undecided = 0
        worst, found = -1.0, (1, 0.0, 0.0, 0.0, 0.0)
        for step, after, of_all in made:
            tolerance, decided, wanted = self._tolerance(part, step, of_all=of_all)
            got = after[part.buffer][part.within]
            if step > self._settled:
                undecided += got.size
                continue
            compared += int(np.count_nonzero(decided))
            undecided += int(np.count_nonzero(~decided))
            with np.errstate(invalid="ignore", divide="ignore"):
                difference = np.abs(got - wanted)
                error = np.where(difference == 0, 0.0, difference / tolerance)
            error[np.isnan(error)] = np.inf
            i = int(np.argmax(error))
            if error[i] > worst:
                worst = float(error[i])
                found = (
                    step, float(got[i]), float(wanted[i]), float(difference[i]), float(tolerance[i])
                )  # fmt: skip
        return ArrayCheck(part.name, compared, undecided, *found)


def _largest(array: NDArray[np.float64]) -> float:
    """The largest magnitude; what is not finite does not count."""
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))
