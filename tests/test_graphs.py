"""Networks whose values have several readers: PyTorch makes the same scores and gradients.

More graphs than the few of every run, on all backends:

    python -m pytest tests/test_graphs.py -m nightly
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch_steps import TorchLayers, images_of_torch

from fastconv.backends.selection import backend_state, load_module
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
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
from fastconv.network import Sequential
from fastconv.plans.plan_builder import Purpose, Source, build_plan

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


def assert_agrees_with_torch(network, backend, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, *network.input_shape))
    labels = rng.integers(0, CLASSES, BATCH)
    for name, array in network.named_arrays().items():
        if network.places[name].parameter.kind != "weight":
            array[...] += rng.uniform(0.1, 0.5, array.shape)
    scores, loss, gradients = of_torch(network, x, labels)
    close = {"rtol": 1e-6, "atol": 1e-9}
    runner, _, _ = run_plan(network, plan_of(network, True, False, None), x, labels, backend)
    np.testing.assert_allclose(runner.buffer("scores"), scores, **close)
    _, total, found = run_plan(network, plan_of(network), x, labels, backend)
    np.testing.assert_allclose(total, loss, **close)
    assert set(found) == set(gradients)
    for name, expected in gradients.items():
        np.testing.assert_allclose(found[name], expected, **close, err_msg=name)
    applied, _, _ = of_torch(network, x, labels, training=False)
    runner, _, _ = run_plan(network, plan_of(network, False, False, None), x, labels, backend)
    np.testing.assert_allclose(runner.buffer("scores"), applied, **close)


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


@settings(max_examples=30, **CONFIGURED)
@given(network=networks(), backend=st.sampled_from([b for b in ON_EACH if b != "numba"]))
def test_drawn_graphs_have_the_scores_and_gradients_of_pytorch(network, backend):
    assert_agrees_with_torch(network, backend)


@pytest.mark.nightly
@pytest.mark.slow
@settings(max_examples=500, **CONFIGURED)
@given(network=networks())
def test_many_drawn_graphs_have_the_scores_and_gradients_of_pytorch(network):
    for backend in ON_EACH:
        assert_agrees_with_torch(network, backend)
