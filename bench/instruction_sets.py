"""Which instruction set all contenders use: fastconv, PyTorch, JAX and OpenBLAS alike.

All of them choose when they are loaded, so that every instruction set takes processes of its own.
"""

from __future__ import annotations

import argparse
import os

BEST = "best"
"""What each finds by itself."""
_ENVIRONMENTS = {
    BEST: {},
    "avx512": {"FASTCONV_ISA": "avx512"},
    "avx2": {
        "FASTCONV_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # its matrix products, where it has MKL
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a command take ``--isa`` as often as wanted."""
    parser.add_argument(
        "--isa", action="append", choices=list(_ENVIRONMENTS),
        help="instruction set of all contenders, as often as wanted (default: best)",
    )  # fmt: skip


def environment_of(isa: str) -> dict[str, str]:
    """Return the environment of a process whose libraries use an instruction set at most.

    For "best" it is this process's own.
    """
    environment = {**os.environ, **_ENVIRONMENTS[isa]}
    flags = os.environ.get("XLA_FLAGS"), _ENVIRONMENTS[isa].get("XLA_FLAGS")
    if any(flags):
        environment["XLA_FLAGS"] = " ".join(filter(None, flags))
    return environment
