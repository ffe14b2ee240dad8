"""Activations in CUDA (``kernels/cuda/activation.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import check_size, launch_elements, launch_rows, numbers_of
from fastconv.plans.activations import activation_of
from fastconv.plans.operation import ActivationSpec, SoftmaxSpec


def _softmax(name: str, spec: SoftmaxSpec, logarithms: int, *arrays: Array) -> None:
    check_size(name, x=spec.rows * spec.classes)
    launch_rows(
        f"activation.{name}", spec.rows, spec.rows, spec.classes, logarithms, *arrays,
        dtype=arrays[-1].dtype,
    )  # fmt: skip


def activation_forward(
    spec: ActivationSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Apply the activation to every element."""
    launch_elements(
        "activation.activation_forward",
        spec.size,
        spec.size,
        *numbers_of(spec),
        x,
        y,
        dtype=y.dtype,
    )


def activation_backward(
    spec: ActivationSpec,
    dy: Array,
    x: Array | None,
    y: Array | None,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Multiply by the derivative, computed from ``x`` or ``y``."""
    launch_elements(
        "activation.activation_backward",
        spec.size,
        spec.size,
        *numbers_of(spec),
        dy,
        x if activation_of(spec.kind).keeps == "x" else y,
        dx,
        dtype=dx.dtype,
    )


def softmax_forward(
    spec: SoftmaxSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Softmax of each row."""
    _softmax("softmax_forward", spec, 0, x, y)


def softmax_backward(
    spec: SoftmaxSpec,
    dy: Array,
    y: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of the scores."""
    _softmax("softmax_backward", spec, 0, dy, y, dx)


def log_softmax_forward(
    spec: SoftmaxSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Logarithm of the softmax of each row."""
    _softmax("softmax_forward", spec, 1, x, y)


def log_softmax_backward(
    spec: SoftmaxSpec,
    dy: Array,
    y: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of the scores."""
    _softmax("softmax_backward", spec, 1, dy, y, dx)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
