"""Layers of one's own: registered in Python, and named in recipes where that is allowed."""

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv
from fastconv.backends.selection import backend_state
from fastconv.layers import (
    LAYERS,
    Conv2D,
    Dense,
    GlobalAvgPool2D,
    Layer,
    allow_custom,
    register,
)
from fastconv.layers.custom import CustomLayerError
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.recipe import load_recipe, read_recipe
from fastconv.recipes.schema import RecipeError

BACKENDS = [name for name in ("numpy", "cython", "numba") if backend_state(name).works]

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

from fastconv.layers import Layer, Parameter, register
from fastconv.plans.operation import InputSpec
from fastconv.spec import DenseSpec


@register
@dataclass(frozen=True)
class PooledDense(Layer):
    """A dense layer of the mean of all pixels: two layers in one."""

    kind: ClassVar[str] = "pooled_dense"
    retains: ClassVar[tuple[str, ...]] = ()

    units: int

    def output_shape(self, input_shape):
        return (self.units,)

    def parameters(self, input_shape):
        channels = input_shape[-1]
        return (Parameter("weight", (channels, self.units), "weight", channels, self.units),)

    def forward(self, builder, node):
        height, width, channels = node.input_shape
        pooled = builder.buffer(f"{node.name}.pooled", (builder.batch, channels))
        node.saved["pooled"] = pooled
        images = InputSpec(builder.batch, height, width, channels)
        builder.call("pool.global_avg_pool2d_forward", images, node.x, pooled)
        spec = DenseSpec(builder.batch, channels, self.units)
        builder.call("dense.dense_forward", spec, pooled, node.parameters["weight"], None, node.y)

    def backward(self, builder, node, dy, dx):
        height, width, channels = node.input_shape
        spec, pooled = DenseSpec(builder.batch, channels, self.units), node.saved["pooled"]
        if dx is not None:
            gradient = builder.buffer(f"{node.name}.dpooled", (builder.batch, channels))
            weight = node.parameters["weight"]
            builder.call("dense.dense_backward_data", spec, dy, weight, gradient)
            images = InputSpec(builder.batch, height, width, channels)
            builder.call("pool.global_avg_pool2d_backward", images, gradient, dx)
        gradient = node.gradients["weight"]
        builder.call("dense.dense_backward_weight", spec, dy, pooled, gradient, None)


class NoDataclass(Layer):
    kind = "no_dataclass"
'''
RECIPE = """
epochs = 1
batch_size = 32
[[layers]]
kind = "conv2d"
filters = 8
[[layers]]
kind = "own_layers:PooledDense"
units = 10
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The class, from a module in a folder of its own; forbidden again behind the test."""
    (tmp_path / "own_layers.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "own.toml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("FASTCONV_ALLOW_CUSTOM", raising=False)
    sys.modules.pop("own_layers", None)
    import own_layers

    yield own_layers.PooledDense
    sys.modules.pop("own_layers")
    allow_custom(False)
    LAYERS._loaded.pop("pooled_dense", None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_of_ones_own_computes_what_its_kernels_do(own, backend):
    one = Sequential([Conv2D(6), own(3)], (5, 4, 2), seed=1)
    two = Sequential([Conv2D(6), GlobalAvgPool2D(), Dense(3, bias=False)], (5, 4, 2), seed=1)
    two["dense_1.weight"][...] = one["pooled_dense_1.weight"]
    x = np.random.default_rng(0).standard_normal((4, 5, 4, 2)).astype(np.float32)
    made = [fastconv.Predictor(network, backend=backend)(x) for network in (one, two)]
    assert_array_equal(*made)
    check = fastconv.check_step(
        one, (x, np.arange(4) % 3), Optimizer("adam"), backend=backend, verbose=False
    )
    assert check.passed, str(check)
    check = fastconv.check_gradients(one, (x, np.arange(4) % 3), backend=backend, verbose=False)
    assert check.passed, str(check)
    assert "pooled_dense_1  3" in one.summary()


def test_a_registered_layer_is_known_to_recipes_by_its_kind(own):
    table = load_recipe("digits").table()
    layers = [{"kind": "conv2d", "filters": 4}, {"kind": "pooled_dense", "units": 10}]
    recipe = read_recipe({**table, "layers": layers})
    assert recipe.make_layers()[1] == own(10)
    # Another process finds it by its place.
    assert recipe.table()["layers"][1] == {"kind": "own_layers:PooledDense", "units": 10}


def test_a_recipe_names_a_layer_by_its_place_only_where_that_is_allowed(own):
    with pytest.raises(CustomLayerError, match=r"layers\.1\.kind: 'own_layers:PooledDense' is a"):
        load_recipe("./own.toml")
    allow_custom()
    assert load_recipe("./own.toml").make_layers()[1] == own(10)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("own_layers:Nothing", "the module has no Nothing"),
        ("nowhere.at_all:Layer", "cannot be imported .ModuleNotFoundError"),
        ("own_layers:InputSpec", "is no layer"),
        ("own_layers:NoDataclass", "NoDataclass is no frozen dataclass"),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_place_without_a_layer_is_named(kind, what):
    allow_custom()
    table = load_recipe("digits").table()
    with pytest.raises(CustomLayerError, match=what):
        read_recipe({**table, "layers": [{"kind": kind}]})


@pytest.mark.usefixtures("own")
def test_wrong_keys_of_a_layer_of_ones_own_are_named():
    allow_custom()
    with pytest.raises(RecipeError, match=r"layers\.1\.unit: no such key; did you mean 'units'"):
        load_recipe("./own.toml", [("layers.1.unit", 3)])


def test_the_name_of_another_layer_is_refused():
    @dataclass(frozen=True)
    class MyDense(Layer):
        kind: ClassVar[str] = "dense"

    with pytest.raises(CustomLayerError, match=r"kind is 'dense', the name of fastconv\.layers"):
        register(MyDense)


def test_a_kind_that_is_no_name_is_refused():
    @dataclass(frozen=True)
    class Spaced(Layer):
        kind: ClassVar[str] = "my layer"

    with pytest.raises(CustomLayerError, match=r"Spaced\.kind is 'my layer'; expected a name"):
        register(Spaced)


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("own")
def test_commands_run_such_code_only_with_the_option():
    train = ("fastconv.train", "--recipe", "./own.toml", "--out", "run", "--steps", "2",
             "--no-report", "--quiet")  # fmt: skip
    code, out, told = command(*train)
    assert (code, out) == (2, "")
    assert told.count("\n") == 1
    assert "give --allow-custom" in told
    assert command(*train, "--allow-custom") == (0, "", "")
    code, out, told = command("fastconv.evaluate", "run")
    assert (code, told.count("\n")) == (2, 1)
    assert "give --allow-custom" in told
    assert "train it again" not in told
    code, _, told = command("fastconv.evaluate", "run", "--allow-custom", "--quiet")
    assert (code, told) == (0, "")
