"""How much sooner many networks are trained side by side than one after another.

    python bench/many_networks.py --recipe lenet5 --networks 16 --steps 1875 --data-dir DIR

Both ways make the same trainings, with the same number of threads in all: at once, each network on
one thread; and each by itself on all of them, with its data loaded anew as a run of its own does.
They take turns, and their weights are compared bit for bit. With --commands both are command lines,
pages included, as a person types them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fastconv
from fastconv.backends.configuration import available_cores, processor_name

Weights = list[bytes]
"""Of each network, in the order of the seeds."""


def in_process(options: argparse.Namespace, seeds: range) -> Weights:
    """Train networks with these seeds by one call."""
    trained = fastconv.train_many(
        options.recipe, seeds=seeds, steps=options.steps, data_dir=options.data_dir,
        backend=options.backend, threads=options.threads,
    )  # fmt: skip
    return [b"".join(a.tobytes() for a in t.network.named_arrays().values()) for t in trained]


def by_commands(options: argparse.Namespace, folder: Path, seeds: range) -> Weights:
    """Train networks with these seeds by one command line, or one for each seed."""
    command = [
        sys.executable, "-m", "fastconv.train", "--recipe", options.recipe, "--quiet",
        "--steps", str(options.steps), "--threads", str(options.threads),
    ]  # fmt: skip
    command += ["--backend", options.backend] if options.backend else []
    command += ["--data-dir", options.data_dir] if options.data_dir else []
    if len(seeds) > 1:
        subprocess.run([*command, "--seeds", str(len(seeds)), "--out", str(folder)], check=True)
    else:
        out = folder / f"seed-{seeds[0]}"
        subprocess.run([*command, "--seed", str(seeds[0]), "--out", str(out)], check=True)
    return [(folder / f"seed-{seed}" / "weights.safetensors").read_bytes() for seed in seeds]


def timed(options: argparse.Namespace, seeds: range) -> tuple[float, Weights]:
    """Return the seconds that trainings took, and their weights."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        if options.commands:
            weights = by_commands(options, Path(folder), seeds)
        else:
            weights = in_process(options, seeds)
        return time.perf_counter() - began, weights


def main() -> int:
    """Measure, and print a line for each round and the ratio of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="lenet5")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1875)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--backend")
    parser.add_argument("--data-dir")
    parser.add_argument("--commands", action="store_true")
    options = parser.parse_args()
    print(f"{processor_name()}, {options.threads} threads, {options.networks} networks")
    seeds, ratios = range(options.networks), []
    if not options.commands:
        timed(options, range(1))  # imports are not what is measured
    for number in range(options.rounds):
        together, weights = timed(options, seeds)
        alone, weights_alone = 0.0, []
        for seed in seeds:
            seconds, found = timed(options, range(seed, seed + 1))
            alone += seconds
            weights_alone += found
        if weights != weights_alone:
            print("the weights differ")
            return 1
        ratios.append(together / alone)
        print(
            f"round {number + 1}: {together:.2f} s at once, {alone:.2f} s one after another, "
            f"{ratios[-1]:.3f}"
        )
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"ratio {statistics.median(ratios):.3f} ({spread}), same bits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
