"""Hostile files for every reader: ``python -m tests.fuzz_readers --minutes 10 --seed 0``.

Honest files are changed at random (``mutation.py``), and what reaches a line of fastconv that
nothing reached before is changed further. Each file must be read, or be refused in one line by an
error for users, within 20 s and 1 GiB, without starting a program, opening a connection, or writing
outside of its folder. Files that are not are kept in the folder of ``--keep``. Each chunk of files
follows from its reader, seed and number: ``--reader npy --seed 0 --first 12 --chunks 1`` makes one
again.

With ``--atheris READER``, atheris (pip install atheris; Linux, Python 3.11 to 3.13) drives that
reader instead, by the branches of fastconv, in this process, until it is stopped.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from file_readers import READERS, Reader
from mutation import mutated

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 500
"""Files that one process reads."""
_SECONDS = 20
_BYTES = 1 << 30
_POOL = 300
"""Most contents of a chunk that are changed further."""
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
           "os.forkpty", "socket.connect", "socket.getaddrinfo", "socket.bind", "webbrowser.open",
           "ctypes.call_function")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod",
            "os.truncate", "shutil.rmtree", "shutil.move")  # fmt: skip


class Escaped(BaseException):
    """A file made its reader do what no reader may do."""


class Guard:
    """Sees what this process does while a file is read, and stops what no file may ask for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.is_reading = str(folder.resolve()) + os.sep, False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_reading:
            return
        if event in _STARTS:
            raise Escaped(f"{event} {arguments}"[:300])
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in _CHANGES:
            self._check(event, arguments[0])

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return  # it was opened before
        place = os.path.realpath(os.fsdecode(path))
        if not place.startswith(self.folder) and place != os.devnull:
            raise Escaped(f"{event} {place}, outside of {self.folder}")


class NewLines:
    """Whether a line of fastconv runs that did not run before."""

    def __init__(self) -> None:
        import fastconv

        self._package = str(Path(fastconv.__file__).parent)
        self._seen: set[tuple[Any, int]] = set()
        self.found = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        """The function for sys.settrace."""
        inside = frame.f_code.co_filename.startswith(self._package)
        return self._in_frame if inside else None

    def _in_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and (line := (frame.f_code, frame.f_lineno)) not in self._seen:
            self._seen.add(line)
            self.found = True
        return self._in_frame

    def count(self) -> int:
        """How many lines ran."""
        return len(self._seen)


@contextmanager
def _limited_time() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Escaped(f"it took longer than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(more: int = _BYTES) -> None:
    """Let this process take so much more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def refusal(fault: BaseException, reader: Reader) -> str | None:
    """What is wrong with the way that a file was refused; None if it is right."""
    from fastconv._errors import UserError

    if isinstance(fault, MemoryError) and reader.takes_memory:
        return None
    told = "".join(traceback.format_exception(fault))[-3000:]
    if not isinstance(fault, UserError):
        return told
    if "\n" in str(fault) or len(str(fault)) > 2000:
        return f"the message is not one line of a readable length: {told}"
    return None


def read_one(
    reader: Reader,
    folder: Path,
    content: bytes,
    guard: Guard | None = None,
    trace: Callable[..., Any] | None = None,
) -> str | None:
    """Read one file: what is wrong, "refused", or None where it was read."""
    path = folder / reader.file
    path.write_bytes(reader.wrap(content))
    try:
        with _limited_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if guard is not None:
                guard.is_reading = True
            sys.settrace(trace)
            try:
                reader.read(folder)
            finally:
                sys.settrace(None)
                if guard is not None:
                    guard.is_reading = False
    except (Exception, Escaped) as fault:
        return refusal(fault, reader) or "refused"
    return None


def read_chunk(
    name: str, seed: int, number: int, count: int, work: Path, *, guided: bool = True
) -> dict[str, Any]:
    """Read the files of one chunk in this process; each failure with the file of its content.

    Not guided, no new line of fastconv is looked for: that takes longer than the reading.
    """
    reader, folder = READERS[name], work / "in"
    folder.mkdir(parents=True)
    sys.dont_write_bytecode = True
    contents = reader.seeds()
    reader.prepare(folder)
    lines = NewLines()
    trace = lines if guided else None
    tally: dict[str, Any] = {"files": 0, "refused": 0, "read": 0, "failures": []}
    # What is imported once is there, and honest files are read.
    honest = [read_one(reader, folder, content, trace=trace) for content in contents]
    assert None in honest, honest
    guard, choose = Guard(folder), random.Random(f"{name} {seed} {number}")
    limit_memory()
    pool = list(contents)
    for index in range(count):
        content = mutated(choose.choice(pool), pool, choose)
        (work / "current").write_bytes(content)
        lines.found = False
        found = read_one(reader, folder, content, guard, trace)
        tally["files"] += 1
        if found in (None, "refused"):
            tally["read" if found is None else "refused"] += 1
            if lines.found and len(pool) < _POOL:
                pool.append(content)
        else:
            kept = work / f"failure-{index}"
            kept.write_bytes(content)
            tally["failures"].append([str(kept), found])
    tally["lines"] = lines.count()
    return tally


def run_chunk(name: str, seed: int, number: int, count: int, keep: Path) -> dict[str, Any]:
    """Read the files of one chunk in a process of its own; keep those that fail."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, __file__, "--child", name, str(seed), str(number), str(count),
                   work]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False,
            timeout=_SECONDS * count + 300,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "ARROW_DEFAULT_MEMORY_POOL": "system",
                "FASTCONV_THREADS": "1", "FASTCONV_CHECK": "0", "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
        )  # fmt: skip
        if done.returncode == 0:
            tally: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        else:
            told = f"exit code {done.returncode}: {done.stderr[-3000:]}"
            tally = {"files": 0, "refused": 0, "read": 0, "lines": 0, "failures": []}
            tally["failures"] = [[str(Path(work) / "current"), told]]
        for index, (file, told) in enumerate(tally["failures"]):
            keep.mkdir(parents=True, exist_ok=True)
            place = keep / f"{name.replace(' ', '-').replace(':', '')}-{seed}-{number}-{index}"
            if Path(file).exists():
                shutil.copyfile(file, place)
            place.with_suffix(".txt").write_text(told, encoding="utf-8")
            tally["failures"][index] = [str(place), told]
    return tally


def fuzz(options: argparse.Namespace) -> int:
    """Read chunk after chunk of each reader in turn, until the time is up; the exit code."""
    names = options.reader or list(READERS)
    ends = time.monotonic() + 60 * options.minutes
    totals = {name: collections.Counter[str]() for name in names}
    failures: list[list[str]] = []
    with ThreadPoolExecutor(options.processes) as pool:
        number = options.first
        while number < options.first + options.chunks:
            jobs = {
                name: pool.submit(
                    lambda name, number: None if time.monotonic() > ends else run_chunk(
                        name, options.seed, number, CHUNK, options.keep
                    ),
                    name, number,
                )
                for name in names
            }  # fmt: skip
            for name, job in jobs.items():
                tally = job.result()
                if tally is None:
                    continue
                for file, told in tally["failures"]:
                    print(f"{name}: {file}: {told.splitlines()[-1][:200]}", flush=True)
                failures += tally["failures"]
                total = totals[name]
                total["lines"] = max(total["lines"], tally["lines"])
                for what in ("files", "read", "refused"):
                    total[what] += tally[what]
            number += 1
            if time.monotonic() > ends:
                break
    for name, total in totals.items():
        print(
            f"{name}: {total['files']} files, {total['read']} read, {total['refused']} refused, "
            f"{total['lines']} lines of fastconv"
        )
    files = sum(total["files"] for total in totals.values())
    print(f"{files} files, {len(failures)} failures{f' in {options.keep}' if failures else ''}")
    return 1 if failures else 0


def drive_by_atheris(name: str) -> None:
    """Let atheris choose the contents; it ends this process at a failure."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    reader, folder = READERS[name], Path(tempfile.mkdtemp(prefix="fuzz-readers-"))
    (corpus := folder / "corpus").mkdir()
    with atheris.instrument_imports(include=["fastconv"]):
        reader.prepare(folder)
        for number, content in enumerate(reader.seeds()):
            (corpus / str(number)).write_bytes(content)
            read_one(reader, folder, content)
    guard = Guard(folder)

    def test_one(content: bytes) -> None:
        found = read_one(reader, folder, content, guard)
        if found not in (None, "refused"):
            raise AssertionError(found)

    atheris.Setup([sys.argv[0], str(corpus)], test_one)
    atheris.Fuzz()


def main() -> int:
    """Run the command line and return the exit code."""
    if sys.argv[1:2] == ["--child"]:
        name, *numbers, work = sys.argv[2:]
        seed, number, count = map(int, numbers)
        print(json.dumps(read_chunk(name, seed, number, count, Path(work))))
        return 0
    parser = argparse.ArgumentParser(
        "python -m tests.fuzz_readers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--minutes", type=float, default=10)
    add("--seed", type=int, default=0)
    add("--first", type=int, default=0, metavar="N", help="number of the first chunk")
    add("--chunks", type=int, default=10**6, metavar="N", help="most chunks of each reader")
    add("--reader", action="append", choices=sorted(READERS), help="all, if none is given")
    add("--processes", type=int, default=1)
    add("--keep", type=Path, default=Path("fuzz_failures"), metavar="DIR")
    add("--atheris", choices=sorted(READERS), metavar="READER")
    options = parser.parse_args()
    if options.atheris:
        drive_by_atheris(options.atheris)
    return fuzz(options)


if __name__ == "__main__":
    sys.exit(main())
