"""NumPy convolutions beside PyTorch's, in one run: ``python bench/convolutions.py``.

Both sides hold ready tensors in the layout they like best; a round is one forward and one backward
pass of each of the four convolutions of the recipe cifar10-deep. Rounds are batch_blocked
(fastconv, PyTorch contiguous, PyTorch channels_last, and again); PyTorch's better layout counts.
The first layer's data gradient is computed by neither side.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from fastconv.backends.configuration import available_cores, processor_name
from fastconv.backends.selection import load_kernel
from fastconv.spec import ConvSpec

try:
    import torch
except ImportError as fault:
    raise SystemExit(
        "bench/convolutions.py: PyTorch is not installed; install a CPU build of torch to compare"
    ) from fault


def cifar10_deep(batch: int) -> list[ConvSpec]:
    """The four convolutions of the recipe cifar10-deep."""
    return [
        ConvSpec(batch, 3, 32, 32, 32, (3, 3)),
        ConvSpec(batch, 32, 30, 30, 32, (3, 3)),
        ConvSpec(batch, 32, 14, 14, 64, (3, 3)),
        ConvSpec(batch, 64, 12, 12, 64, (3, 3)),
    ]


def fastconv_round(spec: ConvSpec, backend: str, needs_dx: bool) -> Callable[[], None]:
    """Forward and backward through a backend's kernels, with every buffer made beforehand."""
    generator = np.random.default_rng(0)

    def random(shape: tuple[int, ...]) -> np.ndarray:
        return generator.normal(size=shape).astype(np.float32)

    x, w, b = random(spec.x_shape), random(spec.w_shape), random((spec.out_channels,))
    y, dy = np.empty(spec.y_shape, np.float32), random(spec.y_shape)
    dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty_like(b)
    names = ("conv2d_forward", "conv2d_backward_weight", "conv2d_backward_data")
    kernels = [load_kernel(backend, f"conv.{name}") for name in names]
    size = max(
        sized(name, spec, np.float32) for name, (_, sized) in zip(names, kernels, strict=True)
    )
    workspace = np.empty(size, np.uint8)
    (forward, _), (backward_weight, _), (backward_data, _) = kernels

    def run() -> None:
        forward(spec, x, w, b, y, workspace)
        backward_weight(spec, dy, x, dw, db, workspace)
        if needs_dx:
            backward_data(spec, dy, w, dx, workspace)

    return run


def torch_round(
    spec: ConvSpec, needs_dx: bool, memory_format: torch.memory_format
) -> Callable[[], None]:
    """Forward and backward through torch.nn.functional.conv2d."""

    def random(n: int, h: int, w: int, c: int) -> torch.Tensor:
        return torch.randn(n, c, h, w).contiguous(memory_format=memory_format)

    x, dy = random(*spec.x_shape).requires_grad_(needs_dx), random(*spec.y_shape)
    kh, kw, inputs, outputs = spec.w_shape
    w = torch.randn(outputs, inputs, kh, kw).contiguous(memory_format=memory_format)
    w.requires_grad_()
    b = torch.randn(outputs, requires_grad=True)

    def run() -> None:
        torch.nn.functional.conv2d(x, w, b).backward(dy)
        w.grad = b.grad = x.grad = None

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--backend", default="numpy")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{processor_name()}, {options.threads} threads, NumPy {np.__version__}, PyTorch "
        f"{torch.__version__}, float32, batch {options.batch}, {options.rounds} rounds; "
        f"milliseconds, median (minimum to maximum)\n"
    )
    print(
        f"| convolution | {options.backend} | PyTorch contiguous | PyTorch channels_last | ratio |"
    )
    print("|---|---|---|---|---|")
    totals = np.zeros((3, options.rounds))
    for number, spec in enumerate(cifar10_deep(options.batch)):
        needs_dx = number > 0
        sides = [
            fastconv_round(spec, options.backend, needs_dx),
            torch_round(spec, needs_dx, torch.contiguous_format),
            torch_round(spec, needs_dx, torch.channels_last),
        ]
        times = np.zeros((3, options.rounds))
        with threadpool_limits(options.threads):
            for side in sides:
                side()
                side()
            for column in range(options.rounds):
                for row, side in enumerate(sides):
                    began = time.perf_counter()
                    side()
                    times[row, column] = 1000 * (time.perf_counter() - began)
        totals += times
        print(_row(str(spec), times))
    print(_row("all four", totals))


def _row(name: str, times: np.ndarray) -> str:
    medians = [statistics.median(row) for row in times]
    cells = [
        f"{m:.2f} ({r.min():.2f} to {r.max():.2f})" for m, r in zip(medians, times, strict=True)
    ]
    return f"| {name} | {' | '.join(cells)} | {medians[0] / min(medians[1:]):.2f}x |"


if __name__ == "__main__":
    main()
