"""Batch normalisation of numbers that are very large or very small: their squares do not fit."""

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import standing_in
from cupy_stand_in import DeviceArray, StandInDevice
from numpy.testing import assert_allclose, assert_array_equal

import fastconv
from fastconv.backends.selection import backend_state

BACKENDS = [each for each in ("numpy", "numba", "cython") if backend_state(each).works]
LARGE, SMALL = 1e30, 1e-30
"""Neither square is a float32 number."""


@pytest.fixture(params=[*BACKENDS, "cuda"])
def call(request, monkeypatch):
    """A call of a public function with a backend; ``cuda`` is the host in place of a card."""
    if request.param != "cuda":
        yield lambda name, *arrays, **options: getattr(fastconv, name)(
            *arrays, **options, backend=request.param
        )
        return
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")

    def on_device(name, *arrays, **options):
        results = getattr(fastconv, name)(*map(DeviceArray, arrays), **options)
        if isinstance(results, tuple):
            return tuple(each.memory for each in results)
        return results.memory

    with standing_in(StandInDevice()):
        yield on_device


def drawn(rows=300, channels=3):
    return np.random.default_rng(0).standard_normal((rows, channels))


def vectors(channels=3):
    return np.linspace(0.5, 2, channels), np.linspace(-1, 1, channels)


def in_float32(*arrays):
    return [array.astype(np.float32) for array in arrays]


def expected_gradients(dy, x, gamma, epsilon):
    """In float64, from the definition."""
    inverse = 1 / np.sqrt(x.var(0) + epsilon)
    z = (x - x.mean(0)) * inverse
    centred = dy - dy.mean(0) - z * (dy * z).mean(0)
    return gamma * inverse * centred, (dy * z).sum(0), dy.sum(0)


@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("scale", [LARGE, 1e19, 1e-20, SMALL])
def test_training_and_gradients_at_any_scale(call, scale, shift):
    epsilon = 1e-5 if scale > 1 else 1e-3 * scale**2
    gamma, beta = vectors()
    x, dy, gamma, beta = in_float32((drawn() + shift) * scale, drawn()[::-1], gamma, beta)
    wide = x.astype(np.float64)
    y, mean, inverse = call("batch_norm", x, gamma, beta, epsilon=epsilon)
    std = np.sqrt(wide.var(0) + epsilon)
    assert_allclose(y, (wide - wide.mean(0)) / std * gamma + beta, rtol=1e-5, atol=2e-6)
    assert_allclose(mean, wide.mean(0), rtol=1e-6, atol=1e-6 * scale)
    assert_allclose(inverse, 1 / std, rtol=1e-6)
    results = call("batch_norm_backward", dy, x, gamma, mean, inverse)
    for result, expected in zip(results, expected_gradients(dy, wide, gamma, epsilon), strict=True):
        assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e37, SMALL])
def test_gradients_of_large_and_small_ones(call, scale):
    """Sums of them may be infinite; the gradient of x, which takes means, is not."""
    x, dy, gamma = in_float32(drawn(), (drawn()[::-1] + 3) * scale, vectors()[0])
    beta = np.zeros(3, np.float32)
    _, mean, inverse = call("batch_norm", x, gamma, beta)
    dx, dgamma, dbeta = call("batch_norm_backward", dy, x, gamma, mean, inverse)
    exact = expected_gradients(dy.astype(np.float64), x.astype(np.float64), gamma, 1e-5)
    assert_allclose(dx, exact[0], rtol=1e-4, atol=1e-5 * np.abs(exact[0]).max())
    with np.errstate(over="ignore"):
        assert_allclose(dbeta, exact[2].astype(np.float32), rtol=1e-5)
        assert_allclose(
            dgamma, exact[1].astype(np.float32), rtol=1e-4, atol=1e-5 * np.abs(exact[1]).max()
        )
    assert np.isinf(dbeta).all() == (scale > 1)


def test_gradients_of_numbers_whose_products_are_too_large(call):
    """x and dy of 5e12, with a std that is not theirs: z times dgamma is beyond float32."""
    x, dy = in_float32(*[5e12 * np.where(drawn() > 0, 1.0, -1.0)] * 2)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    dx, *_ = call("batch_norm_backward", dy, x, one, zero, one)
    wide = x.astype(np.float64)
    expected = wide - wide.mean(0) - wide * (wide**2).mean(0)
    assert_allclose(dx, expected, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_running_variance_that_does_not_fit_is_infinite_and_stays_so(backend):
    x, gamma, beta = in_float32(drawn() * LARGE, *vectors())
    mean, variance = np.zeros(3, np.float32), np.ones(3, np.float32)
    for _ in range(2):
        y, *_ = fastconv.batch_norm(x, gamma, beta, mean, variance, backend=backend)
        assert np.isfinite(y).all()
        assert np.isfinite(mean).all()
        assert np.isposinf(variance).all()
    # What is infinitely wide has no place for a number but its middle.
    y = fastconv.batch_norm_inference(x, gamma, beta, mean, variance, backend=backend)
    assert_array_equal(y, np.broadcast_to(beta, y.shape))


@pytest.mark.parametrize("backend", BACKENDS)
def test_running_statistics_of_large_numbers_that_fit(backend):
    x, gamma, beta = in_float32(drawn() * 1e18, *vectors())
    mean, variance = np.zeros(3, np.float32), np.ones(3, np.float32)
    fastconv.batch_norm(x, gamma, beta, mean, variance, momentum=0.25, backend=backend)
    wide = x.astype(np.float64)
    assert_allclose(mean, 0.25 * wide.mean(0), rtol=1e-5)
    assert_allclose(variance, 0.25 * wide.var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e18, 1e-18])
def test_inference_at_any_scale(call, scale):
    x, gamma, beta = in_float32((drawn() + 3) * scale, *vectors())
    mean, variance = in_float32(np.full(3, 3 * scale), np.full(3, scale**2))
    epsilon = 1e-3 * scale**2
    y = call("batch_norm_inference", x, gamma, beta, mean, variance, epsilon=epsilon)
    std = np.sqrt(variance.astype(np.float64) + epsilon)
    expected = (x.astype(np.float64) - mean) / std * gamma + beta
    assert_allclose(y, expected, rtol=1e-5, atol=2e-6)
