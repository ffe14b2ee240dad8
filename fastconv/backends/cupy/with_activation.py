"""Kernels with an activation behind them, or with the gradient of one in front of them.

A pass over memory and a launch less than both by themselves; ``activation`` may be None. Beyond
that, the parameters are those of the kernels of the same names.
"""

from __future__ import annotations

from fastconv.backends.cupy import strided_conv
from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import check_size, launch_elements, numbers_of
from fastconv.backends.cupy.products import Product
from fastconv.plans.operation import ActivationSpec
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec


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
    return Product(spec.batch, spec.outputs, spec.inputs)


def data_product(spec: DenseSpec) -> Product:
    """Samples times inputs, summed over outputs."""
    return Product(spec.batch, spec.inputs, spec.outputs)


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
        numbers_of(activation),
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
        numbers_of(activation),
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
