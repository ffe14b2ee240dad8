"""The command, the card and the versions, for the top of a report."""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Sequence

from fastconv.backends import cupy
from fastconv.backends.configuration import package_version, processor_name


def driver_version() -> str:
    """Version of the NVIDIA driver, as its own tool has it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown (nvidia-smi does not tell)"
    return (done.stdout.split() or ["unknown"])[0]


def facts(arguments: Sequence[str], pytorch: str) -> list[str]:
    """Lines of a report; ``pytorch``: its version, or why it is not there."""
    return [
        f"`{shlex.join(['python', 'bench/gpu.py', *arguments])}`",
        "",
        f"* {cupy.description()}, driver {driver_version()}",
        f"* {pytorch}",
        f"* fastconv {package_version('fastconv')}, NumPy {package_version('numpy')}, Python "
        f"{platform.python_version()}, {platform.system()}, {processor_name()}",
    ]
