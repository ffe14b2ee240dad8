"""Specs of the losses of targets, and of the weights of samples in a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastconv.spec import SpecError, require_int

ElementwiseLossKind: TypeAlias = Literal[
    "binary_cross_entropy_with_logits", "huber", "mean_absolute_error"
]
ELEMENTWISE_LOSS_KINDS: tuple[ElementwiseLossKind, ...] = (
    "binary_cross_entropy_with_logits",
    "huber",
    "mean_absolute_error",
)


@dataclass(frozen=True, slots=True)
class ElementwiseLossSpec:
    """A loss of each output and its target, averaged over the outputs of a sample.

    With ``d = y - t``:

    ================================= ======================================= ==================
    kind                              loss                                    derivative by y
    ================================= ======================================= ==================
    binary_cross_entropy_with_logits  max(y, 0) - y t + log(1 + e^-abs(y))    1 / (1 + e^-y) - t
    huber                             d^2 / 2 where abs(d) <= delta, else     d within -delta
                                      delta (abs(d) - delta / 2)              and delta
    mean_absolute_error               abs(d)                                  sign of d, 0 at 0
    ================================= ======================================= ==================

    Parameters
    ----------
    kind
        Which loss.
    batch, outputs
        Samples, and outputs of each.
    delta
        Of Huber's loss.
    """

    kind: ElementwiseLossKind
    batch: int
    outputs: int
    delta: float = 1.0

    def __post_init__(self) -> None:
        owner = "ElementwiseLossSpec"
        if self.kind not in ELEMENTWISE_LOSS_KINDS:
            raise SpecError(owner, "kind", self.kind, f"one of {', '.join(ELEMENTWISE_LOSS_KINDS)}")
        require_int(owner, "batch", self.batch, 0)
        require_int(owner, "outputs", self.outputs, 1)
        if not 0 < self.delta < float("inf"):
            raise SpecError(owner, "delta", self.delta, "more than 0, and finite")


@dataclass(frozen=True, slots=True)
class SoftCrossEntropySpec:
    """Cross entropy between distributions over the classes and the softmax of scores.

    The target of class k is smoothed to ``(1 - label_smoothing) t + label_smoothing / outputs``
    (Szegedy et al., arXiv:1512.00567) and then multiplied by the weight of the class.

    Parameters
    ----------
    batch, outputs
        Samples and classes.
    label_smoothing
        Share of each target that is spread over all classes.
    """

    batch: int
    outputs: int
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        owner = "SoftCrossEntropySpec"
        require_int(owner, "batch", self.batch, 0)
        require_int(owner, "outputs", self.outputs, 1)
        if not 0 <= self.label_smoothing <= 1:
            raise SpecError(owner, "label_smoothing", self.label_smoothing, "0 to 1")


@dataclass(frozen=True, slots=True)
class LabelWeightSpec:
    """Weights of samples, by their labels.

    Parameters
    ----------
    batch, outputs
        Samples and classes.
    ignore_index
        A label whose samples count for nothing; None: every label counts.
    """

    batch: int
    outputs: int
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        owner = "LabelWeightSpec"
        require_int(owner, "batch", self.batch, 0)
        require_int(owner, "outputs", self.outputs, 1)
        if self.ignore_index is not None:
            require_int(owner, "ignore_index", self.ignore_index, -(2**62))
