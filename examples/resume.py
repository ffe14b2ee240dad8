"""A training that is killed goes on where it was, and ends with the bits of one that was not."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

folder = Path(tempfile.mkdtemp())
options = ["--recipe", "digits", "--epochs", "6", "--quiet", "--no-report"]
train = [sys.executable, "-m", "fastconv.train"]

subprocess.run([*train, *options, "--out", "whole"], cwd=folder, check=True)

# The same once more, with the state kept at every tenth step, until the power fails.
keeping = [*train, *options, "--out", "killed", "--checkpoint-every", "10"]
process = subprocess.Popen(keeping, cwd=folder)
while not (kept := sorted(folder.glob("killed/checkpoints/step-*"))):
    time.sleep(0.001)
process.kill()
process.wait()
print("killed; it left", kept[-1].name)

# The run's folder says all that is needed to go on.
subprocess.run([*train, "--resume", "killed", "--quiet", "--no-report"], cwd=folder, check=True)
weights = [(folder / run / "weights.safetensors").read_bytes() for run in ("whole", "killed")]
print("the same weights, bit for bit:", weights[0] == weights[1])
