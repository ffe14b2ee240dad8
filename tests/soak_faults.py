"""Faults of machine and surroundings while a small recipe trains.

Each fault ends a training in one line and exit code 2, or lets it pass; afterwards, with the fault
gone, the same command goes on, and what comes out has the bits of a training that nobody disturbed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soak

BEGIN = ["--recipe", "./recipe.toml", "--quiet", "--no-report", "--out", "killed"]
_SECONDS = 300


@dataclass
class Case:
    """A folder to train in, with what an undisturbed training gives, and random choices."""

    folder: Path
    expected: dict[str, object]
    choose: random.Random

    @property
    def run(self) -> Path:
        """Where the training writes."""
        return self.folder / "killed"

    def begin_anew(self) -> None:
        """Take away what is there of an earlier case."""
        shutil.rmtree(self.run, ignore_errors=True)

    def train(
        self, *more: str, limit: Callable[[], None] | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Train in a process of its own, under a limit, or with other variables."""
        return subprocess.run(
            soak.command(*BEGIN, *more), cwd=self.folder, env={**soak.environment(), **variables},
            capture_output=True, text=True, check=False, timeout=_SECONDS, preexec_fn=limit,
        )  # fmt: skip

    def check_goes_on(self, what: str) -> None:
        """The training goes on by the same command, and comes out the same."""
        found = soak.disturbed_goes_on(self.folder, BEGIN)
        soak.assert_same(found, self.expected, what)


def check_told(done: subprocess.CompletedProcess[str], what: str, codes: tuple[int, ...]) -> None:
    """One line for the user, or none: never a traceback, never a crash."""
    told = f"{what}: exit code {done.returncode}: {done.stderr[-2000:]}"
    assert done.returncode in codes, told
    assert "Traceback" not in done.stderr, told
    if done.returncode == 2:
        assert len(done.stderr.splitlines()) == 1, told


def limit_of(which: int, most: int) -> Callable[[], None]:
    """What a process does to itself before it becomes the training."""
    return lambda: resource.setrlimit(which, (most, most))


def file_size(case: Case, most: int) -> None:
    """No file may grow past some bytes, as on a disk that is full or has a quota."""
    done = case.train("--checkpoint-every", "7", limit=limit_of(resource.RLIMIT_FSIZE, most))
    check_told(done, f"files of {most} bytes", (0, 2))
    left = [path.name for path in case.folder.rglob(".*.tmp")]
    assert not left, f"half written files are left: {left}"
    case.check_goes_on(f"files of {most} bytes")


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[bool]:
    """A file system in memory at a folder; False where this user may not mount one."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True,
        check=False,
    )  # fmt: skip
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def full_disk(case: Case, size: str) -> str | None:
    """The run lies on a disk that becomes full, and later larger."""
    case.begin_anew()
    with small_disk(case.run, f"size={size}") as mounted:
        if not mounted:
            return "needs the right to mount"
        check_told(case.train("--checkpoint-every", "7"), f"a disk of {size}", (0, 2))
        subprocess.run(["mount", "-o", "remount,size=64m", str(case.run)], check=True)
        case.check_goes_on(f"a disk of {size}")
    return None


def read_only(case: Case) -> str | None:
    """The run's folder cannot be written."""
    case.begin_anew()
    with small_disk(case.run, "ro") as mounted:
        if not mounted:
            return "needs the right to mount"
        done = case.train()
        check_told(done, "a disk that is read only", (2,))
        assert "cannot be written" in done.stderr, done.stderr
    return None


def descriptors(case: Case, most: int) -> None:
    """The process may open only a few files at a time."""
    done = case.train(limit=limit_of(resource.RLIMIT_NOFILE, most))
    check_told(done, f"{most} descriptors", (0, 2))
    case.check_goes_on(f"{most} descriptors")


def address_space(case: Case, mebibytes: int) -> None:
    """The process may have only so much memory."""
    done = case.train(limit=limit_of(resource.RLIMIT_AS, mebibytes << 20))
    if done.stderr.startswith("OpenBLAS error"):  # which ends the process by itself
        done.returncode = 2
    check_told(done, f"{mebibytes} MiB", (0, 2))
    case.check_goes_on(f"{mebibytes} MiB")


def damaged_checkpoint(case: Case) -> None:
    """The newest checkpoint has lost its end, or has other bits: the one before is taken."""
    done = case.train("--checkpoint-every", "7", "--steps", "30")
    check_told(done, "30 steps", (0,))
    newest = sorted(case.run.glob("checkpoints/step-*"))[-1]
    content = bytearray(newest.read_bytes())
    if case.choose.random() < 0.3:
        del content[case.choose.randrange(len(content)) :]
    else:
        content[case.choose.randrange(len(content))] ^= 1 << case.choose.randrange(8)
    newest.write_bytes(content)
    # By --resume, which says it: --quiet silences remarks, not errors.
    done = subprocess.run(
        soak.command("--resume", "killed", "--no-report", "--epochs", "6"), cwd=case.folder,
        env=soak.environment(), capture_output=True, text=True, check=False, timeout=_SECONDS,
    )  # fmt: skip
    check_told(done, "a damaged checkpoint", (0,))
    said = " ".join(done.stdout.split())
    assert "the one before is taken" in said, said
    found = soak.result_of(case.run)
    soak.assert_same(found, case.expected, "a damaged checkpoint")


def two_processes(case: Case) -> None:
    """Two trainings into one folder at once: one has it, the other refuses."""
    case.begin_anew()
    both = [
        subprocess.Popen(
            soak.command(*BEGIN), cwd=case.folder, env=soak.environment(), stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=_SECONDS)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes == [0, 2], told
    assert "another process is training there" in "".join(told), told
    soak.assert_same(soak.result_of(case.run), case.expected, "two processes")


def deleted_folder(case: Case) -> None:
    """Somebody deletes the run's folder in the midst of the training."""
    process = subprocess.Popen(
        soak.command(*BEGIN, "--epochs", "500", "--checkpoint-every", "7"), cwd=case.folder,
        env=soak.environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    give_up = time.monotonic() + _SECONDS
    while not any(case.run.glob("checkpoints/step-*")) and process.poll() is None:
        assert time.monotonic() < give_up, "it does not begin"
        time.sleep(0.01)
    moved = case.folder / "deleted"
    case.run.rename(moved)
    shutil.rmtree(moved)
    told = process.communicate(timeout=_SECONDS)[1]
    done = subprocess.CompletedProcess[str]([], process.returncode, "", told)
    check_told(done, "a deleted folder", (2,))
    assert not case.run.exists(), "the folder is there again"
    case.check_goes_on("a deleted folder")


CLOCK = """
import random, time
real, choose = time.time, random.Random(1)
time.time = lambda: real() + choose.choice((-1e9, -3600.0, 0.0, 3600.0, 1e9))
"""


def jumping_clock(case: Case) -> None:
    """The clock of the wall jumps by years, forward and back, at each look at it."""
    clock = case.folder / "clock"
    clock.mkdir(exist_ok=True)
    (clock / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    path = f"{clock}{os.pathsep}{soak.ROOT}"
    done = case.train("--checkpoint-every", "0.05s", PYTHONPATH=path)
    check_told(done, "a clock that jumps", (0,))
    soak.assert_same(soak.result_of(case.run), case.expected, "a clock that jumps")


FAULTS: dict[str, tuple[Callable[..., str | None], tuple[Any, ...]]] = {
    **{f"file size {n}": (file_size, (n,)) for n in (100, 2000, 9000, 20_000, 60_000)},
    **{f"tmpfs {size}": (full_disk, (size,)) for size in ("16k", "48k", "100k", "160k", "400k")},
    "read-only": (read_only, ()),
    **{f"descriptors {n}": (descriptors, (n,)) for n in (8, 12, 20, 40)},
    **{f"address space {n}": (address_space, (n,)) for n in (60, 100, 200, 300, 400, 600, 1000)},
    **{f"damaged checkpoint {n}": (damaged_checkpoint, ()) for n in (1, 2, 3)},
    "two processes": (two_processes, ()),
    "deleted folder": (deleted_folder, ()),
    "jumping clock": (jumping_clock, ()),
}
"""Each with its function and arguments."""


def meet(case: Case, name: str) -> str | None:
    """Let one fault happen; why it could not, or None."""
    case.begin_anew()
    function, arguments = FAULTS[name]
    return function(case, *arguments)


def soak_case(folder: Path, seed: int) -> Case:
    """A folder with the recipe, and the result that must come out."""
    return Case(folder, soak.undisturbed(folder, "--no-report"), random.Random(seed))


def soak_faults(only: list[str], seed: int) -> collections.Counter[str]:
    """Let all faults happen whose names have one of some words, or all."""
    seen = collections.Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        case = soak_case(Path(name), seed)
        for fault in FAULTS:
            if only and not any(word in fault for word in only):
                continue
            not_possible = meet(case, fault)
            print(f"{fault}: {not_possible or 'survived'}", file=sys.stderr, flush=True)
            seen[f"not possible: {not_possible}" if not_possible else "faults survived"] += 1
    return seen


def soak_of(options: argparse.Namespace) -> collections.Counter[str]:
    """What ``python -m tests.soak faults`` does."""
    return soak_faults(options.only, options.seed)
