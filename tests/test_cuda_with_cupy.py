"""The CUDA sources through CuPy itself, which needs no driver to compile.

Its own environment has CuPy (``.ci/run``): other tests want to do without.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_on_host import SOURCES
from cupy_without_driver import NO_OPTIMISATION
from test_cuda_compiler import OF_CUPY

import fastconv

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="CuPy is not installed"
)


@pytest.fixture(scope="module")
def compiled():
    """What CuPy makes of every source; a process of its own, since it changes CuPy."""
    path = [str(Path(fastconv.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    script = Path(__file__).with_name("cupy_without_driver.py")
    done = subprocess.run(
        [sys.executable, script, "90", *SOURCES], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_it_is_a_cupy_that_keeps_what_it_compiled(compiled):
    assert tuple(map(int, compiled["version"].split(".")[:2])) >= (14, 2)


@pytest.mark.parametrize("source", SOURCES)
def test_cupy_compiles_finds_and_keeps_every_kernel(compiled, source):
    made = compiled["sources"][source]
    assert made["code"] > 1000
    assert list(made["mapping"]) == made["wanted"]
    assert not made["missing"]  # each is in the code, by the name that CuPy would load it by
    # The next process takes both from the disk.
    assert made["compiled_again"] == 0
    assert made["same_code"]
    assert made["mapping_again"] == made["mapping"]


@pytest.mark.parametrize("source", SOURCES)
def test_cupy_adds_the_options_that_the_other_tests_compile_with(compiled, source):
    options = compiled["sources"][source]["options"]
    # All else says where to look for headers, or what this test saves.
    rest = {option for option in options if not option.startswith("-I")}
    assert rest == {*OF_CUPY, "-std=c++17", "-arch=sm_90", *NO_OPTIMISATION}
