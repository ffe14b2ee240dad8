"""CUDA kernels (``kernels/cuda``), compiled by NVRTC and launched through CuPy.

Arrays are CuPy's, on its current device. No sum is atomic, and no result depends on which
block is first: the same seed gives the same bits on the same card.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

_INSTALL = "pip install 'fastconv[cuda13]' for CUDA 13 drivers, 'fastconv[cuda12]' for CUDA 12"


def unavailable_because() -> str | None:
    """Return why this backend cannot work here in one line, or None."""
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed; {_INSTALL}"
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as fault:
        return f"CuPy does not load ({_one_line(fault)}); {_INSTALL}"
    return _missing(cupy)


def _missing(cupy: Any) -> str | None:
    """Reason why CuPy cannot work: no driver, no device, or no compiler."""
    runtime = cupy.cuda.runtime
    try:
        if runtime.driverGetVersion() == 0:
            return "there is no NVIDIA driver; install the one of your card"
        if runtime.getDeviceCount() == 0:
            return "the NVIDIA driver finds no CUDA device"
    except runtime.CUDARuntimeError as fault:
        return f"the NVIDIA driver finds no CUDA device it can use ({_one_line(fault)})"
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError) as fault:
        return f"NVRTC, CUDA's compiler, does not load ({_one_line(fault)}); {_INSTALL}"
    return _missing_headers()


def _missing_headers() -> str | None:
    """Reason why CuPy could compile nothing of its own; it looks for headers as this does."""
    try:
        found = importlib.import_module("cuda.pathfinder").find_nvidia_header_directory("cudart")
    except (ImportError, AttributeError):  # an arrangement of its own: CuPy will say what it wants
        return None
    if found is None:
        return f"CUDA's headers are not found, which CuPy compiles with; {_INSTALL}"
    return None


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split()) or type(fault).__name__


def description() -> str:
    """Return one line on what it runs on."""
    cupy = importlib.import_module("cupy")
    runtime, device = cupy.cuda.runtime, cupy.cuda.Device()
    name = runtime.getDeviceProperties(device.id)["name"].decode()
    capability = device.compute_capability
    version = runtime.runtimeGetVersion()
    return (
        f"CuPy {cupy.__version__}, {name} (sm_{capability}), "
        f"CUDA {version // 1000}.{version % 1000 // 10}"
    )
