"""A training step of a tiny perceptron on all of its samples at once, as SimpleChains.jl has it.

    python bench/small_mlp.py

4 inputs, 32 and 16 units of tanh, 4 outputs, 10000 samples in a batch: gathered, forward, mean
squared error, backward, Adam. A figure is that of a step, of five turns of 200.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from fastconv.backends.configuration import processor_name
from fastconv.data import Samples
from fastconv.layers import Dense, Tanh
from fastconv.network import Sequential
from fastconv.trainer import Trainer

_STEPS, _TURNS = 200, 5


def trainer_of(samples: int, backend: str | None, threads: int | None) -> Trainer:
    """Make the trainer: x is 2 x 2 matrices, and their squares are to be found."""
    x = np.random.default_rng(0).normal(size=(samples, 2, 2)).astype(np.float32)
    given, wanted = x.reshape(samples, 1, 1, 4), (x @ x).reshape(samples, 4)
    layers = [Dense(32), Tanh(), Dense(16), Tanh(), Dense(4)]
    return Trainer(
        Sequential(layers, (4,)), Samples(given, wanted), loss="mean_squared_error",
        optimizer="adam", schedule=1e-3, batch_size=samples, backend=backend, threads=threads,
    )  # fmt: skip


def microseconds(trainer: Trainer, samples: int) -> list[float]:
    """Return what a step takes in each turn."""
    # All samples in one order: to draw another one costs as much as the step.
    order = np.broadcast_to(np.arange(samples), (_STEPS, samples)).copy()
    rates, found = trainer.rates_and_momenta(np.arange(_STEPS)), []
    for turn in range(_TURNS + 1):  # the first warms up
        started = time.perf_counter()
        trainer.runner.run(order, rates, turn * _STEPS)
        if turn:
            found.append(1e6 * (time.perf_counter() - started) / _STEPS)
    return found


def main() -> None:
    """Measure, and print a line for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10000, help="default: %(default)s")
    parser.add_argument("--backend", help="default: the fastest that works here")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    given = parser.parse_args()
    print(processor_name())
    for threads in given.threads or (1, 2):
        trainer = trainer_of(given.samples, given.backend, threads)
        taken = microseconds(trainer, given.samples)
        print(
            f"{trainer.config.backend}, {threads} threads: {min(taken):.0f} us a step, median "
            f"{statistics.median(taken):.0f} ({', '.join(f'{each:.0f}' for each in taken)})"
        )


if __name__ == "__main__":
    main()
