"""An activation of one's own: two Python functions of one number.

``y`` may be the same array as ``x``, and ``dx`` as ``dy``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.operation import ElementwiseSpec


@np.errstate(all="ignore")
def elementwise_forward(
    spec: ElementwiseSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y = function(x, *constants)``, of every element.

    Parameters
    ----------
    spec
        The functions.
    x
        Input, any shape.
    y
        Output, the same shape, written.
    workspace
        Not used.
    """
    for i in range(x.size):
        y.flat[i] = spec.function(float(x.flat[i]), *spec.constants)


@np.errstate(all="ignore")
def elementwise_backward(
    spec: ElementwiseSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy * derivative(x, *constants)``.

    Parameters
    ----------
    spec
        The functions.
    dy, x
        Gradient of the output, and the input.
    dx
        Gradient of the input, written.
    workspace
        Not used.
    """
    for i in range(x.size):
        slope = spec.derivative(float(x.flat[i]), *spec.constants)
        dx.flat[i] = float(dy.flat[i]) * slope


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
