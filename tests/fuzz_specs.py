"""Kernels with drawn specs against the oracle: ``python -m tests.fuzz_specs --cases 100000``.

Each case is a kernel, a spec, a dtype and data, integers or not, and follows from the seed and its
number: ``--seed 0 --first 1234 --cases 1`` makes one again. Every case runs on the numpy backend
and the C kernels of every instruction set of this processor, and, as compiling takes its time,
some on the numba backend: in watched memory (``watched.py``), so that a write beside an array or a
change of what is only read is found too. The oracle is ``fastconv/backends/reference``; integers
must be exact where sums and copies are, all else within ``tolerances.py``.
"""

import argparse
import collections
import contextlib
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from kernel_calls import KERNELS, calls_of
from random_networks import Seeded
from random_specs import draw_case
from tolerances import assert_close
from watched import run

from fastconv.backends.selection import backend_state
from fastconv.functional.kept_calls import forget_calls
from fastconv.verify.tolerances import may_be_of_large_tiles

_EXACT = ("conv.", "nchw.", "dense.", "pool.max_", "input.gather_", "layout.", "merge.")
"""Kernels whose results of small integers are exact, but for arrays that may be of large tiles."""
_ONE_BY_ONE = [kernel for kernel in KERNELS if not kernel.startswith(("elementwise.", "random."))]
_CHUNK = 50
_MOST = 2.0
"""Tolerances that an error may come to: they are for cases that are drawn once."""


@contextlib.contextmanager
def _instruction_set(name):
    """Let the cython backend use one instruction set."""
    from fastconv.backends.cython import engine

    before = os.environ.get("FASTCONV_ISA")
    kept = (engine.target, engine._addresses, engine._stream)
    os.environ["FASTCONV_ISA"] = name
    for each in kept:
        each.cache_clear()
    forget_calls()
    try:
        yield
    finally:
        if before is None:
            del os.environ["FASTCONV_ISA"]
        else:
            os.environ["FASTCONV_ISA"] = before
        for each in kept:
            each.cache_clear()
        forget_calls()


def runner_names():
    """Every CPU backend, with each instruction set of the C kernels."""
    names = ["numpy"]
    if backend_state("cython").works:
        from fastconv.backends.cython import _engine

        names += [f"cython {each['name']}" for each in _engine.instruction_sets()]
    return names + (["numba"] if backend_state("numba").works else [])


def _largest_term(call):
    """Size of the terms that results of few elements are the rest of; 0 where none cancel."""
    size = {
        name: float(np.abs(array[np.isfinite(array)]).max(initial=0))
        for name, array in call.reads.items()
        if array is not None and array.dtype.kind == "f"
    }
    if call.kernel.startswith(("norm.batch_norm_b", "group_norm.group_norm_b")):
        # dy, its mean, and the normalised input times the mean of its product with dy.
        x, mean, inverse = (call.reads[name] for name in ("x", "mean", "inverse_std"))
        if mean.ndim == 2:  # of groups
            groups = mean.shape[1]
            x = x.reshape(*x.shape[:2], groups, x.shape[2] // groups)
            mean, inverse = mean[:, None, :, None], inverse[:, None, :, None]
        z = float(np.abs((x - mean) * inverse).max(initial=0))
        return size["dy"] * (2 + z) * size.get("gamma", 1) * max(1.0, size["inverse_std"])
    if call.kernel.startswith(("norm.batch_norm_f", "group_norm.group_norm_f")):
        return size["x"]
    if call.kernel.startswith(("activation.softmax_b", "activation.log_softmax_b")):
        return size["dy"]
    if call.kernel.startswith("gradient.newton"):
        spec = call.spec
        return abs(spec.a) + abs(spec.b) * size["gram"] + abs(spec.c) * size["square"]
    return 0.0


def check_case(seed, number, runners):
    """Compare one case on some runners; the kernel, how many calls, and what went wrong."""
    choose = Seeded(seed, number)
    kernel, spec = draw_case(choose, _ONE_BY_ONE)
    dtype = choose.one_of((np.float32, np.float32, np.float64))
    exact = kernel.startswith(_EXACT) and choose.one_of((True, False))
    calls = calls_of(kernel, spec, dtype, integers=exact, seed=number)
    expected = [run("reference", call.in_float64()) for call in calls]
    compared, wrong = 0, {}
    for name in runners:
        backend, _, isa = name.partition(" ")
        try:
            with _instruction_set(isa) if isa else contextlib.nullcontext():
                found = [run(backend, call) for call in calls]
            for call, results, truth in zip(calls, found, expected, strict=True):
                for key, actual in results.items():
                    label = f"{call}: {key}"
                    if exact and not may_be_of_large_tiles(kernel, key, spec):
                        np.testing.assert_array_equal(actual, truth[key], err_msg=label)
                    else:
                        scale = max(call.scale_of(key), _largest_term(call))
                        assert_close(actual, truth[key], kernel, label, scale=scale, most=_MOST)
                compared += 1
        except Exception:
            text = traceback.format_exc(limit=-3)
            wrong[number, name] = f"case {number}, {name}, {kernel} {spec} {dtype.__name__}\n{text}"
    return kernel, compared, wrong


def check_chunk(work):
    """Compare some cases: how many of each kernel, calls, failures, seconds of the slowest."""
    seed, numbers, runners, numba_every = work
    kernels, calls, wrong = collections.Counter(), 0, {}
    with np.errstate(all="ignore"):
        for number in numbers:
            here = [r for r in runners if r != "numba" or number % numba_every == 0]
            kernel, compared, failed = check_case(seed, number, here)
            kernels[kernel] += 1
            calls += compared
            wrong.update(failed)
    return kernels, calls, wrong


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m tests.fuzz_specs", description=__doc__)
    add = parser.add_argument
    add("--cases", type=int, default=1000)
    add("--first", type=int, default=0, help="number of the first case")
    add("--seed", type=int, default=0)
    add("--processes", type=int, default=1)
    add("--minutes", type=float, default=1e6, help="to stop after, at the latest")
    add("--runners", default=",".join(runner_names()), help="some of %(default)s")
    add("--numba-every", type=int, default=20, help="every how many cases numba makes one")
    options = parser.parse_args(arguments)
    runners, end = options.runners.split(","), options.first + options.cases
    if unknown := [name for name in runners if name not in runner_names()]:
        parser.error(f"--runners: {unknown[0]!r}; expected some of {', '.join(runner_names())}")
    chunks = [
        (options.seed, range(first, min(end, first + _CHUNK)), runners, options.numba_every)
        for first in range(options.first, end, _CHUNK)
    ]
    kernels, calls, failures, began = collections.Counter(), 0, 0, time.monotonic()
    said = 0.0
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for made, compared, wrong in pool.imap(check_chunk, chunks):
            kernels += made
            calls += compared
            failures += len(wrong)
            for text in wrong.values():
                print(text, flush=True)
            seconds = time.monotonic() - began
            if seconds - said >= 30:
                said = seconds
                print(f"[{seconds:.0f} s] all cases below {options.first + kernels.total()}, "
                      f"{failures} failures", flush=True)  # fmt: skip
            if seconds > 60 * options.minutes:
                break
    print(
        f"{kernels.total()} cases of {len(kernels)} kernels on {', '.join(runners)}: {calls} calls "
        f"compared, {failures} failures; all below number {options.first + kernels.total()}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
