"""An activation of one's own: each thread calls its compiled loop."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import address_at, first_in_blocks, pointer
from fastconv.backends.numba.synchronization import call_loop


@kernel(Kernel.ELEMENTWISE)
def _elementwise(real: Real) -> KernelFunction:
    """``y = f(x)``, or ``dy * f(x)``."""

    def elementwise(n: Fields, step: int, thread: int, threads: int) -> None:
        dy = n.dy
        first = first_in_blocks(n.size, thread, threads)
        count = first_in_blocks(n.size, thread + 1, threads) - first
        if count <= 0:
            return
        if dy != 0:
            dy = address_at(pointer(dy, real), first)
        x, y = address_at(pointer(n.x, real), first), address_at(pointer(n.y, real), first)
        call_loop(n.function, dy, x, y, count)

    return elementwise


elementwise_forward = contract_kernel(engine, "elementwise.elementwise_forward", __name__)
elementwise_backward = contract_kernel(engine, "elementwise.elementwise_backward", __name__)
workspace_bytes = workspace_of_module(engine, "elementwise", __name__)
