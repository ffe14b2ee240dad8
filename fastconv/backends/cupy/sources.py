"""Kernels in the CUDA C++ sources, and the types and sizes they are compiled for."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.cupy.kernel_sources import kernel_folder, kernel_source

TILES = {"float32": ((32, 32), (128, 32), (128, 64)), "float64": ((32, 32), (64, 32))}
"""Rows and columns of the tiles that products are made in; small ones for small products."""
WIDTHS = {"float32": (1, 4), "float64": (1,)}
"""Neighbouring numbers that a product loads at once."""

_PRECISION = "Precision PRECISION"
_KERNEL = re.compile(
    r"(?:template <([^>]*)>\s*)?__global__ void\s+(?:__launch_bounds__\(.*?\)\s+)?(\w+)\(", re.S
)
_TYPES = {"float32": "float", "float64": "double"}
_PRECISIONS = {"float32": "FULL", "tf32": "TF32", "bf16": "BF16"}
"""Names in the sources of what factors of a product are rounded to."""


@functools.cache
def kernels_of(source: str) -> dict[str, tuple[str, ...]]:
    """Return the kernels of a source file with the names of their template parameters.

    Examples
    --------
    >>> kernels_of("dense.cu")["dense_forward"]
    ('typename T', 'int ROWS', 'int COLUMNS', 'int WIDTH', 'Precision PRECISION')
    """
    found = _KERNEL.findall(kernel_source(source))
    return {name: tuple(re.split(r",\s*", of)) if of else () for of, name in found}


def code_of(source: str) -> str:
    """Return a source file, with a line that changes when the files that it includes do.

    CuPy looks for compiled code by the text that it is given, without what that includes.
    """
    headers = sorted(kernel_folder().glob("*.cuh"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in headers)).hexdigest()
    return f"// headers {digest[:16]}\n{kernel_source(source)}"


@dataclass(frozen=True, slots=True)
class ProductCode:
    """Template arguments of a product.

    Parameters
    ----------
    tile
        Rows and columns of a tile, of :data:`TILES`.
    width
        Neighbouring numbers that it loads at once, of :data:`WIDTHS`.
    precision
        "float32", "tf32" or "bf16": what factors are rounded to.
    """

    tile: tuple[int, int]
    width: int = 1
    precision: str = "float32"


def expression_of(kernel: str, dtype: Any = None, product: ProductCode | None = None) -> str:
    """Write an instance of a kernel as C++ names it.

    Examples
    --------
    >>> expression_of("dense_forward", "float32", ProductCode((128, 64), 4, "tf32"))
    'dense_forward<float, 128, 64, 4, fastconv::TF32>'
    >>> expression_of("begin_step")
    'begin_step'
    """
    values = [] if dtype is None else [_TYPES[np.dtype(dtype).name]]
    if product is not None:
        values += [str(number) for number in (*product.tile, product.width)]
        values += [f"fastconv::{_PRECISIONS[product.precision]}"]
    return f"{kernel}<{', '.join(values)}>" if values else kernel


def instances_of(source: str, dtype: Any, precision: str | None = None) -> list[str]:
    """List the instances of a source file's kernels for one dtype.

    Parameters
    ----------
    source, dtype
        The file, and the dtype that it computes in.
    precision
        Only the products of this one, and for float32 all else too; None: every instance.
    """
    name = np.dtype(dtype).name
    precisions = ("float32",) if name == "float64" else tuple(_PRECISIONS)
    products = [
        ProductCode(*code)
        for code in itertools.product(TILES[name], WIDTHS[name], precisions)
        if precision in (None, code[-1])
    ]
    instances = []
    for kernel, parameters in kernels_of(source).items():
        if _PRECISION in parameters:
            instances += [expression_of(kernel, dtype, product) for product in products]
        elif precision in (None, "float32"):
            instances.append(expression_of(kernel, dtype if parameters else None))
    return instances


def compiled_with(kernel: str, source: str, dtype: Any) -> tuple[str, ...]:
    """List the instances that are compiled at once with one of them.

    A product is compiled by itself, so that nobody waits for tiles that he does not use; all other
    kernels of a file are compiled together.

    Examples
    --------
    >>> compiled_with("dense_forward<float, 128, 64, 1, fastconv::TF32>", "dense.cu", "float32")
    ('dense_forward<float, 128, 64, 1, fastconv::TF32>',)
    """
    others = tuple(each for each in instances_of(source, dtype, "float32") if "::" not in each)
    return others if kernel in others else (kernel,)
