"""Inverted dropout (Srivastava et al., JMLR 15, 2014). ``y`` may be ``x``, and ``dx`` be ``dy``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.reference.random import random_words
from fastconv.plans.operation import DropoutSpec
from fastconv.plans.resample_operation import ChannelDropoutSpec


@np.errstate(all="ignore")
def dropout_forward(
    spec: DropoutSpec,
    x: np.ndarray,
    step: np.ndarray,
    mask: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Keep and scale each element, or write 0 in its place.

    Parameters
    ----------
    spec
        Probability and random stream; :class:`fastconv.plans.operation.DropoutSpec` has the rule.
    x
        Input, any shape.
    step
        int64, (1,): the step.
    mask, y
        uint8, 1 where kept, and the output; both like ``x``, written.
    workspace
        Not used.
    """
    words = np.empty(x.size, np.uint32)
    random_words(spec.random, step, words, None)
    for i in range(x.size):
        mask.flat[i] = 1 if int(words[i]) >> 8 >= spec.threshold else 0
    _keep_and_scale(spec, x, mask, y)


@np.errstate(all="ignore")
def dropout_backward(
    spec: DropoutSpec,
    dy: np.ndarray,
    mask: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Scale the gradient of each element that was kept, and write 0 for the others.

    Parameters
    ----------
    spec
        Probability.
    dy, mask
        Gradient of the output, and the forward kernel's mask.
    dx
        Gradient of the input, written.
    workspace
        Not used.
    """
    _keep_and_scale(spec, dy, mask, dx)


@np.errstate(all="ignore")
def drop_channels(
    spec: ChannelDropoutSpec,
    x: np.ndarray,
    mask: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Scale every pixel of the channels that are kept, and write 0 for the others.

    Forward and backward are the same: the gradient goes where the values went.

    Parameters
    ----------
    spec
        Sizes and probability.
    x
        Input, or gradient of the output (batch * pixels * channels elements, channels last).
    mask
        uint8, (batch, channels), 1 where kept: from :func:`dropout_forward` of as many elements.
    y
        Output, or gradient of the input, written; it may be ``x``.
    workspace
        Not used.
    """
    shape = spec.batch, spec.pixels, spec.channels
    given, result = x.reshape(shape), y.reshape(shape)
    for n in range(spec.batch):
        for c in range(spec.channels):
            kept = mask.reshape(spec.batch, spec.channels)[n, c] == 1
            for p in range(spec.pixels):
                result[n, p, c] = float(given[n, p, c]) * spec.scale if kept else 0.0


def _keep_and_scale(spec: DropoutSpec, x: np.ndarray, mask: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        # Not a product with the mask: a dropped NaN or inf is 0.
        y.flat[i] = float(x.flat[i]) * spec.scale if mask.flat[i] == 1 else 0.0


def workspace_bytes(kernel: str, spec: DropoutSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
