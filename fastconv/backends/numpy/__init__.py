"""The NumPy backend: im2col and matrix products, vectorised, always there.

It is the readable one: no Python loop over pixels or images, only over the few taps of a kernel.
"""

from __future__ import annotations


def unavailable_because() -> str | None:
    """Return why this backend cannot work here: it always can."""
    return None


def description() -> str:
    """Return one line on what it runs on."""
    import numpy as np

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"NumPy {np.__version__}, {blas['name']} {blas['version']}"
