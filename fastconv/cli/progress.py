"""Display of a run: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv._extras import missing_extra

try:
    from rich.console import Console
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.cli.progress", fault) from None

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from fastconv.inference import Score
    from fastconv.training_loop import HistoryRecord


def percent(accuracy: float | None) -> str:
    """Percent with three decimals; a dash where there is none."""
    return "-" if accuracy is None else f"{100 * accuracy:.3f}"


def record_line(record: HistoryRecord) -> str:
    """One line of plain text for a line of the history."""
    parts = [f"[Step {record.step:05d}]: Loss {record.training.loss:.3f}"]
    if record.training.accuracy is not None:
        parts.append(f"Accuracy: {percent(record.training.accuracy)}")
    parts.append(f"Time: {record.seconds:.2f} seconds")
    if record.validation is not None:
        parts.append(f"Validation Loss {record.validation.loss:.3f}")
        if record.validation.accuracy is not None:
            parts.append(f"Validation Accuracy: {percent(record.validation.accuracy)}")
    return " | ".join(parts)


class PipedConsole(Console):
    """A console that says where its reader has left, for the command line to answer.

    Rich's own ends the process there and then, with an exit code of its own.
    """

    def on_broken_pipe(self) -> None:
        """Raise a BrokenPipeError."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Display:
    """Shows a run on a console.

    Parameters
    ----------
    quiet
        Show nothing.
    to_stderr
        Leave stdout to others.
    """

    def __init__(self, *, quiet: bool, to_stderr: bool) -> None:
        self._console = PipedConsole(
            stderr=to_stderr, quiet=quiet, highlight=False, soft_wrap=True, markup=False
        )
        self._batch_size = 1
        self._progress: Progress | None = None
        self._task: TaskID
        self._began = (0, 0.0)

    def text(self, line: str = "") -> None:
        """Show a line."""
        self._console.print(line)

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Show names and values."""
        from rich.table import Table

        table = Table(title=title, show_header=False, title_justify="left")
        table.add_column(style="bold" if self._console.is_terminal else "")
        table.add_column()
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def columns(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show rows below heads; all cells but the first to the right."""
        from rich.table import Table

        table = Table()
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def start(self, step: int, steps: int, batch_size: int) -> None:
        """Begin the bar, on a terminal; the batch size is for samples per second."""
        self._batch_size = batch_size
        self._began = step, time.perf_counter()
        if not self._console.is_terminal or self._console.quiet:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("loss {task.fields[loss]}  accuracy {task.fields[accuracy]}"),
            TextColumn("{task.fields[speed]} samples/s"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task(
            "", total=steps, completed=step, epoch=1, loss="-", accuracy="-", speed="-"
        )
        self._progress.start()

    def stop(self) -> None:
        """End the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        """Move the bar."""
        if self._progress is None:
            return
        first, began = self._began
        seconds = time.perf_counter() - began
        speed = (step - first) * self._batch_size / seconds if seconds > 0 else 0.0
        self._progress.update(
            self._task,
            completed=step,
            epoch=epoch,
            loss=f"{score.loss:.3f}",
            accuracy=f"{percent(score.accuracy)} %",
            speed=f"{speed:,.0f}",
        )

    def on_record(self, record: HistoryRecord) -> None:
        """Show a line of the history."""
        self._console.print(record_line(record))
