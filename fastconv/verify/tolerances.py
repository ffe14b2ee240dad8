"""How far a backend may be from the reference on data that does not sum exactly.

One row for each family of kernels, in multiples of the machine epsilon of the dtype. An error is
measured against the largest magnitude of its array where terms of either sign are summed, since
there a small result may be the rest of large ones, and against each element where they are not. For
products whose factors are rounded it is measured against the sum of the magnitudes of the terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.spec import ConvSpec


class Tolerance(NamedTuple):
    """Errors allowed, in epsilons.

    Parameters
    ----------
    of_largest, of_each, of_terms
        Multiples of the largest magnitude of the array, of each element's own, and of the sum of
        the magnitudes of the terms of each.
    """

    of_largest: float = 0.0
    of_each: float = 0.0
    of_terms: float = 0.0


EXACT = Tolerance()

TOLERANCES = {
    "conv": Tolerance(of_largest=16),
    # With tiles of 4x4 outputs, as "winograd": measured, 18.
    "nchw": Tolerance(of_largest=24),
    # F(2x2, 3x3) and F(3x3, 2x2) add and halve what they multiply; measured, 5 and 4. F(4x4, 3x3)
    # has 16 where sums of 128 channels are added, at most. F(3x3, 4x4) has 8 of 131072 pixels,
    # where direct sums have 5.
    "winograd": Tolerance(of_largest=24),
    "winograd_gradient": Tolerance(of_largest=12),
    "dense": Tolerance(of_largest=16),
    "pool.max_pool2d_forward": EXACT,
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
    "merge.concatenate_forward": EXACT,
    "merge.concatenate_backward": EXACT,
    "merge": Tolerance(of_largest=4),
    "loss": Tolerance(of_largest=8, of_each=16),
    "target_loss": Tolerance(of_largest=8, of_each=16),
    "loss_weights": Tolerance(of_largest=8, of_each=16),
    "optim": Tolerance(of_largest=8),
    "gradient": Tolerance(of_largest=8),
    "input.gather_images": EXACT,
    "input.gather_rows": EXACT,
    "input": Tolerance(of_largest=4),
    # Where a warp samples depends on sines and cosines, and neighbouring pixels differ by up to 2.
    "input.augment_images": Tolerance(of_largest=64),
    # Where a part is sampled depends on a square root and a quotient.
    "augment.crop_images": Tolerance(of_largest=64),
    "augment": Tolerance(of_largest=8),
    "random": EXACT,
    "layout": EXACT,
    # A factor of tf32 has 11 bits and is wrong by up to 2^-11, one of bf16 has 8: a term by twice
    # that and its square, here 2^-10 and 2^-7. The rest is for the sums.
    "tf32": Tolerance(of_terms=2**13 + 64),
    "bf16": Tolerance(of_terms=2**16 + 192),
}


def tolerance_of(kernel: str) -> Tolerance:
    """Return the row for a kernel named ``module.function``, or else for its module.

    Parameters
    ----------
    kernel
        Its name, or that of a precision.

    Examples
    --------
    >>> tolerance_of("conv.conv2d_forward").of_largest
    16
    """
    return TOLERANCES.get(kernel) or TOLERANCES[kernel.partition(".")[0]]


_LEAST_TILES = 48
"""Tiles of 4x4 outputs from which a convolution may be made of them."""


def may_be_of_large_tiles(kernel: str, name: str, spec: object) -> bool:
    """Whether an array may be that of a 3x3 convolution made in tiles of 4x4 outputs.

    Its sums of small integers are not exact: between their transforms they are multiples of square
    roots and of thirds. They have the tolerance of their row.

    Parameters
    ----------
    kernel
        Named ``module.function``.
    name
        Of the array, an argument of the kernel.
    spec
        What it is called for.

    Examples
    --------
    >>> may_be_of_large_tiles("nchw.conv2d_forward", "y", ConvSpec(4, 32, 18, 18, 32, (3, 3)))
    True
    >>> may_be_of_large_tiles("conv.conv2d_forward", "y", ConvSpec(4, 32, 18, 18, 32, (3, 3)))
    False
    """
    if not (isinstance(spec, ConvSpec) and kernel.startswith("nchw.") and name in ("y", "dx")):
        return False
    down = -(-max(spec.height, spec.out_height) // 4)
    across = -(-max(spec.width, spec.out_width) // 4)
    return (
        spec.kernel == (3, 3)
        and spec.stride == spec.dilation == (1, 1)
        and spec.groups == 1
        and spec.in_channels % 2 == spec.out_channels % 2 == 0
        and spec.batch * down * across >= _LEAST_TILES
    )


def excess(
    actual: NDArray[Any],
    expected: NDArray[Any],
    kernel: str,
    scale: float = 0.0,
    terms: Any = 0.0,
) -> NDArray[np.float64]:
    """Return the error of each element in multiples of what is allowed; more than 1 is wrong.

    Parameters
    ----------
    actual, expected
        What a backend gave, and the float64 result of the reference: finite numbers.
    kernel
        Whose result it is, or a precision.
    scale
        A size that the largest magnitude stands for at least: that of sums whose terms happen to
        cancel.
    terms
        Sums of the magnitudes of the terms of each element.

    Returns
    -------
    ndarray
        NaN where ``actual`` is.
    """
    got, wanted = actual.astype(np.float64), expected.astype(np.float64)
    if wanted.size == 0:
        return wanted
    tolerance, size = tolerance_of(kernel), np.abs(wanted)
    allowed = np.finfo(actual.dtype).eps * (
        tolerance.of_largest * max(scale, size.max())
        + tolerance.of_each * size
        + tolerance.of_terms * terms
    )
    found: NDArray[np.float64] = np.abs(got - wanted) / np.maximum(
        allowed, np.finfo(np.float64).tiny
    )
    return found
