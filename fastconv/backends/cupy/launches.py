"""Launching kernels: grids, blocks, and arguments in the types that CUDA wants them in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.cupy.device import Dimensions, device
from fastconv.backends.cupy.sources import ProductCode, expression_of
from fastconv.plans.activations import number_of
from fastconv.plans.operation import ActivationSpec, RandomSpec

THREADS = 256
"""Threads of a block where the kernel does not ask for a number of its own."""
WARP = 32
_THREADS_OF_A_SUM = 1024
"""Threads of a block that sums alone, as in ``kernels/cuda/gradient.cu``."""
_MOST_BLOCKS = 4096
"""Most blocks of a grid whose threads take several elements each."""
MOST_ROWS_OF_BLOCKS = 65535
"""Most blocks in the second dimension of a grid."""
_MOST_INDEX = 2**31 - 1 - _MOST_BLOCKS * THREADS
"""An index steps over the whole grid behind the last element, and must not overflow there."""


def blocks_for(count: int, each: int = THREADS) -> int:
    """Blocks for ``count`` things, ``each`` of them to a block at a time; 1 or more."""
    return max(1, min(_MOST_BLOCKS, math.ceil(count / each)))


def check_size(kernel: str, **counts: int) -> None:
    """Raise a ValueError where 32-bit indices of a kernel would not reach all elements."""
    for name, count in counts.items():
        if count > _MOST_INDEX:
            raise ValueError(
                f"{kernel}: {name} is {count} elements; the cupy backend takes up to "
                f"{_MOST_INDEX}: use a smaller batch"
            )


def launch(
    kernel: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    *arguments: Any,
    dtype: Any = None,
    product: ProductCode | None = None,
    shared_bytes: int = 0,
) -> None:
    """Launch a kernel.

    Parameters
    ----------
    kernel
        ``module.name``: the kernel ``name`` of ``module.cu``.
    grid, block
        Up to three numbers each.
    arguments
        A Python int becomes an int, a float a double; scalars of NumPy keep their type, arrays are
        pointers and None is null.
    dtype, product
        Of the instance, where the kernel is a template.
    shared_bytes
        Shared memory of a block beside what the kernel declares.

    Raises
    ------
    ValueError
        If an argument, or the grid, is larger than what CUDA takes.
    """
    source, _, name = kernel.partition(".")
    values = [_as_scalar(kernel, each) for each in arguments]
    device().launch(
        f"{source}.cu",
        np.dtype("float32" if dtype is None else dtype),
        expression_of(name, dtype, product),
        _three(grid),
        _three(block),
        values,
        shared_bytes,
    )


def _three(sizes: tuple[int, ...]) -> Dimensions:
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def _as_scalar(kernel: str, value: Any) -> Any:
    if isinstance(value, int):
        check_size(kernel, **{"an argument": value})
        return np.int32(value)
    return np.float64(value) if isinstance(value, (float, np.floating)) else value


def launch_elements(kernel: str, count: int, *arguments: Any, dtype: Any = None) -> None:
    """Launch a kernel whose threads share ``count`` elements, unless there are none."""
    check_size(kernel, output=count)
    if count:
        launch(kernel, (blocks_for(count),), (THREADS,), *arguments, dtype=dtype)


def launch_rows(kernel: str, rows: int, *arguments: Any, threads: int = WARP, dtype: Any) -> None:
    """Launch a kernel whose blocks take a row each, unless there are none."""
    if rows:
        launch(kernel, (blocks_for(rows, 1),), (threads,), *arguments, dtype=dtype)


def sum_squares(size: int, x: Any, total: Any) -> None:
    """Sum the squares of all elements by one block, in an order that only their number fixes.

    Parameters
    ----------
    size, x
        The elements.
    total
        float64 (1,), written.
    """
    launch("gradient.sum_squares", (1,), (_THREADS_OF_A_SUM,), size, x, total, dtype=x.dtype)


def numbers_of(activation: ActivationSpec | None) -> tuple[int, float]:
    """Kind and alpha of an activation, as kernels take them; a negative kind for none."""
    if activation is None:
        return -1, 0.0
    return number_of(activation.kind), float(activation.alpha)


def stream_of(spec: RandomSpec) -> tuple[np.uint64, np.uint32]:
    """Seed and stream, as kernels take them."""
    return np.uint64(spec.seed), np.uint32(spec.stream)
