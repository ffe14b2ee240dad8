"""The timings of docs/tutorial.md: ``python bench/tutorial.py``.

Training steps of the same network, from a student's loops to a plan, stage by stage. First each
stage must give the loss and the gradients of the loops. Then all are warmed up and take turns:
stage 1, 2, ..., 1, 2, ... A turn's time is divided by its steps; what counts is the median of the
rounds. Every step begins with uint8 images and ends with updated parameters. An epoch is
computed: the time for an image, 50000 times.

``--table FILE.md`` puts the table between the two marks of a file, ``--json FILE`` writes
everything.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tutorial_stages import (
    STAGES,
    Parameters,
    Stage,
    draw_parameters,
    every_kernel,
    loss_and_gradients,
    plan,
    student_loops,
)

from fastconv import use_backend
from fastconv._files import replace_file
from fastconv.backends.configuration import configured_threads, environment, processor_name
from fastconv.backends.selection import choose_backend
from fastconv.cli.command_line import (
    Parser,
    check_writable,
    positive,
    run,
    write_json,
)
from fastconv.runs.run_folder import OutputError

EPOCH = 50000
"""Training images of CIFAR-10."""
IMAGE_SIZE = 32
LARGER_BATCHES = 32, 128
TOLERANCE = 1e-4
"""Of gradients, in the largest of the same array: float32 beside float64."""
BEGIN = "<!-- timings: begin -->"
END = "<!-- timings: end -->"


@dataclass(frozen=True)
class Row:
    """Times of a stage: seconds a step, one for each round."""

    name: str
    batch_size: int
    steps: int
    seconds: list[float]

    @property
    def median(self) -> float:
        """Middle round, seconds a step."""
        return statistics.median(self.seconds)

    @property
    def per_image(self) -> float:
        """Seconds for an image."""
        return self.median / self.batch_size


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images in the shape of CIFAR-10's, and labels: no step is slower or faster for it."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    return images, draw.integers(0, 10, count)


def largest_difference(one: tuple[float, Parameters], other: tuple[float, Parameters]) -> float:
    """Of losses and gradients; each gradient in the largest of its array in ``one``."""
    differences = [abs(one[0] - other[0]) / abs(one[0])]
    for pair, other_pair in zip(one[1], other[1], strict=True):
        for a, b in zip(pair, other_pair, strict=True):
            differences.append(float(abs(a - b).max() / abs(a).max()))
    return max(differences)


def check(parameters: Parameters) -> None:
    """Stop unless every stage computes what the loops compute, and every batch what kernels do."""
    images, labels = pictures(max(LARGER_BATCHES), seed=1)
    first = images[:1], labels[:1]
    expected = loss_and_gradients(student_loops, parameters, *first)
    for name, make in STAGES.items():
        found = largest_difference(expected, loss_and_gradients(make, parameters, *first))
        _require(name, found)
    for batch in LARGER_BATCHES:  # the loops would take minutes: stage 3, which is right by now
        part = images[:batch], labels[:batch]
        expected = loss_and_gradients(every_kernel, parameters, *part)
        found = largest_difference(expected, loss_and_gradients(plan, parameters, *part))
        _require(f"batch {batch}", found)


def _require(name: str, difference: float) -> None:
    print(f"{name}: loss and gradients agree to {difference:.0e}", file=sys.stderr)
    if not difference <= TOLERANCE:
        raise SystemExit(f"bench/tutorial.py: {name} does not compute what the loops compute")


def measure(parameters: Parameters, rounds: int, span: float) -> list[Row]:
    """Let the stages take turns; ``span``: seconds that a turn should last."""
    images, labels = pictures(EPOCH, seed=0)
    lr = 0.005
    made = [(name, make(parameters, images, labels, 1, lr)) for name, make in STAGES.items()]
    for batch in LARGER_BATCHES:
        made.append((f"batch {batch}", plan(parameters, images, labels, batch, lr)))
    rows = [Row(name, stage.batch_size, _warm_up(stage, span), []) for name, stage in made]
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for (name, stage), row in zip(made, rows, strict=True):
            time.sleep(0.05)  # threads of the one before fall asleep
            start = time.perf_counter()
            loss = stage.train(row.steps)
            row.seconds.append((time.perf_counter() - start) / row.steps)
            if not math.isfinite(loss):
                raise SystemExit(f"bench/tutorial.py: {name} diverged, its loss is {loss}")
    return rows


def _warm_up(stage: Stage, span: float) -> int:
    """Train a little, and return how many steps last for ``span`` seconds."""
    steps = 1
    stage.train(1)
    while True:
        start = time.perf_counter()
        stage.train(steps)
        seconds = time.perf_counter() - start
        if seconds >= span / 8:
            return max(1, round(span / seconds * steps))
        steps *= 4


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    whole = round(seconds)
    if whole >= 3600:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds:.3g} s"


def factor(ratio: float) -> str:
    """How many times as fast."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def table(rows: list[Row]) -> str:
    """Markdown: one line for each stage."""
    lines = [
        "| stage | ms a step | min to max | images/s | an epoch | of before | of loops |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(rows):
        ms = [1e3 * seconds for seconds in (row.median, min(row.seconds), max(row.seconds))]
        cells = [
            f"{min(number + 1, 6)} {row.name}",
            f"{ms[0]:.3g}" if ms[0] < 1000 else f"{ms[0]:.0f}",
            " to ".join(f"{each:.3g}" if each < 1000 else f"{each:.0f}" for each in ms[1:]),
            f"{1 / row.per_image:.3g}" if row.per_image > 1e-3 else f"{1 / row.per_image:.0f}",
            duration(EPOCH * row.per_image),
            f"{factor(rows[number - 1].per_image / row.per_image)}x" if number else "",
            f"{factor(rows[0].per_image / row.per_image)}x",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def around_table(path: Path) -> tuple[str, str]:
    """What a file has up to its first mark, and from its second one.

    Raises
    ------
    OutputError
        If the file cannot be read, or does not have each mark once, in this order.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise OutputError(f"--table {path}: cannot be read ({fault.strerror})") from None
    found = re.fullmatch(f"(.*{re.escape(BEGIN)}\n)(.*)({re.escape(END)}.*)", text, re.DOTALL)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or not found:
        raise OutputError(f"--table {path}: expected one line {BEGIN} and, below it, one {END}")
    return found[1], found[3]


def replace_table(path: Path, text: str) -> None:
    """Put ``text`` between the two marks of a file; see :func:`around_table`."""
    before, after = around_table(path)
    with replace_file(path) as file:
        file.write(f"{before}{text}\n{after}")


def _work(options: argparse.Namespace) -> int:
    check_writable(options.json)
    if options.table:
        around_table(options.table)  # a mistake shows before the work
    threads = options.threads or configured_threads()
    os.environ["FASTCONV_THREADS"] = str(threads)
    command = f"python bench/tutorial.py --rounds {options.rounds}"
    command += f" --threads {options.threads}" if options.threads else ""
    command += f" --backend {options.backend}" if options.backend else ""
    with use_backend(options.backend) if options.backend else nullcontext():
        backend = choose_backend().name
        parameters = draw_parameters()
        check(parameters)
        rows = measure(parameters, options.rounds, options.span)
    machine = f"{processor_name()}, threads: {threads}, backend: {backend}, NumPy {np.__version__}"
    text = "\n".join(
        [
            f"<!-- table made by: {command} -->",
            f"{machine}. Median and spread of rounds: {options.rounds}.",
            "",
            table(rows),
            "",
        ]
    )
    if options.json != "-":
        print(text, end="")
    if options.table:
        replace_table(options.table, text)
    write_json(
        options.json,
        {
            "command": command,
            "backend": backend,
            "environment": environment(),
            "rows": [asdict(row) for row in rows],
        },
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = Parser("bench/tutorial.py", "Check and time the stages of docs/tutorial.md.")
    parser.prog = "python bench/tutorial.py"
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="default: 5")
    parser.add_argument("--span", type=float, default=0.5, help="seconds of a turn")
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="put the table into it")
    parser.add_backend()
    parser.add_threads()
    parser.add_json("times")
    return run(parser, arguments, _work)


if __name__ == "__main__":
    sys.exit(main())
