"""2-D convolution and transposed convolution on plain arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_dimensions,
    check_layout,
    check_needs,
    check_shape,
    dense,
    empty,
    is_plain,
    shape_from_nhwc,
    take_floats,
    take_out,
)
from fastconv.functional.images import kernels_of
from fastconv.functional.kept_calls import KernelCall, kept_calls
from fastconv.functional.packed_weights import PackedWeights
from fastconv.functional.passes import backward, forward
from fastconv.spec import ConvSpec, Pair, Shape, SpecError, as_pair, require_int, resolve_padding

_NAMES = {
    "batch": "the batch of x", "in_channels": "the number of channels of x",
    "height": "the height of x", "width": "the width of x",
    "out_channels": "the number of output channels of w",
}  # fmt: skip
"""Names of fields of the spec that come from the shape of an argument."""


def _check_groups(owner: str, groups: object) -> None:
    require_int(owner, "groups", groups, 1)


def _other_order(w: Shape, order: str, inputs: int) -> str:
    """What to do with weights that fit in the order of the other layout; or nothing."""
    other, axes = ("OIHW", "2, 3, 1, 0") if order == "HWIO" else ("HWIO", "3, 2, 0, 1")

    def is_square(axes: str) -> bool:
        return w[axes.index("H")] == w[axes.index("W")]

    # Kernels are square nearly always: in the right order these are.
    if w[other.index("I")] != inputs or is_square(order) or not is_square(other):
        return ""
    return f"; if w is {other}, use w.transpose({axes}), or the other layout"


def conv_spec(
    owner: str,
    x: Array,
    w: Array,
    stride: object,
    padding: object,
    dilation: object,
    groups: int,
    layout: Layout,
) -> tuple[ConvSpec, Shape]:
    """Check x and w against each other; return their spec and the result's shape, once made."""
    check_layout(owner, layout)
    order = "OIHW" if layout == "NCHW" else "HWIO"
    check_dimensions(owner, "x", x, layout)
    check_dimensions(owner, "w", w, order)
    made = (owner, x.shape, w.shape, stride, padding, dilation, groups, layout)
    kept = is_plain((stride, padding, dilation, groups))
    return _spec_of_shapes(*made) if kept else _spec_of_shapes.__wrapped__(*made)


@functools.lru_cache(maxsize=1024)
def _spec_of_shapes(
    owner: str,
    x: Shape,
    w: Shape,
    stride: object,
    padding: object,
    dilation: object,
    groups: int,
    layout: Layout,
) -> tuple[ConvSpec, Shape]:
    order = "OIHW" if layout == "NCHW" else "HWIO"
    batch, channels = x[0], x[layout.index("C")]
    size = x[layout.index("H")], x[layout.index("W")]
    kernel = w[order.index("H")], w[order.index("W")]
    inputs, outputs = w[order.index("I")], w[order.index("O")]
    _check_groups(owner, groups)
    if inputs * groups != channels:
        each = f" in each of {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{owner}: w has {inputs} input channels{each} ({order} {w}) "
            f"but x has {channels} ({layout} {x}){_other_order(w, order, channels // groups)}"
        )
    strides = as_pair(owner, "stride", stride)
    dilations = as_pair(owner, "dilation", dilation)
    try:
        spec = ConvSpec(
            batch,
            channels,
            *size,
            outputs,
            kernel=kernel,
            stride=strides,
            padding=resolve_padding(owner, padding, size, kernel, strides, dilations),
            dilation=dilations,
            groups=int(groups),
        )
    except SpecError as fault:
        raise fault.of(owner, **_NAMES) from None
    return spec, shape_from_nhwc(spec.y_shape, layout)


def _call_of_conv2d(
    x: Array, w: Array, b: Array | None = None, *, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, layout: Layout = "NCHW", out: Array | None = None,
    backend: str | None = None,
) -> KernelCall:  # fmt: skip
    """The kernel that :func:`conv2d` calls."""
    spec, shape = conv_spec("conv2d", x, w, stride, padding, dilation, groups, layout)
    return KernelCall(f"{kernels_of('conv', layout)}.conv2d_forward", spec, shape)


@kept_calls(3, _call_of_conv2d)
@results_like_arguments
def conv2d(
    x: Array,
    w: Array | PackedWeights,
    b: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Convolve images with filters (a cross-correlation, as in every deep-learning library).

    Parameters
    ----------
    x
        Images, float32 or float64: (N, C, H, W), or (N, H, W, C) with ``layout="NHWC"``.
    w
        Filters of the same dtype: (O, C / groups, KH, KW), or (KH, KW, C / groups, O) with
        ``layout="NHWC"``; or what :func:`fastconv.pack_weights` made of them.
    b
        Bias (O,), or None.
    stride, dilation
        An int or (height, width).
    padding
        Zeros around x: an int, (height, width), ((top, bottom), (left, right)), "same" or "valid".
    groups
        Independent groups of channels; groups = C is a depthwise convolution.
    layout
        "NCHW" (PyTorch's and ONNX's order), or "NHWC", which is not copied.
    out
        Array for the result. Where it overlaps an argument, the result is first made beside it,
        then copied.
    backend
        "numpy", "numba", "cython", "cupy" or "auto"; None takes the current choice. CuPy arrays are
        for "cupy", which "auto" takes for them, and NumPy arrays for the others.

    Returns
    -------
    ndarray
        (N, O, OH, OW), or (N, OH, OW, O): the layout, dtype and library of x; ``out``, where it
        was given, or a view of it.

    Raises
    ------
    TypeError
        If an argument is no array, or has the wrong dtype, or NumPy and CuPy arrays are mixed.
    ValueError
        If the shapes do not fit together, the kernel does not fit into the padded image, ``out`` is
        read-only, or an array does not lie on the current device.
    BackendError
        If the backend asked for cannot work here, or not on these arrays.

    Notes
    -----
    Arrays of other libraries that have DLPack or ``__cuda_array_interface__`` are taken without a
    copy, those of the host as NumPy arrays, those of a CUDA device as CuPy arrays; results are of
    the library of the first argument, where it has ``from_dlpack``. Work on a device is launched on
    CuPy's current stream, and the host does not wait for it. Arrays that are not contiguous are
    copied. All this holds for every public function.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> fastconv.conv2d(x, np.ones((1, 1, 2, 2)))[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    x, weights, b = take_floats("conv2d", x=x, w=w, b=b)
    spec, shape = conv_spec("conv2d", x, weights, stride, padding, dilation, groups, layout)
    if b is not None:
        check_shape("conv2d", "b", b, (spec.out_channels,), "one for each filter of w")
        b = dense(b)
    out = take_out("conv2d", out, shape, x)
    return forward(backend, "conv2d", spec, shape, x, weights, b, layout, out)


@results_like_arguments
def conv2d_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
    needs: Sequence[str] = ("x", "w", "b"),
    backend: str | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of :func:`conv2d` with respect to x, w and b.

    Parameters
    ----------
    dy
        Gradient of the loss with respect to the output, in the output's shape.
    x, w, stride, padding, dilation, groups, layout, backend
        As they were given to :func:`conv2d`.
    needs
        Which gradients to compute, of "x", "w" and "b".

    Returns
    -------
    dx, dw, db
        In the shapes of x, w and (O,); None where not needed.

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d`; also if dy does not have the output's shape.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> dx, dw, db = fastconv.conv2d_backward(np.ones((1, 1, 2, 2)), x, w)
    >>> dx[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    >>> db
    array([4.])
    """
    owner = "conv2d_backward"
    dy, x, w = take_floats(owner, dy=dy, x=x, w=w)
    check_needs(owner, needs, ("x", "w", "b"))
    spec, shape = conv_spec(owner, x, w, stride, padding, dilation, groups, layout)
    check_shape(owner, "dy", dy, shape, "the shape of conv2d's result")
    return backward(backend, "conv2d", spec, dy, x, w, layout, needs)


def _widen(
    owner: str, x: Array, stride: object, output_padding: object, dilation: object, layout: Layout
) -> tuple[Array, Pair]:
    """Add rows and columns of zeros to x for output padding of a whole stride or more.

    They add nothing to any sum, and the output grows by a stride for each; what is left of the
    output padding is less than the stride, as every backend takes it.
    """
    strides, dilations = as_pair(owner, "stride", stride), as_pair(owner, "dilation", dilation)
    extra = as_pair(owner, "output_padding", output_padding, least=0)
    if extra[0] < strides[0] and extra[1] < strides[1]:
        return x, extra
    for axis, name in enumerate(("height", "width")):
        if extra[axis] >= max(strides[axis], dilations[axis]):
            raise SpecError(
                owner, "output_padding", extra[axis],
                f"less than the stride ({strides[axis]}) or less than the dilation "
                f"({dilations[axis]})",
                f"{{field}} is {{value!r}} in {name}; expected {{expected}}",
            )  # fmt: skip
    check_layout(owner, layout)
    check_dimensions(owner, "x", x, layout)
    added = {"H": extra[0] // strides[0], "W": extra[1] // strides[1]}
    shape = [n + added.get(a, 0) for n, a in zip(x.shape, layout, strict=True)]
    wide = empty(owner, shape, x)
    wide.fill(0)
    wide[tuple(map(slice, x.shape))] = x
    return wide, (extra[0] % strides[0], extra[1] % strides[1])


def transposed_spec(
    owner: str,
    x: Array,
    w: Array,
    stride: object,
    padding: object,
    output_padding: object,
    dilation: object,
    groups: int,
    layout: Layout,
) -> ConvSpec:
    """Make the spec of the convolution that maps the output back to the input's size."""
    check_layout(owner, layout)
    order = "IOHW" if layout == "NCHW" else "HWOI"
    check_dimensions(owner, "x", x, layout)
    check_dimensions(owner, "w", w, order)
    channels = x.shape[layout.index("C")]
    if w.shape[order.index("I")] != channels:
        raise ValueError(
            f"{owner}: w has {w.shape[order.index('I')]} input channels ({order} {w.shape}) "
            f"but x has {channels} ({layout} {x.shape})"
        )
    _check_groups(owner, groups)
    if isinstance(padding, str):
        raise SpecError(owner, "padding", padding, "numbers")
    kernel = w.shape[order.index("H")], w.shape[order.index("W")]
    strides, dilations = as_pair(owner, "stride", stride), as_pair(owner, "dilation", dilation)
    extra = as_pair(owner, "output_padding", output_padding, least=0)
    sides = resolve_padding(owner, padding, (1, 1), kernel, strides, dilations)
    size = x.shape[layout.index("H")], x.shape[layout.index("W")]
    outputs = w.shape[order.index("O")] * groups
    try:
        return ConvSpec.of_transposed(
            x.shape[0], channels, *size, outputs, kernel, strides, sides, extra, dilations, groups
        )
    except SpecError as fault:
        raise fault.of(owner, **_NAMES) from None


@results_like_arguments
def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Transposed convolution: the gradient of a convolution with respect to its input.

    Parameters
    ----------
    x
        Images, float32 or float64: (N, C, H, W), or (N, H, W, C) with ``layout="NHWC"``.
    w
        (C, O / groups, KH, KW) as in PyTorch, or (KH, KW, O / groups, C) with ``layout="NHWC"``.
    b
        Bias (O,), or None.
    stride, padding, dilation, groups
        Of the convolution that is transposed: padding takes rows off the output.
    output_padding
        Rows and columns added at the bottom and right of the output, less than the stride or the
        dilation.
    layout, out, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N, O, OH, OW), or (N, OH, OW, O), with
        OH = (H - 1) * stride - top - bottom + (KH - 1) * dilation + 1 + output_padding.

    Raises
    ------
    TypeError, ValueError
        As :func:`fastconv.conv2d`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.conv_transpose2d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 3)), stride=2)[0, 0]
    array([[1., 1., 2., 1., 1.]])
    """
    owner = "conv_transpose2d"
    x, w, b = take_floats(owner, x=x, w=w, b=b)
    x, extra = _widen(owner, x, stride, output_padding, dilation, layout)
    spec = transposed_spec(owner, x, w, stride, padding, extra, dilation, groups, layout)
    if b is not None:
        check_shape(owner, "b", b, (spec.in_channels,), "one for each output channel")
        b = dense(b)
    shape = shape_from_nhwc(spec.x_shape, layout)
    out = take_out(owner, out, shape, x)
    return forward(backend, owner, spec, shape, x, w, b, layout, out)


@results_like_arguments
def conv_transpose2d_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
    needs: Sequence[str] = ("x", "w", "b"),
    backend: str | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of :func:`conv_transpose2d` with respect to x, w and b.

    Parameters and results are those of :func:`fastconv.conv2d_backward`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, w = np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 3))
    >>> dx, dw, db = fastconv.conv_transpose2d_backward(np.ones((1, 1, 1, 5)), x, w, stride=2)
    >>> dx[0, 0], db
    (array([[3., 3.]]), array([5.]))
    """
    owner = "conv_transpose2d_backward"
    dy, x, w = take_floats(owner, dy=dy, x=x, w=w)
    check_needs(owner, needs, ("x", "w", "b"))
    wide, extra = _widen(owner, x, stride, output_padding, dilation, layout)
    spec = transposed_spec(owner, wide, w, stride, padding, extra, dilation, groups, layout)
    check_shape(owner, "dy", dy, shape_from_nhwc(spec.x_shape, layout), "the shape of the result")
    dx, dw, db = backward(backend, "conv_transpose2d", spec, dy, wide, w, layout, needs)
    if dx is not None and wide is not x:
        dx = dx[tuple(map(slice, x.shape))].copy()
    return dx, dw, db
