"""Networks whose values have several readers: PyTorch makes the same scores and gradients.

More graphs than the few of every run, on all backends:

    python -m pytest tests/test_graphs.py -m nightly
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional_torch import functional, needs_torch, torch
from torch_steps import TorchLayers, images_of_torch

import fastconv
from fastconv.analysis.observed_network import ObservedNetwork
from fastconv.backends.selection import backend_state, load_module
from fastconv.data import Samples
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Scale,
    Sigmoid,
    Tanh,
)  # fmt: skip
from fastconv.layers.base import Branch
from fastconv.network import NetworkError, Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import load_recipe
from fastconv.schedules import Constant

BATCH, CLASSES = 3, 3
LOSS = "softmax_cross_entropy"
MOST_DEPTH = 20


def plan_of(network, training=True, backward=True, loss=LOSS):
    purpose = Purpose(training, backward, loss, input_gradient=backward)
    return build_plan(network, BATCH, purpose, Source(BATCH, "float64"))


def run_plan(network, plan, x, labels, backend):
    """Run a step; return the runner, and the gradients of parameters and state by name."""
    gradients, state = np.zeros_like(network.parameters), network.state.copy()
    shared = {
        "images": x.reshape(BATCH, *(1, 1, *network.input_shape)[-3:]), "labels": labels,
        "parameters": network.parameters, "state": state, "gradients": gradients,
    }  # fmt: skip
    needed = {buffer.name for buffer in plan.buffers if buffer.shared}
    run = load_module(backend, "run")
    runner = run.Runner(plan, {name: shared[name] for name in needed}, 2)
    statistics = runner.run(np.arange(BATCH)[None])
    loss = None if statistics is None else statistics[0]
    return runner, loss, network.gradient_views(gradients)


def of_torch(network, x, labels, training=True):
    """Scores, loss, and gradients of the mean loss by name."""
    arrays = {name: torch.from_numpy(a.copy()) for name, a in network.named_arrays().items()}
    for name in network.places:
        arrays[name].requires_grad_(network.places[name].buffer == "parameters")
    given_x = torch.from_numpy(x)
    layers = TorchLayers(arrays, training=training)
    scores = layers(network.layers, images_of_torch(given_x, network.input_shape))
    loss = functional.cross_entropy(scores, torch.from_numpy(labels))
    loss.backward()
    gradients = {n: a.grad.numpy() for n, a in arrays.items() if a.requires_grad}
    return scores.detach().numpy(), float(loss.detach()) * BATCH, gradients


def assert_close(actual, expected, err_msg=""):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9, err_msg=err_msg)


def assert_agrees_with_torch(network, backend, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, *network.input_shape))
    labels = rng.integers(0, CLASSES, BATCH)
    for name, array in network.named_arrays().items():
        if network.places[name].parameter.kind != "weight":
            array[...] += rng.uniform(0.1, 0.5, array.shape)
    scores, loss, gradients = of_torch(network, x, labels)
    runner, _, _ = run_plan(network, plan_of(network, True, False, None), x, labels, backend)
    assert_close(runner.buffer("scores"), scores)
    _, total, found = run_plan(network, plan_of(network), x, labels, backend)
    assert_close(total, loss)
    assert set(found) == set(gradients)
    for name, expected in gradients.items():
        assert_close(found[name], expected, err_msg=name)
    applied, _, _ = of_torch(network, x, labels, training=False)
    runner, _, _ = run_plan(network, plan_of(network, False, False, None), x, labels, backend)
    assert_close(runner.buffer("scores"), applied)


# Drawn graphs

ACTIVATIONS = (ReLU(), LeakyReLU(0.1), Tanh(), Sigmoid())
MOST_CHANNELS, MOST_NESTING = 24, 2


def depth_of(layers):
    """The most layers that a value goes through."""
    branches = (
        max(depth_of(b.layers) for b in each.branches) + 1 for each in layers if each.branches
    )
    return sum(not each.branches for each in layers) + sum(branches)


@st.composite
def chains(draw, shape, nesting, most):
    """Layers one after the other for an input of a shape, and the shape of their output."""
    layers = []
    for _ in range(draw(st.integers(0 if nesting else 2, most))):
        layer = draw(layer_for(shape, nesting))
        after = layer.output_shape(shape)
        if after[-1] <= MOST_CHANNELS:
            layers.append(layer)
            shape = after
    return tuple(layers), shape


@st.composite
def layer_for(draw, shape, nesting):
    kinds = ["activation", "activation", "norm", "dense" if len(shape) == 1 else "conv"]
    kinds += ["residual", "residual", "concatenate", "scale"] * (nesting < MOST_NESTING)
    if len(shape) == 3:
        kinds += ["conv"] + ["pool"] * (min(shape[:2]) >= 4)
    kind = draw(st.sampled_from(kinds))
    if kind == "activation":
        return draw(st.sampled_from(ACTIVATIONS))
    if kind == "norm":
        return BatchNorm()
    if kind == "dense":
        return Dense(draw(st.integers(1, 8)))
    if kind == "conv":
        kernel = draw(st.sampled_from((1, 3)))
        stride = 2 if min(shape[:2]) >= 6 and draw(st.booleans()) else 1
        return Conv2D(draw(st.sampled_from((1, 3, 8))), kernel, stride, kernel // 2)
    if kind == "pool":
        return draw(st.sampled_from((MaxPool2D(2), AvgPool2D(2), MaxPool2D(3, 1, 1))))
    inner, after = draw(chains(shape, nesting + 1, 4))
    if kind == "residual":
        return Residual(inner, draw_shortcut(draw, shape, after))
    if kind == "scale":
        if after not in (shape, shape[-1:]):
            inner += (*([GlobalAvgPool2D()] if len(after) == 3 else []), Dense(shape[-1]))
        return Scale((*inner, Sigmoid()))
    paths = [inner]
    for _ in range(draw(st.integers(1, 2))):
        paths.append(draw_shortcut(draw, shape, after))
    return Concatenate(*draw(st.permutations(paths)))


def draw_shortcut(draw, shape, after):
    """Layers that give this shape; none where that is the input's, or perhaps."""
    if shape == after and draw(st.booleans()):
        return ()
    if len(after) == 1:
        return (*([Flatten()] if len(shape) == 3 else []), Dense(after[0]))
    # Windows of one stride that end where the size of the output wants it.
    stride = tuple(-(-n // m) for n, m in zip(shape[:2], after[:2], strict=True))
    reach = tuple((m - 1) * s + 1 for m, s in zip(after[:2], stride, strict=True))
    kernel = tuple(max(1, n - r + 1) for n, r in zip(shape[:2], reach, strict=True))
    padding = tuple(
        (0, max(0, (m - 1) * s + k - n))
        for n, m, s, k in zip(shape[:2], after[:2], stride, kernel, strict=True)
    )
    more = (BatchNorm(),) if draw(st.booleans()) else ()
    return (Conv2D(after[2], kernel, stride, padding), *more)


@st.composite
def networks(draw):
    shape = draw(st.sampled_from(((6, 6, 2), (7, 5, 3), (8, 8, 8), (5,), (9,))))
    layers, _ = draw(chains(shape, 0, 7))
    while depth_of(layers) > MOST_DEPTH - 2:
        layers = layers[:-1]
    after = Branch("", layers).output_shape(shape)
    end = (draw(st.sampled_from((GlobalAvgPool2D(), Flatten()))),) if len(after) == 3 else ()
    layers = (*layers, *end, Dense(CLASSES))
    return Sequential(layers, shape, dtype="float64", seed=draw(st.integers(0, 9)))


ON_EACH = [each for each in ("numpy", "cython", "numba") if backend_state(each).works]
CONFIGURED = {"deadline": None, "derandomize": True, "database": None}


@needs_torch
@settings(max_examples=30, **CONFIGURED)
@given(network=networks(), backend=st.sampled_from([b for b in ON_EACH if b != "numba"]))
def test_drawn_graphs_have_the_scores_and_gradients_of_pytorch(network, backend):
    assert_agrees_with_torch(network, backend)


@needs_torch
@pytest.mark.nightly
@pytest.mark.slow
@settings(max_examples=500, **CONFIGURED)
@given(network=networks())
def test_many_drawn_graphs_have_the_scores_and_gradients_of_pytorch(network):
    for backend in ON_EACH:
        assert_agrees_with_torch(network, backend)


# What a network and its plan say


BLOCK = (Conv2D(4, padding=1), BatchNorm(), ReLU(), Conv2D(4, padding=1))


def network_of(*layers, shape=(8, 8, 4)):
    return Sequential((*layers, Flatten(), Dense(CLASSES)), shape, dtype="float64")


def test_layers_within_layers_are_named_by_the_way_to_them():
    network = network_of(
        Residual(BLOCK, shortcut=[Conv2D(4, 1)]),
        Concatenate([Conv2D(2, 1)], [Scale([Conv2D(4, 1), Sigmoid()])]),
        Residual([ReLU()]),
    )
    assert network.names == (
        "residual_1.conv2d_1", "residual_1.batch_norm_1", "residual_1.relu_1",
        "residual_1.conv2d_2", "residual_1.shortcut.conv2d_1", "residual_1",
        "concatenate_1.branch_1.conv2d_1", "concatenate_1.branch_2.scale_1.conv2d_1",
        "concatenate_1.branch_2.scale_1.sigmoid_1", "concatenate_1.branch_2.scale_1",
        "concatenate_1", "residual_2.relu_1", "residual_2", "flatten_1", "dense_1",
    )  # fmt: skip
    assert network["residual_1.shortcut.conv2d_1.weight"].shape == (1, 1, 4, 4)
    assert next(iter(network.named_arrays())) == "residual_1.conv2d_1.weight"


def test_parameters_and_operations_are_those_of_all_layers_within():
    network = network_of(Residual(BLOCK), shape=(8, 8, 4))
    convolution, dense = 3 * 3 * 4 * 4 + 4, 8 * 8 * 4 * CLASSES + CLASSES
    assert network.parameter_count == 2 * convolution + 2 * 4 + dense
    assert network.flops == 2 * (2 * 64 * 9 * 16) + 2 * 256 * CLASSES
    assert "residual_1.conv2d_2" in network.summary()


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (
            Residual([Conv2D(8, padding=1)]),
            r"layer 1 \(residual_1\), input \(8, 8, 8\): residual adds \(8, 8, 8\) of its "
            r"layers to \(8, 8, 4\) of its shortcut; give the shortcut layers",
        ),
        (
            Concatenate([Conv2D(2, 3)], []),
            r"concatenate puts the channels of \(6, 6, 2\) and \(8, 8, 4\) side by side; their "
            r"other sizes must be the same",
        ),
        (Concatenate([ReLU()]), r"concatenate has 1 branches; give it two or more"),
        (
            Scale([GlobalAvgPool2D(), Dense(3)]),
            r"scale multiplies \(8, 8, 4\) by \(3,\) of its layers; expected \(8, 8, 4\), or "
            r"\(4,\): one number for each channel",
        ),
        (Residual([Dense(3)]), r"layer 1 \(residual_1.dense_1\), input \(8, 8, 4\): dense takes"),
    ],
)
def test_branches_that_do_not_fit_together_are_told_apart(layer, told):
    with pytest.raises(NetworkError, match=told):
        network_of(layer)


def test_inference_takes_the_memory_of_three_values_for_any_number_of_residual_blocks():
    def memory(count):
        plan = plan_of(network_of(*[Residual(BLOCK)] * count), False, False, None)
        return sum(buffer.name.endswith(".memory") for buffer in plan.buffers)

    # The input of a block, and what one of its layers reads and writes.
    assert memory(2) == memory(5) == 3


def test_the_sum_of_a_block_takes_the_place_of_what_its_layers_give():
    plan = plan_of(network_of(Conv2D(4, 1), Residual([*BLOCK, BatchNorm()]), ReLU()))
    places = [plan.memory_of(plan.number_of(name)) for name in ("residual_1", "relu_1")]
    assert places == [plan.memory_of(plan.number_of("residual_1.batch_norm_2"))] * 2


def test_an_activation_overwrites_no_value_that_is_read_later():
    plan = plan_of(network_of(Conv2D(4, 1), Residual([ReLU(), Conv2D(4, 1)])))
    places = {plan.memory_of(plan.number_of(n)) for n in ("conv2d_1", "residual_1.relu_1")}
    assert len(places) == 2


def test_a_convolution_that_two_read_does_not_end_with_the_activation_of_one():
    if "cython" not in ON_EACH:
        pytest.skip("no compiled engine")
    from fastconv.backends.cython.run import Runner

    def epilogues(*layers):
        network = network_of(*layers)
        plan = plan_of(network, False, False, None)
        shared = {
            "images": np.zeros((BATCH, 8, 8, 4)), "parameters": network.parameters,
            "state": network.state,
        }  # fmt: skip
        needed = {buffer.name for buffer in plan.buffers if buffer.shared}
        made = Runner(plan, {name: shared[name] for name in needed}, 1).instructions
        return {getattr(each.integers, "epilogue", 0) for each in made}

    inside = Residual([Conv2D(4, 1), ReLU(), Conv2D(4, 1)])
    assert epilogues(inside) == {0, 1}
    assert epilogues(Conv2D(4, 1), Residual([ReLU()])) == {0}
    assert epilogues(Residual([Conv2D(4, 1), BatchNorm()]), ReLU()) == {0, 1}  # that of the sum


def test_gradients_of_blocks_follow_from_differences():
    network = network_of(
        Conv2D(4, 1),
        Residual([Conv2D(4, padding=1), Tanh()]),
        Concatenate([Conv2D(2, 1)], [], [Tanh()]),
        Scale([GlobalAvgPool2D(), Dense(10), Sigmoid()]),
    )
    rng = np.random.default_rng(3)
    batch = rng.standard_normal((2, 8, 8, 4)), np.array([0, 2])
    assert fastconv.check_gradients(network, batch, verbose=False).passed


def test_a_network_of_blocks_is_observed_with_fixed_statistics():
    network = network_of(Residual([*BLOCK, BatchNorm()]), ReLU(), Dropout(0.5))
    network["residual_1.batch_norm_2.running_mean"][...] = 0.3
    network["residual_1.batch_norm_2.running_variance"][...] = 2.0
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, 8, 8, 4))
    observed = ObservedNetwork(network, batch=2)
    runner, _, _ = run_plan(network, plan_of(network, False, False, None), x, None, "numpy")
    assert_close(observed.scores(x), runner.buffer("scores"))
    names = list(observed.outputs(x))
    assert "residual_1.conv2d_1" in names
    assert "residual_1" not in names  # its activation takes its place
    score = rng.integers(0, CLASSES, BATCH)
    gradient, step = observed.input_gradient(x, score), 1e-6
    moved = x + step * (direction := rng.standard_normal(x.shape))
    slope = (observed.scores(moved) - observed.scores(x))[np.arange(BATCH), score] / step
    expected = (gradient * direction).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_weights_of_blocks_are_saved_and_loaded(tmp_path):
    first, second = (network_of(Residual(BLOCK)) for _ in range(2))
    first.parameters[...] = np.arange(first.parameters.size)
    first.save_weights(tmp_path / "weights.safetensors")
    second.load_weights(tmp_path / "weights.safetensors")
    name = "residual_1.conv2d_2.weight"
    np.testing.assert_array_equal(second[name], first[name])


@pytest.mark.parametrize("backend", [each for each in ON_EACH if each != "numpy"])
def test_resnet20_learns_within_some_steps(backend):
    # Classes that a stripe tells apart: 20 steps are enough to see the loss fall.
    recipe = load_recipe("cifar10-resnet20")
    network = recipe.make_network((32, 32, 3))
    assert network.parameter_count == 272_474  # by hand: He et al. say 0.27 million
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64)
    images = rng.integers(0, 60, (64, 32, 32, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 4] += 150
    trainer = fastconv.Trainer(
        network, Samples(images, labels), loss=LOSS, optimizer=Optimizer("nesterov"),
        schedule=Constant(0.05), batch_size=16, preprocessing=Preprocessing("scale", factor=0.01),
        backend=backend,
    )  # fmt: skip
    losses = [trainer.train(4).loss for _ in range(5)]
    assert losses[-1] < 0.7 * losses[0]
