"""The CUDA sources through NVIDIA's compiler, which needs no GPU."""

import ctypes
import functools
import importlib.util
from pathlib import Path

import pytest
from cuda_on_host import DTYPES, SOURCES

from fastconv.backends.cupy.kernel_sources import kernel_folder
from fastconv.backends.cupy.sources import TILES, code_of, instances_of

OF_CUPY = ("-ftz=true", "--device-as-default-execution-space")
"""Options that CuPy adds to every compilation (its ``compiler.py``)."""


@functools.cache
def compiler():
    """NVRTC's library, from the package nvidia-cuda-nvrtc; None where it is not installed."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or []) if found else []
    libraries = [path for folder in folders for path in Path(folder).glob("*/lib/libnvrtc.so.*")]
    return ctypes.CDLL(str(max(libraries, key=lambda path: path.name))) if libraries else None


def version():
    """NVRTC's version, such as "13.5"."""
    library = compiler()
    if library is None:
        pytest.skip("nvidia-cuda-nvrtc is not installed")
    major, minor = ctypes.c_int(), ctypes.c_int()
    assert library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) == 0
    return f"{major.value}.{minor.value}"


class Program:
    """A source given to the compiler."""

    def __init__(self, text, name):
        self._library = compiler()
        if self._library is None:
            pytest.skip("nvidia-cuda-nvrtc is not installed")
        self._handle = ctypes.c_void_p()
        self._call("CreateProgram", text.encode(), name.encode(), 0, None, None, first=True)

    def _call(self, function, *arguments, first=False):
        handle = ctypes.byref(self._handle) if first else self._handle
        return getattr(self._library, f"nvrtc{function}")(handle, *arguments)

    def compile(self, instances, architecture, *options):
        """Compile these instances; return the compiler's messages, or raise an AssertionError."""
        for instance in instances:
            assert self._call("AddNameExpression", instance.encode()) == 0
        own = [f"--gpu-architecture={architecture}", "--std=c++17", f"-I{kernel_folder()}"]
        given = [each.encode() for each in (*own, *OF_CUPY, *options)]
        fault = self._call("CompileProgram", len(given), (ctypes.c_char_p * len(given))(*given))
        size = ctypes.c_size_t()
        self._call("GetProgramLogSize", ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self._call("GetProgramLog", log)
        message = log.value.decode()
        assert fault == 0, message
        return message

    def code(self):
        """The machine code, of a program that was compiled for sm_NN."""
        size = ctypes.c_size_t()
        assert self._call("GetCUBINSize", ctypes.byref(size)) == 0
        code = ctypes.create_string_buffer(size.value)
        assert self._call("GetCUBIN", code) == 0
        return code.raw

    def assembly(self):
        """The text of each kernel in PTX, of a program that was compiled for compute_NN."""
        size = ctypes.c_size_t()
        assert self._call("GetPTXSize", ctypes.byref(size)) == 0
        text = ctypes.create_string_buffer(size.value)
        assert self._call("GetPTX", text) == 0
        return text.value.decode().split(".entry")[1:]

    def lowered_name(self, instance):
        """The name that an instance has in the code; None if it was not compiled."""
        name = ctypes.c_char_p()
        fault = self._call("GetLoweredName", instance.encode(), ctypes.byref(name))
        return None if fault else name.value.decode()


@functools.cache
def unoptimized():
    """Options that leave most of the optimisation out, seven eighths of the time; or none."""
    option = "--Ofast-compile=max"
    try:
        Program("__global__ void nothing() {}", "nothing.cu").compile(["nothing"], "sm_80", option)
    except AssertionError:
        return ()
    return (option,)


def some_of(source, precision=None):
    """Instances of all kernels of a source file: of products, those of the largest tiles."""
    rows, columns = TILES["float32"][-1]
    return [
        each
        for each in instances_of(source, "float32", precision)
        if "::" not in each or f", {rows}, {columns}, 1," in each
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["sm_80", pytest.param("sm_90", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("source", SOURCES)
def test_every_instance_of_every_kernel_compiles_without_a_warning(source, architecture):
    instances = list(dict.fromkeys(i for dtype in DTYPES for i in instances_of(source, dtype)))
    assert instances
    program = Program(code_of(source), source)
    # Optimised for one of them: the sources are the same for both.
    options = () if architecture == "sm_90" else unoptimized()
    assert program.compile(instances, architecture, *options) == ""
    assert len(program.code()) > 1000
    assert all(program.lowered_name(instance) for instance in instances)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_compiles_for_the_oldest_cards(source):
    # PTX of an architecture is what cards of it and all later ones are given.
    program = Program(code_of(source), source)
    assert program.compile(some_of(source), "compute_75") == ""


INSTRUCTIONS = {
    "tf32": ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "cvt.rna.tf32.f32"),
    "bf16": ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "cvt.rn.bf16x2.f32"),
}


@pytest.mark.parametrize("precision", ["float32", *INSTRUCTIONS])
@pytest.mark.parametrize(
    ("source", "products"), [("conv.cu", 3), ("dense.cu", 3), ("pooled_conv.cu", 1)]
)
def test_products_are_made_by_the_instructions_of_their_precision(source, products, precision):
    program = Program(code_of(source), source)
    assert program.compile(some_of(source, precision), "compute_80") == ""
    kernels = program.assembly()
    if precision != "float32":
        assert len(kernels) == products
    for kernel in kernels:
        for each, instructions in INSTRUCTIONS.items():
            for instruction in instructions:
                assert (instruction in kernel) == (each == precision)


@pytest.mark.parametrize("precision", INSTRUCTIONS)
def test_cards_without_tensor_cores_for_a_precision_stop_at_it(precision):
    # Nothing launches these there; they would not compute something else in silence.
    program = Program(code_of("dense.cu"), "dense.cu")
    assert program.compile(some_of("dense.cu", precision), "compute_75") == ""
    for kernel in program.assembly():
        assert "mma.sync" not in kernel
        assert "trap;" in kernel


def test_the_compiler_would_find_a_mistake():
    program = Program("__global__ void wrong(int *x) { *x = undeclared; }", "wrong.cu")
    with pytest.raises(AssertionError, match="undeclared"):
        program.compile(["wrong"], "sm_80")
