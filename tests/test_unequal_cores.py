"""A core that another process wants, and threads that are late: the same bits, and an end."""

import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastconv
from fastconv.backends.compiled.instructions.layout import BARRIER, KERNEL, MAX_THREADS, WORDS
from fastconv.backends.selection import backend_state
from fastconv.data import Samples
from fastconv.layers import Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D

if not backend_state("cython").works:
    pytest.skip(backend_state("cython").reason, allow_module_level=True)

from fastconv.backends.cython import engine

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="a process cannot be kept on a core here"
)
KERNEL_FUNCTION = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


def trained(threads, batch, steps):
    """The bits of a network after some steps."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (256, 16, 16, 3), np.uint8)
    network = fastconv.Sequential(
        [
            Conv2D(32, 3, padding=1), LeakyReLU(0.1), Conv2D(32, 3), LeakyReLU(0.1), MaxPool2D(2),
            Flatten(), Dense(64), LeakyReLU(0.1), Dense(10),
        ],
        (16, 16, 3), seed=1,
    )  # fmt: skip
    trainer = fastconv.Trainer(
        network, Samples(images, generator.integers(0, 10, 256)), loss="softmax_cross_entropy",
        optimizer="sgd", schedule=0.01, batch_size=batch, preprocessing="scale", seed=2,
        backend="cython", threads=threads,
    )  # fmt: skip
    while steps:
        now = min(steps, trainer.steps_left_in_epoch())
        trainer.train(now)
        steps -= now
    trainer.update_network()
    return network.parameters.tobytes()


@needs_affinity
@pytest.mark.parametrize(("batch", "steps"), [(1, 1500), (64, 40)])
def test_a_busy_core_changes_no_bit(batch, steps):
    core = max(os.sched_getaffinity(0))
    program = f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint()\nwhile True: pass"
    alone = trained(1, batch, steps)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as busy_loop:
        try:
            busy_loop.stdout.readline()
            for threads in (2, 3, 7):
                assert trained(threads, batch, steps) == alone
        finally:
            busy_loop.kill()


def stream_of(*instructions):
    """A stream of (function, most threads, barrier)."""
    stream = np.zeros((len(instructions), WORDS), np.int64)
    for words, (function, most, barrier) in zip(stream, instructions, strict=True):
        words[KERNEL] = ctypes.cast(function, ctypes.c_void_p).value
        words[MAX_THREADS], words[BARRIER] = most, barrier
    return stream


class Shares:
    """A kernel that notes who did which share of it, as a half-open range between 0 and 1."""

    def __init__(self, slow=None):
        self.done, self.slow = [], slow
        self.function = KERNEL_FUNCTION(self)

    def __call__(self, instruction, step, share, shares):
        if self.slow and share * self.slow[1] // shares == self.slow[0]:
            time.sleep(0.005)
        self.done.append((step, share / shares, (share + 1) / shares, threading.get_ident()))

    def covers(self, step):
        """Whether the shares of a step follow each other from 0 to 1, none twice."""
        ranges = sorted(each[1:3] for each in self.done if each[0] == step)
        ends = [0.0, *(end for _, end in ranges)]
        return ends[-1] == 1 and all(
            start == pytest.approx(end) for (start, _), end in zip(ranges, ends, strict=False)
        )


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("most", [1, 2, 3, 10, 1000])
def test_every_share_of_an_instruction_is_done_once(threads, most):
    kernels = [Shares(), Shares(slow=(0, 2)), Shares(slow=(1, 2))]
    stream = stream_of(*((each.function, most, 1) for each in kernels))
    engine.run_stream(stream, 3, threads)
    assert all(each.covers(step) for each in kernels for step in range(3))


@pytest.mark.parametrize("threads", [2, 3])
def test_what_one_thread_does_between_barriers_is_done_in_order_by_one(threads):
    order = []
    chained = [
        KERNEL_FUNCTION(lambda *_, number=number: order.append((number, threading.get_ident())))
        for number in range(4)
    ]
    beside = Shares()
    stream = stream_of(
        (chained[0], 1, 0), (beside.function, 8, 0), *((each, 1, 0) for each in chained[1:3]),
        (chained[3], 1, 1),
    )  # fmt: skip
    engine.run_stream(stream, 5, threads)
    assert [number for number, _ in order] == [0, 1, 2, 3] * 5
    for step in range(5):
        assert len({who for _, who in order[4 * step : 4 * step + 4]}) == 1
        assert beside.covers(step)


def test_a_thread_that_waits_does_the_shares_of_one_that_is_late():
    """The first thread does not come to its shares before they are done: others must do them."""
    beside, late = Shares(), []

    def wait(_, step, share, shares):
        end = time.monotonic() + 30
        while not beside.covers(step) and time.monotonic() < end:
            time.sleep(0.001)
        late.append(beside.covers(step))

    waiting = KERNEL_FUNCTION(wait)
    engine.run_stream(stream_of((waiting, 1, 0), (beside.function, 1000, 1)), 3, 2)
    assert late == [True] * 3
