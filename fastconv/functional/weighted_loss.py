"""Softmax cross entropy with options, on plain arrays."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_dimensions,
    check_number,
    check_range,
    check_shape,
    dense,
    launch,
    take_beside,
    take_floats,
)
from fastconv.plans.loss_operation import LabelWeightSpec, SoftCrossEntropySpec
from fastconv.plans.operation import LossSpec
from fastconv.spec import SpecError


def _label_of(owner: str, ignore_index: Any) -> int | None:
    """Return the label that is ignored as a plain int; it may be negative."""
    if ignore_index is None:
        return None
    try:
        label = operator.index(ignore_index)
    except TypeError:
        raise TypeError(
            f"{owner}: ignore_index is {str(ignore_index)[:40]!r}; expected an integer"
        ) from None
    if not -(2**62) <= label < 2**62:
        raise ValueError(f"{owner}: ignore_index is {label}; expected a label, such as -100")
    return label


class CrossEntropy:
    """Softmax cross entropy with smoothed or soft targets and with weights, forward and backward.

    Parameters
    ----------
    owner
        Name of the public function, for error messages.
    array
        Scores, or for the way back probabilities.
    labels, label_smoothing, class_weights, ignore_index, sample_weights, backend
        As for :func:`fastconv.softmax_cross_entropy`.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or out of range.
    """

    def __init__(
        self,
        owner: str,
        array: Array,
        labels: Array,
        label_smoothing: float,
        class_weights: Array | None,
        ignore_index: int | None,
        sample_weights: Array | None,
        backend: str | None,
    ) -> None:
        name = "probabilities" if owner.endswith("_backward") else "scores"
        given = {"class_weights": class_weights, "sample_weights": sample_weights}
        there = {key: vector for key, vector in given.items() if vector is not None}
        array, *taken = take_floats(owner, **{name: array}, **there)
        vectors = dict(zip(there, taken, strict=True))
        check_dimensions(owner, name, array, "NC")
        if array.shape[1] == 0:
            raise ValueError(f"{owner}: {name} has no outputs {array.shape}; expected at least one")
        self._backend = backend
        self._xp = module_of(array)
        self._array = dense(array)
        self._spec = LossSpec(*array.shape)
        try:
            smoothing = check_number(owner, "label_smoothing", label_smoothing)
            self._soft_spec = SoftCrossEntropySpec(self._spec.batch, self._spec.outputs, smoothing)
        except SpecError as fault:
            raise fault.of(owner) from None
        sizes = {"class_weights": self._spec.outputs, "sample_weights": self._spec.batch}
        for key, vector in vectors.items():
            why = f"by the shape of {name} {array.shape}"
            check_shape(owner, key, vector, (sizes[key],), why)
            vectors[key] = dense(vector)
        self._class_weights = vectors.get("class_weights")
        self._sample_weights = vectors.get("sample_weights")
        self._take_labels(owner, name, labels, ignore_index)

    def _take_labels(self, owner: str, name: str, labels: Any, ignore_index: int | None) -> None:
        array = take_beside(owner, "labels", labels, name, self._array)
        self._factors = self._weights = self._sample_weights
        ignore_index = _label_of(owner, ignore_index)
        if array.dtype.kind == "f":
            check_shape(owner, "labels", array, self._array.shape, f"the shape of {name}")
            if ignore_index is not None:
                raise ValueError(
                    f"{owner}: ignore_index is {ignore_index}, but the labels are distributions; "
                    f"leave it out, or give class numbers"
                )
            self._labels: Any = None
            self._targets: Any = dense(self._xp.ascontiguousarray(array, self._array.dtype))
            return
        if array.dtype.kind not in "iu":
            raise TypeError(f"{owner}: labels is {array.dtype}; expected an array of integers")
        batch, classes = self._array.shape
        check_shape(owner, "labels", array, (batch,), "one integer for each sample")
        if isinstance(array, np.ndarray):
            counted = array if ignore_index is None else array[array != ignore_index]
            check_range(owner, "labels", counted, classes)
        self._labels = dense(self._xp.ascontiguousarray(array, np.int64))
        self._targets = None
        if ignore_index is not None or self._class_weights is not None:
            self._weigh_labels(LabelWeightSpec(batch, classes, ignore_index))
        if self._soft_spec.label_smoothing:
            self._targets = self._xp.empty_like(self._array)
            self._launch("target_loss.one_hot", self._spec, self._labels, self._targets)

    def _weigh_labels(self, spec: LabelWeightSpec) -> None:
        counted = self._xp.empty_like(self._labels)
        factors, weights = (self._xp.empty(spec.batch, self._array.dtype) for _ in range(2))
        self._launch(
            "loss_weights.label_weights", spec, self._labels, self._class_weights,
            self._sample_weights, counted, factors, weights,
        )  # fmt: skip
        self._labels, self._weights = counted, weights
        # Smoothed targets hold the weights of the classes already.
        self._factors = factors if self._soft_spec.label_smoothing else weights

    def _launch(self, kernel: str, spec: Any, *arrays: Array | None) -> None:
        launch(self._backend, kernel, spec, self._array.dtype, *arrays)

    def forward(self) -> tuple[Array, Array]:
        """Return the losses of the samples, and the softmax."""
        losses = self._xp.empty(self._spec.batch, self._array.dtype)
        probabilities = self._xp.empty_like(self._array)
        results = losses, probabilities
        if self._targets is None:
            kernel = "loss.softmax_cross_entropy_forward"
            self._launch(kernel, self._spec, self._array, self._labels, *results)
        else:
            given = self._array, self._targets, self._class_weights
            kernel = "target_loss.soft_cross_entropy_forward"
            self._launch(kernel, self._soft_spec, *given, *results)
        if self._factors is not None:
            self._launch("loss_weights.weigh_losses", self._spec, self._factors, losses)
        return results

    def backward(self) -> Array:
        """Return the gradient of the mean loss by the scores."""
        gradient: Array = self._xp.empty_like(self._array)
        if self._targets is None:
            kernel = "loss.softmax_cross_entropy_backward"
            self._launch(kernel, self._spec, self._array, self._labels, gradient)
        else:
            given = self._array, self._targets, self._class_weights
            kernel = "target_loss.soft_cross_entropy_backward"
            self._launch(kernel, self._soft_spec, *given, gradient)
        if self._factors is not None:
            weights = self._factors, self._weights
            self._launch("loss_weights.weigh_gradients", self._spec, *weights, gradient)
        return gradient
