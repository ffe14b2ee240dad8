"""Forward calls with weights that are packed once, beside calls with the weights themselves.

    python bench/packed_weights.py

``fastconv.conv2d`` and ``fastconv.dense`` on float32 arrays of NumPy, one image unless it is said,
in turns: the same call with ``w`` and with ``fastconv.pack_weights(w)``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from markdown_table import head, row
from network_shapes import shape
from turns import Contender, Line, take_turns

import fastconv
from fastconv.spec import ConvSpec, DenseSpec

SHAPES: tuple[tuple[str, ConvSpec | DenseSpec], ...] = (
    ("ResNet 3x3, 64 at 56", shape(1, 64, 56, 64, 3, 1, 1)),
    ("ResNet 3x3, 128 at 28", shape(1, 128, 28, 128, 3, 1, 1)),
    ("ResNet 3x3, 256 at 14", shape(1, 256, 14, 256, 3, 1, 1)),
    ("ResNet 3x3, 256 at 14", shape(16, 256, 14, 256, 3, 1, 1)),
    ("ResNet 3x3, 512 at 7", shape(1, 512, 7, 512, 3, 1, 1)),
    ("ResNet 1x1, 1024 to 256 at 14", shape(1, 1024, 14, 256, 1)),
    ("ResNet 1x1, 2048 to 512 at 7", shape(1, 2048, 7, 512, 1)),
    ("VGG16 3x3, 512 at 14", shape(1, 512, 14, 512, 3, 1, 1)),
    ("AlexNet 3x3, 192 to 384 at 13", shape(1, 192, 13, 384, 3, 1, 1)),
    ("GoogLeNet 1x1, 192 to 64 at 28", shape(1, 192, 28, 64, 1)),
    ("SqueezeNet 3x3, 32 to 128 at 27", shape(1, 32, 27, 128, 3, 1, 1)),
    ("dense, 1024 to 1024", DenseSpec(64, 1024, 1024)),
    ("dense, 4096 to 1000", DenseSpec(1, 4096, 1000)),
)


def _clock(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def contenders(spec: ConvSpec | DenseSpec, layout: str, backend: str | None) -> list[Contender]:
    """Make the calls of a layer, with its weights and with packed ones."""
    generator = np.random.default_rng(0)

    def random(*sizes: int) -> np.ndarray:
        return generator.normal(size=sizes).astype(np.float32)

    if isinstance(spec, DenseSpec):
        x, w = random(spec.batch, spec.inputs), random(spec.inputs, spec.outputs)

        def call(weights: object) -> None:
            fastconv.dense(x, weights, backend=backend)
    else:
        x, w = random(*spec.x_shape), random(*spec.w_shape)
        if layout == "NCHW":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
            w = np.ascontiguousarray(w.transpose(3, 2, 0, 1))
        stride, padding = spec.stride, spec.padding

        def call(weights: object) -> None:
            fastconv.conv2d(
                x, weights, stride=stride, padding=padding, layout=layout, backend=backend
            )

    def contender(who: str, weights: object) -> Contender:
        def run(calls: int) -> None:
            for _ in range(calls):
                call(weights)

        return Contender(who, "", lambda: run, _clock)

    return [contender("weights", w), contender("packed", fastconv.pack_weights(w))]


def cells(name: str, spec: ConvSpec | DenseSpec, layout: str, lines: list[Line]) -> list[str]:
    """Make the cells of a row."""
    plain, packed = lines
    return [
        name, str(spec.batch), layout,
        f"{1e3 * plain.best:.3f} / {1e3 * plain.median:.3f}",
        f"{1e3 * packed.best:.3f} / {1e3 * packed.median:.3f}",
        f"{plain.best / packed.best:.2f} / {plain.median / packed.median:.2f}",
    ]  # fmt: skip


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", help="default: the fastest that works here")
    parser.add_argument("--rounds", type=int, default=9, help="turns; default: %(default)s")
    given = parser.parse_args()
    names = ["layer", "batch", "layout", "with w, ms", "packed, ms", "times as fast"]
    print(head(names))
    for name, spec in SHAPES:
        for layout in ("NCHW", "NHWC") if isinstance(spec, ConvSpec) else ("",):
            taken = take_turns(contenders(spec, layout, given.backend), given.rounds)
            print(row(cells(name, spec, layout, taken)), flush=True)


if __name__ == "__main__":
    main()
