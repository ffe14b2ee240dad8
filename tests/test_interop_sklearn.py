"""Networks as estimators of scikit-learn: its own checks, and what its users count on."""

import os
import pickle
import sys
from importlib.util import find_spec

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastconv
from fastconv.backends.selection import backend_state
from fastconv.data import DataError
from fastconv.interop.sklearn import FastconvClassifier, FastconvRegressor
from fastconv.layers import Conv2D, Dense, Dropout, Flatten, LogSoftmax, ReLU, Softmax
from fastconv.network import NetworkError
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.schedules import Plateau
from fastconv.spec import SpecError

BACKENDS = [name for name in ("numpy", "cython") if backend_state(name).works]
QUICK = {"hidden_layer_sizes": (16,), "batch_size": 16, "random_state": 0, "backend": "numpy"}
"""A network that is trained in hundredths of a second."""
IRIS, SPECIES = load_iris(return_X_y=True)


def quick_classifier(**changes):
    return FastconvClassifier(**{**QUICK, "epochs": 20, "learning_rate": 0.02, **changes})


def quick_regressor(**changes):
    return FastconvRegressor(**{**QUICK, "epochs": 20, "learning_rate": 0.02, **changes})


# What scikit-learn checks.

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a sample that stands in the data twice is drawn twice, in other batches than one of "
        "weight 2: a training by batches is another one"
    )
}


@parametrize_with_checks(
    [quick_classifier(), quick_regressor()],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# The right numbers.


def test_a_step_with_weights_is_that_by_hand():
    """Softmax regression, all samples in one batch: one step of gradient descent."""
    X, y = IRIS[::10], SPECIES[::10]
    weights = np.linspace(0.5, 2, len(y))
    given = {
        "network": [], "preprocessing": "none", "optimizer": "sgd", "epochs": 1,
        "batch_size": len(y),
    }  # fmt: skip
    start = quick_classifier(**given, learning_rate=1e-300).fit(X, y).network_
    found = quick_classifier(**given, learning_rate=0.1).fit(X, y, weights)
    w, b = start["dense_1.weight"], start["dense_1.bias"]
    e = np.exp(X @ w + b)
    gradient = (e / e.sum(axis=1, keepdims=True) - np.eye(3)[y]) * weights[:, None] / weights.sum()
    assert_allclose(found.network_["dense_1.weight"], w - 0.1 * X.T @ gradient, rtol=1e-9)
    assert_allclose(found.network_["dense_1.bias"], -0.1 * gradient.sum(axis=0), rtol=1e-9)
    losses = -np.log((e / e.sum(axis=1, keepdims=True))[np.arange(len(y)), y])
    assert_allclose(found.loss_curve_, [(weights * losses).sum() / weights.sum()], rtol=1e-9)


def test_probabilities_and_decisions_are_those_of_the_scores():
    three = quick_classifier().fit(IRIS, SPECIES)
    scores = three.network_((IRIS - IRIS.mean(0)) / IRIS.std(0), backend="numpy")
    assert_allclose(three.decision_function(IRIS), scores, rtol=1e-4, atol=1e-5)
    e = np.exp(scores.astype(float))
    assert_allclose(three.predict_proba(IRIS), e / e.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)
    assert_allclose(three.predict_log_proba(IRIS), np.log(three.predict_proba(IRIS)), atol=1e-6)
    two = quick_classifier().fit(IRIS[:100], SPECIES[:100])
    margins = two.decision_function(IRIS[:100])
    expected = 1 / (1 + np.exp(-margins.astype(float)))
    assert_allclose(two.predict_proba(IRIS[:100])[:, 1], expected, rtol=1e-5)


@pytest.mark.skipif("cython" not in BACKENDS, reason="the C engine is not there")
def test_backends_train_alike():
    ours = quick_classifier(backend="cython", epochs=3).fit(IRIS, SPECIES)
    theirs = quick_classifier(epochs=3).fit(IRIS, SPECIES)
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)
    assert_allclose(ours.predict_proba(IRIS), theirs.predict_proba(IRIS), atol=1e-3)


def test_cross_validated_accuracy_of_iris():
    scores = cross_val_score(quick_classifier(epochs=40), IRIS, SPECIES, cv=5)
    assert scores.mean() > 0.93


def test_a_regressor_finds_several_targets():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(200, 3))
    y = np.stack([X[:, 0] * X[:, 1], np.sin(2 * X[:, 2])], axis=1)
    regressor = quick_regressor(hidden_layer_sizes=(32, 32), epochs=80, learning_rate=0.01)
    assert regressor.fit(X, y).score(X, y) > 0.95
    assert regressor.predict(X).shape == (200, 2)
    assert quick_regressor().fit(X, y[:, 0]).predict(X).shape == (200,)


# One training in several parts.


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_five_partial_fits_have_the_bits_of_five_epochs(schedule):
    whole = quick_classifier(epochs=5, schedule=schedule).fit(IRIS, SPECIES)
    parts = quick_classifier(epochs=5, schedule=schedule)
    for _ in range(5):
        parts.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    assert_array_equal(parts.network_.parameters, whole.network_.parameters)
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.n_iter_ == 5


def test_a_partial_fit_on_other_samples_is_the_second_step_of_adam():
    """Linear regression, a step for each call, beside Adam by hand."""
    X, y = IRIS[:, :1], IRIS[:, 3]
    given = {"network": [], "batch_size": 150, "preprocessing": "none"}
    regressor = quick_regressor(**given, learning_rate=1e-300).partial_fit(X, y)
    start = regressor.network_["dense_1.weight"].item(), regressor.network_["dense_1.bias"].item()
    regressor = quick_regressor(**given).partial_fit(X, y).partial_fit(X[:70], -y[:70])
    p, m, v = np.array(start), np.zeros(2), np.zeros(2)
    for step, (x, target) in enumerate([(X[:, 0], y), (X[:70, 0], -y[:70])], start=1):
        errors = p[0] * x + p[1] - target
        g = 2 * np.array([(errors * x).mean(), errors.mean()])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.02 * m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    found = regressor.network_["dense_1.weight"].item(), regressor.network_["dense_1.bias"].item()
    assert_allclose(found, p, rtol=1e-9)


def test_a_warm_start_goes_on_and_another_fit_begins_anew():
    warm = quick_classifier(epochs=3, warm_start=True).fit(IRIS, SPECIES).fit(IRIS, SPECIES)
    whole = quick_classifier(epochs=6).fit(IRIS, SPECIES)
    assert warm.loss_curve_ == whole.loss_curve_
    assert_array_equal(warm.network_.parameters, whole.network_.parameters)
    again = quick_classifier(epochs=3).fit(IRIS, SPECIES)
    assert again.fit(IRIS, SPECIES).loss_curve_ == whole.loss_curve_[:3]


def test_early_stopping_keeps_the_best_weights():
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(120, 20)), generator.integers(0, 2, 120)  # nothing to learn
    found = quick_classifier(
        early_stopping=True, patience=4, epochs=200, validation_fraction=0.25
    ).fit(X, y)
    curve = found.validation_loss_curve_
    assert found.best_validation_loss_ == min(curve)
    assert found.n_iter_ == len(curve) == int(np.argmin(curve)) + 1 + 4 < 200
    shorter = quick_classifier(
        early_stopping=True, patience=4, epochs=int(np.argmin(curve)) + 1, validation_fraction=0.25
    ).fit(X, y)
    assert_array_equal(found.network_.parameters, shorter.network_.parameters)


# Weights.


def test_class_weights_are_sample_weights_by_class():
    y = np.where(np.arange(150) < 130, 0, 1)
    weights = compute_sample_weight("balanced", y)
    by_class = quick_classifier(class_weight="balanced", epochs=3).fit(IRIS, y)
    by_sample = quick_classifier(epochs=3).fit(IRIS, y, weights)
    assert_array_equal(by_class.network_.parameters, by_sample.network_.parameters)
    named = quick_classifier(class_weight={0: 150 / 260, 1: 150 / 40}, epochs=3).fit(IRIS, y)
    assert_array_equal(named.network_.parameters, by_sample.network_.parameters)
    one = quick_classifier(class_weight={1: 3.0}).partial_fit(IRIS[:9], y[:9], classes=[0, 1])
    assert one.loss_curve_ == quick_classifier().partial_fit(IRIS[:9], y[:9], [0, 1]).loss_curve_
    with pytest.raises(DataError, match="class_weight is zero for all of these samples"):
        quick_classifier(class_weight={0: 0.0}).partial_fit(IRIS[:9], y[:9], classes=[0, 1])
    with pytest.raises(
        SpecError, match=r"class_weight is \{2: 3.0\}; expected weights of \[0, 1\]"
    ):
        quick_classifier(class_weight={2: 3.0}).fit(IRIS, y)


def test_samples_of_weight_zero_might_as_well_not_be_there():
    keep = np.arange(150) % 3 > 0
    weighted = quick_regressor(epochs=3).fit(IRIS[:, :3], IRIS[:, 3], keep)
    fewer = quick_regressor(epochs=3).fit(IRIS[keep, :3], IRIS[keep, 3])
    assert_array_equal(weighted.network_.parameters, fewer.network_.parameters)


# Networks.


def test_the_recipe_of_the_digits_by_its_name():
    X, y = load_digits(return_X_y=True)
    X = (X * 15.9375).astype(np.uint8)  # 0 to 16 as bytes
    classifier = FastconvClassifier(
        "digits", image_shape=(8, 8), epochs=2, random_state=0, backend=BACKENDS[-1]
    )
    classifier.fit(X[:800], y[:800])
    assert classifier.score(X[1000:], y[1000:]) > 0.75
    assert classifier.preprocessing_.kind == fastconv.load_recipe("digits").preprocessing.kind
    images = X.reshape(-1, 8, 8, 1)
    again = clone(classifier).set_params(image_shape=None).fit(images[:800], y[:800])
    assert_array_equal(again.predict(images[:50]), classifier.predict(X[:50]))


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        (None, "dense relu dense"),
        ([], "dense"),
        ([Dense(8), ReLU(), Dropout(0.1)], "dense relu dropout dense"),
        ([Dense(8), ReLU(), Dense(3)], "dense relu dense"),
        ((Dense(3), LogSoftmax()), "dense log_softmax"),
    ],
)
def test_the_output_is_added_where_it_is_not_there(network, kinds):
    loss = "nll" if "log_softmax" in kinds else None
    found = quick_classifier(network=network, loss=loss, epochs=1).fit(IRIS, SPECIES).network_
    assert [layer.kind for layer in found.layers] == kinds.split()
    assert found.output_shape == (3,)


@pytest.mark.parametrize("shape", [(8, 8), (3, 5, 2)])
def test_images_get_convolutions_by_default(shape):
    X = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    y = np.where(X.reshape(20, -1).mean(1) > 128, "light", "dark")
    found = quick_classifier(epochs=1).fit(X, y)
    assert [layer.kind for layer in found.network_.layers][:2] == ["conv2d", "relu"]
    assert found.preprocessing_.kind == "scale"
    assert set(found.predict(X)) <= {"light", "dark"}
    convolution = [Conv2D(2), ReLU()]  # flattened before the output
    own = quick_classifier(network=convolution, epochs=1).fit(X, y)
    assert [layer.kind for layer in own.network_.layers[2:]] == ["flatten", "dense"]


def test_parameters_that_are_given_are_not_changed():
    schedule = Plateau(0.01, patience=1)
    given = {
        "network": [Flatten(), Dense(3)], "loss": Loss(label_smoothing=0.1), "schedule": schedule,
        "optimizer": Optimizer("momentum", weight_decay=1e-3), "early_stopping": True,
    }  # fmt: skip
    quick_classifier(**given).fit(IRIS, SPECIES)
    assert schedule == Plateau(0.01, patience=1)
    assert quick_classifier(schedule="cosine").fit(IRIS, SPECIES).score(IRIS, SPECIES) > 0.9
    assert quick_classifier(schedule=0.02).fit(IRIS, SPECIES).score(IRIS, SPECIES) > 0.9


# Among others.


@pytest.fixture
def workers(monkeypatch):
    """Processes of joblib's that are told to use one thread each; the same for all tests."""
    monkeypatch.delenv("FASTCONV_THREADS", raising=False)
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        yield


def test_a_search_in_a_pipeline_with_two_workers(workers):
    pipeline = make_pipeline(StandardScaler(), quick_classifier(epochs=8, preprocessing="none"))
    grid = {
        "fastconvclassifier__network": [[], [Dense(16), ReLU()]],
        "fastconvclassifier__learning_rate": [1e-5, 0.05],
    }
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(IRIS, SPECIES)
    assert search.best_params_["fastconvclassifier__learning_rate"] == 0.05
    assert search.best_score_ > 0.85
    alone = GridSearchCV(pipeline, grid, cv=2).fit(IRIS, SPECIES)
    assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def threads_of_a_fit(backend, threads):
    """Threads that a fit and a prediction start in a process, of a network with work for many."""
    before = len(os.listdir("/proc/self/task"))
    X = np.zeros((256, 512), np.float32)
    network = [Dense(512), ReLU()]
    FastconvClassifier(
        network, epochs=1, batch_size=256, backend=backend, threads=threads, preprocessing="none"
    ).fit(X, np.arange(256) % 2).predict(X)
    return len(os.listdir("/proc/self/task")) - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.skipif("cython" not in BACKENDS, reason="counts the threads of the C engine")
def test_workers_of_joblib_have_as_many_threads_as_joblib_says(workers):
    told, asked = joblib.Parallel(n_jobs=2)(
        joblib.delayed(threads_of_a_fit)("cython", threads) for threads in (None, 3)
    )
    assert told == 0
    assert asked == 2  # beside the caller's own: so they are counted


@pytest.mark.parametrize(
    ("X", "dtype", "expected"),
    [
        (IRIS, None, "float64"),
        (IRIS.astype(np.float32), None, "float32"),
        (IRIS.astype(int), None, "float64"),
        (IRIS, "float32", "float32"),
        (IRIS.reshape(-1, 2, 2, 1), None, "float32"),
    ],
)
def test_a_network_has_the_type_of_its_features(X, dtype, expected):
    fitted = quick_regressor(dtype=dtype, epochs=1).fit(X, IRIS[:, 0])
    assert fitted.network_.dtype == expected
    assert fitted.predict(X).dtype == np.float64  # as y
    assert fitted.fit(X, IRIS[:, 0].astype(np.float32)).predict(X).dtype == np.float32


def test_a_copy_predicts_the_same_and_an_unfitted_one_not_at_all():
    fitted = quick_classifier(epochs=2).fit(IRIS, SPECIES)
    text = pickle.dumps(fitted)
    assert b"Runner" not in text
    assert_array_equal(pickle.loads(text).predict_proba(IRIS), fitted.predict_proba(IRIS))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(IRIS)
    with pytest.raises(NotFittedError):
        pickle.loads(pickle.dumps(quick_regressor())).predict(IRIS)


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_names_of_columns_are_remembered():
    frame = load_iris(as_frame=True).data
    fitted = quick_classifier(epochs=2).fit(frame, SPECIES)
    assert fitted.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[frame.columns[::-1]])
    pipeline = make_pipeline(MinMaxScaler(), quick_classifier(epochs=2))
    pipeline.set_output(transform="pandas").fit(frame, SPECIES)
    assert pipeline[-1].feature_names_in_.tolist() == frame.columns.tolist()


# What is refused.


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"network": Dense(3)}, NetworkError, "network is a Dense; expected a list of layers"),
        ({"network": [Dense(3), Softmax()]}, NetworkError, "has its own softmax"),
        ({"network": [Dense(4), LogSoftmax()]}, NetworkError, r"gives \(4,\); expected \(3,\)"),
        ({"image_shape": (3, 3)}, DataError, "X has 4 values in a row; expected 9"),
        ({"epochs": 0}, SpecError, "epochs is 0; expected an integer of 1 or more"),
        ({"optimizer": "adan"}, SpecError, "kind is 'adan'; expected one of"),
        ({"loss": "mean_squared_error"}, DataError, "the loss is mean_squared_error but"),
        ({"batch_size": 0}, SpecError, "batch_size is 0; expected an integer of 1 or more"),
        ({"learning_rate": 0}, SpecError, "lr is 0; expected more than 0"),
        (
            {"optimizer": "sgd", "learning_rate": 1e30},
            DataError,
            "the training diverged in epoch 1.*smaller learning_rate",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, kind, told):
    with pytest.raises(kind, match=told) as caught:
        quick_classifier(**changes).fit(IRIS, SPECIES)
    assert "\n" not in str(caught.value)


def test_classes_and_targets_of_before_are_asked_for():
    classifier = quick_classifier()
    with pytest.raises(SpecError, match="classes is None; expected all labels"):
        classifier.partial_fit(IRIS, SPECIES)
    classifier.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    with pytest.raises(DataError, match="y holds 3; expected the classes of before"):
        classifier.partial_fit(IRIS, SPECIES + 1)
    with pytest.raises(SpecError, match="expected those of before"):
        classifier.partial_fit(IRIS, SPECIES, classes=[0, 1])
    with pytest.raises(SpecError, match="class_weight is 'balanced'"):
        quick_classifier(class_weight="balanced").partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    regressor = quick_regressor().partial_fit(IRIS, IRIS[:, :2])
    with pytest.raises(DataError, match="y has 1 targets; expected 2 as before"):
        regressor.partial_fit(IRIS, IRIS[:, 0])
    with pytest.raises(DataError, match="y has 1 class of samples that count; expected 2"):
        quick_classifier().fit(IRIS, SPECIES, SPECIES == 1)
