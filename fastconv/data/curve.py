"""A curve in the plane, sampled with noise and with gaps: a regression that can be drawn.

It stands for the data of a course report that did not publish its own: one input, one output, a
training set that is blind in some intervals ("dark" ones), and a cleaner test set that is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fastconv.data.dataset import Dataset, Samples
from fastconv.spec import require_int

LEFT, RIGHT = -5.0, 5.0
"""All samples are between these."""


def curve(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``x / 2 + 2 sin(3 x / 2)``: two periods and a slope between -5 and 5.

    Examples
    --------
    >>> curve([0, np.pi, -np.pi / 3]).round(3)
    array([ 0.   , -0.429, -2.524])
    """
    x = np.asarray(x, np.float64)
    y: npt.NDArray[np.float64] = x / 2 + 2 * np.sin(1.5 * x)
    return y


def load_curve(
    training_noise: float = 0.5,
    test_noise: float = 0.1,
    dark_intervals: Sequence[Sequence[float]] = (),
    seed: int = 0,
    samples: int = 100,
) -> Dataset:
    """Draw samples of ``curve``.

    Parameters
    ----------
    training_noise, test_noise
        Standard deviation of the normal noise on the targets of each part, 0 or more.
    dark_intervals
        (left, right) pairs within -5 to 5; no training sample is from one. The test samples are
        from everywhere.
    seed
        Of the samples and their noise, 0 or more.
    samples
        In each of the two parts, 1 or more.

    Returns
    -------
    Dataset
        Inputs (samples, 1, 1, 1) and targets (samples, 1), float64; the inputs are uniform over
        what is allowed, in the order in which they were drawn. No validation part and no classes.

    Raises
    ------
    ValueError
        If an argument is out of range, or no place is left for training samples.

    Examples
    --------
    >>> data = load_curve(dark_intervals=[(-4, 4)])
    >>> len(data.training), bool((abs(data.training.images) >= 4).all())
    (100, True)
    """
    require_int("load_curve", "seed", seed, 0)
    require_int("load_curve", "samples", samples, 1)
    for name, noise in (("training_noise", training_noise), ("test_noise", test_noise)):
        if not 0 <= noise < math.inf:
            raise ValueError(f"load_curve: {name} is {noise!r}; expected a number of 0 or more")
    light = _light_intervals(dark_intervals)
    # Streams of their own: the test part stays the same whatever is dark.
    generators = [np.random.default_rng([seed, part]) for part in (0, 1)]
    everywhere = [(LEFT, RIGHT)]
    return Dataset(
        name="curve",
        training=_draw(generators[0], light, training_noise, samples),
        test=_draw(generators[1], everywhere, test_noise, samples),
        class_names=(),
    )


def _light_intervals(dark_intervals: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Intervals left between -5 and 5, from left to right."""
    light = []
    left = LEFT
    for interval in sorted(tuple(pair) for pair in dark_intervals):
        if len(interval) != 2 or not LEFT <= interval[0] < interval[1] <= RIGHT:
            raise ValueError(
                f"load_curve: dark_intervals holds {interval}; expected (left, right) with "
                f"{LEFT:g} <= left < right <= {RIGHT:g}"
            )
        if interval[0] > left:
            light.append((left, interval[0]))
        left = max(left, interval[1])
    if left < RIGHT:
        light.append((left, RIGHT))
    if not light:
        raise ValueError(
            f"load_curve: dark_intervals is {list(dark_intervals)}, all of {LEFT:g} to {RIGHT:g}; "
            f"expected a place for training samples"
        )
    return light


def _draw(
    generator: np.random.Generator,
    intervals: Sequence[tuple[float, float]],
    noise: float,
    count: int,
) -> Samples:
    """Draw samples uniform over some intervals."""
    lefts, rights = np.array(intervals).T
    starts = np.concatenate([[0.0], np.cumsum(rights - lefts)])
    along = generator.uniform(0, starts[-1], count)
    which = np.searchsorted(starts[1:-1], along, side="right")
    x = np.clip(lefts[which] + along - starts[which], lefts[which], rights[which])
    y = curve(x) + generator.normal(0, noise, count)
    return Samples(x.reshape(count, 1, 1, 1), y.reshape(count, 1))
