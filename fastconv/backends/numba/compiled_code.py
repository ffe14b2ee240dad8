"""Addresses of compiled functions: of this process, from the disk, or compiled now.

What Numba compiled is kept as object files, which LLVM links into a process that imports neither
Numba nor the kernels: that saves 90 MiB of memory and half a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.resources
import json
import math
import os
import platform
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from llvmlite import binding as llvm


class Compiled(NamedTuple):
    """A function as Numba compiled it.

    Parameters
    ----------
    address
        Where it is in this process; in plain Python, its number.
    symbol
        Its name in the object file.
    object_code
        The object file; empty if there is none, or it needs what another process does not have.
    """

    address: int
    symbol: str = ""
    object_code: bytes = b""


_addresses: dict[str, int] = {}
_taken: set[str] = set()
"""Names of those that came from the disk."""
_lock = threading.RLock()
_warned = False

_CHANGE_CODE = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUG", "DEBUGINFO", "DEBUGINFO_DEFAULT",
    "DEBUG_ARRAY_OPT_RUNTIME", "DEBUG_NRT", "DISABLE_INTEL_SVML", "ENABLE_AVX", "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_FLAGS", "LLVM_REFPRUNE_PASS", "LOOP_VECTORIZE",
    "NRT_STATS", "OPT", "SLP_VECTORIZE",
)  # fmt: skip
"""Variables NUMBA_... that compiled code depends on; of others, one and the same is made."""
_MOST_SURROUNDINGS = 8
"""Whose files of the same sources are kept in a folder: of several machines, or versions."""
_NEVER_CALLED = (
    "NRT_Free", "numba_do_raise", "numba_gil_ensure", "numba_gil_release",
    "numba_runtime_build_excinfo_struct", "numba_unpickle",
)  # fmt: skip
"""Functions of Numba, of the code behind a call that raised an exception: these raise none."""


def is_disabled() -> bool:
    """Whether kernels run as plain Python: NUMBA_DISABLE_JIT is set."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def address_of_function(name: str, compile_now: Callable[[str], Compiled]) -> int:
    """Return the address of a function.

    Parameters
    ----------
    name
        What it is called on the disk: one name for each variant.
    compile_now
        Compiles it under this name, where it is not on the disk.

    Warns
    -----
    RuntimeWarning
        Once, if nothing can be kept on the disk, or only where others could change it.
    """
    with _lock:
        address = _addresses.get(name)
        if address is None:
            address = None if is_disabled() else _load(name)
            if address is None:
                made = compile_now(name)
                address = made.address
                if made.object_code:
                    _save(name, made)
            _addresses[name] = address
        return address


@functools.cache
def sources_hash() -> str:
    """Return a hash of all that compiled code is made of."""
    instructions = importlib.resources.files("fastconv.backends.compiled.instructions")
    folders = importlib.resources.files(__package__), instructions, instructions / "layouts"
    files = [file for folder in folders for file in folder.iterdir()]
    plans = importlib.resources.files("fastconv.plans")
    files += [plans / "activations.py", plans / "error_function.py"]
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _surroundings_hash() -> str:
    """Return a hash of what compiles and of what it compiles for."""
    given = {f"NUMBA_{name}": os.environ.get(f"NUMBA_{name}") for name in _CHANGE_CODE}
    settings = {key: value for key, value in given.items() if value}
    features = sorted(name for name, has in llvm.get_host_cpu_features().items() if has)
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite")]
    parts = [
        sys.implementation.cache_tag, platform.machine(), llvm.get_process_triple(),
        llvm.get_host_cpu_name(), features, versions, sorted(settings.items()),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _folders() -> Iterable[Path]:
    """Folders where object files may be, best first."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        yield Path(chosen)
        return
    yield Path(__file__).parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # there is no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv"


def _file_name(name: str) -> str:
    return f"{name}.{sources_hash()}.{_surroundings_hash()}.o"


def _require_own(folder: Path, status: os.stat_result) -> None:
    """Raise unless nobody but this user and the superuser can have written a file or a folder.

    What is in it is run.
    """
    if not hasattr(os, "geteuid"):  # Windows has other rights
        return
    others = 0o002 if _is_private_group(status.st_gid) else 0o022
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & others:
        raise PermissionError(
            f"{folder} belongs to another user or can be written by others, so that its code is "
            f"not run"
        )


@functools.cache
def _is_private_group(number: int) -> bool:
    """Whether a group is that of this user alone, as many systems give each user one."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


_FILE = re.compile(r"\w+\.([0-9a-f]{16})\.([0-9a-f]{16})\.o")
"""With the hashes of sources and surroundings."""


@functools.cache
def _remove_stale_files(folder: Path) -> None:
    """Remove what a folder holds of other versions of these sources: nothing else ever would.

    Of what was compiled in other surroundings, the latest is kept.
    """
    with contextlib.suppress(OSError):
        latest: dict[str, float] = {_surroundings_hash(): math.inf}
        own: list[tuple[str, Path]] = []
        for file in folder.iterdir():
            found = _FILE.fullmatch(file.name)
            if found and found[1] != sources_hash():
                file.unlink(missing_ok=True)
            elif found:
                own.append((found[2], file))
                latest[found[2]] = max(latest.get(found[2], 0.0), file.stat().st_mtime)
        kept = sorted(latest, key=lambda each: latest[each])[-_MOST_SURROUNDINGS:]
        for surroundings, file in own:
            if surroundings not in kept:
                file.unlink(missing_ok=True)


def _save(name: str, made: Compiled) -> None:
    global _warned
    digest = hashlib.sha256(made.object_code).hexdigest()
    head = json.dumps({"symbol": made.symbol, "sha256": digest}).encode()
    fault: OSError | None = None
    for folder in _folders():
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            _require_own(folder, folder.stat())
            # A reader sees the whole file or none.
            number, temporary = tempfile.mkstemp(prefix=f"{name}.", suffix=".tmp", dir=folder)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(head + b"\n" + made.object_code)
                os.replace(temporary, folder / _file_name(name))
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as each:
            fault = fault or each
            continue
        _remove_stale_files(folder)
        return
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled code cannot be kept ({fault}), so that kernels are compiled again in every "
            f"process; set NUMBA_CACHE_DIR to a folder that can be written by you alone",
            RuntimeWarning,
            stacklevel=4,
        )


def _load(name: str) -> int | None:
    """Link the object file of a function, if there is one, and return the function's address."""
    for folder in _folders():
        try:
            with open(folder / _file_name(name), "rb") as file:
                _require_own(folder, folder.stat())
                _require_own(folder, os.fstat(file.fileno()))
                head, _, object_code = file.read().partition(b"\n")
            found = json.loads(head)
            if hashlib.sha256(object_code).hexdigest() != found["sha256"]:
                continue
            symbol = found["symbol"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        linker = _linker()
        linker.add_object_file(llvm.ObjectFileRef.from_data(object_code))
        linker.finalize_object()
        _taken.add(name)
        return int(linker.get_function_address(symbol))
    return None


def _stop() -> None:
    os.write(2, b"fastconv: a compiled kernel raised an exception; please report this\n")
    os.abort()


_stop_address = ctypes.CFUNCTYPE(None)(_stop)


@functools.cache
def _linker() -> Any:
    """LLVM's linker of object files; what it links stays as long as the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for symbol in _NEVER_CALLED:
        if llvm.address_of_symbol(symbol) is None:
            llvm.add_symbol(symbol, ctypes.cast(_stop_address, ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def can_be_linked(symbols: Iterable[str]) -> bool:
    """Whether every process has what an object file needs: these functions."""
    places: list[ctypes.CDLL] = [ctypes.pythonapi]
    if os.name == "posix":
        places.append(ctypes.CDLL(None))
    return all(
        symbol in _NEVER_CALLED or any(hasattr(place, symbol) for place in places)
        for symbol in symbols
    )
