"""Other people's Cython code calls kernels: the example of docs/cimport.md, compiled and run."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.backends.reference import conv as reference
from fastconv.backends.selection import backend_state
from fastconv.spec import ConvSpec

PACKAGE = Path(fastconv.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "cimport.md"
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]

# An instruction stream of two kernels made by hand: y = x w, then y w2, run several times over.
TWO_KERNELS = """
# cython: language_level=3
from libc.stdint cimport int64_t
from fastconv.backends.cython._engine cimport relocate, run_instructions


def run(int64_t[:, ::1] stream, int64_t[:, ::1] first, int64_t[:, ::1] second,
        int64_t count_of_first, double[:, ::1] x, double[:, ::1] w, double[:, ::1] y,
        double[:, ::1] z, unsigned char[::1] workspace, int64_t steps):
    cdef void *of_first[4]
    cdef void *of_second[4]
    of_first[:] = [&x[0, 0], &w[0, 0], NULL, &y[0, 0]]
    of_second[:] = [&y[0, 0], &w[0, 0], NULL, &z[0, 0]]
    cdef int threads
    with nogil:
        relocate(&stream[0, 0], &first[0, 0], first.shape[0], of_first, &workspace[0])
        relocate(&stream[count_of_first, 0], &second[0, 0], second.shape[0], of_second,
                        &workspace[0])
        threads = run_instructions(&stream[0, 0], stream.shape[0], steps, 2)
    return threads
"""


def test_the_declarations_are_shipped_beside_the_module():
    assert "cdef int run_instructions" in (PACKAGE / "backends/cython/_engine.pxd").read_text(
        "utf-8"
    )


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The example and the stream above as extension modules, built in a folder of their own."""
    state = backend_state("cython")
    if not state.works:
        pytest.skip(state.reason)
    if importlib.util.find_spec("Cython") is None:
        pytest.skip("Cython is not installed")
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    folder = tmp_path_factory.mktemp("cimport")
    (example,) = re.findall(r"```cython\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (folder / "convolve.pyx").write_text(example, "utf-8")
    (folder / "two_kernels.pyx").write_text(TWO_KERNELS, "utf-8")
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "convolve.pyx", "two_kernels.pyx"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "CFLAGS": "-O1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("convolve"), importlib.import_module("two_kernels")
    finally:
        sys.path.remove(str(folder))


def test_the_example_convolves_without_the_gil(modules):
    spec = ConvSpec.parse("g2mb3ic6ih9iw8oc8kh3kw3sh2sw1ph1pw1dh1dw1")
    draw = np.random.default_rng(2)
    x, w, b = (
        draw.integers(-4, 5, shape).astype(np.float32)
        for shape in (spec.x_shape, spec.w_shape, (spec.out_channels,))
    )
    expected = np.empty(spec.y_shape, np.float32)
    reference.conv2d_forward(spec, x, w, b, expected, None)
    for times in (1, 3):
        np.testing.assert_array_equal(modules[0].convolve(spec, x, w, b, times), expected)


def test_instructions_of_several_kernels_are_a_stream(modules):
    from fastconv.backends.cython.engine import stream_of_kernel
    from fastconv.spec import DenseSpec

    types = ("float64", "float64", None, "float64")
    first = stream_of_kernel("dense.dense_forward", DenseSpec(40, 50, 50), *types)
    second = stream_of_kernel("dense.dense_forward", DenseSpec(40, 50, 50), *types)
    draw = np.random.default_rng(3)
    x, w = (draw.integers(-4, 5, shape).astype(np.float64) for shape in ((40, 50), (50, 50)))
    y, z = np.full((40, 50), np.nan), np.full((40, 50), np.nan)
    workspace = np.empty(max(first.workspace_bytes, second.workspace_bytes) + 1, np.uint8)
    stream = np.concatenate([first.stream, second.stream])
    threads = modules[1].run(
        stream, first.relocations, second.relocations, len(first.stream), x, w, y, z, workspace, 3
    )
    assert threads in (1, 2)
    np.testing.assert_array_equal(y, x @ w)
    np.testing.assert_array_equal(z, x @ w @ w)


def test_streams_belong_to_the_caller():
    state = backend_state("cython")
    if not state.works:
        pytest.skip(state.reason)
    from fastconv.backends.cython.engine import stream_of_kernel
    from fastconv.spec import DenseSpec

    made = [
        stream_of_kernel("dense.dense_forward", DenseSpec(2, 3, 4), *["float32"] * 4)
        for _ in range(2)
    ]
    made[0].stream[:] = 7
    made[0].relocations[:] = 7
    assert not (made[1].stream == 7).all()
    assert made[1].relocations[:, 2].max() == 3
