"""Labels as people write them: numbers that begin anywhere, text, one-hot rows, targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.data.dataset import Array, IndexArray
from fastconv.data.errors import DataError


def label_values(
    owner: str, labels: npt.ArrayLike, *, are_targets: bool = False
) -> tuple[Array, str]:
    """Bring labels to one of three forms, without numbering the classes.

    Parameters
    ----------
    owner
        Where they come from, for the error message.
    labels
        Whole numbers or text, (samples,) or (samples, 1); one-hot rows, (samples, classes); or the
        targets of a regression, floating numbers (samples, outputs).
    are_targets
        Whether rows of zeros and ones are such targets, and not one-hot.

    Returns
    -------
    values, remark
        int64 (samples,), text (samples,), or floating (samples, outputs); and what was done to
        them, or "".

    Raises
    ------
    DataError
        If they are none of these.

    Examples
    --------
    >>> label_values("y", [[0, 1, 0], [1, 0, 0]])
    (array([1, 0]), 'one-hot rows of 3 columns became the numbers of their columns')
    """
    values = np.asarray(labels)
    if values.dtype.kind == "O":
        values = _of_objects(owner, values)
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError:
            raise DataError(
                f"{owner}: the labels are bytes that are no UTF-8 text; write them as UTF-8"
            ) from None
    if values.ndim == 2 and values.shape[1] == 1 and values.dtype.kind in "iubU":
        values = values[:, 0]
    if values.ndim == 2 and values.shape[1] > 1 and not are_targets and _is_one_hot(values):
        remark = f"one-hot rows of {values.shape[1]} columns became the numbers of their columns"
        return values.argmax(axis=1).astype(np.int64), remark
    if values.ndim == 2 and values.dtype.kind == "f" and values.shape[1]:
        _require_finite(owner, values)
        wide = values.dtype == np.float64
        return np.ascontiguousarray(values, np.float64 if wide else np.float32), ""
    if values.ndim != 1:
        raise DataError(
            f"{owner}: the labels have dtype {values.dtype} and shape {values.shape}; expected one "
            f"number or text for each sample, or one-hot rows; use argmax(axis=1) on scores"
        )
    if values.dtype.kind == "f":
        _require_finite(owner, values[:, None])
        shown = values[np.argmax(values != np.rint(values))] if len(values) else 0.0
        raise DataError(
            f"{owner}: the labels are floating numbers ({values.dtype}, such as {shown}); expected "
            f"whole numbers, text or one-hot rows; use labels.astype(int), or labels.reshape(-1, "
            f"1) for the targets of a regression"
        )
    if values.dtype.kind in "iub":
        if values.dtype.kind == "u" and len(values) and int(values.max()) > 2**63 - 1:
            raise DataError(f"{owner}: a label is {values.max()}; expected at most 2**63 - 1")
        return values.astype(np.int64), ""
    if values.dtype.kind == "U":
        empty = values == ""
        if empty.any():
            raise DataError(
                f"{owner}: the label of sample {int(empty.argmax())} is empty; write its class, or "
                f"take the sample away"
            )
        return values, ""
    raise DataError(
        f"{owner}: the labels have dtype {values.dtype}; expected whole numbers, text or one-hot "
        f"rows"
    )


def _of_objects(owner: str, values: Array) -> Array:
    """Return Python objects as what they all are."""
    kinds = {type(each) for each in values.ravel().tolist()}
    if kinds <= {str}:
        return values.astype(np.str_)
    if kinds <= {int, bool}:
        return values.astype(np.int64)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(
        f"{owner}: the labels are Python objects ({names}); expected all whole numbers, or all text"
    )


def _is_one_hot(values: Array) -> bool:
    if values.dtype.kind not in "iufb" or not len(values):
        return False
    ones = values == 1
    return bool((ones | (values == 0)).all() and (ones.sum(axis=1) == 1).all())


def _require_finite(owner: str, values: Array) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(
            f"{owner}: the label of sample {int(bad.argmax())} is {values[bad.argmax()].tolist()}; "
            f"expected finite numbers; correct it, or take the sample away"
        )


def class_names_of(values: Array) -> tuple[str, ...]:
    """Name the classes that there are, in their order: by number where all are numbers.

    Parameters
    ----------
    values
        As :func:`label_values` returns them, but no targets.

    Examples
    --------
    >>> class_names_of(np.array(["10", "9", "9"])), class_names_of(np.array(["b", "a"]))
    (('9', '10'), ('a', 'b'))
    """
    return ordered_names(str(each) for each in np.unique(values).tolist())


def ordered_names(names: Any) -> tuple[str, ...]:
    """Order names of classes: by number where all are whole numbers, else as text."""
    distinct = list(dict.fromkeys(names))
    try:
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(distinct))


def class_numbers(owner: str, values: Array, class_names: Sequence[str]) -> IndexArray:
    """Number the classes of labels by their names.

    Parameters
    ----------
    owner
        Where they come from, for the error message.
    values
        As :func:`label_values` returns them, but no targets.
    class_names
        The classes, in the order of their numbers.

    Raises
    ------
    DataError
        If a label is none of the classes.

    Examples
    --------
    >>> class_numbers("y", np.array([3, 1, 3]), ("1", "3"))
    array([1, 0, 1])
    """
    found, inverse = np.unique(values, return_inverse=True)
    number_of = {name: number for number, name in enumerate(class_names)}
    numbers = np.empty(len(found), np.int64)
    for index, each in enumerate(found.tolist()):
        number = number_of.get(str(each))
        if number is None:
            sample = int(np.argmax(inverse == index))
            shown = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
            raise DataError(
                f"{owner}: the class of sample {sample} is {each!r}, which the training part "
                f"lacks; expected one of {shown}; add it there, or take the sample away"
            )
        numbers[index] = number
    return numbers[inverse.reshape(-1)]
