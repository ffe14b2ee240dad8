"""Training steps of a recipe whose convolutions are frozen, in turns with those that train all.

    python bench/fine_tuning.py --recipe cifar10-deep --batches 1,128

Three rows for each batch size: everything trained, the convolutions frozen, and these frozen with
every gradient computed all the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from lists import list_of
from markdown_table import head, row
from turns import Contender, Line, Run, take_turns
from workload import Workload

from fastconv.execution.config import ExecutionConfig
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.plans.plan_builder import Purpose

_FROZEN = ParameterGroup("conv*", frozen=True)
_WAYS = {
    "everything trained": ((), True),
    "convolutions frozen": ((_FROZEN,), True),
    "frozen, all gradients computed": ((_FROZEN,), False),
}
"""For each contender its groups, and whether its plan leaves out what these do not need."""


def _clock(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def contender(way: str, workload: Workload, config: ExecutionConfig) -> Contender:
    """Make the steps of one way of training."""
    groups, leaves_out = _WAYS[way]

    def prepare() -> Run:
        network = workload.network()
        placed = NetworkOnBackend(network, "scale", config)
        update = Optimizer("sgd", groups=groups).update(network)
        untrained = getattr(update, "frozen", ()) if leaves_out else ()
        loss = workload.recipe.make_loss()
        purpose = Purpose(True, True, loss, update, untrained=untrained)
        arrays = placed.upload(workload.dataset().training)
        arrays |= {"gradients": placed.to_device(np.zeros_like(network.parameters))}
        runner = placed.make_runner(workload.batch, purpose, arrays)

        def run(steps: int) -> None:
            runner.run(workload.order(steps), np.full(steps, 1e-6), 0)

        return run

    return Contender(way, config.backend, prepare, _clock)


def table(batches: list[int], lines: list[list[Line]]) -> str:
    """Make a Markdown table of milliseconds: the fastest and the median turn."""
    rows = [head(["batch", "step", "ms", "median", "beside everything trained"])]
    for batch, of_batch in zip(batches, lines, strict=True):
        whole = of_batch[0]
        rows += [
            row([
                str(batch), line.who, f"{1e3 * line.best:.3f}", f"{1e3 * line.median:.3f}",
                f"{line.median / whole.median:.2f}",
            ])
            for line in of_batch
        ]  # fmt: skip
    return "\n".join(rows)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="cifar10-deep", help="default: %(default)s")
    parser.add_argument("--batches", type=list_of(int), default=[1, 128], help="such as 1,128")
    parser.add_argument("--backend", help="default: the fastest that works here")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--rounds", type=int, default=9, help="turns; default: %(default)s")
    given = parser.parse_args()
    config = ExecutionConfig(given.backend, given.threads)
    lines = [
        take_turns(
            [contender(way, Workload.of(given.recipe, batch), config) for way in _WAYS],
            given.rounds, span=0.3,
        )
        for batch in given.batches
    ]  # fmt: skip
    print(table(given.batches, lines))


if __name__ == "__main__":
    main()
