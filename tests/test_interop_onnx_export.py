"""Exported networks: onnxruntime gives the scores that fastconv gives, and fastconv reads them."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_models import of_onnxruntime  # noqa: E402
from saved_runs import CONVOLUTIONAL, NAMES, line, recipe_of, save_run, shades  # noqa: E402

import fastconv  # noqa: E402
from fastconv import export as export_command  # noqa: E402
from fastconv.interop.onnx import OnnxError, export, load, read_metadata  # noqa: E402
from fastconv.interop.onnx.operators.functions import FUNCTIONS, power  # noqa: E402
from fastconv.layers import (  # noqa: E402
    ELU,
    GELU,
    LAYERS,
    OWN_KINDS,
    SELU,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv2D,
    ConvTranspose2D,
    Crop2D,
    Dense,
    Dropout,
    Elementwise,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Graph,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    LogSoftmax2D,
    MaxPool1D,
    MaxPool2D,
    Mish,
    Permute,
    PReLU,
    ReflectPad2D,
    ReLU,
    ReLU6,
    Reshape,
    Residual,
    Scale,
    ScaleAndShift,
    SeparableConv2D,
    Sigmoid,
    SiLU,
    Softmax,
    Softmax2D,
    Softplus,
    Softsign,
    SpatialDropout,
    StochasticDepth,
    Tanh,
    Upsample2D,
    ZeroPad2D,
)
from fastconv.network import Sequential  # noqa: E402
from fastconv.preprocessing import Preprocessing  # noqa: E402
from fastconv.recipe import load_recipe, recipe_names  # noqa: E402
from fastconv.runs.saved_run import load_run  # noqa: E402

IMAGE = (9, 8, 4)
OPSETS = (18, 19, 20, 21)


def network_of(*layers, shape=IMAGE):
    """A network none of whose parameters is what it begins with."""
    network = Sequential(layers, shape, seed=3)
    generator = np.random.default_rng(3)
    for name, place in network.places.items():
        if place.parameter.kind != "weight":
            drawn = generator.uniform(0.3, 1.3, place.parameter.shape)
            network[name][...] = drawn - (0.8 if name.endswith(("bias", "beta", "mean")) else 0)
    return network


def samples(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)


def as_nchw(x):
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def assert_exported(network, folder, *, atol=1e-5, **options):
    """Check onnxruntime and the network that is read again against the network."""
    path = folder / "network.onnx"
    export(network, path, **options)
    x = samples(network.input_shape)
    images = x if x.ndim == 4 else x.reshape(3, 1, 1, -1)
    scores = fastconv.Predictor(network, backend="numpy")(images)
    by_last = options.get("order") == "NHWC"
    (found,) = of_onnxruntime(path, x if by_last else as_nchw(x))
    expected = scores if by_last else as_nchw(scores)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol)
    again = load(path)
    assert again.input_shape == network.input_shape
    back = fastconv.Predictor(again, backend="numpy")(images)
    np.testing.assert_allclose(back, scores, rtol=1e-4, atol=atol)


VECTOR = (6,)
LAYERS_TO_EXPORT = {
    "conv2d": (
        [Conv2D(6, (3, 2), (2, 1), ((0, 1), (2, 0)), (1, 2), groups=2, bias=False)], IMAGE
    ),
    "conv2d same": ([Conv2D(5, 4, 2, "same")], IMAGE),
    "conv_transpose2d": ([ConvTranspose2D(6, 3, (2, 3), ((1, 0), (0, 2)), (1, 2))], IMAGE),
    "conv_transpose2d in groups": (
        [ConvTranspose2D(6, 3, 2, 1, 0, 2, groups=2, bias=False)], IMAGE
    ),
    "conv1d": ([Conv1D(5, 3, 2, (1, 2))], (1, 12, 3)),
    "conv1d of two axes": (
        [Reshape((24, 3)), Conv1D(5, 3, 2, 1, 2), BatchNorm(), MaxPool1D(3, 2), Flatten()],
        (6, 4, 3),
    ),
    "separable_conv2d": ([SeparableConv2D(5, 3, 2, 1, depth_multiplier=2)], IMAGE),
    "max_pool2d": ([MaxPool2D(3, 2, 1)], IMAGE),
    "max_pool2d ceil": ([MaxPool2D(2, 3, ceil_mode=True)], IMAGE),
    "max_pool1d": ([MaxPool1D(3, 2, ceil_mode=True)], (1, 12, 3)),
    "avg_pool2d": ([AvgPool2D(3, 2, ((1, 0), (1, 2)))], IMAGE),
    "avg_pool2d of pixels alone": (
        [AvgPool2D(3, 2, 1, ceil_mode=True, count_include_pad=False)], IMAGE
    ),
    "avg_pool2d ceil": ([AvgPool2D(2, 3, ceil_mode=True)], IMAGE),
    "avg_pool2d ceil with padding": ([AvgPool2D(3, 2, 1, ceil_mode=True)], (8, 8, 2)),
    "avg_pool1d": ([AvgPool1D(3, 2, 1)], (1, 12, 3)),
    "global_avg_pool2d": ([GlobalAvgPool2D(), Dense(3)], IMAGE),
    "global_max_pool2d": ([GlobalMaxPool2D()], IMAGE),
    "flatten": ([Conv2D(3), Flatten()], IMAGE),
    "dense": ([Dense(4, bias=False), Dense(3)], VECTOR),
    "dense behind flattened images": ([Conv2D(3), Flatten(), ReLU(), Dense(3)], IMAGE),
    "batch_norm": ([BatchNorm(epsilon=1e-3)], IMAGE),
    "batch_norm of vectors": ([BatchNorm()], VECTOR),
    "batch_norm behind flattened images": ([Flatten(), BatchNorm(), Dense(3)], IMAGE),
    "instance_norm": ([InstanceNorm(), Conv2D(3, 1), InstanceNorm(1e-3, affine=True)], IMAGE),
    "group_norm": ([GroupNorm(2), Conv2D(6, 1), GroupNorm(3, 1e-3, affine=False)], IMAGE),
    "layer_norm": ([LayerNorm()], IMAGE),
    "layer_norm of pixels": ([LayerNorm(4, bias=False)], IMAGE),
    "layer_norm of rows": ([LayerNorm((8, 4), elementwise_affine=False)], IMAGE),
    "layer_norm of vectors": ([Flatten(), LayerNorm()], IMAGE),
    "dropout": ([Dropout(0.5), ReLU()], IMAGE),
    "spatial_dropout": ([SpatialDropout(0.5), ReLU()], IMAGE),
    "stochastic_depth": ([StochasticDepth(0.5), ReLU()], IMAGE),
    "relu": ([ReLU()], IMAGE),
    "leaky_relu": ([LeakyReLU(0.2)], IMAGE),
    "elu": ([ELU(1.5)], IMAGE),
    "selu": ([SELU()], IMAGE),
    "sigmoid": ([Sigmoid()], IMAGE),
    "tanh": ([Tanh()], IMAGE),
    "softplus": ([Softplus()], IMAGE),
    "gelu": ([GELU()], IMAGE),
    "gelu by tanh": ([GELU("tanh")], IMAGE),
    "silu": ([SiLU()], IMAGE),
    "hard_sigmoid": ([HardSigmoid()], IMAGE),
    "hard_swish": ([HardSwish()], IMAGE),
    "relu6": ([ReLU6()], IMAGE),
    "softsign": ([Softsign()], IMAGE),
    "mish": ([Mish()], IMAGE),
    "prelu": ([PReLU(), Conv2D(3, 1), PReLU(per_channel=True)], IMAGE),
    "prelu behind flattened images": ([Flatten(), PReLU(per_channel=True)], IMAGE),
    "softmax": ([Flatten(), Softmax()], IMAGE),
    "log_softmax": ([LogSoftmax()], VECTOR),
    "softmax2d": ([Softmax2D()], IMAGE),
    "log_softmax2d": ([LogSoftmax2D()], IMAGE),
    "elementwise": ([Sigmoid(), FUNCTIONS["Exp"], power(1.5)], IMAGE),
    "scale_and_shift": ([ScaleAndShift(), Flatten(), ScaleAndShift()], IMAGE),
    "zero_pad2d": ([ZeroPad2D(((1, 2), (0, 3)))], IMAGE),
    "reflect_pad2d": ([ReflectPad2D(((1, 2), (0, 3)))], IMAGE),
    "crop2d": ([Crop2D(((1, 2), (0, 3)))], IMAGE),
    "upsample2d": ([Upsample2D((2, 3))], IMAGE),
    "upsample2d bilinear": ([Upsample2D(2, "bilinear")], IMAGE),
    "upsample2d corners": ([Upsample2D(2, "bilinear", align_corners=True)], IMAGE),
    "reshape": ([Conv2D(6, 2), Reshape((7, 8, 6)), Conv2D(2, 2)], IMAGE),
    "permute": ([Conv2D(6, 2), Permute((2, 0, 1)), Conv2D(2, 2)], IMAGE),
    "residual": ([Residual([Conv2D(4, padding=1)]), ReLU()], IMAGE),
    "residual of other orders": ([Residual([Permute((1, 0, 2))])], (5, 5, 3)),
    "residual of flattened images": (
        [Residual([Flatten(), Dense(24)], [Permute((2, 0, 1)), Flatten()])], (4, 3, 2)
    ),
    "concatenate": ([Concatenate([Conv2D(2, 1)], [], [MaxPool2D(3, 1, 1)])], IMAGE),
    "concatenate of vectors": ([Concatenate([Flatten()], [GlobalAvgPool2D()]), Dense(3)], IMAGE),
    "scale by channels": ([Scale([GlobalAvgPool2D(), Dense(4), Sigmoid()])], IMAGE),
    "scale by pixels": ([Scale([Conv2D(4, 1), Sigmoid()])], IMAGE),
    "graph": (
        [Graph([
            ("a", Conv2D(4, 3, padding=1), "input"), ("b", Tanh(), "a"),
            ("ab", Residual([]), ("a", "b")), ("c", Scale([]), ("ab", "b")),
        ])], IMAGE,
    ),
}  # fmt: skip


def test_every_layer_is_among_those_that_are_exported():
    assert {name.split(" ")[0] for name in LAYERS_TO_EXPORT} == OWN_KINDS | {"elementwise"}
    assert set(LAYERS) >= OWN_KINDS


@pytest.mark.parametrize("name", LAYERS_TO_EXPORT)
def test_a_layer_gives_what_onnxruntime_gives(name, tmp_path):
    layers, shape = LAYERS_TO_EXPORT[name]
    assert_exported(network_of(*layers, shape=shape), tmp_path)


@pytest.mark.parametrize("opset", OPSETS)
def test_layers_whose_operators_changed_are_exported_in_each_version(opset, tmp_path):
    layers = [Conv2D(6), GroupNorm(3), GELU(), GELU("tanh"), ReLU6(), Upsample2D(2), Flatten()]
    assert_exported(network_of(*layers, Dense(3)), tmp_path, opset=opset)
    model = onnx.load(tmp_path / "network.onnx")
    assert model.opset_import[0].version == opset
    kinds = {node.op_type for node in model.graph.node}
    assert ("Gelu" in kinds) is (opset >= 20)
    assert ("GroupNormalization" in kinds) is (opset >= 21)


@pytest.mark.parametrize(
    "name", [name for name in recipe_names() if name.startswith(("digits", "lenet5", "mnist"))]
)
def test_a_recipe_of_ours_is_exported(name, tmp_path):
    recipe = load_recipe(name)
    shape = (8, 8, 1) if name.startswith("digits") else (28, 28, 1)
    recipe = recipe.for_outputs(10) if hasattr(recipe, "for_outputs") else recipe
    assert_exported(recipe.make_network(shape), tmp_path)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("cifar")])
def test_a_large_recipe_of_ours_is_exported(name, tmp_path):
    assert_exported(load_recipe(name).for_outputs(10).make_network((32, 32, 3)), tmp_path)


def test_images_go_in_and_out_with_their_channels_last_if_that_is_asked_for(tmp_path):
    assert_exported(network_of(Conv2D(3), MaxPool2D(2)), tmp_path, order="NHWC")
    (taken,) = onnx.load(tmp_path / "network.onnx").graph.input
    assert [d.dim_value or d.dim_param for d in taken.type.tensor_type.shape.dim] == ["N", 9, 8, 4]


def test_any_number_of_samples_or_one_number_of_them(tmp_path):
    network = network_of(Conv2D(3), Flatten(), Dense(2))
    export(network, tmp_path / "open.onnx")
    for count in (1, 5):
        x = np.zeros((count, 4, 9, 8), np.float32)
        assert of_onnxruntime(tmp_path / "open.onnx", x)[0].shape == (count, 2)
    export(network, tmp_path / "closed.onnx", batch=2)
    (taken,) = onnx.load(tmp_path / "closed.onnx").graph.input
    assert taken.type.tensor_type.shape.dim[0].dim_value == 2


def test_the_shapes_of_all_values_are_in_the_file(tmp_path):
    export(network_of(Conv2D(3), ReLU(), MaxPool2D(2), Flatten(), Dense(2)), tmp_path / "n.onnx")
    graph = onnx.load(tmp_path / "n.onnx").graph
    known = {
        info.name: [d.dim_value or d.dim_param for d in info.type.tensor_type.shape.dim]
        for info in (*graph.value_info, *graph.output)
    }
    assert known["conv2d_1"] == ["N", 3, 7, 6]
    assert known["output"] == ["N", 2]
    assert {name for node in graph.node for name in node.output} == set(known)


# Raw pixels, class names, probabilities.

PREPROCESSING = {
    "scale": Preprocessing("scale"),
    "min_max": Preprocessing("min_max"),
    "standardize by channel": Preprocessing(
        "standardize", mean=np.array([90.0, 100.0, 110.0, 120.0]), std=np.array([50.0, 60, 70, 80])
    ),
    "standardize by feature": Preprocessing(
        "standardize", mean=np.arange(288.0) / 3, std=np.arange(1.0, 289.0)
    ),
}


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", PREPROCESSING)
def test_raw_pixels_are_preprocessed_within_the_file(name, order, tmp_path):
    network, preprocessing = network_of(Conv2D(3), Flatten(), Dense(5)), PREPROCESSING[name]
    path = tmp_path / "network.onnx"
    export(network, path, preprocessing=preprocessing, takes_pixels=True, order=order)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *IMAGE)).astype(np.uint8)
    pixels[2] = 7  # an image without contrast
    expected = fastconv.Predictor(network, preprocessing=preprocessing, backend="numpy")(pixels)
    given = pixels if order == "NHWC" else np.ascontiguousarray(np.moveaxis(pixels, -1, 1))
    (found,) = of_onnxruntime(path, given)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert read_metadata(path).preprocessing.kind == "none"
    again = fastconv.Predictor(load(path), backend="numpy")(pixels)
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-4)


def test_scores_become_probabilities(tmp_path):
    network, path = network_of(Dense(3), shape=VECTOR), tmp_path / "network.onnx"
    export(network, path, probabilities=True)
    x = samples(VECTOR)
    scores = fastconv.Predictor(network, backend="numpy")(x.reshape(3, 1, 1, -1))
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(of_onnxruntime(path, x)[0], expected, rtol=1e-5)


def test_class_names_and_preprocessing_go_along(tmp_path):
    path = tmp_path / "network.onnx"
    names = ("ant", "bee", "a “fly”")
    given = PREPROCESSING["standardize by channel"]
    export(network_of(Flatten(), Dense(3)), path, class_names=names, preprocessing=given)
    found = read_metadata(path)
    assert found.class_names == names
    np.testing.assert_array_equal(found.preprocessing.mean, given.mean)
    np.testing.assert_array_equal(found.preprocessing.std, given.std)


def test_metadata_of_others_and_damaged_ones(tmp_path):
    path = tmp_path / "network.onnx"
    export(network_of(Dense(3), shape=VECTOR), path)
    model = onnx.load(path)
    model.metadata_props[0].value = "no list"
    onnx.save(model, path)
    with pytest.raises(OnnxError, match="its class names or its preprocessing are damaged"):
        read_metadata(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    assert read_metadata(path).class_names == ()


def test_equal_networks_make_equal_files(tmp_path):
    for name in ("one", "two"):
        export(network_of(Conv2D(3), Flatten(), Dense(2)), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_network_of_float64_keeps_its_digits(tmp_path):
    network = Sequential([Dense(3), Tanh()], VECTOR, dtype="float64")
    export(network, tmp_path / "n.onnx")
    x = np.random.default_rng(0).normal(size=(2, 6))
    expected = fastconv.Predictor(network, backend="numpy")(x.reshape(2, 1, 1, 6))
    np.testing.assert_allclose(of_onnxruntime(tmp_path / "n.onnx", x)[0], expected, rtol=1e-13)


# Mistakes.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"opset": 17}, "opset is 17; expected 18 to 21"),
        ({"order": "CHWN"}, "order is 'CHWN'; expected 'NCHW' or 'NHWC'"),
        ({"batch": 0}, "batch is 0; expected None, or an integer of 1 or more"),
        ({"class_names": ["a"]}, r"class_names has 1 names; expected one for each .*\(3,\)"),
    ],
)
def test_a_wrong_argument_is_told(options, told, tmp_path):
    with pytest.raises(OnnxError, match=f"^export: {told}"):
        export(network_of(Dense(3), shape=VECTOR), tmp_path / "n.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_or_written_is_told(tmp_path):
    network = network_of(Dense(3), shape=VECTOR)
    with pytest.raises(OnnxError, match=r"export: network is a list; expected a Sequential"):
        export([Dense(3)], tmp_path / "n.onnx")
    with pytest.raises(OnnxError, match=r"is a folder; expected a file in it, such as "):
        export(network, tmp_path)
    with pytest.raises(OnnxError, match=r"there is no folder .*absent; make it first"):
        export(network, tmp_path / "absent" / "n.onnx")
    own = Elementwise(lambda x: x * x, lambda x: 2 * x)
    with pytest.raises(OnnxError, match=r"layer elementwise_1 is a Python function, for which"):
        export(network_of(own), tmp_path / "n.onnx")
    with pytest.raises(OnnxError, match=r"probabilities is True, but the network gives \(7, 6, 3"):
        export(network_of(Conv2D(3)), tmp_path / "n.onnx", probabilities=True)
    assert not list(tmp_path.iterdir())


# The command.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shades"
    save_run(folder, recipe_of(CONVOLUTIONAL, epochs=1), shades(), with_probe=False)
    return folder


def test_the_command_exports_a_run_that_takes_pictures(run, tmp_path, capsys):
    file = tmp_path / "network.onnx"
    options = ["--pixels", "--order", "NHWC", "--probabilities"]
    assert export_command.main([str(run), str(file), *options]) == 0
    assert re.search(r"network\.onnx: 9 layers, .* parameters, 3 classes", capsys.readouterr().out)
    images = shades().test.images
    probabilities = of_onnxruntime(file, images)[0]
    scores = load_run(run).inference().predict(images).astype(np.float64)
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert read_metadata(file).class_names == NAMES


def test_the_command_tells_mistakes_in_one_line(run, tmp_path, capsys):
    assert export_command.main([str(run), str(tmp_path / "absent" / "n.onnx")]) == 2
    assert re.fullmatch(
        r"fastconv\.export: .*absent/n\.onnx: there is no folder .*; make it first\n",
        capsys.readouterr().err,
    )
    save_run(tmp_path / "line", recipe_of([{"kind": "dense", "units": 1}], epochs=1,
             loss="mean_squared_error"), line(), with_probe=False)  # fmt: skip
    for option, told in (("--probabilities", "is a regression"), ("--pixels", "numbers from")):
        assert export_command.main([str(tmp_path / "line"), str(tmp_path / "n"), option]) == 2
        assert told in capsys.readouterr().err


EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_round_trip.py"


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not beside the tests")
def test_the_example_of_the_documentation_runs(capsys):
    runpy.run_path(str(EXAMPLE))
    (by_onnxruntime, by_fastconv) = (
        text.partition(":")[2].split() for text in capsys.readouterr().out.splitlines()
    )
    assert by_onnxruntime == by_fastconv
    assert len(set(by_fastconv)) > 5
