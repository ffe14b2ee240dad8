"""Records of the activations, of softmax and of log-softmax."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.record import (
    WORKSPACE,
    Launch,
    Pointer,
    Record,
    Target,
)
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import (
    ACTIVATION_KINDS,
    SELU_ALPHA,
    SELU_SCALE,
    ActivationSpec,
    SoftmaxSpec,
)

_Types = tuple[str | None, ...]

_ELEMENTS_AT_ONCE = 2048
"""Of short rows that are done together: they and their results stay in L1."""
COST_OF_EXPONENTIAL = 4
"""An exponential in relation to an addition of numbers from memory."""


def rows_at_once(classes: int) -> int:
    """Rows of ``classes`` elements that are done together."""
    return max(1, _ELEMENTS_AT_ONCE // classes)


def _activation(
    kernel: str, spec: ActivationSpec, types: _Types, arrays: int, cheap: tuple[str, ...]
) -> Launch:
    alpha, scale = spec.alpha, 1.0
    if spec.kind == "selu":
        alpha, scale = SELU_SCALE * SELU_ALPHA, SELU_SCALE
    record = Record(
        kernel,
        str(types[0]),
        tuple(Pointer(number) for number in range(arrays)),
        (spec.size, ACTIVATION_KINDS.index(spec.kind)),
        (alpha, scale),
        parts=parts_of(spec.size, 1 if spec.kind in cheap else COST_OF_EXPONENTIAL),
    )
    return Launch((record,))


def activation_forward(spec: ActivationSpec, types: _Types, target: Target) -> Launch:
    """One pass."""
    return _activation("activation_forward", spec, types, 2, ("relu", "leaky_relu"))


def activation_backward(spec: ActivationSpec, types: _Types, target: Target) -> Launch:
    """One pass; only the slope of softplus is dear."""
    cheap = tuple(kind for kind in ACTIVATION_KINDS if kind != "softplus")
    return _activation("activation_backward", spec, types, 3, cheap)


def _over_rows(
    kernel: str, spec: SoftmaxSpec, types: _Types, arrays: int, scratch: bool = False
) -> Launch:
    together = rows_at_once(spec.classes)
    pointers = [Pointer(number) for number in range(arrays)]
    elements = spec.rows * spec.classes
    record = Record(
        kernel,
        str(types[0]),
        (*pointers, Pointer(WORKSPACE)) if scratch else tuple(pointers),
        (spec.rows, spec.classes, together),
        parts=min(-(-spec.rows // together), parts_of(elements, COST_OF_EXPONENTIAL)),
    )
    return Launch((record,), elements * np.dtype(types[0]).itemsize if scratch else 0)


def softmax_forward(spec: SoftmaxSpec, types: _Types, target: Target) -> Launch:
    """Chunks of rows."""
    return _over_rows("softmax_forward", spec, types, 2)


def softmax_backward(spec: SoftmaxSpec, types: _Types, target: Target) -> Launch:
    """One row after the other."""
    return _over_rows("softmax_backward", spec, types, 3)


def log_softmax_forward(spec: SoftmaxSpec, types: _Types, target: Target) -> Launch:
    """Chunks of rows; the powers need room, since y holds the scores until their sum is known."""
    return _over_rows("log_softmax_forward", spec, types, 2, scratch=True)


def log_softmax_backward(spec: SoftmaxSpec, types: _Types, target: Target) -> Launch:
    """Chunks of rows; the powers need room, since dx may be dy."""
    return _over_rows("log_softmax_backward", spec, types, 3, scratch=True)
