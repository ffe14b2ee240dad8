"""Activations: the table, PyTorch's second opinion, and what a plan keeps for each."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from optional_torch import functional, needs_torch, torch

import fastconv
from fastconv.backends.compiled.instructions import formulas
from fastconv.backends.selection import NAMES, backend_state
from fastconv.layers import GELU, Conv2D, Dense, Flatten, PReLU, ReLU, SiLU, Tanh
from fastconv.network import Sequential
from fastconv.plans.activations import ACTIVATIONS, activation_of, compiled_formula, number_of
from fastconv.plans.operation import ActivationSpec
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.recipe import RecipeError, load_recipe
from fastconv.spec import SpecError

ON_HOST = [name for name in NAMES if name != "cupy" and backend_state(name).works]
OF_TORCH = {
    "gelu": lambda x: functional.gelu(x),
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": lambda x: functional.silu(x),
    "hard_sigmoid": lambda x: functional.hardsigmoid(x),
    "hard_swish": lambda x: functional.hardswish(x),
    "relu6": lambda x: functional.relu6(x),
    "softsign": lambda x: functional.softsign(x),
    "mish": lambda x: functional.mish(x),
}


def called(kind):
    """A public function and its gradient of (dy, x), with the options of the kind."""
    name, options = ("gelu", ("tanh",)) if kind == "gelu_tanh" else (kind, ())
    forward, backward = getattr(fastconv, name), getattr(fastconv, f"{name}_backward")
    of_input = ACTIVATIONS[kind].keeps == "x"

    def gradient(dy, x, backend):
        kept = x if of_input else forward(x, *options, backend=backend)
        return backward(dy, kept, *options, backend=backend)

    return lambda x, backend: forward(x, *options, backend=backend), gradient


@needs_torch
@pytest.mark.parametrize("backend", ON_HOST)
@pytest.mark.parametrize("kind", OF_TORCH)
def test_values_and_gradients_are_those_of_pytorch(kind, backend):
    forward, gradient = called(kind)
    rng = np.random.default_rng(3)
    x = np.concatenate([4 * rng.standard_normal(5000), [0.0, -0.0, 30, -30, 700, -700, 1e30]])
    dy = rng.standard_normal(x.size)
    given = torch.from_numpy(x).requires_grad_()
    y = OF_TORCH[kind](given)
    y.backward(torch.from_numpy(dy))
    assert_allclose(forward(x, backend), y.detach().numpy(), rtol=1e-15, atol=2e-15)
    # PyTorch's slope of the hard sigmoid is 1/6 in float32.
    # Its slope of GELU by tanh is the difference of numbers near 1.
    rough = {"hard_sigmoid": 1e-7, "gelu_tanh": 2e-14}.get(kind, 2e-15)
    assert_allclose(gradient(dy, x, backend), given.grad.numpy(), rtol=1e-14, atol=rough)
    single = forward(x.astype(np.float32), backend)
    assert single.dtype == np.float32
    assert_allclose(single, y.detach().numpy(), rtol=3e-7, atol=5e-7)


@pytest.mark.parametrize("backend", ON_HOST)
@pytest.mark.parametrize("kind", OF_TORCH)
def test_a_nan_stays_one_and_infinities_give_the_limits(kind, backend):
    forward, gradient = called(kind)
    x = np.array([math.nan, math.inf, -math.inf, 3e38, -3e38], np.float32)
    bounded = {"hard_sigmoid": (1, 0), "relu6": (6, 0), "softsign": (1, -1)}
    above, below = bounded.get(kind, (None, 0))
    large = [math.inf, x[3]] if above is None else [above, above]
    y = forward(x, backend)
    assert_array_equal(y, np.array([math.nan, large[0], below, large[1], below], np.float32))
    slope = gradient(np.ones_like(x), x, backend)
    assert_array_equal(slope[1:], np.array([1, 0, 1, 0] if above is None else [0, 0, 0, 0]))
    assert math.isnan(slope[0]) or ACTIVATIONS[kind].keeps == "y"


@pytest.mark.parametrize("backend", ON_HOST)
@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "silu", "hard_swish", "softsign", "mish"])
def test_minus_zero_stays_one(kind, backend):
    y = called(kind)[0](np.array([-0.0], np.float32), backend)
    assert y[0] == 0
    assert np.signbit(y[0])


# The table


def test_an_unknown_kind_is_an_error_that_names_those_that_there_are():
    with pytest.raises(SpecError, match=r"kind.*'swishish'.*one of relu, .*softsign"):
        ActivationSpec("swishish", 3)
    for find in (activation_of, number_of):
        with pytest.raises(ValueError, match=r"activation is 'swishish'; expected one of relu,"):
            find("swishish")
    with pytest.raises(ValueError, match="gelu: approximate is 'erf'; expected 'none' or 'tanh'"):
        fastconv.gelu(np.ones(1), "erf")
    with pytest.raises(RecipeError, match=r"layers.1.approximate is 'erf'; expected one of none"):
        load_recipe("digits", [("layers", [{"kind": "flatten"}, GELU_BY_ERF, *LAST])])


GELU_BY_ERF, LAST = {"kind": "gelu", "approximate": "erf"}, [{"kind": "dense", "units": 10}]


@pytest.mark.parametrize("backend", ["reference", *ON_HOST, "cupy"])
def test_a_kind_that_a_backend_does_not_know_is_an_error_there(backend):
    # As the spec of a later version would be.
    spec = ActivationSpec("relu", 3)
    object.__setattr__(spec, "kind", "swishish")
    module = fastconv.backends.selection.load_module(backend, "activation")
    x, y = np.ones(3), np.zeros(3)
    with pytest.raises(ValueError, match="activation is 'swishish'"):
        module.activation_forward(spec, x, y, None)
    with pytest.raises(ValueError, match="activation is 'swishish'"):
        module.activation_backward(spec, y, x, y, y, None)


def test_the_sources_hold_the_formulas_of_the_table():
    from fastconv.backends.cupy.kernel_sources import kernel_folder

    cuda = kernel_folder() / "activation_formulas.cuh"
    assert cuda.read_text("utf-8") == formulas.cuda_header(), "made again: see its head"
    c = kernel_folder().parent / "cpu" / "activation_formulas.h"
    if c.is_file():
        assert c.read_text("utf-8") == formulas.c_header(), "made again: see its head"


def test_a_formula_may_have_steps():
    assert compiled_formula("a = x * x; b = a + one; b * a", "x", {})(3.0, 1.0) == 90.0


# What a plan keeps


def memory_of(plan, name):
    return plan.memory_of(plan.number_of(name))


def plan_of(activation, **purpose):
    layers = [Conv2D(4), activation, Flatten(), Dense(3)]
    network = Sequential(layers, (6, 6, 2), seed=1)
    return build_plan(network, 5, Purpose(**purpose), Source(5))


@pytest.mark.parametrize("activation", [GELU(), SiLU()])
def test_an_input_that_the_gradient_needs_stays_in_a_training(activation):
    plan = plan_of(activation, training=True, backward=True, loss="nll")
    assert memory_of(plan, "conv2d_1") != memory_of(plan, f"{activation.kind}_1")


@pytest.mark.parametrize("activation", [ReLU(), Tanh()])
def test_an_output_takes_the_place_of_an_input_that_nobody_needs(activation):
    plan = plan_of(activation, training=True, backward=True, loss="nll")
    assert memory_of(plan, "conv2d_1") == memory_of(plan, f"{activation.kind}_1")


def test_every_activation_is_in_place_in_inference():
    plan = plan_of(GELU(), training=False, backward=False, loss=None)
    assert memory_of(plan, "conv2d_1") == memory_of(plan, "gelu_1")


# Learned slopes


@needs_torch
@pytest.mark.parametrize("backend", ON_HOST)
@pytest.mark.parametrize("slopes", [1, 5])
@pytest.mark.parametrize("shape", [(7, 5), (3, 5, 4, 6)])
def test_learned_slopes_have_the_gradients_of_pytorch(shape, slopes, backend):
    rng = np.random.default_rng(1)
    x, dy, slope = rng.standard_normal(shape), rng.standard_normal(shape), rng.random(slopes)
    given = [torch.from_numpy(each).requires_grad_() for each in (x, slope)]
    y = functional.prelu(*given)
    y.backward(torch.from_numpy(dy))
    assert_array_equal(fastconv.prelu(x, slope, backend=backend), y.detach().numpy())
    dx, dslope = fastconv.prelu_backward(dy, x, slope, backend=backend)
    assert_array_equal(dx, given[0].grad.numpy())
    assert_allclose(dslope, given[1].grad.numpy(), rtol=1e-12)


def test_images_with_channels_last_have_the_same_slopes():
    x, slope = np.random.default_rng(2).standard_normal((2, 3, 4, 5)), np.array([0.1, 0.2, 0.3])
    last = x.transpose(0, 2, 3, 1)
    assert_array_equal(
        fastconv.prelu(last, slope, layout="NHWC"), fastconv.prelu(x, slope).transpose(0, 2, 3, 1)
    )


@pytest.mark.parametrize(
    ("x", "slope", "says"),
    [
        ((2, 3), (2,), r"prelu: slope has shape \(2,\); expected \(3,\): one, or one for each"),
        ((2, 3, 4), (1,), r"prelu: x has 3 dimensions \(2, 3, 4\); expected 2 \(N, C\) or 4"),
        ((2, 0), (1,), r"prelu: x has no channels"),
    ],
)
def test_slopes_that_do_not_fit_are_named(x, slope, says):
    with pytest.raises(ValueError, match=says):
        fastconv.prelu(np.ones(x), np.ones(slope))


@pytest.mark.parametrize("backend", ON_HOST)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_network_learns_its_slopes(per_channel, backend):
    layers = [Conv2D(3), PReLU(per_channel), Flatten(), Dense(4), PReLU(per_channel), Dense(2)]
    network = Sequential(layers, (5, 5, 2), dtype="float64", seed=1)
    assert network["prelu_1.slope"].tolist() == [0.25] * (3 if per_channel else 1)
    x = np.random.default_rng(3).standard_normal((6, 5, 5, 2))
    labels = np.array([0, 1, 1, 0, 1, 0])
    check = fastconv.check_gradients(network, x, labels, backend=backend, verbose=False)
    assert check.passed, check
