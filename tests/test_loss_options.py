"""Losses with options: the public functions, training and recipes agree with PyTorch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastconv
from fastconv import Loss
from fastconv.backends.reference import loss_weights, target_loss
from fastconv.backends.selection import backend_state
from fastconv.data import DataError, Samples
from fastconv.layers import Dense, LogSoftmax, Sigmoid, Tanh
from fastconv.network import NetworkError, Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.loss_operation import (
    LabelWeightSpec,
    SoftCrossEntropySpec,
)
from fastconv.recipe import load_recipe, read_recipe
from fastconv.recipes.schema import RecipeError
from fastconv.schedules import Constant
from fastconv.spec import SpecError

torch = pytest.importorskip("torch")
functional = torch.nn.functional

BACKENDS = [name for name in ("numpy", "cython", "numba") if backend_state(name).works]
BACKEND = pytest.mark.parametrize("backend", BACKENDS)
N, C = 7, 5
RNG = np.random.default_rng(3)
SCORES = 3 * RNG.standard_normal((N, C))
LABELS = RNG.integers(0, C, N)
LABELS[2] = 3
SOFT = RNG.dirichlet(np.ones(C), N)
CLASS_WEIGHTS = RNG.uniform(0.5, 2, C)


def by_torch(loss, *arrays):
    """The value and the gradient of a loss by its first array."""
    scores, *rest = (torch.tensor(np.asarray(array)) for array in arrays)
    scores.requires_grad_()
    value = loss(scores, *rest)
    value.backward()
    return float(value.detach()), scores.grad.numpy()


# By hand


def test_smoothed_cross_entropy_by_hand():
    # Two classes, equal scores: every term of the cross entropy is log 2, whatever the target is.
    spec, losses, softmax = SoftCrossEntropySpec(1, 2, 0.2), np.empty(1), np.empty((1, 2))
    target = np.array([[1.0, 0.0]])
    target_loss.soft_cross_entropy_forward(
        spec, np.zeros((1, 2)), target, None, losses, softmax, None
    )
    assert_allclose(losses, np.log(2), rtol=1e-15)
    gradient = np.empty((1, 2))
    target_loss.soft_cross_entropy_backward(spec, softmax, target, None, gradient, None)
    assert_allclose(gradient, [[0.5 - 0.9, 0.5 - 0.1]], rtol=1e-15)


def test_weights_of_labels_by_hand():
    labels, own = np.array([0, 1, 7, 1]), np.array([2.0, 3.0, 1.0, 0.0])
    counted, factors, weights = np.empty(4, np.int64), np.empty(4), np.empty(4)
    loss_weights.label_weights(
        LabelWeightSpec(4, 2, 7), labels, np.array([10.0, 100.0]), own, counted, factors, weights,
        None,
    )  # fmt: skip
    assert counted.tolist() == [0, 1, -1, -1]
    assert factors.tolist() == [2, 3, 0, 0]
    assert weights.tolist() == [20, 300, 0, 0]


def test_a_loss_of_nan_at_a_factor_of_0_is_nothing():
    losses, gradient = np.array([np.nan, 1.0]), np.array([[np.nan], [0.5]])
    factors = np.array([0.0, 3.0])
    spec = fastconv.plans.operation.LossSpec(2, 1)
    loss_weights.weigh_losses(spec, factors, losses, None)
    loss_weights.weigh_gradients(spec, factors, factors, gradient, None)
    assert losses.tolist() == [0, 3]
    assert_allclose(gradient, [[0], [0.5 * 3 * 2 / 3]], rtol=1e-15)


# Public functions


@BACKEND
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 3, -100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_options_is_that_of_pytorch(backend, smoothing, ignored, weighted):
    labels = np.where(np.arange(N) == 4, -100, LABELS) if ignored == -100 else LABELS
    weights = CLASS_WEIGHTS if weighted else None
    options = {"label_smoothing": smoothing, "class_weights": weights, "ignore_index": ignored}
    losses, softmax = fastconv.softmax_cross_entropy(SCORES, labels, **options, backend=backend)
    gradient = fastconv.softmax_cross_entropy_backward(softmax, labels, **options, backend=backend)

    def loss(scores, target, reduction="mean"):
        return functional.cross_entropy(
            scores, target, None if weights is None else torch.tensor(weights),
            ignore_index=-1000 if ignored is None else ignored, label_smoothing=smoothing,
            reduction=reduction,
        )  # fmt: skip

    each = loss(torch.tensor(SCORES), torch.tensor(labels), "none")
    assert_allclose(losses, each.numpy(), rtol=1e-12, atol=1e-12)
    assert_allclose(gradient, by_torch(loss, SCORES, labels)[1], rtol=1e-12, atol=1e-14)


@BACKEND
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_distributions_is_that_of_pytorch(backend, smoothing):
    options = {"label_smoothing": smoothing, "class_weights": CLASS_WEIGHTS}
    losses, softmax = fastconv.softmax_cross_entropy(SCORES, SOFT, **options, backend=backend)
    gradient = fastconv.softmax_cross_entropy_backward(softmax, SOFT, **options, backend=backend)

    def loss(scores, target):
        weights = torch.tensor(CLASS_WEIGHTS)
        return functional.cross_entropy(scores, target, weights, label_smoothing=smoothing)

    value, expected = by_torch(loss, SCORES, SOFT)
    assert_allclose(losses.mean(), value, rtol=1e-12)
    assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


@BACKEND
def test_sample_weights_make_a_weighted_mean(backend):
    own = np.array([0.0, 1, 2, 0.5, 1, 3, 1])
    losses, softmax = fastconv.softmax_cross_entropy(
        SCORES, LABELS, sample_weights=own, backend=backend
    )
    gradient = fastconv.softmax_cross_entropy_backward(
        softmax, LABELS, sample_weights=own, backend=backend
    )

    def loss(scores, target):
        each = functional.cross_entropy(scores, target, reduction="none")
        return (each * torch.tensor(own)).sum() / own.sum()

    value, expected = by_torch(loss, SCORES, LABELS)
    assert_allclose(losses.sum() / own.sum(), value, rtol=1e-12)
    assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


ELEMENTWISE = {
    "binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
    "huber": lambda y, t: functional.huber_loss(y, t, delta=0.7),
    "mean_absolute_error": functional.l1_loss,
}


@BACKEND
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses_are_those_of_pytorch(backend, name):
    target = (SOFT > 0.2).astype(float) if name.startswith("binary") else SOFT
    options = {"delta": 0.7} if name == "huber" else {}
    losses = getattr(fastconv, name)(SCORES, target, **options, backend=backend)
    gradient = getattr(fastconv, f"{name}_backward")(SCORES, target, **options, backend=backend)
    value, expected = by_torch(ELEMENTWISE[name], SCORES, target)
    assert_allclose(losses.mean(), value, rtol=1e-12)
    assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("sure", [40.0, -40.0])
@BACKEND
def test_a_sure_and_right_output_has_the_digits_of_a_small_loss(backend, sure):
    y, target = np.array([[sure]], np.float32), np.array([[float(sure > 0)]], np.float32)
    loss = fastconv.binary_cross_entropy_with_logits(y, target, backend=backend)
    assert_allclose(loss, np.exp(-40.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "options", "what"),
    [
        ((SCORES, LABELS), {"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ((SCORES, LABELS), {"class_weights": CLASS_WEIGHTS[:3]}, "class_weights has shape"),
        ((SCORES, LABELS), {"sample_weights": CLASS_WEIGHTS[:3]}, "sample_weights has shape"),
        ((SCORES, LABELS + 50), {"ignore_index": 2}, "labels holds 5"),
        ((SCORES, SOFT), {"ignore_index": 2}, "ignore_index is 2"),
        ((SCORES, SOFT[:, :3]), {}, "labels has shape"),
    ],
)
def test_options_that_do_not_fit_are_named(arguments, options, what):
    with pytest.raises(ValueError, match=what):
        fastconv.softmax_cross_entropy(*arguments, **options, backend="numpy")


def test_a_huber_delta_of_0_is_named():
    with pytest.raises(SpecError, match=r"huber: delta is 0\.0; expected more than 0"):
        fastconv.huber(SCORES, SOFT, delta=0.0, backend="numpy")


# Training


def torch_step(network, loss, x, target, rate):
    """The weights after one step of gradient descent on a mean loss of tanh and dense layers."""
    names = ("dense_1.weight", "dense_1.bias", "dense_2.weight", "dense_2.bias")
    w1, b1, w2, b2 = (torch.tensor(network[n].copy(), requires_grad=True) for n in names)
    value = loss(torch.tanh(torch.tensor(x) @ w1 + b1) @ w2 + b2, torch.tensor(target))
    value.backward()
    return float(value.detach()), {
        name: (w - rate * w.grad).detach().numpy()
        for name, w in zip(names, (w1, b1, w2, b2), strict=True)
    }


LOSSES = {
    "smoothed": (
        Loss(label_smoothing=0.1, class_weights=tuple(CLASS_WEIGHTS), ignore_index=3),
        LABELS,
        lambda y, t: functional.cross_entropy(
            y, t, torch.tensor(CLASS_WEIGHTS), ignore_index=3, label_smoothing=0.1
        ),
    ),
    "class weights": (
        Loss(class_weights=tuple(CLASS_WEIGHTS)),
        LABELS,
        lambda y, t: functional.cross_entropy(y, t, torch.tensor(CLASS_WEIGHTS)),
    ),
    "ignored": (
        Loss(ignore_index=-100),
        np.where(np.arange(N) < 2, -100, LABELS),
        functional.cross_entropy,
    ),
    "soft": (Loss(soft_targets=True), SOFT, functional.cross_entropy),
    "binary": (
        Loss("binary_cross_entropy_with_logits"),
        (SOFT > 0.2).astype(float),
        functional.binary_cross_entropy_with_logits,
    ),
    "huber": (Loss("huber", delta=0.7), SOFT, ELEMENTWISE["huber"]),
    "absolute": (Loss("mean_absolute_error"), SOFT, functional.l1_loss),
}
X = RNG.standard_normal((N, 4))


def network_of(*more):
    return Sequential([Dense(6), Tanh(), Dense(C), *more], input_shape=(4,), dtype="float64")


def trainer_of(network, loss, labels, backend, **more):
    return fastconv.Trainer(
        network, Samples(X.reshape(N, 1, 1, 4), labels), loss=loss, optimizer=Optimizer("sgd"),
        schedule=Constant(0.25), batch_size=N, backend=backend, **more,
    )  # fmt: skip


@BACKEND
@pytest.mark.parametrize("name", LOSSES)
def test_a_training_step_is_that_of_pytorch(backend, name):
    loss, labels, torch_loss = LOSSES[name]
    network = network_of()
    value, expected = torch_step(network, torch_loss, X, labels, 0.25)
    trainer = trainer_of(network, loss, labels, backend)
    before = trainer.evaluate(trainer.training)
    assert_allclose(before.loss, value, rtol=1e-12)
    assert_allclose(trainer.train(1).loss, value, rtol=1e-12)
    for key, array in expected.items():
        assert_allclose(network[key], array, rtol=1e-10, atol=1e-13)


@BACKEND
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mean_squared_error", "nll"])
def test_a_step_with_sample_weights_is_that_of_pytorch(backend, loss):
    own = np.array([0.0, 1, 2, 0.5, 1, 3, 1])
    labels = SOFT if loss == "mean_squared_error" else LABELS

    def torch_loss(y, target):
        if loss == "mean_squared_error":
            each = ((y - target) ** 2).mean(1)
        else:
            each = functional.cross_entropy(y, target, reduction="none")
        return (each * torch.tensor(own)).sum() / own.sum()

    network = network_of(*[LogSoftmax()] * (loss == "nll"))
    value, expected = torch_step(network, torch_loss, X, labels, 0.25)
    trainer = trainer_of(network, loss, labels, backend, sample_weights=own)
    score = trainer.train(1)
    assert_allclose(score.loss, value, rtol=1e-12)
    assert score.samples == N - 1
    for key, array in expected.items():
        assert_allclose(network[key], array, rtol=1e-10, atol=1e-13)


def test_accuracy_is_over_the_samples_that_count():
    network = network_of()
    best = network_scores(network).argmax(1)
    labels = np.where(np.arange(N) < 3, -100, best)
    labels[3] = (best[3] + 1) % C
    score = trainer_of(network, Loss(ignore_index=-100), labels, "numpy").train(1)
    assert (score.correct, score.samples, score.accuracy) == (3, 4, 0.75)


def network_scores(network):
    return fastconv.Predictor(network, backend="numpy")(X.reshape(N, 1, 1, 4))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_all_losses_are_their_derivatives(name):
    loss, labels, _ = LOSSES[name]
    check = fastconv.check_gradients(network_of(), (X, labels), loss=loss, verbose=False)
    assert check.passed, str(check)


@BACKEND
@pytest.mark.parametrize("name", LOSSES)
def test_steps_in_float32_are_those_of_the_reference(backend, name):
    loss, labels, _ = LOSSES[name]
    network = Sequential([Dense(6), Tanh(), Dense(C)], input_shape=(4,))
    check = fastconv.check_step(
        network, (X, labels), Optimizer("momentum"), loss=loss, rate=0.1, backend=backend,
        verbose=False,
    )  # fmt: skip
    assert check.passed, str(check)


def test_scores_with_weights_add_up():
    score = fastconv.inference.Score
    total = score(6.0, 2, 3, True, 4.0) + score(1.0, 1, 1)
    assert (total.loss, total.accuracy) == (7 / 5, 3 / 4)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Loss("hinge"), "kind is 'hinge'"),
        (
            lambda: Loss("nll", label_smoothing=0.1),
            "label_smoothing is 0.1; expected none under nll",
        ),
        (lambda: Loss(delta=2.0), "delta is 2.0; expected none under"),
        (lambda: Loss(class_weights=(1.0, -1.0)), "class_weights is"),
        (
            lambda: trainer_of(network_of(), Loss(class_weights=(1, 2)), LABELS, "numpy"),
            "expected 5",
        ),
        (
            lambda: trainer_of(network_of(), "nll", LABELS, "numpy", sample_weights=[1.0]),
            "log_softmax|sample_weights has shape",
        ),
    ],
)
def test_a_loss_that_cannot_be_is_named(make, what):
    with pytest.raises(ValueError, match=what):
        make()


def test_sample_weights_below_0_are_refused():
    with pytest.raises(DataError, match="sample_weights holds a number below 0"):
        trainer_of(network_of(), Loss(), LABELS, "numpy", sample_weights=np.linspace(-1, 1, N))


def test_a_sigmoid_under_a_loss_with_its_own_is_refused():
    with pytest.raises(NetworkError, match="has its own sigmoid"):
        trainer_of(network_of(Sigmoid()), "binary_cross_entropy_with_logits", SOFT, "numpy")


# Recipes


def test_a_recipe_has_a_loss_with_options():
    table = load_recipe("digits").table()
    recipe = read_recipe({**table, "loss": {"label_smoothing": 0.1, "ignore_index": 9}})
    assert recipe.make_loss() == Loss(label_smoothing=0.1, ignore_index=9)
    assert read_recipe(recipe.table()) == recipe
    assert read_recipe({**table, "loss": "nll"}).make_loss() == Loss("nll")


def test_options_of_a_loss_can_be_set_beside_its_name():
    recipe = load_recipe("digits", [("loss.label_smoothing", 0.2)])
    assert recipe.make_loss() == Loss(label_smoothing=0.2)
    other = load_recipe("regression-relu", [("loss.kind", "huber"), ("loss.delta", 0.5)])
    assert other.make_loss() == Loss("huber", delta=0.5)
    assert load_recipe("digits").table()["loss"] == "softmax_cross_entropy"


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        ({"delta": 2.0}, "loss.delta does nothing under loss.kind = 'softmax_cross_entropy'"),
        ({"kind": "huber", "delta": 0.0}, "loss.delta is 0.0; expected more than 0"),
        ({"smoothing": 0.1}, "loss.smoothing: no such key"),
        ("hinge", "loss is 'hinge'; expected one of"),
    ],
)
def test_a_loss_of_a_recipe_that_cannot_be_is_named(loss, what):
    with pytest.raises(RecipeError, match=what):
        read_recipe({**load_recipe("digits").table(), "loss": loss})
