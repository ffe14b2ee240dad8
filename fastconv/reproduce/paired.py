"""Accuracies of two systems on the same samples, compared sample by sample.

Two networks that are tried on the same samples mostly err on the same ones. The difference of their
accuracies is therefore surer than each of the two: its error comes only from the samples on which
they disagree (McNemar, "Note on the sampling error of the difference between correlated proportions
or percentages", 1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastconv.execution.config import ExecutionConfig
from fastconv.report.findings import Findings
from fastconv.reproduce.verdicts import Verdict, of_difference


@dataclass(frozen=True)
class Difference:
    """A difference of accuracies.

    Parameters
    ----------
    value
        First less second, a fraction of 1.
    error
        Its standard error over the samples, and over the seeds where there are several.
    """

    value: float
    error: float

    def __sub__(self, other: Difference) -> Difference:
        """The difference of two differences on different samples."""
        return Difference(self.value - other.value, math.hypot(self.error, other.error))

    @property
    def is_positive(self) -> Verdict:
        """Whether the first is larger, by more than two standard errors; refuted if the second."""
        return of_difference(self.value, self.error)


def difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """Compare which samples are right.

    Parameters
    ----------
    first, second
        (seeds, samples), True where right; of the same samples.

    Examples
    --------
    >>> a = np.array([[True, True, True, False]])
    >>> b = np.array([[True, True, False, False]])
    >>> difference(a, b)
    Difference(value=0.25, error=0.25)
    """
    each = first.mean(axis=0) - second.mean(axis=0)
    variance = float(each.var(ddof=1)) / len(each) if len(each) > 1 else math.nan
    for shares in (first.mean(axis=1), second.mean(axis=1)):
        if len(shares) > 1:
            variance += float(shares.var(ddof=1)) / len(shares)
    return Difference(float(each.mean()), math.sqrt(variance))


def accuracy_difference(
    first: Sequence[Findings], second: Sequence[Findings], part: str
) -> Difference:
    """Return how much more accurate one system is than another on a part of the data of both.

    Parameters
    ----------
    first, second
        Their runs.
    part
        "training", "validation" or "test".
    """
    return difference(_right(first, part), _right(second, part))


def gap_difference(first: Sequence[Findings], second: Sequence[Findings], part: str) -> Difference:
    """Return by how much the gap of one system is wider than that of another.

    Parameters
    ----------
    first, second
        Their runs.
    part
        Where the accuracy is subtracted from that on the training part.
    """
    return accuracy_difference(first, second, "training") - accuracy_difference(first, second, part)


def _right(runs: Sequence[Findings], part: str) -> NDArray[np.bool_]:
    rows = []
    for findings in runs:
        samples = findings.dataset.parts[part]
        if part == findings.part:
            taken = findings.predictions
        else:
            taken = (
                findings.run.inference(ExecutionConfig(findings.backend))
                .predict(samples.images)
                .argmax(axis=1)
            )
        rows.append(taken == samples.labels)
    return np.stack(rows)
