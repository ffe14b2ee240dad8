"""Pages that explain runs: ``python -m fastconv.report RUN...``."""

from fastconv.report.run_report import write_report

__all__ = ["write_report"]
