"""Layers that are made of kernels of others: by PyTorch, by differences, in recipes and runs."""

import numpy as np
import pytest
from layer_results import assert_layer, network_of, results_of
from numpy.testing import assert_allclose

import fastconv
from fastconv.backends.selection import backend_state
from fastconv.layers import (
    LAYERS,
    AvgPool1D,
    Conv1D,
    Crop2D,
    Dense,
    Flatten,
    GlobalMaxPool2D,
    MaxPool1D,
    Permute,
    ReflectPad2D,
    ReLU,
    Reshape,
    SeparableConv2D,
    SpatialDropout,
    StochasticDepth,
    Upsample2D,
    ZeroPad2D,
)
from fastconv.network import NetworkError, Sequential
from fastconv.optimizers import Optimizer

torch = pytest.importorskip("torch")
functional = torch.nn.functional

BACKENDS = [name for name in ("numpy", "cython", "numba") if backend_state(name).works]
BACKEND = pytest.mark.parametrize("backend", BACKENDS)
RNG = np.random.default_rng(4)
IMAGES = RNG.standard_normal((3, 5, 4, 6))
ROWS = RNG.standard_normal((3, 1, 9, 4))


def separable(x, depthwise_weight, pointwise_weight, bias):
    first, second = (w.permute(3, 2, 0, 1) for w in (depthwise_weight, pointwise_weight))
    y = functional.conv2d(x, first, None, (2, 1), 1, groups=6)
    return functional.conv2d(y, second, bias)


def conv1d(x, weight, bias):
    y = functional.conv1d(x[:, :, 0], weight[0].permute(2, 1, 0), bias, 2, 2, 2, 2)
    return y[:, :, None]


def axes(*dims):
    """The axes of an NHWC image in another order, of NCHW and to NCHW."""
    return lambda x: x.permute(0, 2, 3, 1).permute(0, *dims).permute(0, 3, 1, 2)


LAYER_CASES: dict[str, tuple] = {
    "global max pool": (GlobalMaxPool2D(), lambda x: x.amax((2, 3)), IMAGES, ()),
    "separable": (
        SeparableConv2D(5, 3, (2, 1), 1, depth_multiplier=2),
        separable,
        IMAGES,
        ("depthwise_weight", "pointwise_weight", "bias"),
    ),
    "conv1d": (
        Conv1D(6, 3, 2, 2, dilation=2, groups=2), conv1d, ROWS, ("weight", "bias"),
    ),
    "max pool 1d": (
        MaxPool1D(3, 2, 1), lambda x: functional.max_pool1d(x[:, :, 0], 3, 2, 1)[:, :, None], ROWS,
        (),
    ),
    "avg pool 1d": (
        AvgPool1D(2), lambda x: functional.avg_pool1d(x[:, :, 0], 2)[:, :, None], ROWS, (),
    ),
    "zero pad": (
        ZeroPad2D(((1, 0), (2, 3))), lambda x: functional.pad(x, (2, 3, 1, 0)), IMAGES, (),
    ),
    "reflect pad": (
        ReflectPad2D(((1, 4), (3, 2))), lambda x: functional.pad(x, (3, 2, 1, 4), "reflect"),
        IMAGES, (),
    ),
    "crop": (Crop2D(((1, 2), (0, 1))), lambda x: x[:, :, 1:-2, :-1], IMAGES, ()),
    "nearest": (
        Upsample2D((2, 3)), lambda x: functional.interpolate(x, scale_factor=(2, 3)), IMAGES, (),
    ),
    "bilinear": (
        Upsample2D((3, 2), "bilinear"),
        lambda x: functional.interpolate(x, scale_factor=(3, 2), mode="bilinear"), IMAGES, (),
    ),
    "bilinear with corners": (
        Upsample2D(2, "bilinear", align_corners=True),
        lambda x: functional.interpolate(
            x, scale_factor=2, mode="bilinear", align_corners=True
        ),
        IMAGES, (),
    ),
    "reshape": (Reshape((4, -1, 3)), lambda x: x.permute(0, 2, 3, 1).reshape(3, -1), IMAGES, ()),
    "permute 0 2 1": (Permute((0, 2, 1)), axes(1, 3, 2), IMAGES, ()),
    "permute 1 0 2": (Permute((1, 0, 2)), axes(2, 1, 3), IMAGES, ()),
    "permute 1 2 0": (Permute((1, 2, 0)), axes(2, 3, 1), IMAGES, ()),
    "permute 2 0 1": (Permute((2, 0, 1)), axes(3, 1, 2), IMAGES, ()),
    "permute 2 1 0": (Permute((2, 1, 0)), axes(3, 2, 1), IMAGES, ()),
}  # fmt: skip


@BACKEND
@pytest.mark.parametrize("name", LAYER_CASES)
def test_output_and_gradients_are_those_of_pytorch(backend, name):
    layer, function, x, parameters = LAYER_CASES[name]
    assert_layer(backend, layer, function, x, parameters)


@pytest.mark.parametrize("name", LAYER_CASES)
def test_gradients_through_a_layer_are_the_derivatives(name):
    layer, _, x, _ = LAYER_CASES[name]
    # Something with parameters in front, whose gradient comes through the layer.
    front = Conv1D(4, 1) if x.shape[1] == 1 else SeparableConv2D(6, 1)
    network = Sequential([front, layer, Flatten(), Dense(3)], x.shape[1:])
    check = fastconv.check_gradients(network, (x, np.arange(len(x))), verbose=False)
    assert check.passed, str(check)


@BACKEND
def test_rows_of_two_axes_are_those_of_three(backend):
    layers = [Conv1D(6, 3, padding=1), MaxPool1D(2), AvgPool1D(2), Flatten(), Dense(3)]
    three = Sequential(layers, (1, 9, 4))
    two = Sequential([Reshape((9, 4)), *layers], (1, 9, 4))
    assert two.shapes[2] == (9, 6)
    two.parameters[...] = three.parameters
    x = ROWS.astype(np.float32)
    made = [fastconv.Predictor(network, backend=backend)(x) for network in (two, three)]
    assert_allclose(made[0], made[1], rtol=1e-6)
    check = fastconv.check_step(
        two, (x, np.arange(3)), Optimizer("sgd"), backend=backend, verbose=False
    )
    assert check.passed, str(check)


@BACKEND
def test_training_steps_are_those_of_the_reference(backend):
    layers = [
        SeparableConv2D(7, padding=1), Permute((1, 0, 2)), SeparableConv2D(8, padding=1),
        GlobalMaxPool2D(), Dense(3),
    ]  # fmt: skip
    check = fastconv.check_step(
        Sequential(layers, IMAGES.shape[1:]), (IMAGES, np.arange(3)), Optimizer("adam"),
        backend=backend, verbose=False,
    )  # fmt: skip
    assert check.passed, str(check)


@BACKEND
@pytest.mark.parametrize(
    ("layer", "axes_that_share"), [(SpatialDropout(0.4), (1, 2)), (StochasticDepth(0.4), (1, 2, 3))]
)
def test_what_belongs_together_is_kept_or_dropped_together(backend, layer, axes_that_share):
    x = np.abs(RNG.standard_normal((40, 3, 2, 6))) + 0.5
    network = network_of(layer, input_shape=(3, 2, 6))
    y, dx, _ = results_of(backend, network, x, np.zeros((40, 36)))
    factors = y.reshape(x.shape) / x
    first = factors.min(axes_that_share, keepdims=True)
    assert_allclose(factors, np.broadcast_to(first, x.shape), atol=1e-12)
    assert_allclose(np.unique(first.round(9)), [0, 1 / 0.6], atol=1e-8)
    # 40 samples with 6 channels, or 40 alone: within three standard deviations of the share.
    share, count = (first == 0).mean(), first.size
    assert abs(share - 0.4) < 3 * np.sqrt(0.4 * 0.6 / count)
    # The gradient of the mean square goes where the values went.
    assert_allclose(dx, 2 * y.reshape(x.shape) * factors / y.size, rtol=1e-12)
    again, _, _ = results_of(backend, network, x, np.zeros((40, 36)), seed=1)
    assert (again != y).any()


@BACKEND
def test_nothing_is_dropped_in_inference(backend):
    network = Sequential([SpatialDropout(0.9), StochasticDepth(0.9), Flatten()], (3, 2, 6))
    x = RNG.standard_normal((4, 3, 2, 6)).astype(np.float32)
    y = fastconv.Predictor(network, backend=backend)(x)
    assert_allclose(y, x.reshape(4, -1))


@BACKEND
def test_steps_of_branches_and_larger_images_are_those_of_the_reference(backend):
    layers = [
        SeparableConv2D(5, padding=1), SpatialDropout(0.3), Upsample2D(2, "bilinear"), ReLU(),
        ReflectPad2D(1), SeparableConv2D(4), StochasticDepth(0.3), Crop2D(1), ZeroPad2D(1),
        Flatten(), Dense(3),
    ]  # fmt: skip
    x = np.concatenate([IMAGES] * 3)
    check = fastconv.check_step(
        Sequential(layers, IMAGES.shape[1:]), (x, np.arange(9) % 3), Optimizer("momentum"),
        backend=backend, verbose=False,
    )  # fmt: skip
    assert check.passed, str(check)


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([ReflectPad2D(4)], "reflect_pad2d.*padding is 4; expected less than the 4 pixels"),
        ([Crop2D(2)], "cropping is 2; expected less than the 5 x 4 pixels"),
        ([ZeroPad2D(-1)], "padding is -1; expected an integer of 0 or more"),
        ([Upsample2D(2, "cubic")], "mode is 'cubic'; expected nearest or bilinear"),
        ([Upsample2D(align_corners=True)], "align_corners is True; expected False"),
        ([Upsample2D(0)], "scale_factor is 0"),
        ([SpatialDropout(1.0)], "probability is 1.0; expected 0 or more, below 1"),
        ([Reshape((4, 4))], r"reshape.*shape is \(4, 4\); expected one to three sizes of 120"),
        ([Reshape((-1, -1))], "expected one to three sizes"),
        ([Permute((0, 1, 2))], "expected another order of"),
        ([Permute((0, 1))], "expected another order of"),
        ([Conv1D(3)], r"conv1d takes \(length, channels\)"),
        ([Flatten(), GlobalMaxPool2D()], "global_max_pool2d takes images"),
        ([SeparableConv2D(3, depth_multiplier=0)], "depth_multiplier is 0"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, what):
    with pytest.raises(NetworkError, match=what):
        Sequential(layers, IMAGES.shape[1:])


def test_the_table_of_layers_knows_all_by_their_names():
    assert len(LAYERS) == len(list(LAYERS))
    for kind in LAYERS:
        assert LAYERS[kind].kind == kind
    assert "conv1d" in LAYERS
    assert "conv9d" not in LAYERS


def test_a_summary_counts_what_separable_convolutions_multiply():
    network = Sequential([SeparableConv2D(8, padding=1)], (5, 4, 6))
    assert network.flops == 2 * 5 * 4 * (9 * 6 + 6 * 8)
    assert network.parameter_count == 9 * 6 + 6 * 8 + 8


# Public functions


def turned(array, layout):
    return array.transpose(0, 2, 1) if layout == "NLC" else array


@BACKEND
@pytest.mark.parametrize("layout", ["NCL", "NLC"])
def test_conv1d_of_arrays_is_that_of_pytorch(backend, layout):
    x, w, b = (RNG.standard_normal(shape) for shape in ((2, 4, 9), (6, 2, 3), (6,)))
    options = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}
    given = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    wanted = functional.conv1d(*given, **options)
    dy = RNG.standard_normal(wanted.shape)
    wanted.backward(torch.tensor(dy))
    own = {**options, "layout": layout, "backend": backend}
    kernel = w.transpose(2, 1, 0) if layout == "NLC" else w
    y = fastconv.conv1d(turned(x, layout), kernel, b, **own)
    dx, dw, db = fastconv.conv1d_backward(turned(dy, layout), turned(x, layout), kernel, **own)
    assert_allclose(turned(y, layout), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert_allclose(turned(dx, layout), given[0].grad.numpy(), rtol=1e-10, atol=1e-12)
    dw = dw.transpose(2, 1, 0) if layout == "NLC" else dw
    assert_allclose(dw, given[1].grad.numpy(), rtol=1e-10, atol=1e-12)
    assert_allclose(db, given[2].grad.numpy(), rtol=1e-10, atol=1e-12)


@BACKEND
@pytest.mark.parametrize("layout", ["NCL", "NLC"])
def test_pooling_of_rows_is_that_of_pytorch(backend, layout):
    x = RNG.standard_normal((2, 3, 8))
    given = torch.tensor(x, requires_grad=True)
    own = {"stride": 2, "padding": 1, "layout": layout, "backend": backend}
    shape = turned(x, layout).shape
    largest, where = fastconv.max_pool1d(turned(x, layout), 3, **own)
    mean = fastconv.avg_pool1d(turned(x, layout), 3, **own)
    for found, function in ((largest, functional.max_pool1d), (mean, functional.avg_pool1d)):
        wanted = function(given, 3, 2, 1)
        dy = RNG.standard_normal(wanted.shape)
        given.grad = None
        wanted.backward(torch.tensor(dy))
        assert_allclose(turned(found, layout), wanted.detach().numpy(), rtol=1e-12)
        if found is largest:
            dx = fastconv.max_pool1d_backward(turned(dy, layout), where, shape, 3, **own)
        else:
            dx = fastconv.avg_pool1d_backward(turned(dy, layout), shape, 3, **own)
        assert_allclose(turned(dx, layout), given.grad.numpy(), rtol=1e-12)


@BACKEND
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_largest_pixels_are_those_of_numpy(backend, layout):
    x = RNG.standard_normal((2, 3, 4, 5))
    plane = (2, 3) if layout == "NCHW" else (1, 2)
    y, where = fastconv.global_max_pool2d(x, layout=layout, backend=backend)
    assert_allclose(y, x.max(plane))
    dy = np.arange(1.0, y.size + 1).reshape(y.shape)
    dx = fastconv.global_max_pool2d_backward(dy, where, x.shape, layout=layout, backend=backend)
    assert_allclose(dx.sum(plane), dy)
    assert (dx[x != x.max(plane, keepdims=True)] == 0).all()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: fastconv.conv1d(IMAGES, IMAGES), "conv1d: x has 4 dimensions"),
        (lambda: fastconv.conv1d(ROWS[0], ROWS[0], layout="NHWC"), "layout is 'NHWC'; expected"),
        (
            lambda: fastconv.avg_pool1d_backward(ROWS[:, 0], (1, 2), 2),
            r"x_shape is \(1, 2\); expected three sizes",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, what):
    with pytest.raises(ValueError, match=what):
        call()


RESAMPLINGS = {
    "nearest": (
        lambda f, x, **o: getattr(fastconv, f"upsample2d{f}")(*x, (2, 3), **o),
        lambda x: functional.interpolate(x, scale_factor=(2, 3)),
    ),
    "bilinear": (
        lambda f, x, **o: getattr(fastconv, f"upsample2d{f}")(*x, 2, mode="bilinear", **o),
        lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    ),
    "zeros and a crop": (
        lambda f, x, **o: getattr(fastconv, f"pad2d{f}")(*x, ((1, -1), (-2, 3)), **o),
        lambda x: functional.pad(x, (-2, 3, 1, -1)),
    ),
    "reflect": (
        lambda f, x, **o: getattr(fastconv, f"pad2d{f}")(*x, (2, 1), mode="reflect", **o),
        lambda x: functional.pad(x, (1, 1, 2, 2), "reflect"),
    ),
}


@BACKEND
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", RESAMPLINGS)
def test_images_of_another_size_are_those_of_pytorch(backend, layout, name):
    own, by_torch = RESAMPLINGS[name]
    x = RNG.standard_normal((2, 3, 4, 5))
    there = (lambda a: a.transpose(0, 2, 3, 1)) if layout == "NHWC" else (lambda a: a)
    given = torch.tensor(x, requires_grad=True)
    wanted = by_torch(given)
    dy = RNG.standard_normal(wanted.shape)
    wanted.backward(torch.tensor(dy))
    options = {"layout": layout, "backend": backend}
    y = own("", (there(x),), **options)
    dx = own("_backward", (there(dy), there(x).shape), **options)
    assert_allclose(y, there(wanted.detach().numpy()), rtol=1e-12, atol=1e-12)
    assert_allclose(dx, there(given.grad.numpy()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: fastconv.upsample2d(IMAGES, 0), "scale_factor is 0"),
        (lambda: fastconv.upsample2d(IMAGES, mode="cubic"), "mode is 'cubic'; expected"),
        (lambda: fastconv.pad2d(IMAGES, 1.5), "padding is 1.5; expected integers"),
        (lambda: fastconv.pad2d(IMAGES, -1, mode="reflect"), "expected integers of 0 or more"),
        (
            lambda: fastconv.pad2d(IMAGES, 9, mode="reflect"),
            "padding is 9; top is 9",
        ),
        (lambda: fastconv.pad2d(IMAGES, -3), "padding is -3"),
        (lambda: fastconv.pad2d_backward(IMAGES, IMAGES.shape, 1), "dy has shape"),
    ],
)
def test_sizes_that_cannot_be_are_named(call, what):
    with pytest.raises(ValueError, match=what):
        call()
