"""Checks in processes of their own: one for each backend and instruction set.

A kernel that ends its process is found as any other fault is, and the instruction set is chosen as
a user chooses it, by FASTCONV_ISA.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fastconv.backends.selection import NAMES, backend_state
from fastconv.verify.check import COMPILED, DTYPES, Failure, Subject, Tally, check_problem

_CHILD = "from fastconv.verify.processes import work; work()"


@dataclass(frozen=True)
class Work:
    """What a process is to check.

    Parameters
    ----------
    subject
        The backend and its instruction set.
    problems, recipes
        Descriptors, and names or files.
    kernel, dtypes
        As for :func:`fastconv.verify.check.check_problem`.
    seed, first, seconds
        Of problems drawn at random, after the others: from number ``first`` on, for so long.
    """

    subject: Subject
    problems: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    kernel: str | None = None
    dtypes: tuple[str, ...] = DTYPES
    seed: int = 0
    first: int = 0
    seconds: float = 0.0

    def names(self) -> Iterator[str]:
        """Yield what is checked, one after the other; without end while there are seconds."""
        yield from self.problems
        yield from self.recipes
        if self.seconds:
            from fastconv.verify.random_problems import draw_problem

            end, number = time.monotonic() + self.seconds, self.first
            while time.monotonic() < end:
                yield draw_problem(self.seed, number).descriptor
                number += 1


@dataclass
class Outcome:
    """What a process found.

    Parameters
    ----------
    subject
        What was verified.
    checked
        Problems and recipes that were checked.
    calls, seconds
        Calls that were compared, and how long that took.
    failures
        What is wrong.
    """

    subject: Subject
    checked: int = 0
    calls: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add what another process found out of the same."""
        self.checked += other.checked
        self.calls += other.calls
        self.seconds += other.seconds
        self.failures += other.failures


def subjects(
    backends: Sequence[str] | None = None,
    isas: Sequence[str] | None = None,
    threads: Sequence[int] = (1, 2, 3),
) -> list[Subject]:
    """Return every backend that works here, the compiled ones with each instruction set.

    Parameters
    ----------
    backends, isas
        Those to leave in; None for all.
    threads
        For the compiled ones.
    """
    found = []
    for name in NAMES:
        if (backends is not None and name not in backends) or not backend_state(name).works:
            continue
        if name in COMPILED:
            sets = [isa for isa in instruction_sets_of(name) if isas is None or isa in isas]
            found += [Subject(name, isa, tuple(threads)) for isa in sets]
        elif isas is None:
            found.append(Subject(name))
    return found


def instruction_sets_of(backend: str) -> list[str]:
    """Return the names that FASTCONV_ISA may have here for a compiled backend, best first.

    Parameters
    ----------
    backend
        "cython" or "numba".
    """
    if backend == "numba":
        from fastconv.backends.numba.instruction_set import targets

        return [target.name for target in targets()]
    from fastconv.backends.cython import _engine

    return [each["name"] for each in _engine.instruction_sets()]


def work() -> None:
    """Check what standard input says, and print what is found, a line of JSON for each problem."""
    given = json.load(sys.stdin)
    subject = Subject(**{**given["subject"], "threads": tuple(given["subject"]["threads"])})
    order = Work(**{**given, "subject": subject})

    def say(**content: Any) -> None:
        print(json.dumps(content), flush=True)

    recipes = set(order.recipes)
    for name in order.names():
        say(begins=name)
        tally = _check(order, name, is_recipe=name in recipes)
        say(calls=tally.calls, failures=[asdict(failure) for failure in tally.failures])
    say(ends=True)


def _check(order: Work, name: str, *, is_recipe: bool) -> Tally:
    if is_recipe:
        from fastconv.recipe import load_recipe
        from fastconv.verify.recipe_steps import check_recipe

        return check_recipe(order.subject, load_recipe(name), name)
    from fastconv.verify.problems import parse_descriptor

    problem = parse_descriptor(name)
    return check_problem(order.subject, problem, kernel=order.kernel, dtypes=order.dtypes)


def run(order: Work) -> Outcome:
    """Check in a process of its own, and in another one what is left where that breaks off.

    Parameters
    ----------
    order
        What to check.
    """
    began = time.monotonic()
    total = Outcome(order.subject)
    left: Work | None = order
    while left is not None:
        part, broken_off = _run_once(left)
        total.add(part)
        left = _rest(left, part.checked, broken_off, time.monotonic() - began)
    total.seconds = time.monotonic() - began
    return total


def _run_once(order: Work) -> tuple[Outcome, bool]:
    """Run a process; return what it found, and whether it ended before its time."""
    found, begun, has_ended = Outcome(order.subject), "", False
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONIOENCODING": "utf-8",
        **({"FASTCONV_ISA": order.subject.isa} if order.subject.isa else {}),
    }
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace") as errors,
        subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors, env=environment, encoding="utf-8", errors="backslashreplace",
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None  # they are pipes
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(order)))
            process.stdin.close()
        except BrokenPipeError:
            pass  # why it has ended already is on its standard error
        for line in process.stdout:
            said = json.loads(line)
            if "begins" in said:
                begun = said["begins"]
                found.checked += 1
            elif "ends" in said:
                has_ended = True
            else:
                found.calls += said["calls"]
                found.failures += [Failure(**each) for each in said["failures"]]
        code = process.wait()
        errors.seek(0)
        told = errors.read()
    if not has_ended:
        found.failures.append(_broken_off(order, begun, code, told))
    return found, not has_ended


def _broken_off(order: Work, begun: str, code: int, told: str) -> Failure:
    """What a process ended with, as a fault of what it had begun."""
    how = f"exit code {code}"
    if code < 0:
        how = signal.Signals(-code).name
    last = (told.strip().splitlines() or [""])[-1]
    subject = order.subject
    return Failure(
        subject.backend, subject.isa, max(subject.threads), begun, order.kernel or "",
        order.dtypes[0] if len(order.dtypes) == 1 else "",
        f"the process ended with {how}{': ' if last else ''}{last}",
    )  # fmt: skip


def _rest(order: Work, checked: int, broken_off: bool, seconds: float) -> Work | None:
    """What is left to check after a process broke off; None where nothing is."""
    if not broken_off or checked == 0:
        return None
    problems, recipes = order.problems[checked:], order.recipes
    checked -= len(order.problems)
    if checked > 0:
        recipes, checked = recipes[checked:], checked - len(order.recipes)
    left = max(0.0, order.seconds - seconds)
    if not (problems or recipes or left):
        return None
    return replace(
        order, problems=problems, recipes=recipes, first=order.first + max(0, checked), seconds=left
    )
