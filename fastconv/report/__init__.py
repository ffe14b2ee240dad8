"""Pages that explain runs: ``python -m fastconv.report RUN...``.

Names are imported when first used: the command says what is missing before that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.report.comparison import write_comparison as write_comparison
    from fastconv.report.run_report import write_report as write_report

_MODULE_OF = {"write_comparison": "comparison", "write_report": "run_report"}

__all__ = ["write_comparison", "write_report"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fastconv.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastconv.report.{_MODULE_OF[name]}"), name)
