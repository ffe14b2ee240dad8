"""The oracle's normalisation, activations, dropout and losses.

Expected values are worked out by hand, from the literature, or by another formula.
"""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastconv.backends.reference import activation, dropout, loss, norm
from fastconv.plans.operation import (
    ACTIVATION_KINDS,
    ActivationSpec,
    DropoutSpec,
    LossSpec,
    NormSpec,
    RandomSpec,
    SoftmaxSpec,
)

NAN, INF = math.nan, math.inf
LN2, LN3 = math.log(2), math.log(3)


def apply(kernel, spec, *inputs, shape):
    """The output of a kernel that writes one float64 array."""
    out = np.full(shape, -77.0)
    kernel(spec, *(np.asarray(values) for values in inputs), out, None)
    return out


def five_point(function, x, h=1e-3):
    """Derivative of a scalar function of an array, by each element; the error is O(h^4)."""
    gradient = np.empty(x.size)
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        a, b = (function(x + k * step.reshape(x.shape)) for k in (1, 2))
        c, d = (function(x - k * step.reshape(x.shape)) for k in (1, 2))
        gradient[i] = (8 * (a - c) - (b - d)) / (12 * h)
    return gradient.reshape(x.shape)


# Batch normalisation


def train_norm(spec, x, gamma, beta, running_mean, running_variance):
    y, mean, inverse = np.empty_like(x), np.empty(spec.channels), np.empty(spec.channels)
    norm.batch_norm_forward_training(
        spec, x, gamma, beta, running_mean, running_variance, y, mean, inverse, None
    )
    return y, mean, inverse


def test_batch_norm_by_hand():
    # Channel 0 has mean 3 and variance 14/4; with epsilon 1/2 its std is 2.
    x = np.array([[1.0, 5], [2, 5], [3, 5], [6, 5]])
    running_mean, running_variance = np.array([10.0, 5]), np.array([1.0, 0])
    spec = NormSpec(4, 2, epsilon=0.5, momentum=0.1)
    y, mean, inverse = train_norm(
        spec, x, np.array([2.0, 3]), np.array([1.0, 7]), running_mean, running_variance
    )
    assert_array_equal(y, [[-1, 7], [0, 7], [1, 7], [4, 7]])
    assert mean.tolist() == [3, 5]
    assert_allclose(inverse, [1 / 2, math.sqrt(2)], rtol=1e-15)
    # The running variance takes the unbiased one, 14/3.
    assert_allclose(running_mean, [0.9 * 10 + 0.1 * 3, 5], rtol=1e-15)
    assert_allclose(running_variance, [0.9 * 1 + 0.1 * 14 / 3, 0], rtol=1e-15)


def test_batch_norm_of_one_row_takes_the_biased_variance_and_of_none_changes_nothing():
    running = np.array([2.0]), np.array([4.0])
    one = np.ones(1)
    y, mean, _ = train_norm(NormSpec(1, 1, momentum=0.5), np.array([[8.0]]), one, one, *running)
    assert (y.item(), mean.item(), running[0].item(), running[1].item()) == (1, 8, 5, 2)
    train_norm(NormSpec(0, 1, momentum=0.5), np.empty((0, 1)), one, one, *running)
    assert (running[0].item(), running[1].item()) == (5, 2)


def test_batch_norm_at_inference_uses_the_running_statistics():
    spec = NormSpec(2, 1, epsilon=0.5)
    y = apply(
        norm.batch_norm_forward_inference, spec, [[3.0], [-1.0]], [4.0], [1.0], [1.0], [3.5],
        shape=(2, 1),
    )  # fmt: skip
    assert y.ravel().tolist() == [4 * 2 / 2 + 1, 4 * -2 / 2 + 1]


def test_gradients_of_batch_norm_are_its_derivatives():
    generator = np.random.default_rng(0)
    x, dy = generator.normal(size=(2, 3, 2)), generator.normal(size=(2, 3, 2))
    gamma, beta = np.array([1.5, -0.5]), np.array([0.25, 2])
    spec = NormSpec(6, 2)

    def weighted_sum(x, gamma, beta):
        y, *_ = train_norm(spec, x, gamma, beta, np.zeros(2), np.ones(2))
        return float(np.sum(y * dy))

    _, mean, inverse = train_norm(spec, x, gamma, beta, np.zeros(2), np.ones(2))
    dx, dgamma, dbeta = np.empty_like(x), np.empty(2), np.empty(2)
    norm.batch_norm_backward(spec, dy, x, gamma, mean, inverse, dx, dgamma, dbeta, None)
    assert_allclose(dx, five_point(lambda x: weighted_sum(x, gamma, beta), x), atol=1e-8)
    assert_allclose(dgamma, five_point(lambda g: weighted_sum(x, g, beta), gamma), atol=1e-8)
    assert_allclose(dbeta, five_point(lambda b: weighted_sum(x, gamma, b), beta), atol=1e-8)


def test_gradients_of_batch_norm_over_no_rows_are_zero():
    empty, one, dgamma, dbeta = np.empty((0, 1)), np.ones(1), np.full(1, NAN), np.full(1, NAN)
    norm.batch_norm_backward(
        NormSpec(0, 1), empty, empty, one, one, one, empty, dgamma, dbeta, None
    )
    assert (dgamma.item(), dbeta.item()) == (0, 0)


# Activations


@pytest.mark.parametrize(
    ("kind", "alpha", "x", "y"),
    [
        ("relu", 0.0, [-1, 0, 2, -INF, INF], [0, 0, 2, 0, INF]),
        ("leaky_relu", 0.25, [-4, 0, 2, -INF, INF], [-1, 0, 2, -INF, INF]),
        ("elu", 2.0, [-LN2, 0, 3, -INF, 1000], [-1, 0, 3, -2, 1000]),
        # The limit -1.75809934 is that of Klambauer et al.
        (
            "selu",
            0.0,
            [-INF, 0, 1, -LN2],
            [-1.7580993408473766, 0, 1.0507009873554805, -0.87904967],
        ),
        ("sigmoid", 0.0, [0, LN3, -LN3, 1000, -1000], [1 / 2, 3 / 4, 1 / 4, 1, 0]),
        ("tanh", 0.0, [0, LN3 / 2, -LN3 / 2, INF, -INF], [0, 1 / 2, -1 / 2, 1, -1]),
        # Phi(1) is 0.841344746; the approximation of gelu(1) is 0.5 (1 + tanh(0.8331924...)).
        ("gelu", 0.0, [0, 1, -1, INF, -INF], [0, 0.8413447460685429, -0.15865525393145707, INF, 0]),
        ("gelu_tanh", 0.0, [0, 1, -1, -INF], [0, 0.8411919906082768, -0.15880800939172324, 0]),
        ("silu", 0.0, [0, LN3, -LN3, -INF], [0, 0.75 * LN3, -0.25 * LN3, 0]),
        ("hard_sigmoid", 0.0, [-3, -1.5, 0, 6, -INF, INF], [0, 1 / 4, 1 / 2, 1, 0, 1]),
        ("hard_swish", 0.0, [-3, -1.5, 0, 4, -INF, INF], [0, -3 / 8, 0, 4, 0, INF]),
        ("relu6", 0.0, [-1, 5, 6, 7, INF], [0, 5, 6, 6, 6]),
        # tanh(log(1 + e^log 3)) is 15 / 17, that of -log 3 is 7 / 25.
        ("mish", 0.0, [0, LN3, -LN3, INF, -INF], [0, LN3 * 15 / 17, -LN3 * 7 / 25, INF, 0]),
        ("softsign", 0.0, [-3, 0, 1, INF, -INF], [-3 / 4, 0, 1 / 2, 1, -1]),
        ("softplus", 0.0, [0, math.log(math.e - 1), 1000, -1000], [LN2, 1, 1000, 0]),
    ],
)
def test_activations_at_known_points(kind, alpha, x, y):
    spec = ActivationSpec(kind, len(x), alpha=alpha)
    got = apply(activation.activation_forward, spec, x, shape=len(x))
    assert_allclose(got, y, rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
def test_slope_from_what_is_kept_is_the_derivative(kind):
    x = np.array([[-2.5, -0.5], [0.25, 2.0]])
    dy = np.array([[1.0, -2.0], [3.0, 0.5]])
    spec = ActivationSpec(kind, 4, alpha=0.7)

    def forward(x):
        return apply(activation.activation_forward, spec, x, shape=(2, 2))

    dx = apply(activation.activation_backward, spec, dy, x, forward(x), shape=(2, 2))
    assert_allclose(dx, five_point(lambda x: float(np.sum(forward(x) * dy)), x), atol=1e-9)


def test_slope_at_zero_is_that_of_the_negative_side():
    for kind, slope in (("relu", 0), ("leaky_relu", 0.5), ("elu", 0.5)):
        spec = ActivationSpec(kind, 1, alpha=0.5)
        assert (
            apply(activation.activation_backward, spec, [1.0], [0.0], [0.0], shape=1).item()
            == slope
        )


@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
def test_activations_carry_nan_and_work_in_place(kind):
    spec = ActivationSpec(kind, 2, alpha=0.5)
    x = np.array([NAN, 1.0])
    expected = apply(activation.activation_forward, spec, x, shape=2)
    activation.activation_forward(spec, x, x, None)
    assert_array_equal(x, expected)
    assert math.isnan(x[0])
    assert x[1] > 0


def test_softmax_and_log_softmax_by_hand():
    spec = SoftmaxSpec(3, 2)
    x = [[0, LN3], [1000 + LN3, 1000], [-1000.0, -1000]]
    y = apply(activation.softmax_forward, spec, x, shape=(3, 2))
    assert_allclose(y, [[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]], rtol=1e-12)
    y = apply(activation.log_softmax_forward, spec, x, shape=(3, 2))
    assert_allclose(np.exp(y), [[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]], rtol=1e-12)
    y = apply(activation.log_softmax_forward, SoftmaxSpec(1, 2), [[1000.0, 0]], shape=(1, 2))
    assert y.tolist() == [[0, -1000]]


def test_gradients_of_softmax_and_log_softmax_by_hand():
    spec, dy, p = SoftmaxSpec(1, 2), [[1.0, 0]], np.array([[0.25, 0.75]])
    dx = apply(activation.softmax_backward, spec, dy, p, shape=(1, 2))
    assert_allclose(dx, [[0.25 * 0.75, -0.25 * 0.75]], rtol=1e-15)
    dx = apply(activation.log_softmax_backward, spec, dy, np.log(p), shape=(1, 2))
    assert_allclose(dx, [[1 - 0.25, -0.75]], rtol=1e-15)


@pytest.mark.parametrize("forward", [activation.softmax_forward, activation.log_softmax_forward])
def test_a_nan_spoils_its_own_row_of_softmax_and_no_other(forward):
    y = apply(forward, SoftmaxSpec(2, 2), [[0.0, NAN], [0, 0]], shape=(2, 2))
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


# Dropout

FIRST_WORDS = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
"""Random123's answer for a zero counter and key: 0.399, 0.881, 0.736 and 0.605 of 2**32."""


def drop(probability, x, step=0, seed=0):
    spec = DropoutSpec(x.size, probability, RandomSpec(seed, 0))
    mask, y = np.full(x.shape, 9, np.uint8), np.empty_like(x)
    dropout.dropout_forward(spec, x, np.array([step]), mask, y, None)
    return mask, y


@pytest.mark.parametrize(
    ("probability", "kept"),
    [
        (0.0, [1, 1, 1, 1]),
        (0.5, [0, 1, 1, 1]),
        (0.7, [0, 1, 1, 0]),
        (0.9, [0, 0, 0, 0]),
        # A word exactly at the threshold is kept.
        ((FIRST_WORDS[1] >> 8) / 2**24, [0, 1, 0, 0]),
    ],
)
def test_dropout_follows_the_published_words(probability, kept):
    mask, y = drop(probability, np.full((2, 2), 3.0))
    assert mask.ravel().tolist() == kept
    assert_allclose(y.ravel(), np.array(kept) * 3 / (1 - probability), rtol=1e-15)


def test_dropout_keeps_its_share_and_the_mean():
    mask, y = drop(0.25, np.ones(10_000), seed=5)
    # The share kept has a standard deviation of sqrt(0.25 * 0.75 / 10000) = 0.0043.
    assert abs(mask.mean() - 0.75) < 4 * 0.0043
    assert_allclose(y.mean(), mask.mean() / 0.75, rtol=1e-12)


def test_dropout_is_a_function_of_seed_and_step():
    x = np.ones(64)
    again, other_step, other_seed = drop(0.5, x), drop(0.5, x, step=1), drop(0.5, x, seed=1)
    assert_array_equal(drop(0.5, x)[0], again[0])
    assert (other_step[0] != again[0]).any()
    assert (other_seed[0] != again[0]).any()


def test_dropped_elements_are_zero_even_where_they_were_not_finite():
    assert drop(0.5, np.array([INF, 1, NAN, 1]))[1].tolist()[:2] == [0, 2]
    spec = DropoutSpec(4, 0.5, RandomSpec(0, 0))
    dy = np.array([NAN, 1, 2, 3])
    dropout.dropout_backward(spec, dy, np.array([0, 1, 0, 1], np.uint8), dy, None)
    assert dy.tolist() == [0, 2, 0, 6]


# Losses


def cross_entropy(scores, labels):
    spec = LossSpec(*scores.shape)
    losses, probabilities = np.empty(len(scores)), np.empty_like(scores)
    loss.softmax_cross_entropy_forward(spec, scores, labels, losses, probabilities, None)
    return losses, probabilities


def test_cross_entropy_by_hand():
    scores, labels = np.array([[0, LN3], [0, LN3], [1000, 0]]), np.array([0, 1, 1])
    losses, probabilities = cross_entropy(scores, labels)
    assert_allclose(losses, [math.log(4), math.log(4 / 3), 1000], rtol=1e-14)
    assert_allclose(probabilities, [[0.25, 0.75], [0.25, 0.75], [1, 0]], rtol=1e-14)
    dscores = apply(
        loss.softmax_cross_entropy_backward, LossSpec(3, 2), probabilities, labels, shape=(3, 2)
    )
    expected = np.array([[-0.75, 0.75], [0.25, -0.25], [1, -1]]) / 3
    assert_allclose(dscores, expected, rtol=1e-14)


def test_cross_entropy_is_log_softmax_and_negative_log_likelihood():
    scores, labels = np.random.default_rng(0).normal(size=(3, 4)), np.array([3, 0, 0])
    losses, probabilities = cross_entropy(scores, labels)
    spec, rows = LossSpec(3, 4), SoftmaxSpec(3, 4)
    log_p = apply(activation.log_softmax_forward, rows, scores, shape=(3, 4))
    assert_allclose(apply(loss.nll_forward, spec, log_p, labels, shape=3), losses, rtol=1e-13)
    dlog_p = apply(loss.nll_backward, spec, labels, shape=(3, 4))
    dscores = apply(loss.softmax_cross_entropy_backward, spec, probabilities, labels, shape=(3, 4))
    composed = apply(activation.log_softmax_backward, rows, dlog_p, log_p, shape=(3, 4))
    assert_allclose(composed, dscores, atol=1e-15)


def test_negative_log_likelihood_by_hand():
    spec, labels = LossSpec(2, 2), np.array([1, 0])
    losses = apply(loss.nll_forward, spec, [[-3.0, -1], [-2, -5]], labels, shape=2)
    assert losses.tolist() == [1, 2]
    assert apply(loss.nll_backward, spec, labels, shape=(2, 2)).tolist() == [[0, -0.5], [-0.5, 0]]


def test_mean_squared_error_by_hand():
    spec, y, target = LossSpec(2, 3), [[1.0, 2, 3], [0, 0, 0]], [[0.0, 2, 5], [0, 0, 3]]
    losses = apply(loss.mean_squared_error_forward, spec, y, target, shape=2)
    assert_allclose(losses, [5 / 3, 9 / 3], rtol=1e-15)
    dy = apply(loss.mean_squared_error_backward, spec, y, target, shape=(2, 3))
    assert_allclose(dy, np.array([[1, 0, -2], [0, 0, -3]]) / 3, rtol=1e-15)


def test_a_nan_score_makes_the_loss_nan():
    assert math.isnan(cross_entropy(np.array([[NAN, 0.0]]), np.array([1]))[0].item())


def test_statistics_grow_by_losses_samples_and_first_largest_scores():
    spec, statistics = LossSpec(3, 3), np.array([10.0, 1, 5])
    loss.sum_losses(spec, np.array([0.5, 1, 2], np.float32), statistics, None)
    assert statistics.tolist() == [13.5, 1, 8]
    # A tie goes to its first score, so the last two samples are right; the first is not.
    scores, labels = np.array([[0.0, 1, 0], [2, 0, 2], [1, 3, 3]]), np.array([0, 0, 1])
    loss.count_correct(spec, scores, labels, statistics, None)
    assert statistics.tolist() == [13.5, 3, 8]
    # A NaN is the largest.
    loss.count_correct(LossSpec(1, 3), np.array([[9, NAN, INF]]), np.array([1]), statistics, None)
    assert statistics.tolist() == [13.5, 4, 8]


def test_no_samples_change_no_statistics():
    spec, statistics = LossSpec(0, 3), np.array([1.0, 2, 3])
    loss.sum_losses(spec, np.empty(0), statistics, None)
    loss.count_correct(spec, np.empty((0, 3)), np.empty(0, np.int64), statistics, None)
    assert statistics.tolist() == [1, 2, 3]
