"""What is done with gradients before the update; :mod:`fastconv.plans.gradient` says how."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec


def clip_by_norm(spec: ClipSpec, x: np.ndarray, workspace: np.ndarray | None) -> None:
    """Scale by the norm; its squares are summed in float64."""
    scratch = Carver(workspace).take(x.shape, x.dtype)
    np.multiply(x, x, out=scratch)
    norm = math.sqrt(float(np.add.reduce(scratch, dtype=np.float64)))
    if spec.normalizes:
        scale = spec.limit / (spec.epsilon if norm < spec.epsilon else norm)
    else:
        scale = spec.limit / (norm + spec.epsilon)
        scale = 1.0 if scale > 1 else scale
    np.multiply(x, scale, out=x)


def clip_by_value(spec: ClipSpec, x: np.ndarray, workspace: np.ndarray | None) -> None:
    """Bring into a range; NaN stays."""
    np.clip(x, -spec.limit, spec.limit, out=x)


def accumulate(
    spec: AccumulateSpec, dw: np.ndarray, total: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``total = keep * total + share * dw``."""
    scratch = Carver(workspace).take(dw.shape, dw.dtype)
    if not spec.keep:
        np.multiply(dw, spec.share, out=total)
        return
    np.multiply(dw, spec.share, out=scratch)
    if spec.keep != 1:
        np.multiply(total, spec.keep, out=total)
    np.add(total, scratch, out=total)


def muon_direction(
    spec: MuonSpec,
    dw: np.ndarray,
    m: np.ndarray,
    direction: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Momentum as a mean, and Nesterov's look ahead."""
    np.multiply(dw, 1.0 - spec.momentum, out=direction)
    np.multiply(m, spec.momentum, out=m)
    np.add(m, direction, out=m)
    if spec.nesterov:
        scratch = Carver(workspace).take(dw.shape, dw.dtype)
        np.multiply(m, spec.momentum, out=scratch)
        np.add(direction, scratch, out=direction)
    else:
        np.copyto(direction, m)


def newton_schulz_polynomial(
    spec: PolynomialSpec,
    gram: np.ndarray,
    square: np.ndarray,
    polynomial: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``a*I + b*gram + c*square``."""
    scratch = Carver(workspace).take(gram.shape, gram.dtype)
    np.multiply(gram, spec.b, out=polynomial)
    np.multiply(square, spec.c, out=scratch)
    np.add(polynomial, scratch, out=polynomial)
    diagonal = polynomial.reshape(-1)[:: spec.rows + 1]
    np.add(diagonal, spec.a, out=diagonal)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if isinstance(spec, PolynomialSpec):
        return size_of((spec.rows, spec.rows), dtype)
    return size_of((spec.size,), dtype)
