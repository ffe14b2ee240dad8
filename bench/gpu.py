"""Training steps on a GPU beside PyTorch's: ``python bench/gpu.py``.

fastconv's step by launches to a stream and as a CUDA graph of 16 steps; PyTorch's step by step, as
a CUDA graph of as many steps, and by torch.compile with mode="reduce-overhead", each the better of
two memory formats, with cudnn.benchmark and a fused update. All gather uint8 images from the card
by index and scale them there; fastconv adds up loss and accuracy besides. They are timed by CUDA
events and take turns in one process. Above the table is what the card can do at most, below it a
whole training at batch size 1 by the clock on the wall, and the time to a process's first step.

A contender that fails, or that finds no memory, says so in its place, and the rest goes on; where
something other than memory was the cause, the exit code is 1.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

import gpu_fastconv
from gpu_ceilings import copying, multiplying
from gpu_facts import facts
from gpu_table import Cell, Report
from lists import list_of
from turns import MOST_STEPS, STEPS_OF_A_PIECE, Contender, Line, take_turns, told
from workload import Workload

from fastconv._files import replace_file
from fastconv.backends import selection
from fastconv.backends.configuration import available_cores
from fastconv.backends.cupy.device import device
from fastconv.backends.selection import BackendError
from fastconv.cli.command_line import (
    Parser,
    check_writable,
    execution_config,
    positive,
    run,
    write_json,
)
from fastconv.execution.config import ExecutionConfig
from fastconv.profiling.cold_start import ColdStartError, measure_cold_start

_NAME = "bench/gpu.py"
_PEERS = ("eager", "graph", "compile")
_WHOLE = "cifar10-deep"
"""Recipe of the whole training, and of the first step."""


def _none_or_more(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number}; expected 0 or more")
    return number


def _steps(text: str) -> int:
    number = int(text)
    if number % STEPS_OF_A_PIECE or not STEPS_OF_A_PIECE <= number <= MOST_STEPS:
        raise argparse.ArgumentTypeError(
            f"{number}; expected a multiple of {STEPS_OF_A_PIECE}, which a graph holds, "
            f"up to {MOST_STEPS}"
        )
    return number


# argparse names the types by it.
_none_or_more.__name__ = _steps.__name__ = "integer"


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_NAME, "Measure training steps on a GPU beside PyTorch's.")
    parser.prog = f"python {_NAME}"
    names = ("mnist-strided", _WHOLE)
    there = gpu_fastconv.PRECISIONS
    parser.add_argument(
        "--recipes", type=list_of(str), default=list(names), metavar="NAME,...",
        help=f"recipes (default: {','.join(names)})",
    )  # fmt: skip
    parser.add_argument(
        "--batches", type=list_of(positive), default=[1, 32, 128, 1024], metavar="N,...",
        help="batch sizes (default: 1,32,128,1024)",
    )  # fmt: skip
    parser.add_argument(
        "--precisions", type=list_of(str, there), default=list(there), metavar="NAME,...",
        help=f"precisions (default: {','.join(there)})",
    )  # fmt: skip
    parser.add_argument(
        "--peers", type=list_of(str, _PEERS, 0), default=list(_PEERS), metavar="NAME,...",
        help=f"ways in which PyTorch runs (default: {','.join(_PEERS)}; '' for none)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=positive, default=15, metavar="N", help="rounds (default: 15)"
    )
    parser.add_argument(
        "--steps", type=_steps, metavar="N",
        help="steps of a turn, a multiple of 16 (default: as many as take 50 ms)",
    )  # fmt: skip
    parser.add_argument(
        "--training-steps", type=_none_or_more, default=50000, metavar="N",
        help="steps of the whole training (default: 50000, an epoch; 0 for none)",
    )  # fmt: skip
    parser.add_argument(
        "--cold-starts", type=_none_or_more, default=3, metavar="N",
        help="processes whose first step is timed (default: 3)",
    )  # fmt: skip
    parser.add_argument("--table", metavar="FILE", help="write everything as Markdown")
    parser.add_json("numbers")
    parser.add_device()
    parser.set_defaults(backend="cupy")
    return parser


def pytorch() -> tuple[ModuleType | None, str]:
    """PyTorch's side, where it has a card, and its version or what it lacks."""
    if importlib.util.find_spec("torch") is None:
        return None, "PyTorch is not installed: fastconv alone"
    side = importlib.import_module("gpu_pytorch")
    fault = side.why_not()
    return (side, side.version()) if fault is None else (None, f"{fault}: fastconv alone")


def _release(side: ModuleType | None) -> None:
    """Give back the memory of contenders that are gone."""
    gc.collect()
    pool = getattr(device().arrays, "get_default_memory_pool", None)
    if pool is not None:
        pool().free_all_blocks()
    if side is not None:
        side.release()


def _save(options: argparse.Namespace, report: Report) -> None:
    """Write what is measured so far, so that nothing is lost with what comes."""
    if options.table:
        with replace_file(options.table) as file:
            file.write(report.text())
    if options.json != "-":
        write_json(options.json, asdict(report))


def measure(
    options: argparse.Namespace, report: Report, side: ModuleType | None, show: Callable[[str], Any]
) -> None:
    """Measure all that the options ask for, and show each part when it is there."""

    def turns(contenders: list[Contender]) -> list[Line]:
        return take_turns(contenders, options.rounds, options.steps, release=lambda: _release(side))

    ceilings = [copying(gpu_fastconv.seconds_of)]
    if side is not None:
        ceilings += [multiplying(each, side.seconds_of) for each in options.precisions]
    report.ceilings = turns(ceilings)
    show(report.before())
    show(report.head())
    for recipe in options.recipes:
        for batch in options.batches:
            for precision in options.precisions:
                workload = Workload.of(recipe, batch)
                contenders = gpu_fastconv.contenders(workload, precision)
                if side is not None:
                    contenders += side.contenders(workload, precision, options.peers)
                gflop = batch * gpu_fastconv.gflop_of_image(recipe)
                cell = Cell(recipe, batch, precision, gflop, turns(contenders))
                report.cells.append(cell)
                show(report.row(cell))
                _save(options, report)
    for precision in options.precisions if options.training_steps else ():
        try:
            report.trainings.append(gpu_fastconv.train(_WHOLE, precision, options.training_steps))
        except Exception as fault:
            report.faults.append(f"training of {_WHOLE}, {precision}: {told(fault)}")
        _release(side)
        _save(options, report)
    if options.cold_starts:
        try:
            report.cold_starts = measure_cold_start(
                _WHOLE,
                ExecutionConfig("cupy", available_cores(), device=options.device),
                None,
                options.cold_starts,
            )
        except ColdStartError as fault:
            report.faults.append(str(fault))
    _save(options, report)
    show(report.after())


def _bench(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    for recipe in options.recipes:
        for batch in options.batches:
            Workload.of(recipe, batch)  # a mistake is told before anything is measured
    check_writable(options.json)
    check_writable(options.table, "--table")
    state = selection.backend_state("cupy")
    if not state.works:
        raise BackendError(f"there is nothing to measure on: {state.reason}")
    execution_config(options)  # a mistake is told before anything is measured
    side, told_of_pytorch = pytorch()
    if side is not None and options.device is not None:
        side.use_device(options.device)
    peers = [side.PEERS[each] for each in options.peers] if side is not None else []
    report = Report(facts(arguments, told_of_pytorch), peers)
    stream = sys.stderr if options.json == "-" else sys.stdout
    measure(options, report, side, lambda text: print(text, file=stream, flush=True))
    if options.json == "-":
        write_json("-", asdict(report))
    return 1 if report.failures() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    typed = sys.argv[1:] if arguments is None else arguments
    return run(make_parser(), typed, lambda options: _bench(options, typed))


if __name__ == "__main__":
    sys.exit(main())
