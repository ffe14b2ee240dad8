"""A share of the cases of test_backends.py with the cython backend, in this process.

``python share_of_cases.py CASES [exact]`` compares the cases of a file with what the reference made
of them, and prints, each on a line, the package's folder, the instruction set, how many calls there
were and of how many kernels. For tests that need a process of their own: another instruction set, a
sanitizer, an emulated processor. The reference takes most of the time, and more under a sanitizer
or an emulator: a file has its results for all of them. With ``exact``, arrays are blocks of the C
library of exactly their size, whose ends the sanitizer of memory knows: of arrays between guard
bytes it does not.
"""

import ctypes
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_calls import DTYPES, KERNELS, specs_of
from made_once import made_once
from tolerances import assert_close
from watched import calls_and_expected, run

import fastconv
from fastconv.verify import watched_memory


class Exact:
    """An array in a block of its own, in place of a ``WatchedArray``."""

    def __init__(self, device, array, skip=0):
        data = np.ascontiguousarray(array)
        self._library = ctypes.CDLL(None)
        self._library.malloc.restype = ctypes.c_void_p
        self._address = self._library.malloc(ctypes.c_size_t(data.nbytes))
        block = (ctypes.c_uint8 * data.nbytes).from_address(self._address)
        self._bytes = np.frombuffer(block, np.uint8)  # type: ignore[call-overload]
        self._bytes[:] = data.reshape(-1).view(np.uint8)
        self._before = self._bytes.copy()
        self.array = self._bytes.view(data.dtype).reshape(data.shape)

    def bytes_now(self):
        return self._bytes.copy()

    def is_unchanged(self):
        return np.array_equal(self._bytes, self._before)

    def __del__(self):
        self._library.free(ctypes.c_void_p(self._address))


KERNELS_OF_C = [kernel for kernel in KERNELS if not kernel.startswith("elementwise.")]
"""Without what calls code that Numba compiled for another processor, or without a sanitizer."""


SHARES = (5, pytest.param(1, marks=pytest.mark.nightly))
"""Every how many cases are taken: all of them at night."""


def share_of_cases(tmp_path_factory, every):
    """A file of every ``every``-th case: each call with the results of the reference in float64.

    The first of each kernel is one of them, in one type of numbers or the other.
    """

    def write(path):
        cases = []
        for number, kernel in enumerate(KERNELS_OF_C):
            own = [(kernel, spec, dtype) for spec in specs_of(kernel) for dtype in DTYPES]
            cases += own[number % min(2, every) :: every]
        with np.errstate(all="ignore"):
            made = [pair for case in cases for pair in calls_and_expected(*case)]
        path.write_bytes(pickle.dumps(made, pickle.HIGHEST_PROTOCOL))

    return made_once(tmp_path_factory, f"every-{every}-of-the-cases.pickle", write)


def compare(file):
    """Compare the cases of a file; how many calls of how many kernels there were."""
    calls = pickle.loads(Path(file).read_bytes())
    for call, expected in calls:
        for name, actual in run("cython", call).items():
            label, scale = f"{call}: {name}", call.scale_of(name)
            assert_close(actual, expected[name], call.kernel, label, scale=scale)
    return len(calls), len({call.kernel for call, _ in calls})


def start(file, *more, under=(), package=None, **environment):
    """Run this file in a process of its own on a file of cases; the finished process.

    ``under`` is a command to put before Python, ``package`` the folder that holds fastconv.
    """
    path = [str(package or Path(fastconv.__file__).parent.parent), str(Path(__file__).parent)]
    kept = {k: v for k, v in os.environ.items() if k not in ("FASTCONV_ISA", "FASTCONV_BACKEND")}
    return subprocess.run(
        [*under, sys.executable, __file__, str(file), *more],
        env={**kept, "FASTCONV_THREADS": "2", "PYTHONPATH": os.pathsep.join(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


if __name__ == "__main__":
    from fastconv.backends.cython import engine

    with np.errstate(all="ignore"):
        if sys.argv[2:] == ["exact"]:
            watched_memory.WatchedArray = Exact
        numbers = compare(sys.argv[1])
    print(Path(fastconv.__file__).parent, engine.target().name, *numbers, sep="\n")
