"""Instructions of the activations, of softmax and of log-softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import (
    ACTIVATION_KINDS,
    SELU_ALPHA,
    SELU_SCALE,
    ActivationSpec,
    SoftmaxSpec,
)

_Types = tuple[str | None, ...]

_ELEMENTS_AT_ONCE = 2048
"""Elements of short rows that are done together: they and their results stay in L1."""
COST_OF_EXPONENTIAL = 4
"""An exponential in relation to an addition of numbers from memory."""


def rows_at_once(classes: int) -> int:
    """Rows of ``classes`` elements that are done together."""
    return max(1, _ELEMENTS_AT_ONCE // classes)


def _activation(
    kernel: Kernel, spec: ActivationSpec, types: _Types, names: Sequence[str], cheap: Sequence[str]
) -> LoweredKernel:
    alpha, scale = spec.alpha, 1.0
    if spec.kind == "selu":
        alpha, scale = SELU_SCALE * SELU_ALPHA, SELU_SCALE
    instruction = Instruction.of(
        kernel,
        str(types[0]),
        **arrays(*names),
        size=spec.size,
        kind=ACTIVATION_KINDS.index(spec.kind),
        alpha=alpha,
        scale=scale,
        max_threads=threads_for_elements(
            spec.size, 1 if spec.kind in cheap else COST_OF_EXPONENTIAL
        ),
    )
    return LoweredKernel((instruction,))


def activation_forward(spec: ActivationSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    return _activation(Kernel.ACTIVATION_FORWARD, spec, types, ("x", "y"), ("relu", "leaky_relu"))


def activation_backward(spec: ActivationSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass; only the slope of softplus is expensive."""
    cheap = tuple(kind for kind in ACTIVATION_KINDS if kind != "softplus")
    return _activation(Kernel.ACTIVATION_BACKWARD, spec, types, ("dy", "y", "dx"), cheap)


def _over_rows(
    kernel: Kernel, spec: SoftmaxSpec, types: _Types, names: Sequence[str]
) -> LoweredKernel:
    together = rows_at_once(spec.classes)
    pointers = arrays(*names)
    elements, size = spec.rows * spec.classes, 0
    if kernel in (Kernel.LOG_SOFTMAX_FORWARD, Kernel.LOG_SOFTMAX_BACKWARD):
        pointers["powers"] = Pointer(WORKSPACE)
        size = elements * np.dtype(types[0]).itemsize
    instruction = Instruction.of(
        kernel,
        str(types[0]),
        **pointers,
        rows=spec.rows,
        classes=spec.classes,
        together=together,
        max_threads=min(
            -(-spec.rows // together), threads_for_elements(elements, COST_OF_EXPONENTIAL)
        ),
    )
    return LoweredKernel((instruction,), size)


def softmax_forward(spec: SoftmaxSpec, types: _Types, target: Target) -> LoweredKernel:
    """Chunks of rows."""
    return _over_rows(Kernel.SOFTMAX_FORWARD, spec, types, ("x", "y"))


def softmax_backward(spec: SoftmaxSpec, types: _Types, target: Target) -> LoweredKernel:
    """One row after the other."""
    return _over_rows(Kernel.SOFTMAX_BACKWARD, spec, types, ("dy", "y", "dx"))


def log_softmax_forward(spec: SoftmaxSpec, types: _Types, target: Target) -> LoweredKernel:
    """Chunks of rows; the powers need room, since y holds the scores until their sum is known."""
    return _over_rows(Kernel.LOG_SOFTMAX_FORWARD, spec, types, ("x", "y"))


def log_softmax_backward(spec: SoftmaxSpec, types: _Types, target: Target) -> LoweredKernel:
    """Chunks of rows; the powers need room, since dx may be dy."""
    return _over_rows(Kernel.LOG_SOFTMAX_BACKWARD, spec, types, ("dy", "y", "dx"))
