"""The layout of every native kernel's instructions."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Layout
from fastconv.backends.compiled.instructions.layouts import (
    bf16,
    copies,
    images,
    products,
    rows,
)

LAYOUTS: dict[Kernel, Layout] = (
    products.LAYOUTS | copies.LAYOUTS | images.LAYOUTS | rows.LAYOUTS | bf16.LAYOUTS
)
"""By the kernels."""
