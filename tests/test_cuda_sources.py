"""The CUDA C++ sources, compiled and run as ordinary C++ on the host."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fastconv.backends.reference import dense as reference
from fastconv.kernel_sources import kernel_folder
from fastconv.spec import DenseSpec

SOURCES = sorted(kernel_folder().glob("*.cu"))
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')
DTYPES = [np.float32, np.float64]
SPECS = [DenseSpec(3, 5, 7), DenseSpec(1, 160, 26), DenseSpec(17, 33, 65), DenseSpec(0, 5, 7)]
# Fewer threads than outputs, as many or more, and a single one: the outputs must not depend on it.
LAUNCHES = [(3, 32), (64, 64), (1, 1)]


@pytest.fixture(scope="module")
def compile_for_host(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: CUDA sources cannot be compiled for the host")

    def compiled(source):
        folder = tmp_path_factory.mktemp("cuda_on_host")
        kernels = KERNEL.findall(source.read_text(encoding="utf-8"))
        lines = ["#include <cuda_host_shim.h>", f'#include "{source}"']
        lines += [f"HOST_LAUNCH({kernel})" for kernel in kernels]
        program = folder / "program.cpp"
        program.write_text("\n".join(lines) + "\n", encoding="utf-8")
        library = folder / f"{source.stem}.so"
        command = [compiler, "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        command += ["-I", str(Path(__file__).parent), str(program), "-o", str(library)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return ctypes.CDLL(str(library)), kernels

    return compiled


@pytest.fixture(scope="module")
def dense_on_host(compile_for_host):
    library, _ = compile_for_host(kernel_folder() / "dense.cu")

    def run(kernel, launch, spec, *arrays):
        suffix = "float32" if arrays[0].dtype == np.float32 else "float64"
        values = [ctypes.c_longlong(n) for n in (spec.batch, spec.inputs, spec.outputs)]
        values += [ctypes.c_void_p(None if a is None else a.ctypes.data) for a in arrays]
        arguments = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        getattr(library, f"host_launch_{kernel}_{suffix}")(*launch, arguments)

    return run


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_source_compiles_by_itself_and_exports_its_kernels(source, compile_for_host):
    library, kernels = compile_for_host(source)
    assert kernels
    for kernel in kernels:
        assert kernel.endswith(("_float32", "_float64"))
        assert getattr(library, kernel)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_cuda_compiler_accepts_every_source(source, architecture, tmp_path):
    if shutil.which("nvcc") is None or shutil.which("g++") is None:
        pytest.skip("nvcc (with the g++ it needs) is not installed")
    command = ["nvcc", "-Werror", "all-warnings", "-cubin", f"-arch={architecture}"]
    command += ["-o", str(tmp_path / "kernels.cubin"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def integers(*shape, dtype):
    seed = sum(shape)
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def outputs(*shape, dtype):
    """An array for the kernel and one for the reference, filled so that neither stays unnoticed."""
    return np.full(shape, np.nan, dtype), np.full(shape, 0.5, dtype)


@pytest.mark.parametrize("launch", LAUNCHES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_dense_forward_equals_the_reference(spec, dtype, launch, dense_on_host):
    x, w = (
        integers(spec.batch, spec.inputs, dtype=dtype),
        integers(spec.inputs, spec.outputs, dtype=dtype),
    )
    for b in (integers(spec.outputs, dtype=dtype), None):
        y, expected = outputs(spec.batch, spec.outputs, dtype=dtype)
        dense_on_host("dense_forward", launch, spec, x, w, b, y)
        reference.dense_forward(spec, x, w, b, expected, None)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("launch", LAUNCHES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_dense_backward_data_equals_the_reference(spec, dtype, launch, dense_on_host):
    dy, w = (
        integers(spec.batch, spec.outputs, dtype=dtype),
        integers(spec.inputs, spec.outputs, dtype=dtype),
    )
    dx, expected = outputs(spec.batch, spec.inputs, dtype=dtype)
    dense_on_host("dense_backward_data", launch, spec, dy, w, dx)
    reference.dense_backward_data(spec, dy, w, expected, None)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("launch", LAUNCHES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_dense_backward_weight_equals_the_reference(spec, dtype, launch, dense_on_host):
    dy, x = (
        integers(spec.batch, spec.outputs, dtype=dtype),
        integers(spec.batch, spec.inputs, dtype=dtype),
    )
    dw, expected = outputs(spec.inputs, spec.outputs, dtype=dtype)
    db, expected_bias = outputs(spec.outputs, dtype=dtype)
    dense_on_host("dense_backward_weight", launch, spec, dy, x, dw, db)
    reference.dense_backward_weight(spec, dy, x, expected, expected_bias, None)
    np.testing.assert_array_equal(dw, expected)
    np.testing.assert_array_equal(db, expected_bias)

    dw.fill(np.nan)
    dense_on_host("dense_backward_weight", launch, spec, dy, x, dw, None)
    np.testing.assert_array_equal(dw, expected)
