"""Workers of one training that are killed at random moments: ``python -m tests.soak workers``.

Any process of two to four is killed by SIGKILL, the one that began the training as well. What is
left must end within 30 s, and leave a checkpoint from which another number of workers goes on; what
comes out is compared with a training of one worker that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import soak

MOST_SECONDS = 30.0
"""Within which every process of a training is gone whose worker was killed."""
WORKERS = (2, 3, 4)


def processes_of(process: subprocess.Popen[str]) -> list[int]:
    """The process, and the workers that it started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        workers = [int(pid) for pid in children.read_text(encoding="utf-8").split()]
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers}
    except OSError:  # it has ended
        return [process.pid]
    return [process.pid, *(pid for pid in workers if b"resource_tracker" not in commands[pid])]


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def kill_one(
    folder: Path, arguments: list[str], workers: int, seconds: float, generator: random.Random
) -> str:
    """Start a training, or go on with it, and kill one of its processes; say what happened."""
    process = subprocess.Popen(
        soak.command(*arguments, "--workers", str(workers), "--checkpoint-every", "5"),
        cwd=folder, env=soak.environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    running = processes_of(process)
    killed = generator.choice(running)
    if process.poll() is None:
        os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    told = process.communicate(timeout=MOST_SECONDS)[1]
    while any(is_running(pid) for pid in running):
        assert time.monotonic() - began < MOST_SECONDS, f"{workers} workers: some are still there"
        time.sleep(0.05)
    if process.returncode == 0:
        return "complete before its kill"
    if killed == process.pid:
        assert process.returncode == -signal.SIGKILL, told
        return "kills of the first process"
    assert process.returncode == 2, (process.returncode, told)
    assert len(told.splitlines()) == 1, told
    return "kills of another process"


def soak_of(options: argparse.Namespace) -> collections.Counter[str]:
    """Kill ``options.times`` processes in all."""
    generator, seen = random.Random(options.seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        expected = soak.undisturbed(folder, "--no-report", "--workers", "1")
        whole = time.monotonic() - began
        begin = ["--recipe", "./recipe.toml", "--quiet", "--no-report", "--out", "killed"]
        while sum(n for what, n in seen.items() if what.startswith("kills")) < options.times:
            run, happened = folder / "killed", []
            shutil.rmtree(run, ignore_errors=True)
            for _ in range(generator.randint(1, 3)):
                started = (run / "recipe.toml").is_file()
                arguments = ["--resume", "killed", "--quiet"] if started else begin
                workers, seconds = generator.choice(WORKERS), generator.uniform(0.3, 1.5 * whole)
                what = kill_one(folder, arguments, workers, seconds, generator)
                happened.append(f"{workers} workers, {seconds:.2f} s: {what}")
                seen[what] += 1
                if what.startswith("complete"):
                    break
            result = soak.disturbed_goes_on(folder, [*begin, "--workers", "1"])
            soak.assert_same(result, expected, happened)
            seen["trainings that came out the same"] += 1
    return seen
