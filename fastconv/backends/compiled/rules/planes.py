"""Records of convolutions of NCHW images with weights OIHW, by written rules.

* A filter for each channel: over planes as they lie, :mod:`fastconv.backends.compiled.rules.plane_products`.
* 1x1 with stride 1: products of matrices as they lie, :mod:`fastconv.backends.compiled.rules.pointwise`.
* Everything else, and transposed convolutions with a filter for each channel: turned around to NHWC
  and back, :mod:`fastconv.backends.compiled.rules.turned`.
"""

from __future__ import annotations

from fastconv.backends.compiled import plane_products, pointwise, turned
from fastconv.backends.compiled.instructions.record import Launch, Pointer, Target
from fastconv.backends.compiled.instructions.recorder import Recorder
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]


def _begin(types: Types, count: int, target: Target) -> tuple[Recorder, list[Pointer | None]]:
    """Return a recorder, and the first arrays of a launch: None where there is none."""
    pointers = [None if types[n] is None else Pointer(n) for n in range(count)]
    return Recorder(str(types[0]), target), pointers


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments x, w, b, y."""
    recorder, (_, _, b, _) = _begin(types, 4, target)
    arguments = recorder, spec, Pointer(0), Pointer(1), b, Pointer(3)
    if plane_products.are_planes(spec):
        plane_products.forward(*arguments)
    elif pointwise.are_products(spec, target, recorder.dtype):
        pointwise.forward(*arguments)
    else:
        turned.forward(*arguments)
    return recorder.launch()


def conv2d_backward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, x, w, dx, dw, db; the last three may be left out, db with dw at least."""
    recorder, (_, _, _, dx, dw, db) = _begin(types, 6, target)
    dy, x, w = Pointer(0), Pointer(1), Pointer(2)
    if plane_products.are_planes(spec):
        if dx is not None:
            plane_products.data_gradient(recorder, spec, dy, w, None, dx)
        if dw is not None:
            plane_products.weight_gradient(recorder, spec, x, dy, dw, db)
    elif pointwise.are_products(spec, target, recorder.dtype):
        if dx is not None:
            pointwise.data_gradient(recorder, spec, dy, w, None, dx)
        if dw is not None:
            pointwise.weight_gradient(recorder, spec, x, dy, dw, db, sums_x=False)
    else:
        turned.backward(recorder, spec, x, dy, w, turned.Gradients(dx, None, dw, db), sums_x=False)
    return recorder.launch()


def conv_transpose2d_forward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments x, w, b, y: the data gradient, with a bias."""
    recorder, (_, _, b, _) = _begin(types, 4, target)
    arguments = recorder, spec, Pointer(0), Pointer(1), b, Pointer(3)
    if pointwise.are_products(spec, target, recorder.dtype):
        pointwise.data_gradient(*arguments)
    else:
        turned.data_gradient(*arguments)
    return recorder.launch()


def conv_transpose2d_backward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, x, w, dx, dw, db: the roles of dy and x are exchanged."""
    recorder, (_, _, _, dx, dw, db) = _begin(types, 6, target)
    dy, x, w = Pointer(0), Pointer(1), Pointer(2)
    if pointwise.are_products(spec, target, recorder.dtype):
        if dx is not None:
            pointwise.forward(recorder, spec, dy, w, None, dx)
        if dw is not None:
            pointwise.weight_gradient(recorder, spec, dy, x, dw, db, sums_x=True)
    else:
        turned.backward(recorder, spec, dy, x, w, turned.Gradients(None, dx, dw, db), sums_x=True)
    return recorder.launch()
