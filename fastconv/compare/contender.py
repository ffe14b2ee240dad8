"""A contender's process: it looks for its fastest way to make steps, and makes them when asked.

Each line that it reads is JSON: the fields of a :class:`fastconv.compare.setting.Setting`, which it
prepares, or ``{"steps": N}``. Each is answered by a line: how the steps are made and the seconds of
one, or the seconds that so many steps took.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time

from fastconv.compare.setting import READY_BATCHES, Setting, Steps

_TRIED = 3
"""Times that each variant is measured before one is chosen."""
_HOPELESS = 3
"""A variant whose first step takes a whole span, and so many times the best, is not tried on."""


def whole_steps(seconds: float, span: float) -> int:
    """Return how many steps of so many seconds last about ``span``.

    Returns
    -------
    int
        A power of two up to 16, or whole sixteens.

    Examples
    --------
    >>> [whole_steps(seconds, span=0.1) for seconds in (1.0, 0.02, 0.001)]
    [1, 4, 96]
    """
    wanted = max(1, round(span / max(seconds, 1e-9)))
    if wanted >= READY_BATCHES:
        return int(wanted // READY_BATCHES * READY_BATCHES)
    return int(2 ** (wanted.bit_length() - 1))


def timed(run: Steps, steps: int) -> float:
    """Return the seconds that so many steps took."""
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


def fastest(variants: dict[str, Steps], span: float) -> tuple[str, float]:
    """Return the name of the variant whose steps are fastest, and the seconds of one.

    Parameters
    ----------
    variants
        By their names.
    span
        Seconds that a measurement of one lasts.
    """
    found: dict[str, float] = {}
    for name, run in variants.items():
        run(1)  # compiles, allocates
        first = timed(run, 1)
        if first > max(span, _HOPELESS * min(found.values(), default=math.inf)):
            continue
        steps = whole_steps(first, span)
        run(steps)
        steps = whole_steps(timed(run, steps) / steps, span)
        run(steps)
        found[name] = min(timed(run, steps) for _ in range(_TRIED)) / steps
    best = min(found, key=lambda name: found[name])
    return best, found[best]


def main() -> None:
    """Answer each line of the standard input: ``WHO THREADS SPAN`` are the arguments."""
    who, threads, span = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if who == "jax":
        _limit_xla(threads)
    module = importlib.import_module(f"fastconv.compare.{who}_steps")
    run: Steps | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "steps" in asked:
            assert run is not None  # a setting comes first
            answer: object = timed(run, asked["steps"])
        else:
            variants = module.variants(Setting(**asked), threads)
            name, seconds = fastest(variants, span)
            run, answer = variants[name], [name, seconds]
        print(json.dumps(answer), flush=True)


def _limit_xla(threads: int) -> None:
    """Have XLA, which counts the cores of the process once, use so many."""
    flag = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


if __name__ == "__main__":
    main()
