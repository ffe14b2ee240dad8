"""Updates in CUDA (``kernels/cuda/optim.cu``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import launch, launch_elements, sum_squares
from fastconv.backends.cupy.products import memory_of
from fastconv.plans.operation import OptimizerSpec

if TYPE_CHECKING:
    from fastconv.plans.lookahead import LookaheadSpec

_BYTES_OF_A_SUM = 8
_SCALES = {"adam_update": 2, "lamb_update": 2, "nadam_update": 3}
"""Factors of a step, the same for all elements, that a kernel makes before the update's own."""


def _update(kernel: str, spec: OptimizerSpec, *arguments: Any, dtype: Any) -> None:
    penalties = float(spec.l2), float(spec.coupled_decay), float(spec.decoupled_decay)
    sizes = spec.size, spec.weights, spec.decayed
    launch_elements(
        kernel, spec.size, *sizes, *penalties, float(spec.rate_factor), *arguments, dtype=dtype
    )


def _scales(kernel: str, spec: OptimizerSpec, workspace: Any, *arguments: Any) -> Array:
    """Make the factors of a step; float64, in the beginning of the workspace."""
    size = _BYTES_OF_A_SUM * _SCALES[f"{spec.kind}_update"]
    scales = memory_of(workspace)[:size].view("float64")
    launch(f"bias_correction.{kernel}", (1,), (1,), float(spec.beta1), float(spec.beta2),
           *arguments, scales)  # fmt: skip
    return scales


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
    scheduled = int(spec.scheduled_momentum) * (2 if spec.averaged else 1)
    _update(
        "optim.momentum_update", spec, float(spec.momentum), share, int(spec.kind == "nesterov"),
        scheduled, w, dw, m, rate, dtype=w.dtype,
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
    scheduled = int(spec.scheduled_momentum)
    scales = _scales("adam_scales", spec, workspace, scheduled, rate, step)
    _update("optim.adam_update", spec, *rule, scheduled, w, dw, m, v, rate, scales, dtype=w.dtype)


def rmsprop_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    v: Array,
    mean: Array | None,
    m: Array | None,
    rate: Array,
    workspace: Array | None,
) -> None:
    """RMSprop, centred or not, with momentum or without."""
    rule = float(spec.alpha), float(spec.epsilon), float(spec.momentum)
    _update("optim.rmsprop_update", spec, *rule, w, dw, v, mean, m, rate, dtype=w.dtype)


def adagrad_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    v: Array,
    rate: Array,
    workspace: Array | None,
) -> None:
    """Adagrad."""
    _update("optim.adagrad_update", spec, float(spec.epsilon), w, dw, v, rate, dtype=w.dtype)


def nadam_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    rate: Array,
    step: Array,
    workspace: Array | None,
) -> None:
    """NAdam."""
    rule = float(spec.beta1), float(spec.beta2), float(spec.epsilon)
    scales = _scales("nadam_scales", spec, workspace, float(spec.momentum_decay), step)
    _update("optim.nadam_update", spec, *rule, w, dw, m, v, rate, scales, dtype=w.dtype)


def lamb_update(
    spec: OptimizerSpec,
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    rate: Array,
    step: Array,
    workspace: Array | None,
) -> None:
    """LAMB: the direction and both sums of squares first, then the step."""
    scales = _scales("adam_scales", spec, workspace, 0, rate, step)
    rest = memory_of(workspace)[_BYTES_OF_A_SUM * _SCALES["lamb_update"] :]
    sums = rest[: 2 * _BYTES_OF_A_SUM].view("float64")
    u = rest[2 * _BYTES_OF_A_SUM :][: spec.size * w.dtype.itemsize].view(w.dtype)
    rule = float(spec.beta1), float(spec.beta2), float(spec.epsilon)
    _update("optim.lamb_direction", spec, *rule, w, dw, m, v, scales, u, dtype=w.dtype)
    sum_squares(spec.size, w, sums[:1])
    sum_squares(spec.size, u, sums[1:])
    launch_elements(
        "optim.lamb_apply", spec.size, spec.size, float(spec.rate_factor), w, u, sums, rate,
        dtype=w.dtype,
    )  # fmt: skip


def lookahead_update(
    spec: LookaheadSpec,
    w: Array,
    slow: Array,
    step: Array,
    workspace: Array | None,
) -> None:
    """Bring slow weights on, and the fast ones back to them."""
    launch_elements(
        "optim.lookahead_update", spec.size, spec.size, spec.steps, float(spec.alpha), w, slow,
        step, dtype=w.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs.

    Those of a step's factors, and for LAMB of its direction and two sums too.
    """
    scales = _BYTES_OF_A_SUM * _SCALES.get(kernel, 0)
    if kernel != "lamb_update":
        return scales
    return scales + 2 * _BYTES_OF_A_SUM + int(spec.size) * int(np.dtype(dtype).itemsize)
