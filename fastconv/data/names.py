"""The names of the data sets, for who wants no more than these."""

from __future__ import annotations

DATASETS = ("digits", "mnist", "cifar10", "curve")
"""Names that :func:`fastconv.data.load` knows."""
