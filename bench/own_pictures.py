"""What pictures of one's own cost beside a data set that is built in.

    python bench/own_pictures.py                    # all three, minutes
    python bench/own_pictures.py --only beside      # a thousand pictures: time beside training
    python bench/own_pictures.py --only speed       # batch 1 from PNG files against CIFAR-10
    python bench/own_pictures.py --only memory      # a hundred thousand pictures of 64 x 64

Pictures are drawn by a seed into a folder of their own, or into --folder, where they are found
again. Each measurement runs in a process of its own. Bounds are checked, and the exit code is 1
where one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_CLASSES = 10
_MOST_SECONDS_BESIDE = 2.0
_MOST_RATIO = 1.03
_MOST_MIB_BESIDE = 1024.0
_RUN_OF_RECIPE = "--no-report --quiet --no-validate"


def draw(folder: Path, count: int, side: int, channels: int) -> None:
    """Write pictures of ten classes as PNG files, unless they are there."""
    if (folder / "drawn.json").exists():
        if json.loads((folder / "drawn.json").read_text()) == [count, side, channels]:
            return
        raise SystemExit(f"bench/own_pictures.py: {folder} holds other pictures; take it away")
    for number in range(_CLASSES):
        (folder / "pictures" / f"class{number}").mkdir(parents=True, exist_ok=True)

    def write(first: int) -> None:
        generator = np.random.default_rng(first)
        for number in range(first, min(count, first + 1000)):
            label = number % _CLASSES
            pixels = generator.integers(0, 100, (side, side, channels), np.uint8)
            pixels[label * side // 10 : label * side // 10 + max(1, side // 10)] += 120
            shown = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
            place = folder / "pictures" / f"class{label}" / f"{number:06}.png"
            shown.save(place, compress_level=1)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(0, count, 1000)))
    (folder / "drawn.json").write_text(json.dumps([count, side, channels]))


def train(arguments: list[str], out: Path) -> dict[str, Any]:
    """Run ``fastconv.train`` in a process of its own; return its summary."""
    command = [sys.executable, "-m", "fastconv.train", *arguments, *_RUN_OF_RECIPE.split()]
    started = time.perf_counter()
    subprocess.run([*command, "--out", str(out)], check=True)
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    summary["wall_seconds"] = time.perf_counter() - started
    return summary


def measure_beside(folder: Path, scratch: Path, count: int) -> bool:
    """A thousand pictures: all that is not training, in the first run and in the second."""
    draw(folder, count, 32, 3)
    good = True
    for name in ("first", "second"):
        run = train(["--data", str(folder / "pictures"), "--epochs", "2"], scratch / f"b-{name}")
        beside = run["wall_seconds"] - run["train_seconds"]
        good &= beside < _MOST_SECONDS_BESIDE
        print(
            f"{name} run of {count} pictures: {run['train_seconds']:.2f} s of training, "
            f"{beside:.2f} s beside (at most {_MOST_SECONDS_BESIDE})"
        )
    return good


def measure_speed(folder: Path, scratch: Path, count: int, steps: int, repeats: int) -> bool:
    """A step of ``cifar10-deep`` on one picture at a time: its own data, and a folder's."""
    draw(folder, count, 32, 3)
    common = ["--recipe", "cifar10-deep", "--steps", str(steps)]
    own = ["--data", str(folder / "pictures"), "--set", "data.validation=0"]
    ratios = []
    for number in range(repeats):
        # In turns, so that what the machine does besides is done to both.
        built_in = train(common, scratch / f"s-built-in-{number}")["step_ms"]
        from_files = train([*common, *own], scratch / f"s-own-{number}")["step_ms"]
        ratios.append(from_files / built_in)
        print(f"step: {built_in:.4f} ms built in, {from_files:.4f} ms from PNG files")
    middle = statistics.median(ratios)
    print(f"ratio {middle:.3f} (at most {_MOST_RATIO})")
    return middle <= _MOST_RATIO


_LOADER = """
import json, sys, time
from pathlib import Path
import fastconv.data.picture_files as files
import fastconv.data.picture_rows
decoded = [0]
decode = files.decode_picture
def counting(*arguments, **options):
    decoded[0] += 1
    return decode(*arguments, **options)
files.decode_picture = counting
started = time.perf_counter()
from fastconv.data import load_own
dataset = load_own(sys.argv[1])
seconds = time.perf_counter() - started
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
mapped = sum(part.images.nbytes for part in dataset.parts.values())
touched = sum(int(part.images[::997].sum()) for part in dataset.parts.values())
print(json.dumps({
    "decoded": decoded[0], "seconds": seconds, "mapped_mib": mapped / 2**20,
    "anonymous_mib": int(status["RssAnon"].split()[0]) / 1024,
    "peak_mib": int(status["VmHWM"].split()[0]) / 1024,
}))
"""
"""Loads a folder, and says how many pictures were decoded and what memory that took."""


def measure_memory(folder: Path, count: int, side: int) -> bool:
    """Many pictures: the memory beside the map, and what a second start decodes."""
    draw(folder, count, side, 3)
    good = True
    for name in ("first", "second"):
        command = [sys.executable, "-c", _LOADER, str(folder / "pictures")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(said)
        good &= found["peak_mib"] - (found["mapped_mib"] if name == "second" else 0) < (
            _MOST_MIB_BESIDE
        )
        good &= found["decoded"] == (0 if name == "second" else found["decoded"])
        print(
            f"{name} start with {count} pictures of {side} x {side}: {found['decoded']} decoded in "
            f"{found['seconds']:.1f} s, map {found['mapped_mib']:.0f} MiB, peak "
            f"{found['peak_mib']:.0f} MiB of the process"
        )
    return good


@contextlib.contextmanager
def place_for(given: str | None) -> Iterator[Path]:
    """The folder for pictures: the one that is given, or one that goes."""
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main() -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--only", choices=("beside", "speed", "memory"), help="one of the three")
    add("--folder", metavar="DIR", help="where pictures are drawn, and found again")
    add("--pictures", type=int, default=1000, metavar="N", help="of the first measurement")
    add("--steps", type=int, default=3000, metavar="N", help="of each run of the second")
    add("--repeats", type=int, default=3, metavar="N", help="pairs of runs of the second")
    add("--many", type=int, default=100_000, metavar="N", help="pictures of the third")
    add("--side", type=int, default=64, metavar="N", help="their height and width")
    options = parser.parse_args()
    good = True
    with place_for(options.folder) as folder, tempfile.TemporaryDirectory() as scratch:
        small, runs = folder / "small", Path(scratch)
        if options.only in (None, "beside"):
            good &= measure_beside(small, runs, options.pictures)
        if options.only in (None, "speed"):
            good &= measure_speed(small, runs, options.pictures, options.steps, options.repeats)
        if options.only in (None, "memory"):
            good &= measure_memory(folder / "many", options.many, options.side)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
