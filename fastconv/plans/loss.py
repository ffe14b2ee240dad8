"""Losses by their names, with their options, and the calls of a plan that make them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastconv.plans.operation import InputSpec, LossSpec
from fastconv.spec import SpecError, require_int

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder

LOSSES = (
    "softmax_cross_entropy",
    "nll",
    "mean_squared_error",
    "binary_cross_entropy_with_logits",
    "huber",
    "mean_absolute_error",
)
"""By their names in a recipe."""

_OF_LABELS = ("softmax_cross_entropy", "nll")
_USED_UNDER: Mapping[str, tuple[str, ...]] = {
    "label_smoothing": ("softmax_cross_entropy",),
    "class_weights": _OF_LABELS,
    "ignore_index": _OF_LABELS,
    "soft_targets": ("softmax_cross_entropy",),
    "delta": ("huber",),
}
"""Options, and the kinds that they do something under."""


@dataclass(frozen=True)
class Loss:
    """A loss and its options, in place of its name alone.

    The mean over a batch is that of PyTorch: with class weights or an ``ignore_index`` each sample
    counts by the weight of its label, and the sum is divided by the sum of these weights.

    Parameters
    ----------
    kind
        "softmax_cross_entropy", "nll", "mean_squared_error", "binary_cross_entropy_with_logits"
        (several labels at once: targets (N, outputs) from 0 to 1), "huber" or
        "mean_absolute_error".
    label_smoothing
        Of softmax_cross_entropy: the share of each target that is spread over all classes.
    class_weights
        Of softmax_cross_entropy and nll: a number for each class.
    ignore_index
        Of softmax_cross_entropy and nll: samples with this label count for nothing.
    soft_targets
        Of softmax_cross_entropy: targets are distributions over the classes, (N, outputs), in place
        of labels.
    delta
        Of huber: where the square ends and the distance begins.

    Raises
    ------
    SpecError
        If there is no such loss, or an option does nothing under it or is out of range.

    Examples
    --------
    >>> Loss("softmax_cross_entropy", label_smoothing=0.1).takes_labels
    True
    """

    kind: str = "softmax_cross_entropy"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None
    soft_targets: bool = False
    delta: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise SpecError("Loss", "kind", self.kind, f"one of {', '.join(LOSSES)}")
        for name, kinds in _USED_UNDER.items():
            value = getattr(self, name)
            if value != getattr(type(self), name) and self.kind not in kinds:
                raise SpecError("Loss", name, value, f"none under {self.kind}: leave it out")
        if not 0 <= self.label_smoothing <= 1:
            raise SpecError("Loss", "label_smoothing", self.label_smoothing, "0 to 1")
        if not 0 < self.delta < math.inf:
            raise SpecError("Loss", "delta", self.delta, "more than 0, and finite")
        if self.ignore_index is not None:
            require_int("Loss", "ignore_index", self.ignore_index, -(2**62))
            if self.soft_targets:
                raise SpecError("Loss", "ignore_index", self.ignore_index, "none with soft_targets")
        if self.class_weights is not None:
            # An array, or a list of NumPy's numbers, is as good as a tuple.
            weights = tuple(float(weight) for weight in self.class_weights)
            if not weights or not all(0 <= weight < math.inf for weight in weights):
                raise SpecError("Loss", "class_weights", weights, "finite numbers of 0 or more")
            object.__setattr__(self, "class_weights", weights)

    @classmethod
    def of(cls, loss: str | Loss) -> Loss:
        """Return a loss itself, or that of a name.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        if isinstance(loss, Loss):
            return loss
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; expected one of {', '.join(LOSSES)}")
        return cls(loss)

    @property
    def takes_labels(self) -> bool:
        """Whether it is one of class numbers, and not of targets (N, outputs)."""
        return self.kind in _OF_LABELS and not self.soft_targets

    @property
    def weighs_labels(self) -> bool:
        """Whether samples count by their labels."""
        return self.takes_labels and (
            self.class_weights is not None or self.ignore_index is not None
        )

    def check_mixing(self, owner: str, name: str) -> None:
        """Check that targets of mixed images may be given to it.

        Parameters
        ----------
        owner, name
            Who mixes them, and by which option, for the message.

        Raises
        ------
        SpecError
            If not.
        """
        if self.kind == "nll":
            fix = "none under the loss nll; use softmax_cross_entropy, without a log_softmax layer"
            raise SpecError(owner, name, "on", fix, "{field} is {value}; expected {expected}")
        if self.ignore_index is not None:
            fix = "none with loss.ignore_index; leave one of the two out"
            raise SpecError(owner, name, "on", fix, "{field} is {value}; expected {expected}")

    def constants(self, dtype: Any) -> dict[str, NDArray[np.floating]]:
        """Arrays that plans with this loss share, by their names."""
        if self.class_weights is None:
            return {}
        return {"class_weights": np.array(self.class_weights, dtype)}

    def check_outputs(self, owner: str, outputs: int) -> None:
        """Check that there is a weight for each of a network's outputs.

        Raises
        ------
        ValueError
            If not.
        """
        if self.class_weights is not None and len(self.class_weights) != outputs:
            raise ValueError(
                f"{owner}: class_weights has {len(self.class_weights)} values; expected {outputs}, "
                f"one for each of the network's outputs"
            )

    def counted(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Labels without those that are ignored."""
        return labels if self.ignore_index is None else labels[labels != self.ignore_index]


@dataclass(frozen=True, slots=True)
class _Weights:
    """Numbers of the buffers by which samples count.

    Parameters
    ----------
    factors
        What the losses are multiplied by.
    counts
        0 where a sample counts for nothing.
    weights
        What each sample counts in the mean.
    """

    factors: int
    counts: int
    weights: int


def add_loss(builder: PlanBuilder, loss: Loss, scores: int) -> int | None:
    """Add the loss and its statistics; return the gradient of the scores where it is wanted."""
    (outputs,) = builder.network.output_shape
    loss.check_outputs("Loss", outputs)
    if builder.mixture is not None:
        _check_mixture(builder, loss)
    # Targets of mixed images hold the weights of the classes already.
    weighs = (loss.weighs_labels and builder.mixture is None) or builder.purpose.sample_weights
    spec = LossSpec(builder.batch, outputs)
    losses = builder.buffer("losses", (builder.batch,))
    statistics = builder.buffer("statistics", (4 if weighs else 3,), "float64")
    gradient = None
    if builder.purpose.backward:
        gradient = builder.buffer("scores.gradient", (builder.batch, outputs))
    class_weights = None
    if loss.class_weights is not None:
        class_weights = builder.buffer("class_weights", (outputs,), shared=True)
    own = _sample_weights(builder) if builder.purpose.sample_weights else None
    weights = None if own is None else _Weights(own, own, own)
    if loss.takes_labels:
        label = _labels(builder)
        if weighs:
            label, weights = _weights_of_labels(builder, loss, label, class_weights, own)
        # It knows nothing of weights, which stand behind what it adds to.
        counts = builder.view("statistics.counts", statistics, (3,)) if weighs else statistics
        builder.call("loss.count_correct", spec, scores, label, counts)
        if loss.label_smoothing or builder.mixture is not None:
            target = builder.buffer("target", (builder.batch, outputs))
            builder.call("target_loss.one_hot", spec, label, target)
            target = _mixed(builder, target)
            _soft(builder, loss, scores, target, class_weights, losses, gradient)
        else:
            _of_labels(builder, loss, scores, label, losses, gradient)
    else:
        target = _mixed(builder, _targets(builder, outputs))
        if loss.soft_targets:
            _soft(builder, loss, scores, target, class_weights, losses, gradient)
        else:
            _of_targets(builder, loss, scores, target, losses, gradient)
    if weights is None:
        builder.call("loss.sum_losses", spec, losses, statistics)
        return gradient
    builder.call("loss_weights.weigh_losses", spec, weights.factors, losses)
    if gradient is not None:
        of_mean = weights.factors, weights.weights
        builder.call("loss_weights.weigh_gradients", spec, *of_mean, gradient)
    given = losses, weights.counts, weights.weights
    builder.call("loss_weights.sum_weighted_losses", spec, *given, statistics)
    return gradient


def _check_mixture(builder: PlanBuilder, loss: Loss) -> None:
    name = "mixup" if builder.source.augmentation.mixup else "cutmix"
    loss.check_mixing("Augmentation", name)
    if builder.purpose.sample_weights:
        expected = "none with sample_weights, which are of single samples; leave one of the two out"
        value = getattr(builder.source.augmentation, name)
        raise SpecError("Augmentation", name, value, expected)


def _mixed(builder: PlanBuilder, target: int) -> int:
    """Targets mixed as the images were."""
    if builder.mixture is None:
        return target
    from fastconv.plans.augmented_input import add_mixed_targets

    return add_mixed_targets(builder, target, builder.network.output_shape[0])


def _gather(builder: PlanBuilder, rows: int, row: int, elements: int) -> None:
    spec = InputSpec(builder.batch, 1, 1, elements)
    builder.call("input.gather_rows", spec, rows, builder.indices, row)


def _labels(builder: PlanBuilder) -> int:
    labels = builder.buffer("labels", (builder.source.samples,), "int64", shared=True)
    label = builder.buffer("label", (builder.batch,), "int64")
    _gather(builder, labels, label, 1)
    return label


def _targets(builder: PlanBuilder, outputs: int) -> int:
    shape, dtype = (builder.source.samples, outputs), builder.source.target_dtype
    targets = builder.buffer("targets", shape, dtype, shared=True)
    target = builder.buffer("target", (builder.batch, outputs))
    _gather(builder, targets, target, outputs)
    return target


def _sample_weights(builder: PlanBuilder) -> int:
    every = builder.buffer("sample_weights", (builder.source.samples,), shared=True)
    own = builder.buffer("sample_weight", (builder.batch,))
    _gather(builder, every, own, 1)
    return own


def _weights_of_labels(
    builder: PlanBuilder, loss: Loss, label: int, class_weights: int | None, own: int | None
) -> tuple[int, _Weights]:
    """Return the labels that count, and the weights of the samples."""
    (outputs,), each = builder.network.output_shape, (builder.batch,)
    counted = builder.buffer("label.counted", each, "int64")
    factors, weights = (builder.buffer(f"loss.{name}", each) for name in ("factors", "weights"))
    from fastconv.plans.loss_operation import LabelWeightSpec

    spec = LabelWeightSpec(builder.batch, outputs, loss.ignore_index)
    given = label, class_weights, own, counted, factors, weights
    builder.call("loss_weights.label_weights", spec, *given)
    # Smoothed targets hold the weights of the classes already.
    return counted, _Weights(factors if loss.label_smoothing else weights, factors, weights)


def _of_labels(
    builder: PlanBuilder, loss: Loss, scores: int, label: int, losses: int, gradient: int | None
) -> None:
    (outputs,) = builder.network.output_shape
    spec = LossSpec(builder.batch, outputs)
    if loss.kind == "nll":
        builder.call("loss.nll_forward", spec, scores, label, losses)
        if gradient is not None:
            builder.call("loss.nll_backward", spec, label, gradient)
        return
    name = "loss.softmax_cross_entropy"
    softmax = builder.buffer("probabilities", (builder.batch, outputs))
    builder.call(f"{name}_forward", spec, scores, label, losses, softmax)
    if gradient is not None:
        builder.call(f"{name}_backward", spec, softmax, label, gradient)


def _soft(
    builder: PlanBuilder, loss: Loss, scores: int, target: int, class_weights: int | None,
    losses: int, gradient: int | None,
) -> None:  # fmt: skip
    (outputs,), name = builder.network.output_shape, "target_loss.soft_cross_entropy"
    from fastconv.plans.loss_operation import SoftCrossEntropySpec

    spec = SoftCrossEntropySpec(builder.batch, outputs, loss.label_smoothing)
    softmax = builder.buffer("probabilities", (builder.batch, outputs))
    builder.call(f"{name}_forward", spec, scores, target, class_weights, losses, softmax)
    if gradient is not None:
        builder.call(f"{name}_backward", spec, softmax, target, class_weights, gradient)


def _of_targets(
    builder: PlanBuilder, loss: Loss, scores: int, target: int, losses: int, gradient: int | None
) -> None:
    (outputs,) = builder.network.output_shape
    spec: Any
    if loss.kind == "mean_squared_error":
        name, spec = "loss.mean_squared_error", LossSpec(builder.batch, outputs)
    else:
        from fastconv.plans.loss_operation import ElementwiseLossSpec

        kind: Any = loss.kind
        spec = ElementwiseLossSpec(kind, builder.batch, outputs, loss.delta)
        name = "target_loss.elementwise_loss"
    builder.call(f"{name}_forward", spec, scores, target, losses)
    if gradient is not None:
        builder.call(f"{name}_backward", spec, scores, target, gradient)
