"""Scores of a trained network: what it gets right and wrong, in numbers.

Arrays in, arrays or frozen records out. All shares are fractions of 1.

What is undefined is NaN, not 0: the precision of a class that was never predicted, the recall of
one that never occurs. Averages leave it out. This is what scikit-learn does with
``zero_division=numpy.nan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.functional.arrays import as_numbers, check_dimensions, check_range, check_shape
from fastconv.functional.softmax import softmax
from fastconv.spec import require_int

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of each class: how well it is told from the others.

    Parameters
    ----------
    precision
        (classes,) float64: of the samples predicted to be of the class, the share that is. NaN for
        a class that was never predicted.
    recall
        (classes,) float64: of the samples of the class, the share that was predicted to be. NaN for
        a class that never occurs.
    f1
        (classes,) float64: harmonic mean of the two, ``2 right / (support + predicted)``. NaN for a
        class that neither occurs nor was predicted.
    support
        (classes,) int64: samples of each class.
    predicted
        (classes,) int64: samples predicted to be of each class.
    accuracy
        Share of all samples that was predicted right; NaN without samples.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    support: IndexArray
    predicted: IndexArray
    accuracy: float

    @property
    def macro_precision(self) -> float:
        """Mean precision of the classes that have one; each counts the same."""
        return _mean_of_defined(self.precision)

    @property
    def macro_recall(self) -> float:
        """Mean recall of the classes that have one: the balanced accuracy."""
        return _mean_of_defined(self.recall)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have one."""
        return _mean_of_defined(self.f1)


@dataclass(frozen=True)
class RegressionScores:
    """Errors of a regression: how far predictions are from their targets.

    Parameters
    ----------
    mean_squared_error, root_mean_squared_error, mean_absolute_error
        Over all values; the root is that of the mean squared error over all values.
    r2
        Share of the targets' variance that is explained, the mean over the outputs: 1 is perfect, 0
        is no better than the mean of the targets. Outputs whose targets are all equal have none and
        are left out; NaN if that leaves no output.
    """

    mean_squared_error: float
    root_mean_squared_error: float
    mean_absolute_error: float
    r2: float


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> IndexArray:
    """Count how often each class was taken for each.

    Parameters
    ----------
    labels, predictions
        (N,), integers from 0 to ``classes - 1``.
    classes
        Number of classes, at least 1; those that never occur have their row and column too.

    Returns
    -------
    ndarray
        (classes, classes), int64: the row is the true class, the column the predicted one.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array or number.

    Examples
    --------
    >>> confusion_matrix([0, 0, 2], [0, 1, 2], classes=3)
    array([[1, 1, 0],
           [0, 0, 0],
           [0, 0, 1]])
    """
    owner = "confusion_matrix"
    require_int(owner, "classes", classes, 1)
    true = np.asarray(labels)
    check_dimensions(owner, "labels", true, "N")
    true = _integers(owner, "labels", true, true.shape, classes)
    guess = _integers(owner, "predictions", np.asarray(predictions), true.shape, classes)
    counts = np.bincount(true * classes + guess, minlength=classes * classes)
    return counts.astype(np.int64, copy=False).reshape(classes, classes)


def class_scores(matrix: npt.ArrayLike) -> ClassScores:
    """Precision, recall and F1 of each class.

    Parameters
    ----------
    matrix
        (classes, classes), integers, as from :func:`confusion_matrix`.

    Returns
    -------
    ClassScores
        What is undefined is NaN; see there.

    Raises
    ------
    TypeError, ValueError
        If the matrix is none.

    Examples
    --------
    >>> scores = class_scores(confusion_matrix([0, 0, 2], [0, 1, 2], classes=3))
    >>> scores.precision, scores.recall
    (array([1., 0., 1.]), array([0.5, nan, 1. ]))
    >>> round(scores.accuracy, 3), scores.macro_recall
    (0.667, 0.75)
    """
    owner = "class_scores"
    counts = np.asarray(matrix)
    if counts.dtype.kind not in "iu":
        raise TypeError(
            f"{owner}: matrix has dtype {counts.dtype}; expected integers: counts, as "
            f"confusion_matrix returns them"
        )
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"{owner}: matrix has shape {counts.shape}; expected (classes, classes)")
    if counts.min() < 0:
        raise ValueError(f"{owner}: matrix holds {counts.min()}; expected counts, 0 or more")
    counts = counts.astype(np.int64)
    right, support, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return ClassScores(
            precision=right / predicted,
            recall=right / support,
            f1=2 * right / (support + predicted),
            support=support,
            predicted=predicted,
            accuracy=float(right.sum() / counts.sum()),
        )


def top_k_accuracy(scores: npt.ArrayLike, labels: npt.ArrayLike, k: int) -> float:
    """Share of the samples whose label is among the ``k`` largest scores.

    Parameters
    ----------
    scores
        (N, classes), numbers: scores or probabilities. Of equal scores the first counts as larger,
        as with ``numpy.argmax``, so that ``k=1`` gives the accuracy.
    labels
        (N,), integers from 0 to ``classes - 1``.
    k
        1 to ``classes``.

    Returns
    -------
    float
        NaN without samples.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array or number, or a score is NaN.

    Notes
    -----
    scikit-learn's function of this name takes the last of equal scores, and wants another shape
    where there are two classes.

    Examples
    --------
    >>> top_k_accuracy([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], [1, 2], k=2)
    0.5
    """
    owner = "top_k_accuracy"
    values = _rows(owner, "scores", scores)
    samples, classes = values.shape
    true = _integers(owner, "labels", np.asarray(labels), (samples,), classes)
    require_int(owner, "k", k, 1)
    if k > classes:
        raise ValueError(
            f"{owner}: k is {k} but there are {classes} classes; expected at most that"
        )
    if np.isnan(values).any():
        raise ValueError(f"{owner}: scores holds nan; expected numbers: did the training diverge?")
    if samples == 0:
        return float("nan")
    own = values[np.arange(samples), true][:, np.newaxis]
    earlier = np.arange(classes) < true[:, np.newaxis]
    before = (values > own) | ((values == own) & earlier)
    return float((before.sum(axis=1) < k).mean())


def probabilities_of(scores: npt.ArrayLike) -> FloatArray:
    """Probabilities of the classes: the softmax of each row of scores.

    Parameters
    ----------
    scores
        (N, classes), numbers: a network's outputs under softmax cross entropy.

    Returns
    -------
    ndarray
        (N, classes), float64; large scores do not overflow. Rows with NaN or +infinity are NaN.

    Raises
    ------
    TypeError, ValueError
        If the scores are no such array.

    Examples
    --------
    >>> probabilities_of([[1000.0, 1000.0], [0.0, -1000.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    values = _rows("probabilities_of", "scores", scores)
    return softmax(values, backend="numpy")


def most_confident_mistakes(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, count: int
) -> IndexArray:
    """Find the samples that were predicted wrong with the largest probability.

    Parameters
    ----------
    probabilities
        (N, classes), from 0 to 1, as from :func:`probabilities_of`.
    labels
        (N,), integers from 0 to ``classes - 1``.
    count
        How many to find, 0 or more.

    Returns
    -------
    ndarray
        int64: indices of the samples, the most confident first, of equals the first; fewer than
        ``count`` if there are fewer mistakes.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array or number.

    Examples
    --------
    >>> probabilities = [[0.6, 0.4], [0.1, 0.9], [0.2, 0.8]]
    >>> most_confident_mistakes(probabilities, [1, 0, 1], count=5)
    array([1, 0])
    """
    return _most_confident("most_confident_mistakes", probabilities, labels, count, right=False)


def most_confident_correct(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, count: int
) -> IndexArray:
    """Find the samples that were predicted right with the largest probability.

    Parameters
    ----------
    probabilities, labels, count
        As for :func:`most_confident_mistakes`, which says what is raised.

    Returns
    -------
    ndarray
        int64, in the order of :func:`most_confident_mistakes`.

    Examples
    --------
    >>> most_confident_correct([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8]], [0, 1, 1], count=2)
    array([1, 2])
    """
    return _most_confident("most_confident_correct", probabilities, labels, count, right=True)


def _most_confident(
    owner: str, probabilities: npt.ArrayLike, labels: npt.ArrayLike, count: int, right: bool
) -> IndexArray:
    values = _rows(owner, "probabilities", probabilities)
    inside = (values >= 0) & (values <= 1)
    if not inside.all():
        raise ValueError(
            f"{owner}: probabilities holds {values[~inside][0]}; expected 0 to 1: give scores to "
            f"probabilities_of first"
        )
    samples, classes = values.shape
    true = _integers(owner, "labels", np.asarray(labels), (samples,), classes)
    require_int(owner, "count", count, 0)
    found = np.flatnonzero((values.argmax(axis=1) == true) == right)
    order = np.argsort(-values[found].max(axis=1), kind="stable")
    return found[order][:count].astype(np.int64, copy=False)


def regression_scores(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> RegressionScores:
    """Errors of predicted numbers, and the share of the variance that they explain.

    Parameters
    ----------
    targets, predictions
        (N,) or (N, outputs), finite numbers, at least one; both of the same shape.

    Returns
    -------
    RegressionScores

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array.

    Examples
    --------
    >>> regression_scores([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]).r2
    0.5
    """
    owner = "regression_scores"
    true = _finite(owner, "targets", targets)
    guess = _finite(owner, "predictions", predictions)
    check_shape(owner, "predictions", guess, true.shape, "the shape of targets")
    true, guess = (values.reshape(len(values), -1) for values in (true, guess))
    errors = true - guess
    squared = float(np.mean(errors**2))
    varied = np.ptp(true, axis=0) > 0
    variance = np.mean((true - true.mean(axis=0)) ** 2, axis=0)
    explained = np.full(varied.shape, np.nan)
    explained[varied] = 1 - np.mean(errors**2, axis=0)[varied] / variance[varied]
    return RegressionScores(
        mean_squared_error=squared,
        root_mean_squared_error=squared**0.5,
        mean_absolute_error=float(np.mean(np.abs(errors))),
        r2=_mean_of_defined(explained),
    )


def _integers(
    owner: str, name: str, array: npt.NDArray[Any], shape: Sequence[int], end: int
) -> IndexArray:
    """Check integers in [0, end), and return them as int64."""
    if array.dtype.kind not in "iu":
        raise TypeError(f"{owner}: {name} is {array.dtype}; expected an array of integers")
    check_shape(owner, name, array, shape, "one integer for each sample")
    check_range(owner, name, array, end)
    return array.astype(np.int64, copy=False)


def _mean_of_defined(values: FloatArray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _rows(owner: str, name: str, values: npt.ArrayLike) -> FloatArray:
    array = as_numbers(owner, name, values)
    check_dimensions(owner, name, array, "NC")
    if array.shape[1] == 0:
        raise ValueError(f"{owner}: {name} has shape {array.shape}; expected at least one class")
    return array


def _finite(owner: str, name: str, values: npt.ArrayLike) -> FloatArray:
    array = as_numbers(owner, name, values)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{owner}: {name} has shape {array.shape}; expected (N,) or (N, outputs), at least one"
        )
    if not np.isfinite(array).all():
        wrong = array[~np.isfinite(array)][0]
        raise ValueError(f"{owner}: {name} holds {wrong}; expected finite numbers")
    return array
