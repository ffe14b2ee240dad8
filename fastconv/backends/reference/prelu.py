"""A ReLU with a learned slope below 0: one, or one for each channel.

``y`` may be the same array as ``x``, and ``dx`` as ``dy``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.operation import PReLUSpec


@np.errstate(all="ignore")
def prelu_forward(
    spec: PReLUSpec, x: np.ndarray, slope: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y[n, c] = x[n, c]`` where that is positive, else ``slope[c] * x[n, c]``.

    Parameters
    ----------
    spec
        Rows, channels and slopes.
    x
        Input (rows, channels).
    slope
        (slopes,): with one, it is that of every channel.
    y
        Output (rows, channels), written.
    workspace
        Not used.

    Examples
    --------
    >>> x = np.array([[-2.0, 3.0]])
    >>> prelu_forward(PReLUSpec(1, 2), x, np.array([0.25]), x, None)
    >>> x
    array([[-0.5,  3. ]])
    """
    for i in range(spec.rows * spec.channels):
        value, factor = float(x.flat[i]), float(slope[i % spec.channels % spec.slopes])
        y.flat[i] = value if value > 0 else factor * value


@np.errstate(all="ignore")
def prelu_backward(
    spec: PReLUSpec,
    dy: np.ndarray,
    x: np.ndarray,
    slope: np.ndarray,
    dx: np.ndarray,
    dslope: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy`` where x is positive, else ``slope * dy``; ``dslope`` sums ``dy * x`` there.

    Parameters
    ----------
    spec
        Rows, channels and slopes.
    dy, x, slope
        Gradient of the output, and what the forward kernel took.
    dx
        Gradient of the input (rows, channels), written.
    dslope
        Gradient of the slopes (slopes,), written.
    workspace
        Not used.
    """
    totals = [0.0] * spec.slopes
    for i in range(spec.rows * spec.channels):
        gradient, value = float(dy.flat[i]), float(x.flat[i])
        which = i % spec.channels % spec.slopes
        if not value > 0:
            totals[which] += gradient * value
        dx.flat[i] = gradient * (1.0 if value > 0 else float(slope[which]))
    dslope[...] = totals


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
