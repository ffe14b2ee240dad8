"""The layouts as a C header: ``python -m fastconv.backends.compiled.instructions.header FILE``.

The kernels in ``kernels/cpu`` read their instructions through the structures of
``kernels/cpu/instruction_layouts.h``, which this module writes. Without FILE, it prints them.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fastconv.backends.compiled.instructions import choices
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import (
    CONDITION,
    CONDITION_WORDS,
    MOST_INTEGERS,
    MOST_POINTERS,
    MOST_REALS,
    POINTERS,
    WORDS,
    Group,
    Layout,
)
from fastconv.backends.compiled.instructions.layouts import LAYOUTS
from fastconv.plans.activations import ACTIVATION_KINDS

_WIDTH = 100
_HEAD = """\
/* The words of an encoded instruction, by name: a structure for each kernel.
 *
 * Made from fastconv/backends/compiled/instructions/layouts; to change it, change them and run
 *     python -m fastconv.backends.compiled.instructions.header kernels/cpu/instruction_layouts.h
 */
#ifndef FASTCONV_INSTRUCTION_LAYOUTS_H
#define FASTCONV_INSTRUCTION_LAYOUTS_H

#include <stdint.h>

typedef int64_t address; /* of an array; 0: there is none */
"""

_HEAD_OF_INSTRUCTION = """\
/* The first words of every instruction. */
struct instruction_head {
    address kernel;
    int64_t max_threads; /* how many find work in it; threads beyond that pass by */
    int64_t barrier; /* 1 if all threads must have finished it before the next one starts */
    address tile_table; /* of tiles, where the engine has one */
};
"""

_ENDS_OF_INSTRUCTION = """\
/* The first words and the last one of every instruction. */
struct instruction_ends {
    struct instruction_head head;
    int64_t fields[%d];
    address condition; /* CONDITION_WORDS words: it runs if one of them is not 0; may be NULL */
};
"""


def header() -> str:
    """Return the text of the header."""
    parts = [
        _HEAD,
        f"enum {{ WORDS = {WORDS} }}; /* of an instruction */\n"
        f"enum {{ CONDITION_WORDS = {CONDITION_WORDS} }};\n",
        _HEAD_OF_INSTRUCTION,
        _ENDS_OF_INSTRUCTION % (CONDITION - POINTERS),
        _enumeration("What the accumulators of a tile start from.", choices.ACCUMULATOR_INITS),
        _enumeration(
            "The epilogue of a tile: what becomes of its sums.",
            choices.EPILOGUES,
        ),
        _enumeration(
            "Activations, in the order of fastconv.plans.activations.ACTIVATIONS.",
            [f"KIND_{kind.upper()}" for kind in ACTIVATION_KINDS],
        ),
        *_groups(),
        *(_structure(LAYOUTS[kernel]) for kernel in Kernel),
        "#endif\n",
    ]
    return "\n".join(parts)


def _enumeration(comment: str, names: Sequence[str]) -> str:
    body = textwrap.fill(
        f"enum {{ {', '.join(names)} }};", _WIDTH, subsequent_indent="    ", break_long_words=False
    )
    return f"/* {comment} */\n{body}\n"


def _groups() -> Iterator[str]:
    seen: dict[str, Group] = {}
    for kernel in Kernel:
        for group in LAYOUTS[kernel].groups:
            if group.name not in seen:
                seen[group.name] = group
                layout = LAYOUTS[kernel]
                comment = "Fields that stand side by side in several kernels."
                kind = "double" if group.fields[0] in layout.reals else "int64_t"
                lines = [_member(f"{kind} {name}", layout.meanings[name]) for name in group.fields]
                yield _braces(group.name, comment, lines)


def _structure(layout: Layout) -> str:
    lines = ["    struct instruction_head head;\n"]
    for what, kind, names, room in (
        ("pointers", "address", layout.pointers, MOST_POINTERS),
        ("integers", "int64_t", layout.integers, MOST_INTEGERS),
        ("reals", "double", layout.reals, MOST_REALS),
    ):
        lines += _members(layout, kind, names)
        if len(names) < room:
            lines.append(f"    {kind} no_{what}[{room - len(names)}];\n")
    lines.append("    address condition;\n")
    return _braces(layout.kernel, layout.formula, lines)


def _members(layout: Layout, kind: str, names: Iterable[str]) -> Iterator[str]:
    of_group = {name: group for group in layout.groups for name in group.fields}
    for name in names:
        group = of_group.get(name)
        if group is None:
            meaning = layout.meanings[name]
            if name in layout.optional:
                meaning += "; may be NULL"
            yield _member(f"{kind} {name}", meaning)
        elif name == group.fields[0]:
            yield f"    struct {group.name} {group.name};\n"


def _member(declaration: str, meaning: str) -> str:
    if meaning == declaration.partition(" ")[2]:
        return f"    {declaration};\n"
    lines = textwrap.wrap(
        f"{declaration}; /* {meaning} */", _WIDTH, initial_indent="    ",
        subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def _braces(name: str, comment: str, lines: Iterable[str]) -> str:
    head = textwrap.fill(
        f"/* {comment} */", _WIDTH, subsequent_indent=" * ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return f"{head}\nstruct {name} {{\n{''.join(lines)}}};\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or print the header; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fastconv.backends.compiled.instructions.header",
        description="The layouts of instructions as a C header.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="where to write it (default: print it)")
    file: Path | None = parser.parse_args(arguments).file
    if file is None:
        sys.stdout.write(header())
        return 0
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(header(), encoding="utf-8")
        new.replace(file)
    except OSError as fault:
        new.unlink(missing_ok=True)
        sys.stderr.write(f"{parser.prog}: {file} cannot be written: {fault.strerror}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
