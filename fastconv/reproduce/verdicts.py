"""From measurements to verdicts: what is larger, what is reached, by how much it is missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from fastconv.report.content import DASH, decimal, percent
from fastconv.reproduce.systems import System, is_accuracy

Verdict: TypeAlias = Literal["shown", "not shown", "refuted"]
"""Verdict on a claim: measurements show it, leave it open, or show its opposite."""

CERTAIN = 2.0
"""Standard errors that a difference must exceed."""


@dataclass(frozen=True)
class Measurement:
    """A figure over some seeds.

    Parameters
    ----------
    mean
        Of all seeds.
    spread
        Standard deviation over the seeds (of a sample); NaN with one seed.
    error
        Standard error of the mean: that of the seeds, and for an accuracy also that of a share of
        so many samples. NaN where it is not known.
    seeds
        How many.
    """

    mean: float
    spread: float
    error: float
    seeds: int


def measure(values: Sequence[float | None], samples: int | None = None) -> Measurement:
    """Sum up a figure over seeds.

    Parameters
    ----------
    values
        One for each seed; None where a training diverged, which makes the mean NaN.
    samples
        Of accuracies: how many samples each is a share of.

    Examples
    --------
    >>> measure([0.5], samples=10_000).error
    0.005
    >>> measure([1.0, 3.0])
    Measurement(mean=2.0, spread=1.4142135623730951, error=1.0, seeds=2)
    """
    numbers = np.array([math.nan if value is None else value for value in values], np.float64)
    mean = float(numbers.mean())
    spread = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
    of_seeds = spread**2 / len(numbers) if len(numbers) > 1 else None
    of_samples = mean * (1 - mean) / samples if samples else None
    known = [part for part in (of_seeds, of_samples) if part is not None]
    error = math.sqrt(sum(known)) if known else math.nan
    return Measurement(mean, spread, error, len(numbers))


def of_difference(difference: float, error: float) -> Verdict:
    """Return whether a difference is positive: shown, refuted, or not shown.

    One within two standard errors, or with an unknown one, shows nothing.

    Examples
    --------
    >>> of_difference(0.5, 0.2), of_difference(-0.5, 0.2), of_difference(0.5, math.nan)
    ('shown', 'refuted', 'not shown')
    """
    if difference > CERTAIN * error:
        return "shown"
    return "refuted" if difference < -CERTAIN * error else "not shown"


def is_larger(a: Measurement, b: Measurement) -> Verdict:
    """Return whether ``a`` is larger than ``b``: shown, refuted, or not shown.

    Examples
    --------
    >>> is_larger(measure([0.9], 10_000), measure([0.8], 10_000))
    'shown'
    >>> is_larger(measure([0.800], 10_000), measure([0.801], 10_000))
    'not shown'
    """
    return of_difference(a.mean - b.mean, math.hypot(a.error, b.error))


def is_within(margin: float, larger: Measurement, smaller: Measurement) -> Verdict:
    """Return whether one figure exceeds another by a margin at most: shown, refuted, or not shown.

    As in a test of equivalence, a difference that is small but uncertain shows nothing.

    Examples
    --------
    >>> is_within(0.02, measure([0.801], 10_000), measure([0.800], 10_000))
    'shown'
    >>> is_within(0.02, measure([0.801], 100), measure([0.800], 100))
    'not shown'
    """
    difference, error = larger.mean - smaller.mean, math.hypot(larger.error, smaller.error)
    if difference + CERTAIN * error <= margin:
        return "shown"
    return "refuted" if difference - CERTAIN * error > margin else "not shown"


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on several claims at once: refuted if one is, shown if all are.

    Examples
    --------
    >>> all_of(["shown", "shown"]), all_of(["shown", "not shown"]), all_of(["shown", "refuted"])
    ('shown', 'not shown', 'refuted')
    """
    if "refuted" in verdicts:
        return "refuted"
    return "shown" if all(verdict == "shown" for verdict in verdicts) else "not shown"


def of_cases(held: Sequence[bool]) -> Verdict:
    """Return the verdict on what holds in some cases: shown in all, refuted in none.

    Examples
    --------
    >>> of_cases([True, True]), of_cases([True, False]), of_cases([False, False])
    ('shown', 'not shown', 'refuted')
    """
    if all(held):
        return "shown"
    return "not shown" if any(held) else "refuted"


def shown_figure(figure: str, value: float | None) -> str:
    """Return a figure for people: accuracies in percent.

    Examples
    --------
    >>> shown_figure("test_accuracy", 0.5), shown_figure("test_loss", 0.5)
    ('50.00 %', '0.5000')
    """
    return percent(value) if is_accuracy(figure) else decimal(value)


def shown_measurement(figure: str, measured: Measurement) -> str:
    """Return a figure over seeds for people: the mean, and of several the spread.

    Examples
    --------
    >>> shown_measurement("test_accuracy", measure([0.5, 0.52]))
    '51.00 % ± 1.41'
    """
    text = shown_figure(figure, measured.mean)
    if measured.seeds < 2 or math.isnan(measured.spread):
        return text
    factor, digits = (100, 2) if is_accuracy(figure) else (1, 4)
    return f"{text} ± {factor * measured.spread:.{digits}f}"


Result: TypeAlias = Literal["reached", "missed", "not stated", "not comparable", "not run"]


@dataclass(frozen=True)
class Outcome:
    """Whether a system reaches what is stated.

    Parameters
    ----------
    result
        In a word.
    words
        In a sentence's part: "missed by 0.45 points".
    missed_by
        How far below an accuracy is, or above a loss; None unless it is missed and finite.
    """

    result: Result
    words: str
    missed_by: float | None = None


def outcome_of(system: System, values: Sequence[float | None]) -> Outcome:
    """Compare a system's deciding figure, the mean over its seeds, with the stated one.

    Parameters
    ----------
    system
        The system.
    values
        The figure for each seed; empty where it has not been run.
    """
    if not values:
        return Outcome("not run", DASH)
    if system.not_comparable:
        return Outcome("not comparable", f"not comparable, because {system.not_comparable}")
    stated = system.stated.get(system.decides)
    if stated is None:
        return Outcome("not stated", "not stated")
    ours = measure(values).mean
    if math.isnan(ours):
        return Outcome("missed", _with_reason("missed: it diverged", system))
    missed_by = stated - ours if is_accuracy(system.decides) else ours - stated
    if missed_by <= 0:
        return Outcome("reached", "reached")
    words = f"{100 * missed_by:.2f} points" if is_accuracy(system.decides) else decimal(missed_by)
    return Outcome("missed", _with_reason(f"missed by {words}", system), missed_by)


def _with_reason(words: str, system: System) -> str:
    return f"{words} ({system.if_missed})" if system.if_missed else words
