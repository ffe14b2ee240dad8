"""Steps of data-parallel training, predicted: ``python bench/scaling.py --recipe cifar10-deep``.

A step is the shards that a worker has, one after the other; the exchange of gradients; and the
update, which every worker makes. What a shard and an update take is measured here, the network is
its two numbers: seconds of a message (alpha) and seconds of a byte (beta). Three exchanges are
compared: a binary tree down and up again, a ring, and what fastconv does: each worker gets its
segment of all sums, and gives the sum of it to all.

``--measure 2,4`` trains with so many workers on this host beside its prediction.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import markdown_table
import numpy as np

from fastconv.backends.configuration import available_cores, processor_name
from fastconv.data_parallel.group import Group
from fastconv.execution.config import ExecutionConfig
from fastconv.plans.plan_builder import build_update_plan
from fastconv.recipe import Recipe, load_recipe
from fastconv.runs.experiment import prepare
from fastconv.runs.workers import begin, started_workers
from fastconv.trainer import Trainer

WORKERS = tuple(2**power for power in range(1, 11))
_PAYS = 0.9
"""Twice the workers pay while a step takes less than this part of the time before."""
_ROUNDS = 5
_ROUND_SECONDS = 0.05
_STEPS_AT_ONCE = 4
_MOST_SAMPLES = 64
"""Of the larger of the two shards that are measured."""


@dataclass(frozen=True)
class Network:
    """Seconds of a message without content, and of a byte."""

    name: str
    alpha: float
    beta: float


NETWORKS = {
    "ethernet": Network("10 Gbit/s Ethernet", 30e-6, 1 / 1.1e9),
    "infiniband": Network("100 Gbit/s InfiniBand", 2e-6, 1 / 11e9),
}


@dataclass(frozen=True)
class Step:
    """What a step on one worker takes: seconds of a shard by its samples, of the update, bytes."""

    fixed: float
    each_sample: float
    update: float
    bytes: int

    def shard(self, samples: float) -> float:
        """Seconds of a shard."""
        return self.fixed + self.each_sample * samples


def tree(network: Network, workers: int, size: int) -> float:
    """All of it up a binary tree, adding, and down again."""
    return 2 * math.ceil(math.log2(workers)) * (network.alpha + size * network.beta)


def ring(network: Network, workers: int, size: int) -> float:
    """Segments around a ring: once adding, once as they are."""
    part = size / workers
    return 2 * (workers - 1) * (network.alpha + part * network.beta)


def direct(network: Network, workers: int, size: int, nodes: int = 1) -> float:
    """Segments of ``nodes`` sums to their worker from all others, and of the total to all."""
    part = size / workers
    return (workers - 1) * (2 * network.alpha + (nodes + 1) * part * network.beta)


_MESSAGES_ON_A_HOST = 5
"""To each other worker in a step: what to do, and two meetings of a message there and one back."""


def on_one_host(host: Network, workers: int, size: int, shards: int) -> float:
    """Messages through pipes, one worker after the other, and rows that are copied in memory."""
    copies = math.ceil(shards / workers) + 2
    return (workers - 1) * _MESSAGES_ON_A_HOST * host.alpha + copies * size * host.beta


EXCHANGES: dict[str, Callable[[Network, int, int], float]] = {
    "tree": tree, "ring": ring, "direct": direct,
}  # fmt: skip


def compute(step: Step, batch: int, shards: int, workers: int, cores: int) -> float:
    """Seconds of the shards of the worker that has the most, on its part of the cores, and update.

    Workers beyond the cores take turns; with ``cores`` of 0 each has one of its own.
    """
    crowd = max(1.0, workers / cores) if cores else 1.0
    own = math.ceil(shards / workers)
    return crowd * (own * step.shard(batch / shards) + step.update)


def seconds(
    step: Step, network: Network, exchange: str, batch: int, shards: int, workers: int,
    cores: int = 0,
) -> float:  # fmt: skip
    """Seconds of a step."""
    made = compute(step, batch, shards, workers, cores)
    return made if workers == 1 else made + EXCHANGES[exchange](network, workers, step.bytes)


def last_that_pays(times: dict[int, float]) -> int:
    """The number of workers from which twice as many are hardly faster."""
    counts = sorted(times)
    for few, many in itertools.pairwise(counts):
        if times[many] > _PAYS * times[few]:
            return few
    return counts[-1]


# What is measured.


def _median(work: Callable[[], object]) -> float:
    """Seconds of some work: the median over rounds of about a tenth of a second."""
    began = time.perf_counter()
    work()
    repeats = max(1, min(1000, int(_ROUND_SECONDS / (time.perf_counter() - began))))
    took = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        took.append((time.perf_counter() - began) / repeats)
    return statistics.median(took)


def _trainer(recipe: Recipe, options: argparse.Namespace, group: Group | None = None) -> Trainer:
    config = ExecutionConfig(options.backend, 1)
    return prepare(recipe, data_dir=options.data_dir, config=config, group=group).trainer


def measured_step(recipe: Recipe, options: argparse.Namespace) -> Step:
    """Measure shards of two sizes, which give a line, and the update."""
    sizes = (1, max(2, min(_MOST_SAMPLES, recipe.batch_size // 2)))
    trainers = {
        samples: _trainer(dataclasses.replace(recipe, batch_size=samples, shards=1), options)
        for samples in sizes
    }
    # In turns, so that what else the machine does meets both.
    turns = [
        {samples: _median(lambda t=trainer: t.train(1)) for samples, trainer in trainers.items()}
        for _ in range(3)
    ]
    times = {samples: min(turn[samples] for turn in turns) for samples in sizes}
    trainer = trainers[1]
    update = trainer.config.make_runner(
        build_update_plan(trainer.network, recipe.optimizer.update(trainer.network)),
        {
            "parameters": trainer.network.parameters.copy(),
            "state": trainer.network.state.copy(),
            **{
                name: np.zeros_like(trainer.network.parameters)
                for name in ("gradients", "first_moment", "second_moment", "gradient_mean")
            },
        },
    )
    order, rates = np.zeros((1, 1), np.int64), np.array([1e-6])
    of_update = _median(lambda: update.run(order, rates, 0))
    (few, short), (many, long) = sorted(times.items())
    each = max(0.0, (long - short) / (many - few))
    size = trainer.network.parameters.nbytes + trainer.network.state.nbytes
    return Step(max(0.0, short - each * few - of_update), each, of_update, size)


def _echo(connection: Connection[bytes, bytes]) -> None:
    """Answer messages until there are no more."""
    with contextlib.suppress(EOFError):
        while True:
            connection.send_bytes(connection.recv_bytes())


def measured_host(step: Step) -> Network:
    """This host as a network: a message goes through a pipe, and a byte is copied in memory."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_echo, args=(theirs,), daemon=True)
    other.start()
    theirs.close()

    def there_and_back() -> None:
        ours.send_bytes(b"")
        ours.recv_bytes()

    there_and_back()
    alpha = _median(there_and_back) / 2
    ours.close()
    other.join()
    memory = np.zeros(max(step.bytes, 1 << 20), np.uint8)
    into = np.empty_like(memory)
    beta = _median(lambda: np.copyto(into, memory)) / memory.size
    return Network("this host", alpha, beta)


def _train(trainer: Trainer, steps: int) -> None:
    """Make so many steps in one go, of an epoch that has as many left."""
    if trainer.steps_left_in_epoch() < steps:
        trainer.train(trainer.steps_left_in_epoch())
    trainer.train(steps)


def measured(recipe: Recipe, options: argparse.Namespace, workers: int) -> float:
    """Seconds of a step with so many workers here, each with one thread."""
    with started_workers(workers) as group:
        begin(group, recipe, options.data_dir, ExecutionConfig(options.backend, 1))
        trainer = _trainer(recipe, options, group)
        trainer.train(1)
        steps = min(_STEPS_AT_ONCE, trainer.steps_per_epoch)
        return _median(lambda: _train(trainer, steps)) / steps


# What is printed.


def table(step: Step, network: Network, batch: int, shards: int | None) -> list[str]:
    """Lines of the table of a network, and from where on more workers do not pay."""
    head = ["workers", "shards", "samples of a shard", "compute, ms"]
    head += [f"{name}, ms" for name in EXCHANGES] + [f"efficiency, {name}" for name in EXCHANGES]
    lines = [markdown_table.head(head)]
    alone = seconds(step, network, "direct", batch, shards or 1, 1)
    times: dict[str, dict[int, float]] = {name: {1: alone} for name in EXCHANGES}
    for workers in WORKERS:
        parts = shards or workers
        if workers > min(parts, batch):
            break
        for name in EXCHANGES:
            times[name][workers] = seconds(step, network, name, batch, parts, workers)
        cells = [str(workers), str(parts), f"{batch / parts:g}"]
        cells.append(f"{1e3 * compute(step, batch, parts, workers, 0):.3f}")
        cells += [f"{1e3 * exchange(network, workers, step.bytes):.3f}" for exchange in
                  EXCHANGES.values()]  # fmt: skip
        cells += [f"{100 * alone / workers / times[n][workers]:.0f} %" for n in EXCHANGES]
        lines.append(markdown_table.row(cells))
    for name in EXCHANGES:
        last = last_that_pays(times[name])
        lines.append(f"\n{network.name}, {name}: pays up to {last} worker{'s' * (last != 1)}.")
    return lines


def main() -> None:
    """Measure, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--recipe", default="digits")
    add("--batch-size", type=int)
    add("--shards", type=int, help="of a batch (default: one for each worker)")
    add("--backend", default=None)
    add("--data-dir", default=None)
    add("--network", choices=NETWORKS, action="append", help="(default: all)")
    add("--alpha", type=float, help="seconds of a message, of a network of your own")
    add("--beta", type=float, help="seconds of a byte")
    add("--measure", default="", help="numbers of workers to measure on this host, such as 2,4")
    options = parser.parse_args()
    settings = [] if options.batch_size is None else [("batch_size", options.batch_size)]
    recipe = load_recipe(options.recipe, settings)
    step = measured_step(recipe, options)
    cores = available_cores()
    print(
        f"{recipe.name}, batch size {recipe.batch_size}, one thread a worker, {processor_name()}: "
        f"a shard of b samples {1e6 * step.fixed:.0f} + {1e6 * step.each_sample:.1f} b us, update "
        f"{1e6 * step.update:.0f} us, {step.bytes / 1e6:.2f} MB of gradients and statistics"
    )
    networks = [NETWORKS[name] for name in options.network or NETWORKS]
    if options.alpha is not None and options.beta is not None:
        networks = [Network("the given network", options.alpha, options.beta)]
    for network in networks:
        print(f"\n{network.name}: alpha {1e6 * network.alpha:g} us, "
              f"{1e-9 / network.beta:.1f} GB/s\n")  # fmt: skip
        print(*table(step, network, recipe.batch_size, options.shards), sep="\n")
    counts = [int(text) for text in options.measure.split(",") if text]
    if counts:
        shards = options.shards or 8
        sharded = dataclasses.replace(recipe, shards=shards)
        host = measured_host(step)
        print(
            f"\nthis host, {cores} cores, {shards} shards: alpha {1e6 * host.alpha:.0f} us, "
            f"{1e-9 / host.beta:.1f} GB/s\n"
        )
        print(markdown_table.head(["workers", "predicted, ms", "measured, ms"]))
        for workers in (1, *counts):
            told = compute(step, recipe.batch_size, shards, workers, cores)
            told += on_one_host(host, workers, step.bytes, shards)
            took = measured(sharded, options, workers)
            print(markdown_table.row([str(workers), f"{1e3 * told:.3f}", f"{1e3 * took:.3f}"]))


if __name__ == "__main__":
    main()
