"""Results that go into memory which is read meanwhile: out= and running statistics."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

import fastconv
from fastconv.backends.selection import backend_state

BACKENDS = [each for each in ("numpy", "numba", "cython") if backend_state(each).works]
pytestmark = pytest.mark.parametrize("backend", BACKENDS)
RNG = np.random.default_rng(0)


def integers(*shape):
    """Small integers, whose sums of products are exact in float32."""
    return RNG.integers(-4, 5, shape).astype(np.float32)


def convolved(x, w, groups):
    """The convolution of NCHW images with an odd kernel, the padding keeping their size."""
    side = w.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (side, side), (side, side)))
    windows = sliding_window_view(padded, w.shape[2:], axis=(2, 3))
    parts = zip(np.split(windows, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate(
        [np.einsum("nchwij,ocij->nohw", part, own) for part, own in parts], axis=1
    )


CONVOLUTIONS = [
    (channels, kernel, groups)
    for channels in (1, 4, 16)
    for kernel in (1, 3)
    for groups in sorted({1, channels})
]


@pytest.mark.parametrize("size", [8, 24])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("channels", "kernel", "groups"), CONVOLUTIONS)
def test_a_convolution_into_its_own_images(backend, channels, kernel, groups, layout, size):
    x, w = integers(2, channels, size, size), integers(channels, channels // groups, kernel, kernel)
    b = integers(channels)
    expected = convolved(x, w, groups) + b[:, None, None]
    if layout == "NHWC":
        x, w = np.moveaxis(x, 1, 3).copy(), w.transpose(2, 3, 1, 0).copy()
        expected = np.moveaxis(expected, 1, 3)
    options = {"padding": "same", "groups": groups, "layout": layout, "backend": backend}
    assert fastconv.conv2d(x, w, b, out=x, **options) is x
    assert_array_equal(x, expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_transposed_convolution_into_its_own_images(backend, layout):
    """With stride 1, it is the convolution with the filters turned around and exchanged."""
    x, w = integers(2, 8, 9, 9), integers(8, 8, 3, 3)
    expected = convolved(x, w[:, :, ::-1, ::-1].swapaxes(0, 1), 1)
    if layout == "NHWC":
        x, w = np.moveaxis(x, 1, 3).copy(), w.transpose(2, 3, 1, 0).copy()
        expected = np.moveaxis(expected, 1, 3)
    assert fastconv.conv_transpose2d(x, w, padding=1, layout=layout, out=x, backend=backend) is x
    assert_array_equal(x, expected)


@pytest.mark.parametrize("size", [5, 64])
@pytest.mark.parametrize("name", ["x", "w", "b"])
def test_a_dense_layer_into_any_of_its_arguments(backend, name, size):
    memory = integers(size, size)
    arguments = {"x": integers(size, size), "w": integers(size, size), "b": integers(size)}
    arguments[name] = memory[0] if name == "b" else memory
    expected = arguments["x"] @ arguments["w"] + arguments["b"]
    assert fastconv.dense(**arguments, out=memory, backend=backend) is memory
    assert_array_equal(memory, expected)


@pytest.mark.parametrize("shift", [1, 7, 40])
def test_a_dense_layer_into_memory_that_begins_within_its_input(backend, shift):
    memory, w = integers(400 + shift), integers(20, 20)
    x, out = memory[:400].reshape(20, 20), memory[shift:].reshape(20, 20)
    expected = x @ w
    assert fastconv.dense(x, w, out=out, backend=backend) is out
    assert_array_equal(out, expected)


def test_a_convolution_into_the_other_channels_of_its_own_memory(backend):
    memory, w = integers(2, 12, 12, 8), integers(3, 3, 4, 4)
    x, out = memory[..., :4], memory[..., 4:]
    expected = np.moveaxis(convolved(np.moveaxis(x, 3, 1), w.transpose(3, 2, 0, 1), 1), 1, 3)
    before = x.copy()
    fastconv.conv2d(x, w, padding=1, layout="NHWC", out=out, backend=backend)
    assert_array_equal(out, expected)
    assert_array_equal(x, before)


@pytest.mark.parametrize("name", ["gamma", "beta", "x"])
def test_running_statistics_in_the_memory_of_an_input_do_not_disturb_the_result(backend, name):
    x = integers(50, 3).astype(np.float64)
    arguments = {"x": x, "gamma": np.array([1.0, 2.0, 3.0]), "beta": np.array([4.0, 5.0, 6.0])}
    centred = x - x.mean(0)
    expected = centred / np.sqrt(x.var(0) + 1e-5) * arguments["gamma"] + arguments["beta"]
    running = arguments[name][0] if name == "x" else arguments[name]
    mean = 0.9 * running + 0.1 * x.mean(0)
    y, *_ = fastconv.batch_norm(**arguments, running_mean=running, backend=backend)
    assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert_allclose(running, mean, rtol=1e-12)


def test_running_statistics_that_overlap_each_other_are_refused(backend):
    one = np.ones(3)
    with pytest.raises(ValueError, match="running_mean and running_variance overlap") as refused:
        fastconv.batch_norm(np.ones((4, 3)), one, one, one[:], one, backend=backend)
    assert str(refused.value) == (
        "batch_norm: running_mean and running_variance overlap; expected two arrays "
        "(running_variance.copy())"
    )
