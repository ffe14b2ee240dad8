"""Looking into a network: layer outputs, input gradients, occlusion, the probe of a training."""

import numpy as np
import pytest

import fastconv
from fastconv.analysis.inference_network import inference_network
from fastconv.analysis.observed_network import ObservedNetwork
from fastconv.analysis.probe import PROBE_SAMPLES, Probe, dead_share
from fastconv.analysis.saliency import gradient_maps, most_activating, occlusion_maps
from fastconv.backends.selection import NAMES, backend_state
from fastconv.data import Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.inference import Inference
from fastconv.layers import (
    SELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Tanh,
)
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Constant
from fastconv.trainer import Trainer

HOST_BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]
SHAPE, CLASSES = (9, 7, 2), 4


def some_images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def normalised_network(dtype="float64"):
    """A network with batch normalisation of images and of vectors, none of it trivial."""
    layers = [
        Conv2D(5), BatchNorm(), ReLU(), Dropout(0.3), MaxPool2D(2), Flatten(), Dense(6),
        BatchNorm(), Tanh(), Dropout(0.5), Dense(CLASSES),
    ]  # fmt: skip
    network = Sequential(layers, SHAPE, dtype=dtype, seed=3)
    generator = np.random.default_rng(1)
    for name, array in network.named_arrays().items():
        if "batch_norm" in name:
            array[...] = generator.uniform(0.5, 2, array.shape)
    return network


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_the_inference_network_has_the_scores_of_the_network(backend):
    network, images = normalised_network(), some_images(7)
    preprocessing = Preprocessing("scale", factor=0.01)
    expected = Inference(
        network, preprocessing=preprocessing, config=ExecutionConfig("numpy")
    ).predict(images)
    observed = ObservedNetwork(network, preprocessing, batch=3, backend=backend)
    np.testing.assert_allclose(observed.scores(images), expected, rtol=1e-10)


def test_the_inference_network_has_no_layer_that_differs_in_training():
    other, names = inference_network(normalised_network())
    assert {layer.kind for layer in other.layers}.isdisjoint({"batch_norm", "dropout"})
    assert names["dense_2"] == "dense_2"
    assert names["batch_norm_2"] == "scale_and_shift_2"
    assert "dropout_1" not in names


def test_normalised_vectors_take_no_more_than_their_parameters():
    layers = [Flatten(), BatchNorm(), Dense(2)]
    network = Sequential(layers, (64, 64, 3))
    other, _ = inference_network(network)
    assert other.parameter_count == network.parameter_count


def test_outputs_are_those_of_the_public_functions():
    network, images = normalised_network(), some_images(5)
    found = ObservedNetwork(network, batch=2, backend="numpy").outputs(images)
    x = images.astype(np.float64)
    y = fastconv.conv2d(
        x, network["conv2d_1.weight"], network["conv2d_1.bias"], layout="NHWC", backend="numpy"
    )
    parameters = ("running_mean", "running_variance", "gamma", "beta")
    mean, variance, gamma, beta = (network[f"batch_norm_1.{name}"] for name in parameters)
    y = np.maximum((y - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
    np.testing.assert_allclose(found["relu_1"], y, rtol=1e-10)
    # The convolution's own output was overwritten by the activation's, or may have been.
    assert "batch_norm_1" not in found
    pooled = y[:, :6, :4].reshape(5, 3, 2, 2, 2, 5).max(axis=(2, 4))
    np.testing.assert_allclose(found["max_pool2d_1"], pooled, rtol=1e-10)
    assert list(found)[-1] == "dense_2"


def test_asking_for_an_output_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="batch_norm_1"):
        ObservedNetwork(normalised_network()).outputs(some_images(1), ["batch_norm_1"])


def test_images_of_another_shape_are_an_error():
    observed = ObservedNetwork(normalised_network())
    expected = r"images has shape \(2, 1, 1, 2\); expected \(N, 9, 7, 2\)"
    with pytest.raises(ValueError, match=expected):
        observed.outputs(some_images(2)[:, :1, :1])


def test_no_images_have_no_outputs():
    observed = ObservedNetwork(normalised_network())
    assert observed.scores(some_images(0)).shape == (0, CLASSES)
    assert observed.input_gradient(some_images(0), []).shape == (0, *SHAPE)


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_the_input_gradient_is_that_of_finite_differences(backend):
    layers = [Conv2D(3), BatchNorm(), SELU(), AvgPool2D(2), Flatten(), Dropout(), Dense(CLASSES)]
    network = Sequential(layers, SHAPE, dtype="float64", seed=1)
    network["batch_norm_1.running_variance"][...] = (0.5, 2, 3)
    observed = ObservedNetwork(network, batch=2, backend=backend)
    images = np.random.default_rng(0).normal(size=(3, *SHAPE))
    outputs = [2, 0, 3]
    gradient = observed.input_gradient(images, outputs)
    generator = np.random.default_rng(5)
    for n, output in enumerate(outputs):
        for place in generator.integers(0, SHAPE, (6, 3)):
            step = np.zeros(SHAPE)
            step[tuple(place)] = 1e-4
            above, below = observed.scores(np.stack([images[n] + step, images[n] - step]))
            difference = (above - below)[output] / 2e-4
            assert gradient[(n, *place)] == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_a_gradient_map_takes_the_strongest_channel():
    network = Sequential([Flatten(), Dense(2, bias=False)], (2, 2, 3), dtype="float64")
    weights = np.arange(-12.0, 12).reshape(12, 2)
    network["dense_1.weight"][...] = weights
    observed = ObservedNetwork(network, backend="numpy")
    found = gradient_maps(observed, np.ones((2, 2, 2, 3)), np.array([0, 1]))
    # Score o is linear in x: its gradient is column o of the weights, whatever the image.
    np.testing.assert_allclose(found[0], [[12, 6], [4, 10]])
    np.testing.assert_allclose(found[1], [[11, 5], [5, 11]])


def test_occlusion_finds_the_only_pixel_that_matters():
    network = Sequential([Flatten(), Dense(2, bias=False)], (8, 8, 1), dtype="float64")
    network["dense_1.weight"][...] = 0
    network["dense_1.weight"][8 * 2 + 5, 1] = 1  # row 2, column 5
    observed = ObservedNetwork(network, backend="numpy")
    image = np.full((1, 8, 8, 1), 2.0)
    (heat,) = occlusion_maps(observed, image, np.array([1]), patch=2, stride=1, fill=0)
    lost = 1 / (1 + np.exp(-2)) - 1 / 2
    # Of the four squares over the pixel itself all matter, of those over its neighbours some.
    assert heat[2, 5] == pytest.approx(lost)
    assert heat[2, 4] == heat[1, 5] == pytest.approx(lost / 2)
    assert heat[1, 4] == pytest.approx(lost / 4)
    assert np.count_nonzero(heat) == 9
    (other,) = occlusion_maps(observed, image, np.array([0]), patch=2, stride=1, fill=0)
    np.testing.assert_allclose(other, -heat)


def test_occluding_squares_reach_every_border():
    network = Sequential([Flatten(), Dense(2)], (8, 7, 1), dtype="float64")
    observed = ObservedNetwork(network, backend="numpy")
    images = np.random.default_rng(0).uniform(1, 2, (1, 8, 7, 1))
    (heat,) = occlusion_maps(observed, images, np.array([0]), patch=3, stride=4, fill=0)
    # Squares begin at rows 0, 4 and 5 and at columns 0 and 4: row 3 and column 3 stay free.
    covered = np.ones((8, 7), bool)
    covered[3], covered[:, 3] = False, False
    np.testing.assert_array_equal(heat != 0, covered)


@pytest.mark.parametrize(("patch", "stride"), [(0, 1), (9, 1), (2, 0)])
def test_a_patch_that_does_not_fit_is_an_error(patch, stride):
    observed = ObservedNetwork(Sequential([Flatten(), Dense(2)], (8, 8, 1)))
    with pytest.raises(ValueError, match="expected 1 to 8"):
        occlusion_maps(observed, some_images(1, (8, 8, 1)), [0], patch=patch, stride=stride)


def test_the_most_activating_images_are_those_of_a_search_through_all():
    network = Sequential([Conv2D(6), ReLU(), Flatten(), Dense(3)], SHAPE, seed=2)
    images = some_images(40)
    observed = ObservedNetwork(network, Preprocessing("scale"), backend="numpy")
    found = most_activating(observed, images, "relu_1", count=4, chunk=7)
    x = images.astype(np.float32) * np.float32(1 / 255)
    w, b = network["conv2d_1.weight"], network["conv2d_1.bias"]
    y = np.maximum(fastconv.conv2d(x, w, b, layout="NHWC", backend="numpy"), 0)
    assert found.indices.shape == (6, 4)
    for number in range(6):
        highest = y[..., number].max(axis=(1, 2))
        assert found.indices[number].tolist() == np.argsort(-highest, kind="stable")[:4].tolist()
        for image, value, (i, j) in zip(
            found.indices[number], found.values[number], found.places[number], strict=True
        ):
            assert y[image, i, j, number] == pytest.approx(highest[image], rel=1e-6)
            assert value == pytest.approx(highest[image], rel=1e-6)
    units = most_activating(observed, images[:3], "dense_1", count=9)
    assert units.indices.shape == (3, 3)
    assert not units.places.any()


# ---- the probe -------------------------------------------------------------------------------


def samples_of(count, shape=SHAPE):
    labels = np.random.default_rng(4).integers(0, CLASSES, count)
    return Samples(some_images(count, shape), labels)


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_the_gradient_norm_of_a_linear_classifier_is_the_one_on_paper(backend):
    network = Sequential([Flatten(), Dense(CLASSES)], SHAPE, dtype="float64", seed=5)
    samples = samples_of(12)
    probe = Probe(network, samples, preprocessing=Preprocessing("scale"), backend=backend)
    (state,) = probe.measure()
    x = samples.images.reshape(12, -1) / 255
    scores = x @ network["dense_1.weight"] + network["dense_1.bias"]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = exponentials / exponentials.sum(axis=1, keepdims=True)
    error[np.arange(12), samples.labels] -= 1
    gradients = x.T @ error / 12, error.mean(axis=0)
    assert state.layer == "dense_1"
    expected = np.sqrt(sum((g**2).sum() for g in gradients))
    assert state.gradient_norm == pytest.approx(expected, rel=1e-9)
    norms = [(network[f"dense_1.{name}"] ** 2).sum() for name in ("weight", "bias")]
    assert state.weight_norm == pytest.approx(np.sqrt(sum(norms)), rel=1e-9)
    assert state.mean == pytest.approx(scores.mean(), rel=1e-9)
    assert state.std == pytest.approx(scores.std(), rel=1e-9)
    assert state.dead is None


def test_dead_units_are_counted():
    network = Sequential([Flatten(), Dense(8), ReLU(), Dense(CLASSES)], SHAPE, seed=5)
    network["dense_1.bias"][:3] = -1e6
    probe = Probe(network, samples_of(20), preprocessing=Preprocessing("scale"))
    state = next(each for each in probe.measure() if each.layer == "relu_1")
    assert state.dead == 3 / 8
    assert state.gradient_norm is state.weight_norm is None


@pytest.mark.parametrize(
    ("kind", "outputs", "expected"),
    [
        ("relu", [[0, 0, 1, 0], [0, 2, 0, 0]], 1 / 2),
        ("leaky_relu", [[-0.1, 3], [-0.2, -0.1]], 1 / 2),
        ("sigmoid", [[1, 0.2, 0], [0.9999, 0.5, 0]], 2 / 3),
        ("tanh", [[-1.0, 0.1], [1.0, 0.1]], 1 / 2),
    ],
)
def test_a_unit_is_dead_where_nothing_excites_it(kind, outputs, expected):
    assert dead_share(kind, np.array(outputs)) == pytest.approx(expected)


def test_a_probe_takes_a_part_of_the_samples():
    network = Sequential([Flatten(), Dense(CLASSES)], SHAPE)
    probe = Probe(network, samples_of(3 * PROBE_SAMPLES))
    assert probe._stepwise.plan.batch == PROBE_SAMPLES


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_a_probe_changes_nothing_of_the_training(backend):
    def trained(with_probe):
        layers = [
            Conv2D(4), BatchNorm(), LeakyReLU(), Dropout(0.2), MaxPool2D(2), Flatten(),
            Dense(CLASSES),
        ]  # fmt: skip
        network, samples = Sequential(layers, SHAPE), samples_of(64)
        preprocessing = Preprocessing("scale")
        trainer = Trainer(
            network, samples, loss="softmax_cross_entropy", optimizer=Optimizer("adam"),
            schedule=Constant(0.01), batch_size=8, preprocessing=preprocessing, backend=backend,
            threads=1,
        )  # fmt: skip
        probe = Probe(network, samples, preprocessing=preprocessing, backend=backend)
        first = probe.measure()
        for _ in range(2):
            trainer.train(3)
            if with_probe:
                assert probe.measure() != first
        return network

    watched, alone = trained(True), trained(False)
    np.testing.assert_array_equal(watched.parameters, alone.parameters)
    np.testing.assert_array_equal(watched.state, alone.state)
