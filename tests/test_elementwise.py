"""An activation of one's own: two Python functions as a layer, on every backend."""

import math
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from optional_torch import needs_torch, torch

import fastconv
from fastconv.backends.selection import NAMES, backend_state
from fastconv.layers import Conv2D, Dense, Elementwise, Flatten, MaxPool2D, Softplus
from fastconv.network import Sequential
from fastconv.spec import SpecError

ON_HOST = [name for name in NAMES if name != "cupy" and backend_state(name).works]
COMPILED = [name for name in ON_HOST if name in ("cython", "numba")]


def softplus(x):
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def snake(x, frequency):
    """Ziyin et al., arXiv:2006.08195."""
    return x + math.sin(frequency * x) ** 2 / frequency


def slope_of_snake(x, frequency):
    return 1 + math.sin(2 * frequency * x)


def made_network(activation):
    layers = [Conv2D(8), activation, MaxPool2D(2), Flatten(), Dense(6), activation, Dense(3)]
    return Sequential(layers, (8, 8, 2), seed=4)


def scores_of(network, x, backend):
    return fastconv.Predictor(network, backend=backend)(x)


@pytest.mark.parametrize("backend", ON_HOST)
def test_a_softplus_of_ones_own_is_that_of_the_package(backend):
    x = np.random.default_rng(1).standard_normal((32, 8, 8, 2)).astype(np.float32)
    own, built_in = made_network(Elementwise(softplus, sigmoid)), made_network(Softplus())
    assert_allclose(
        scores_of(own, x, backend), scores_of(built_in, x, backend), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("backend", ON_HOST)
def test_gradients_with_constants_are_those_of_finite_differences(backend):
    network = made_network(Elementwise(snake, slope_of_snake, (1.5,)))
    batch = np.random.default_rng(2).standard_normal((4, 8, 8, 2)), np.array([0, 2, 1, 1])
    check = fastconv.check_gradients(network, batch, backend=backend, verbose=False)
    assert check.passed, check


@pytest.mark.parametrize("backend", ON_HOST)
def test_a_wrong_derivative_is_refused(backend):
    network = made_network(Elementwise(snake, lambda x, frequency: 1.0 + 0 * x * frequency, (1.5,)))
    batch = np.random.default_rng(2).standard_normal((4, 8, 8, 2)), np.array([0, 2, 1, 1])
    assert not fastconv.check_gradients(network, batch, backend=backend, verbose=False).passed


@needs_torch
@pytest.mark.parametrize("backend", ON_HOST)
def test_values_are_those_of_pytorch(backend):
    network = Sequential([Elementwise(snake, slope_of_snake, (0.5,))], (5,), dtype="float64")
    x = np.random.default_rng(3).standard_normal((7, 5))
    given = torch.from_numpy(x)
    expected = given + torch.sin(0.5 * given) ** 2 / 0.5
    assert_allclose(scores_of(network, x, backend), expected.numpy(), rtol=1e-14)


@pytest.mark.parametrize("backend", COMPILED)
def test_any_number_of_threads_gives_the_same_bits(backend, monkeypatch):
    x = np.random.default_rng(5).standard_normal((64, 8, 8, 2)).astype(np.float32)
    network = made_network(Elementwise(snake, slope_of_snake, (2.0,)))
    results = []
    for threads in (1, 3):
        monkeypatch.setenv("FASTCONV_THREADS", str(threads))
        results.append(scores_of(network, x, backend))
    assert_array_equal(*results)


@pytest.mark.parametrize("backend", COMPILED)
def test_a_function_that_cannot_be_compiled_is_named(backend):
    network = made_network(Elementwise(lambda x: float(str(x)), sigmoid))
    with pytest.raises(ValueError, match=r"^Elementwise: function '<lambda>' cannot be .*numpy'$"):
        scores_of(network, np.zeros((1, 8, 8, 2), np.float32), backend)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import numpy as np, fastconv
from fastconv.layers import Elementwise
network = fastconv.Sequential([Elementwise(abs, abs)], (3,))
try:
    fastconv.Predictor(network, backend="cython")(np.ones((1, 3), np.float32))
except ImportError as fault:
    print(fault)
"""


@pytest.mark.skipif("cython" not in ON_HOST, reason="the cython backend is not built")
def test_without_numba_the_cython_backend_says_what_it_needs():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "Elementwise on a compiled backend: needs numba, which is not installed; "
        "pip install 'fastconv[numba]'\n"
    )


def test_cupy_says_that_it_needs_expressions():
    from fastconv.backends.cupy.elementwise import elementwise_forward
    from fastconv.plans.operation import ElementwiseSpec

    spec = ElementwiseSpec(3, softplus, sigmoid)
    with pytest.raises(
        ValueError, match=r"^Elementwise: the cupy backend cannot .*cuda=\('x \* x'"
    ):
        elementwise_forward(spec, np.ones(3), np.ones(3), None)


def test_what_is_no_function_is_named():
    with pytest.raises(SpecError, match=r"Elementwise: derivative is 2; expected a function of x"):
        Elementwise(softplus, 2)
