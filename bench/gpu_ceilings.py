"""What the card can do at most: copying, and multiplying matrices."""

from __future__ import annotations

import functools
from collections.abc import Callable

from turns import Clock, Contender, Run

from fastconv.backends.cupy.device import device

COPY = "copy"
GEMM = "GEMM"
BYTES_COPIED = 2**28
"""More than the caches of any card hold."""
GEMM_SIZE = 4096


def gemm_flop(size: int = GEMM_SIZE) -> float:
    """Operations of a product of two square matrices."""
    return 2.0 * size**3


def copying(clock: Clock, count: int = BYTES_COPIED) -> Contender:
    """Copies from one place of the card's memory to another: a step is a copy."""

    def prepare() -> Run:
        arrays = device().arrays
        source, target = (arrays.zeros(count, "uint8") for _ in range(2))

        def run(steps: int) -> None:
            for _ in range(steps):
                arrays.copyto(target, source)

        return run

    return Contender(COPY, "", prepare, clock)


def multiplying(
    precision: str, clock: Clock, size: int = GEMM_SIZE, place: str = "cuda"
) -> Contender:
    """PyTorch's product of two square matrices: a step is a product."""

    def prepare() -> Run:
        import torch
        from gpu_pytorch import set_precision

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a = torch.rand(size, size, device=place).to(dtype)
        out = torch.empty_like(a)
        product: Callable[[], object] = functools.partial(torch.mm, a, a, out=out)

        def run(steps: int) -> None:
            set_precision(precision)  # others have theirs
            for _ in range(steps):
                product()

        return run

    return Contender(GEMM, precision, prepare, clock)
