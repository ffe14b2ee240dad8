"""Instructions of convolutions of NCHW images with weights OIHW, by written rules.

* A filter for each channel: over planes as they lie, :mod:`.plane_products`.
* 1x1 with stride 1: products of matrices as they lie, :mod:`.pointwise`.
* Everything else, and transposed convolutions with a filter for each channel: transposed to NHWC
  and back, :mod:`.transposed`.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.builder import Builder
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.rules import im2col, plane_products, pointwise, transposed
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]


def _begin(types: Types, count: int, target: Target) -> tuple[Builder, list[Pointer | None]]:
    """Return a builder, and the first arrays of a kernel: None where there is none."""
    pointers = [None if types[n] is None else Pointer(n) for n in range(count)]
    return Builder(str(types[0]), target), pointers


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y."""
    builder, (_, _, b, _) = _begin(types, 4, target)
    arguments = builder, spec, Pointer(0), Pointer(1), b, Pointer(3)
    if plane_products.has_one_filter_per_channel(spec):
        plane_products.forward(*arguments)
    elif pointwise.are_products(spec, target, builder.dtype):
        pointwise.forward(*arguments)
    elif im2col.is_profitable(spec, target, builder.dtype):
        im2col.forward(*arguments)
    else:
        transposed.forward(*arguments)
    return builder.lowered()


def conv2d_backward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, w, dx, dw, db; the last three may be left out, db with dw at least."""
    builder, (_, _, _, dx, dw, db) = _begin(types, 6, target)
    dy, x, w = Pointer(0), Pointer(1), Pointer(2)
    if plane_products.has_one_filter_per_channel(spec):
        if dx is not None:
            plane_products.data_gradient(builder, spec, dy, w, None, dx)
        if dw is not None:
            plane_products.weight_gradient(builder, spec, x, dy, dw, db)
    elif pointwise.are_products(spec, target, builder.dtype):
        if dx is not None:
            pointwise.data_gradient(builder, spec, dy, w, None, dx)
        if dw is not None:
            pointwise.weight_gradient(builder, spec, x, dy, dw, db, sums_x=False)
    else:
        transposed.backward(
            builder, spec, x, dy, w, transposed.Gradients(dx, None, dw, db), sums_x=False
        )
    return builder.lowered()


def conv_transpose2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y: the data gradient, with a bias."""
    builder, (_, _, b, _) = _begin(types, 4, target)
    arguments = builder, spec, Pointer(0), Pointer(1), b, Pointer(3)
    if pointwise.are_products(spec, target, builder.dtype):
        pointwise.data_gradient(*arguments)
    else:
        transposed.data_gradient(*arguments)
    return builder.lowered()


def conv_transpose2d_backward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, w, dx, dw, db: the roles of dy and x are exchanged."""
    builder, (_, _, _, dx, dw, db) = _begin(types, 6, target)
    dy, x, w = Pointer(0), Pointer(1), Pointer(2)
    if pointwise.are_products(spec, target, builder.dtype):
        if dx is not None:
            pointwise.forward(builder, spec, dy, w, None, dx)
        if dw is not None:
            pointwise.weight_gradient(builder, spec, dy, x, dw, db, sums_x=True)
    else:
        transposed.backward(
            builder, spec, dy, x, w, transposed.Gradients(None, dx, dw, db), sums_x=True
        )
    return builder.lowered()
