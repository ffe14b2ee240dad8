"""Predictions beside PyTorch and onnxruntime: ``python bench/predictor.py``.

One image and batches of them, of networks with the weights that a training begins with; nobody
changes them meanwhile, and fastconv's predictors are frozen. Every contender lives in a process of
its own with the same number of threads, and they take turns. The time is from a call in Python to
the array of scores, the median over the rounds, with the fastest and the slowest one. PyTorch is in
inference mode; its eager column is the faster one of NCHW and channels_last.

``--table`` prints the table as Markdown and nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

import instruction_sets
import markdown_table
from lists import list_of
from peers import Line, measure, seconds
from workload import Workload

from fastconv.backends.configuration import available_cores, processor_name
from fastconv.backends.selection import NAMES
from fastconv.cli.command_line import Parser, positive, run

RECIPES = ("lenet5", "mnist-lenet", "cifar10-deep")
BATCHES = (1, 32)
BACKENDS = ("numpy", "numba", "cython")
PEERS = {"pytorch": ("torch",), "onnxruntime": ("onnxruntime", "onnx", "torch")}
"""Contenders and the modules that they need."""
VARIANTS = {"pytorch": ("PyTorch eager", "PyTorch compiled"), "onnxruntime": ("onnxruntime",)}
"""What the variants of a peer begin with that have a column together."""


def columns_of(field: list[str]) -> list[tuple[str, str]]:
    """The contender of each column, and what its variants begin with."""
    return [
        (who, prefix) for who in field for prefix in VARIANTS.get(who, (who.replace("-", " "),))
    ]


def fastest_of(lines: list[Line], who: str, prefix: str) -> Line | None:
    """The variant of a column whose median is least."""
    own = [line for line in lines if line.who == who and line.variant.startswith(prefix)]
    return min(own, key=lambda line: line.median, default=None)


def row_of(recipe: str, batch: int, lines: list[Line], field: list[str]) -> list[str]:
    """Cells of a workload: microseconds of each column, and the best peer in times of cython."""
    cells, peers, ours = [], [], None
    for who, prefix in columns_of(field):
        line = fastest_of(lines, who, prefix)
        if line is None:
            cells.append("")
            continue
        low, high = (1e6 * end(line.seconds) for end in (min, max))
        cells.append(f"{1e6 * line.median:.1f} ({low:.1f} to {high:.1f})")
        if who in PEERS:
            peers.append(line.median)
        elif who == "fastconv-cython":
            ours = line.median
    ratio = f"{min(peers) / ours:.2f}x" if peers and ours else ""
    return [f"`{recipe}`, {batch} image{'s' if batch > 1 else ''}", *cells, ratio]


def head_of(field: list[str]) -> str:
    """The first two lines of the table."""
    names = [prefix for _, prefix in columns_of(field)]
    return markdown_table.head(
        ["prediction, us", *names, "the fastest peer, in times of fastconv cython"]
    )


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser("bench/predictor.py", "Measure predictions beside PyTorch and onnxruntime.")
    parser.prog = "python bench/predictor.py"
    parser.add_argument("--threads", type=positive, default=min(2, available_cores()))
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--span", type=seconds, default=0.3, help="seconds of a turn")
    for option, read, default in (
        ("--recipes", list_of(str), RECIPES),
        ("--batches", list_of(positive), BATCHES),
        ("--backends", list_of(str, NAMES), BACKENDS),
        ("--peers", list_of(str, tuple(PEERS), 0), tuple(PEERS)),
    ):
        parser.add_argument(option, type=read, default=list(default), metavar="...,...")
    parser.add_argument("--table", action="store_true", help="print the Markdown table alone")
    return parser


def _compare(own: argparse.Namespace) -> int:
    for recipe in own.recipes:
        for batch in own.batches:
            Workload.of(recipe, batch)  # a mistake is told before anything is measured
    remarks = sys.stderr if own.table else sys.stdout
    field = [f"fastconv-{name}" for name in own.backends]
    for peer in own.peers:
        missing = [name for name in PEERS[peer] if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{peer}: left out, {missing[0]} is not installed", file=remarks)
        else:
            field.append(peer)
    print(f"{processor_name()}, {own.threads} threads, {own.rounds} rounds", file=remarks)
    print(head_of(field), flush=True)
    for recipe in own.recipes:
        for batch in own.batches:
            lines = measure(
                (recipe, batch),
                field,
                own.threads,
                own.rounds,
                own.span,
                instruction_sets.BEST,
                "predicting.py",
            )
            print(markdown_table.row(row_of(recipe, batch, lines, field)), flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    return run(make_parser(), arguments, _compare)


if __name__ == "__main__":
    sys.exit(main())
