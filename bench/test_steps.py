"""``pytest bench/ --benchmark-only``: whole training steps, backends side by side.

A round is one run of a few steps on random images, as many for every backend; the table shows the
time of that run, ``extra_info`` that of one step.
"""

from __future__ import annotations

import resource
import time

import pytest
from workload import Workload

from fastconv.backends.compiled.threads import default_threads
from fastconv.backends.selection import NAMES, backend_state
from fastconv.execution.config import ExecutionConfig
from fastconv.runs.experiment import prepare

WORKLOADS = [
    ("cifar10-deep", 1, 20),
    ("cifar10-deep", 32, 2),
    ("mnist-strided", 1, 500),
    ("mnist-strided", 128, 20),
    ("lenet5", 32, 10),
]
"""Recipe, batch size, steps of a round."""


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize(("recipe", "batch", "steps"), WORKLOADS)
def test_step(benchmark, recipe: str, batch: int, steps: int, backend: str) -> None:
    state = backend_state(backend)
    if not state.works:
        pytest.skip(f"{backend}: {state.reason}")
    workload = Workload.of(recipe, batch)
    dataset = workload.dataset()
    started = time.perf_counter()
    trainer = prepare(workload.recipe, dataset=dataset, config=ExecutionConfig(backend)).trainer
    trainer.train(1)
    cold = time.perf_counter() - started

    def run() -> None:
        trainer.train(min(steps, trainer.steps_left_in_epoch()))

    benchmark.group = f"{recipe} batch {batch}"
    benchmark(run)
    seconds = benchmark.stats.stats.median / steps
    network = trainer.network
    flops = 3 * batch * sum(
        layer.flops(shape) for layer, shape in zip(network.layers, network.shapes, strict=False)
    )  # fmt: skip
    benchmark.extra_info.update(
        step_ms=seconds * 1e3,
        gflops=flops / seconds * 1e-9,
        threads=default_threads(),
        runs_on=state.reason,
        cold_seconds=cold,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
