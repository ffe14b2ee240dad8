"""Networks from ONNX files compute what onnxruntime computes; what cannot be read says why."""

import contextlib
import math
import os

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_models import model_of, node, of_onnxruntime, saved  # noqa: E402

import fastconv  # noqa: E402
from fastconv.data import Samples  # noqa: E402
from fastconv.data import load as load_data  # noqa: E402
from fastconv.interop.onnx import OnnxError, load  # noqa: E402
from fastconv.interop.onnx.model_file import read_model  # noqa: E402
from fastconv.optimizers import Optimizer  # noqa: E402
from fastconv.preprocessing import Preprocessing  # noqa: E402
from fastconv.schedules import Constant  # noqa: E402

RANDOM = np.random.default_rng(7)


def weights(*sizes):
    return RANDOM.normal(size=sizes).astype(np.float32)


def as_fastconv(x):
    """Samples as fastconv has them: channels last, with three axes."""
    if x.ndim == 2:
        return x.reshape(len(x), 1, 1, -1)
    return np.moveaxis(x[:, :, None] if x.ndim == 3 else x, 1, -1)


def as_onnx(y, like):
    if like.ndim == 4:
        return np.moveaxis(y, -1, 1)
    if like.ndim == 3:
        return np.moveaxis(y, -1, 1).reshape(like.shape)
    return y.reshape(like.shape)


def assert_agrees(model, sizes, folder, *, atol=1e-5, positive=False):
    """Check the loaded network, at a batch of two, against onnxruntime; return the network."""
    network = load(saved(model, folder))
    x = np.random.default_rng(1).normal(size=(2, *sizes)).astype(np.float32)
    x = np.abs(x) + 0.1 if positive else x
    (expected,) = of_onnxruntime(model, x)
    found = fastconv.Predictor(network, backend="numpy")(as_fastconv(x))
    np.testing.assert_allclose(as_onnx(found, expected), expected, rtol=1e-4, atol=atol)
    return network


IMAGE = (4, 9, 8)

# Operators: (node, sizes of x, constants by name)

OPERATORS = {
    "a convolution with a bias": (
        node("Conv", "x w b", pads=[1, 1, 1, 1]), IMAGE,
        {"w": weights(6, 4, 3, 3), "b": weights(6)},
    ),
    "groups, strides and dilations": (
        node("Conv", "x w", group=2, strides=[2, 1], dilations=[1, 2]), IMAGE,
        {"w": weights(6, 2, 3, 3)},
    ),
    "asymmetric pads": (node("Conv", "x w", pads=[0, 1, 2, 3]), IMAGE, {"w": weights(3, 4, 3, 3)}),
    "auto_pad SAME_UPPER": (
        node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2]), IMAGE,
        {"w": weights(3, 4, 4, 3)},
    ),
    "auto_pad SAME_LOWER": (
        node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2]), IMAGE,
        {"w": weights(3, 4, 4, 3)},
    ),
    "auto_pad VALID": (
        node("Conv", "x w", auto_pad="VALID"), IMAGE, {"w": weights(3, 4, 4, 3)}
    ),
    "a convolution of rows": (
        node("Conv", "x w", pads=[2, 0], strides=[2]), (4, 9), {"w": weights(3, 4, 3)}
    ),
    "a transposed convolution": (
        node("ConvTranspose", "x w b", strides=[2, 3], pads=[1, 0, 0, 2], output_padding=[1, 0]),
        IMAGE, {"w": weights(4, 5, 3, 3), "b": weights(5)},
    ),
    "a transposed convolution in groups": (
        node("ConvTranspose", "x w", strides=[2, 2], group=2, dilations=[2, 1]), IMAGE,
        {"w": weights(4, 3, 3, 2)},
    ),
    "a transposed convolution to a size": (
        node("ConvTranspose", "x w", strides=[2, 2], output_shape=[18, 16]), IMAGE,
        {"w": weights(4, 3, 3, 3)},
    ),
    "largest of windows": (
        node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]), IMAGE, {}
    ),
    "largest of windows beyond the end": (
        node("MaxPool", "x", kernel_shape=[2, 3], strides=[2, 3], ceil_mode=1), IMAGE, {}
    ),
    "largest of rows": (node("MaxPool", "x", kernel_shape=[3], strides=[2]), (4, 9), {}),
    "means without padding": (
        node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), IMAGE, {}
    ),
    "means with padding": (
        node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 0, 1, 2], count_include_pad=1),
        IMAGE, {},
    ),
    "means of SAME_LOWER": (
        node("AveragePool", "x", kernel_shape=[2, 2], auto_pad="SAME_LOWER"), IMAGE, {}
    ),
    "a mean of all pixels": (node("GlobalAveragePool", "x"), IMAGE, {}),
    "the largest of all pixels": (node("GlobalMaxPool", "x"), IMAGE, {}),
    "a mean over height and width": (
        node("ReduceMean", "x axes", keepdims=0), IMAGE, {"axes": np.array([2, 3])}
    ),
    "a mean over channels": (node("ReduceMean", "x axes"), IMAGE, {"axes": np.array([1])}),
    "a sum over the height": (
        node("ReduceSum", "x axes", keepdims=0), IMAGE, {"axes": np.array([-2])}
    ),
    "the smallest over channels": (node("ReduceMin", "x axes"), IMAGE, {"axes": np.array([1])}),
    "Gemm": (
        node("Gemm", "x w b", alpha=0.5, beta=2.0, transB=1), (6,),
        {"w": weights(5, 6), "b": weights(5)},
    ),
    "Gemm with one number": (
        node("Gemm", "x w b"), (6,), {"w": weights(6, 5), "b": np.array([2.0], np.float32)}
    ),
    "a matrix over the last axis": (node("MatMul", "x w"), (4, 7, 6), {"w": weights(6, 5)}),
    "a sum with each channel's number": (node("Add", "x c"), IMAGE, {"c": weights(4, 1, 1)}),
    "a sum with numbers along the width": (node("Add", "x c"), IMAGE, {"c": weights(8)}),
    "a product with numbers for each pixel": (node("Mul", "x c"), IMAGE, {"c": weights(1, 9, 8)}),
    "a difference from numbers": (node("Sub", "c x"), IMAGE, {"c": weights(1, 4, 1, 1)}),
    "a product with one number": (node("Mul", "x c"), IMAGE, {"c": np.float32(0.3)}),
    "a quotient": (node("Div", "x c"), IMAGE, {"c": np.float32(3.0)}),
    "a negative": (node("Neg", "x"), IMAGE, {}),
    "an absolute value": (node("Abs", "x"), IMAGE, {}),
    "a square": (node("Pow", "x c"), IMAGE, {"c": np.float32(2.0)}),
    "a cube": (node("Pow", "x c"), IMAGE, {"c": np.float32(3.0)}),
    "the larger of two": (node("Max", "x c"), IMAGE, {"c": np.float32(0.2)}),
    "bounds": (
        node("Clip", "x low high"), IMAGE, {"low": np.float32(-0.5), "high": np.float32(1.25)}
    ),
    "an upper bound alone": (
        onnx.helper.make_node("Clip", ["x", "", "high"], ["y"]), IMAGE,
        {"high": np.float32(0.5)},
    ),
    "bounds of 0 and 6": (
        node("Clip", "x low high"), IMAGE, {"low": np.float32(0), "high": np.float32(6)}
    ),
    "a sigmoid of straight lines": (node("HardSigmoid", "x", alpha=0.3, beta=0.4), IMAGE, {}),
    "slopes of channels": (node("PRelu", "x s"), IMAGE, {"s": np.abs(weights(4, 1, 1))}),
    "one slope": (node("PRelu", "x s"), IMAGE, {"s": np.array([0.3], np.float32)}),
    "celu": (node("Celu", "x", alpha=2.0), IMAGE, {}),
    "selu": (node("Selu", "x"), IMAGE, {}),
    "softmax of a vector": (node("Softmax", "x", axis=-1), (6,), {}),
    "softmax of pixels": (node("Softmax", "x", axis=1), IMAGE, {}),
    "softmax along the width": (node("LogSoftmax", "x", axis=3), IMAGE, {}),
    "batch normalisation": (
        node("BatchNormalization", "x s b m v", epsilon=1e-3), IMAGE,
        {"s": weights(4), "b": weights(4), "m": weights(4), "v": np.abs(weights(4)) + 0.5},
    ),
    "instance normalisation": (
        node("InstanceNormalization", "x s b"), IMAGE, {"s": weights(4), "b": weights(4)}
    ),
    "layer normalisation of whole images": (
        node("LayerNormalization", "x s b", axis=1), IMAGE,
        {"s": weights(4, 9, 8), "b": weights(4, 9, 8)},
    ),
    "layer normalisation of rows": (
        node("LayerNormalization", "x s", axis=-1), IMAGE, {"s": weights(8)}
    ),
    "local response normalisation": (
        node("LRN", "x", size=3, alpha=0.2, beta=0.6, bias=1.5), IMAGE, {}
    ),
    "zeros around images": (
        node("Pad", "x pads"), IMAGE, {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 0])}
    ),
    "numbers around images": (
        node("Pad", "x pads c"), IMAGE,
        {"pads": np.array([0, 1, 1, 2, 0, 0, 0, 0]), "c": np.float32(1.5)},
    ),
    "images mirrored at their borders": (
        node("Pad", "x pads", mode="reflect"), IMAGE, {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 0])}
    ),
    "pads below 0": (
        node("Pad", "x pads"), IMAGE, {"pads": np.array([0, 0, -1, 2, 0, 0, 0, -3])}
    ),
    "nearest pixels": (
        onnx.helper.make_node(
            "Resize", ["x", "", "f"], ["y"], coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ), IMAGE, {"f": np.array([1, 1, 2, 3], np.float32)},
    ),
    "pixels between": (
        onnx.helper.make_node("Resize", ["x", "", "f"], ["y"], mode="linear"), IMAGE,
        {"f": np.array([1, 1, 2, 2], np.float32)},
    ),
    "pixels between corners": (
        onnx.helper.make_node(
            "Resize", ["x", "", "", "f"], ["y"], mode="linear",
            coordinate_transformation_mode="align_corners",
        ), IMAGE, {"f": np.array([2, 4, 18, 16])},
    ),
    "channels as blocks of pixels": (node("DepthToSpace", "x", blocksize=2), (8, 3, 5), {}),
    "channels as blocks, by columns": (
        node("DepthToSpace", "x", blocksize=2, mode="CRD"), (8, 3, 5), {}
    ),
    "blocks of pixels as channels": (node("SpaceToDepth", "x", blocksize=2), (3, 4, 6), {}),
    "some channels": (
        node("Slice", "x s e a"), IMAGE,
        {"s": np.array([1, -3]), "e": np.array([3, 99]), "a": np.array([1, 3])},
    ),
    "one row": (node("Gather", "x i", axis=2), IMAGE, {"i": np.array(3)}),
    "channels in another order": (
        node("Gather", "x i", axis=1), IMAGE, {"i": np.array([2, 0, 0, 3])}
    ),
    "images side by side": (node("Tile", "x r"), IMAGE, {"r": np.array([1, 2, 1, 3])}),
    "another order of axes": (node("Transpose", "x", perm=[0, 2, 1, 3]), IMAGE, {}),
    "axes dropped and added": (node("Unsqueeze", "x a"), (6,), {"a": np.array([1, 3])}),
    "an axis that is repeated": (
        node("Expand", "x s"), (4, 1, 8), {"s": np.array([1, 4, 5, 1])}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_computes_what_onnxruntime_computes(name, tmp_path):
    made, sizes, constants = OPERATORS[name]
    model = model_of([made], sizes, constants=constants, open_batch=made.op_type != "Resize")
    assert_agrees(model, sizes, tmp_path)


ACTIVATIONS = (
    "Relu Sigmoid Tanh Softplus Softsign Mish HardSwish Elu LeakyRelu Exp Erf Sin Cos Identity"
)


@pytest.mark.parametrize("kind", ACTIVATIONS.split())
def test_an_activation_computes_what_onnxruntime_computes(kind, tmp_path):
    assert_agrees(model_of([node(kind, "x")], (3, 4, 5)), (3, 4, 5), tmp_path)


@pytest.mark.parametrize("kind", ["Log", "Sqrt", "Reciprocal"])
def test_a_function_of_positive_numbers_computes_what_onnxruntime_computes(kind, tmp_path):
    assert_agrees(model_of([node(kind, "x")], (6,)), (6,), tmp_path, positive=True)


# Values that several nodes read, and shapes that are computed.


def test_a_branch_of_a_branch_is_a_graph(tmp_path):
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Add", "a b", "c"),
        node("Mul", "c b", "d"),
        node("Concat", "a d c", "e", axis=1),
        node("GlobalAveragePool", "e", "f"),
        node("Sigmoid", "f", "g"),
        node("Mul", "e g", "y"),
    ]
    model = model_of(nodes, IMAGE, constants={"w": weights(4, 4, 3, 3)})
    network = assert_agrees(model, IMAGE, tmp_path)
    assert [layer.kind for layer in network.layers][:2] == ["conv2d", "graph"]


def test_a_chain_is_a_chain_of_layers_and_biases_are_theirs(tmp_path):
    nodes = [
        node("Conv", "x w", "a"), node("Add", "a b", "c"), node("Relu", "c", "d"),
        node("Flatten", "d", "e"), node("MatMul", "e v", "f"), node("Add", "u f", "y"),
    ]  # fmt: skip
    constants = {
        "w": weights(3, 2, 3, 3), "b": weights(1, 3, 1, 1), "v": weights(3 * 4 * 3, 5),
        "u": weights(5),
    }  # fmt: skip
    network = assert_agrees(model_of(nodes, (2, 6, 5), constants=constants), (2, 6, 5), tmp_path)
    assert [layer.kind for layer in network.layers] == ["conv2d", "relu", "flatten", "dense"]
    np.testing.assert_array_equal(network["dense_1.bias"], constants["u"])


def test_a_sum_that_others_read_past_is_no_bias(tmp_path):
    nodes = [node("Conv", "x w", "a"), node("Add", "a b", "c"), node("Mul", "a c", "y")]
    constants = {"w": weights(3, 2, 3, 3), "b": weights(3, 1, 1)}
    assert_agrees(model_of(nodes, (2, 6, 5), constants=constants), (2, 6, 5), tmp_path)


def test_channels_are_shuffled_and_split(tmp_path):
    """The unit of ShuffleNet: half of the channels stay, then both halves are shuffled."""
    nodes = [
        node("Split", "x parts", "a b", axis=1),
        node("Conv", "b w", "c"),
        node("Concat", "a c", "d", axis=1),
        node("Reshape", "d five", "e"),
        node("Transpose", "e", "f", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "f four", "g"),
        node("Conv", "g v", "y"),
    ]
    constants = {
        "parts": np.array([3, 3]), "w": weights(3, 3, 1, 1), "v": weights(2, 6, 1, 1),
        "five": np.array([-1, 2, 3, 5, 4]), "four": np.array([-1, 6, 5, 4]),
    }  # fmt: skip
    assert_agrees(model_of(nodes, (6, 5, 4), constants=constants), (6, 5, 4), tmp_path)


def test_a_shape_that_nodes_compute_keeps_the_batch_open(tmp_path):
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n first", "m"), node("Concat", "m rest", "t", axis=0),
        node("Reshape", "x t", "y"),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([-1])}
    network = assert_agrees(model_of(nodes, IMAGE, constants=constants), IMAGE, tmp_path)
    assert network.output_shape == (4 * 9 * 8,)


def test_a_shape_halved_by_nodes_is_a_size(tmp_path):
    """The chunk of older exporters: the size of an axis, divided by the number of parts."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s one", "c", axis=0),
        node("Div", "c two", "h"), node("Unsqueeze", "h first", "e"),
        node("Slice", "x first e axis", "y"),
    ]  # fmt: skip
    constants = {"one": np.array(1), "two": np.array(2), "first": np.array([0]),
                 "axis": np.array([1])}  # fmt: skip
    assert_agrees(model_of(nodes, IMAGE, constants=constants), IMAGE, tmp_path)


def test_a_dense_layer_behind_a_transposition_has_its_rows_in_order(tmp_path):
    nodes = [
        node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Flatten", "a", "b"),
        node("MatMul", "b w", "y"),
    ]  # fmt: skip
    model = model_of(nodes, (2, 3, 4), constants={"w": weights(24, 5)})
    network = assert_agrees(model, (2, 3, 4), tmp_path)
    assert [layer.kind for layer in network.layers] == ["flatten", "dense"]


def test_group_normalisation_as_exporters_write_it_is_one_layer(tmp_path):
    nodes = [
        node("Conv", "x u", "a"),
        node("Reshape", "a groups", "b"),
        node("InstanceNormalization", "b ones zeros", "c"),
        node("Shape", "a", "s"),
        node("Reshape", "c s", "d"),
        node("Mul", "d w", "e"),
        node("Add", "e v", "y"),
    ]
    constants = {
        "u": weights(6, 4, 1, 1), "groups": np.array([0, 3, -1]),
        "ones": np.ones(3, np.float32), "zeros": np.zeros(3, np.float32),
        "w": weights(6, 1, 1), "v": weights(6, 1, 1),
    }  # fmt: skip
    network = assert_agrees(model_of(nodes, IMAGE, constants=constants), IMAGE, tmp_path)
    assert [layer.kind for layer in network.layers][:2] == ["conv2d", "group_norm"]


def test_group_normalisation_of_its_own_operator(tmp_path):
    made = node("GroupNormalization", "x s b", num_groups=2)
    constants = {"s": weights(4), "b": weights(4)}
    assert_agrees(model_of([made], IMAGE, constants=constants, opset=21), IMAGE, tmp_path)


def test_images_whose_channels_lie_last_are_taken_as_they_are(tmp_path):
    """As Keras exports: the file turns its images around first, and back at the end."""
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]), node("Conv", "a w", "b"),
        node("Transpose", "b", "y", perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    model = model_of(nodes, (6, 5, 3), constants={"w": weights(4, 3, 3, 3)})
    network = load(saved(model, tmp_path))
    assert (network.input_shape, network.names) == ((6, 5, 3), ("conv2d_1",))
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 3)).astype(np.float32)
    found = fastconv.Predictor(network, backend="numpy")(x)
    np.testing.assert_allclose(found, of_onnxruntime(model, x)[0], rtol=1e-4, atol=1e-5)


# Activations that exporters write as several nodes.

PATTERNS = {
    "silu": [node("Sigmoid", "x", "s"), node("Mul", "x s")],
    "silu, the other way": [node("Sigmoid", "x", "s"), node("Mul", "s x")],
    "mish": [node("Softplus", "x", "s"), node("Tanh", "s", "t"), node("Mul", "x t")],
    "hard_swish": [
        node("Add", "x three", "a"), node("Clip", "a zero six", "b"), node("Div", "b six", "c"),
        node("Mul", "x c"),
    ],
    "hard_swish, divided last": [
        node("Add", "three x", "a"), node("Clip", "a zero six", "b"), node("Mul", "b x", "c"),
        node("Div", "c six"),
    ],
    "hard_swish of a hard sigmoid": [
        node("HardSigmoid", "x", "a", alpha=1 / 6), node("Mul", "a x"),
    ],
    "hard_sigmoid": [
        node("Add", "x three", "a"), node("Clip", "a zero six", "b"), node("Mul", "b sixth"),
    ],
    "gelu": [
        node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"),
        node("Mul", "x c", "d"), node("Mul", "d half"),
    ],
    "gelu, halved first": [
        node("Mul", "x half", "h"), node("Mul", "x inverse", "a"), node("Erf", "a", "b"),
        node("Add", "one b", "c"), node("Mul", "h c"),
    ],
    "gelu by tanh": [
        node("Pow", "x three", "a"), node("Mul", "a cubic", "b"), node("Add", "x b", "c"),
        node("Mul", "c pi", "d"), node("Tanh", "d", "e"), node("Add", "e one", "f"),
        node("Mul", "x half", "g"), node("Mul", "g f"),
    ],
    "softplus": [node("Exp", "x", "a"), node("Add", "a one", "b"), node("Log", "b")],
    "softsign": [node("Abs", "x", "a"), node("Add", "one a", "b"), node("Div", "x b")],
    "sigmoid": [
        node("Neg", "x", "a"), node("Exp", "a", "b"), node("Add", "b one", "c"),
        node("Div", "one c"),
    ],
}  # fmt: skip
NUMBERS = {
    "three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6, "root": math.sqrt(2), "one": 1.0,
    "half": 0.5, "inverse": math.sqrt(0.5), "cubic": 0.044715, "pi": math.sqrt(2 / math.pi),
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_an_activation_of_several_nodes_is_one_layer(name, tmp_path):
    used = {each for made in PATTERNS[name] for each in made.input}
    constants = {n: np.float32(v) for n, v in NUMBERS.items() if n in used}
    network = assert_agrees(model_of(PATTERNS[name], (6,), constants=constants), (6,), tmp_path)
    assert [layer.kind for layer in network.layers] == [name.split(",")[0].split(" ")[0]]


def test_a_gate_of_another_value_is_none_of_them(tmp_path):
    nodes = [node("Tanh", "x", "t"), node("Sigmoid", "t", "s"), node("Mul", "x s")]
    network = assert_agrees(model_of(nodes, (6,)), (6,), tmp_path)
    assert "sigmoid" in [vertex.layer.kind for vertex in network.vertices]


# Training on.


def test_a_loaded_network_is_trained_on(tmp_path):
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a g g m v", "n"),
        node("Relu", "n", "r"), node("Add", "r a", "s"), node("Dropout", "s", "d"),
        node("MaxPool", "d", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", "p", "f"),
        node("Gemm", "f u c", "y"),
    ]  # fmt: skip
    constants = {
        "w": 0.5 * weights(6, 1, 3, 3), "b": weights(6), "g": np.ones(6, np.float32),
        "m": np.zeros(6, np.float32), "v": np.ones(6, np.float32),
        "u": 0.1 * weights(96, 10), "c": weights(10),
    }  # fmt: skip
    network = load(saved(model_of(nodes, (1, 8, 8), constants=constants), tmp_path))
    images = load_data("digits").training
    digits = Samples(images.images[:256], images.labels[:256])
    trainer = fastconv.Trainer(
        network, digits, loss="softmax_cross_entropy", optimizer=Optimizer("adam"),
        schedule=Constant(0.01), batch_size=32, backend="numpy",
        preprocessing=Preprocessing("scale"),
    )  # fmt: skip
    before = trainer.evaluate(digits)
    for _ in range(6):
        trainer.train(8)
    after = trainer.evaluate(digits)
    assert after.loss < before.loss
    assert after.accuracy > 0.6 > before.accuracy


# What cannot be read says which node, which operator and why.

REFUSED = {
    "an operator without a layer": (
        [node("NonZero", "x")], {}, r"node 'the_NonZero' \(NonZero\): fastconv has no layer"
    ),
    "an attribute of windows": (
        [node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 1])], {},
        r"\(MaxPool\): attribute dilations is \[2, 1\]; expected 1 along each axis",
    ),
    "an unknown attribute": (
        [node("Relu", "x", slope=2.0)], {}, r"\(Relu\): attribute slope is 2\.0; fastconv does not"
    ),
    "a mode": (
        [node("Pad", "x p", mode="edge")], {"p": np.zeros(8, np.int64)},
        r"\(Pad\): attribute mode is 'edge'; expected constant or reflect",
    ),
    "weights that are computed": (
        [node("Relu", "x", "r"), node("Conv", "x r")], {},
        r"\(Conv\): its W is computed from the input; expected a constant",
    ),
    "a batch that is summed": (
        [node("ReduceMean", "x a")], {"a": np.array([0])},
        r"\(ReduceMean\): acts along axis 0, the batch",
    ),
    "a batch that moves": (
        [node("Transpose", "x", perm=[1, 0, 2, 3])], {},
        r"\(Transpose\): attribute perm is \[1, 0, 2, 3\]; expected the batch to stay",
    ),
    "a batch that is reshaped": (
        [node("Reshape", "x s")], {"s": np.array([6, -1])},
        r"\(Reshape\): makes the sizes \(6, 48000144\) of \(N, 4, 9, 8\)|\(Reshape\): makes ",
    ),
    "a kernel that is too large": (
        [node("Conv", "x w")], {"w": weights(3, 4, 11, 3)},
        r"\(Conv\): .*kernel spans 11 in height",
    ),
    "channels that do not fit": (
        [node("Conv", "x w")], {"w": weights(3, 5, 3, 3)},
        r"\(Conv\): its weight has the sizes \(3, 3, 5, 3\); expected \(3, 3, 4, 3\)",
    ),
    "steps of a slice": (
        [node("Slice", "x s e a t")],
        {"s": np.array([0]), "e": np.array([9]), "a": np.array([2]), "t": np.array([2])},
        r"\(Slice\): its steps are \[2\]; expected 1",
    ),
    "a size that is no multiple": (
        [onnx.helper.make_node("Resize", ["x", "", "f"], ["y"], name="r")],
        {"f": np.array([1, 1, 1.5, 2], np.float32)},
        r"node 'r' \(Resize\): its scales are \[1\.0, 1\.0, 1\.5, 2\.0\]; expected integers",
    ),
    "training": (
        [node("BatchNormalization", "x b b b b", training_mode=1)], {"b": np.ones(4, np.float32)},
        r"attribute training_mode is 1; expected 0",
    ),
    "a domain of others": (
        [onnx.helper.make_node("Attention", ["x"], ["y"], domain="com.microsoft", name="att")], {},
        r"node 'att' \(Attention\): is of the domain 'com\.microsoft'; expected ONNX's own",
    ),
    "what nothing makes": (
        [node("Add", "x z")], {}, r"node 'the_Add' \(Add\) reads 'z', which nothing before it makes"
    ),
    "places of the largest": (
        [node("MaxPool", "x", "a p", kernel_shape=[2, 2]), node("Relu", "p")], {},
        r"\(Relu\): reads 'p', which fastconv does not compute: statistics, a mask or the places",
    ),
    "a division by 0": ([node("Div", "x c")], {"c": np.zeros((), np.float32)}, "divides by 0"),
    "a constant for each sample": (
        [node("Add", "x c")], {"c": weights(2, 4, 1, 1)},
        r"\(Add\): has a constant of the sizes \(2, 4, 1, 1\), with one for each sample",
    ),
    "images too large": (
        [node("Pad", "x p")], {"p": np.array([0, 0, 0, 0, 0, 0, 2**40, 0])},
        r"\(Pad\): makes samples of 1099511627785 x 8 x 4 elements; fastconv reads networks of",
    ),
    "a constant too large": (
        [node("ConstantOfShape", "s", "c"), node("Add", "x c")], {"s": np.array([2**40])},
        r"\(ConstantOfShape\): makes a constant of the sizes \(1099511627776,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_layer_is_told_with_its_node(name, tmp_path):
    nodes, constants, told = REFUSED[name]
    path = saved(model_of(nodes, IMAGE, constants=constants), tmp_path)
    with pytest.raises(OnnxError, match=told) as fault:
        load(path)
    assert str(fault.value).startswith(f"{path}: ")
    assert "\n" not in str(fault.value)


def test_sizes_that_are_open_are_asked_for(tmp_path):
    model = model_of([node("GlobalAveragePool", "x")], ("C", "H", "W"))
    path = saved(model, tmp_path)
    with pytest.raises(OnnxError, match=r"leaves sizes open; give input_shape=\(height, width"):
        load(path)
    assert load(path, input_shape=(6, 5, 3)).output_shape == (1, 1, 3)
    with pytest.raises(OnnxError, match=r"input_shape is \(6, 5\); expected \(height, width"):
        load(path, input_shape=(6, 5))
    closed = saved(model_of([node("Relu", "x")], (3, 6, 5)), tmp_path, "closed.onnx")
    with pytest.raises(OnnxError, match=r"takes samples \(6, 5, 3\); input_shape is \(6, 6, 3\)"):
        load(closed, input_shape=(6, 6, 3))


def test_the_order_of_the_axes_of_images_can_be_said(tmp_path):
    nodes = [node("Flatten", "x", "f"), node("MatMul", "f w", "y")]
    path = saved(model_of(nodes, (6, 5, 3), constants={"w": weights(90, 2)}), tmp_path)
    assert load(path).input_shape == (5, 3, 6)
    network = load(path, order="NHWC")
    assert network.input_shape == (6, 5, 3)
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 3)).astype(np.float32)
    found = fastconv.Predictor(network, backend="numpy")(x)
    np.testing.assert_allclose(found, of_onnxruntime(path, x)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(OnnxError, match="order is 'HWC'; expected 'NCHW', 'NHWC' or None"):
        load(path, order="HWC")


def test_one_of_several_outputs_is_named(tmp_path):
    nodes = [node("Relu", "x", "a"), node("Tanh", "x", "b")]
    path = saved(model_of(nodes, (6,), outputs=("a", "b")), tmp_path)
    with pytest.raises(OnnxError, match="has the outputs 'a', 'b'; say which one: output='b'"):
        load(path)
    assert load(path, output="b").names == ("tanh_1",)
    with pytest.raises(OnnxError, match="has no output 'c'; expected one of 'a', 'b'"):
        load(path, output="c")


# Files that nobody has checked.


def test_no_file_and_no_onnx_file_are_told(tmp_path):
    with pytest.raises(OnnxError, match="cannot be read"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(OnnxError, match="is no file"):
        load(tmp_path)
    (tmp_path / "text.onnx").write_text("This is none.")
    with pytest.raises(OnnxError, match=r"text\.onnx: (is no ONNX file|holds no graph)"):
        load(tmp_path / "text.onnx")
    with pytest.raises(OnnxError, match="path is a int; expected a path"):
        load(3)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(OnnxError, match="holds no graph"):
        load(tmp_path / "empty.onnx")


def test_every_damaged_file_is_an_error_of_its_own_kind(tmp_path):
    nodes = [node("Conv", "x w b", "a"), node("Relu", "a", "c"), node("Flatten", "c")]
    constants = {"w": weights(2, 2, 3, 3), "b": weights(2)}
    content = model_of(nodes, (2, 5, 5), constants=constants).SerializeToString()
    generator = np.random.default_rng(0)
    path = tmp_path / "damaged.onnx"
    for _ in range(300):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), 3):
            damaged[place] = generator.integers(0, 256)
        if generator.integers(0, 4) == 0:
            del damaged[generator.integers(1, len(damaged)) :]
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(OnnxError):
            load(path)


def external(folder, location, *, offset=0, length=None, dims=(4,)):
    """A model whose weights are said to lie in a file."""
    model = model_of([node("Add", "x w")], (4,), constants={"w": weights(4)})
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.dims[:] = dims
    tensor.data_location = onnx.TensorProto.EXTERNAL
    told = {"location": location, "offset": str(offset)}
    for key, value in (told if length is None else {**told, "length": str(length)}).items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_a_file_beside_it_are_read(tmp_path):
    numbers = np.array([9, 9, 1, 2, 3, 4], np.float32)
    numbers.tofile(tmp_path / "weights.bin")
    network = load(external(tmp_path, "weights.bin", offset=8, length=16))
    x = np.zeros((1, 1, 1, 4), np.float32)
    assert fastconv.Predictor(network, backend="numpy")(x).tolist() == [[1, 2, 3, 4]]


def test_nothing_is_read_outside_the_folder_of_the_model(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    weights(4).tofile(tmp_path / "secret.bin")
    os.symlink(tmp_path / "secret.bin", inside / "link.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "", "."):
        with pytest.raises(OnnxError, match="expected a file in the folder of the model"):
            load(external(inside, location))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"location": "absent.bin"}, r"cannot be read \(No such file or directory\); put it"),
        ({"location": "short.bin"}, r"ends at byte 16 of 'short.bin', which has 8; copy"),
        ({"location": "short.bin", "length": 8}, r"has 8 bytes from 0 on .*; expected 16 bytes"),
        ({"location": "short.bin", "offset": -8}, r"from -8 on .*; expected 16 bytes from 0"),
        ({"location": "short.bin", "offset": "x"}, "an offset or a length that is no number"),
        ({"location": "short.bin", "dims": (2**62, 2**62)}, r"has the sizes \(4611.*below 2\*\*31"),
        ({"location": "short.bin", "dims": (-4,)}, r"has the sizes \(-4,\); expected 0 or more"),
    ],
)
def test_sizes_of_weights_in_files_are_checked(tmp_path, given, told):
    (tmp_path / "short.bin").write_bytes(b"\0" * 8)
    with pytest.raises(OnnxError, match=told):
        load(external(tmp_path, **given))


def test_sizes_of_weights_in_the_file_are_checked(tmp_path):
    model = model_of([node("Add", "x w")], (4,), constants={"w": weights(4)})
    model.graph.initializer[0].dims[:] = [2**20]
    with pytest.raises(OnnxError, match=r"tensor 'w' has 16 bytes; expected 4,194,304 for the"):
        load(saved(model, tmp_path))
    model.graph.initializer[0].data_type = onnx.TensorProto.STRING
    with pytest.raises(OnnxError, match="tensor 'w' has the type STRING; expected one of float32"):
        load(saved(model, tmp_path))


def test_a_version_of_the_future_is_told(tmp_path):
    model = model_of([node("Relu", "x")], (4,))
    model.opset_import[0].version = 99
    with pytest.raises(OnnxError, match="has the operators of version 99; expected 6 to"):
        load(saved(model, tmp_path))
    assert read_model(saved(model, tmp_path)).graph.name == "by_hand"
