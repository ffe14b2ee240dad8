"""Instructions of the activations, of softmax and of log-softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from fastconv.plans.activations import SELU_ALPHA, SELU_SCALE, activation_of, number_of
from fastconv.plans.operation import ActivationSpec, SoftmaxSpec

_Types = tuple[str | None, ...]

_ELEMENTS_AT_ONCE = 2048
"""Elements of short rows that are done together: they and their results stay in L1."""
COST_OF_EXPONENTIAL = 4
"""An exponential in relation to an addition of numbers from memory."""


_OF_THEIR_OWN = ("relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus")
"""Activations that the engines have code of their own for."""


def rows_at_once(classes: int) -> int:
    """Rows of ``classes`` elements that are done together."""
    return max(1, _ELEMENTS_AT_ONCE // classes)


def _own_code(
    kernel: Kernel, spec: ActivationSpec, types: _Types, pointers: dict[str, Any], cost: int
) -> LoweredKernel:
    """An activation that the engines have code of their own for."""
    if spec.kind not in _OF_THEIR_OWN:
        raise ValueError(f"activation is {spec.kind!r}, which has no formula and no native code")
    alpha, scale = spec.alpha, 1.0
    if spec.kind == "selu":
        alpha, scale = SELU_SCALE * SELU_ALPHA, SELU_SCALE
    instruction = Instruction.of(
        kernel,
        str(types[0]),
        **pointers,
        size=spec.size,
        kind=number_of(spec.kind),
        alpha=alpha,
        scale=scale,
        max_threads=threads_for_elements(spec.size, cost),
    )
    return LoweredKernel((instruction,))


def _by_formula(
    kernel: Kernel, spec: ActivationSpec, types: _Types, pointers: dict[str, Any]
) -> LoweredKernel:
    instruction = Instruction.of(
        kernel,
        str(types[0]),
        **pointers,
        size=spec.size,
        kind=number_of(spec.kind),
        max_threads=threads_for_elements(spec.size, _cost(spec.kind)),
    )
    return LoweredKernel((instruction,))


def _cost(kind: str) -> int:
    """Cost of a formula in relation to an addition of numbers from memory."""
    formula = activation_of(kind).formula
    return COST_OF_EXPONENTIAL if formula is not None and formula.is_expensive else 1


def activation_forward(spec: ActivationSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    pointers = arrays("x", "y")
    if activation_of(spec.kind).formula is not None:
        return _by_formula(Kernel.FORMULA_FORWARD, spec, types, pointers)
    cost = 1 if spec.kind in ("relu", "leaky_relu") else COST_OF_EXPONENTIAL
    return _own_code(Kernel.ACTIVATION_FORWARD, spec, types, pointers, cost)


def activation_backward(spec: ActivationSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass; of what the engines have code of their own for, softplus alone is expensive."""
    dy, x, y, dx = map(Pointer, range(4))
    activation = activation_of(spec.kind)
    kept = x if activation.keeps == "x" else y
    if activation.formula is not None:
        pointers = {"dy": dy, "kept": kept, "dx": dx}
        return _by_formula(Kernel.FORMULA_BACKWARD, spec, types, pointers)
    cost = COST_OF_EXPONENTIAL if spec.kind == "softplus" else 1
    pointers = {"dy": dy, "y": kept, "dx": dx}
    return _own_code(Kernel.ACTIVATION_BACKWARD, spec, types, pointers, cost)


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
