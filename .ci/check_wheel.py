"""Whether a wheel holds what it should and nothing else: ``check_wheel.py WHEEL TREE``.

Beside the metadata and the extension module there are the files of the package and the CUDA
sources, each byte for byte that of the tree. The module was compiled, has no debugging sections
and every kernel's instruction set of its architecture; the wheel is below the size that an index
and its users should be asked for.
"""

import sys
import zipfile
from pathlib import Path

MOST_BYTES = 4_000_000
ENGINE = "fastconv/backends/cython/_engine."
SETS = {
    "x86_64": ("avx512", "avx512vl", "avx2", "sse2", "plain"),
    "amd64": ("plain",),  # Microsoft's compiler has no vector types
    "aarch64": ("neon", "plain"),
    "arm64": ("neon", "plain"),
}
LEFT_BY_TOOLS = (".so", ".pyd", ".pyc")


def files_of(tree: Path) -> dict[str, bytes]:
    """Everything that a wheel takes from the tree, by its name in the wheel."""
    package = {path: path.relative_to(tree).as_posix() for path in (tree / "fastconv").rglob("*")}
    cuda = {
        path: f"fastconv/kernels/cuda/{path.name}" for path in (tree / "kernels/cuda").iterdir()
    }
    return {
        name: path.read_bytes()
        for path, name in (package | cuda).items()
        if path.is_file() and path.suffix not in LEFT_BY_TOOLS and path.name != "_build_failure.txt"
    }


def faults_of(wheel: Path, tree: Path) -> list[str]:
    """What is wrong with a wheel, a line each; empty where nothing is."""
    faults = []
    size = wheel.stat().st_size
    if size >= MOST_BYTES:
        faults.append(f"it has {size} bytes; expected less than {MOST_BYTES}")
    with zipfile.ZipFile(wheel) as archive:
        # auditwheel writes folders too.
        found = {
            each.filename: archive.read(each) for each in archive.infolist() if not each.is_dir()
        }
    engines = [name for name in found if name.startswith(ENGINE) and name.endswith((".so", ".pyd"))]
    if len(engines) != 1:
        faults.append(f"it has {len(engines)} engines; expected one ({ENGINE}*.so or .pyd)")
    for name in engines:
        engine = found.pop(name)
        if b".debug_info" in engine:
            faults.append(f"{name} holds what a debugger reads; expected it stripped")
        sets = next((SETS[end] for end in SETS if wheel.stem.lower().endswith(end)), ("plain",))
        # The names of the sets are C strings, each with its zero.
        faults += [
            f"{name} lacks the instruction set {one}"
            for one in sets
            if one.encode() + b"\0" not in engine
        ]
    own = {name: text for name, text in found.items() if ".dist-info/" not in name}
    expected = files_of(tree)
    faults += [f"{name} is missing" for name in sorted(expected.keys() - own.keys())]
    faults += [f"{name} is not expected in it" for name in sorted(own.keys() - expected.keys())]
    faults += [
        f"{name} is not that of the tree"
        for name in sorted(own.keys() & expected.keys())
        if own[name] != expected[name]
    ]
    return faults


def main(arguments: list[str]) -> int:
    """Print the faults of a wheel, or its size."""
    if len(arguments) != 2:
        print("check_wheel.py: expected a wheel and a tree", file=sys.stderr)
        return 2
    wheel, tree = map(Path, arguments)
    faults = faults_of(wheel, tree)
    for fault in faults:
        print(f"{wheel.name}: {fault}", file=sys.stderr)
    if not faults:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, all files those of the tree")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
