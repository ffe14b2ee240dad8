"""The same training on every backend that works here: how far apart they end, and how fast."""

import sys
import time

import numpy as np

from fastconv import BackendError, Sequential, Trainer
from fastconv.data import load
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

digits = load("digits")
layers = [Conv2D(8), ReLU(), MaxPool2D(2), Flatten(), Dense(10)]


def trained(backend, dtype="float32"):
    """The parameters after forty steps, and microseconds a step, of the fastest ten after them."""
    trainer = Trainer(
        Sequential(layers, (8, 8, 1), dtype=dtype),
        digits.training,
        loss="softmax_cross_entropy",
        optimizer="momentum",
        schedule=0.05,
        batch_size=32,
        preprocessing="scale",
        backend=backend,
    )
    trainer.train(40)
    trainer.update_network()  # from a CUDA device; on the CPU they are there already
    parameters = trainer.network.parameters.copy()
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        trainer.train(10)
        seconds.append(time.perf_counter() - start)
    return parameters, 1e6 * min(seconds) / 10


# All begin with the same weights and see the same batches: what is between them is rounding, so
# float64 says who is right.
right, _ = trained("numpy", "float64")
for backend in sys.argv[1:] or ("numpy", "cython", "numba", "cupy"):  # numba compiles first
    try:
        parameters, microseconds = trained(backend)
    except BackendError as fault:
        print(f"{backend}: {fault}")
        continue
    difference = np.abs(parameters - right).max()
    print(f"{backend}: {microseconds:.0f} us a step, parameters off by {difference:.0e} at most")
