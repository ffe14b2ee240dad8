"""Instruction set that Numba compiles for here, and the width of its vectors."""

from __future__ import annotations

import functools
import os
import platform

from llvmlite.binding import get_host_cpu_features

from fastconv.backends.compiled.instructions.instruction import Target, choose_target

_AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}


def _features() -> set[str]:
    """Features that Numba lets LLVM use, of those for vectors; Numba itself is not imported."""
    text = os.environ.get("NUMBA_CPU_FEATURES")
    if text is not None:
        return {each[1:] for each in text.split(",") if each.startswith("+")}
    if os.environ.get("NUMBA_CPU_NAME") == "generic" or os.environ.get("NUMBA_ENABLE_AVX") == "0":
        return set()
    return {name for name, present in get_host_cpu_features().items() if present}


def targets() -> list[Target]:
    """Return the instruction sets that Numba compiles for here, best first."""
    features = _features()
    machine = platform.machine().lower()
    found = [Target("plain", 0, 8)]
    if machine in ("x86_64", "amd64"):
        found.insert(0, Target("sse2", 16, 16))
        if {"avx2", "fma"} <= features:
            found.insert(0, Target("avx2", 32, 16))
            if features >= _AVX512:
                found.insert(0, Target("avx512", 64, 32, masks=True))
    elif machine in ("aarch64", "arm64"):
        found.insert(0, Target("neon", 16, 32))
    return found


@functools.cache
def target() -> Target:
    """Return the instruction set in use: the best that works here, or what FASTCONV_ISA names.

    Numba compiles for this processor in any case; this is the width of the vectors in kernels that
    are written with vectors.

    Raises
    ------
    ValueError
        If FASTCONV_ISA names one that this processor does not have.
    """
    return choose_target(targets())
