"""Main loops of the products, for the model of a card: ``python -m tests.product_loops``.

Writes ``fastconv/profiling/product_loops.json``: of each instance the instructions of the loop in
which it multiplies its tiles, the multiplications among them, and the terms that one round adds, as
nvdisasm shows NVRTC's code for sm_90.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_cuda_compiler import Program, version
from test_cuda_instructions import disassembler, loops_of

import fastconv
from fastconv.backends.cupy.products import THREADS
from fastconv.backends.cupy.sources import code_of, instances_of

FILE = Path(fastconv.__file__).parent / "profiling" / "product_loops.json"
ARCHITECTURE = "sm_90"
SOURCES = ("conv.cu", "dense.cu", "pooled_conv.cu")
_INSTANCE = re.compile(r"<float, (\d+), (\d+), \d+, fastconv::(\w+)>$")
_WARP = 32
_MULTIPLIED = {"TF32": (16, 8, 8), "BF16": (16, 8, 16)}
"""Rows, columns and terms of a warp's instruction."""


def terms_of(rows, columns, precision, multiplications):
    """Terms of each sum that so many multiplications of a thread, or a warp, add to a tile."""
    if precision == "FULL":
        return multiplications * THREADS // (rows * columns)
    m, n, k = _MULTIPLIED[precision]
    of_a_warp = rows * columns // (THREADS // _WARP)
    return multiplications * m * n // of_a_warp * k


def loops(source):
    """(instructions, multiplications, terms) of each product of a source."""
    names = [
        name
        for precision in ("float32", "tf32", "bf16")
        for name in instances_of(source, "float32", precision)
        if _INSTANCE.search(name)
    ]
    program = Program(code_of(source), source)
    program.compile(names, ARCHITECTURE)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "code.cubin")
        file.write_bytes(program.code())
        command = [disassembler(), "-c", str(file)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels = dict(re.findall(r"\.section\s+\.text\.(\w+),(.*?)(?=\n\t?\.section|\Z)", text, re.S))
    made = {}
    for name in names:
        rows, columns, precision = _INSTANCE.search(name).groups()
        word = "FFMA" if precision == "FULL" else "HMMA"
        found = loops_of(kernels[program.lowered_name(name)])
        loop = max(found, key=lambda loop: (loop.count(word), -len(loop)))
        count = loop.count(word)
        terms = terms_of(int(rows), int(columns), precision, count)
        assert terms == math.floor(terms) > 0, name
        made[name] = [len(loop), count, terms]
    return made


def main():
    """Write the file."""
    kept = {name: each for source in SOURCES for name, each in loops(source).items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in kept.items())
    head = f'{{"nvrtc": "{version()}", "architecture": "{ARCHITECTURE}"'
    unfinished = FILE.with_suffix(".unfinished")
    unfinished.write_text(f'{head}, "loops": {{\n{lines}\n}}}}\n', "utf-8")
    unfinished.replace(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
