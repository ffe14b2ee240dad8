"""Public functions inside functions that Numba compiles."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numpy.testing import assert_array_equal
from public_calls import ACTIVATIONS

import fastconv
from fastconv.backends.reference import conv as reference
from fastconv.backends.selection import backend_state
from fastconv.interop import numba_overloads
from fastconv.interop.numba_overloads import intrinsics
from fastconv.spec import ConvSpec

CYTHON = backend_state("cython")
pytestmark = pytest.mark.skipif(not CYTHON.works, reason=CYTHON.reason)
TREE = Path(fastconv.__file__).parents[1]


def draw(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.fixture(autouse=True)
def _the_engine_in_c():
    with fastconv.use_backend("cython"):
        yield


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


# Each line is plain Python too: what it gives uncompiled is what is expected.


def convolutional(x, w, b, back, dw):
    y = fastconv.conv2d(x, w, b, stride=(2, 1), padding=((1, 0), (2, 1)), groups=2)
    t = fastconv.conv_transpose2d(x, back, padding=1)
    dx, dfilters, db = fastconv.conv2d_backward(
        y, x, w, stride=(2, 1), padding=((1, 0), (2, 1)), groups=2
    )
    dt, dback, dc = fastconv.conv_transpose2d_backward(t, x, back, padding=1)
    p, where = fastconv.max_pool2d(x, 3, stride=2, padding=1)
    dp = fastconv.max_pool2d_backward(p, where, x.shape, 3, stride=2, padding=1)
    a = fastconv.avg_pool2d(x, (2, 3), ceil_mode=True, count_include_pad=False)
    da = fastconv.avg_pool2d_backward(a, x.shape, (2, 3), ceil_mode=True, count_include_pad=False)
    g = fastconv.global_avg_pool2d(x)
    dg = fastconv.global_avg_pool2d_backward(g, x.shape)
    z = fastconv.dense(g, dw)
    dz, ddense, dd = fastconv.dense_backward(z, g, dw)
    return (
        y, t, dx, dfilters, db, dt, dback, dc, p, where, dp, a, da, g, dg, z, dz, ddense, dd,
    )  # fmt: skip


def channels_last(x, w, b):
    y = fastconv.conv2d(x, w, b, padding="same", layout="NHWC")
    dx, dw, db = fastconv.conv2d_backward(y, x, w, padding="same", layout="NHWC")
    p, where = fastconv.max_pool2d(x, 2, padding="valid", layout="NHWC")
    return y, dx, dw, db, p, where


def losses(scores, labels):
    losses, probabilities = fastconv.softmax_cross_entropy(scores, labels)
    dscores = fastconv.softmax_cross_entropy_backward(probabilities, labels)
    s, t = fastconv.softmax(scores), fastconv.log_softmax(scores, axis=1)
    ds, dt = fastconv.softmax_backward(scores, s), fastconv.log_softmax_backward(scores, t)
    return losses, probabilities, dscores, s, t, ds, dt


def test_convolutions_pooling_and_dense_layers_give_the_bits_that_they_give_outside():
    arguments = (
        draw(3, 4, 9, 8), draw(6, 2, 3, 3, seed=1), draw(6, seed=2), draw(4, 3, 3, 3, seed=3),
        draw(4, 5, seed=4),
    )  # fmt: skip
    assert_same(njit(convolutional)(*arguments), convolutional(*arguments))


def test_images_with_channels_last_and_padding_by_name():
    arguments = (
        draw(2, 6, 7, 4, dtype=np.float64), draw(3, 3, 4, 5, dtype=np.float64, seed=1),
        draw(5, dtype=np.float64),
    )  # fmt: skip
    assert_same(njit(channels_last)(*arguments), channels_last(*arguments))


def test_softmax_and_its_loss():
    arguments = draw(5, 7), np.array([0, 6, 3, 3, 1])
    assert_same(njit(losses)(*arguments), losses(*arguments))


def three_activations(x):
    # One that keeps y, one with a parameter, one that keeps x: the others differ by a number.
    y, z, s = fastconv.relu(x), fastconv.leaky_relu(x, 0.2), fastconv.silu(x)
    dy, dz = fastconv.relu_backward(x, y), fastconv.leaky_relu_backward(x, z, alpha=0.2)
    return y, z, s, dy, dz, fastconv.silu_backward(x, x=x)


def test_activations_and_their_gradients():
    x = draw(3, 2, 5)
    assert_same(njit(three_activations)(x), three_activations(x))


def test_every_activation_has_a_compiled_form():
    context = cpu_target.typing_context
    context.refresh()
    for name in ACTIVATIONS:
        for function in (getattr(fastconv, name), getattr(fastconv, f"{name}_backward")):
            assert context.resolve_value_type(function).typing_key is function
    with pytest.raises(ValueError, match="Cannot determine Numba type"):
        context.resolve_value_type(fastconv.prelu)  # one that has none


def test_gelu_by_name_of_its_approximation():
    def both(x):
        return fastconv.gelu(x), fastconv.gelu(x, approximate="tanh")

    x = draw(11, dtype=np.float64)
    assert_same(njit(both)(x), both(x))


def test_a_convolution_is_that_of_the_reference():
    spec = ConvSpec.parse("g1mb2ic3ih6iw5oc4kh3kw2sh2sw1ph1pw0dh1dw1")
    integers = np.random.default_rng(1).integers
    x, w = (integers(-4, 5, s).astype(np.float32) for s in (spec.x_shape, spec.w_shape))
    expected = np.empty(spec.y_shape, np.float32)
    reference.conv2d_forward(spec, x, w, None, expected, None)

    @njit
    def convolve(x, w):
        return fastconv.conv2d(x, w, stride=(2, 1), padding=(1, 0), layout="NHWC")

    assert_array_equal(convolve(x, w), expected)


# Results in memory of the caller


@njit
def into(x, w, b, out):
    return fastconv.dense(x, w, b, out=out)


def test_results_go_where_they_are_wanted():
    x, w, b = draw(4, 3), draw(3, 5, seed=1), draw(5, seed=2)
    wanted, out = fastconv.dense(x, w, b), np.zeros((4, 5), np.float32)
    assert np.shares_memory(into(x, w, b, out), out)
    assert_array_equal(out, wanted)
    wide = np.zeros((4, 10), np.float32)
    into(x, w, b, wide[:, ::2])
    assert_array_equal(wide[:, ::2], wanted)
    assert not wide[:, 1::2].any()


def test_a_result_over_an_argument_is_made_beside_it_first():
    square = draw(4, 4)
    zeros = np.zeros(4, np.float32)
    wanted, memory = fastconv.dense(square, square), square.copy()
    into(memory, memory, zeros, memory)
    assert_array_equal(memory, wanted)


def test_arrays_that_are_not_in_order_are_copied_and_results_of_loops_stay_alive():
    @njit
    def chain(x, w, times):
        for _ in range(times):
            x = fastconv.dense(x, w)
        return x

    x, w = draw(8, 6)[::2, ::2], draw(3, 6, seed=1).T[::2]
    wanted = x
    for _ in range(4):
        wanted = fastconv.dense(wanted, w)
    assert_array_equal(chain(x, w, 4), wanted)


# Errors


@njit
def convolve(x, w, b, stride, out):
    return fastconv.conv2d(x, w, b, stride=stride, out=out)


X, W, B = np.zeros((1, 3, 5, 5)), np.zeros((2, 3, 3, 3)), np.zeros(2)
OUT = np.zeros((1, 2, 3, 3))


@pytest.mark.parametrize(
    "given",
    [
        (X, np.zeros((2, 4, 3, 3)), B, 1, OUT),
        (X, W, B, 0, OUT),
        (X[:, :, :2].copy(), W, B, 1, OUT),
        (X, W, np.zeros(3), 1, OUT),
        (X, W, np.zeros(0), 1, OUT),
        (X, W, B, 1, OUT[:, :, :2].copy()),
    ],
    ids=["channels", "stride", "kernel", "bias", "no bias", "out"],
)
def test_wrong_values_raise_what_they_raise_outside(given):
    x, w, b, stride, out = given
    with pytest.raises(ValueError) as outside:  # noqa: PT011 - the words are compared below
        fastconv.conv2d(x, w, b, stride=(stride, stride), out=out)
    with pytest.raises(ValueError) as inside:  # noqa: PT011
        convolve(*given)
    assert str(inside.value) == str(outside.value)


def test_errors_can_be_caught_inside():
    @njit
    def attempt(x, w):
        try:
            return fastconv.dense(x, w)[0, 0]
        except Exception:
            return -1.0

    assert attempt(np.ones((2, 3)), np.ones((4, 5))) == -1.0
    assert attempt(np.ones((2, 3)), np.ones((3, 5))) == 3.0


def test_labels_outside_of_the_classes_are_named():
    with pytest.raises(ValueError, match="softmax_cross_entropy: labels holds 9; expected 0 to 6"):
        njit(losses)(draw(2, 7), np.array([0, 9]))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: fastconv.relu(np.ones(3, np.int64)),
            "relu: x has dtype int64; expected float32 or",
        ),
        (
            lambda: fastconv.dense(np.ones((2, 2)), np.ones((2, 2), np.float32)),
            "dense: w has dtype float32 but x has float64; convert one of them with astype",
        ),
        (
            lambda: fastconv.conv2d(np.ones((2, 2)), np.ones((1, 1, 1, 1))),
            r"conv2d: x has 2 dimensions; expected 4 \(N, C, H, W\)",
        ),
        (
            lambda: fastconv.relu(np.ones(2), backend="numpy"),
            "relu: backend is 'numpy'; inside @njit expected a constant, None or 'cython' or",
        ),
        (
            lambda: fastconv.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), stride=1.5),
            "conv2d: stride is of Numba's type float64; expected an integer or",
        ),
        (
            lambda: fastconv.avg_pool2d(np.ones((1, 1, 2, 2)), 2, padding="full"),
            "avg_pool2d: padding is 'full'; inside @njit expected a constant, 'same' or 'valid'",
        ),
    ],
    ids=["dtype", "dtypes", "dimensions", "backend", "stride", "padding"],
)
def test_wrong_types_are_errors_of_compiling(call, said):
    with pytest.raises(TypingError, match=said):
        njit(call)()


def test_a_parallel_loop_must_let_go_of_the_gil():
    @njit(parallel=True)
    def loop(x):
        for number in prange(len(x)):
            x[number] = fastconv.relu(x[number])
        return x

    with pytest.raises(TypingError, match=r"use @njit\(parallel=True, nogil=True\)"):
        loop(np.ones((3, 2)))


def test_without_the_engine_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(intrinsics, "why_not", lambda: "no working C compiler")

    @njit
    def call(x):
        return fastconv.selu_backward(x, x)

    with pytest.raises(TypingError, match=r"selu_backward: inside @njit it needs .* no working C"):
        call(np.ones(3))


def test_threads_are_numbers_and_change_no_bits():
    x, w, b = (draw(*shape, dtype=np.float64) for shape in ((16, 8, 16, 16), (16, 8, 3, 3), (16,)))
    one, two = np.empty((2, 16, 16, 14, 14))
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="set_threads: threads is"):
            numba_overloads.set_threads(wrong)
    convolve(x, w, b, 1, one)
    numba_overloads.set_threads(2)
    try:
        convolve(x, w, b, 1, two)
    finally:
        numba_overloads.set_threads(1)
    assert_array_equal(one, two)


# As it is installed


def test_numba_finds_the_overloads_by_itself():
    project = tomllib.loads((TREE / "pyproject.toml").read_text("utf-8"))["project"]
    entry = project["entry-points"]["numba_extensions"]["init"]
    assert entry == f"{numba_overloads.__name__}:{numba_overloads.init.__name__}"


test_numba_finds_the_overloads_by_itself = pytest.mark.skipif(
    not (TREE / "pyproject.toml").is_file(), reason="no source tree"
)(test_numba_finds_the_overloads_by_itself)

ON_DISK = """
import sys, numpy, numba, fastconv, fastconv.interop.numba_overloads
@numba.njit(cache=True)
def f(x):
    return fastconv.tanh(x)
assert abs(f(numpy.ones(3))[1] - 0.76159416) < 1e-7
print(sum(f.stats.cache_hits.values()))
"""


def test_compiled_functions_can_be_kept_on_disk(tmp_path):
    (tmp_path / "kept.py").write_text(ON_DISK, "utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TREE), *sys.path])}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "kept")
    hits = [
        subprocess.run(
            [sys.executable, "kept.py"], cwd=tmp_path, env=environment, capture_output=True,
            text=True, check=True, timeout=200,
        ).stdout.strip()
        for _ in range(2)
    ]  # fmt: skip
    assert hits == ["0", "1"]


@pytest.mark.skipif(not (TREE / "examples").is_dir(), reason="no examples beside the tests")
def test_the_example_smooths_on_all_cores(capsys):
    path = TREE / "examples" / "njit_loop.py"
    exec(compile(path.read_text("utf-8"), str(path), "exec"), {"__name__": "__main__"})
    # Two passes of a mean of nine over a point of 81: 1 2 3 2 1 times itself.
    shown = capsys.readouterr().out
    numbers = np.array(shown.replace("[", "").replace("]", "").split(), float).reshape(5, 5)
    assert_array_equal(numbers, np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]))
