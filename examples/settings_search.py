"""A search over two keys of a recipe: eight short trainings, and what they say about the keys."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from fastconv import plots

# What is searched is a file. Validation samples alone decide; the test part is not looked at.
SEARCH = """
recipe = "digits"
method = "random"
trials = 8

[settings]
epochs = 2

[space."optimizer.lr"]
kind = "log_uniform"
low = 1e-4
high = 1e-1

[space."layers.0.filters"]
values = [4, 16]
"""
folder = Path(tempfile.mkdtemp())
(folder / "small.toml").write_text(SEARCH)

# A command leaves stdout to its result with --json -; what it tells a person goes to stderr.
command = [sys.executable, "-m", "fastconv.search", "small.toml", "--out", "found", "--json", "-"]
ended = subprocess.run(command, cwd=folder, capture_output=True, check=True)
summary = json.loads(ended.stdout)
tried = {}
for trial in sorted(summary["trials"], key=lambda trial: -trial["score"]):
    rate, filters = trial["settings"].values()
    print(f"validation accuracy {trial['score']:.3f}: learning rate {rate:.5f}, {filters} filters")
    tried.setdefault(f"{filters} filters", []).append((rate, trial["score"]))
print("the page about it:", folder / "found" / "search.html")

points = {name: tuple(zip(*sorted(each), strict=True)) for name, each in sorted(tried.items())}
picture = plots.accuracy_against(points, xlabel="learning rate", log=True)
