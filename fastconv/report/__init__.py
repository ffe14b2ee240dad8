"""Pages that explain runs: ``python -m fastconv.report RUN...``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.report.comparison import write_comparison as write_comparison
    from fastconv.report.run_report import write_report as write_report

_MODULE_OF = {"write_comparison": "comparison", "write_report": "run_report"}

__all__ = ["write_comparison", "write_report"]


def __getattr__(name: str) -> Any:
    """Import a function when it is first used."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'fastconv.report' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastconv.report.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
