"""Whole training steps beside PyTorch, JAX and Keras: ``python bench/peers.py``.

fastconv's step begins with uint8 images: it gathers its batch, preprocesses it, and counts loss and
accuracy; the peers get ready float32 tensors. Every contender lives in a process of its own with
the same number of threads, and they take turns: fastconv, peer, fastconv, peer, so that what else
the machine does meets all of them. A ratio is that of the fastest rounds; that of the medians is
beside it. PyTorch is the faster of its memory formats, with and without its fused update.

``--isa avx2`` lets all of them use AVX2 at most; ``--isa best --isa avx2`` measures both, one
behind the other for each workload.

``--table FILE.md`` writes the table, ``--chart FILE.png`` the bars, ``--json FILE`` everything.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import instruction_sets
import markdown_table
from lists import list_of
from turns import Rounds
from workload import Workload

from fastconv.backends.configuration import available_cores, processor_name
from fastconv.backends.selection import NAMES
from fastconv.cli.command_line import Parser, check_writable, positive, run

WORKLOADS = (
    ("cifar10-deep", 1),
    ("cifar10-deep", 128),
    ("mnist-strided", 1),
    ("mnist-strided", 128),
    ("lenet5", 32),
)
PEERS = {"pytorch": "torch", "jax": "jax", "keras": "keras"}
PEERS_BY_NAME = {**PEERS, "pytorch-bf16": "torch"}
"""Contenders and the modules that they need; those that take part if nothing is said, and all."""
BACKENDS = (*NAMES, "cython-bf16")
SGEMM_FLOP = 2 * 2048**3
TITLE = "Training steps beside other libraries"
TEXT = """Made by `python bench/peers.py`; [performance.md](performance.md) says on which machine,
and what is compared. The last columns are in times of fastconv's: fastest rounds / medians."""


class Contender:
    """A child process that makes steps on demand: of training, unless its script makes others."""

    def __init__(
        self, who: str, recipe: str, batch: int, threads: int, isa: str,
        script: str = "contender.py",
    ) -> None:  # fmt: skip
        path = str(Path(__file__).with_name(script))
        self._process = subprocess.Popen(
            [sys.executable, path, who, recipe, str(batch), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=instruction_sets.environment_of(isa),
        )  # fmt: skip
        self.who = who
        self.variants: list[str] = json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {self.who} ended with {self._process.wait()}")
        return line

    def ask(self, what: str) -> float:
        """Send a line and return the number that comes back."""
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def seconds(self, variant: str, steps: int) -> float:
        """Seconds for one step, from so many."""
        return self.ask(f"{variant} {steps}") / steps

    def memory_mib(self) -> float:
        """Peak memory of the process so far."""
        return self.ask("memory 0")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class Line(Rounds):
    """Step times of one contender's variant on one workload."""

    workload: str
    batch: int
    isa: str
    who: str
    variant: str
    seconds: list[float]
    peak_memory_mib: float


def measure(
    workload: tuple[str, int], contenders: list[str], threads: int, rounds: int, span: float,
    isa: str, script: str = "contender.py",
) -> list[Line]:  # fmt: skip
    """Let the contenders take turns on one workload; ``span``: seconds that a turn should last."""
    recipe, batch = workload
    field = [Contender(who, recipe, batch, threads, isa, script) for who in contenders]
    turns = []
    for contender in field:
        for variant in contender.variants:
            contender.seconds(variant, 1)  # compiles, allocates
            alone = contender.seconds(variant, 1)
            if alone > 4 * span:
                print(f"{variant}, {recipe}, batch {batch}: left out, a step takes {alone:.1f} s")
                continue
            contender.seconds(variant, 16)
            each = contender.seconds(variant, 16)
            if 16 * each < span:
                each = min(each, *(contender.seconds(variant, 16) for _ in range(2)))
            steps = max(16, round(span / each / 16) * 16)
            turns.append((contender, variant, steps, list[float]()))
    for _ in range(rounds):
        for contender, variant, steps, seconds in turns:
            time.sleep(0.05)  # threads of the one before fall asleep
            seconds.append(contender.seconds(variant, steps))
    lines = [
        Line(recipe, batch, isa, contender.who, variant, seconds, contender.memory_mib())
        for contender, variant, _, seconds in turns
    ]
    for contender in field:
        contender.close()
    return lines


def fastest(lines: list[Line], who: str) -> Line | None:
    """Return the best variant of a contender."""
    own = [line for line in lines if line.who == who]
    return min(own, key=lambda line: line.best, default=None)


def rows_of(lines: list[Line]) -> list[list[str]]:
    """One row for each contender's variant: times, and how much slower than each backend."""
    ours = [line for line in lines if line.who.startswith("fastconv-")]
    rows = []
    for line in lines:
        if line.who == "sgemm":
            rate = SGEMM_FLOP / line.best * 1e-9
            rows.append([f"SGEMM: {rate:.0f} GFLOP/s", line.isa, *[""] * (4 + len(ours))])
            continue
        name = line.who if line.who.startswith("fastconv-") else line.variant
        ratios = [f"{line.best / mine.best:.2f} / {line.median / mine.median:.2f}" for mine in ours]
        rows.append(
            [
                f"{line.workload}, batch {line.batch}",
                line.isa,
                name,
                f"{line.best * 1e3:.4f}",
                f"{line.median * 1e3:.4f}",
                f"{line.peak_memory_mib:.0f}",
                *ratios,
            ]
        )
    return rows


def table(results: list[list[Line]], backends: list[str]) -> str:
    """Return a Markdown table of everything."""
    head = ["workload", "instructions", "who", "fastest ms", "median ms", "peak MiB"]
    head += [f"of fastconv {name}" for name in backends]
    lines = [markdown_table.head(head)]
    for group in results:
        lines += map(markdown_table.row, rows_of(group))
    return "\n".join(lines) + "\n"


def chart(results: list[list[Line]], path: Path) -> None:
    """Draw how many times slower each peer is than fastconv's fastest backend."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), constrained_layout=True)
    colors = {
        "fastconv": "#1b6ca8",
        "pytorch": "#e4572e",
        "jax": "#f3a712",
        "keras": "#a8a8a8",
        "pytorch-bf16": "#8c2d19",
    }
    labelled = set()
    ticks, names, place = [], [], 0.0
    for group in results:
        ours = min(
            (line for line in group if line.who.startswith("fastconv-")), key=lambda line: line.best
        )
        begin = place
        bars = [("fastconv", ours)]
        bars += [(who, line) for who in PEERS_BY_NAME if (line := fastest(group, who)) is not None]
        for who, line in bars:
            ratio = line.best / ours.best
            axes.barh(place, ratio, 0.8, color=colors[who], label=None if who in labelled else who)
            axes.text(ratio * 1.05, place, f"{ratio:.1f}x  {line.best * 1e3:.3g} ms", va="center")
            labelled.add(who)
            place += 1
        ticks.append((begin + place - 1) / 2)
        isa = "" if ours.isa == instruction_sets.BEST else f", {ours.isa}"
        names.append(f"{ours.workload}\nbatch {ours.batch}{isa}")
        place += 0.7
    axes.set_xscale("log")
    axes.set_xlim(0.8, axes.get_xlim()[1] * 4)
    axes.set_yticks(ticks, names)
    axes.invert_yaxis()
    axes.set_xlabel("time of a training step, in times of fastconv's (logarithmic)")
    axes.legend(loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)


def workload(text: str) -> tuple[str, int]:
    """Read RECIPE:BATCH, for argparse."""
    recipe, _, batch = text.rpartition(":")
    if not recipe or not batch.isdecimal() or int(batch) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected RECIPE:BATCH, such as lenet5:32, with a batch size of 1 or more"
        )
    return recipe, int(batch)


def seconds(text: str) -> float:
    """Read a number above 0, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}; expected a number above 0")
    return number


seconds.__name__ = "number"  # argparse names the type by it


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser("bench/peers.py", "Measure whole training steps beside PyTorch, JAX and Keras.")
    parser.prog = "python bench/peers.py"
    parser.add_argument("--threads", type=positive, default=min(2, available_cores()))
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--span", type=seconds, default=0.5, help="seconds of a turn")
    parser.add_argument(
        "--backends", type=list_of(str, BACKENDS), default=["cython", "numba"], metavar="NAME,..."
    )
    parser.add_argument(
        "--peers", type=list_of(str, tuple(PEERS_BY_NAME), 0), default=list(PEERS),
        metavar="NAME,...",
        help=f"of {', '.join(PEERS_BY_NAME)} (default: {', '.join(PEERS)}; '' for none)",
    )  # fmt: skip
    parser.add_argument(
        "--workload", type=workload, action="append", metavar="RECIPE:BATCH",
        help="as often as wanted",
    )  # fmt: skip
    for option in ("--table", "--chart", "--json"):
        parser.add_argument(option, type=Path)
    instruction_sets.add_option(parser)
    return parser


def _compare(own: argparse.Namespace) -> int:
    workloads = own.workload or WORKLOADS
    for recipe, batch in workloads:
        Workload.of(recipe, batch)  # a mistake is told before anything is measured
    for option in ("table", "chart", "json"):
        if (place := getattr(own, option)) is not None:
            check_writable(str(place), f"--{option}")
    contenders = [f"fastconv-{name}" for name in own.backends]
    for peer in own.peers:
        module = PEERS_BY_NAME[peer]
        if importlib.util.find_spec(module) is None:
            print(f"{peer}: left out, {module} is not installed")
        else:
            print(f"{peer}: {module} {importlib.metadata.version(module)}")
            contenders.append(peer)
    print(f"{processor_name()}, {own.threads} threads, {own.rounds} rounds")
    results = []
    for each, isa in itertools.product(workloads, own.isa or [instruction_sets.BEST]):
        field = [*contenders, "sgemm"]
        results.append(measure(each, field, own.threads, own.rounds, own.span, isa))
        print(table(results[-1:], own.backends), flush=True)
    if own.table:
        page = markdown_table.page(TITLE, TEXT, table(results, own.backends))
        own.table.write_text(page, encoding="utf-8")
    if own.chart:
        chart(results, own.chart)
    if own.json:
        everything = [[asdict(line) for line in group] for group in results]
        own.json.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    return run(make_parser(), arguments, _compare)


if __name__ == "__main__":
    sys.exit(main())
