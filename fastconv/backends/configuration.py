"""Configuration of this machine, as fastconv finds it."""

from __future__ import annotations

import platform
from pathlib import Path

from fastconv.backends.compiled.threads import available_cores as available_cores
from fastconv.backends.compiled.threads import default_threads
from fastconv.backends.compiled.threads import set_threads as set_threads
from fastconv.backends.selection import NAMES, BackendError, backend_state, choose_backend

_PACKAGES = ("numpy", "numba", "cython", "cupy", "safetensors", "matplotlib")


def configured_threads() -> int:
    """Threads that work is split into, as :func:`set_threads` or the environment say.

    Raises
    ------
    BackendError
        If FASTCONV_THREADS is not a number of 1 or more.
    """
    try:
        return default_threads()
    except ValueError as fault:
        raise BackendError(f"{fault}; unset it to use all {available_cores()} cores") from None


def get_include() -> str:
    """Return the folder of ``fastconv.h``, the header of the C interface, for a compiler's ``-I``.

    Examples
    --------
    >>> import os, fastconv
    >>> os.listdir(fastconv.get_include())
    ['fastconv.h']
    """
    return str(Path(__file__).parents[1] / "include")


def package_version(name: str) -> str | None:
    """Version of an installed distribution, or None; nothing of it is imported."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """Name of the processor as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Vector instruction sets of this processor that matter here, widest first."""
    flags: set[str] = set()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    flags = set(line.partition(":")[2].split())
                    break
    except OSError:
        pass
    known = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("fma", "FMA"), ("sse2", "SSE2"))
    neon = (("asimd", "NEON"),)
    return tuple(name for flag, name in known + neon if flag in flags)


def environment() -> dict[str, object]:
    """Describe the machine and the software, for the record of a run."""
    return {
        "fastconv": package_version("fastconv"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "instruction_sets": list(instruction_sets()),
        "cores": available_cores(),
        "threads": configured_threads(),
        "packages": {name: package_version(name) for name in _PACKAGES},
    }


def show_config() -> None:
    """Print the machine, and each backend with its state or the reason why it is absent.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.show_config()  # doctest: +ELLIPSIS
    fastconv ...
    """
    facts = environment()
    print(f"fastconv {facts['fastconv']}, Python {facts['python']}, {facts['platform']}")
    print(
        f"processor: {facts['processor']}, {facts['cores']} cores, "
        f"{facts['threads']} thread{'s' if facts['threads'] != 1 else ''}, "
        f"{' '.join(instruction_sets()) or 'instruction sets unknown'}"
    )
    versions = facts["packages"]
    assert isinstance(versions, dict)
    print("packages: " + ", ".join(f"{name} {v or 'absent'}" for name, v in versions.items()))
    print("backends:")
    for name in NAMES:
        state = backend_state(name)
        verdict = "ready" if state.works else "absent"
        print(f"  {name:<7} {verdict:<7} {state.reason}")
    try:
        choice = choose_backend()
        print(f"chosen: {choice.name} ({choice.why})")
    except RuntimeError as fault:
        print(f"chosen: none ({fault})")
