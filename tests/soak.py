"""Long runs of what may go wrong: ``python -m tests.soak KIND``.

    python -m tests.soak kills --times 500

trains small recipes in processes that are killed at random moments, lets them go on, and compares
what comes out with a training that nobody disturbed, bit for bit;

    python -m tests.soak faults --only tmpfs

takes disk, memory, descriptors, the folder or the clock away from them (``soak_faults.py``);

    python -m tests.soak allocations

lets each allocation of calls, plans and steps fail once (``soak_allocations.py``);

    python -m tests.soak threads --minutes 120

trains and predicts from many threads and processes while memory, threads and files are counted
(``soak_threads.py``);

    python -m tests.soak workers --times 20

kills processes of a training of several workers (``soak_workers.py``). The tests take a few of
each.
"""

from __future__ import annotations

import argparse
import collections
import csv
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = """
epochs = 6
batch_size = 64
validate_every = 33
seed = 5
[[layers]]
kind = "conv2d"
filters = 8
[[layers]]
kind = "batch_norm"
[[layers]]
kind = "relu"
[[layers]]
kind = "flatten"
[[layers]]
kind = "dropout"
probability = 0.3
[[layers]]
kind = "dense"
units = 10
[augmentation]
crop = 1
[optimizer]
kind = "adam"
lr = 0.01
[schedule]
kind = "one_cycle"
[validation]
metrics = ["macro_f1"]
metric = "macro_f1"
best = "keep"
"""
"""With all that is random and all that is kept: lines that cross epochs, masks, shifts, moments."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
INTERVALS = (("--checkpoint-every", "1"), ("--checkpoint-every", "7"),
             ("--checkpoint-every", "0.03s"), ())  # fmt: skip
"""The first is nearly always in the midst of a checkpoint."""
TIMES = ("seconds", "train_seconds")
"""Columns of a history that differ each time."""


@dataclass(frozen=True)
class Kill:
    """One process that was ended before its time: after how long, and by what."""

    seconds: float
    signal: signal.Signals
    interval: tuple[str, ...]


def command(*arguments: str) -> list[str]:
    """The command line of a training in another process."""
    return [sys.executable, "-m", "fastconv.train", *arguments]


def environment() -> dict[str, str]:
    """With this copy of fastconv, wherever the process begins."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "FASTCONV_THREADS": "1"}


def without_times(path: Path) -> list[dict[str, str]]:
    """The lines of a history, without the times."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in TIMES}
            for row in csv.DictReader(file)
        ]


def result_of(run: Path) -> dict[str, object]:
    """All that a run says and that must not depend on where it stopped on its way."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    measured = ("ms", "per_second", "rss_mib")
    found: dict[str, object] = {
        f"summary.{key}": value for key, value in summary.items()
        if not key.endswith(("seconds", *measured))
    }  # fmt: skip
    found["history"] = without_times(run / "history.csv")
    weights = [f"{name}.safetensors" for name in ("weights", "best")]
    for name in (*weights, "recipe.toml", "model.json", "probe.csv"):
        file = run / name
        found[name] = file.read_bytes() if file.exists() else None
    for file in sorted(run.glob("figures/*.csv")):
        if "speed" not in file.name and "time" not in file.name:
            found[f"figures/{file.name}"] = file.read_bytes()
    found["files"] = sorted(p.name for p in run.iterdir())
    return found


def undisturbed(folder: Path, *options: str) -> dict[str, object]:
    """The result of the training that nobody kills."""
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    arguments = ["--recipe", "./recipe.toml", "--quiet", *options, "--out", "undisturbed"]
    subprocess.run(command(*arguments), cwd=folder, env=environment(), check=True)
    return result_of(folder / "undisturbed")


def disturbed(
    folder: Path, kills: list[Kill], options: tuple[str, ...] = ()
) -> tuple[dict[str, object], collections.Counter[str]]:
    """The result of a training that is killed and goes on again and again, and what happened."""
    run, seen = folder / "killed", collections.Counter[str]()
    shutil.rmtree(run, ignore_errors=True)
    begin = ["--recipe", "./recipe.toml", "--quiet", *options, "--out", "killed"]
    for number, kill in enumerate(kills):
        # By the same command, or by --resume where there is something to resume.
        arguments = begin
        if number % 2 and (run / "recipe.toml").is_file():
            arguments = ["--resume", "killed", "--quiet"]
        if (run / "summary.json").is_file() and _is_complete(run):
            seen["complete before its kill"] += 1
            break
        process = subprocess.Popen(
            command(*arguments, *kill.interval), cwd=folder, env=environment(),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            process.wait(kill.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(kill.signal)
        told = process.communicate(timeout=120)[1]
        check_end(process.returncode, told, kill.signal)
        if process.returncode == 0:
            seen["complete before its kill"] += 1
            continue
        steps = len(list(run.glob("checkpoints/step-*"))) if run.is_dir() else 0
        assert steps <= 3, f"{steps} checkpoints are left"
        seen[f"{kill.signal.name}: exit code {process.returncode}"] += 1
    return disturbed_goes_on(folder, begin), seen


def disturbed_goes_on(folder: Path, begin: list[str]) -> dict[str, object]:
    """The result of a training that was killed, by the command that began it."""
    run = folder / "killed"
    if not _is_complete(run):
        done = subprocess.run(
            command(*begin), cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return result_of(run)


def _is_complete(run: Path) -> bool:
    file = run / "summary.json"
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["stopped"] == "completed"


def check_end(code: int, told: str, number: signal.Signals) -> None:
    """Whether a process ended as it may: killed, or by itself with the code of its signal."""
    # Python answers SIGINT itself while it starts: a traceback that is not ours.
    early = number == signal.SIGINT and code in (-signal.SIGINT, 1, 130)
    assert code in (0, -number, 128 + number) or early, (code, told)
    if code == 128 + number:
        assert "Traceback" not in told, told


def random_kills(generator: random.Random, most_seconds: float) -> list[Kill]:
    """Up to four kills of one training."""
    return [
        Kill(
            generator.uniform(0.1, most_seconds),
            generator.choice(SIGNALS),
            generator.choice(INTERVALS),
        )
        for _ in range(generator.randint(1, 4))
    ]


def assert_same(result: dict[str, object], expected: dict[str, object], kills: object) -> None:
    """Every file, to the bit."""
    for name, value in expected.items():
        assert result.get(name) == value, f"{name} differs after {kills}"


def soak_kills(options: argparse.Namespace) -> collections.Counter[str]:
    """Kill trainings ``options.times`` times in all."""
    generator, seen = random.Random(options.seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        expected = undisturbed(folder, "--no-report")
        whole = time.monotonic() - began
        while sum(n for what, n in seen.items() if what.startswith("SIG")) < options.times:
            kills = random_kills(generator, 1.2 * whole)
            result, happened = disturbed(folder, kills, ("--no-report",))
            assert_same(result, expected, kills)
            seen += happened
            seen["trainings that came out the same"] += 1
    return seen


KINDS = {"kills": "", "faults": "soak_faults", "allocations": "soak_allocations",
         "threads": "soak_threads", "workers": "soak_workers"}  # fmt: skip
"""Each with the module that has its function ``soak_of``; "kills" is here."""


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument(
        "--times", type=int, default=500, metavar="N", help="of kills, also of workers"
    )
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="of faults")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of allocations")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="of threads")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    module = KINDS[options.kind]
    seen = importlib.import_module(module).soak_of(options) if module else soak_kills(options)
    for what, count in sorted(seen.items()):
        print(f"{count:6} {what}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
