"""What the cupy backend says where something it needs is missing."""

import importlib.util
import sys
import types

import numpy as np
import pytest
from backend_states import say_that

import fastconv
from fastconv import train
from fastconv.backends import cupy as backend
from fastconv.backends import selection


class CUDARuntimeError(RuntimeError):
    pass


def made_cupy(driver=13000, devices=1, compiler=None):
    """A module like CuPy; a fault in place of a value is raised."""

    def gives(value):
        def give():
            if isinstance(value, Exception):
                raise value
            return value

        return give

    runtime = types.SimpleNamespace(
        driverGetVersion=gives(driver), getDeviceCount=gives(devices),
        CUDARuntimeError=CUDARuntimeError,
    )  # fmt: skip
    nvrtc = types.SimpleNamespace(getVersion=gives(compiler))
    return types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime, nvrtc=nvrtc))


@pytest.fixture
def installed(monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: known("json") if name == "cupy" else known(name, *more),
    )

    def install(module):
        monkeypatch.setitem(sys.modules, "cupy", module)

    return install


def test_without_cupy_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = backend.unavailable_because()
    assert reason.startswith("CuPy is not installed; pip install 'fastconv[cuda13]'")
    assert "fastconv[cuda12]" in reason


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (made_cupy(driver=0), "there is no NVIDIA driver"),
        (made_cupy(devices=0), "the NVIDIA driver finds no CUDA device"),
        (made_cupy(devices=CUDARuntimeError("cudaErrorNoDevice: none")),
         "the NVIDIA driver finds no CUDA device it can use (cudaErrorNoDevice: none)"),
        (made_cupy(compiler=RuntimeError("no libnvrtc.so.13")),
         "NVRTC, CUDA's compiler, does not load (no libnvrtc.so.13); pip install"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_apart(installed, module, reason):
    installed(module)
    assert backend.unavailable_because().startswith(reason)


def test_a_cupy_that_does_not_load_is_an_error_of_its_own(installed):
    installed(None)  # importing it raises ImportError
    assert backend.unavailable_because().startswith("CuPy does not load (")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("/usr/local/cuda/include", None),
        (None, "CUDA's headers are not found, which CuPy compiles with; pip install 'fastconv["),
    ],
)
def test_headers_are_looked_for_as_cupy_does(installed, monkeypatch, found, reason):
    installed(made_cupy())
    asked = []
    finder = types.SimpleNamespace(
        find_nvidia_header_directory=lambda name: asked.append(name) or found
    )
    monkeypatch.setitem(sys.modules, "cuda", types.SimpleNamespace(pathfinder=finder))
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", finder)
    told = backend.unavailable_because()
    assert told is None if reason is None else told.startswith(reason)
    assert asked == ["cudart"]


def test_where_all_is_there_nothing_is_missing(installed, monkeypatch):
    installed(made_cupy())
    monkeypatch.setitem(sys.modules, "cuda", None)  # a CuPy that looks for headers otherwise
    assert backend.unavailable_because() is None


def test_numpy_arrays_are_not_copied_to_a_card_unasked(monkeypatch):
    say_that(monkeypatch, "cupy", works=True, reason="a card")
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(
        selection.BackendError, match=r"'cupy' takes CuPy arrays, .*cupy.asarray\(x\)"
    ):
        fastconv.conv2d(x, w, backend="cupy")


def test_training_without_a_gpu_is_one_line_and_exit_code_2(monkeypatch, capsys):
    say_that(monkeypatch, "cupy", works=False, reason="there is no NVIDIA driver; install it")
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(train.main(["--backend", "cupy"]))
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    assert "there is no NVIDIA driver; install it" in told
