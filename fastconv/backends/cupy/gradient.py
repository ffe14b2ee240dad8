"""What is done with gradients before the update, in CUDA (``kernels/cuda/gradient.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import launch_elements, sum_squares
from fastconv.backends.cupy.products import memory_of
from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec

_BYTES_OF_A_SUM = 8


def clip_by_norm(spec: ClipSpec, x: Array, workspace: Array | None) -> None:
    """The norm first, then the scaling by it."""
    total = memory_of(workspace)[:_BYTES_OF_A_SUM].view("float64")
    sum_squares(spec.size, x, total)
    launch_elements(
        "gradient.scale_by_norm", spec.size, spec.size, int(spec.normalizes), float(spec.limit),
        float(spec.epsilon), x, total, dtype=x.dtype,
    )  # fmt: skip


def clip_by_value(spec: ClipSpec, x: Array, workspace: Array | None) -> None:
    """Bring each element into a range around 0; NaN stays."""
    launch_elements(
        "gradient.clip_by_value", spec.size, spec.size, float(spec.limit), x, dtype=x.dtype
    )


def accumulate(spec: AccumulateSpec, dw: Array, total: Array, workspace: Array | None) -> None:
    """Add a share of a gradient to a total."""
    launch_elements(
        "gradient.accumulate", spec.size, spec.size, float(spec.share), float(spec.keep), dw, total,
        dtype=dw.dtype,
    )  # fmt: skip


def muon_direction(
    spec: MuonSpec,
    dw: Array,
    m: Array,
    direction: Array,
    workspace: Array | None,
) -> None:
    """Momentum as a mean, and the direction of a step."""
    launch_elements(
        "gradient.muon_direction", spec.size, spec.size, int(spec.nesterov), float(spec.momentum),
        dw, m, direction, dtype=dw.dtype,
    )  # fmt: skip


def newton_schulz_polynomial(
    spec: PolynomialSpec,
    gram: Array,
    square: Array,
    polynomial: Array,
    workspace: Array | None,
) -> None:
    """``a*I + b*gram + c*square``."""
    launch_elements(
        "gradient.newton_schulz_polynomial", spec.rows**2, spec.rows, float(spec.a), float(spec.b),
        float(spec.c), gram, square, polynomial, dtype=gram.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: a sum for the norm."""
    return _BYTES_OF_A_SUM if kernel == "clip_by_norm" else 0
