"""The report of a verification, as text to paste."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from fastconv.backends.configuration import environment, show_config
from fastconv.verify.processes import Outcome

_MOST_SHOWN = 20


def _counted(number: int, one: str) -> str:
    return f"{number:,} {one}{'s' if number != 1 else ''}"


def line_of(outcome: Outcome) -> str:
    """Return what came of one backend in a line.

    Parameters
    ----------
    outcome
        Of the backend.

    Examples
    --------
    >>> from fastconv.verify.check import Subject
    >>> line_of(Outcome(Subject("cython", "avx2", (1, 2)), 3, 40, 1.25))
    'cython avx2, threads 1 2: 3 problems, 40 calls, no failure (1.2 s)'
    """
    subject, failures = outcome.subject, len(outcome.failures)
    threads = f", threads {' '.join(map(str, subject.threads))}" if subject.isa else ""
    told = _counted(failures, "failure") if failures else "no failure"
    return (
        f"{subject}{threads}: {_counted(outcome.checked, 'problem')}, "
        f"{_counted(outcome.calls, 'call')}, {told} ({outcome.seconds:.1f} s)"
    )


def report(outcomes: Sequence[Outcome], seed: int | None = None) -> str:
    """Return the whole report: what was found, how to find it again, and the machine.

    Parameters
    ----------
    outcomes
        Of all backends.
    seed
        Of the problems that were drawn at random, if any were.
    """
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    calls = sum(outcome.calls for outcome in outcomes)
    head = _counted(len(failures), "failure") if failures else "no failure"
    lines = [f"fastconv.verify: {head} in {_counted(calls, 'call')}"]
    if seed is not None:
        lines.append(f"drawn problems: seed {seed}")
    lines += map(line_of, outcomes)
    for number, failure in enumerate(failures[:_MOST_SHOWN], start=1):
        lines += ["", f"{number}. {failure}", f"   {failure.reproducer}"]
    if len(failures) > _MOST_SHOWN:
        lines += ["", f"and {len(failures) - _MOST_SHOWN} more"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        show_config()
    return "\n".join([*lines, "", printed.getvalue().rstrip()]) + "\n"


def table(outcomes: Sequence[Outcome], seed: int | None = None) -> dict[str, Any]:
    """Return the report as JSON has it; parameters as for :func:`report`."""
    return {
        "failures": [failure.table() for outcome in outcomes for failure in outcome.failures],
        "seed": seed,
        "subjects": [
            {
                "backend": outcome.subject.backend,
                "isa": outcome.subject.isa,
                "threads": list(outcome.subject.threads),
                "problems": outcome.checked,
                "calls": outcome.calls,
                "failures": len(outcome.failures),
                "seconds": outcome.seconds,
            }
            for outcome in outcomes
        ],
        "environment": environment(),
    }
