"""The command line: ``python -m fastconv.compare``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastconv.cli.command_line import Parser, check_writable, positive, run, write_json

if TYPE_CHECKING:
    from fastconv.compare.outcome import Measured

_MODULE = "fastconv.compare"
_WIDTHS, _DEPTHS, _BATCHES = (4, 16, 64), (2, 4), (1, 16, 128)
_SPAN = 0.1
"""Seconds of a turn."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        _MODULE,
        "How small is small: time training steps of plain networks beside PyTorch and JAX, each by "
        "its fastest way, and say from which width on they are as fast.",
    )
    add = parser.add_argument
    for name, default, what in (
        ("--width", _WIDTHS, "filters of each convolution"),
        ("--depth", _DEPTHS, "convolutions"),
        ("--batch", _BATCHES, "samples in a step"),
    ):
        add(
            name, action="append", type=positive, metavar="N",
            help=f"{what} (repeatable; default: {', '.join(map(str, default))})",
        )  # fmt: skip
    add(
        "--peer", action="append", choices=("pytorch", "jax"),
        help="only this one (repeatable; default: those that are installed)",
    )  # fmt: skip
    add("--rounds", type=positive, default=5, metavar="N", help="turns of each (default: 5)")
    parser.add_threads()
    add("--table", metavar="FILE.md", help="write the tables to a file too")
    add("--chart", metavar="FILE.png", help="draw the ratios")
    parser.add_json("turns")
    add("--quiet", action="store_true", help="say nothing before the tables")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _compare)


def _compare(options: argparse.Namespace) -> int:
    from fastconv._files import replace_file
    from fastconv.backends.compiled.threads import default_threads
    from fastconv.backends.configuration import processor_name
    from fastconv.cli.command_line import execution_config
    from fastconv.compare.measuring import PEERS, CompareError, Contender, measure
    from fastconv.compare.outcome import Measured, report
    from fastconv.compare.setting import Setting

    check_writable(options.json)
    check_writable(options.table, "--table")
    check_writable(options.chart, "--chart")
    if options.chart and Path(options.chart).suffix not in (".png", ".svg"):
        raise CompareError(
            f"--chart is {options.chart!r}; expected a name that ends in .png or .svg"
        )
    peers = _peers(options.peer)
    threads = execution_config(options).threads or default_threads()
    settings = [
        Setting(width, depth, batch)
        for depth, batch, width in itertools.product(
            sorted(set(options.depth or _DEPTHS)),
            sorted(set(options.batch or _BATCHES)),
            sorted(set(options.width or _WIDTHS)),
        )
    ]
    measured = []
    with contextlib.ExitStack() as processes:
        contenders = [
            processes.enter_context(Contender(who, threads, _SPAN)) for who in ("fastconv", *peers)
        ]
        for setting in settings:
            measured.append(
                Measured(setting, tuple(measure(setting, contenders, options.rounds, _SPAN)))
            )
            if not options.quiet:
                print(_line(measured[-1]), file=sys.stderr, flush=True)
    versions = ", ".join(
        f"{module} {importlib.metadata.version(module)}"
        for module in (PEERS[peer] for peer in peers)
    )
    machine = f"{processor_name()}, {threads} threads, {versions}, {options.rounds} rounds"
    text = report(measured, peers, machine)
    if options.table:
        with replace_file(options.table, follows_links=True) as file:
            file.write(text)
    if options.chart:
        _draw(measured, peers, Path(options.chart))
    if options.json != "-":
        print(text, end="")
    write_json(options.json, {"machine": machine, "measured": [each.table() for each in measured]})
    return 0


def _peers(wanted: Sequence[str] | None) -> list[str]:
    """Return who can take part, of those that are wanted."""
    from fastconv.compare.measuring import PEERS, CompareError

    there = {name for name, module in PEERS.items() if importlib.util.find_spec(module)}
    missing = [name for name in wanted or () if name not in there]
    if missing or not there:
        names = " and ".join(missing or PEERS)
        raise CompareError(
            f"{names} not installed; pip install 'fastconv[peers]', or one of them alone"
        )
    return [name for name in PEERS if name in (wanted or there)]


def _line(measured: Measured) -> str:
    """Say how a setting went."""
    own, setting = measured.turns[0], measured.setting
    ratios = (
        f"{turns.who} x {measured.ratio(turns.who):.2f} ({turns.variant})"
        for turns in measured.turns[1:]
    )
    return (
        f"depth {setting.depth}, batch {setting.batch}, width {setting.width}: "
        f"{1e6 * own.best:.0f} us ({own.variant}), {', '.join(ratios)}"
    )


def _draw(measured: Sequence[Measured], peers: Sequence[str], file: Path) -> None:
    """Write the chart."""
    from fastconv import plots
    from fastconv.compare.chart import chart

    with plots.theme("light"):
        plots.save(chart(measured, peers), file.with_suffix(""), (file.suffix[1:],), dpi=110)


if __name__ == "__main__":
    sys.exit(main())
