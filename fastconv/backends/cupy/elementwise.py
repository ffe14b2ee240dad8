"""An activation of one's own, of the CUDA C++ expressions that it was given."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cupy.device import Array, device
from fastconv.backends.cupy.launches import THREADS, blocks_for, check_size
from fastconv.plans.operation import ElementwiseSpec

_SOURCE = """\
#include "threads.cuh"

template <typename T>
__device__ inline T function_of(T x) {{
    const T constants[] = {{{constants}}};
    (void)constants;
    return static_cast<T>({expression});
}}

template <typename T>
__global__ void elementwise(int size, const T *dy, const T *x, T *y) {{
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        y[i] = dy ? dy[i] * function_of(x[i]) : function_of(x[i]);
}}
"""


def _launch(spec: ElementwiseSpec, which: int, dy: Array | None, x: Array, y: Array) -> None:
    if spec.cuda is None:
        raise ValueError(
            "Elementwise: the cupy backend cannot run Python functions; give the value and the "
            "derivative as CUDA expressions of x, such as cuda=('x * x', '2 * x')"
        )
    check_size("elementwise", output=spec.size)
    if spec.size == 0:
        return
    numbers = ", ".join(f"T({value!r})" for value in spec.constants) or "T(0)"
    code = _SOURCE.format(constants=numbers, expression=spec.cuda[which])
    kernel = f"elementwise<{'float' if y.dtype == np.float32 else 'double'}>"
    device().launch_code(
        code, kernel, (blocks_for(spec.size), 1, 1), (THREADS, 1, 1),
        (np.int32(spec.size), dy, x, y),
    )  # fmt: skip


def elementwise_forward(
    spec: ElementwiseSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = function(x, *constants)``, by the CUDA expression."""
    _launch(spec, 0, None, x, y)


def elementwise_backward(
    spec: ElementwiseSpec,
    dy: Array,
    x: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """``dx = dy * derivative(x, *constants)``, by the CUDA expression."""
    _launch(spec, 1, dy, x, dx)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
