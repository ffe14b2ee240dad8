"""The public interface as text: every public name with its signature, one on a line.

``tests/public_api.txt`` is what was promised last, and a test compares. Whoever changes the
interface on purpose writes it again, and lets the difference be seen in review::

    python -m tests.public_api

Sources are read, not imported: modules whose libraries are missing are there too, and annotations
are as they were written, whatever the version of Python. Options of the commands are those of their
parsers.
"""

from __future__ import annotations

import argparse
import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fastconv

PACKAGE = Path(fastconv.__file__).parent
SNAPSHOT = Path(__file__).with_name("public_api.txt")

MODULES = (
    "fastconv", "fastconv.analysis.saliency", "fastconv.averaged_views", "fastconv.data",
    "fastconv.early_stopping", "fastconv.inference", "fastconv.initializers",
    "fastconv.interop.jax", "fastconv.interop.onnx", "fastconv.interop.pytorch",
    "fastconv.interop.pytorch.functional", "fastconv.interop.sklearn", "fastconv.layers",
    "fastconv.loggers", "fastconv.metrics", "fastconv.momentum_schedules", "fastconv.notebook",
    "fastconv.optimizers", "fastconv.plots", "fastconv.preprocessing", "fastconv.rate_finder",
    "fastconv.schedules", "fastconv.training_loop",
)  # fmt: skip
"""Those that users import from."""

COMMANDS = (
    "fastconv.compare", "fastconv.data", "fastconv.evaluate", "fastconv.export",
    "fastconv.predict", "fastconv.profile", "fastconv.report", "fastconv.reproduce",
    "fastconv.search", "fastconv.train", "fastconv.verify",
)  # fmt: skip
"""What ``python -m`` runs."""

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@cache
def _tree(module: str) -> ast.Module:
    """Parse a module of the package."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _statements(module: str) -> Iterator[ast.stmt]:
    """Yield what stands at a module's top, and what only type checkers see there."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from statement.body
        else:
            yield statement


@cache
def _definitions(module: str) -> dict[str, Definition]:
    """What a module defines itself, by name."""
    found: dict[str, Definition] = {}
    for statement in _statements(module):
        match statement:
            case ast.FunctionDef() | ast.ClassDef():
                found[statement.name] = statement
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
    return found


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Names that a module has from others of the package, with where from."""
    found = {}
    for statement in _statements(module):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(
            "fastconv"
        ):
            for alias in statement.names:
                found[alias.asname or alias.name] = (statement.module or "", alias.name)
    return found


def public_names(module: str) -> list[str]:
    """Names without an underscore: those of ``__all__``, else reexports and definitions.

    Parameters
    ----------
    module
        Its full name.

    Returns
    -------
    list of str
        In order.
    """
    definitions = _definitions(module)
    listed = definitions.get("__all__")
    if isinstance(listed, ast.Assign) and isinstance(listed.value, ast.List):
        return sorted(ast.literal_eval(listed.value))
    reexported = [
        alias.asname
        for statement in _statements(module)
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if alias.asname == alias.name
    ]
    own = [
        name
        for name, definition in definitions.items()
        if isinstance(definition, ast.FunctionDef | ast.ClassDef) or name.isupper()
    ]
    return sorted(name for name in {*own, *reexported} if not name.startswith("_"))


def _origin(module: str, name: str) -> tuple[str, Definition | None]:
    """The module that defines a name, and its definition; None for a module."""
    definition = _definitions(module).get(name)
    if definition is not None:
        return module, definition
    source, original = _imports(module)[name]
    if PACKAGE.joinpath(*source.split(".")[1:], f"{original}.py").is_file():
        return f"{source}.{original}", None
    return _origin(source, original)


def _signature(function: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"({ast.unparse(function.args)}){returns}"


def _decorators(thing: ast.FunctionDef | ast.ClassDef) -> set[str]:
    return {ast.unparse(one).split("(")[0].split(".")[-1] for one in thing.decorator_list}


def _bases(module: str, thing: ast.ClassDef) -> tuple[list[str], list[ast.stmt]]:
    """Public bases of a class, and its members, those of its private bases first."""
    names: list[str] = []
    members: list[ast.stmt] = []
    for base in map(ast.unparse, thing.bases):
        if not base.startswith("_"):
            names.append(base)
            continue
        source, definition = _origin(module, base)
        if isinstance(definition, ast.ClassDef):
            of_base = _bases(source, definition)
            names += of_base[0]
            members += of_base[1]
    return names, members + thing.body


def _of_class(module: str, name: str, thing: ast.ClassDef) -> Iterator[str]:
    """A class's head, and its public fields and methods."""
    bases, members = _bases(module, thing)
    yield f"class {name}({', '.join(bases)})"
    told: dict[str, str] = {}
    for member in members:
        match member:
            case ast.AnnAssign(target=ast.Name(id=field)) if not field.startswith("_"):
                default = " = ..." if member.value else ""
                told[field] = f"  {field}: {ast.unparse(member.annotation)}{default}"
            case ast.FunctionDef(name=method) if method in (
                "__init__",
                "__call__",
            ) or not method.startswith("_"):
                decorators = _decorators(member) & {"property", "classmethod", "staticmethod"}
                told[method] = f"  {' '.join([*sorted(decorators), method])}{_signature(member)}"
    yield from told.values()


def _of_name(module: str, name: str) -> Iterator[str]:
    origin, definition = _origin(module, name)
    full = f"{module}.{name}"
    if origin != module and origin in MODULES and definition is not None:
        yield f"{full} = {origin}.{name}"
        return
    match definition:
        case ast.ClassDef():
            yield from _of_class(origin, full, definition)
        case ast.FunctionDef():
            yield f"{full}{_signature(definition)}"
        case None:
            yield f"module {full}"
        case _:
            yield full


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options and positional arguments of a command, in order."""
    for action in parser._actions:
        yield "  " + (", ".join(action.option_strings) or str(action.metavar or action.dest))


def _of_command(command: str) -> Iterator[str]:
    place = PACKAGE.joinpath(*command.split(".")[1:])
    module = importlib.import_module(f"{command}.__main__" if place.is_dir() else command)
    yield f"python -m {command}"
    yield from sorted(_options(module.make_parser()))


def public_api() -> str:
    """Make the text of the snapshot."""
    lines = []
    for module in MODULES:
        for name in public_names(module):
            lines += _of_name(module, name)
    for command in COMMANDS:
        lines += _of_command(command)
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    new = SNAPSHOT.with_suffix(".new")
    new.write_text(public_api(), encoding="utf-8")
    new.replace(SNAPSHOT)
    print(f"{SNAPSHOT}: {len(SNAPSHOT.read_text(encoding='utf-8').splitlines())} lines")
