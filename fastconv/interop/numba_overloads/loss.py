"""Softmax cross entropy inside ``@njit``."""

# mypy: disable-error-code="no-untyped-def"
# Signatures are those of the public functions; Numba finds the types.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from fastconv.functional.loss import softmax_cross_entropy, softmax_cross_entropy_backward
from fastconv.interop.numba_overloads.arguments import (
    as_dense,
    begin,
    check_axes,
    check_floats,
    check_integers,
    constant,
    overloads,
)
from fastconv.interop.numba_overloads.intrinsics import (
    check,
    check_range,
    check_shape,
    found,
    plan_finder,
    run_plan,
)


def _labels(array: Any) -> Any:
    """Return integers as int64 in order."""


@overloads(_labels)
def _typed_labels(array):
    if array.dtype == types.int64:
        return lambda array: as_dense(array)
    return lambda array: array.astype(np.int64)


def _loss(
    owner: str, name: str, rows: Any, labels: Any, label_smoothing: Any, *others: Any
) -> tuple[int, Any]:
    """Check the types of a loss without options; return the number of the dtype, and its finder."""
    *options, backend = others
    begin(owner, backend)
    constant(owner, "label_smoothing", label_smoothing, (0.0,))
    for option, given in zip(
        ("class_weights", "ignore_index", "sample_weights"), options, strict=True
    ):
        constant(owner, option, given, (None,))
    dtype = check_floats(owner, **{name: rows})
    check_axes(owner, name, rows, "NC")
    check_integers(owner, "labels", labels)
    return dtype, plan_finder(owner)


@overloads(softmax_cross_entropy)
def _softmax_cross_entropy(
    scores, labels, label_smoothing=0.0, class_weights=None, ignore_index=None,
    sample_weights=None, backend=None,
):  # fmt: skip
    dtype, find = _loss(
        "softmax_cross_entropy", "scores", scores, labels, label_smoothing, class_weights,
        ignore_index, sample_weights, backend,
    )  # fmt: skip

    def call(
        scores, labels, label_smoothing=0.0, class_weights=None, ignore_index=None,
        sample_weights=None, backend=None,
    ):  # fmt: skip
        batch, classes = scores.shape
        plan = found(find((dtype, batch, classes)))
        check(check_shape(plan, 1, labels, (batch,)))
        numbers = _labels(labels)
        check(check_range(plan, 1, numbers, classes))
        losses, probabilities = np.empty(batch, scores.dtype), np.empty(scores.shape, scores.dtype)
        check(run_plan(plan, (as_dense(scores), numbers, losses, probabilities)))
        return losses, probabilities

    return call


@overloads(softmax_cross_entropy_backward)
def _softmax_cross_entropy_backward(
    probabilities, labels, label_smoothing=0.0, class_weights=None, ignore_index=None,
    sample_weights=None, backend=None,
):  # fmt: skip
    dtype, find = _loss(
        "softmax_cross_entropy_backward", "probabilities", probabilities, labels, label_smoothing,
        class_weights, ignore_index, sample_weights, backend,
    )  # fmt: skip

    def call(
        probabilities, labels, label_smoothing=0.0, class_weights=None, ignore_index=None,
        sample_weights=None, backend=None,
    ):  # fmt: skip
        batch, classes = probabilities.shape
        plan = found(find((dtype, batch, classes)))
        check(check_shape(plan, 1, labels, (batch,)))
        numbers = _labels(labels)
        check(check_range(plan, 1, numbers, classes))
        dscores = np.empty(probabilities.shape, probabilities.dtype)
        check(run_plan(plan, (as_dense(probabilities), numbers, dscores)))
        return dscores

    return call
