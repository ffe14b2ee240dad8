"""What CUDA kernels take of a card: registers, memory, and code, as NVIDIA's compiler says.

``python -m tests.cuda_resources`` writes ``cuda_budgets.json`` again, after a change that is worth
what it takes, or with ``--source FILE.cu`` what it has of the kernels of one source; ``--table``
prints the products' as a page has them.
"""

import argparse
import json
import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from test_cuda_compiler import DTYPES, SOURCES, Program, version

from fastconv.backends.cupy.sources import code_of, instances_of

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
BUDGETS = Path(__file__).with_name("cuda_budgets.json")
_RESOURCES = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?:[^\n]*?, (?P<shared>\d+) bytes smem)?",
    re.S,
)


class Resources(NamedTuple):
    """What one kernel takes: registers of a thread, and bytes."""

    registers: int
    shared: int
    stack: int
    spilled: int
    code: int

    def most(self, other):
        """The larger of each."""
        return Resources(*map(max, self, other))


def resources_in(messages, code_bytes):
    """Read the resources of each kernel, by its mangled name, in the messages of ptxas -v."""
    return {
        found["name"]: Resources(
            int(found["registers"]),
            int(found["shared"] or 0),
            int(found["stack"]),
            int(found["stores"]) + int(found["loads"]),
            code_bytes[found["name"]],
        )
        for found in _RESOURCES.finditer(messages)
    }


def code_bytes_of(cubin):
    """Bytes of machine code of each kernel in a cubin, which is an ELF file of 64 bits."""
    (sections,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, of_names = struct.unpack_from("<3H", cubin, 0x3A)
    heads = [struct.unpack_from("<2I4Q", cubin, sections + size * n) for n in range(count)]
    names = heads[of_names][4]
    lengths = {}
    for name, _, _, _, _, length in heads:
        text = cubin[names + name : cubin.index(b"\0", names + name)].decode()
        if text.startswith(".text."):
            lengths[text.removeprefix(".text.")] = length
    return lengths


def resources_of(source, architecture, instances):
    """Compile instances of a source for an architecture; the resources of each, by its name."""
    program = Program(code_of(source), source)
    messages = program.compile(instances, architecture, "--ptxas-options=-v")
    found = resources_in(messages, code_bytes_of(program.code()))
    return {instance: found[program.lowered_name(instance)] for instance in instances}


def instances_to_measure(source):
    """All instances of a source, of both dtypes, once each."""
    return list(dict.fromkeys(i for dtype in DTYPES for i in instances_of(source, dtype)))


def by_kernel(resources):
    """The most that any instance of a kernel takes, by the kernel's name without its arguments.

    Products are apart by their tiles and what their factors are rounded to.
    """
    most = {}
    for instance, taken in resources.items():
        name, _, arguments = instance.partition("<")
        if "::" in arguments:
            dtype, rows, columns, _, precision = arguments.rstrip(">").split(", ")
            name += f" {rows}x{columns} {precision.rpartition('::')[2]} {dtype}"
        most[name] = taken.most(most.get(name, taken))
    return most


def measure(architecture, sources=SOURCES):
    """The most that each kernel of some sources takes on an architecture."""
    found = {}
    for source in sources:
        found |= by_kernel(resources_of(source, architecture, instances_to_measure(source)))
    return found


def read_budgets():
    """The budgets by architecture and kernel, and the version of the compiler that made them."""
    read = json.loads(BUDGETS.read_text("utf-8"))
    budgets = {
        architecture: {
            kernel: Resources(*rows[architecture]) for kernel, rows in read["kernels"].items()
        }
        for architecture in ARCHITECTURES
    }
    return budgets, read["compiler"]


def _write(found):
    rows = [
        f"  {json.dumps(kernel)}: {json.dumps({a: found[a][kernel] for a in found})}"
        for kernel in sorted(found[ARCHITECTURES[0]])
    ]
    head = f'"compiler": "{version()}", "order": {json.dumps(Resources._fields)}'
    BUDGETS.write_text(f'{{{head}, "kernels": {{\n' + ",\n".join(rows) + "\n}}\n", "utf-8")


def _print_table(budgets):
    products = [kernel for kernel in budgets[ARCHITECTURES[0]] if " " in kernel]
    print("| product |", " | ".join(ARCHITECTURES), "|")
    print("|---|" + "---|" * len(ARCHITECTURES))
    for kernel in products:
        cells = (f"{budgets[a][kernel].registers}, {budgets[a][kernel].shared}" for a in budgets)
        print(f"| {kernel} |", " | ".join(cells), "|")


def main(arguments=None):
    """Measure all kernels for all architectures, which takes some minutes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the products' budgets")
    parser.add_argument("--source", choices=SOURCES, action="append", help="only this one")
    options = parser.parse_args(arguments)
    if options.table:
        _print_table(read_budgets()[0])
        return
    found = {architecture: {} for architecture in ARCHITECTURES}
    if options.source:
        found = read_budgets()[0]
    for architecture in ARCHITECTURES:
        found[architecture] |= measure(architecture, options.source or SOURCES)
        print(architecture, len(found[architecture]), "kernels", file=sys.stderr, flush=True)
    _write(found)


if __name__ == "__main__":
    main()
