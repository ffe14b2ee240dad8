"""A convolution, its activation and a max pooling behind it in one launch.

``kernels/cuda/pooled_conv.cu``: a pass over memory and a launch less. Windows are 2x2, beside each
other, and cover the image.
"""

from __future__ import annotations

from fastconv.backends.cupy import strided_conv
from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.products import CountedWorkspace
from fastconv.plans.operation import ActivationSpec
from fastconv.spec import ConvSpec, PoolSpec


def fits(spec: ConvSpec, pool: PoolSpec) -> bool:
    """Whether one launch makes a convolution and the max pooling of its result.

    Examples
    --------
    >>> spec = ConvSpec(1, 3, 6, 6, 8, kernel=(3, 3))
    >>> fits(spec, PoolSpec(1, 8, 4, 4, kernel=(2, 2), stride=(2, 2)))
    True
    >>> fits(spec, PoolSpec(1, 8, 4, 4, kernel=(3, 3), stride=(1, 1)))
    False
    """
    return (
        pool.x_shape == spec.y_shape
        and pool.kernel == pool.stride == (2, 2)
        and pool.padding == ((0, 0), (0, 0))
        and pool.height % 2 == pool.width % 2 == 0
        and not strided_conv.is_direct(spec)
    )


def conv2d_forward(
    spec: ConvSpec,
    activation: ActivationSpec,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array | None,
    pooled: Array,
    where: Array,
    workspace: CountedWorkspace,
) -> None:
    """Convolve, activate, and take the largest pixel of each window.

    The bits are those of three launches. ``y`` may be None: what was activated is not stored.
    """
    geometry = strided_conv.geometry_of_nhwc(spec)
    strided_conv.pooled_forward(spec, geometry, x, w, b, y, pooled, where, workspace, activation)
