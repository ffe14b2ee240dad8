"""Kernels that make several calls of a plan in one launch: passes over memory that are saved.

The beginning of a step; a kernel with the activation behind it, or with the gradient of one in
front of it; a convolution, its activation and a max pooling; a loss with its gradient.
``fusion.py`` finds them in plans. Where ``activation`` may be None, the kernels of the same names
call them without.
"""

from __future__ import annotations

from fastconv.backends.cupy import strided_conv
from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import (
    THREADS,
    check_size,
    launch,
    launch_elements,
    launch_rows,
    numbers_of,
)
from fastconv.backends.cupy.loss_blocks import blocks_of_losses
from fastconv.backends.cupy.products import CountedWorkspace, Product
from fastconv.plans.operation import ActivationSpec, InputSpec, LossSpec
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec


def gather_min_max(
    spec: InputSpec, images: Array, indices: Array, x: Array, workspace: Array | None
) -> None:
    """Gather uint8 images and bring each to 0 to 1; parameters as for ``input.gather_images``."""
    size = spec.height * spec.width * spec.channels
    check_size("gather_min_max", x=spec.batch * size)
    launch_rows(
        "input.gather_min_max", spec.batch, spec.batch, size, images, indices, x, threads=THREADS,
        dtype=x.dtype,
    )  # fmt: skip


def conv2d_forward(
    spec: ConvSpec,
    activation: ActivationSpec | None,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """Convolve, then activate."""
    geometry = strided_conv.geometry_of_nhwc(spec)
    strided_conv.forward(spec, geometry, x, w, b, y, workspace, activation)


def conv2d_backward_data(
    spec: ConvSpec,
    activation: ActivationSpec | None,
    kept: Array | None,
    dy: Array,
    w: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of what was activated to x; ``kept`` is what its derivative is of."""
    geometry = strided_conv.geometry_of_nhwc(spec)
    strided_conv.backward_data(spec, geometry, dy, w, None, dx, workspace, activation, kept)


def sizes_of(spec: DenseSpec) -> tuple[int, int, int]:
    """Arguments that the kernels of dense layers begin with."""
    check_size(
        "dense",
        x=spec.batch * spec.inputs,
        y=spec.batch * spec.outputs,
        w=spec.inputs * spec.outputs,
    )
    return spec.batch, spec.inputs, spec.outputs


def forward_product(spec: DenseSpec) -> Product:
    """Samples times outputs, summed over inputs."""
    return Product(spec.batch, spec.outputs, spec.inputs, has_gemv=True)


def data_product(spec: DenseSpec) -> Product:
    """Samples times inputs, summed over outputs."""
    return Product(spec.batch, spec.inputs, spec.outputs, has_gemv=True)


def dense_forward(
    spec: DenseSpec,
    activation: ActivationSpec | None,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """``x w + b``, activated."""
    forward_product(spec).run(
        "dense.dense_forward", sizes_of(spec), (x, w), (b, y), workspace, y.dtype,
        numbers_of(activation), strides=(spec.inputs, spec.outputs),
    )  # fmt: skip


def dense_backward_data(
    spec: DenseSpec,
    activation: ActivationSpec | None,
    kept: Array | None,
    dy: Array,
    w: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of what was activated to x; ``kept`` is what its derivative is of."""
    data_product(spec).run(
        "dense.dense_backward_data", sizes_of(spec), (dy, w), (kept, dx), workspace, dx.dtype,
        numbers_of(activation), strides=(spec.outputs,),
    )  # fmt: skip


def windows_of(spec: PoolSpec) -> tuple[int, ...]:
    """Arguments that every kernel with windows begins with."""
    return (
        spec.batch, spec.height, spec.width, spec.channels, spec.out_height, spec.out_width,
        *spec.kernel, *spec.stride, spec.padding[0][0], spec.padding[1][0],
    )  # fmt: skip


def averages_of(spec: PoolSpec) -> tuple[int, ...]:
    """Arguments that the kernels of averages begin with."""
    return (*windows_of(spec), spec.padding[0][1], spec.padding[1][1], int(spec.count_include_pad))


def inputs_of(spec: PoolSpec) -> int:
    """Elements of the images that are pooled."""
    return spec.batch * spec.height * spec.width * spec.channels


def max_pool2d_backward(
    spec: PoolSpec,
    activation: ActivationSpec | None,
    kept: Array | None,
    dy: Array,
    where: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of what was activated to x; ``kept`` is what its derivative is of."""
    launch_elements(
        "pool.max_pool2d_backward", inputs_of(spec), *windows_of(spec), *numbers_of(activation), dy,
        where, kept, dx, dtype=dx.dtype,
    )  # fmt: skip


def avg_pool2d_backward(
    spec: PoolSpec,
    activation: ActivationSpec | None,
    kept: Array | None,
    dy: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of what was activated to x; ``kept`` is what its derivative is of."""
    launch_elements(
        "pool.avg_pool2d_backward", inputs_of(spec), *averages_of(spec), *numbers_of(activation),
        dy, kept, dx, dtype=dx.dtype,
    )  # fmt: skip


def can_pool(spec: ConvSpec, pool: PoolSpec) -> bool:
    """Whether one launch makes a convolution and the max pooling of its result.

    Windows are 2x2, beside each other, and cover the image.

    Examples
    --------
    >>> spec = ConvSpec(1, 3, 6, 6, 8, kernel=(3, 3))
    >>> can_pool(spec, PoolSpec(1, 8, 4, 4, kernel=(2, 2), stride=(2, 2)))
    True
    >>> can_pool(spec, PoolSpec(1, 8, 4, 4, kernel=(3, 3), stride=(1, 1)))
    False
    """
    return (
        pool.x_shape == spec.y_shape
        and pool.kernel == pool.stride == (2, 2)
        and pool.padding == ((0, 0), (0, 0))
        and pool.height % 2 == pool.width % 2 == 0
        and not strided_conv.is_direct(spec)
    )


def pooled_conv2d_forward(
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

    The bits are those of three launches (``kernels/cuda/pooled_conv.cu``). ``y`` may be None: what
    was activated is not stored.
    """
    geometry = strided_conv.geometry_of_nhwc(spec)
    strided_conv.pooled_forward(spec, geometry, x, w, b, y, pooled, where, workspace, activation)


def softmax_cross_entropy(
    spec: LossSpec,
    scores: Array,
    labels: Array,
    losses: Array,
    probabilities: Array,
    dscores: Array,
    statistics: Array,
    workspace: CountedWorkspace | None,
) -> None:
    """Launch what the kernels of the contract do one after the other; parameters as theirs.

    With a :class:`CountedWorkspace` several blocks share the samples.
    """
    check_size("softmax_cross_entropy", scores=spec.batch * spec.outputs)
    blocks, partial, counters = 1, None, None
    if isinstance(workspace, CountedWorkspace) and blocks_of_losses(spec) > 1:
        blocks, counters = blocks_of_losses(spec), workspace.counters
        partial = workspace.memory
    launch(
        "loss.softmax_cross_entropy", (blocks,), (THREADS,), spec.batch, spec.outputs, scores,
        labels, losses, probabilities, dscores, statistics, partial, counters, dtype=losses.dtype,
    )  # fmt: skip
