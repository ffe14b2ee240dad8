"""How far a backend may be from the reference on data that does not sum exactly.

One row for each family of kernels, in multiples of the machine epsilon of the dtype. An error is
measured against the largest magnitude of its array where terms of either sign are summed, since
there a small result may be the rest of large ones, and against each element where they are not. For
products whose factors are rounded it is measured against the sum of the magnitudes of the terms.
"""

from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """Errors allowed, in epsilons."""

    of_largest: float = 0.0
    of_each: float = 0.0
    of_terms: float = 0.0


_EXACT = Tolerance()

TOLERANCES = {
    "conv": Tolerance(of_largest=16),
    "nchw": Tolerance(of_largest=16),
    # F(2x2, 3x3) and F(3x3, 2x2) add and halve what they multiply; measured, 5 and 4. F(4x4, 3x3)
    # has 13 of 64 channels and 40 of 256, at the best points that were found: it is not used.
    "winograd": Tolerance(of_largest=8),
    "winograd_gradient": Tolerance(of_largest=8),
    "dense": Tolerance(of_largest=16),
    "pool.max_pool2d_forward": _EXACT,
    "pool": Tolerance(of_largest=4),
    "norm": Tolerance(of_largest=32),
    "group_norm": Tolerance(of_largest=32),
    # sigmoid, tanh and softplus near 0 and near their limits are as good as their values near 1.
    "activation.activation_forward": Tolerance(of_largest=4),
    "activation.activation_backward": Tolerance(of_largest=8),
    # A probability is wrong by the rounding of its exponent, here at most 16.
    "activation": Tolerance(of_largest=4, of_each=16),
    "elementwise": Tolerance(of_largest=4),
    "prelu": Tolerance(of_largest=8),
    "dropout": Tolerance(of_each=2),
    "resample": Tolerance(of_largest=8),
    "merge.concatenate_forward": _EXACT,
    "merge.concatenate_backward": _EXACT,
    "merge": Tolerance(of_largest=4),
    "loss": Tolerance(of_largest=8, of_each=16),
    "target_loss": Tolerance(of_largest=8, of_each=16),
    "loss_weights": Tolerance(of_largest=8, of_each=16),
    "optim": Tolerance(of_largest=8),
    "gradient": Tolerance(of_largest=8),
    "input.gather_images": _EXACT,
    "input.gather_rows": _EXACT,
    "input": Tolerance(of_largest=4),
    # Where a warp samples depends on sines and cosines, and neighbouring pixels differ by up to 2.
    "input.augment_images": Tolerance(of_largest=64),
    # Where a part is sampled depends on a square root and a quotient.
    "augment.crop_images": Tolerance(of_largest=64),
    "augment": Tolerance(of_largest=8),
    "random": _EXACT,
    "layout": _EXACT,
    # A factor of tf32 has 11 bits and is wrong by up to 2^-11, one of bf16 has 8: a term by twice
    # that and its square, here 2^-10 and 2^-7. The rest is for the sums.
    "tf32": Tolerance(of_terms=2**13 + 64),
    "bf16": Tolerance(of_terms=2**16 + 192),
}


def tolerance_of(kernel):
    """The row for a kernel named ``module.function``, or else for its module."""
    return TOLERANCES.get(kernel) or TOLERANCES[kernel.partition(".")[0]]


def assert_close(
    actual, expected, kernel, label="", more_nan=False, scale=0.0, terms=0.0, most=1.0
):
    """Compare one array of a kernel, or of a precision, with the float64 result of the reference.

    NaN and infinities must be at the same places; with ``more_nan``, whatever is not finite must
    not be finite either, and NaN may be elsewhere too. ``scale`` is a size that the largest
    magnitude stands for at least: that of sums whose terms happen to cancel. ``terms`` are the sums
    of the magnitudes of the terms of each element; ``most`` is what multiple of the tolerances an
    error may be.
    """
    assert actual.shape == expected.shape, label
    if actual.dtype.kind != "f" or tolerance_of(kernel) == _EXACT:
        np.testing.assert_array_equal(actual, expected, err_msg=label)
        return
    finite = np.isfinite(expected)
    if more_nan:
        assert not np.isfinite(actual[~finite]).any(), label
        finite &= ~np.isnan(actual)
    else:
        np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=label)
    got, wanted = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
    if wanted.size == 0:
        return
    epsilon = np.finfo(actual.dtype).eps
    tolerance, size = tolerance_of(kernel), np.abs(wanted)
    terms = np.broadcast_to(terms, expected.shape)[finite]
    allowed = epsilon * (
        tolerance.of_largest * max(scale, size.max())
        + tolerance.of_each * size
        + tolerance.of_terms * terms
    )
    excess = np.abs(got - wanted) / np.maximum(allowed, np.finfo(np.float64).tiny)
    # Written this way round so that a NaN where a number is expected fails.
    assert (excess <= most).all(), (
        f"{kernel} {label}: off by {np.nanmax(np.abs(got - wanted))} "
        f"({np.nanmax(excess):.3g} times what is allowed)"
    )
