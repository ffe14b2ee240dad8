"""What a call costs at the door to PyTorch: ``python bench/door_pytorch.py``.

A convolution so small that its kernel takes next to nothing, called one after the other: PyTorch's
own, an operator (``torch.library.custom_op``) that computes nothing, fastconv's operator, and
fastconv's function on the same memory without PyTorch. They take turns; the time is the median of
the fastest rounds of a call in Python. The operator that computes nothing is the floor of all
operators that are written in Python.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import markdown_table
import torch

import fastconv
from fastconv.backends.configuration import processor_name
from fastconv.interop.pytorch import functional
from fastconv.interop.pytorch.convolution import _OPTIONS


@torch.library.custom_op(
    "fastconv_bench::empty",
    mutates_args=(),
    schema=f"(Tensor input, Tensor weight, Tensor? bias=None, {_OPTIONS}) -> Tensor",
)
def empty(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """Nothing: a result that is not filled."""
    return input.new_empty((1, 1, 2, 2))


@empty.register_fake
def _(input: torch.Tensor, *_: object) -> torch.Tensor:
    return input.new_empty((1, 1, 2, 2))


empty.register_autograd(
    lambda ctx, dy: (None,) * 7,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[:2]),
)


def seconds_of(call: Callable[[], object], calls: int) -> float:
    """Seconds of a call, over many."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def contenders(needs_gradient: bool) -> dict[str, Callable[[], object]]:
    """Calls by their names, all of one convolution."""
    x = torch.ones(1, 1, 4, 4)
    w = torch.ones(1, 1, 3, 3, requires_grad=needs_gradient)
    arrays = x.numpy(), w.detach().numpy()
    return {
        "torch.nn.functional.conv2d": lambda: torch.nn.functional.conv2d(x, w),
        "an operator that computes nothing": lambda: empty(
            x, w, None, (1, 1), (0, 0), (1, 1), 1
        ),
        "fastconv.interop.pytorch.functional.conv2d": lambda: functional.conv2d(x, w),
        "fastconv.conv2d, without PyTorch": lambda: fastconv.conv2d(*arrays),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--calls", type=int, default=1000)
    own = parser.parse_args()
    torch.set_num_threads(1)
    fastconv.set_threads(1)
    print(f"{processor_name()}, PyTorch {torch.__version__}, {own.rounds} rounds, 1 thread")
    print(markdown_table.head(["a call, us", "no gradient", "with a gradient to come"]))
    columns = []
    for needs_gradient in (False, True):
        calls = contenders(needs_gradient)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(own.rounds):
            for name, call in calls.items():
                times[name].append(seconds_of(call, own.calls))
        # Whatever else the machine does makes calls longer, never shorter.
        fastest = {name: sorted(found)[: len(found) // 2 + 1] for name, found in times.items()}
        columns.append({name: statistics.median(found) for name, found in fastest.items()})
    for name in columns[0]:
        print(markdown_table.row([name, *(f"{1e6 * column[name]:.1f}" for column in columns)]))


if __name__ == "__main__":
    main()
