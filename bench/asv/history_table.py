"""What asv measured, as a table in Markdown: ``python bench/asv/history_table.py FILE.md``.

A row for each benchmark: its time at the oldest and at the newest commit, the least and the largest
of all, and by which factor they differ. asv keeps the quartiles of each time; the largest distance
from a median to one of them, in percent, says how much of that is noise.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asv.config import Config
from asv.results import Results, iter_results

CONFIGURATION = Path(__file__).with_name("asv.conf.json")
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


@dataclass(frozen=True)
class Row:
    """A benchmark with one choice of its parameters: seconds and noise by commit, in order."""

    name: str
    seconds: list[float]
    noise: list[float]


def told(seconds: float) -> str:
    """A time with three digits."""
    factor, unit = next(each for each in UNITS if seconds >= each[0] or each is UNITS[-1])
    return f"{seconds / factor:.3g} {unit}"


def rows(results: list[Results]) -> Iterator[Row]:
    """Yield every benchmark that all commits have."""
    for benchmark in sorted(
        set.intersection(*(set(each.get_all_result_keys()) for each in results))
    ):
        params = results[-1].get_result_params(benchmark)
        for number, chosen in enumerate(itertools.product(*params)):
            seconds, noise = [], []
            for each in results:
                value = each.get_result_value(benchmark, params)[number]
                stats = (each.get_result_stats(benchmark, params) or [])[number : number + 1]
                if value is None or math.isnan(value):
                    break
                seconds.append(value)
                for found in filter(None, stats):
                    noise.append(max(value - found["q_25"], found["q_75"] - value) / value)
            else:
                name = ": ".join([benchmark, *(str(each).strip("'") for each in chosen)])
                yield Row(name, seconds, noise)


def table(results: list[Results]) -> str:
    """The table, oldest commit first."""
    head = ["benchmark", "oldest", "newest", "least", "largest", "largest / least", "noise"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows(results):
        least, largest = min(row.seconds), max(row.seconds)
        times = map(told, (row.seconds[0], row.seconds[-1], least, largest))
        noise = f"{100 * max(row.noise):.0f} %" if row.noise else ""
        lines.append(f"| `{row.name}` | {' | '.join(times)} | {largest / least:.2f} | {noise} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("file", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    folder = CONFIGURATION.parent / Config.load(str(CONFIGURATION)).results_dir
    results = sorted(iter_results(str(folder)), key=lambda each: each.date)
    if not results:
        print(f"history_table.py: {folder}: nothing was measured; asv run", file=sys.stderr)
        return 2
    options.file.write_text(table(results), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
