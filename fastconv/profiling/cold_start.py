"""Time to the first step, from the start of a fresh Python process.

The child process runs :func:`report` and prints the moments at which each phase ended. Nothing
heavy may be imported at the top of this module: importing is among what is measured.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.execution.config import ExecutionConfig

PHASES = (
    "start of Python",
    "import of numpy",
    "import of fastconv and the backend",
    "network and plan",
    "kernels and memory",
    "first step",
)
_CACHES = {"numba": "NUMBA_CACHE_DIR", "cupy": "CUPY_CACHE_DIR"}
"""Environment variables that name the folder of compiled code."""
_CHILD = (
    "import time; moment = time.monotonic(); import sys; "
    "from fastconv.profiling.cold_start import report; report(moment, *sys.argv[1:])"
)


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Milliseconds of each phase, of one kind of start.

    Parameters
    ----------
    kind
        Such as "with compiled code in the cache".
    median, least
        For each of :data:`PHASES`, over the processes.
    total_median, total_least
        From the start of the process to the end of its first step.
    processes
        How many were started.
    """

    kind: str
    median: tuple[float, ...]
    least: tuple[float, ...]
    total_median: float
    total_least: float
    processes: int


class ColdStartError(RuntimeError):
    """The child process failed: its last line, in one line."""


def report(
    moment: float,
    recipe: str,
    settings: str,
    fields: str,
) -> None:
    """Make one step and print the moments: what the child process does.

    Parameters
    ----------
    moment
        When Python began to run the child's code, by ``time.monotonic``.
    recipe, settings, fields
        The recipe's name or file, its settings as JSON, and the fields of the
        :class:`fastconv.ExecutionConfig` as JSON.
    """
    moments = [moment]
    import numpy as np

    moments.append(time.monotonic())
    from fastconv.execution.config import ExecutionConfig
    from fastconv.profiling.step_profile import synthetic_dataset
    from fastconv.recipe import load_recipe
    from fastconv.runs.experiment import prepare

    config = ExecutionConfig(**json.loads(fields))
    _ = config.run_module
    moments.append(time.monotonic())
    loaded = load_recipe(recipe, [(key, value) for key, value in json.loads(settings)])
    dataset = synthetic_dataset(loaded, loaded.batch_size)
    trainer = prepare(loaded, config=config, dataset=dataset).trainer
    moment = time.monotonic()
    # The plan was built and made ready in one go: the trainer knows how long each took.
    moments += [moment - (trainer.warmup_seconds - trainer.plan_seconds), moment]
    order = np.arange(loaded.batch_size)[None]
    trainer.runner.run(order, trainer.rates_and_momenta(np.arange(1)), 0)
    moments.append(time.monotonic())
    print(json.dumps(moments))


def measure_cold_start(
    recipe: str,
    config: ExecutionConfig,
    settings: list[tuple[str, Any]] | None = None,
    processes: int = 5,
) -> list[ColdStart]:
    """Start fresh processes that make one step on one synthetic batch each.

    Parameters
    ----------
    recipe, settings
        As for :func:`fastconv.recipe.load_recipe`.
    config
        Where and how it computes. For backends that compile at run time, once with an empty cache
        of compiled code, then with what that left.
    processes
        How many are started for each kind of start; one alone for the empty cache.

    Raises
    ------
    ColdStartError
        If a child process fails.
    """
    arguments = [recipe, json.dumps(settings or []), json.dumps(config.fields())]
    cache_of = _CACHES.get(config.backend)
    if cache_of is None:
        # The first process brings files into memory; it is not counted.
        _child(arguments, {})
        return [_summary("files in memory", [_child(arguments, {}) for _ in range(processes)])]
    with tempfile.TemporaryDirectory() as cache:
        variables = {cache_of: cache}
        first = _summary("empty cache of compiled code", [_child(arguments, variables)])
        warm = [_child(arguments, variables) for _ in range(processes)]
        return [first, _summary("compiled code in the cache", warm)]


def _child(arguments: list[str], variables: dict[str, str]) -> list[float]:
    """Run one process; return milliseconds of each phase."""
    # time.monotonic counts from one origin in all processes of a machine.
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **variables,
            "PYTHONIOENCODING": "utf-8",
        },
        capture_output=True,
        # Whatever the encoding of this process is: in that of the child, a name in the message
        # might not be what it is here.
        encoding="utf-8",
        errors="backslashreplace",
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ColdStartError(f"the process that makes the first step failed: {last}")
    moments = [started, *json.loads(done.stdout.splitlines()[-1])]
    return [1000 * (b - a) for a, b in itertools.pairwise(moments)]


def _summary(kind: str, runs: list[list[float]]) -> ColdStart:
    columns, totals = list(zip(*runs, strict=True)), [sum(run) for run in runs]
    return ColdStart(
        kind,
        tuple(statistics.median(column) for column in columns),
        tuple(min(column) for column in columns),
        statistics.median(totals),
        min(totals),
        len(runs),
    )
