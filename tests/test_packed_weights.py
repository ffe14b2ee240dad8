"""Weights that are packed once: the bits and the errors of calls with the weights themselves."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from optional_torch import needs_torch, torch

import fastconv
from fastconv.backends.selection import backend_state
from fastconv.functional import conv
from fastconv.functional.kept_calls import forget_calls

BACKENDS = [name for name in ("numpy", "numba", "cython") if backend_state(name).works]
needs_cython = pytest.mark.skipif(
    not backend_state("cython").works, reason="the cython backend packs them"
)
CALLS = {
    "3x3": ((1, 16, 9, 9), (48, 16, 3, 3), {"padding": 1}),
    "transformed": ((1, 64, 14, 14), (64, 64, 3, 3), {"padding": 1}),
    "1x1": ((1, 96, 14, 14), (64, 96, 1, 1), {}),
    "stride": ((2, 5, 11, 9), (7, 5, 3, 2), {"stride": 2, "dilation": (1, 2)}),
    "groups": ((2, 8, 7, 7), (12, 4, 3, 3), {"groups": 2}),
    "depthwise": ((1, 8, 7, 7), (8, 1, 3, 3), {"groups": 8, "padding": "same"}),
    "first": ((1, 3, 32, 32), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    "many": ((16, 32, 8, 8), (32, 32, 3, 3), {}),
}


def drawn(*shapes, dtype="float32", seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def of_call(name, layout, dtype="float32"):
    of_x, of_w, options = CALLS[name]
    x, w, b = drawn(of_x, of_w, of_w[:1], dtype=dtype)
    if layout == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        w = np.ascontiguousarray(w.transpose(2, 3, 1, 0))
    return x, w, b, {**options, "layout": layout}


@pytest.fixture
def unpacked(monkeypatch):
    """The calls that took weights as they are."""
    made = []
    forward = conv.forward

    def counted(*arguments):
        made.append(arguments[1])
        return forward(*arguments)

    monkeypatch.setattr(conv, "forward", counted)
    return made


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", CALLS)
def test_convolutions_have_the_bits_of_calls_with_the_weights(name, layout, backend):
    x, w, b, options = of_call(name, layout)
    expected = fastconv.conv2d(x, w, b, backend=backend, **options)
    packed = fastconv.pack_weights(w)
    w[...] = np.nan  # which nobody reads
    for _ in range(3):
        found = fastconv.conv2d(x, packed, b, backend=backend, **options)
        np.testing.assert_array_equal(found, expected)
    out = np.empty_like(expected)
    assert fastconv.conv2d(x + 1, packed, out=out, backend=backend, **options) is out
    again = fastconv.conv2d(x + 1, packed.weights, backend=backend, **options)
    for _ in range(2):
        np.testing.assert_array_equal(out, again)
        fastconv.conv2d(x + 1, packed, out=out, backend=backend, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 30, 7), (64, 96, 100), (16, 32, 64)])
def test_dense_layers_have_them_too(batch, inputs, outputs, dtype, backend):
    x, w, b = drawn((batch, inputs), (outputs, inputs), (outputs,), dtype=dtype)
    packed = fastconv.pack_weights(w.T)
    for given in (x, x + 1, x):
        expected = fastconv.dense(given, w.T, b, backend=backend)
        np.testing.assert_array_equal(fastconv.dense(given, packed, b, backend=backend), expected)


@needs_cython
def test_weights_are_packed_once_for_each_kind_of_call(unpacked):
    x, w, b, options = of_call("many", "NCHW")
    packed = fastconv.pack_weights(w)
    assert packed.nbytes == w.nbytes
    with fastconv.use_backend("cython"):
        for number in range(3):
            fastconv.conv2d(x + number, packed, b, **options)
        once = packed.nbytes
        assert once >= 2 * w.nbytes
        assert unpacked == ["conv2d"]
        # By name, and with other images: found again.
        fastconv.conv2d(x, w=packed, b=b, **options)
        fastconv.conv2d(x=x, w=packed, b=b, **options)
        assert (packed.nbytes, len(unpacked)) == (once, 1)
        fastconv.conv2d(x[:1], packed, b, **options)
        assert len(unpacked) == 2


@needs_cython
def test_no_more_forms_are_kept_than_eight():
    w, x = drawn((32, 16, 3, 3), (1, 16, 40, 40))
    packed, sizes = fastconv.pack_weights(w), []
    for size in range(6, 40):
        images = np.ascontiguousarray(x[:, :, :size, :size])
        for _ in range(2):
            found = fastconv.conv2d(images, packed, backend="cython")
        np.testing.assert_array_equal(found, fastconv.conv2d(images, w, backend="cython"))
        sizes.append(packed.nbytes)
    assert max(sizes) < 80 * w.nbytes
    for dilation in range(1, 12):
        fastconv.conv2d(x, packed, dilation=dilation, backend="cython")
        assert len(packed._forms) <= 8


@needs_cython
def test_forgotten_calls_are_packed_again():
    x, w, b, options = of_call("many", "NCHW")
    packed = fastconv.pack_weights(w)
    expected = fastconv.conv2d(x, packed, b, backend="cython", **options)
    forget_calls()
    for _ in range(2):
        found = fastconv.conv2d(x, packed, b, backend="cython", **options)
        np.testing.assert_array_equal(found, expected)


@needs_cython
def test_threads_may_share_one():
    x, w, b, options = of_call("3x3", "NCHW")
    packed = fastconv.pack_weights(w)
    images = [np.ascontiguousarray(x[:, :, : 9 - n % 4]) for n in range(40)]
    expected = [fastconv.conv2d(each, w, b, backend="cython", **options) for each in images]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda each: fastconv.conv2d(each, packed, b, backend="cython", **options), images
        )
        for own, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(own, other)


def test_copies_have_the_weights():
    w, x = drawn((4, 3, 2, 2), (1, 3, 5, 5))
    packed = fastconv.pack_weights(w)
    expected = fastconv.conv2d(x, packed)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        np.testing.assert_array_equal(fastconv.conv2d(x, other), expected)
        assert (other.shape, other.dtype) == (w.shape, w.dtype)
    with pytest.raises(ValueError, match="read-only"):
        packed.weights[...] = 0


def test_a_backend_that_is_chosen_later_takes_them_too():
    w, x = drawn((4, 3, 2, 2), (1, 3, 5, 5))
    packed = fastconv.pack_weights(w)
    for backend in (*BACKENDS, *BACKENDS):
        expected = fastconv.conv2d(x, w, backend=backend)
        np.testing.assert_array_equal(fastconv.conv2d(x, packed, backend=backend), expected)


@needs_torch
def test_tensors_are_taken_and_returned():
    w, x = drawn((4, 3, 2, 2), (1, 3, 5, 5))
    packed = fastconv.pack_weights(torch.from_numpy(w))
    for _ in range(3):
        found = fastconv.conv2d(torch.from_numpy(x), packed)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_array_equal(found.numpy(), fastconv.conv2d(x, w))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x, p: fastconv.conv2d(x.astype(float), p), TypeError,
         "conv2d: w has dtype float32 but x has float64"),
        (lambda x, p: fastconv.conv2d(x[:, :2], p), ValueError,
         "conv2d: w has 3 input channels .* but x has 2"),
        (lambda x, p: fastconv.conv2d(x, p, backend="cupyy"), ValueError, "cupyy"),
        (lambda x, p: fastconv.conv2d(**{"w": p}), TypeError, "missing .* 'x'"),
        (lambda x, p: fastconv.conv2d(x, p, p), TypeError, "conv2d: b is a PackedWeights"),
        (lambda x, p: fastconv.dense(x[0, 0], p), ValueError, "dense: w has 4 dimensions"),
        (lambda x, p: fastconv.conv_transpose2d(x, p), TypeError,
         "w is a PackedWeights; .*w.weights; conv2d and dense alone take packed weights"),
        (lambda x, p: fastconv.pack_weights(p), TypeError, "pack_weights: w is a PackedWeights"),
        (lambda x, p: fastconv.pack_weights(x.astype(int)), TypeError, "w has dtype int64"),
        (lambda x, p: fastconv.pack_weights(x[0]), ValueError,
         "pack_weights: w has 3 dimensions .*; expected 4, .* or 2"),
    ],
)  # fmt: skip
def test_mistakes_are_those_of_the_weights(call, error, text):
    w, x = drawn((4, 3, 2, 2), (1, 3, 5, 5))
    for _ in range(2):
        with pytest.raises((error, fastconv.BackendError), match=text):
            call(x, fastconv.pack_weights(w))
