"""Public convolutions beside PyTorch's, forward and backward: ``python bench/functions.py``.

``fastconv.conv2d`` and ``fastconv.conv2d_backward`` on NumPy arrays in NCHW and OIHW, so that what
turns layouts around counts, against ``torch.nn.functional.conv2d`` and its gradients for image,
weights and bias. PyTorch is the faster of two memory formats, whose tensors are ready. All have the
same number of threads and take turns in one process: fastconv, peer, fastconv, peer. A turn's time
is the median of its calls, and a ratio is PyTorch's time over fastconv's, of the fastest rounds and
of the medians: above 1, fastconv is faster.

A thread that loses its core holds up the other at a barrier, PyTorch's by some 50 ms a call, again
and again on a busy machine. A shape where that befell a contender has a ``*`` and says nothing:
it is left out of the means, and should be measured again.

``--forward`` measures ``conv2d`` alone, over 30 convolutions of known networks with 1 and 16
images, against PyTorch on the same NCHW tensors.

``--isa avx2`` lets both sides use AVX2 at most; given more than once, as in ``--isa best --isa
avx2``, the shapes are measured with each, in a process of its own.

``--table FILE.md`` writes the table, ``--json FILE`` everything.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import instruction_sets
import markdown_table
import numpy as np
from network_shapes import NETWORK_SHAPES, shape
from turns import Rounds

from fastconv.backends.configuration import available_cores, processor_name
from fastconv.spec import ConvSpec

Call = Callable[[], tuple[Any, ...]]
"""One forward and one backward pass, or a forward pass alone."""


SHAPES = (
    ("ResNet 7x7 stride 2, first", shape(1, 3, 224, 64, 7, 2, 3)),
    ("ResNet 7x7 stride 2, first", shape(8, 3, 224, 64, 7, 2, 3)),
    ("ResNet 3x3, 64 at 56", shape(1, 64, 56, 64, 3, 1, 1)),
    ("ResNet 3x3, 64 at 56", shape(16, 64, 56, 64, 3, 1, 1)),
    ("ResNet 3x3 stride 2, 64 to 128", shape(1, 64, 56, 128, 3, 2, 1)),
    ("ResNet 3x3 stride 2, 64 to 128", shape(16, 64, 56, 128, 3, 2, 1)),
    ("ResNet 3x3, 256 at 14", shape(1, 256, 14, 256, 3, 1, 1)),
    ("ResNet 3x3, 256 at 14", shape(16, 256, 14, 256, 3, 1, 1)),
    ("ResNet 3x3, 512 at 7", shape(1, 512, 7, 512, 3, 1, 1)),
    ("ResNet 3x3, 512 at 7", shape(32, 512, 7, 512, 3, 1, 1)),
    ("ResNet 1x1, 256 to 64 at 56", shape(1, 256, 56, 64, 1)),
    ("ResNet 1x1, 256 to 64 at 56", shape(8, 256, 56, 64, 1)),
    ("ResNet 1x1 stride 2, 256 to 512", shape(8, 256, 56, 512, 1, 2)),
    ("MobileNet depthwise, 32 at 112", shape(1, 32, 112, 32, 3, 1, 1, 1, 32)),
    ("MobileNet depthwise, 32 at 112", shape(16, 32, 112, 32, 3, 1, 1, 1, 32)),
    ("MobileNet depthwise, 256 at 14", shape(1, 256, 14, 256, 3, 1, 1, 1, 256)),
    ("MobileNet depthwise, 256 at 14", shape(32, 256, 14, 256, 3, 1, 1, 1, 256)),
    ("MobileNet 1x1, 32 to 64 at 112", shape(1, 32, 112, 64, 1)),
    ("MobileNet 1x1, 512 at 14", shape(32, 512, 14, 512, 1)),
    ("AlexNet 11x11 stride 4", shape(1, 3, 224, 64, 11, 4, 2)),
    ("AlexNet 11x11 stride 4", shape(32, 3, 224, 64, 11, 4, 2)),
    ("AlexNet 5x5, 2 groups", shape(1, 64, 27, 192, 5, 1, 2, 1, 2)),
    ("AlexNet 5x5, 2 groups", shape(16, 64, 27, 192, 5, 1, 2, 1, 2)),
    ("GoogLeNet 1x1, 192 to 64 at 28", shape(1, 192, 28, 64, 1)),
    ("GoogLeNet 1x1, 192 to 64 at 28", shape(32, 192, 28, 64, 1)),
    ("GoogLeNet 5x5, 16 to 32 at 28", shape(1, 16, 28, 32, 5, 1, 2)),
    ("GoogLeNet 5x5, 16 to 32 at 28", shape(32, 16, 28, 32, 5, 1, 2)),
    ("17 channels, stride 2", shape(1, 17, 35, 17, 3, 2, 1)),
    ("17 channels, stride 2", shape(32, 17, 35, 17, 3, 2, 1)),
    ("dilation 2", shape(32, 32, 28, 48, 3, 1, 2, 2)),
    ("4 groups", shape(1, 64, 28, 64, 3, 1, 1, 1, 4)),
    ("4 groups", shape(32, 64, 28, 64, 3, 1, 1, 1, 4)),
)
"""Batches of 1 and 32; fewer than 32 where that would take long."""
TITLE = "Convolutions beside PyTorch"
TEXT = """Made by `python bench/functions.py`; [performance.md](performance.md) says with which
options, and on which machine. How often faster: of the fastest rounds / of the medians."""
_FORMATS = {"PyTorch NCHW": "contiguous_format", "PyTorch channels_last": "channels_last"}


@dataclass(frozen=True)
class Line(Rounds):
    """Seconds of the passes of one contender on one shape, for each turn."""

    isa: str
    name: str
    shape: str
    who: str
    seconds: list[float]
    fastest_call: float

    @property
    def stalled(self) -> bool:
        """Whether even its best turn was mostly waiting: a call, or one thread, was far faster."""
        return self.best > 1.5 * self.fastest_call


def arrays_of(spec: ConvSpec) -> tuple[np.ndarray, ...]:
    """Draw x, w, b and dy in NCHW and OIHW."""
    draw = np.random.default_rng(0)
    h, w, i, o = spec.w_shape
    shapes = (
        (spec.batch, spec.in_channels, spec.height, spec.width),
        (o, i, h, w),
        (o,),
        (spec.batch, o, spec.out_height, spec.out_width),
    )
    return tuple(draw.standard_normal(shape, np.float32) for shape in shapes)


def fastconv_call(spec: ConvSpec, backend: str, *, forward: bool) -> Call:
    """Public functions on NumPy arrays."""
    import fastconv

    x, w, b, dy = arrays_of(spec)
    options: dict[str, Any] = {
        "stride": spec.stride, "padding": spec.padding, "dilation": spec.dilation,
        "groups": spec.groups, "backend": backend,
    }  # fmt: skip

    def call() -> tuple[Any, ...]:
        y = fastconv.conv2d(x, w, b, **options)
        if forward:
            return (y,)
        return y, *fastconv.conv2d_backward(dy, x, w, **options)

    return call


def pytorch_call(spec: ConvSpec, memory_format: str, *, forward: bool) -> Call:
    """Its convolution and its gradients, on tensors in one of its memory formats."""
    import torch

    layout = getattr(torch, memory_format)
    x, w, b, dy = (torch.from_numpy(array) for array in arrays_of(spec))
    x, w, dy = (tensor.contiguous(memory_format=layout) for tensor in (x, w, dy))
    for leaf in (x, w, b):
        leaf.requires_grad_(not forward)
    padding = spec.padding[0][0], spec.padding[1][0]

    def call() -> tuple[Any, ...]:
        y = torch.nn.functional.conv2d(x, w, b, spec.stride, padding, spec.dilation, spec.groups)
        if forward:
            return (y,)
        return y.detach(), *torch.autograd.grad(y, (x, w, b), dy)

    return call


def check(results: dict[str, Any], spec: ConvSpec) -> None:
    """Stop unless all contenders computed the same."""
    first, *others = results.values()
    for other in others:
        for a, b in zip(first, other, strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            if a.shape != b.shape or abs(a - b).max() > 1e-4 * abs(a).max():
                raise SystemExit(f"bench/functions.py: results on {spec} are not the same")


def seconds_on_one_thread(call: Call) -> float:
    """Fastest of a few calls of PyTorch where no thread waits for another, to find stalls by."""
    import torch

    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return min(seconds)


def measure(
    name: str, spec: ConvSpec, backends: list[str], rounds: int, span: float, *,
    forward: bool = False, isa: str = instruction_sets.BEST,
) -> list[Line]:  # fmt: skip
    """Let the contenders take turns on one shape; ``span``: seconds that a turn should last."""
    calls = {
        f"fastconv-{backend}": fastconv_call(spec, backend, forward=forward) for backend in backends
    }
    peers = list(_FORMATS)[:1] if forward else list(_FORMATS)
    calls |= {peer: pytorch_call(spec, _FORMATS[peer], forward=forward) for peer in peers}
    check({who: call() for who, call in calls.items()}, spec)
    seconds: dict[str, list[float]] = {who: [] for who in calls}
    fastest = dict.fromkeys(calls, math.inf)
    repeats = {}
    for who, call in calls.items():
        each = math.inf
        for _ in range(3):
            start = time.perf_counter()
            call()
            each = min(each, time.perf_counter() - start)
        repeats[who] = max(3, round(span / each))
    for _ in range(rounds):
        for who, call in calls.items():
            time.sleep(0.05)  # threads of the one before fall asleep
            call()  # and those of this one wake up
            turn = []
            for _ in range(repeats[who]):
                start = time.perf_counter()
                call()
                turn.append(time.perf_counter() - start)
            seconds[who].append(statistics.median(turn))
            fastest[who] = min(fastest[who], *turn)
    for who in peers:
        fastest[who] = min(fastest[who], seconds_on_one_thread(calls[who]))
    return [Line(isa, name, str(spec), who, each, fastest[who]) for who, each in seconds.items()]


def ratios(group: list[Line], backend: str) -> tuple[float, float]:
    """PyTorch's time over fastconv's: of the fastest rounds, and of the medians."""
    (own,) = [line for line in group if line.who == f"fastconv-{backend}"]
    peers = [line for line in group if line.who.startswith("PyTorch")]
    best, median = min(line.best for line in peers), min(line.median for line in peers)
    return best / own.best, median / own.median


def row_of(group: list[Line], backends: list[str]) -> str:
    """Times of one shape, and how many times faster than PyTorch each backend is."""
    batch = ConvSpec.parse(group[0].shape).batch
    peer = min(
        (line for line in group if line.who.startswith("PyTorch")), key=lambda line: line.best
    )
    mark = " *" if any(line.stalled for line in group) else ""
    row = [
        group[0].name + mark,
        str(batch),
        group[0].isa,
        f"{peer.best * 1e3:.3f}",
        peer.who.removeprefix("PyTorch "),
    ]
    for backend in backends:
        (own,) = [line for line in group if line.who == f"fastconv-{backend}"]
        best, median = ratios(group, backend)
        row += [f"{own.best * 1e3:.3f}", f"{best:.2f} / {median:.2f}"]
    return markdown_table.row(row)


def head_of(backends: list[str]) -> str:
    """The first two lines of the table."""
    head = ["convolution", "batch", "instructions", "PyTorch ms", "its format"]
    for backend in backends:
        head += [f"{backend} ms", f"{backend} faster"]
    return markdown_table.head(head)


def summary(results: list[list[Line]], backends: list[str]) -> str:
    """The geometric mean and the worst shape of each backend, with each instruction set."""
    lines = []
    for isa in dict.fromkeys(group[0].isa for group in results):
        own = [group for group in results if group[0].isa == isa]
        steady = [group for group in own if not any(line.stalled for line in group)]
        lines.append(
            f"{isa}: {len(own) - len(steady)} of {len(own)} shapes left out: a contender stalled"
        )
        for backend in backends if steady else ():
            best = [ratios(group, backend)[0] for group in steady]
            mean = math.exp(sum(map(math.log, best)) / len(best))
            worst = steady[best.index(min(best))][0]
            lines.append(
                f"{isa}, {backend}: {mean:.2f} times as fast as PyTorch in the geometric mean; "
                f"worst {min(best):.2f}: {worst.name} ({worst.shape})"
            )
    return "\n".join(lines)


def measure_apart(isas: list[str], arguments: list[str]) -> list[list[Line]]:
    """Run this command once for each instruction set, in processes of their own."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for isa in isas:
            place = Path(folder) / f"{isa}.json"
            command = [
                sys.executable,
                __file__,
                *arguments,
                "--only-isa",
                isa,
                "--json",
                str(place),
            ]
            environment = instruction_sets.environment_of(isa)
            if subprocess.run(command, env=environment, check=False).returncode:
                raise SystemExit(f"bench/functions.py: the process with --isa {isa} failed")
            groups = json.loads(place.read_text(encoding="utf-8"))
            results += [[Line(**line) for line in group] for group in groups]
    return results


def measure_all(own: argparse.Namespace, backends: list[str]) -> list[list[Line]]:
    """Measure the shapes in this process, and print as they come."""
    try:
        import torch
    except ImportError:
        raise SystemExit("bench/functions.py: needs PyTorch (pip install torch)") from None
    torch.set_num_threads(own.threads)
    print(f"{processor_name()}, {own.threads} threads, {own.rounds} rounds, {torch.__version__}")
    print(head_of(backends))
    results = []
    for name, spec in NETWORK_SHAPES if own.forward else SHAPES:
        if own.only in name:
            group = measure(
                name, spec, backends, own.rounds, own.span, forward=own.forward, isa=own.only_isa
            )
            results.append(group)
            print(row_of(group, backends), flush=True)
    if not results:
        raise SystemExit(f"bench/functions.py: --only {own.only!r} is in no name")
    print(summary(results, backends))
    return results


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=min(2, available_cores()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--span", type=float, default=0.04, help="seconds of a turn")
    parser.add_argument("--backends", default="cython,numba")
    parser.add_argument("--only", default="", help="shapes with this in their names")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--forward", action="store_true", help="conv2d alone, of known networks")
    parser.add_argument("--only-isa", default=instruction_sets.BEST, help=argparse.SUPPRESS)
    instruction_sets.add_option(parser)
    own = parser.parse_args()
    os.environ["FASTCONV_THREADS"] = str(own.threads)
    backends = own.backends.split(",")
    if own.isa:
        options = [f"--threads={own.threads}", f"--rounds={own.rounds}", f"--span={own.span}"]
        options += [f"--backends={own.backends}", f"--only={own.only}"]
        options += ["--forward"] * own.forward
        results = measure_apart(own.isa, options)
    else:
        results = measure_all(own, backends)
    if own.table:
        rows = [row_of(group, backends) for group in results]
        text = "\n".join([head_of(backends), *rows, "", summary(results, backends), ""])
        title = ", ".join([TITLE, *(own.isa or ())])
        own.table.write_text(markdown_table.page(title, TEXT, text), encoding="utf-8")
    if own.json:
        everything = [[asdict(line) for line in group] for group in results]
        own.json.write_text(json.dumps(everything, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
