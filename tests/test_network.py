"""Networks: shapes, the layout of the parameters, first weights, and the file of the weights."""

import itertools
import json
import math
import re
import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from fastconv.initializers import Glorot, He, LeCun, Normal
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LogSoftmax,
    MaxPool2D,
    ReLU,
    Softmax,
)
from fastconv.network import NetworkError, Sequential
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.recipe import load_recipe


def lenet():
    return Sequential(
        [
            Conv2D(16, 5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Conv2D(16, 5, padding=2),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
            Dense(10),
        ],
        input_shape=(28, 28, 1),
    )


def cifar10_deep():
    return Sequential(load_recipe("cifar10-deep").make_layers(), input_shape=(32, 32, 3))


def small(seed=0, dtype="float32"):
    layers = [Conv2D(4), BatchNorm(), ReLU(), Flatten(), Dense(3)]
    return Sequential(layers, input_shape=(5, 6, 2), seed=seed, dtype=dtype)


# Shapes.


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (Conv2D(8, 3), (8, 9, 2), (6, 7, 8)),
        (Conv2D(8, 3, stride=2), (28, 28, 1), (13, 13, 8)),
        (Conv2D(8, (3, 5), padding=(1, 2)), (8, 9, 2), (8, 9, 8)),
        (Conv2D(8, 3, stride=2, padding="same"), (7, 8, 2), (4, 4, 8)),
        (Conv2D(8, 3, dilation=2), (8, 9, 2), (4, 5, 8)),
        (Conv2D(6, 3, groups=2), (5, 5, 4), (3, 3, 6)),
        (ConvTranspose2D(4, 3, stride=2), (5, 6, 8), (11, 13, 4)),
        (ConvTranspose2D(4, 3, stride=2, padding=1, output_padding=1), (5, 6, 8), (10, 12, 4)),
        (MaxPool2D(2), (7, 8, 3), (3, 4, 3)),
        (MaxPool2D(2, ceil_mode=True), (7, 8, 3), (4, 4, 3)),
        (MaxPool2D(3, stride=2, padding=1), (8, 8, 3), (4, 4, 3)),
        (AvgPool2D((2, 4)), (8, 8, 3), (4, 2, 3)),
        (GlobalAvgPool2D(), (4, 5, 6), (6,)),
        (Flatten(), (4, 5, 6), (120,)),
        (Dense(7), (120,), (7,)),
        (BatchNorm(), (4, 5, 6), (4, 5, 6)),
        (BatchNorm(), (6,), (6,)),
        (Dropout(0.2), (4, 5, 6), (4, 5, 6)),
        (ReLU(), (4, 5, 6), (4, 5, 6)),
        (Softmax(), (6,), (6,)),
    ],
    ids=str,
)
def test_output_shapes_are_those_worked_out_by_hand(layer, shape, expected):
    network = Sequential([layer], input_shape=shape)
    assert network.output_shape == expected
    assert network.shapes == (shape, expected)


def test_layers_are_named_by_their_kind_and_a_count():
    assert lenet().names == (
        "conv2d_1", "relu_1", "max_pool2d_1", "conv2d_2", "relu_2", "max_pool2d_2", "flatten_1",
        "dense_1",
    )  # fmt: skip


def test_lenet_has_14682_parameters():
    network = lenet()
    sizes = {name: array.size for name, array in network.named_arrays().items()}
    assert sizes == {
        "conv2d_1.weight": 5 * 5 * 1 * 16,
        "conv2d_1.bias": 16,
        "conv2d_2.weight": 5 * 5 * 16 * 16,
        "conv2d_2.bias": 16,
        "dense_1.weight": 7 * 7 * 16 * 10,
        "dense_1.bias": 10,
    }
    assert network.parameter_count == 14682


def test_cifar10_deep_has_the_parameters_of_its_report():
    convolutions = 27 * 32 + 32 + 288 * 32 + 32 + 288 * 64 + 64 + 576 * 64 + 64
    dense = 1600 * 256 + 256 + 256 * 10 + 10
    assert cifar10_deep().parameter_count == convolutions + dense


def test_mnist_strided_has_the_parameters_of_its_report():
    network = Sequential(load_recipe("mnist-strided").make_layers(), input_shape=(28, 28, 1))
    assert network.shapes[1] == (13, 13, 8)
    assert network.shapes[3] == (6, 6, 8)
    assert network.parameter_count == (9 * 8 + 8) + (72 * 8 + 8) + (288 * 10 + 10)


def test_cifar10_deep_costs_29_and_a_half_megaflops_forward():
    by_hand = (
        2 * 30 * 30 * 32 * 27
        + 2 * 28 * 28 * 32 * 288
        + 2 * 12 * 12 * 64 * 288
        + 2 * 10 * 10 * 64 * 576
        + 2 * 1600 * 256
        + 2 * 256 * 10
    )
    assert cifar10_deep().flops == by_hand
    assert round(by_hand / 1e6, 1) == 29.5


def test_a_training_step_of_cifar10_deep_on_one_image_costs_about_87_megaflops():
    network = cifar10_deep()
    plan = build_plan(network, 1, Purpose(True, True, "softmax_cross_entropy"), Source(10))
    kernels = [call for call in plan.calls if call.kernel.startswith(("conv.", "dense."))]
    # Forward and both gradients, but no data gradient of the first layer.
    assert len(kernels) == 3 * 6 - 1
    assert round(sum(call.spec.flops for call in kernels) / 1e6) == 87  # type: ignore[attr-defined]


def test_grouped_convolutions_have_weights_for_their_own_group_only():
    network = Sequential([Conv2D(6, 3, groups=2)], input_shape=(5, 5, 4))
    assert network["conv2d_1.weight"].shape == (3, 3, 2, 6)
    assert network.flops == 2 * 3 * 3 * 6 * (3 * 3 * 2)


def test_without_a_bias_there_is_none():
    layers = [Conv2D(4, bias=False), Flatten(), Dense(3, bias=False)]
    network = Sequential(layers, input_shape=(4, 4, 1))
    assert list(network.named_arrays()) == ["conv2d_1.weight", "dense_1.weight"]
    assert network.parameter_count == 9 * 4 + 16 * 3


def test_a_notebook_shows_the_summary_as_a_table():
    network = Sequential([Conv2D(4), ReLU(), Flatten(), Dense(3)], input_shape=(6, 6, 1))
    table = ElementTree.fromstring(network._repr_html_())
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    lines = [line for line in network.summary().splitlines() if not line.startswith("---")]
    assert [[cell for cell in row if cell] for row in rows] == [
        re.split(r"\s{2,}", line.strip()) for line in lines
    ]


def test_the_summary_has_a_line_for_each_layer_and_the_totals():
    rows = [re.split("  +", line) for line in lenet().summary().splitlines()]
    assert rows[0] == ["layer", "output shape", "parameters", "MFLOP"]
    by_name = {row[0]: [cell for cell in row[1:] if cell] for row in rows}
    assert by_name["input"] == ["28 x 28 x 1"]
    assert by_name["conv2d_1"] == ["28 x 28 x 16", "416", "0.627"]
    assert by_name["relu_1"] == ["28 x 28 x 16"]
    assert by_name["max_pool2d_1"] == ["14 x 14 x 16"]
    assert by_name["conv2d_2"] == ["14 x 14 x 16", "6,416", "2.509"]
    assert by_name["flatten_1"] == ["784"]
    assert by_name["dense_1"] == ["10", "7,850", "0.016"]
    assert by_name["total"] == ["14,682", "3.152"]


def test_what_is_not_trained_is_not_counted():
    network = small()
    assert network.parameter_count == (18 * 4 + 4) + (4 + 4) + (3 * 4 * 4 * 3 + 3)
    assert {"batch_norm_1.running_mean", "batch_norm_1.running_variance"} <= set(
        network.named_arrays()
    )


# Mistakes.


@pytest.mark.parametrize(
    ("layers", "shape", "told"),
    [
        ([Conv2D(4, 9)], (8, 8, 1), r"layer 1 \(conv2d_1\).*\(8, 8, 1\).*spans 9.*only 8"),
        ([MaxPool2D(2)] * 4, (8, 8, 1), r"layer 4 \(max_pool2d_4\), input \(1, 1, 1\)"),
        ([Conv2D(4), Conv2D(4)], (4, 4, 1), r"layer 2 \(conv2d_2\)"),
        ([Dense(4)], (8, 8, 1), "put flatten in front"),
        ([Softmax()], (8, 8, 1), "put flatten in front"),
        ([Flatten(), Conv2D(4)], (8, 8, 1), "in front of flatten"),
        ([Flatten(), GlobalAvgPool2D()], (8, 8, 1), "in front of flatten"),
        ([Conv2D(0)], (8, 8, 1), "filters is 0"),
        ([Conv2D(3, groups=2)], (8, 8, 2), "groups is 2"),
        ([Conv2D(4, padding="sme")], (8, 8, 1), "'sme'.*'same'"),
        ([ConvTranspose2D(4, 3, padding="same")], (8, 8, 1), "padding is 'same'"),
        ([ConvTranspose2D(4, 3, output_padding=1)], (8, 8, 1), "output_padding is 1"),
        ([Dropout(1.0)], (8,), "probability is 1.0"),
        ([BatchNorm(epsilon=0.0)], (8,), "epsilon is 0.0"),
        ([Flatten(), Dense(-1)], (8, 8, 1), r"layer 2 \(dense_1\).*units is -1"),
        ([], (8, 8, 1), "no layers"),
        ([Flatten()], (), "input_shape"),
        ([Flatten()], (8, 0, 1), "input_shape"),
        ([Dense(10**13)], (10,), "parameters, more than fit in memory"),
        ([Dense(10**30)], (10,), "parameters, more than fit in memory"),
    ],
)
def test_an_impossible_network_is_refused_in_one_line(layers, shape, told):
    with pytest.raises(NetworkError, match=told) as caught:
        Sequential(layers, input_shape=shape)
    assert "\n" not in str(caught.value)


def test_other_dtypes_are_refused():
    with pytest.raises(NetworkError, match=r"float16.*'float32' or 'float64'"):
        Sequential([Dense(2)], input_shape=(3,), dtype="float16")


# The flat buffers.


def test_all_weights_come_first_in_the_flat_buffer():
    network = small()
    kinds = {place.offset: place.parameter.kind for place in network.places.values()
             if place.buffer == "parameters"}  # fmt: skip
    in_order = [kinds[offset] for offset in sorted(kinds)]
    assert in_order[:2] == ["weight", "weight"]
    assert "weight" not in in_order[2:]
    for name, place in network.places.items():
        if place.buffer == "parameters":
            assert (place.end <= network.weights_end) == name.endswith(".weight")


def test_parameters_start_on_cache_lines_and_do_not_overlap():
    network = small()
    for buffer in ("parameters", "state"):
        places = sorted(
            (p for p in network.places.values() if p.buffer == buffer), key=lambda p: p.offset
        )
        assert all(place.offset % 16 == 0 for place in places)
        assert all(a.end <= b.offset for a, b in itertools.pairwise(places))


def test_arrays_by_name_are_views_of_the_flat_buffers():
    network = small()
    network["dense_1.bias"][...] = 7
    assert (network.parameters == 7).sum() == 3
    for array in network.named_arrays().values():
        assert np.shares_memory(array, network.parameters) or np.shares_memory(array, network.state)


def test_gradients_lie_as_the_parameters_do():
    network = small()
    numbers = np.arange(network.parameters.size, dtype=np.float32)
    network.parameters[:] = numbers
    views = network.gradient_views(numbers)
    assert "batch_norm_1.running_mean" not in views
    for name, view in views.items():
        np.testing.assert_array_equal(view, network[name])


def test_the_penalty_is_over_the_weights_alone():
    network = Sequential([Dense(2)], input_shape=(3,))
    network["dense_1.weight"][...] = [[1, 2], [3, 4], [5, 6]]
    network["dense_1.bias"][...] = 100
    assert network.penalty(0.5) == 0.5 * (1 + 4 + 9 + 16 + 25 + 36)
    assert network.penalty(0) == 0


# First weights.


@pytest.mark.parametrize(
    ("initializer", "std"),
    [
        (Normal(0.1), 0.1),
        (Normal(0.02), 0.02),
        (He(), math.sqrt(2 / 200)),
        (He("uniform"), math.sqrt(2 / 200)),
        (Glorot(), math.sqrt(2 / (200 + 300))),
        (Glorot("normal"), math.sqrt(2 / (200 + 300))),
        (LeCun(), math.sqrt(1 / 200)),
        (LeCun("uniform"), math.sqrt(1 / 200)),
    ],
    ids=repr,
)
def test_weights_have_mean_zero_and_the_deviation_of_the_rule(initializer, std):
    network = Sequential([Dense(300)], input_shape=(200,), initializer=initializer, dtype="float64")
    weights = network["dense_1.weight"]
    # 60000 draws: a mean of 5 standard errors, a std off by 2 %, do not happen.
    assert abs(weights.mean()) < 5 * std / math.sqrt(weights.size)
    assert weights.std() == pytest.approx(std, rel=0.02)
    assert (network["dense_1.bias"] == 0).all()


@pytest.mark.parametrize("rule", [He, Glorot, LeCun])
def test_uniform_weights_are_bounded_and_normal_ones_are_not(rule):
    def largest(distribution):
        layers = [Dense(300)]
        network = Sequential(layers, input_shape=(200,), initializer=rule(distribution))
        weights = network["dense_1.weight"]
        return np.abs(weights).max() / weights.std()

    assert largest("uniform") == pytest.approx(math.sqrt(3), rel=0.02)
    assert largest("normal") > 3.5


def test_fans_of_a_convolution_count_its_taps():
    network = Sequential([Conv2D(64, 5, groups=2)], input_shape=(9, 9, 32), dtype="float64")
    place = network.places["conv2d_1.weight"].parameter
    assert place.fan_in == 5 * 5 * 16  # what one output sums over
    assert place.fan_out == 5 * 5 * 32  # the outputs that one input feeds
    assert network["conv2d_1.weight"].std() == pytest.approx(math.sqrt(2 / 400), rel=0.03)


def test_fans_of_a_transposed_convolution_are_those_of_its_own_direction():
    network = Sequential([ConvTranspose2D(12, 3)], input_shape=(4, 4, 8))
    place = network.places["conv_transpose2d_1.weight"].parameter
    assert place.fan_in == 3 * 3 * 8
    assert place.fan_out == 3 * 3 * 12


def test_normalisation_starts_as_the_identity():
    network = small()
    for name, value in (("gamma", 1), ("beta", 0), ("running_mean", 0), ("running_variance", 1)):
        assert (network[f"batch_norm_1.{name}"] == value).all()


def test_the_seed_decides_the_weights():
    assert np.array_equal(small(3).parameters, small(3).parameters)
    assert not np.array_equal(small(3).parameters, small(4).parameters)


@pytest.mark.parametrize("make", [lambda: Normal(-1.0), lambda: Normal(math.nan), lambda: He("x")])
def test_impossible_initialisers_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


# The file of the weights.


def test_weights_come_back_from_the_file(tmp_path):
    network = small(1)
    network.state[:] = np.arange(network.state.size)
    network.save_weights(tmp_path / "w.safetensors")
    other = small(2)
    other.load_weights(tmp_path / "w.safetensors")
    for name, array in network.named_arrays().items():
        np.testing.assert_array_equal(other[name], array)


def test_equal_weights_give_equal_bytes_and_others_do_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        small(seed).save_weights(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_file_holds_the_named_arrays_and_nothing_else(tmp_path):
    network = small(1)
    network.save_weights(tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    # The format: the header's length, a JSON header, the numbers.
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert set(header) == set(network.named_arrays())
    entry = header["dense_1.weight"]
    assert entry["dtype"] == "F32"
    assert entry["shape"] == [48, 3]
    begin, end = entry["data_offsets"]
    stored = np.frombuffer(content[8 + length :][begin:end], "<f4").reshape(48, 3)
    np.testing.assert_array_equal(stored, network["dense_1.weight"])


def test_saving_leaves_no_other_file(tmp_path):
    small().save_weights(tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def saved(path):
    small(1).save_weights(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: b"this is some text and no weights at all",
    ],
    ids=["empty", "header", "half", "last byte", "more", "length", "text"],
)
def test_a_damaged_file_is_named_and_changes_nothing(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    path.write_bytes(damage(saved(path)))
    network = small(2)
    before = network.parameters.copy()
    with pytest.raises(NetworkError, match=r"w\.safetensors: not a readable safetensors file"):
        network.load_weights(path)
    np.testing.assert_array_equal(network.parameters, before)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([Flatten(), Dense(3)], "the file has 'batch_norm_1.beta'"),
        ([Conv2D(4), BatchNorm(), ReLU(), Flatten(), Dense(3), Dense(3)], "lacks 'dense_2.bias'"),
        ([Conv2D(5), BatchNorm(), ReLU(), Flatten(), Dense(3)], "has shape .*the network has"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path, layers, told):
    path = tmp_path / "w.safetensors"
    saved(path)
    network = Sequential(layers, input_shape=(5, 6, 2), seed=5)
    before = network.parameters.copy()
    with pytest.raises(NetworkError, match=told):
        network.load_weights(path)
    np.testing.assert_array_equal(network.parameters, before)


def test_a_network_without_parameters_can_be_built_saved_and_loaded(tmp_path):
    network = Sequential([GlobalAvgPool2D(), LogSoftmax()], input_shape=(4, 4, 3))
    assert network.parameter_count == 0
    network.save_weights(tmp_path / "w")
    network.load_weights(tmp_path / "w")
    assert "total" in network.summary()


@pytest.mark.parametrize(("dtype", "bytes_each"), [("BF16", 2), ("F8_E4M3", 1), ("I64", 8)])
def test_numbers_of_another_kind_are_refused(tmp_path, dtype, bytes_each):
    size = 6 * bytes_each
    entry = {"dtype": dtype, "shape": [3, 2], "data_offsets": [0, size]}
    header = json.dumps({"dense_1.weight": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    network = Sequential([Dense(2, bias=False)], input_shape=(3,))
    before = network.parameters.copy()
    with pytest.raises(NetworkError, match=r"w\.safetensors"):
        network.load_weights(path)
    np.testing.assert_array_equal(network.parameters, before)


def test_float64_weights_fit_a_float32_network(tmp_path):
    small(1, "float64").save_weights(tmp_path / "w")
    network = small(2)
    network.load_weights(tmp_path / "w")
    np.testing.assert_array_equal(network.parameters, small(1).parameters)
