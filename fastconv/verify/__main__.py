"""The command line: ``python -m fastconv.verify [SPEC...]``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv.backends.selection import NAMES, BackendError, choose_backend
from fastconv.cli.command_line import Parser, check_writable, positive, run, say, write_json

if TYPE_CHECKING:
    from fastconv.verify.processes import Outcome

_MODULE = "fastconv.verify"
_EXIT_FAILURES = 1
_MOST_FLOPS, _MOST_ELEMENTS = 6e7, 400_000
"""Of a layer of a known network that is verified unasked: all is to take minutes."""
_SECONDS_OF_A_TURN = 20.0


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        _MODULE,
        "Compare every backend, instruction set and number of threads on this machine with the "
        "oracle. The exit code is 1 if something is wrong.",
    )
    add = parser.add_argument
    add(
        "spec", nargs="*", metavar="SPEC",
        help="a problem as oneDNN's benchdnn writes it (mb1_ic3oc16_ih32kh3ph1; dh0 is a dense "
        "kernel), a file of such, or a recipe (default: shapes of known networks, and hard ones)",
    )  # fmt: skip
    add(
        "--backend", action="append", metavar="NAME",
        help=f"only this one of {', '.join(NAMES)} (repeatable)",
    )  # fmt: skip
    add(
        "--isa", action="append", metavar="NAME",
        help="only this instruction set of the compiled backends (repeatable; default: "
        "FASTCONV_ISA, or all that this processor has)",
    )  # fmt: skip
    add(
        "--threads", action="append", type=positive, metavar="N",
        help="verify on N threads (repeatable; default: 1, 2, 3 and the cores there are)",
    )  # fmt: skip
    add("--kernel", metavar="NAME", help="only this kernel, such as conv.conv2d_forward")
    add("--dtype", choices=("float32", "float64"), help="only this one (default: both)")
    add(
        "--minutes", type=float, metavar="N",
        help="go on with problems drawn at random for N minutes",
    )  # fmt: skip
    add("--seed", type=int, metavar="N", help="of the drawn problems (default: a new one)")
    add("--report", metavar="FILE", help="write the report to a file too")
    parser.add_allow_custom()
    parser.add_json("report")
    add("--quiet", action="store_true", help="say nothing before the report")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _verify)


def _verify(options: argparse.Namespace) -> int:
    from fastconv._files import replace_file
    from fastconv.verify.processes import Outcome, Work, subjects
    from fastconv.verify.processes import run as check
    from fastconv.verify.report import line_of, report, table

    check_writable(options.json)
    check_writable(options.report, "--report")
    _check_options(options)
    problems, recipes = _read(options)
    dtypes = ("float32", "float64") if options.dtype is None else (options.dtype,)
    isas = options.isa or list(filter(None, [os.environ.get("FASTCONV_ISA")])) or None
    chosen = subjects(options.backend, isas, _threads(options))
    if not chosen:
        raise BackendError(
            f"--isa {', '.join(isas or ())}: no backend has it here; leave it out for all"
        )
    outcomes = [Outcome(subject) for subject in chosen]

    def tell(outcome: Outcome) -> None:
        if not options.quiet:
            print(line_of(outcome), file=sys.stderr, flush=True)

    for outcome in outcomes:
        outcome.add(check(Work(outcome.subject, problems, recipes, options.kernel, dtypes)))
        tell(outcome)
    seed = None
    if options.minutes:
        seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
        _draw(outcomes, seed, options, dtypes)
        for outcome in outcomes:
            tell(outcome)
    text = report(outcomes, seed)
    if options.report:
        with replace_file(options.report, follows_links=True) as file:
            file.write(text)
    if options.json != "-":
        print(text, end="")
    write_json(options.json, table(outcomes, seed))
    return _EXIT_FAILURES if any(outcome.failures for outcome in outcomes) else 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot be verified before anything is."""
    from fastconv.verify.kernel_calls import calls_of
    from fastconv.verify.problems import ProblemError
    from fastconv.verify.shapes import HARD_SHAPES

    for name in options.backend or ():
        if name == "auto":
            raise BackendError("--backend is 'auto'; expected one by name; leave it out for all")
        choose_backend(name)
    if options.minutes is not None and not options.minutes > 0:
        raise ProblemError(f"--minutes is {options.minutes:g}; expected more than 0")
    if options.seed is not None and options.seed < 0:
        raise ProblemError(f"--seed is {options.seed}; expected 0 or more")
    if options.kernel is not None:
        kinds = {type(spec): spec for spec in HARD_SHAPES}
        known = sorted(
            {c.kernel for s in kinds.values() for c in calls_of(s, "float32", integers=True)}
        )
        if options.kernel not in known:
            raise ProblemError(
                f"--kernel is {options.kernel!r}; expected one of {', '.join(known)}"
            )


def _threads(options: argparse.Namespace) -> tuple[int, ...]:
    from fastconv.backends.configuration import available_cores

    return tuple(options.threads or sorted({1, 2, 3, available_cores()}))


def _read(options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the descriptors and the recipes to verify; a recipe brings those of its layers."""
    from fastconv.spec import ConvSpec
    from fastconv.verify.problems import (
        is_descriptor,
        known_problems,
        parse_descriptor,
        read_list,
    )

    problems: list[str] = []
    recipes: list[str] = []
    for spec in options.spec:
        if is_descriptor(spec):
            problem = parse_descriptor(spec)
            problems.append(problem.descriptor)
            read = problem.spec
            if isinstance(read, ConvSpec) and read.dilation != (1, 1) and "_" not in spec:
                rows, columns = read.dilation
                say(
                    _MODULE,
                    f"{spec}: a dilation of {rows} by {columns}; a dense kernel is dh0dw0 here, "
                    f"as in benchdnn",
                )
        elif os.path.isfile(spec) and not spec.endswith(".toml"):
            listed = read_list(spec)
            problems += [problem.descriptor for problem in listed.problems]
            for remark in listed.remarks:
                say(_MODULE, remark)
        else:
            from fastconv.recipe import load_recipe
            from fastconv.verify.recipe_steps import problems_of

            recipes.append(spec)
            problems += [problem.descriptor for problem in problems_of(load_recipe(spec))]
    if not options.spec:
        problems += [problem.descriptor for problem in known_problems(_MOST_FLOPS, _MOST_ELEMENTS)]
    return tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(recipes))


def _draw(
    outcomes: Sequence[Outcome], seed: int, options: argparse.Namespace, dtypes: tuple[str, ...]
) -> None:
    """Verify drawn problems in turns, each backend going on where it was, until time is up."""
    from fastconv.verify.processes import Work
    from fastconv.verify.processes import run as check

    end = time.monotonic() + 60 * options.minutes
    drawn = dict.fromkeys(range(len(outcomes)), 0)
    while (left := end - time.monotonic()) > 0:
        turn = min(_SECONDS_OF_A_TURN, left / len(outcomes))
        for number, outcome in enumerate(outcomes):
            found = check(
                Work(
                    outcome.subject, kernel=options.kernel, dtypes=dtypes, seed=seed,
                    first=drawn[number], seconds=max(1.0, turn),
                )
            )  # fmt: skip
            drawn[number] += found.checked
            outcome.add(found)


if __name__ == "__main__":
    sys.exit(main())
