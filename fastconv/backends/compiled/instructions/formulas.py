"""Activations by formula as C and CUDA C++: ``python -m ...instructions.formulas FILE``.

What the table of activations (:mod:`fastconv.plans.activations`) has as formulas, and the
polynomials of the error function, become functions of one element in
``kernels/cpu/activation_formulas.h``, or with a name that ends in .cuh, in
``kernels/cuda/activation_formulas.cuh``. Without FILE, the first is printed.
"""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastconv.plans.activations import ACTIVATIONS
from fastconv.plans.error_function import ERF_FAR, ERF_IS_ONE, ERF_NEAR

_WIDTH = 100
_COMMAND = "python -m fastconv.backends.compiled.instructions.formulas"

_HEAD_OF_C = f"""\
/* Activations of one element by the formulas of fastconv/plans/activations.py; the error function.
 *
 * Made from there; to change it, change that and run
 *     {_COMMAND} kernels/cpu/activation_formulas.h
 */
"""

_HEAD_OF_CUDA = f"""\
// Activations of one number by the formulas of fastconv/plans/activations.py; the error function.
//
// Made from there; to change it, change that and run
//     {_COMMAND} kernels/cuda/activation_formulas.cuh
#pragma once

#include "exponential.cuh"

namespace fastconv {{
"""

_END_OF_CUDA = """\
}  // namespace fastconv
"""


@dataclass(frozen=True)
class _Language:
    """How a language writes a function of one element.

    Parameters
    ----------
    real
        The type of an element.
    function
        What stands in front of the name of a function.
    name
        The name of a function for that type, around {}.
    """

    real: str
    function: str
    name: str


_C = _Language("REAL", "INLINE REAL", "TYPED({})")
_CUDA = _Language("T", "template <typename T>\n__device__ inline T", "{}")

_OPERATORS: Mapping[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def c_header() -> str:
    """Return the text of the header in C."""
    return "\n".join([_HEAD_OF_C, *_error_function(_C), *_functions(_C), _cases_of_c()])


def cuda_header() -> str:
    """Return the text of the header in CUDA C++."""
    kinds = ", ".join(kind.upper() for kind in ACTIVATIONS)
    parts = [
        _HEAD_OF_CUDA,
        "// In the order of fastconv.plans.activations.ACTIVATIONS.\n"
        + _filled(f"enum Kind {{ {kinds} }};", "    "),
        *_error_function(_CUDA),
        *_functions(_CUDA),
        _choice_of_cuda("value", "x"),
        _choice_of_cuda("derivative", "kept"),
        _END_OF_CUDA,
    ]
    return "\n".join(parts)


def _functions(language: _Language) -> Iterator[str]:
    for kind, activation in ACTIVATIONS.items():
        if (formula := activation.formula) is not None:
            yield _function(language, f"{kind}_value", "x", formula.value)
            yield _function(language, f"{kind}_derivative", activation.keeps, formula.derivative)


def _function(language: _Language, name: str, argument: str, formula: str) -> str:
    *steps, last = ast.parse(formula.replace("; ", ";").replace(";", "\n")).body
    lines = [_begin(language, name, argument)]
    for step in steps:
        assert isinstance(step, ast.Assign), formula
        (target,) = step.targets
        given = _expression(language, step.value)
        lines.append(_filled(f"    const {language.real} {ast.unparse(target)} = {given};"))
    assert isinstance(last, ast.Expr), formula
    lines.append(_filled(f"    return {_expression(language, last.value)};"))
    return "".join(lines) + "}\n"


def _begin(language: _Language, name: str, argument: str) -> str:
    return f"{language.function} {language.name.format(name)}({language.real} {argument}) {{\n"


def _expression(language: _Language, node: ast.expr) -> str:
    """One expression; every operation in parentheses, every number of the type of an element."""
    match node:
        case ast.Constant():
            return f"({language.real}){node.value!r}"
        case ast.Name(id="one"):
            return f"({language.real})1"
        case ast.Name():
            return node.id
        case ast.UnaryOp(op=ast.USub()):
            return f"-{_expression(language, node.operand)}"
        case ast.BinOp():
            operands = [_expression(language, each) for each in (node.left, node.right)]
            return f"({f' {_OPERATORS[type(node.op)]} '.join(operands)})"
        case ast.Compare():
            operands = [_expression(language, each) for each in (node.left, *node.comparators)]
            return f" {_OPERATORS[type(node.ops[0])]} ".join(operands)
        case ast.Call(func=ast.Name(id="where")):
            condition, above, below = (_expression(language, each) for each in node.args)
            return f"({condition} ? {above} : {below})"
        case ast.Call(func=ast.Name(id=function)):
            arguments = ", ".join(_expression(language, each) for each in node.args)
            return f"{language.name.format(function)}({arguments})"
    raise ValueError(f"{ast.unparse(node)!r} is nothing that formulas have")


def _error_function(language: _Language) -> Iterator[str]:
    real, name = language.real, language.name.format
    for polynomial, coefficients in (("erf_near", ERF_NEAR), ("erf_far", ERF_FAR)):
        lines = [_begin(language, polynomial, "t")]
        for dtype, condition in (
            ("float64", f"    if (sizeof({real}) == 8) {{\n"),
            ("float32", ""),
        ):
            indent = " " * (8 if condition else 4)
            first, *others = coefficients[dtype]
            lines.append(f"{condition}{indent}{real} p = ({real}){first!r};\n")
            lines += [f"{indent}p = p * t + ({real}){each!r};\n" for each in others]
            lines.append(f"{indent}return p;\n{'    }' if condition else '}'}\n")
        yield "".join(lines)
    limit = f"({real})(sizeof({real}) == 8 ? {ERF_IS_ONE['float64']} : {ERF_IS_ONE['float32']})"
    yield "".join(
        [
            _begin(language, "error_function", "x"),
            f"    const {real} a = {name('at_most')}({name('absolute')}(x), {limit});\n",
            f"    const {real} near = a + a * {name('erf_near')}(a * a);\n",
            f"    const {real} far = 1 - {name('exponential')}(-{name('erf_far')}(a - 1));\n",
            f"    const {real} y = a > 1 ? far : near;\n",
            "    return x < 0 ? -y : y;\n}\n",
        ]
    )


def _by_formula() -> list[str]:
    return [kind for kind, activation in ACTIVATIONS.items() if activation.formula is not None]


def _cases_of_c() -> str:
    """A macro that names every activation by formula."""
    cases = " \\\n".join(f"    CASE(KIND_{kind.upper()}, {kind})" for kind in _by_formula())
    return f"#define EACH_FORMULA(CASE) \\\n{cases}\n"


def _choice_of_cuda(what: str, argument: str) -> str:
    """A function that chooses by the kind; a call, so that kernels do not hold all of them."""
    cases = "".join(
        f"    case {kind.upper()}: return {kind}_{what}({argument});\n" for kind in _by_formula()
    )
    return (
        f"template <typename T>\n__device__ __noinline__ T formula_{what}(int kind, T {argument}) "
        f'{{\n    switch (kind) {{\n{cases}    default: return T(nan(""));\n    }}\n}}\n'
    )


def _filled(line: str, indent: str = "        ") -> str:
    return (
        textwrap.fill(
            line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        + "\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or print a header; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=_COMMAND, description="Activations by formula as C, or as CUDA C++."
    )
    parser.add_argument("file", nargs="?", type=Path, help="where to write it (default: print it)")
    file: Path | None = parser.parse_args(arguments).file
    if file is None:
        sys.stdout.write(c_header())
        return 0
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(cuda_header() if file.suffix == ".cuh" else c_header(), encoding="utf-8")
        new.replace(file)
    except OSError as fault:
        new.unlink(missing_ok=True)
        sys.stderr.write(f"{parser.prog}: {file} cannot be written: {fault.strerror}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
