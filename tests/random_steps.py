"""Whole training steps of very many drawn networks against the reference, for hours if wanted.

``python -m tests.random_steps --networks 20000 --seed 0 --processes 2``

Every network follows from the seed and its number: ``--first 1234 --networks 1`` makes one again,
and a run that was stopped goes on with ``--first``. Each is made by the numpy backend, by the C
kernels with every instruction set of this processor, and, as compiling takes its time, some of them
by the numba backend (on the instruction set that FASTCONV_ISA names). Wrong steps are written as
tests to paste. The exit code is 1 if there are any. Plans are checked too, unless FASTCONV_CHECK=0
says not to, which is faster.
"""

import argparse
import collections
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("FASTCONV_CHECK", "1")

from random_networks import Seeded, draw_case
from step_runners import check_steps, cython_engines, reference_of, runner_names
from threadpoolctl import threadpool_limits

from fastconv._files import replace_file

_MOST = 2.0
"""Tolerances of ``check_step`` that an error may come to: among very many networks there is one
whose few drawn errors are all small ones."""
_CHUNK = 25
"""Networks that a process checks at a time."""


@dataclass
class Tally:
    """What some networks came to; tallies of chunks are added up."""

    networks: int = 0
    layers: collections.Counter = field(default_factory=collections.Counter)
    runs: collections.Counter = field(default_factory=collections.Counter)
    compared: int = 0
    undecided: int = 0
    worst: tuple = (0.0, -1, "")
    kernels: dict = field(default_factory=lambda: collections.defaultdict(collections.Counter))
    failures: dict = field(default_factory=dict)

    def add(self, other):
        self.networks += other.networks
        self.layers += other.layers
        self.runs += other.runs
        self.compared += other.compared
        self.undecided += other.undecided
        self.worst = max(self.worst, other.worst)
        for runner, kernels in other.kernels.items():
            self.kernels[runner] += kernels
        self.failures.update(other.failures)


def _compare_with_torch(steps, reference):
    """The comparison with PyTorch's steps; None where it has no such network."""
    from torch_steps import NotComparable, steps_of_torch

    from fastconv.step_check.step_comparison import StepCheck, compare

    try:
        made = steps_of_torch(steps)
    except NotComparable:
        return None
    # What PyTorch does not tell is taken from the reference.
    each = [{**exact, **own} for exact, own in zip(reference.exact, made, strict=True)]
    rows = compare(reference, each)
    return StepCheck(rows, "torch", len(each), steps.batch_size, steps.batch_size)


def check_network(seed, number, runners, tally, dtypes=("float32", "float64")):
    """Check one network on some runners."""
    case = draw_case(Seeded(seed, number), dtypes)
    tally.networks += 1
    tally.layers.update(layer.kind for layer in case.layers)
    reference = reference_of(case)
    for name in runners:
        kernels = set()
        try:
            if name == "torch":
                check, other_bits = _compare_with_torch(case.steps(), reference), []
                if check is None:
                    continue
            else:
                check, other_bits = check_steps(case, name, reference, kernels)
        except Exception:
            text = "".join(f"# {line}\n" for line in traceback.format_exc().splitlines())
            tally.failures[number, name] = f"{text}{case.as_test(name, number)}"
            continue
        tally.runs[name] += 1
        tally.kernels[name].update(kernels)
        tally.compared += sum(row.compared for row in check.rows)
        tally.undecided += sum(row.undecided for row in check.rows)
        tally.worst = max(tally.worst, (check.error, number, name))
        differs = not check.error <= _MOST
        if differs or other_bits:
            why = check.summary if differs else f"threads change the bits of {other_bits}"
            tally.failures[number, name] = f"# {name}: {why}\n{case.as_test(name, number)}"


def _check_chunk(work):
    seed, numbers, runners, numba_every = work
    tally = Tally()
    with threadpool_limits(1):
        for number in numbers:
            here = [r for r in runners if r != "numba" or number % numba_every == 0]
            check_network(seed, number, here, tally)
    return tally


def kernels_not_reached(tally):
    """Names of native kernels that no step ran, by (runner, dtype)."""
    found = {}
    for name, engine in cython_engines().items():
        reached = tally.kernels.get(f"cython {name}", {})
        if not reached:
            continue
        for dtype in ("float32", "float64"):
            missing = [k for k, d in engine.kernels if d == dtype and (k, d) not in reached]
            found[f"cython {name}", dtype] = missing
    return found


def report(tally):
    """Lines that say what came out."""
    yield f"{tally.networks} networks; layers: " + ", ".join(
        f"{kind} {count}" for kind, count in sorted(tally.layers.items())
    )
    for name, count in sorted(tally.runs.items()):
        yield f"{name}: {count} networks, {len(tally.kernels[name])} native kernels reached"
    for (name, dtype), missing in kernels_not_reached(tally).items():
        yield f"{name} {dtype}: not reached: {', '.join(missing) or 'none'}"
    yield f"{tally.compared:,} numbers compared, {tally.undecided:,} undecided"
    error, number, name = tally.worst
    yield f"largest error {error:.3g} of its tolerance (network {number}, {name})"
    yield f"{len(tally.failures)} failures"


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m tests.random_steps", description=__doc__)
    add = parser.add_argument
    add("--networks", type=int, default=1000, help="how many networks (default: %(default)s)")
    add("--first", type=int, default=0, help="number of the first one")
    add("--seed", type=int, default=0)
    add("--processes", type=int, default=1)
    known = [*runner_names(), "torch"]
    add("--runners", default=",".join(runner_names()), help=f"of {', '.join(known)}")
    add("--numba-every", type=int, default=100, help="every how many networks numba makes one")
    add("--failures", default="random_steps_failures.py", help="file for tests that fail")
    options = parser.parse_args(arguments)
    runners = options.runners.split(",")
    if unknown := [name for name in runners if name not in known]:
        parser.error(f"--runners: {unknown[0]!r}; expected some of {', '.join(known)}")
    end = options.first + options.networks
    chunks = [
        (options.seed, range(first, min(end, first + _CHUNK)), runners, options.numba_every)
        for first in range(options.first, end, _CHUNK)
    ]
    total, began, said = Tally(), time.monotonic(), 0.0
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for tally in pool.imap(_check_chunk, chunks):
            total.add(tally)
            for text in tally.failures.values():
                print(text, flush=True)
            seconds = time.monotonic() - began
            if seconds - said >= 10 or total.networks == options.networks:
                said = seconds
                print(
                    f"[{seconds:.0f} s] {total.networks} of {options.networks} networks, "
                    f"all below number {options.first + total.networks}; largest error "
                    f"{total.worst[0]:.3g}, {len(total.failures)} failures",
                    flush=True,
                )
    print(*report(total), sep="\n")
    if total.failures:
        with replace_file(options.failures) as file:
            file.write("from random_networks import *\nfrom step_runners import *\n\n\n")
            file.write("\n\n".join(total.failures.values()))
        print(f"failures: {options.failures}")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
