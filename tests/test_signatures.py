"""Every backend has the file names, the kernels and the parameters of the reference."""

import importlib
import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

from fastconv.backends.selection import NAMES, backend_state
from fastconv.spec import DenseSpec

REFERENCE = "fastconv.backends.reference"
OF_ITS_OWN = {
    "numpy": {"by_formula", "sums", "workspace"},
    "cython": {"engine"},
    "cupy": {
        "block_plan", "block_runner", "device", "fused_kernels", "fusion", "kernel_sources",
        "launches", "loss_blocks", "products", "sources", "strided_conv",
    },
    "numba": {
        "batch_blocked", "batch_blocked_instructions", "by_formula", "compilation",
        "compiled_code", "depthwise", "engine", "exponential", "fields", "im2col",
        "instruction_set", "numba_internals", "packing", "philox", "pixel_sums", "plane_products",
        "pointers", "pooled", "pooled_instructions", "reductions", "rows", "synchronization",
        "thread_pool", "thread_pool_functions", "thread_pool_words", "tile_functions",
        "tile_instructions", "tile_table", "tiles", "vector_functions", "vector_memory", "vectors",
        "winograd", "winograd_gradient", "winograd_transforms",
    },
}  # fmt: skip
"""Files beside the kernels."""


def folder(backend):
    return Path(importlib.util.find_spec(f"fastconv.backends.{backend}").origin).parent


def files(backend):
    """Its public modules by file name."""
    return {path.stem for path in folder(backend).glob("*.py") if not path.stem.startswith("_")}


def functions(module):
    """The public functions that a module defines, with the names of their parameters."""
    return {
        name: list(inspect.signature(thing).parameters)
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and callable(thing)
        and not inspect.isclass(thing)
        and getattr(thing, "__module__", None) == module.__name__
    }


MODULES = sorted(files("reference") - {"run"})
"""Those of kernels."""


def test_the_reference_has_kernels_and_a_runner():
    assert "run" in files("reference")
    assert MODULES == [
        "activation", "augment", "conv", "dense", "dropout", "elementwise", "gradient",
        "group_norm", "input",
        "layout", "loss", "loss_weights", "merge", "nchw", "norm", "optim", "pool", "prelu",
        "random", "resample", "target_loss",
    ]  # fmt: skip
    assert len(functions(importlib.import_module(f"{REFERENCE}.conv"))) == 7


@pytest.mark.parametrize("backend", NAMES)
def test_files_have_the_names_of_the_reference(backend):
    extra = files(backend) - set(MODULES) - {"run"} - OF_ITS_OWN.get(backend, set())
    assert not extra


@pytest.mark.parametrize("backend", NAMES)
def test_every_backend_has_every_file_and_a_runner(backend):
    assert files(backend) >= {*MODULES, "run"}


@pytest.mark.parametrize("backend", NAMES)
def test_functions_and_parameters_are_those_of_the_reference(backend):
    common = files(backend) & set(MODULES)
    state = backend_state(backend)
    if not state.works and backend != "cupy":  # whose modules need no CuPy to be imported
        pytest.skip(f"{backend}: {state.reason}")
    assert common
    for name in sorted(common):
        expected = functions(importlib.import_module(f"{REFERENCE}.{name}"))
        actual = functions(importlib.import_module(f"fastconv.backends.{backend}.{name}"))
        assert actual == expected, name


@pytest.mark.parametrize("module", MODULES)
def test_kernels_begin_with_the_spec_and_end_with_the_workspace(module):
    kernels = functions(importlib.import_module(f"{REFERENCE}.{module}"))
    assert kernels.pop("workspace_bytes") == ["kernel", "spec", "dtype"]
    assert kernels
    for name, parameters in kernels.items():
        assert (parameters[0], parameters[-1]) == ("spec", "workspace"), name


@pytest.mark.parametrize("backend", [*NAMES, "reference"])
def test_every_runner_takes_the_same(backend):
    state = backend_state("numpy" if backend == "reference" else backend)
    if not state.works and backend != "cupy":
        pytest.skip(f"{backend}: {state.reason}")
    runner = importlib.import_module(f"fastconv.backends.{backend}.run").Runner
    parameters = list(inspect.signature(runner).parameters)
    assert parameters == ["plan", "shared", "threads"] + ["precision"] * (
        backend in ("cupy", "cython", "numba")
    )
    assert inspect.signature(runner).parameters["threads"].default is None
    assert list(inspect.signature(runner.run).parameters)[1:4] == ["order", "rates", "first_step"]
    assert list(inspect.signature(runner.forward).parameters) == ["self", "order", "step"]
    assert list(inspect.signature(runner.backward).parameters) == ["self"]


@pytest.mark.parametrize("backend", ["cython", "numba"])
def test_a_compiled_kernel_takes_its_arrays_by_name_and_refuses_others(backend):
    state = backend_state(backend)
    if not state.works:
        pytest.skip(state.reason)
    dense = importlib.import_module(f"fastconv.backends.{backend}.dense")
    x, w, y = np.array([[2.0, 3.0]]), np.array([[5.0], [7.0]]), np.zeros((1, 1))
    dense.dense_forward(DenseSpec(1, 2, 1), w=w, x=x, y=y, workspace=None, b=None)
    assert y.tolist() == [[2 * 5 + 3 * 7]]
    with pytest.raises(TypeError, match=r"dense_forward\(\) missing 1 required .* 'workspace'"):
        dense.dense_forward(DenseSpec(1, 2, 1), x, w, None, y)
    with pytest.raises(TypeError, match=r"dense_forward\(\) got an unexpected .* 'bias'"):
        dense.dense_forward(DenseSpec(1, 2, 1), x, w, bias=None, y=y, workspace=None)
    assert dense.dense_forward.__doc__.startswith("``y[n, o] = b[o] + sum over i of")
