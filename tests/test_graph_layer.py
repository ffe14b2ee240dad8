"""Graphs of named values: the numbers that PyTorch makes of them, and names in files."""

import numpy as np
import pytest
import tomli_w
from optional_torch import functional, needs_torch, torch

import fastconv
from fastconv.analysis.inference_network import inference_network
from fastconv.backends.selection import backend_state
from fastconv.data import Samples
from fastconv.inference import Inference
from fastconv.layers import (
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Graph,
    LogSoftmax,
    ReLU,
    Residual,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastconv.network import NetworkError, Sequential
from fastconv.optimizers import Optimizer
from fastconv.recipe import load_recipe
from fastconv.recipes.schema import RecipeError
from fastconv.schedules import Constant

# Every value but the last is read twice, across what nesting would keep apart.
LATTICE = Graph([
    ("a", Conv2D(4, 3, padding=1), "input"),
    ("b", Tanh(), "a"),
    ("c", Conv2D(4, 1), "b"),
    ("ab", Residual([]), ("a", "b")),
    ("bc", Scale([]), ("c", "b")),
    ("gate", GlobalAvgPool2D(), "bc"),
    ("both", Concatenate([], [], []), ("ab", "bc", "c")),
    ("d", Conv2D(4, 1), "both"),
    ("gated", Scale([]), ("d", "gate")),
    ("sum", Residual([]), ("gated", "ab")),
])  # fmt: skip


def network_of(*layers, shape=(6, 5, 3), dtype="float64"):
    return Sequential((*layers, Flatten(), Dense(3)), shape, dtype=dtype)


def of_torch(network, x, labels):
    """Scores and gradients of the lattice, written out in PyTorch."""
    p = {n: torch.from_numpy(a.copy()).requires_grad_() for n, a in network.named_arrays().items()}

    def conv(name, value, padding=0):
        weight = p[f"graph_1.{name}.weight"].permute(3, 2, 0, 1)
        return functional.conv2d(value, weight, p[f"graph_1.{name}.bias"], padding=padding)

    a = conv("a", torch.from_numpy(x).permute(0, 3, 1, 2), padding=1)
    b = torch.tanh(a)
    c = conv("c", b)
    bc = c * b
    d = conv("d", torch.cat([a + b, bc, c], 1))
    total = d * bc.mean((2, 3), keepdim=True) + a + b
    flat = total.permute(0, 2, 3, 1).flatten(1)
    scores = flat @ p["dense_1.weight"] + p["dense_1.bias"]
    functional.cross_entropy(scores, torch.from_numpy(labels)).backward()
    return scores.detach().numpy(), {name: array.grad.numpy() for name, array in p.items()}


@needs_torch
def test_a_graph_has_the_scores_and_the_update_of_pytorch():
    network = network_of(LATTICE)
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(4, 6, 5, 3)), np.array([0, 1, 2, 1])
    before = {name: array.copy() for name, array in network.named_arrays().items()}
    scores, gradients = of_torch(network, x, labels)
    predictor = fastconv.Predictor(network, backend="numpy")
    np.testing.assert_allclose(predictor(x), scores, rtol=1e-9, atol=1e-12)
    trainer = fastconv.Trainer(
        network, Samples(x, labels), loss="softmax_cross_entropy", optimizer=Optimizer("sgd"),
        schedule=Constant(0.5), batch_size=4, backend="numpy",
    )  # fmt: skip
    trainer.train(1)
    for name, array in network.named_arrays().items():
        expected = before[name] - 0.5 * gradients[name]
        np.testing.assert_allclose(array, expected, rtol=1e-7, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("backend", ["numpy", "cython"])
def test_every_step_of_a_graph_is_that_of_the_oracle(backend):
    if not backend_state(backend).works:
        pytest.skip("the backend does not work here")
    network = network_of(LATTICE, BatchNorm(), dtype="float32")
    batch = np.random.default_rng(1).normal(size=(8, 6, 5, 3)), np.arange(8) % 3
    report = fastconv.check_step(network, batch, Optimizer("adam"), backend=backend, verbose=False)
    assert report.passed


def test_gradients_of_a_graph_are_those_of_differences():
    batch = np.random.default_rng(2).normal(size=(2, 6, 5, 3)), np.array([0, 2])
    assert fastconv.check_gradients(
        network_of(LATTICE), batch, backend="numpy", verbose=False
    ).passed


def test_a_graph_of_a_residual_block_is_the_block_itself():
    inner = Conv2D(3, padding=1)
    block = network_of(Residual([inner, ReLU()]))
    graph = network_of(
        Graph([
            ("conv", inner, "input"), ("relu", ReLU(), "conv"),
            ("sum", Residual([]), ("relu", "input")),
        ])
    )  # fmt: skip
    assert graph.names[:3] == ("graph_1.conv", "graph_1.relu", "graph_1.sum")
    graph.parameters[:] = block.parameters
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    scores = [fastconv.Predictor(n, backend="numpy")(x) for n in (block, graph)]
    assert np.array_equal(*scores)
    assert graph.flops == block.flops


def test_a_graph_within_a_branch_and_a_graph_have_names_of_the_way_to_them():
    inner = Graph([("half", Dense(2), "input"), ("whole", Dense(4), "half")])
    outer = Graph([("first", inner, "input"), ("sum", Residual([]), ("first", "input"))])
    network = Sequential([Residual([outer]), Dense(3)], (4,))
    assert network.names == (
        "residual_1.graph_1.first.half", "residual_1.graph_1.first.whole",
        "residual_1.graph_1.sum", "residual_1", "dense_1",
    )  # fmt: skip
    assert network["residual_1.graph_1.first.half.weight"].shape == (4, 2)


def test_a_network_without_dropout_has_a_graph_without_it():
    graph = Graph([
        ("wide", Dense(4), "input"), ("left", Dropout(0.5), "wide"),
        ("sum", Residual([]), ("left", "wide")), ("out", Dropout(0.5), "sum"),
    ])  # fmt: skip
    network = Sequential([graph, Dense(2)], (4,))
    other, names = inference_network(network)
    assert names == {"graph_1.wide": "graph_1.wide", "graph_1.sum": "graph_1.sum",
                     "dense_1": "dense_1"}  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 1, 1, 4)).astype(np.float32)
    scores = [fastconv.Predictor(n, backend="numpy")(x) for n in (network, other)]
    np.testing.assert_array_equal(*scores)


def test_a_loss_looks_at_the_last_step_of_a_graph():
    def network(last):
        return Sequential([Graph([("scores", Dense(3), "input"), ("end", last, "scores")])], (4,))

    with pytest.raises(NetworkError, match="has its own softmax"):
        Inference(network(Softmax()), backend="numpy")
    assert Inference(network(LogSoftmax()), loss="nll", backend="numpy").loss == "nll"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([], "it has no steps; give it at least one"),
        ([("a", ReLU())], r"a step is \('a', ReLU\(\)\); expected \(name, layer, what it reads\)"),
        ([("1a", ReLU(), "input")], "the name of a step is '1a'; expected letters"),
        ([("input", ReLU(), "input")], "the name of a step is 'input'"),
        ([("a", "relu", "input")], "the layer of 'a' is 'relu'; expected a layer"),
        ([("a", ReLU(), ())], r"'a' reads \(\); expected names of earlier steps"),
        ([("a", ReLU(), "b")], "'a' reads 'b', which no earlier step makes; expected one of input"),
        ([("a", ReLU(), "input"), ("a", ReLU(), "a")], "two steps are called 'a'; rename one"),
        ([("a", ReLU(), "input"), ("b", Tanh(), "input")], "nobody reads 'a'; leave its step out"),
        ([("a", ReLU(), "input"), ("b", ReLU(), ("a", "input"))], "reads 2 values; a relu reads"),
        (
            [("a", ReLU(), "input"), ("b", Residual([Tanh()]), ("a", "input"))],
            "its residual has layers in its branches; make them steps of their own",
        ),
        (
            [("a", ReLU(), "input"), ("b", Residual([]), ("a", "a", "input"))],
            "'b' reads 3 values; its residual merges 2",
        ),
    ],
)
def test_a_graph_that_cannot_be_says_why(steps, told):
    with pytest.raises(ValueError, match=f"^graph: .*{told}"):
        Graph(steps)


def test_shapes_that_do_not_merge_are_told_of_the_step():
    graph = Graph([("a", Dense(5), "input"), ("sum", Residual([]), ("a", "input"))])
    with pytest.raises(NetworkError, match=r"layer 1 \(graph_1\.sum\).*residual adds \(5,\)"):
        Sequential([graph], (4,))


RECIPE = """
epochs = 1
[[layers]]
kind = "graph"
steps = [
    { name = "wide", reads = ["input"], layer = { kind = "dense", units = 4 } },
    { name = "gate", reads = ["wide"], layer = { kind = "sigmoid" } },
    { name = "gated", reads = ["wide", "gate"], layer = { kind = "scale", layers = [] } },
]
[[layers]]
kind = "dense"
units = 2
"""


def test_a_graph_is_a_table_of_steps_in_a_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(str(file))
    assert recipe.make_layers()[0] == Graph([
        ("wide", Dense(4), "input"), ("gate", Sigmoid(), "wide"),
        ("gated", Scale([]), ("wide", "gate")),
    ])  # fmt: skip
    file.write_text(tomli_w.dumps(recipe.table()), encoding="utf-8")
    assert load_recipe(str(file)).make_layers() == recipe.make_layers()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('reads = ["wide", "gate"]', 'reads = ["wide", "gaze"]'),
         r"layers\.0\.steps: graph: 'gated' reads 'gaze', which no earlier step makes"),
        (('name = "wide", ', ""), r"layers\.0\.steps\.0 is .*; expected a table with name, reads"),
        (('{ kind = "sigmoid" }', '"sigmoid"'),
         r"layers\.0\.steps\.1\.layer is 'sigmoid'; expected a layer"),
    ],
)  # fmt: skip
def test_a_table_that_is_no_graph_is_told_with_its_key(tmp_path, change, told):
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE.replace(*change), encoding="utf-8")
    with pytest.raises(RecipeError, match=told):
        load_recipe(str(file)).make_layers()
