"""Updates in CUDA (``kernels/cuda/optim.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import launch_elements
from fastconv.plans.operation import OptimizerSpec


def _update(kernel: str, spec: OptimizerSpec, *arguments: Any, dtype: Any) -> None:
    penalties = float(spec.l2), float(spec.coupled_decay), float(spec.decoupled_decay)
    sizes = spec.size, spec.weights, spec.decayed
    launch_elements(kernel, spec.size, *sizes, *penalties, *arguments, dtype=dtype)


def sgd_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    rate: Array,
    workspace: Array | None,
) -> None:
    """Plain gradient descent."""
    _update("optim.sgd_update", spec, w, dw, rate, dtype=w.dtype)


def momentum_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    m: Array,
    rate: Array,
    workspace: Array | None,
) -> None:
    """Gradient descent with momentum, or Nesterov's."""
    share = 1.0 - spec.momentum if spec.averaged else 1.0
    _update(
        "optim.momentum_update", spec, float(spec.momentum), share, int(spec.kind == "nesterov"), w,
        dw, m, rate, dtype=w.dtype,
    )  # fmt: skip


def adam_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    rate: Array,
    step: Array,
    workspace: Array | None,
) -> None:
    """Adam, or AdamW with decoupled decay."""
    rule = float(spec.beta1), float(spec.beta2), float(spec.epsilon)
    _update("optim.adam_update", spec, *rule, w, dw, m, v, rate, step, dtype=w.dtype)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
