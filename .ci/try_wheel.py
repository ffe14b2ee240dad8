"""Try the fastconv that is installed here: ``try_wheel.py TREE``.

Needs pytest beside it. From a folder of its own, so that the tree's package is not
in reach: the compiled engine loads with an instruction set, a small network learns on it, and the
public functions pass their tests, those in ``tests`` of the tree.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = (
    "test_functional.py",
    "test_functional_conv.py",
    "test_functional_merge.py",
    "test_functional_layout.py",
    "test_functional_errors.py",
)
LEARN = """
import numpy as np
import fastconv
from fastconv.backends.selection import backend_state
from fastconv.data import load_digits
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from fastconv.training_loop import fit

state = backend_state("cython")
assert state.works, state.reason
fastconv.show_config()
dataset = load_digits()
network = fastconv.Sequential(
    [Conv2D(8), ReLU(), MaxPool2D(2), Flatten(), Dense(10)], input_shape=(8, 8, 1)
)
trainer = fastconv.Trainer(
    network, dataset.training, loss="softmax_cross_entropy", optimizer="adam", schedule=0.005,
    batch_size=32, preprocessing="scale", config=fastconv.ExecutionConfig("cython"),
)
fit(trainer, steps=8 * trainer.steps_per_epoch)
accuracy = trainer.evaluate(dataset.test).accuracy
print(f"digits: {accuracy:.1%} of the test images after 8 epochs")
assert accuracy > 0.9
"""


def main(arguments: list[str]) -> int:
    """Run all of it; the exit code of what fails first."""
    if len(arguments) != 1:
        print("try_wheel.py: expected the tree whose tests are run", file=sys.stderr)
        return 2
    tree = Path(arguments[0]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(tree / "tests", Path(folder, "tests"))
        shutil.copy(tree / "pyproject.toml", folder)
        where = "import fastconv; print(fastconv.__version__, fastconv.__file__)"
        tests = [f"tests/{name}" for name in TESTS]
        for command in (
            ["-c", where],
            ["-c", LEARN],
            ["-m", "pytest", "-q", "-m", "not slow and not nightly", *tests],
        ):
            code = subprocess.run([sys.executable, *command], cwd=folder).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
