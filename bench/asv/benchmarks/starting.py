"""What a fresh process pays, the start of Python apart."""

_REPEAT = (3, 5, 5.0)
"""Least and most processes, and seconds after which there are no more."""


def timeraw_import():
    """Import the package alone."""
    return "import fastconv"


def timeraw_import_network():
    """Import what a training needs."""
    return "from fastconv import Sequential, Trainer; from fastconv.layers import Conv2D, Dense"


def timeraw_first_convolution():
    """Import, choose a backend, and convolve once."""
    return """
import numpy as np
import fastconv
fastconv.conv2d(np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32))
"""


def timeraw_first_step():
    """Import, load the digits, build a network, and make one step."""
    return """
from fastconv import Sequential, Trainer
from fastconv.data import load
from fastconv.layers import Conv2D, Dense, Flatten, ReLU
network = Sequential([Conv2D(8), ReLU(), Flatten(), Dense(10)], (8, 8, 1))
Trainer(
    network, load("digits").training, loss="softmax_cross_entropy", optimizer="adam",
    schedule=0.01, batch_size=32, preprocessing="scale",
).train(1)
"""


for _benchmark in (
    timeraw_import,
    timeraw_import_network,
    timeraw_first_convolution,
    timeraw_first_step,
):
    _benchmark.repeat = _REPEAT
