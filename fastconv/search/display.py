"""Display of a search: a bar on a terminal, a line for each trial, the best."""

from __future__ import annotations

from collections.abc import Sequence

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fastconv.cli.progress import Display
from fastconv.report.content import DASH, decimal, duration, percent
from fastconv.search.definition import Definition, Search
from fastconv.search.outcome import Outcome, Trial, best_of
from fastconv.search.space import Dimension, Settings, Space, Value

_BEST = 10
"""Rows of the table at the end."""


def shown_value(value: Value | None) -> str:
    """Return a value of a key for people."""
    if value is None:
        return DASH
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown_score(definition: Definition, score: float | None) -> str:
    """Return a score for people: an accuracy in percent, a loss as it is."""
    return percent(score) if definition.is_maximised else decimal(score)


def shown_range(dimension: Dimension) -> str:
    """Return what a key may be, for people."""
    ends = [shown_value(value) for value in dimension.ends()]
    if dimension.kind == "choice":
        return ", ".join(ends)
    evenly = {"uniform": "uniform", "log_uniform": "uniform in log10", "int": "integers"}
    return f"{ends[0]} to {ends[1]}, {evenly[dimension.kind]}"


def shown_settings(settings: Settings) -> str:
    """Return settings on one line."""
    return ", ".join(f"{key} {shown_value(value)}" for key, value in settings.items())


def table_of_best(
    outcome: Outcome, count: int, *, is_wide: bool
) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the best trials.

    Parameters
    ----------
    outcome
        The trials.
    count
        At most so many rows.
    is_wide
        Whether there is room for the worst and the best training of each trial, and for how well
        it knows the samples that it learned from.
    """
    definition = outcome.search.definition
    several = definition.trainings > 1
    with_stage = definition.finer is not None
    # The score comes first: a phone shows a few columns at a time.
    heads = ["", definition.metric.replace("_", " "), *(["spread"] if several else [])]
    with_training = is_wide and any(trial.gap is not None for trial in outcome.trials)
    heads += ["training", "gap"] if with_training else []
    heads += definition.space
    heads += ["worst training", "best training"] if several and is_wide else []
    heads += ["stage"] if with_stage else []
    rows = []
    for rank, trial in enumerate(outcome.best(count), 1):
        row = [str(rank), shown_score(definition, trial.score)]
        if several:
            row.append(shown_score(definition, trial.spread))
        if with_training:
            row += [shown_score(definition, each) for each in (trial.training_score, trial.gap)]
        row += [shown_value(trial.settings[key]) for key in definition.space]
        if several and is_wide:
            ends = sorted(trial.scores, reverse=not definition.is_maximised)
            row += [shown_score(definition, ends[0]), shown_score(definition, ends[-1])]
        if with_stage:
            row.append(stage_name(trial.stage))
        rows.append(row)
    return heads, rows


def stage_name(stage: int) -> str:
    """Return a stage's name for people."""
    return "finer" if stage else "coarse"


class SearchDisplay(Display):
    """Shows a search on a console.

    Parameters
    ----------
    definition
        What is searched.
    quiet
        Show nothing.
    to_stderr
        Leave stdout to others.
    """

    def __init__(self, definition: Definition, *, quiet: bool, to_stderr: bool) -> None:
        super().__init__(quiet=quiet, to_stderr=to_stderr)
        self._definition = definition
        self._found: list[Trial] = []
        self._bar: tuple[Progress, TaskID] | None = None

    def show_head(self, search: Search, jobs: int, threads: int) -> None:
        """Say what is searched, and with what."""
        given = self._definition
        self.text(f"search {given.name}: {given.description}".removesuffix(": "))
        trainings = f", {given.trainings} trainings each" if given.trainings > 1 else ""
        self.text(f"recipe {search.base['name']}, method {given.method}{trainings}")
        plural = "s" if threads != 1 else ""
        self.text(f"{jobs} at a time, {threads} thread{plural} each")
        self.text()

    def on_stage(self, stage: int, found: Sequence[Trial], wanted: int, space: Space) -> None:
        """Name a stage, and begin its bar on a terminal."""
        self.stop()
        title = f"{stage_name(stage)} stage: " if self._definition.finer is not None else ""
        finished = len(found)
        self._found += found
        after = f", {finished} of them there already" if found else ""
        self.text(f"{title}{wanted} trial{'s' if wanted != 1 else ''}{after}")
        for key, dimension in space.items():
            self.text(f"  {key}: {shown_range(dimension)}")
        if not self._console.is_terminal or self._console.quiet:
            return
        progress = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("best {task.fields[best]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            expand=True,
        )
        task = progress.add_task("", total=wanted, completed=finished, best=DASH)
        self._bar = progress, task
        progress.start()

    def on_trial(self, trial: Trial, finished: int, wanted: int) -> None:
        """Show a line for a trial."""
        self._found.append(trial)
        found = shown_score(self._definition, trial.score)
        if trial.score is None:
            found = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
        elif trial.spread is not None:
            found += f" ± {shown_score(self._definition, trial.spread)}"
        best = best_of(self._found, self._definition.is_maximised)
        best_score = shown_score(self._definition, best[0].score) if best else DASH
        self.text(
            f"[{finished}/{wanted}] {shown_settings(trial.settings)}: {found}"
            f" | best {best_score} | {duration(trial.seconds)}"
        )
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=finished, best=best_score)

    def on_wait(self) -> None:
        """Say why nothing happens."""
        self.text("waiting for trials of other processes; those that died are made again here")

    def stop(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None

    def show_best(self, outcome: Outcome) -> None:
        """Show the table at the end."""
        heads, rows = table_of_best(outcome, _BEST, is_wide=False)
        if rows:
            self.text()
            # Wrapped where they are read in parts, not wherever the console ends.
            self.columns([".\n".join(head.rsplit(".", 1)) for head in heads], rows)
