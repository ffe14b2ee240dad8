"""Comparison of arrays with those of the reference, by the tolerances of ``fastconv.verify``."""

import numpy as np

from fastconv.verify.tolerances import EXACT, excess, tolerance_of


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
    if actual.dtype.kind != "f" or tolerance_of(kernel) == EXACT:
        np.testing.assert_array_equal(actual, expected, err_msg=label)
        return
    finite = np.isfinite(expected)
    if more_nan:
        assert not np.isfinite(actual[~finite]).any(), label
        finite &= ~np.isnan(actual)
    else:
        np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=label)
    got, wanted = actual[finite], expected[finite]
    if wanted.size == 0:
        return
    terms = np.broadcast_to(terms, expected.shape)[finite]
    over = excess(got, wanted, kernel, scale, terms)
    # Written this way round so that a NaN where a number is expected fails.
    assert (over <= most).all(), (
        f"{kernel} {label}: off by {np.nanmax(np.abs(got.astype(np.float64) - wanted))} "
        f"({np.nanmax(over):.3g} times what is allowed)"
    )
