"""The inner loops of compiled kernels, read from a disassembly.

``loops_of(path)`` gives the innermost loops of every function of an object or a shared library,
with the file that the function was compiled from: each instruction set is a file of its own.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass

_TOOLS = {"x86-64": ("objdump",), "aarch64": ("aarch64-linux-gnu-objdump", "objdump")}
_HEAD = re.compile(r"^([0-9a-f]+) <([^>+]+)>:$")
_INSTRUCTION = re.compile(r"^\s+([0-9a-f]+):\s+(\S.*)$")
_JUMP = re.compile(r"^(?:j[a-z]+|b(?:\.[a-z]+)?|cbn?z|tbn?z)\s(?:.*[\s,])?([0-9a-f]+) <")
_CALL = re.compile(r"^(?:call\s+[0-9a-f]+|bl)\s")
_FUSED = re.compile(r"^(?:vfn?m(?:add|sub)\d+p[sd]|fml[as]\s+v)")
_MULTIPLICATION = re.compile(r"^(?:v?mulp[sd]|fmul\s+v)")
_VECTOR = re.compile(r"\b(?:[xyz]mm|[qdv])\d")
_VECTOR_STORE = re.compile(r"^(?:v?mov\w*\s+\w+ PTR \[[^]]+\],[xyz]mm|st[rp]\s+[qd]\d)")


@dataclass(frozen=True)
class Loop:
    """An innermost loop: its instructions, from where it begins to the jump back."""

    file: str
    function: str
    instructions: tuple[str, ...]
    has_frame: bool

    def __str__(self):
        return "\n    ".join((f"{self.function} of {self.file}", *self.instructions))

    @property
    def fused(self):
        """How many instructions multiply vectors and add the products."""
        return len(fused_of(self))

    @property
    def products(self):
        """How many instructions multiply vectors, with or without a sum."""
        return self.fused + sum(
            _MULTIPLICATION.match(each) is not None for each in self.instructions
        )

    @property
    def calls(self):
        """The calls of functions by name; those of a table are meant."""
        return [each for each in self.instructions if _CALL.match(each)]

    @property
    def on_the_stack(self):
        """The instructions with an operand on the stack."""
        # With a frame, rbp points to the stack; without, it is a register as any other.
        names = ("[rsp", "[sp", "[x29", *(("[rbp",) if self.has_frame else ()))
        return [each for each in self.instructions if any(name in each for name in names)]

    @property
    def has_vectors(self):
        return any(_VECTOR.search(each) for each in self.instructions)

    @property
    def vectors_on_the_stack(self):
        """Those of vector registers: what did not stay in one."""
        return [each for each in self.on_the_stack if _VECTOR.search(each)]

    @property
    def passes_vectors_over_the_stack(self):
        """Whether it writes vectors to the stack and reads some: sums that are not in registers."""
        written = [_VECTOR_STORE.match(each) is not None for each in self.vectors_on_the_stack]
        return any(written) and not all(written)

    @property
    def branches(self):
        """How many jumps there are beside the one that makes it a loop."""
        return sum(_JUMP.match(each) is not None for each in self.instructions) - 1


def tool_for(machine):
    """The disassembler for "x86-64" or "aarch64"; None where it is missing."""
    return next((tool for tool in _TOOLS[machine] if shutil.which(tool)), None)


def loops_of(path, machine="x86-64"):
    """The innermost loops of every function."""
    tool = tool_for(machine)
    files = _files(_printed(tool, "--syms", path))
    syntax = ("-M", "intel") if machine == "x86-64" else ()
    found = []
    for address, function, code in _functions(
        _printed(tool, "-d", "--wide", "--no-show-raw-insn", *syntax, path)
    ):
        has_frame = any(re.match(r"mov\s+rbp,rsp$", words) for _, words in code)
        found += [
            Loop(
                files.get(address, ""),
                function,
                tuple(words for _, words in code[start:end]),
                has_frame,
            )
            for start, end in _innermost(code)
        ]
    return found


def _printed(tool, *arguments):
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout


def _files(symbols):
    """The source file of every local function, by address: its symbols follow the file's own."""
    files, file = {}, ""
    for line in symbols.splitlines():
        if " df *ABS*" in line:
            file = line.split()[-1]
        elif " F " in line:
            files[int(line.split()[0], 16)] = file
    return files


def _functions(disassembly):
    """Yield the address, the name and the instructions with their addresses of every function."""
    address, name, code = 0, None, []
    for line in disassembly.splitlines():
        if head := _HEAD.match(line):
            if name is not None:
                yield address, name, code
            address, name, code = int(head[1], 16), head[2], []
        elif name is not None and (one := _INSTRUCTION.match(line)):
            # What follows "# " or "//" explains an operand; "#16" is a number.
            code.append((int(one[1], 16), re.split(r"\s+(?:#\s|//)", one[2])[0].strip()))
    if name is not None:
        yield address, name, code


def _innermost(code):
    """Yield first and end of every jump back that has no other jump back inside."""
    places = {address: place for place, (address, _) in enumerate(code)}
    spans = []
    for place, (address, words) in enumerate(code):
        jump = _JUMP.match(words)
        if jump and int(jump[1], 16) <= address and int(jump[1], 16) in places:
            spans.append((places[int(jump[1], 16)], place + 1))
    # In order of their ends, a loop is innermost if none that ended before begins inside of it.
    last = -1
    for first, end in spans:
        # A jump back over a return is one to a shared end of the function.
        if first > last and not any(words.startswith("ret") for _, words in code[first:end]):
            yield first, end
        last = max(last, first)


def cycles_of(instructions, cpu):
    """Cycles that a simulated processor takes for a pass of these instructions, in a long run.

    By llvm-mca: every read meets the first-level cache, and the jump back is foreseen.
    """
    lines = [each for each in instructions if _JUMP.match(each) is None]
    passes = 200
    done = subprocess.run(
        ["llvm-mca", "-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={passes}"],
        input="\n".join(lines) + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1]) / passes


def fused_of(loop):
    """The instructions of a loop that multiply vectors and add the products."""
    return [each for each in loop.instructions if _FUSED.match(each)]
