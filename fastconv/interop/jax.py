"""The door to JAX: convolution, pooling and dense layers under ``jit``, ``grad`` and ``vmap``.

Needs JAX 0.6 or newer (the extra ``jax``), on the CPU. With the C engine, a kernel is a target of
XLA's foreign function interface (``jax.ffi``): a compiled program calls it without Python and
without a copy. With another backend, programs call back into Python (``jax.pure_callback``).

Functions have the arguments of fastconv's own. ``vmap`` over images folds its axis into the batch;
over weights, the kernels run one after the other. There are no second derivatives.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv._extras import missing_extra
from fastconv.backends.selection import choose_backend, load_kernel, load_module
from fastconv.functional.arrays import Layout, launch
from fastconv.functional.conv import conv_spec
from fastconv.functional.dense import dense_spec
from fastconv.functional.pool import pool_spec

try:
    import jax
    from jax import numpy as jnp
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.interop.jax", fault) from None

_TARGET = "fastconv_kernel"


@functools.cache
def _engine() -> Any:
    """Return the C engine's own module, once XLA knows its handler."""
    import ctypes

    engine: Any = load_module("cython", "engine")
    native: Any = load_module("cython", "_engine")
    address = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(native.xla_handler())
    jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(address), platform="cpu")
    return engine, native


@functools.lru_cache(maxsize=4096)
def _key_of_call(
    kernel: str, spec: Any, types: tuple[str | None, ...], inputs: int, threads: int
) -> np.int64:
    """Make a kernel call known to the handler; return its key, which depends on nothing else.

    A program that JAX kept on disk finds the kernels of the process that it runs in.
    """
    engine, native = _engine()
    told = f"{kernel} {spec!r} {types} {inputs} {threads}"
    digest = hashlib.blake2b(told.encode(), digest_size=8).digest()
    key = np.frombuffer(digest, np.int64)[0]
    places, counts = [], [0, 0]
    for number, dtype in enumerate(types):
        is_result = int(number >= inputs)
        if dtype is None:
            places.append(native.XLA_NONE)
            continue
        places.append(-1 - counts[1] if is_result else counts[0])
        counts[is_result] += 1
    stream = engine.stream_of_kernel(kernel, spec, *types)
    native.register_xla_call(
        int(key), stream.stream, stream.relocations, np.array(places, np.int64),
        stream.workspace_bytes, threads,
    )  # fmt: skip
    return key  # type: ignore[no-any-return]


Shapes = Sequence["jax.ShapeDtypeStruct | None"]


def _run(backend: str, kernel: str, spec: Any, inputs: Sequence[Any], results: Shapes) -> list[Any]:
    """Run one kernel of the contract; None for a result that is None."""
    shapes = [each for each in results if each is not None]
    given = [each for each in inputs if each is not None]
    if any(0 in each.shape for each in (*given, *shapes)):
        made = [jnp.zeros(each.shape, each.dtype) for each in shapes]
    elif backend == "cython":
        types = tuple(None if each is None else str(each.dtype) for each in (*inputs, *results))
        threads = load_module("cython", "engine").default_threads()
        key = _key_of_call(kernel, spec, types, len(inputs), threads)
        made = jax.ffi.ffi_call(_TARGET, shapes)(*given, call=key)
    else:
        load_kernel(backend, kernel)  # an error at once, not within a program

        def compute(*arrays: Any) -> list[Any]:
            taken = iter([np.ascontiguousarray(each) for each in arrays])
            arguments = [None if each is None else next(taken) for each in inputs]
            outs = [None if each is None else np.empty(each.shape, each.dtype) for each in results]
            launch(backend, kernel, spec, arguments[0].dtype, *arguments, *outs)  # type: ignore[union-attr]
            return [each for each in outs if each is not None]

        made = jax.pure_callback(compute, shapes, *given)
    found = iter(made)
    return [None if each is None else next(found) for each in results]


def _folded(function: Callable[..., Any], carries: Sequence[bool]) -> Callable[..., Any]:
    """Give a batching rule to a function: fold the new axis into that of the samples.

    Parameters
    ----------
    function
        Of arrays; its results begin with the axis of the samples.
    carries
        Which of its arguments do. Where another one is batched, the function runs for each by
        itself; with none, it always does.
    """
    batched: Any = jax.custom_batching.custom_vmap(function)

    @batched.def_vmap  # type: ignore[untyped-decorator]
    def rule(size: int, in_batched: Sequence[bool], *arguments: Any) -> tuple[Any, Any]:
        shares = [each for each, carry in zip(in_batched, carries, strict=True) if not carry]
        if any(carries) and not any(shares):
            folded = []
            for array, is_batched, carry in zip(arguments, in_batched, carries, strict=True):
                if carry:
                    wide = array if is_batched else jnp.broadcast_to(array, (size, *array.shape))
                    array = wide.reshape(-1, *wide.shape[2:])
                folded.append(array)
            result = jax.tree.map(
                lambda each: each.reshape(size, -1, *each.shape[1:]), batched(*folded)
            )
        else:
            moving = [a for a, is_batched in zip(arguments, in_batched, strict=True) if is_batched]

            def of_one(moved: list[Any]) -> Any:
                rest = iter(moved)
                pairs = zip(arguments, in_batched, strict=True)
                return batched(*(next(rest) if is_batched else a for a, is_batched in pairs))

            result = jax.lax.map(of_one, moving)
        return result, jax.tree.map(lambda _: True, result)

    return batched  # type: ignore[no-any-return]


def _like(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _taken(owner: str, **arrays: Any) -> list[Any]:
    """Return arguments as arrays of JAX, all float32 or all float64; None stays."""
    found: list[Any] = [None if each is None else jnp.asarray(each) for each in arrays.values()]
    first = found[0]
    for name, array in zip(arrays, found, strict=True):
        if array is None:
            continue
        if array.dtype not in (jnp.float32, jnp.float64):
            raise TypeError(
                f"{owner}: {name} has dtype {array.dtype}; expected float32 or float64 "
                f"({name}.astype('float32'))"
            )
        if array.dtype != first.dtype:
            raise TypeError(
                f"{owner}: {name} has dtype {array.dtype} but {next(iter(arrays))} has "
                f"{first.dtype}; convert one of them with astype"
            )
    return found


def _plain(value: Any) -> Any:
    """Return numbers as plain ones in tuples, so that they can be looked up."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    return value if isinstance(value, (str, bool)) or value is None else operator.index(value)


@functools.lru_cache(maxsize=1024)
def _convolution(backend: str, spec: Any, layout: Layout, has_bias: bool) -> Callable[..., Any]:
    """Make the differentiable convolution of images of one size."""
    is_nchw = layout == "NCHW"

    def of(samples: Any) -> Any:
        return replace(spec, batch=samples.shape[0])

    def images(array: Any, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        n, h, w, c = shape
        return jax.ShapeDtypeStruct((n, c, h, w) if is_nchw else shape, array.dtype)

    def forward_of(x: Any, w: Any, *b: Any) -> Any:
        own = of(x)
        kernel = "nchw.conv2d_forward" if is_nchw else "conv.conv2d_forward"
        (y,) = _run(backend, kernel, own, [x, w, b[0] if b else None], [images(x, own.y_shape)])
        return y

    def data_of(dy: Any, x: Any, w: Any) -> Any:
        own = of(dy)
        dx = images(dy, own.x_shape)
        if is_nchw:
            return _run(backend, "nchw.conv2d_backward", own, [dy, x, w], [dx, None, None])[0]
        return _run(backend, "conv.conv2d_backward_data", own, [dy, w], [dx])[0]

    def weight_of(dy: Any, x: Any, w: Any) -> Any:
        own = of(dy)
        dw = _like(w)
        db = jax.ShapeDtypeStruct((own.out_channels,), w.dtype) if has_bias else None
        if is_nchw:
            found = _run(backend, "nchw.conv2d_backward", own, [dy, x, w], [None, dw, db])[1:]
        else:
            found = _run(backend, "conv.conv2d_backward_weight", own, [dy, x], [dw, db])
        return tuple(each for each in found if each is not None)

    forward = _folded(forward_of, [True, False, *[False] * has_bias])
    data = _folded(data_of, [True, True, False])
    weight = _folded(weight_of, [False, False, False])
    return _differentiable(forward, data, weight)


def _differentiable(
    forward: Callable[..., Any], data: Callable[..., Any], weight: Callable[..., Any]
) -> Callable[..., Any]:
    """Give gradients to a layer with weights: ``data`` and ``weight`` make them of (dy, x, w)."""
    layer: Any = jax.custom_vjp(forward)

    def keep(x: Any, w: Any, *b: Any) -> tuple[Any, Any]:
        return forward(x, w, *b), (x, w)

    def gradients(kept: tuple[Any, Any], dy: Any) -> tuple[Any, ...]:
        return data(dy, *kept), *weight(dy, *kept)

    layer.defvjp(keep, gradients)
    return layer  # type: ignore[no-any-return]


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
) -> Any:
    """Convolve images with filters; arguments as for :func:`fastconv.conv2d`.

    Returns
    -------
    jax.Array
        (N, O, OH, OW), or (N, OH, OW, O) with ``layout="NHWC"``.

    Raises
    ------
    TypeError, ValueError
        As :func:`fastconv.conv2d`.

    Examples
    --------
    >>> conv2d(jnp.ones((1, 1, 3, 3)), jnp.ones((1, 1, 2, 2)))[0, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    owner = "conv2d"
    x, w, b = _taken(owner, x=x, w=w, b=b)
    options = _plain(stride), _plain(padding), _plain(dilation), _plain(groups)
    spec, _ = conv_spec(owner, x, w, *options, layout)
    if b is not None and b.shape != (spec.out_channels,):
        raise ValueError(
            f"{owner}: b has shape {b.shape}; expected {(spec.out_channels,)}: one for each filter"
        )
    layer = _convolution(choose_backend(None).name, replace(spec, batch=0), layout, b is not None)
    return layer(x, w) if b is None else layer(x, w, b)


@functools.cache
def _dense_layer(backend: str, has_bias: bool) -> Callable[..., Any]:
    """Make the differentiable dense layer."""

    def forward_of(x: Any, w: Any, *b: Any) -> Any:
        spec = dense_spec("dense", x, w)
        y = jax.ShapeDtypeStruct((spec.batch, spec.outputs), x.dtype)
        return _run(backend, "dense.dense_forward", spec, [x, w, b[0] if b else None], [y])[0]

    def data_of(dy: Any, x: Any, w: Any) -> Any:
        spec = dense_spec("dense", x, w)
        return _run(backend, "dense.dense_backward_data", spec, [dy, w], [_like(x)])[0]

    def weight_of(dy: Any, x: Any, w: Any) -> Any:
        spec = dense_spec("dense", x, w)
        db = jax.ShapeDtypeStruct((spec.outputs,), x.dtype) if has_bias else None
        found = _run(backend, "dense.dense_backward_weight", spec, [dy, x], [_like(w), db])
        return tuple(each for each in found if each is not None)

    forward = _folded(forward_of, [True, False, *[False] * has_bias])
    data = _folded(data_of, [True, True, False])
    return _differentiable(forward, data, _folded(weight_of, [False, False, False]))


def dense(x: Any, w: Any, b: Any = None) -> Any:
    """``x @ w + b`` of (N, I) and (I, O); arguments as for :func:`fastconv.dense`.

    Examples
    --------
    >>> dense(jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [4.0]]), jnp.array([0.5]))
    Array([[11.5]], dtype=float32)
    """
    x, w, b = _taken("dense", x=x, w=w, b=b)
    spec = dense_spec("dense", x, w)
    if b is not None and b.shape != (spec.outputs,):
        raise ValueError(
            f"dense: b has shape {b.shape}; expected {(spec.outputs,)}: one for each output of w"
        )
    layer = _dense_layer(choose_backend(None).name, b is not None)
    return layer(x, w) if b is None else layer(x, w, b)


@functools.lru_cache(maxsize=1024)
def _pooling(backend: str, kind: str, spec: Any) -> Callable[..., Any]:
    """Make a differentiable pooling of images (N, H, W, C) of one size."""
    is_max = kind == "max_pool2d"

    def forward_of(x: Any) -> Any:
        own = replace(spec, batch=x.shape[0])
        y = jax.ShapeDtypeStruct(own.y_shape, x.dtype)
        where = [jax.ShapeDtypeStruct(own.y_shape, np.int32)] * is_max
        return tuple(_run(backend, f"pool.{kind}_forward", own, [x], [y, *where]))

    def backward_of(dy: Any, *where: Any) -> Any:
        own = replace(spec, batch=dy.shape[0])
        dx = jax.ShapeDtypeStruct(own.x_shape, dy.dtype)
        return _run(backend, f"pool.{kind}_backward", own, [dy, *where], [dx])[0]

    forward = _folded(forward_of, [True])
    backward = _folded(backward_of, [True, *[True] * is_max])
    layer: Any = jax.custom_vjp(lambda x: forward(x)[0])

    def keep(x: Any) -> tuple[Any, Any]:
        y, *where = forward(x)
        return y, tuple(where)

    layer.defvjp(keep, lambda where, dy: (backward(dy, *where),))
    return layer  # type: ignore[no-any-return]


def _pooled(kind: str, x: Any, layout: Layout, *options: Any) -> Any:
    (x,) = _taken(kind, x=x)
    kernel, stride, padding, ceil_mode, count_include_pad = map(_plain, options)
    if x.ndim != 4:
        raise ValueError(f"{kind}: x has {x.ndim} dimensions {x.shape}; expected 4 ({layout})")
    spec = pool_spec(kind, x.shape, kernel, stride, padding, ceil_mode, count_include_pad, layout)
    layer = _pooling(choose_backend(None).name, kind, replace(spec, batch=0))
    if layout == "NHWC":
        return layer(x)
    return layer(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def max_pool2d(
    x: Any,
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    layout: Layout = "NCHW",
) -> Any:
    """Largest pixel of each window; arguments as for :func:`fastconv.max_pool2d`.

    The kernel takes NHWC: other images are transposed before and behind.

    Examples
    --------
    >>> max_pool2d(jnp.arange(4.0).reshape(1, 1, 2, 2), 2)
    Array([[[[3.]]]], dtype=float32)
    """
    return _pooled("max_pool2d", x, layout, kernel, stride, padding, ceil_mode, True)


def avg_pool2d(
    x: Any,
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: Layout = "NCHW",
) -> Any:
    """Mean of each window; arguments as for :func:`fastconv.avg_pool2d`, layouts as above.

    Examples
    --------
    >>> avg_pool2d(jnp.arange(4.0).reshape(1, 1, 2, 2), 2)
    Array([[[[1.5]]]], dtype=float32)
    """
    return _pooled("avg_pool2d", x, layout, kernel, stride, padding, ceil_mode, count_include_pad)
