"""The engine under the sanitizers of memory and of C: ``python -m tests.sanitized_engine FOLDER``.

    python -m tests.sanitized_engine /tmp/sanitized COMMAND...

copies the package into a folder, builds its C engine there with -fsanitize=address,undefined
unless it is there already, and runs ``python COMMAND...`` with it, such as ``-m tests.attack``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import fastconv

PACKAGE = Path(fastconv.__file__).parent
SOURCES = PACKAGE.parent / "kernels" / "cpu"
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


class BuildError(RuntimeError):
    """A sanitized engine cannot be made here."""


def library(name: str) -> str:
    """Return a sanitizer's shared library, which must be loaded before all else."""
    found = _run([*COMPILER, f"-print-file-name={name}"]).strip()
    if not Path(found).is_absolute():
        raise BuildError(f"{COMPILER[0]} has no {name}")
    return found


def variables() -> dict[str, str]:
    """Environment variables of a process that runs with a sanitized engine."""
    return {
        "LD_PRELOAD": library("libasan.so"),
        # Python never frees some of what it allocates. A request for more than there is fails, as
        # it does elsewhere, instead of ending the process.
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise BuildError(done.stderr)
    return done.stdout


def copy_package(folder: Path) -> None:
    """Copy the package into a folder, but for its own engine."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(PACKAGE, folder / "fastconv", ignore=ignored, dirs_exist_ok=True)


def build_sanitized(folder: Path) -> Path:
    """Copy the package into a folder, with an engine that is compiled with the sanitizers."""
    copy_package(folder)
    _run(
        [sys.executable, "-m", "cython", "-3", "--module-name", "fastconv.backends.cython._engine",
         "-I", str(folder), "-o", str(folder / "engine.c"), str(SOURCES / "engine.pyx")]
    )  # fmt: skip
    # Without optimisation: compiling takes a third of the time, and no access is optimised away.
    # Null pointers and the ends of objects are for the sanitizer of memory. What is inlined for
    # speed is compiled once, not in each of a hundred tiles.
    flags = [
        "-O0", "-g0", "-w", "-fPIC", "-pthread", "-fsanitize=address,undefined",
        "-Dalways_inline=unused", "-fno-sanitize=null,object-size", "-fno-sanitize-recover=all",
        "-I", str(SOURCES), "-I", str(PACKAGE / "include"), "-I", sysconfig.get_paths()["include"],
    ]  # fmt: skip
    sources = [folder / "engine.c", *sorted(SOURCES.glob("*.c"))]
    objects = [str(folder / f"{source.stem}.o") for source in sources]
    processes = [
        subprocess.Popen(
            [*COMPILER, *flags, "-c", str(source), "-o", made], stderr=subprocess.PIPE, text=True
        )
        for source, made in zip(sources, objects, strict=True)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        if process.returncode:
            raise BuildError(errors)
    name = f"_engine{sysconfig.get_config_var('EXT_SUFFIX')}"
    module = folder / "fastconv" / "backends" / "cython" / name
    _run([*COMPILER, "-shared", "-pthread", "-fsanitize=address,undefined", *objects,
          "-o", str(module)])  # fmt: skip
    return folder


def main() -> int:
    """Run the command line and return the exit code."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    folder = Path(sys.argv[1]).resolve()
    if any(folder.glob("fastconv/backends/cython/_engine*.so")):
        copy_package(folder)  # as it is now; of the C sources, the engine is what they were
    else:
        folder.mkdir(parents=True, exist_ok=True)
        build_sanitized(folder)
    if not sys.argv[2:]:
        return 0
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parent.parent)])
    environment = {**os.environ, **variables(), "PYTHONPATH": path}
    # From the folder: -m puts it first, and with it the package that is there.
    command = [sys.executable, *sys.argv[2:]]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
