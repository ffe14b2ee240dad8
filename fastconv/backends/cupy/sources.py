"""Kernels in the CUDA C++ sources, and the types and sizes they are compiled for."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from typing import Any

import numpy as np

from fastconv.backends.cupy.kernel_sources import kernel_folder, kernel_source

SIDES = (32, 64)
"""Rows and columns of the tiles that products are made in; small ones for small products."""

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
    ('typename T', 'int SIDE', 'Precision PRECISION')
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


def expression_of(
    kernel: str, dtype: Any = None, side: int | None = None, precision: str | None = None
) -> str:
    """Write an instance of a kernel as C++ names it.

    Examples
    --------
    >>> expression_of("dense_forward", "float32", 64, "tf32")
    'dense_forward<float, 64, fastconv::TF32>'
    >>> expression_of("begin_step")
    'begin_step'
    """
    values = [] if dtype is None else [_TYPES[np.dtype(dtype).name]]
    values += [] if side is None else [str(side)]
    values += [] if precision is None else [f"fastconv::{_PRECISIONS[precision]}"]
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
    full = precision in (None, "float32")
    choices: dict[str, tuple[Any, ...]] = {"typename T": (dtype,), "int SIDE": SIDES}
    products = ("float32",) if np.dtype(dtype) == np.float64 else tuple(_PRECISIONS)
    choices[_PRECISION] = tuple(each for each in products if precision in (None, each))
    return [
        expression_of(kernel, *values)
        for kernel, parameters in kernels_of(source).items()
        if full or _PRECISION in parameters
        for values in itertools.product(*(choices[each] for each in parameters))
    ]


def compiled_with(kernel: str, source: str, dtype: Any) -> tuple[str, ...]:
    """List the instances that are compiled at once with one of them: those of its precision.

    So nobody waits for those that he does not use.

    Examples
    --------
    >>> compiled_with("dense_forward<float, 64, fastconv::TF32>", "dense.cu", "float32")[0]
    'dense_forward<float, 32, fastconv::TF32>'
    """
    parts = (tuple(instances_of(source, dtype, precision)) for precision in _PRECISIONS)
    return next(part for part in parts if kernel in part)
