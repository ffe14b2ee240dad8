"""The C interface: its header, its table called as C calls it, and the examples in C and Cython."""

import ctypes
import importlib
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv
from fastconv.backends.reference import conv as reference
from fastconv.backends.selection import backend_state
from fastconv.interop import descriptions
from fastconv.plans.activations import ACTIVATION_KINDS, activation_of
from fastconv.spec import ConvSpec

TREE = Path(fastconv.__file__).parents[1]
HEADER = Path(fastconv.get_include(), "fastconv.h").read_text("utf-8")
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
CYTHON = backend_state("cython")

needs_engine = pytest.mark.skipif(not CYTHON.works, reason=CYTHON.reason)
needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed"
)
needs_examples = pytest.mark.skipif(
    not (TREE / "examples").is_dir(), reason="examples are not beside the tests"
)

# The header, beside what Python knows of it


def enumeration(name):
    (body,) = re.findall(rf"enum {name} \{{(.*?)\}}", HEADER, re.DOTALL)
    return {key: int(value) for key, value in re.findall(r"FASTCONV_(\w+) = (\d+)", body)}


def test_structures_have_the_same_fields_in_the_header():
    for name, fields in descriptions.STRUCTURES.items():
        (body,) = re.findall(rf"struct fastconv_{name} \{{(.*?)\}}", HEADER, re.DOTALL)
        body = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
        found = {}
        for kind, line in re.findall(r"(int64_t|double) (.*?);", body):
            for field, size in re.findall(r"(\w+)(?:\[(\d)\])?", line):
                found[field] = descriptions.REAL if kind == "double" else int(size or 1)
        assert list(found.items()) == list(fields.items()), name


def test_numbers_are_the_same_in_the_header():
    names = [key.lower() for key in enumeration("fastconv_function")]
    assert names == list(descriptions.FUNCTIONS)
    for name, number in enumeration("fastconv_function").items():
        assert descriptions.FUNCTIONS[name.lower()].number == number
    kinds = [kind.upper() for kind in ACTIVATION_KINDS]
    assert enumeration("fastconv_activation") == {kind: n for n, kind in enumerate(kinds)}
    dtypes = [dtype.upper() for dtype in descriptions.DTYPES]
    assert enumeration("fastconv_dtype") == {dtype: n for n, dtype in enumerate(dtypes)}
    assert enumeration("fastconv_layout") == {"NCHW": 0, "NHWC": 1}
    assert list(enumeration("fastconv_gradients").values()) == [1, 2, 4]


def test_the_header_says_which_output_activations_keep():
    for kind in ACTIVATION_KINDS:
        (comment,) = re.findall(rf"FASTCONV_{kind.upper()} = \d+,?(.*)\n", HEADER)
        assert ("/* y */" in comment) == (activation_of(kind).keeps == "y"), kind


# The table, called without the GIL as C calls it


class Api(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("plan", ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t,
            ctypes.POINTER(ctypes.c_void_p),
        )),
        ("workspace_bytes", ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)),
        ("shape", ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int64)
        )),
        ("run", ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p,
            ctypes.c_size_t, ctypes.c_int,
        )),
        ("error_string", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)),
        ("last_error", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def api():
    if not CYTHON.works:
        pytest.skip(CYTHON.reason)
    module = importlib.import_module("fastconv.interop.c_api")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return Api.from_address(pointer(module._C_API, module.CAPSULE_NAME.encode()))


def words(function, **given):
    """The structure of a function, with the fields that are given; all others are 0."""
    fields = descriptions.FUNCTIONS[function].fields
    assert set(given) <= set(fields)
    found = []
    for name, count in fields.items():
        value = given.get(name, 0)
        if count == descriptions.REAL:
            found += struct.unpack("=q", struct.pack("=d", value))
        else:
            found += [value] * count if isinstance(value, int) else list(value)
    return np.array(found, np.int64)


def plan_of(api, function, description):
    plan = ctypes.c_void_p()
    number = descriptions.FUNCTIONS[function].number
    status = api.plan(number, description.ctypes.data, description.nbytes, ctypes.byref(plan))
    return status, plan


def shape_of(api, plan, number):
    sizes = (ctypes.c_int64 * 4)()
    axes = api.shape(plan, number, sizes)
    return tuple(sizes[:axes]) if axes >= 0 else None


def run(api, plan, arrays, threads=2, guard=64):
    """Run a plan in a workspace of just the bytes that it asks for, at an odd address."""
    size = api.workspace_bytes(plan)
    workspace = np.full(1 + size + guard, 0x5A, np.uint8)
    addresses = [None if each is None else each.ctypes.data for each in arrays]
    status = api.run(plan, (ctypes.c_void_p * len(arrays))(*addresses),
                     workspace.ctypes.data + 1, size, threads)  # fmt: skip
    assert (workspace[1 + size :] == 0x5A).all()
    return status


WRITTEN = object()
"""In place of an array that a plan writes."""


def results_of(api, function, dtype, arrays, **given):
    """What a plan writes, in order."""
    code = descriptions.DTYPES.index(np.dtype(dtype).name)
    status, plan = plan_of(api, function, words(function, dtype=code, **given))
    assert status == 0, api.last_error()
    found, written = [], []
    for number, array in enumerate(arrays):
        if array is WRITTEN:
            shape = shape_of(api, plan, number)
            kind = np.int32 if function == "max_pool2d" and number == 2 else dtype
            array = np.full(shape, 77, kind)
            written.append(array)
        found.append(array)
    assert run(api, plan, found) == 0
    return written


def draw(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def in_layout(layout, *images):
    return [np.ascontiguousarray(i.transpose(0, 2, 3, 1)) if layout else i for i in images]


def convolution_cases(dtype, layout):
    """(function, arrays, description, what the public function gives), in either layout."""
    name = descriptions.LAYOUTS[layout]
    shape = {"stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": 1, "groups": 2}
    options = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "groups": 2, "layout": name}
    (x,) = in_layout(layout, draw(3, 4, 9, 8, dtype=dtype))
    w, b = draw(6, 2, 3, 3, dtype=dtype, seed=1), draw(6, dtype=dtype, seed=2)
    back, c = draw(4, 3, 3, 3, dtype=dtype, seed=3), draw(6, dtype=dtype, seed=4)
    if layout:
        w, back = (np.ascontiguousarray(each.transpose(2, 3, 1, 0)) for each in (w, back))
    for function, weights, bias in (("conv2d", w, b), ("conv_transpose2d", back, c)):
        public, gradient = getattr(fastconv, function), getattr(fastconv, f"{function}_backward")
        given = {"layout": layout, "x": x.shape, "w": weights.shape, **shape}
        for some in (bias, None):
            y = public(x, weights, some, **options)
            count = 0 if some is None else len(some)
            yield function, [x, weights, some, WRITTEN], {**given, "bias": count}, [y]
        dy = draw(*y.shape, dtype=dtype, seed=5)
        for needs, bits in ((("x", "w", "b"), 7), (("w",), 2), (("x",), 1)):
            outputs = [WRITTEN if need in needs else None for need in ("x", "w", "b")]
            wanted = [each for each in gradient(dy, x, weights, needs=needs, **options)
                      if each is not None]  # fmt: skip
            arrays = [dy, x, weights, *outputs]
            yield f"{function}_backward", arrays, {**given, "gradients": bits}, wanted


def pooling_cases(dtype, layout):
    name = descriptions.LAYOUTS[layout]
    (x,) = in_layout(layout, draw(2, 5, 9, 8, dtype=dtype))
    options = {"stride": (2, 3), "padding": ((1, 0), (1, 1)), "layout": name, "ceil_mode": True}
    given = {
        "layout": layout, "x": x.shape, "kernel": 3, "stride": (2, 3), "padding": (1, 0, 1, 1),
        "ceil_mode": 1,
    }  # fmt: skip
    y, where = fastconv.max_pool2d(x, 3, **options)
    yield "max_pool2d", [x, WRITTEN, WRITTEN], given, [y, where]
    dy = draw(*y.shape, dtype=dtype, seed=1)
    dx = fastconv.max_pool2d_backward(dy, where, x.shape, 3, **options)
    yield "max_pool2d_backward", [dy, where, WRITTEN], given, [dx]
    for counted in (0, 1):
        options["count_include_pad"], given = bool(counted), {**given, "count_include_pad": counted}
        yield "avg_pool2d", [x, WRITTEN], given, [fastconv.avg_pool2d(x, 3, **options)]
        dx = fastconv.avg_pool2d_backward(dy, x.shape, 3, **options)
        yield "avg_pool2d_backward", [dy, WRITTEN], given, [dx]
    whole = {"layout": layout, "x": x.shape}
    y = fastconv.global_avg_pool2d(x, layout=name)
    yield "global_avg_pool2d", [x, WRITTEN], whole, [y]
    dx = fastconv.global_avg_pool2d_backward(y, x.shape, layout=name)
    yield "global_avg_pool2d_backward", [y, WRITTEN], whole, [dx]


def other_cases(dtype):
    x, w, b = draw(7, 5, dtype=dtype), draw(5, 3, dtype=dtype, seed=1), draw(3, dtype=dtype)
    shapes = {"x": x.shape, "w": w.shape}
    yield "dense", [x, w, b, WRITTEN], {**shapes, "bias": 3}, [fastconv.dense(x, w, b)]
    dy = draw(7, 3, dtype=dtype, seed=2)
    wanted = list(fastconv.dense_backward(dy, x, w))
    arrays = [dy, x, w, WRITTEN, WRITTEN, WRITTEN]
    yield "dense_backward", arrays, {**shapes, "gradients": 7}, wanted
    for number, kind in enumerate(ACTIVATION_KINDS):
        alpha, keeps = activation_of(kind).alpha, activation_of(kind).keeps
        given = {"kind": number, "size": x.size, "alpha": alpha or 0.0}
        function = "gelu" if kind == "gelu_tanh" else kind
        options = {"approximate": "tanh"} if kind == "gelu_tanh" else {}
        y = getattr(fastconv, function)(x, **options)
        yield "activation", [x, WRITTEN], given, [y.ravel()]
        kept = x if keeps == "x" else y
        dx = getattr(fastconv, f"{function}_backward")(x, kept, **options)
        both = [kept, None] if keeps == "x" else [None, kept]
        yield "activation_backward", [x, *both, WRITTEN], given, [dx.ravel()]
    rows = {"rows": 7, "classes": 5}
    for function in ("softmax", "log_softmax"):
        y = getattr(fastconv, function)(x)
        yield function, [x, WRITTEN], rows, [y]
        dx = getattr(fastconv, f"{function}_backward")(x, y)
        yield f"{function}_backward", [x, y, WRITTEN], rows, [dx]
    labels = np.array([0, 4, 2, 2, 1, 3, 0])
    losses, probabilities = fastconv.softmax_cross_entropy(x, labels)
    arrays = [x, labels, WRITTEN, WRITTEN]
    yield "softmax_cross_entropy", arrays, rows, [losses, probabilities]
    dx = fastconv.softmax_cross_entropy_backward(probabilities, labels)
    yield "softmax_cross_entropy_backward", [probabilities, labels, WRITTEN], rows, [dx]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cases", ["NCHW", "NHWC", "others"])
def test_plans_give_the_bits_of_the_public_functions(api, cases, dtype):
    if cases == "others":
        made = list(other_cases(dtype))
    else:
        layout = descriptions.LAYOUTS.index(cases)
        made = [*convolution_cases(dtype, layout), *pooling_cases(dtype, layout)]
    with fastconv.use_backend("cython"):
        for function, arrays, given, wanted in made:
            results = results_of(api, function, dtype, arrays, **given)
            for result, expected in zip(results, wanted, strict=True):
                assert_array_equal(result, expected, err_msg=function)
    assert len({function for function, *_ in made}) == 10


def test_a_convolution_and_its_gradients_are_those_of_the_reference(api):
    spec = ConvSpec.parse("g1mb2ic3ih7iw6oc4kh3kw2sh2sw1ph1pw0dh1dw2")
    integers = np.random.default_rng(1).integers
    x, w, dy = (
        integers(-4, 5, shape).astype(np.float32)
        for shape in (spec.x_shape, spec.w_shape, spec.y_shape)
    )
    given = {
        "layout": 1, "x": x.shape, "w": w.shape, "stride": spec.stride, "padding": (1, 1, 0, 0),
        "dilation": spec.dilation, "groups": 1,
    }  # fmt: skip
    y, dx, dw, db = (np.empty_like(each) for each in (dy, x, w, w[0, 0, 0]))
    reference.conv2d_forward(spec, x, w, None, y, None)
    reference.conv2d_backward_data(spec, dy, w, dx, None)
    reference.conv2d_backward_weight(spec, dy, x, dw, db, None)
    (found,) = results_of(api, "conv2d", np.float32, [x, w, None, WRITTEN], **given)
    assert_array_equal(found, y)
    arrays = [dy, x, w, WRITTEN, WRITTEN, WRITTEN]
    gradients = results_of(api, "conv2d_backward", np.float32, arrays, **given, gradients=7)
    for found, expected in zip(gradients, (dx, dw, db), strict=True):
        assert_array_equal(found, expected)


def test_padding_same_is_that_of_the_public_function(api):
    x, w = draw(1, 2, 5, 5), draw(3, 2, 3, 3, seed=1)
    given = {"x": x.shape, "w": w.shape, "stride": 2, "same": 1, "dilation": 1, "groups": 1}
    (y,) = results_of(api, "conv2d", np.float32, [x, w, None, WRITTEN], **given)
    assert_array_equal(y, fastconv.conv2d(x, w, stride=2, padding="same", backend="cython"))


# Plans


def softmax_words(rows=3, classes=4):
    return words("softmax", rows=rows, classes=classes)


def test_a_plan_is_made_once_and_knows_its_shapes(api):
    (status, plan), (_, again) = (plan_of(api, "softmax", softmax_words()) for _ in range(2))
    assert status == 0
    assert plan.value == again.value
    assert shape_of(api, plan, 0) == shape_of(api, plan, 1) == (3, 4)
    assert shape_of(api, plan, 2) is shape_of(api, plan, -1) is None
    _, other = plan_of(api, "softmax", softmax_words(4, 3))
    assert other.value != plan.value
    _, other = plan_of(api, "log_softmax", softmax_words())
    assert other.value != plan.value


def test_many_plans_are_all_found_again(api):
    made = [plan_of(api, "softmax", softmax_words(rows, 2))[1].value for rows in range(1, 301)]
    assert len(set(made)) == 300
    assert made == [
        plan_of(api, "softmax", softmax_words(rows, 2))[1].value for rows in range(1, 301)
    ]


def test_empty_batches_are_no_work(api):
    x = np.empty((0, 4), np.float32)
    (y,) = results_of(api, "softmax", np.float32, [x, WRITTEN], rows=0, classes=4)
    assert y.shape == (0, 4)


def test_threads_that_need_a_plan_at_the_same_time_get_the_same_one(api):
    x = [draw(16, 3, 12, 12, seed=seed) for seed in range(8)]
    w = draw(8, 3, 3, 3, seed=9)
    given = {"x": x[0].shape, "w": w.shape, "stride": 1, "dilation": 1, "groups": 1}

    def convolve(images):
        return results_of(api, "conv2d", np.float32, [images, w, None, WRITTEN], **given)[0]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(convolve, x))
    for images, y in zip(x, found, strict=True):
        assert_array_equal(y, fastconv.conv2d(images, w, backend="cython"))


# Errors


@pytest.mark.parametrize(
    ("function", "given", "public"),
    [
        (
            "conv2d",
            {"x": (1, 4, 5, 5), "w": (2, 3, 3, 3), "stride": 1, "dilation": 1, "groups": 1},
            lambda: fastconv.conv2d(np.zeros((1, 4, 5, 5)), np.zeros((2, 3, 3, 3))),
        ),
        (
            "conv2d",
            {"x": (1, 3, 2, 5), "w": (2, 3, 3, 3), "stride": 1, "dilation": 1, "groups": 1},
            lambda: fastconv.conv2d(np.zeros((1, 3, 2, 5)), np.zeros((2, 3, 3, 3))),
        ),
        (
            "conv2d",
            {"x": (1, 3, 5, 5), "w": (2, 3, 3, 3), "stride": 0, "dilation": 1, "groups": 1},
            lambda: fastconv.conv2d(np.zeros((1, 3, 5, 5)), np.zeros((2, 3, 3, 3)), stride=(0, 0)),
        ),
        (
            "conv2d",
            {
                "x": (1, 3, 5, 5), "w": (2, 3, 3, 3), "stride": 1, "dilation": 1, "groups": 1,
                "bias": 3,
            },
            lambda: fastconv.conv2d(
                np.zeros((1, 3, 5, 5)), np.zeros((2, 3, 3, 3)), np.zeros(3)
            ),
        ),
        (
            "max_pool2d",
            {"x": (1, 1, 4, 4), "kernel": 2, "padding": 2},
            lambda: fastconv.max_pool2d(np.zeros((1, 1, 4, 4)), 2, padding=((2, 2), (2, 2))),
        ),
        (
            "dense",
            {"x": (2, 3), "w": (4, 5)},
            lambda: fastconv.dense(np.zeros((2, 3)), np.zeros((4, 5))),
        ),
        (
            "activation",
            {"kind": 1, "size": 3, "alpha": -1.0},
            lambda: fastconv.leaky_relu(np.zeros(3), -1.0),
        ),
    ],
    ids=["channels", "kernel", "stride", "bias", "pool", "dense", "alpha"],
)  # fmt: skip
def test_what_the_public_function_refuses_is_refused_in_its_words(api, function, given, public):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        public()
    status, plan = plan_of(api, function, words(function, **given))
    assert status == 1
    assert plan.value is None
    assert api.last_error().decode() == str(caught.value)


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        ("softmax", {"dtype": 2}, r"softmax: dtype is 2; expected one of 0 \(float32\), 1 \(fl"),
        ("softmax", {"rows": 1}, "softmax: classes is 0; expected an integer of 1 or more"),
        ("conv2d", {"layout": 7}, r"conv2d: layout is 7; expected one of 0 \(NCHW\), 1 \(NHWC\)"),
        ("max_pool2d", {"same": 2}, r"max_pool2d: same is 2; expected one of 0 \(no\), 1 \(yes\)"),
        ("activation", {"kind": 99}, r"activation: kind is 99; expected one of 0 \(relu\)"),
        (
            "dense_backward",
            {"x": (1, 2), "w": (2, 3), "gradients": 4},
            r"dense_backward: gradients is 4; .* which comes with dw alone",
        ),
    ],
)
def test_numbers_that_mean_nothing_say_what_is_expected(api, function, given, said):
    status, _ = plan_of(api, function, words(function, **given))
    assert status == 1
    assert re.match(said, api.last_error().decode()), api.last_error()


def test_descriptions_of_another_structure_are_refused(api):
    status, _ = plan_of(api, "conv2d", softmax_words())
    assert status == 1
    assert api.last_error().decode() == (
        "conv2d: the description has 24 bytes; expected 192, those of struct fastconv_convolution"
    )
    plan = ctypes.c_void_p()
    assert api.plan(99, softmax_words().ctypes.data, 24, ctypes.byref(plan)) == 1
    assert api.last_error() == b"plan: function is 99; expected 1 to 20"
    for address, size in ((None, 24), (softmax_words().ctypes.data, 23)):
        assert api.plan(15, address, size, ctypes.byref(plan)) == 1
        assert b"use sizeof" in api.last_error()


def test_what_a_run_needs_is_checked(api):
    _, plan = plan_of(api, "softmax", softmax_words())
    x, y = draw(3, 4), np.zeros((3, 4), np.float32)
    assert run(api, plan, [x, None]) == 3
    assert run(api, plan, [x, y], threads=0) == 5
    addresses = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
    size = api.workspace_bytes(plan)
    memory = np.empty(size, np.uint8)
    assert api.run(plan, addresses, memory.ctypes.data, size - 1, 1) == 4
    assert api.run(plan, addresses, None, size, 1) == 4
    assert not y.any()
    assert api.run(plan, addresses, memory.ctypes.data, size, 1) == 0
    assert y.any()


def test_every_status_has_words(api):
    said = [api.error_string(status) for status in enumeration("fastconv_status").values()]
    assert len(set(said)) == 7
    assert api.error_string(0) == b"no error"
    assert api.error_string(99) == b"no status of fastconv"


def test_the_table_says_its_version_and_size(api):
    (version,) = re.findall(r"FASTCONV_API_VERSION (\d+)", HEADER)
    assert api.version == int(version)
    assert api.size == ctypes.sizeof(Api)


# The examples


@pytest.fixture(scope="module")
def environment():
    path = os.pathsep.join([str(TREE), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "CFLAGS": f"-O1 -I{fastconv.get_include()}"}


@needs_engine
@needs_compiler
@needs_examples
def test_the_example_in_c_convolves(tmp_path, environment):
    library, folder = sysconfig.get_config_var("LDLIBRARY"), sysconfig.get_config_var("LIBDIR")
    if not library.endswith((".so", ".dylib")) or not Path(folder, library).exists():
        pytest.skip(f"no shared library of Python in {folder}")
    name = re.sub(r"^lib|\.(so|dylib)$", "", library)
    done = subprocess.run(
        [COMPILER, "-Wall", "-Wextra", "-Werror", str(TREE / "examples" / "c_convolution.c"),
         f"-I{sysconfig.get_paths()['include']}", f"-I{fastconv.get_include()}", f"-L{folder}",
         f"-l{name}", f"-Wl,-rpath,{folder}", "-o", "c_convolution"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home = {"PYTHONHOME": sys.base_prefix}
    done = subprocess.run(
        [tmp_path / "c_convolution"], cwd=tmp_path, env={**environment, **home},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    # Sums of 2 x 2 pixels of 0 to 8.
    assert (done.returncode, done.stdout) == (0, "8 12 20 24\n"), done.stderr


@needs_engine
@needs_compiler
@needs_examples
def test_the_example_in_cython_convolves_without_the_gil(tmp_path, environment):
    pytest.importorskip("Cython")
    shutil.copy(TREE / "examples" / "cython_convolution.pyx", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-3", "-i", "cython_convolution.pyx"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    code = (
        "import numpy, cython_convolution\n"
        "x = numpy.arange(9, dtype=numpy.float32).reshape(1, 1, 3, 3)\n"
        "w = numpy.ones((1, 1, 2, 2), numpy.float32)\n"
        "print(*cython_convolution.convolve(x, w).ravel())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "8.0 12.0 20.0 24.0\n"), done.stderr
