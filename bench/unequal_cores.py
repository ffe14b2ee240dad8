"""Training steps while another process wants a core: ``python bench/unequal_cores.py``.

A busy loop is pinned to one of the cores that the steps run on. It is stopped and let go in turns,
quiet, busy, quiet, busy, so that what else the machine does meets both. With two cores and a fair
scheduler, a core and a half are left: 1.33 times the quiet step is the least that can be had.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from contender import fastconv
from workload import Workload

from fastconv.cli.command_line import Parser, positive

WORKLOADS = (("cifar10-deep", 128), ("cifar10-deep", 1))
_BUSY = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"
_SETTLING = 0.05
"""Seconds of a turn that are not counted, while the scheduler and the pool notice the change."""


@contextmanager
def busy_loop(core: int) -> Iterator[Callable[[bool], None]]:
    """A process that is busy on a core, stopped at first; yields what stops it or lets it go."""
    loop = subprocess.Popen([sys.executable, "-c", _BUSY % core])

    def is_busy(wanted: bool) -> None:
        os.kill(loop.pid, signal.SIGCONT if wanted else signal.SIGSTOP)

    try:
        is_busy(False)
        yield is_busy
    finally:
        loop.kill()
        loop.wait()


def seconds_of_a_step(step: Callable[[int], None], at_once: int, span: float) -> float:
    """Mean over as many steps as last about ``span`` seconds."""
    settled = time.perf_counter() + _SETTLING
    while time.perf_counter() < settled:
        step(at_once)
    steps, start = 0, time.perf_counter()
    while (now := time.perf_counter()) < start + span:
        step(at_once)
        steps += at_once
    return (now - start) / steps


def main() -> None:
    """Measure and print a line for each workload and backend."""
    summary = (__doc__ or "").partition("\n")[0].partition(":")[0]
    parser = Parser("fastconv.unequal_cores", f"{summary}.")
    parser.prog = "bench/unequal_cores.py"
    parser.add_argument("--backend", action="append", choices=["cython", "numba"])
    parser.add_argument("--batch", action="append", type=positive)
    parser.add_argument("--rounds", type=positive, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(f"a busy loop on core {cores[-1]} of {cores}; milliseconds of a step, medians of turns")
    for recipe, batch in WORKLOADS:
        if options.batch and batch not in options.batch:
            continue
        for backend in options.backend or ["cython"]:
            steps = fastconv(Workload.of(recipe, batch), backend, len(cores))["fastconv"]
            # Calls of some milliseconds: a call waits for its threads once.
            at_once = max(1, 64 // batch)
            times: dict[bool, list[float]] = {False: [], True: []}
            steps(at_once)
            with busy_loop(cores[-1]) as is_busy:
                for _ in range(options.rounds):
                    for busy, seconds in times.items():
                        is_busy(busy)
                        seconds.append(seconds_of_a_step(steps, at_once, options.seconds))
            quiet, shared = (1000 * statistics.median(each) for each in times.values())
            ratios = sorted(b / a for a, b in zip(times[False], times[True], strict=True))
            print(
                f"{recipe} batch {batch:3}, {backend}: quiet {quiet:.3f}, with a busy loop "
                f"{shared:.3f}, ratio {shared / quiet:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
