"""With NumPy alone fastconv computes and trains; what needs more says which extra brings it."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv._extras import EXTRAS, MissingExtra, missing_extra
from fastconv.backends import cython

PACKAGE = Path(fastconv.__file__).parent
TREE = PACKAGE.parent
COMMANDS = ("train", "profile", "evaluate", "predict", "export", "report", "reproduce")
DISTRIBUTIONS = {"PIL": "pillow", "tomli_w": "tomli-w", "sklearn": "scikit-learn"}
WITH_ANOTHER = {
    "llvmlite": "numba", "requests": "pooch", "markupsafe": "jinja2", "sqlalchemy": "optuna",
    "google": "onnx",
}  # fmt: skip
"""What a package brings along."""


@pytest.fixture(scope="module")
def numpy_alone(tmp_path_factory):
    """A folder with NumPy and fastconv, for a Python that looks nowhere else."""
    folder = tmp_path_factory.mktemp("packages")
    numpy = Path(np.__file__).parent
    for package in (numpy, numpy.parent / "numpy.libs", PACKAGE):
        if package.is_dir():
            (folder / package.name).symlink_to(package)
    return folder


@pytest.fixture
def python(numpy_alone, tmp_path):
    """Run code there; what came of it."""

    def run(*arguments):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FASTCONV", "PYTHON"))}
        return subprocess.run(
            [sys.executable, "-S", *arguments], cwd=tmp_path, capture_output=True, text=True,
            env={**kept, "PYTHONPATH": str(numpy_alone)}, check=False,
        )  # fmt: skip

    return run


# NumPy alone.


def test_there_is_nothing_else_there(python):
    names = sorted({name for modules in EXTRAS.values() for name in modules})
    code = f"from importlib.util import find_spec; print([n for n in {names!r} if find_spec(n)])"
    assert python("-c", code).stdout == "[]\n"


def test_a_convolution_needs_no_more(python):
    code = """
import numpy as np, fastconv
x = np.arange(9.0).reshape(1, 1, 3, 3)
print(fastconv.conv2d(x, np.ones((1, 1, 2, 2))).ravel().tolist())
"""
    done = python("-c", code)
    assert done.stdout == "[8.0, 12.0, 20.0, 24.0]\n", done.stderr  # 0+1+3+4, 1+2+4+5, ...


def test_nor_do_a_training_a_prediction_and_checks(python):
    code = """
import numpy as np, fastconv
from fastconv.data import Samples, load
from fastconv.layers import Dense, Flatten
from fastconv.optimizers import Optimizer
from fastconv.schedules import Constant
network = fastconv.Sequential([Flatten(), Dense(10)], input_shape=(8, 8, 1))
digits = load("digits")
trainer = fastconv.Trainer(network, digits.training, loss="softmax_cross_entropy",
    optimizer=Optimizer("adam"), schedule=Constant(0.002), batch_size=32)
first = trainer.evaluate(digits.training).loss
trainer.train(20)
print(trainer.evaluate(digits.training).loss < first)
print(trainer.predict(digits.test.images[:3]).shape)
batch = digits.training.images[:4], digits.training.labels[:4]
print(fastconv.check_step(network, batch, Optimizer("adam"), verbose=False).passed)
print(fastconv.load_recipe("digits").name)
"""
    done = python("-c", code)
    assert done.stdout.split("\n") == ["True", "(3, 10)", "True", "digits", ""], done.stderr


def test_numba_is_absent_with_a_reason_and_auto_passes_on(python):
    done = python("-c", "import fastconv; fastconv.show_config()")
    assert done.returncode == 0, done.stderr
    told = r"numba +absent +Numba is not installed; pip install 'fastconv\[numba\]'"
    assert re.search(told, done.stdout)
    chosen = "cython" if cython.unavailable_because() is None else "numpy"
    assert re.search(rf"chosen: {chosen} \(auto: ", done.stdout)
    asked = python("-c", "import fastconv; fastconv.ExecutionConfig('numba')")
    assert asked.stderr.splitlines()[-1].endswith(
        "backend 'numba' is not there: Numba is not installed; pip install 'fastconv[numba]'; use "
        "--backend numpy, or see fastconv.show_config()"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_its_extra_in_one_line(python, command):
    done = python("-m", f"fastconv.{command}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"python -m fastconv.{command}: needs rich, which is not installed; pip install "
        f"'fastconv[train]'\n"
    )


def test_the_search_says_its_own(python):
    done = python("-m", "fastconv.search", "--list")
    assert done.returncode == 2
    assert done.stderr == (
        "python -m fastconv.search: needs rich, which is not installed; pip install "
        "'fastconv[search]'\n"
    )


@pytest.mark.parametrize(
    ("code", "owner", "package", "extra"),
    [
        ("NETWORK.save_weights('x')", "save_weights", "safetensors", "train"),
        ("NETWORK.load_weights('x')", "load_weights", "safetensors", "train"),
        ("from fastconv import plots; plots.save", "fastconv.plots", "matplotlib", "plots"),
        ("import fastconv.cli.progress", "fastconv.cli.progress", "rich", "train"),
        ("import fastconv.data.picture_files", "read_picture", "pillow", "train"),
        ("from fastconv.report.page import write_page", "fastconv.", "[a-z0-9]+", "train"),
        ("from fastconv.data import load; load('mnist')", "a data set", "platformdirs", "train"),
        ("from fastconv.interop.onnx import load", "fastconv.interop.onnx", "onnx", "onnx"),
        (
            "from fastconv.data import k_folds; k_folds(9, 3, 0)",
            "k_folds",
            "scikit-learn",
            "search",
        ),
        (
            "import fastconv.interop.sklearn",
            "fastconv.interop.sklearn",
            "scikit-learn",
            "sklearn",
        ),
    ],
)
def test_a_function_says_its_extra_in_one_line(python, code, owner, package, extra):
    made = (
        "import fastconv\nfrom fastconv.layers import Dense\n"
        "NETWORK = fastconv.Sequential([Dense(3)], input_shape=(5,))\n"
    )
    done = python("-c", made + code)
    assert re.fullmatch(
        rf"fastconv\._extras\.MissingExtra: {owner}\S*: needs {package}, which is not installed; "
        rf"pip install 'fastconv\[{extra}\]'",
        done.stderr.splitlines()[-1],
    )


def test_a_missing_module_of_no_extra_is_told_as_it_is():
    fault = ModuleNotFoundError(name="statsmodels")
    assert missing_extra("f", fault) is fault
    assert isinstance(missing_extra("f", ModuleNotFoundError(name="rich.table")), MissingExtra)


# What the extras are.


def third_party_imports():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"fastconv", "_signal"}


def test_whatever_is_imported_is_numpy_or_of_an_extra():
    known = {name for modules in EXTRAS.values() for name in modules}
    assert third_party_imports() <= known | {"numpy"} | set(WITH_ANOTHER)


NOT_NEEDED = {
    "pandas", "tensorboard", "mlflow", "wandb", "mpi", "joblib", "dask", "ray", "torch", "jax",
}  # fmt: skip
"""Extras that are large; what needs them is tested where they are installed."""


@pytest.mark.skipif(not (TREE / "setup.py").is_file(), reason="no source tree")
def test_pyproject_has_the_same_extras():
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [re.split(r"[<>=]", each)[0] for each in project["dependencies"]] == ["numpy"]

    def names_of(extra):
        for each in project["optional-dependencies"][extra]:
            name, _, inner = re.split(r"[<>=;]", each)[0].strip().rstrip("]").partition("[")
            if name == "fastconv":
                for other in inner.split(","):
                    yield from names_of(other)
            else:
                yield name

    for extra, modules in EXTRAS.items():
        assert set(names_of(extra)) == {DISTRIBUTIONS.get(name, name) for name in modules}
    needed = EXTRAS.keys() - NOT_NEEDED
    assert set(names_of("test")) >= {n for extra in needed for n in names_of(extra)}


def test_the_tests_themselves_have_all_of_them():
    needed = EXTRAS.keys() - NOT_NEEDED
    assert all(find_spec(name) for extra in needed for name in EXTRAS[extra])
