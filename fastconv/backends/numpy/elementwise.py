"""An activation of one's own: its Python functions, called for one element after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.plans.operation import ElementwiseSpec

_PIECE = 8192
"""Elements at a time: NumPy makes objects of all that it hands to a Python function."""


@functools.cache
def _vectorized(function: Callable[..., float], dtype: str) -> Callable[..., Any]:
    return np.vectorize(function, otypes=[dtype])


def _store(
    function: Callable[..., float],
    constants: tuple[float, ...],
    x: np.ndarray,
    result: np.ndarray,
    factor: np.ndarray | None = None,
) -> None:
    of_array = _vectorized(function, x.dtype.name)
    flat, out = x.reshape(-1), result.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = slice(start, start + _PIECE)
        values = of_array(flat[piece], *constants)
        if factor is None:
            out[piece] = values
        else:
            np.multiply(factor.reshape(-1)[piece], values, out=out[piece])


def elementwise_forward(
    spec: ElementwiseSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y = function(x, *constants)``."""
    _store(spec.function, spec.constants, x, y)


def elementwise_backward(
    spec: ElementwiseSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy * derivative(x, *constants)``."""
    _store(spec.derivative, spec.constants, x, dx, dy)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
