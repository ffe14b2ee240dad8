"""Softmax of each pixel, and factors and summands for each channel."""

import numpy as np
import pytest
from optional_torch import functional, needs_torch, torch

import fastconv
from fastconv.layers import Dense, Flatten, LogSoftmax2D, ScaleAndShift, Softmax2D
from fastconv.network import NetworkError, Sequential

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5))


def predicted(layer, x):
    network = Sequential([layer], x.shape[1:], dtype="float64")
    return fastconv.Predictor(network, backend="numpy")(x)


@needs_torch
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_pixels_is_that_of_pytorch_over_the_channels(name):
    layer = {"softmax": Softmax2D(), "log_softmax": LogSoftmax2D()}[name]
    expected = getattr(functional, name)(torch.from_numpy(X).permute(0, 3, 1, 2), dim=1)
    np.testing.assert_allclose(predicted(layer, X), expected.permute(0, 2, 3, 1), rtol=1e-12)


def test_the_channels_of_two_pixels_become_their_own_probabilities():
    x = np.log(np.array([[[[1.0, 3.0], [2.0, 2.0]]]]))
    np.testing.assert_allclose(predicted(Softmax2D(), x), [[[[0.25, 0.75], [0.5, 0.5]]]])


def test_softmax_of_pixels_does_not_take_vectors():
    with pytest.raises(NetworkError, match=r"takes pixels with channels but gets \(4,\); use"):
        Sequential([Softmax2D()], (4,))


def test_each_channel_has_its_own_factor_and_summand():
    network = Sequential([ScaleAndShift(2.0, -1.0)], (1, 2, 2), dtype="float64")
    network["scale_and_shift_1.weight"][..., 1] = 10.0
    network["scale_and_shift_1.bias"][1] = 0.5
    x = np.array([[[[1.0, 1.0], [3.0, -2.0]]]])
    scores = fastconv.Predictor(network, backend="numpy")(x)
    np.testing.assert_array_equal(scores, [[[[1.0, 10.5], [5.0, -19.5]]]])


@pytest.mark.parametrize("layer", [Softmax2D(), LogSoftmax2D(), ScaleAndShift(1.5, 0.5)])
def test_gradients_are_those_of_differences(layer):
    network = Sequential([layer, Flatten(), Dense(2)], (3, 4, 5), dtype="float64")
    assert fastconv.check_gradients(
        network, (X, np.array([0, 1])), backend="numpy", verbose=False
    ).passed


def test_what_is_not_trained_is_no_parameter():
    fixed = Sequential([ScaleAndShift(3.0, train=False), Dense(2)], (4,))
    assert fixed.parameter_count == 4 * 2 + 2
    assert fixed.state.size
    assert (fixed["scale_and_shift_1.weight"] == 3.0).all()
