"""Calls of kernels with drawn data: convolutions, pooling and dense layers."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv.spec import ConvSpec, DenseSpec, PoolSpec


@dataclass(frozen=True)
class Call:
    """A kernel with a spec and its arrays by name.

    Parameters
    ----------
    kernel
        ``module.function`` of the contract.
    spec, dtype
        Its first argument, and the dtype of its arrays.
    reads, updates
        Arrays; None for one that is left out.
    writes
        Shapes, or (shape, dtype) where the dtype is not that of the call; None leaves one out.
    """

    kernel: str
    spec: Any
    dtype: Any
    reads: dict[str, Any]
    writes: dict[str, Any] = field(default_factory=dict)
    updates: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        without = [k for k, v in (self.reads | self.writes).items() if v is None]
        return f"{self.kernel} {self.spec}" + "".join(f" without {name}" for name in without)

    @property
    def outputs(self) -> dict[str, tuple[Any, Any]]:
        """Shape and dtype of everything that is written, by name."""
        return {
            name: size if _has_dtype(size) else (size, self.dtype)
            for name, size in self.writes.items()
            if size is not None
        }

    def scale_of(self, name: str) -> float:
        """Return the size of a gradient of a bias, or slope, were its terms independent; else 0.

        It has few elements, which may all be near 0 by chance: sums of many terms are not exacter
        for that.

        Parameters
        ----------
        name
            Of the result.
        """
        if name not in ("db", "dslope"):
            return 0.0
        dy = np.asarray(self.reads["dy"], np.float64)
        squares = np.square(dy[np.isfinite(dy)])
        return float(np.sqrt(squares.sum() / max(1, self.writes[name][0])))

    def in_float64(self) -> Call:
        """Return the same call with all float32 arrays as float64: the same numbers."""

        def widened(arrays: dict[str, Any]) -> dict[str, Any]:
            return {k: _widened(a) for k, a in arrays.items()}

        return replace(
            self, dtype=np.float64, reads=widened(self.reads), updates=widened(self.updates)
        )


def _widened(array: Any) -> Any:
    wide = array is not None and array.dtype == np.float32
    return array.astype(np.float64) if wide else array


def _has_dtype(size: Any) -> bool:
    return len(size) == 2 and isinstance(size[0], tuple)


class Draw:
    """Draws arrays of one dtype: small integers, or from the normal distribution.

    Parameters
    ----------
    dtype
        Of the arrays.
    integers
        Whether they hold integers from -4 to 4, whose sums are exact.
    seed
        Of what is drawn.
    """

    def __init__(self, dtype: DTypeLike, integers: bool = False, seed: int = 11) -> None:
        self.dtype = np.dtype(dtype)
        self.integers = integers
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> NDArray[Any]:
        """Return an array of a shape."""
        if self.integers:
            return self.rng.integers(-4, 5, shape).astype(self.dtype)
        return self.rng.standard_normal(shape).astype(self.dtype)

    def positive(self, *shape: int) -> NDArray[Any]:
        """Return an array of numbers of one half or more."""
        made: NDArray[Any] = np.abs(self(*shape)) + np.array(0.5, self.dtype)
        return made

    def below(self, end: int, *shape: int) -> NDArray[np.int64]:
        """Return an array of integers from 0 to ``end`` - 1."""
        return self.rng.integers(0, end, shape)


def conv_calls(spec: ConvSpec, draw: Draw) -> dict[str, Any]:
    """Return the arrays of the kernels of ``conv.py``, each (reads, writes)."""
    x, w, y = spec.x_shape, spec.w_shape, spec.y_shape
    out, back = (spec.out_channels,), (spec.in_channels,)
    return {
        "conv.conv2d_forward": ({"x": draw(*x), "w": draw(*w), "b": draw(*out)}, {"y": y}),
        "conv.conv2d_backward_data": ({"dy": draw(*y), "w": draw(*w)}, {"dx": x}),
        "conv.conv2d_backward_weight": ({"dy": draw(*y), "x": draw(*x)}, {"dw": w, "db": out}),
        "conv.conv_transpose2d_forward": (
            {"x": draw(*y), "w": draw(*w), "b": draw(*back)},
            {"y": x},
        ),
        "conv.conv_transpose2d_backward_data": ({"dy": draw(*x), "w": draw(*w)}, {"dx": y}),
        "conv.conv_transpose2d_backward_weight": (
            {"dy": draw(*x), "x": draw(*y)},
            {"dw": w, "db": back},
        ),
    }


def nchw_calls(spec: ConvSpec, draw: Draw) -> dict[str, Any]:
    """Return the arrays of the kernels of ``nchw.py``; a list of them for a backward pass."""
    wide, narrow = ((n, c, h, w) for n, h, w, c in (spec.x_shape, spec.y_shape))
    w = spec.out_channels, spec.in_channels // spec.groups, *spec.kernel
    made: dict[str, Any] = {}
    for name, x, y, channels in (
        ("conv2d", wide, narrow, spec.out_channels),
        ("conv_transpose2d", narrow, wide, spec.in_channels),
    ):
        b = (channels,)
        made[f"nchw.{name}_forward"] = ({"x": draw(*x), "w": draw(*w), "b": draw(*b)}, {"y": y})
        reads = {"dy": draw(*y), "x": draw(*x), "w": draw(*w)}
        needs = ("dx", "dw", "db"), ("dw", "db"), ("dx",)
        sizes: dict[str, Any] = {"dx": x, "dw": w, "db": b}
        made[f"nchw.{name}_backward"] = [
            (reads, {key: size if key in need else None for key, size in sizes.items()})
            for need in needs
        ]
    return made


def dense_calls(spec: DenseSpec, draw: Draw) -> dict[str, Any]:
    """Return the arrays of the kernels of ``dense.py``, each (reads, writes)."""
    x, w, y = (spec.batch, spec.inputs), (spec.inputs, spec.outputs), (spec.batch, spec.outputs)
    b = (spec.outputs,)
    return {
        "dense.dense_forward": ({"x": draw(*x), "w": draw(*w), "b": draw(*b)}, {"y": y}),
        "dense.dense_backward_data": ({"dy": draw(*y), "w": draw(*w)}, {"dx": x}),
        "dense.dense_backward_weight": ({"dy": draw(*y), "x": draw(*x)}, {"dw": w, "db": b}),
    }


def pool_calls(spec: PoolSpec, draw: Draw) -> dict[str, Any]:
    """Return the arrays of the windowed kernels of ``pool.py``, each (reads, writes)."""
    from fastconv.backends.reference.pool import max_pool2d_forward

    x, y, argmax = spec.x_shape, spec.y_shape, (spec.y_shape, np.int32)
    image, dy = draw(*x), draw(*y)
    taken = np.empty(y, np.int32)
    max_pool2d_forward(spec, image, np.empty(y, image.dtype), taken, None)
    return {
        "pool.max_pool2d_forward": ({"x": image}, {"y": y, "argmax": argmax}),
        "pool.max_pool2d_backward": ({"dy": dy, "argmax": taken}, {"dx": x}),
        "pool.avg_pool2d_forward": ({"x": image}, {"y": y}),
        "pool.avg_pool2d_backward": ({"dy": dy}, {"dx": x}),
    }


def calls_with(kernel: str, spec: Any, dtype: DTypeLike, made: Any) -> Iterator[Call]:
    """Yield the calls of a kernel with its arrays; where there is a bias, with and without it.

    Parameters
    ----------
    kernel, spec, dtype
        Of the calls.
    made
        (reads, writes), (reads, writes, updates), or a list of such.
    """
    for arrays in made if isinstance(made, list) else [made]:
        call = Call(kernel, spec, dtype, *arrays)
        yield call
        if "b" in call.reads:
            yield replace(call, reads=call.reads | {"b": None})
        if call.writes.get("db") is not None:
            yield replace(call, writes=call.writes | {"db": None})


_FAMILIES: dict[type, tuple[Any, ...]] = {
    ConvSpec: (conv_calls, nchw_calls),
    DenseSpec: (dense_calls,),
    PoolSpec: (pool_calls,),
}


def calls_of(
    spec: ConvSpec | DenseSpec | PoolSpec, dtype: DTypeLike, *, integers: bool
) -> Iterator[Call]:
    """Yield the calls of all kernels that take a spec with a geometry.

    Parameters
    ----------
    spec
        A convolution, a pooling or a dense layer.
    dtype
        Of the arrays.
    integers
        Whether they hold small integers.

    Examples
    --------
    >>> calls = calls_of(DenseSpec(1, 2, 3), "float32", integers=True)
    >>> [call.kernel for call in calls][::2]
    ['dense.dense_forward', 'dense.dense_backward_data', 'dense.dense_backward_weight']
    """
    for family in _FAMILIES[type(spec)]:
        for kernel, made in family(spec, Draw(dtype, integers)).items():
            yield from calls_with(kernel, spec, dtype, made)


def parameters_of(kernel: str) -> list[str]:
    """Return the names of the arrays of a kernel in order: all but the spec and the workspace.

    Parameters
    ----------
    kernel
        ``module.function`` of the contract.

    Examples
    --------
    >>> parameters_of("dense.dense_forward")
    ['x', 'w', 'b', 'y']
    """
    return list(_parameters_of(kernel))


@functools.cache
def _parameters_of(kernel: str) -> tuple[str, ...]:
    # Kept: every call of every kernel asks, and a signature takes long to read.
    module, _, name = kernel.partition(".")
    reference = importlib.import_module(f"fastconv.backends.reference.{module}")
    return tuple(inspect.signature(getattr(reference, name)).parameters)[1:-1]
