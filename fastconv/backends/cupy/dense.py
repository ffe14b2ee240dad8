"""Fully connected layers in CUDA (``kernels/cuda/dense.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy import fused_kernels
from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.products import Product
from fastconv.spec import DenseSpec


def _weight_product(spec: DenseSpec, bias: bool) -> Product:
    return Product(spec.inputs + bias, spec.outputs, spec.batch)


def dense_forward(
    spec: DenseSpec,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = x w + b``."""
    fused_kernels.dense_forward(spec, None, x, w, b, y, workspace)


def dense_backward_data(
    spec: DenseSpec,
    dy: Array,
    w: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of x."""
    fused_kernels.dense_backward_data(spec, None, None, dy, w, dx, workspace)


def dense_backward_weight(
    spec: DenseSpec,
    dy: Array,
    x: Array,
    dw: Array,
    db: Array | None,
    workspace: Array | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    _weight_product(spec, db is not None).run(
        "dense.dense_backward_weight",
        fused_kernels.sizes_of(spec),
        (dy, x),
        (dw, db),
        workspace,
        dw.dtype,
        strides=(spec.inputs, spec.outputs),
    )


def workspace_bytes(kernel: str, spec: DenseSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: the sums of the parts."""
    if kernel == "dense_forward":
        return fused_kernels.forward_product(spec).workspace_bytes(dtype)
    if kernel == "dense_backward_data":
        return fused_kernels.data_product(spec).workspace_bytes(dtype)
    return max(_weight_product(spec, bias).workspace_bytes(dtype) for bias in (False, True))
