"""Sums over many float32 numbers keep their digits: 1e-6 of the sum where all have one sign.

Each term is the same 0.1 where that is possible: all roundings of a plain sum then go the same way,
and 100 000 of them are 1e-3 of it. The right sums are known without adding.
"""

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import standing_in
from cupy_stand_in import DeviceArray, StandInDevice
from numpy.testing import assert_allclose

import fastconv
from fastconv.backends.selection import backend_state

BACKENDS = [each for each in ("numpy", "numba", "cython") if backend_state(each).works]
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_layout = pytest.mark.parametrize("layout", ["NCHW", "NHWC"])

TENTH = float(np.float32(0.1))
CLOSE, PRODUCTS_CLOSE = 1e-6, 1e-4


def tenths(*shape):
    return np.full(shape, 0.1, np.float32)


def images(array, layout):
    """NHWC images in a layout."""
    return np.moveaxis(array, 3, 1).copy() if layout == "NCHW" else array


def filters(array, layout):
    """HWIO filters in the order of a layout."""
    return array.transpose(3, 2, 0, 1).copy() if layout == "NCHW" else array


def near(result, expected, limit=CLOSE):
    assert_allclose(np.asarray(result, np.float64), expected, rtol=limit, atol=0)


CONVOLUTIONS = {
    # samples, size, channels, outputs, kernel, groups, padding
    "few channels": (5, 150, 3, 5, 3, 1, 0),
    "padded": (5, 150, 3, 5, 3, 1, 1),
    "grouped": (8, 100, 4, 6, 1, 2, 0),
    "depthwise": (5, 150, 3, 3, 3, 3, 1),
    "depthwise, many channels": (40, 50, 40, 40, 3, 40, 1),
    "depthwise, two outputs of each": (5, 150, 3, 6, 3, 3, 0),
    "more outputs than sums are kept of": (1, 100, 1, 1030, 1, 1, 0),
    "batches of sixteen": (32, 60, 2, 4, 3, 1, 1),
    "1x1": (4, 160, 3, 7, 1, 1, 0),
    "one image": (1, 350, 1, 2, 1, 1, 0),
}


@each_backend
@each_layout
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_of_a_convolution(backend, layout, name):
    samples, size, channels, outputs, kernel, groups, padding = CONVOLUTIONS[name]
    out = size + 2 * padding - kernel + 1
    x = images(tenths(samples, size, size, channels), layout)
    w = filters(np.ones((kernel, kernel, channels // groups, outputs), np.float32), layout)
    dy = images(tenths(samples, out, out, outputs), layout)
    options = {"padding": padding, "groups": groups, "layout": layout, "backend": backend}
    _, dw, db = fastconv.conv2d_backward(dy, x, w, needs=("w", "b"), **options)
    near(db, TENTH * samples * out**2)
    *_, db = fastconv.conv2d_backward(dy, x, w, needs=("b",), **options)
    near(db, TENTH * samples * out**2)
    # The tap in the middle meets no padding.
    middle = (kernel // 2, kernel // 2)
    centre = dw[(..., *middle)] if layout == "NCHW" else dw[middle]
    near(centre, TENTH**2 * samples * out**2, PRODUCTS_CLOSE)


@each_backend
@each_layout
def test_the_bias_of_a_transposed_convolution(backend, layout):
    x, dy = images(tenths(5, 50, 50, 3), layout), images(tenths(5, 150, 150, 4), layout)
    w = np.ones((3, 4, 3, 3) if layout == "NCHW" else (3, 3, 4, 3), np.float32)
    for needs in (("w", "b"), ("b",)):
        *_, db = fastconv.conv_transpose2d_backward(
            dy, x, w, stride=3, layout=layout, needs=needs, backend=backend
        )
        near(db, TENTH * 5 * 150**2)


@each_backend
@pytest.mark.parametrize("outputs", [1, 3, 20])
def test_gradients_of_a_dense_layer(backend, outputs):
    samples = 200_003
    dy, x, w = tenths(samples, outputs), tenths(samples, 2), np.ones((2, outputs), np.float32)
    _, dw, db = fastconv.dense_backward(dy, x, w, needs=("w", "b"), backend=backend)
    near(db, TENTH * samples)
    near(dw, TENTH**2 * samples, PRODUCTS_CLOSE)
    *_, db = fastconv.dense_backward(dy, x, w, needs=("b",), backend=backend)
    near(db, TENTH * samples)


@each_backend
def test_sums_go_beyond_the_largest_whole_number_of_float32(backend):
    """2**24 + 1 is none: a plain float32 sum of ones stands still there."""
    count = 2**24 + 2**20
    ones = np.ones((count, 1), np.float32)
    _, dw, db = fastconv.dense_backward(
        ones, ones, ones[:1], needs=("w", "b"), backend=backend
    )  # fmt: skip
    near(db, count)
    near(dw, count)
    *_, db = fastconv.dense_backward(ones, ones, ones[:1], needs=("b",), backend=backend)
    near(db, count)
    image = ones.reshape(1, 2**10, -1, 1)
    near(fastconv.global_avg_pool2d(image, layout="NHWC", backend=backend), 1)


@each_backend
@pytest.mark.parametrize("inputs", [8, 40])
def test_products_of_many_samples_go_beyond_it_too(backend, inputs):
    """Two samples in 4096 steps are one more: no sum is kept in registers all the way."""
    samples, block = 40 * 4096, 100.0
    x = np.full((samples, inputs), block, np.float32)
    dy = np.full((samples, 1), block, np.float32)
    dy[-4096:] = 1  # each adds 100 to 1.6e9, where float32 knows multiples of 128 only
    _, dw, _ = fastconv.dense_backward(
        dy, x, np.ones((inputs, 1), np.float32), needs=("w",), backend=backend
    )
    near(dw, (samples - 4096) * block**2 + 4096 * block, 1e-5)


@each_backend
@each_layout
@pytest.mark.parametrize("size", [40, 200])
def test_means_of_images_and_of_large_windows(backend, layout, size):
    x = images(tenths(2, 401, 401, 3), layout)
    near(fastconv.global_avg_pool2d(x, layout=layout, backend=backend), TENTH)
    options = {"layout": layout, "backend": backend}
    near(fastconv.avg_pool2d(x, size, **options), TENTH)
    counted = fastconv.avg_pool2d(x, size, padding=size // 2, **options)
    corner = counted[:, :, 0, 0] if layout == "NCHW" else counted[:, 0, 0]
    near(corner, TENTH / 4)


@each_backend
def test_the_mean_of_numbers_whose_sum_is_too_large(backend):
    x = np.full((2, 3, 50, 50), 3e38, np.float32)
    for layout in ("NCHW", "NHWC"):
        near(fastconv.global_avg_pool2d(x, layout=layout, backend=backend), float(x[0, 0, 0, 0]))


@each_backend
def test_losses_and_softmax_over_many_classes(backend):
    classes = 1_000_003
    scores = np.zeros((1, classes), np.float32)
    scores[0, 0] = 1
    total = (classes - 1) * np.exp(-1.0) + 1  # of e^(score - largest)
    losses, probabilities = fastconv.softmax_cross_entropy(scores, np.array([0]), backend=backend)
    near(losses, np.log(total))
    near(probabilities[0, 0], 1 / total)
    near(fastconv.softmax(scores, backend=backend)[0, 0], 1 / total)
    near(fastconv.log_softmax(scores, backend=backend)[0, 0], -np.log(total))
    dy, half = tenths(1, classes), np.full((1, classes), 0.5, np.float32)
    near(fastconv.softmax_backward(dy, half, backend=backend), 0.5 * TENTH * (1 - 0.5 * classes))
    zeros = np.zeros((1, classes), np.float32)
    near(fastconv.log_softmax_backward(dy, zeros, backend=backend), TENTH * (1 - classes))
    near(fastconv.mean_squared_error(dy, zeros, backend=backend), TENTH**2)


@each_backend
def test_statistics_and_gradients_of_batch_normalisation(backend):
    rows, one = 300_001, np.ones(2, np.float32)
    _, mean, _ = fastconv.batch_norm(tenths(rows, 2), one, one, backend=backend)
    near(mean, TENTH)
    ones = np.ones((rows, 2), np.float32)
    _, dgamma, dbeta = fastconv.batch_norm_backward(
        tenths(rows, 2), ones, one, 0 * one, one, backend=backend
    )
    near(dgamma, TENTH * rows)
    near(dbeta, TENTH * rows)


@each_backend
def test_a_sum_is_as_exact_as_its_terms_where_they_cancel(backend):
    """The error is 1e-6 of the sum of the magnitudes, which 1e-6 of the result is far below."""
    rng = np.random.default_rng(0)
    dy = rng.standard_normal((200_000, 3)).astype(np.float32)
    x, w = np.zeros((len(dy), 1), np.float32), np.zeros((1, 3), np.float32)
    wide = dy.astype(np.float64)
    for needs in (("w", "b"), ("b",)):
        *_, db = fastconv.dense_backward(dy, x, w, needs=needs, backend=backend)
        assert (np.abs(db - wide.sum(0)) <= CLOSE * np.abs(wide).sum(0)).all()


@pytest.fixture
def cuda(monkeypatch):
    """The CUDA kernels, with the host in place of a card."""
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(StandInDevice()) as device:
        yield device


def test_long_sums_in_cuda(cuda):
    on = DeviceArray
    x = tenths(1, 300, 300, 2)
    near(fastconv.global_avg_pool2d(on(x), layout="NHWC").memory, TENTH)  # type: ignore[attr-defined]
    near(fastconv.avg_pool2d(on(x), 250, layout="NHWC").memory, TENTH)  # type: ignore[attr-defined]
    image, w = on(tenths(1, 300, 300, 1)), on(np.ones((1, 1, 1, 1), np.float32))
    *_, db = fastconv.conv_transpose2d_backward(image, image, w, layout="NHWC", needs=("w", "b"))
    near(db.memory, TENTH * 300**2)
    scores = np.zeros((1, 100_003), np.float32)
    scores[0, 0] = 1
    total = 100_002 * np.exp(-1.0) + 1
    near(fastconv.softmax(on(scores)).memory[0, 0], 1 / total)  # type: ignore[attr-defined]
    dy, zeros = tenths(1, 100_003), np.zeros((1, 100_003), np.float32)
    near(fastconv.log_softmax_backward(on(dy), on(zeros)).memory, TENTH * (1 - 100_003))  # type: ignore[attr-defined]
    near(fastconv.mean_squared_error(on(dy), on(zeros)).memory, TENTH**2)  # type: ignore[attr-defined]
