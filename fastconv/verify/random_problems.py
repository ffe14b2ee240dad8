"""Problems drawn at random, each from a seed and its number."""

from __future__ import annotations

import numpy as np

from fastconv.spec import ConvSpec, DenseSpec, PoolSpec
from fastconv.verify.problems import Problem, Spec

_CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65)
"""Around the lanes of vectors, and multiples of them."""
_BATCHES = (1, 1, 2, 3, 4, 5, 8, 16, 17, 32)
_MOST_FLOPS = 3e6
_TRIES = 200


def draw_problem(seed: int, number: int) -> Problem:
    """Return the problem of a number: a convolution mostly, else a pooling or a dense layer.

    Parameters
    ----------
    seed, number
        What it follows from.

    Examples
    --------
    >>> draw_problem(0, 7) == draw_problem(0, 7)
    True
    """
    generator = np.random.default_rng([seed, number])
    for _ in range(_TRIES):
        try:
            spec = _draw(generator)
        except ValueError:
            continue  # sizes that do not go together
        if spec.flops <= _MOST_FLOPS:
            return Problem(spec, f"number {number} of seed {seed}")
    return Problem(DenseSpec(1, 1, 1), f"number {number} of seed {seed}")


def _draw(generator: np.random.Generator) -> Spec:
    def one_of(values: tuple[int, ...]) -> int:
        return values[int(generator.integers(len(values)))]

    def up_to(most: int, least: int = 1) -> int:
        return int(generator.integers(least, most + 1))

    kind, batch, channels = up_to(9), one_of(_BATCHES), one_of(_CHANNELS)
    if kind == 9:
        return DenseSpec(batch, up_to(200), one_of(_CHANNELS))
    size = up_to(20), up_to(20)
    longest = one_of((1, 2, 3, 3, 3, 5, 7))
    kernel = up_to(longest), up_to(longest)
    if generator.integers(2):
        kernel = longest, longest
    stride = one_of((1, 1, 2, 3)), one_of((1, 1, 2, 3))
    most = one_of((0, 1, 1, 2, 4))
    before = up_to(most, 0), up_to(most, 0)
    after = before if generator.integers(2) else (up_to(most, 0), up_to(most, 0))
    padding = (before[0], after[0]), (before[1], after[1])
    if kind == 8:
        return PoolSpec(
            batch, channels, *size, kernel, stride, padding,
            bool(generator.integers(2)), bool(generator.integers(2)),
        )  # fmt: skip
    groups, filters = 1, one_of(_CHANNELS)
    if kind == 7:
        groups = channels
        filters = channels * one_of((1, 1, 2))
    elif kind == 6:
        groups = one_of((2, 3, 4))
        channels, filters = groups * one_of(_CHANNELS[:8]), groups * one_of(_CHANNELS[:8])
    dilation = one_of((1, 1, 1, 2, 3)), one_of((1, 1, 1, 2, 3))
    return ConvSpec(batch, channels, *size, filters, kernel, stride, padding, dilation, groups)
