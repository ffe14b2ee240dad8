"""What each door costs beyond the kernel: ``python bench/door_overhead.py``.

One tiny convolution, called through the public function with arrays of NumPy, of PyTorch where it
is installed, and of a library with DLPack alone; from a function that Numba compiles; and through
the C interface, from compiled code too. The kernel alone is the same instruction stream with its
addresses filled in, run many times over by one call of the engine. All on one thread. The doors
take turns; times are medians over the rounds, with the fastest and the slowest round.

``--table`` prints the table as Markdown and nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import markdown_table
import numpy as np
from numba import njit

import fastconv
import fastconv.interop.numba_overloads
from fastconv.backends.configuration import processor_name
from fastconv.backends.cython import _engine
from fastconv.backends.cython.engine import stream_of_kernel
from fastconv.interop import c_api, descriptions
from fastconv.spec import ConvSpec

IMAGES, FILTERS = (1, 1, 4, 4), (1, 1, 3, 3)
CALLS = 2000
"""Of a turn."""

Door = Callable[[int], None]
"""Makes so many calls."""


class Exporter:
    """An array with DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, filters, bias, and room for the result."""
    draw = np.random.default_rng(0)
    x, w = (draw.normal(size=shape).astype(np.float32) for shape in (IMAGES, FILTERS))
    return x, w, np.ones(1, np.float32), np.empty((1, 1, 2, 2), np.float32)


def kernel_alone() -> Door:
    """Make the door that there is not: the instructions run by themselves."""
    given = arrays()
    spec = ConvSpec(1, 1, *IMAGES[2:], 1, kernel=(3, 3))
    made = stream_of_kernel("nchw.conv2d_forward", spec, *["float32"] * 4)
    workspace = np.empty(made.workspace_bytes + 64, np.uint8)
    start = -(-workspace.ctypes.data // 64) * 64
    addresses = [*(array.ctypes.data for array in given), start]
    for instruction, word, argument, offset in made.relocations:
        made.stream[instruction, word] = addresses[argument] + offset

    def door(calls: int, keep: object = (given, workspace)) -> None:
        _engine.run_stream(made.stream, calls, 1)

    return door


def public(kind: Callable[[np.ndarray], Any], into: bool) -> Door:
    """Make a loop of calls of the public function from Python."""
    x, w, b, y = (kind(array) for array in arrays())
    options = {"out": y} if into else {}

    def door(calls: int) -> None:
        conv2d = fastconv.conv2d
        for _ in range(calls):
            conv2d(x, w, b, **options)

    return door


@njit(nogil=True)
def _call_with_out(calls, x, w, b, y):
    for _ in range(calls):
        fastconv.conv2d(x, w, b, out=y)


@njit(nogil=True)
def _call(calls, x, w, b):
    for _ in range(calls):
        fastconv.conv2d(x, w, b)


def compiled(into: bool) -> Door:
    """Make a loop of calls of the public function in a compiled function."""
    x, w, b, y = arrays()
    return lambda calls: _call_with_out(calls, x, w, b, y) if into else _call(calls, x, w, b)


@njit(nogil=True)
def _call_table(calls, run, plan, addresses, workspace, size):
    for _ in range(calls):
        run(plan, addresses, workspace, size, 1)


def through_the_table() -> Door:
    """Make a loop of calls of the C interface in a compiled function."""
    given = arrays()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = pointer(c_api._C_API, c_api.CAPSULE_NAME.encode())
    # Behind version and size, two of 4 bytes: plan, workspace_bytes, shape, run.
    functions = np.ctypeslib.as_array((ctypes.c_int64 * 4).from_address(table + 8)).tolist()
    of_plan, of_size, _, of_run = functions
    function = descriptions.FUNCTIONS["conv2d"]
    words = {
        "x": IMAGES, "w": FILTERS, "stride": (1, 1), "dilation": (1, 1), "groups": 1, "bias": 1,
    }  # fmt: skip
    filled = []
    for name, count in function.fields.items():
        value = words.get(name, 0)
        filled += list(value) if isinstance(value, tuple) else [value] * count
    description = np.array(filled, np.int64)
    word, status = ctypes.c_int64, ctypes.c_int
    plan = ctypes.c_void_p()
    ctypes.CFUNCTYPE(status, word, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)(of_plan)(
        function.number, description.ctypes.data, description.nbytes, ctypes.addressof(plan)
    )
    assert plan.value is not None
    size = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(of_size)(plan)
    workspace = np.empty(size, np.uint8)
    addresses = np.array([array.ctypes.data for array in given], np.int64)
    run = ctypes.CFUNCTYPE(status, word, word, word, word, status)(of_run)
    numbers = plan.value, addresses.ctypes.data, workspace.ctypes.data, size
    keep = given, addresses, workspace

    def door(calls: int, keep: object = keep) -> None:
        _call_table(calls, run, *numbers)

    return door


def doors() -> dict[str, Door]:
    """All doors that can be opened here, by what the table calls them."""
    found = {
        "the kernel alone": kernel_alone(),
        "C, `run` of a plan": through_the_table(),
        "`@njit`, with `out`": compiled(into=True),
        "`@njit`": compiled(into=False),
        "NumPy, with `out`": public(lambda array: array, into=True),
        "NumPy": public(lambda array: array, into=False),
        "DLPack alone": public(Exporter, into=False),
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        found["PyTorch's tensors"] = public(torch.from_numpy, into=False)
    return found


def seconds_of(door: Door, calls: int) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    door(calls)
    return (time.perf_counter() - began) / calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of a turn")
    parser.add_argument("--table", action="store_true", help="print the Markdown table alone")
    own = parser.parse_args()
    fastconv.set_threads(1)
    with fastconv.use_backend("cython"):
        opened = doors()
        for door in opened.values():
            door(100)  # what is compiled and made once
        rounds = [
            {name: seconds_of(door, own.calls) for name, door in opened.items()}
            for _ in range(own.rounds)
        ]
    kernel = statistics.median(each["the kernel alone"] for each in rounds)
    if not own.table:
        print(f"{processor_name()}, one thread, {own.rounds} rounds of {own.calls} calls")
    print(markdown_table.head(["door", "us of a call", "us beyond the kernel", "of the rounds"]))
    for name in opened:
        times = [1e6 * each[name] for each in rounds]
        median = statistics.median(times)
        beyond = "" if name == "the kernel alone" else f"{median - 1e6 * kernel:.3f}"
        spread = f"{min(times):.3f} to {max(times):.3f}"
        print(markdown_table.row([name, f"{median:.3f}", beyond, spread]))


if __name__ == "__main__":
    sys.exit(main())
