"""Pages that explain runs: ``python -m fastconv.report RUN...``."""

from fastconv.report.comparison import write_comparison
from fastconv.report.run_report import write_report

__all__ = ["write_comparison", "write_report"]
