"""The benchmarks that asv makes at each commit can be imported and run, each of them once."""

import importlib
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parent.parent / "bench" / "asv"
if not SUITE.is_dir():
    pytest.skip("bench/ is not beside the tests", allow_module_level=True)

MODULES = sorted(path.stem for path in (SUITE / "benchmarks").glob("[!_]*.py"))
KINDS = ("time_", "timeraw_")


@pytest.fixture(scope="module")
def modules():
    """Every module of the suite, imported as asv imports them: from a package ``benchmarks``."""
    sys.path.insert(0, str(SUITE))
    try:
        return {name: importlib.import_module(f"benchmarks.{name}") for name in MODULES}
    finally:
        sys.path.remove(str(SUITE))
        for name in [each for each in sys.modules if each.partition(".")[0] == "benchmarks"]:
            del sys.modules[name]


def benchmarks_of(module):
    """Classes with benchmarks in them, and functions that are benchmarks."""
    own = [
        each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
    ]
    classes = [each for each in own if inspect.isclass(each)]
    functions = [each for each in own if inspect.isfunction(each)]
    return classes, [each for each in functions if each.__name__.startswith(KINDS)]


@pytest.mark.parametrize("name", MODULES)
def test_each_benchmark_of_a_module_runs(modules, name):
    classes, functions = benchmarks_of(modules[name])
    ran = 0
    for function in functions:
        exec(compile(function(), function.__name__, "exec"), {})
        ran += 1
    for made in classes:
        for params in [(each,) for each in getattr(made, "params", ())] or [()]:
            benchmark = made()
            benchmark.setup(*params)
            for method in (each for each in dir(made) if each.startswith(KINDS)):
                getattr(benchmark, method)(*params)
                ran += 1
    assert ran > 1 or name == "made_data"


def test_sixteen_steps_are_made_and_the_next_sixteen_can_be(modules):
    steps = modules["steps"].Steps()
    steps.setup("mnist-strided, 128")
    assert (steps.trainer.step, steps.trainer.steps_per_epoch) == (16, 16)
    steps.time_16_steps("mnist-strided, 128")
    assert steps.trainer.step == 32


def configuration():
    """asv.conf.json without its comments."""
    text = (SUITE / "asv.conf.json").read_text("utf-8")
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))


def test_what_asv_leaves_behind_is_ignored_by_git():
    found = configuration()
    places = {Path(found[key]).parts[:3] for key in ("env_dir", "results_dir", "html_dir")}
    assert places == {("..", "..", ".asv")}
    ignored = (SUITE.parents[1] / ".gitignore").read_text("utf-8").splitlines()
    assert "/.asv/" in ignored
    assert (SUITE / found["benchmark_dir"]).is_dir()


def test_asv_finds_every_benchmark():
    try:  # its folder here bears its name, and can be imported
        importlib.metadata.distribution("asv")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs asv, of the extra bench")
    command = [sys.executable, "-m", "asv", "check", "--config", str(SUITE / "asv.conf.json"),
               "--environment", f"existing:{sys.executable}"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=SUITE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "No problems found" in ended.stdout
