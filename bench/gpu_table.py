"""What was measured on a GPU, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import markdown_table
from gpu_ceilings import BYTES_COPIED, COPY, gemm_flop
from gpu_fastconv import GRAPH, STREAM, WholeTraining
from turns import OUT_OF_MEMORY, Line

from fastconv.profiling.cold_start import ColdStart


@dataclass(frozen=True)
class Cell:
    """All contenders on a recipe at a batch size in a precision; ``gflop``: of a step, in 1e9."""

    recipe: str
    batch: int
    precision: str
    gflop: float
    lines: list[Line]

    def best(self, who: Sequence[str]) -> Line | None:
        """The fastest of some contenders by its median; None where all failed."""
        there = [line for line in self.lines if line.who in who and line.seconds]
        return min(there, key=lambda line: line.median, default=None)


@dataclass
class Report:
    """Everything, as far as it is measured."""

    facts: list[str]
    peers: list[str]
    ceilings: list[Line] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    trainings: list[WholeTraining] = field(default_factory=list)
    cold_starts: list[ColdStart] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Of what stands in no line: whole trainings and starts."""

    def gemm_rate(self, precision: str) -> float | None:
        """Operations a second of the large product, 1e9."""
        for line in self.ceilings:
            if line.variant == precision and line.seconds:
                return gemm_flop() / line.median / 1e9
        return None

    def head(self) -> str:
        """The first two lines of the table of steps."""
        names = ["recipe", "batch", "precision", GRAPH, STREAM, *self.peers]
        if self.peers:
            names.append("faster than the fastest peer")
        return markdown_table.head([*names, "GFLOP/s", "of GEMM"])

    def row(self, cell: Cell) -> str:
        """A cell's line of that table."""
        cells = [cell.recipe, str(cell.batch), cell.precision]
        cells += [_text(cell, who) for who in (GRAPH, STREAM, *self.peers)]
        ours = cell.best((GRAPH, STREAM))
        if self.peers:
            peer = cell.best(self.peers)
            cells.append(f"{peer.median / ours.median:.2f}x" if ours and peer else "")
        rate = cell.gflop / ours.median if ours else None
        gemm = self.gemm_rate(cell.precision)
        cells.append("" if rate is None else _number(rate))
        cells.append(f"{100 * rate / gemm:.1f} %" if rate and gemm else "")
        return markdown_table.row(cells)

    def failures(self) -> list[str]:
        """A sentence for each failure but those for want of memory, which the table tells."""
        found = [
            f"{cell.recipe}, batch {cell.batch}, {cell.precision}, {_name(line)}: {line.failure}"
            for cell in self.cells
            for line in cell.lines
            if line.failure not in (None, OUT_OF_MEMORY)
        ]
        return found + self.faults

    def before(self) -> str:
        """What stands above the table of steps."""
        lines = [*self.facts, "", *map(_ceiling, self.ceilings), ""]
        lines.append("Microseconds of a step: median (minimum to maximum) of the rounds.")
        return "\n".join([*lines, ""])

    def after(self) -> str:
        """What stands below it."""
        lines = [""]
        if self.trainings:
            lines.append(
                markdown_table.head(["training", "ready after", "seconds", "steps a second"])
            )
            lines += map(_training, self.trainings)
            lines.append("")
        lines += map(_cold_start, self.cold_starts)
        if failures := self.failures():
            lines += ["", "What failed:", "", *(f"* {failure}" for failure in failures)]
        return "\n".join(lines)

    def text(self) -> str:
        """The whole report."""
        table = [self.head(), *map(self.row, self.cells)]
        return "\n".join([self.before(), *table, self.after()]).rstrip() + "\n"


def _name(line: Line) -> str:
    return f"{line.who} {line.variant}".strip()


def _number(value: float) -> str:
    return f"{value:,.{2 if value < 100 else 1}f}"


def _spread(values: Sequence[float], median: float, unit: str = "") -> str:
    middle, least, most = map(_number, (median, min(values), max(values)))
    return f"{middle}{unit} ({least} to {most})"


def _text(cell: Cell, who: str) -> str:
    """The better variant of a contender, in microseconds."""
    line = cell.best([who])
    if line is not None:
        microseconds = [1e6 * each for each in line.seconds]
        return f"{_spread(microseconds, 1e6 * line.median)} {line.variant}".rstrip()
    failures = [line.failure for line in cell.lines if line.who == who]
    if not failures:
        return ""
    return OUT_OF_MEMORY if OUT_OF_MEMORY in failures else "failed"


def _ceiling(line: Line) -> str:
    if not line.seconds:
        return f"* {_name(line)}: {line.failure}"
    # A copy reads and writes.
    work, unit = (2 * BYTES_COPIED, "GB/s") if line.who == COPY else (gemm_flop(), "GFLOP/s")
    rates = [work / each / 1e9 for each in line.seconds]
    return f"* {_name(line)}: {_spread(rates, work / line.median / 1e9, f' {unit}')}"


def _training(training: WholeTraining) -> str:
    name = f"{training.recipe}, batch 1, {training.precision}: {training.steps} steps"
    return markdown_table.row(
        [name, f"{training.seconds_to_get_ready:.1f} s", f"{training.seconds:.2f}",
         f"{training.steps / training.seconds:,.0f}"]
    )  # fmt: skip


def _cold_start(start: ColdStart) -> str:
    return (
        f"From the start of a process to its first step, {start.kind}: "
        f"{start.total_median / 1e3:.2f} s, median of {start.processes} "
        f"(fastest {start.total_least / 1e3:.2f} s)"
    )
