"""Elementwise activations, and softmax over the last axis.

What the backward kernels need is in :data:`fastconv.plans.activations.ACTIVATIONS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy import by_formula
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.activations import SELU_ALPHA, SELU_SCALE, activation_of
from fastconv.plans.operation import ActivationSpec, SoftmaxSpec


def activation_forward(
    spec: ActivationSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Apply the activation to every element."""
    formula = activation_of(spec.kind).formula
    if formula is not None:
        by_formula.store(formula.value, "x", x, y)
    elif spec.kind == "relu":
        np.maximum(x, 0, out=y)
    elif spec.kind == "tanh":
        np.tanh(x, out=y)
    elif spec.kind == "sigmoid":
        np.negative(x, out=y)
        with np.errstate(over="ignore"):  # e^-x = inf gives 0, as it should
            np.exp(y, out=y)
        np.add(y, 1, out=y)
        np.reciprocal(y, out=y)
    elif spec.kind == "softplus":
        np.logaddexp(x, 0, out=y)
    elif spec.kind == "leaky_relu" and 0 < spec.alpha <= 1:
        # Not for 0, where the product with inf is NaN.
        scaled = Carver(workspace).take(x.shape, x.dtype)
        np.multiply(x, spec.alpha, out=scaled)
        np.maximum(x, scaled, out=y)
    elif spec.kind in ("leaky_relu", "elu", "selu"):
        # One formula above zero, another below: their sum, each being 0 on the other's side.
        alpha, scale = _alpha_and_scale(spec)
        below = Carver(workspace).take(x.shape, x.dtype)
        np.minimum(x, 0, out=below)
        if spec.kind != "leaky_relu":
            np.expm1(below, out=below)
        np.multiply(below, alpha * scale, out=below)
        np.maximum(x, 0, out=y)
        np.multiply(y, scale, out=y)
        np.add(y, below, out=y)
    else:
        raise ValueError(f"activation_forward: kind is {spec.kind!r}, which has no code here")


def _alpha_and_scale(spec: ActivationSpec) -> tuple[float, float]:
    return (SELU_ALPHA, SELU_SCALE) if spec.kind == "selu" else (spec.alpha, 1.0)


def activation_backward(
    spec: ActivationSpec,
    dy: np.ndarray,
    x: np.ndarray | None,
    y: np.ndarray | None,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy * f'(x)``, the derivative computed from ``x`` or ``y``."""
    activation = activation_of(spec.kind)
    if activation.formula is not None:
        keeps = activation.keeps
        kept = x if keeps == "x" else y
        by_formula.store(activation.formula.derivative, keeps, kept, dx, factor=dy)
        return
    assert y is not None
    carver = Carver(workspace)
    slope = carver.take(y.shape, y.dtype)
    if spec.kind == "relu":
        np.greater(y, 0, out=slope)
    elif spec.kind == "tanh":
        np.multiply(y, y, out=slope)
        np.subtract(1, slope, out=slope)
    elif spec.kind == "sigmoid":
        np.subtract(1, y, out=slope)
        np.multiply(slope, y, out=slope)
    elif spec.kind == "softplus":
        np.negative(y, out=slope)
        np.expm1(slope, out=slope)
        np.negative(slope, out=slope)
    elif spec.kind == "leaky_relu" and spec.alpha <= 1:
        np.greater(y, 0, out=slope)
        np.maximum(slope, spec.alpha, out=slope)
    elif spec.kind in ("leaky_relu", "elu", "selu"):
        alpha, scale = _alpha_and_scale(spec)
        above = carver.take(y.shape, np.bool_)
        np.greater(y, 0, out=above)
        if spec.kind == "leaky_relu":
            slope.fill(alpha)
        else:
            np.add(y, alpha * scale, out=slope)
        np.copyto(slope, scale, where=above)
    else:
        raise ValueError(f"activation_backward: kind is {spec.kind!r}, which has no code here")
    np.multiply(dy, slope, out=dx)


def softmax_forward(
    spec: SoftmaxSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``e^x / sum(e^x)`` along the last axis, shifted by the largest so that it cannot overflow."""
    largest = Carver(workspace).take((spec.rows, 1), x.dtype)
    np.maximum.reduce(x, axis=1, keepdims=True, out=largest)
    np.subtract(x, largest, out=y)
    np.exp(y, out=y)
    np.add.reduce(y, axis=1, keepdims=True, out=largest)
    np.divide(y, largest, out=y)


def softmax_backward(
    spec: SoftmaxSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = y * (dy - sum(dy * y))``."""
    carver = Carver(workspace)
    product = carver.take(y.shape, y.dtype)
    total = carver.take((spec.rows, 1), y.dtype)
    np.multiply(dy, y, out=product)
    np.add.reduce(product, axis=1, keepdims=True, out=total)
    np.subtract(dy, total, out=dx)
    np.multiply(dx, y, out=dx)


def log_softmax_forward(
    spec: SoftmaxSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``x - log(sum(e^x))`` along the last axis."""
    carver = Carver(workspace)
    exponentials = carver.take(x.shape, x.dtype)
    row = carver.take((spec.rows, 1), x.dtype)
    np.maximum.reduce(x, axis=1, keepdims=True, out=row)
    np.subtract(x, row, out=y)
    np.exp(y, out=exponentials)
    np.add.reduce(exponentials, axis=1, keepdims=True, out=row)
    np.log(row, out=row)
    np.subtract(y, row, out=y)


def log_softmax_backward(
    spec: SoftmaxSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy - e^y * sum(dy)``."""
    carver = Carver(workspace)
    probabilities = carver.take(y.shape, y.dtype)
    total = carver.take((spec.rows, 1), y.dtype)
    np.add.reduce(dy, axis=1, keepdims=True, out=total)
    np.exp(y, out=probabilities)
    np.multiply(probabilities, total, out=probabilities)
    np.subtract(dy, probabilities, out=dx)


def workspace_bytes(kernel: str, spec: ActivationSpec | SoftmaxSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if isinstance(spec, ActivationSpec):
        return size_of((spec.size,), dtype) + size_of((spec.size,), np.bool_)
    return size_of((spec.rows, spec.classes), dtype) + size_of((spec.rows, 1), dtype)
