"""Every backward function against five-point differences of its forward function, in float64.

``f'(x) = (f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12h``, with an error of h^4 / 30 times
the fifth derivative (Abramowitz & Stegun, 25.3.6). ``h`` is a power of two and linear functions get
small integers, so that their differences are exact.
"""

import numpy as np
import pytest

import fastconv

EPSILON = np.finfo(np.float64).eps
LARGEST_ERROR = 1e-7
SMOOTH, LINEAR = 2.0**-10, 0.5
"""Steps: for a smooth function the error of the formula is below 1e-12 times its derivatives."""


def differences(function, x, h):
    """The gradient of a number with respect to an array."""
    gradient = np.empty_like(x)
    x = x.copy()
    for i in np.ndindex(x.shape):
        value, around = x[i], []
        for steps in (-2, -1, 1, 2):
            x[i] = value + steps * h
            around.append(function(x))
        x[i] = value
        # In pairs, so that four equal values give exactly 0.
        gradient[i] = ((around[0] - around[3]) + 8 * (around[2] - around[1])) / (12 * h)
    return gradient


def error(analytic, numeric):
    """The largest relative error, |a - n| / max(epsilon, |a| + |n|)."""
    size = np.maximum(EPSILON, np.abs(analytic) + np.abs(numeric))
    return (np.abs(analytic - numeric) / size).max()


def assert_gradients(forward, backward, arrays, h):
    """Check d sum(dy * forward(arrays)) for each of the arrays.

    dy is drawn here. ``backward`` takes dy and the arrays and returns one gradient for each.
    """
    y = forward(*arrays)
    # Positive where gradients are sums of shares of dy, which would else cancel to almost 0.
    dy = np.abs(integers(*y.shape, seed=9)) if h == LINEAR else normal(*y.shape, seed=9)
    gradients = backward(dy, *arrays)
    assert len(gradients) == len(arrays)
    for k, gradient in enumerate(gradients):

        def loss(value, k=k):
            return np.sum(dy * forward(*arrays[:k], value, *arrays[k + 1 :]))

        numeric = differences(loss, arrays[k], h)
        assert gradient.shape == arrays[k].shape
        assert np.abs(gradient).max() > 0
        assert error(gradient, numeric) < LARGEST_ERROR, f"argument {k}"


def integers(*shape, seed=1):
    """Small integers without 0."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 5, shape) * rng.choice([-1.0, 1.0], shape)


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def away_from_zero(*shape):
    x = normal(*shape)
    return x + 0.1 * np.sign(x)


def test_the_differences_are_those_of_a_known_function():
    x = normal(5)
    assert error(differences(lambda x: np.sin(x).sum(), x, SMOOTH), np.cos(x)) < 1e-11
    assert error(differences(lambda x: (3 * x).sum(), integers(5), LINEAR), np.full(5, 3.0)) == 0


def test_a_wrong_gradient_is_found():
    right = normal(4, 4)
    wrong = right.copy()
    wrong[2, 1] *= 1 + 1e-6
    assert error(wrong, right) > LARGEST_ERROR
    assert error(np.zeros(3), np.array([0, 1e-9, 0])) > LARGEST_ERROR


LAYOUTS = pytest.mark.parametrize("layout", ["NCHW", "NHWC"])


def in_layout(layout, *nchw):
    """Images or OIHW weights as the layout wants them."""
    if layout == "NCHW":
        return list(nchw)
    x, w, *rest = nchw
    return [np.ascontiguousarray(x.transpose(0, 2, 3, 1)),
            np.ascontiguousarray(w.transpose(2, 3, 1, 0)), *rest]  # fmt: skip


CONVOLUTIONS = {
    "plain": ((2, 3, 4, 5), (2, 3, 3, 2), {}),
    "stride": ((1, 2, 6, 5), (3, 2, 3, 3), {"stride": (2, 1)}),
    "padding": ((2, 2, 4, 3), (2, 2, 3, 3), {"padding": ((2, 1), (0, 3))}),
    "dilation": ((1, 2, 6, 7), (2, 2, 2, 3), {"dilation": (3, 2)}),
    "groups": ((1, 4, 4, 4), (6, 2, 2, 2), {"groups": 2}),
    "depthwise": ((2, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    "all": (
        (2, 4, 7, 6),
        (4, 2, 2, 3),
        {"stride": (2, 1), "padding": "same", "dilation": (1, 2), "groups": 2},
    ),
}


@LAYOUTS
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d(case, layout):
    x_shape, w_shape, options = CONVOLUTIONS[case]
    arrays = in_layout(layout, integers(*x_shape), integers(*w_shape), integers(w_shape[0]))
    assert_gradients(
        lambda x, w, b: fastconv.conv2d(x, w, b, **options, layout=layout),
        lambda dy, x, w, b: fastconv.conv2d_backward(dy, x, w, **options, layout=layout),
        arrays,
        LINEAR,
    )


TRANSPOSED = {
    "plain": ((2, 3, 3, 2), (3, 2, 2, 3), 2, {}),
    "stride": ((1, 2, 3, 3), (2, 3, 3, 2), 3, {"stride": (2, 3)}),
    "padding": ((1, 2, 3, 4), (2, 2, 3, 3), 2, {"padding": ((1, 2), (0, 1))}),
    "output padding": (
        (1, 2, 3, 3),
        (2, 2, 3, 3),
        2,
        {"stride": 3, "padding": 1, "output_padding": (2, 1)},
    ),
    "dilation": ((1, 2, 3, 3), (2, 1, 2, 3), 1, {"dilation": (2, 1), "stride": 2}),
    "groups": ((2, 4, 3, 3), (4, 3, 2, 2), 6, {"groups": 2, "stride": 2}),
}


@LAYOUTS
@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose2d(case, layout):
    x_shape, w_shape, outputs, options = TRANSPOSED[case]
    arrays = in_layout(layout, integers(*x_shape), integers(*w_shape), integers(outputs))
    assert_gradients(
        lambda x, w, b: fastconv.conv_transpose2d(x, w, b, **options, layout=layout),
        lambda dy, x, w, b: fastconv.conv_transpose2d_backward(dy, x, w, **options, layout=layout),
        arrays,
        LINEAR,
    )


POOLS = [
    {"kernel": 2},
    {"kernel": 3, "stride": 2, "padding": 1},
    {"kernel": (3, 2), "stride": (1, 2), "padding": ((1, 2), (0, 1))},
    {"kernel": 2, "stride": 2, "ceil_mode": True},
    {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True},
]


@LAYOUTS
@pytest.mark.parametrize("options", POOLS, ids=str)
def test_max_pool2d(options, layout):
    shape = (2, 3, 5, 5) if layout == "NCHW" else (2, 5, 5, 3)
    # A permutation of numbers that are 4 apart: no ties, nor any two steps of 0.5 away.
    x = 4.0 * np.random.default_rng(3).permutation(150).reshape(shape)

    def backward(dy, x):
        _, where = fastconv.max_pool2d(x, **options, layout=layout)
        return [fastconv.max_pool2d_backward(dy, where, x.shape, **options, layout=layout)]

    assert_gradients(
        lambda x: fastconv.max_pool2d(x, **options, layout=layout)[0], backward, [x], LINEAR
    )


@LAYOUTS
@pytest.mark.parametrize(
    "options", [o | {"count_include_pad": i} for o in POOLS for i in (True, False)], ids=str
)
def test_avg_pool2d(options, layout):
    shape = (2, 3, 5, 5) if layout == "NCHW" else (2, 5, 5, 3)
    assert_gradients(
        lambda x: fastconv.avg_pool2d(x, **options, layout=layout),
        lambda dy, x: [fastconv.avg_pool2d_backward(dy, x.shape, **options, layout=layout)],
        [integers(*shape)],
        LINEAR,
    )


@LAYOUTS
def test_global_avg_pool2d(layout):
    assert_gradients(
        lambda x: fastconv.global_avg_pool2d(x, layout=layout),
        lambda dy, x: [fastconv.global_avg_pool2d_backward(dy, x.shape, layout=layout)],
        [integers(2, 3, 4, 5)],
        LINEAR,
    )


def test_dense():
    assert_gradients(
        fastconv.dense,
        lambda dy, x, w, b: fastconv.dense_backward(dy, x, w),
        [integers(3, 4), integers(4, 5), integers(5)],
        LINEAR,
    )


@pytest.mark.parametrize("shape", [(7, 3), (2, 3, 3, 2)], ids=str)
@LAYOUTS
def test_batch_norm(shape, layout):
    x = normal(*shape) * 2 + 1
    if layout == "NHWC" and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))

    def backward(dy, x, gamma, beta):
        _, mean, inverse_std = fastconv.batch_norm(x, gamma, beta, layout=layout)
        return fastconv.batch_norm_backward(dy, x, gamma, mean, inverse_std, layout=layout)

    assert_gradients(
        lambda x, gamma, beta: fastconv.batch_norm(x, gamma, beta, layout=layout)[0],
        backward,
        [x, away_from_zero(3), away_from_zero(3)],
        SMOOTH,
    )


ACTIVATIONS = [
    ("relu", ()),
    ("leaky_relu", (0.01,)),
    ("leaky_relu", (1.5,)),
    ("elu", (1.0,)),
    ("elu", (0.3,)),
    ("selu", ()),
    ("sigmoid", ()),
    ("tanh", ()),
    ("softplus", ()),
    ("gelu", ()),
    ("gelu", ("tanh",)),
    ("silu", ()),
    ("hard_sigmoid", ()),
    ("hard_swish", ()),
    ("relu6", ()),
    ("softsign", ()),
    ("mish", ()),
]
OF_THE_INPUT = ("gelu", "silu", "hard_swish", "mish")
"""Those whose gradient is made from x."""


@pytest.mark.parametrize(("name", "alpha"), ACTIVATIONS)
def test_activations(name, alpha):
    forward, backward = getattr(fastconv, name), getattr(fastconv, f"{name}_backward")
    assert_gradients(
        lambda x: forward(x, *alpha),
        lambda dy, x: [backward(dy, x if name in OF_THE_INPUT else forward(x, *alpha), *alpha)],
        [away_from_zero(6, 5)],
        SMOOTH,
    )


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, axis):
    forward, backward = getattr(fastconv, name), getattr(fastconv, f"{name}_backward")
    assert_gradients(
        lambda x: forward(x, axis=axis),
        lambda dy, x: [backward(dy, forward(x, axis=axis), axis=axis)],
        [normal(4, 3, 5)],
        SMOOTH,
    )


def mean_of(function):
    """The mean loss as an array of one element: what the backward functions of losses refer to."""
    return lambda *arrays: np.mean(function(*arrays), keepdims=True)


LABELS = np.array([2, 0, 4, 2])


def test_softmax_cross_entropy():
    def backward(dy, scores):
        _, probabilities = fastconv.softmax_cross_entropy(scores, LABELS)
        return [dy * fastconv.softmax_cross_entropy_backward(probabilities, LABELS)]

    forward = mean_of(lambda scores: fastconv.softmax_cross_entropy(scores, LABELS)[0])
    assert_gradients(forward, backward, [normal(4, 5)], SMOOTH)


def test_nll():
    assert_gradients(
        mean_of(lambda x: fastconv.nll(x, LABELS)),
        lambda dy, x: [dy * fastconv.nll_backward(x, LABELS)],
        [integers(4, 5)],
        LINEAR,
    )


def test_mean_squared_error():
    target = normal(4, 5, seed=2)
    assert_gradients(
        mean_of(lambda y: fastconv.mean_squared_error(y, target)),
        lambda dy, y: [dy * fastconv.mean_squared_error_backward(y, target)],
        [normal(4, 5)],
        SMOOTH,
    )


def test_dropout():
    def backward(dy, x):
        _, mask = fastconv.dropout(x, 0.4, seed=3, step=2)
        assert 0 < mask.sum() < mask.size
        return [fastconv.dropout_backward(dy, mask, 0.4)]

    assert_gradients(
        lambda x: fastconv.dropout(x, 0.4, seed=3, step=2)[0], backward, [integers(6, 7)], LINEAR
    )
