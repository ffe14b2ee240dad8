"""A progress bar for notebooks: ``fit(trainer, steps, observer=ProgressBar(steps))``."""

from __future__ import annotations

import html
import importlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.inference import Score
    from fastconv.training_loop import HistoryRecord

_SECONDS_BETWEEN = 0.1
"""From one picture of the bar to the next; a browser is asked no more often."""


class ProgressBar:
    """A bar in the cell of a notebook, with the last line of the history under it.

    It is an observer of :func:`fastconv.training_loop.fit`, which tells it of the steps that were
    made some hundredths of a second ago: the training does not wait for it.

    Parameters
    ----------
    steps
        Updates that the training is to end at.

    Raises
    ------
    ModuleNotFoundError
        If IPython, which every notebook has, is not installed.

    Examples
    --------
    >>> from fastconv.inference import Score
    >>> bar_html(50, 200, 1, Score(10.0, 18.0, 20.0))[:44]
    '<div><progress value="50" max="200"></progre'
    """

    def __init__(self, steps: int) -> None:
        try:
            display: Any = importlib.import_module("IPython.display")
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "ProgressBar: needs IPython, which every notebook has; pip install ipython",
                name="IPython",
            ) from None
        self._as_html = display.HTML
        self._steps = steps
        self._line = ""
        self._last: tuple[int, int, Score] | None = None
        self._shown = 0.0
        self._handle = display.display(self._as_html(bar_html(0, steps)), display_id=True)

    def on_steps(self, step: int, epoch: int, score: Score) -> None:
        """Move the bar, unless it was moved just now."""
        self._last = step, epoch, score
        now = time.perf_counter()
        if now - self._shown >= _SECONDS_BETWEEN or step == self._steps:
            self._shown = now
            self._show()

    def on_record(self, record: HistoryRecord) -> None:
        """Show the line of the history."""
        self._line = _line_of(record)
        self._show()

    def _show(self) -> None:
        step, epoch, score = self._last or (0, 1, None)
        shown = bar_html(step, self._steps, epoch, score, self._line)
        if self._handle is not None:  # outside of a notebook there is nothing to show it on
            self._handle.update(self._as_html(shown))


def bar_html(
    step: int, steps: int, epoch: int = 1, score: Score | None = None, line: str = ""
) -> str:
    """Return the bar.

    Parameters
    ----------
    step, steps
        Updates made, and in all.
    epoch
        Number of the epoch, from 1.
    score
        Over the epoch so far.
    line
        Text under the bar.
    """
    said = f"epoch {epoch}, step {step:,} of {steps:,}"
    if score is not None:
        said += f", loss {score.loss:.4f}"
        if score.accuracy is not None:
            said += f", accuracy {100 * score.accuracy:.2f} %"
    under = f"<br><small>{html.escape(line)}</small>" if line else ""
    return (
        f'<div><progress value="{step}" max="{steps}"></progress> {html.escape(said)}{under}</div>'
    )


def _line_of(record: HistoryRecord) -> str:
    """The last line of the history in words."""
    parts = [f"step {record.step:,}: training loss {record.training.loss:.4f}"]
    if record.validation is not None:
        parts.append(f"validation loss {record.validation.loss:.4f}")
        if record.validation.accuracy is not None:
            parts.append(f"validation accuracy {100 * record.validation.accuracy:.2f} %")
    return ", ".join(parts)
