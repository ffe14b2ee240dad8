"""Scores of classifiers and regressions, against scikit-learn and arithmetic by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from fastconv import metrics
from fastconv.metrics import (
    class_scores,
    confusion_matrix,
    most_confident_correct,
    most_confident_mistakes,
    probabilities_of,
    regression_scores,
    top_k_accuracy,
)

NAN = float("nan")


@st.composite
def labelled(draw):
    """Labels, predictions and a number of classes, of which some never occur."""
    classes = draw(st.integers(1, 6))
    known = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=4))
    guessed = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=4))
    count = draw(st.integers(1, 30))
    labels = draw(st.lists(st.sampled_from(known), min_size=count, max_size=count))
    predictions = draw(st.lists(st.sampled_from(guessed), min_size=count, max_size=count))
    return np.array(labels), np.array(predictions), classes


@given(labelled())
def test_a_confusion_matrix_counts_true_classes_in_rows(drawn):
    labels, predictions, classes = drawn
    matrix = confusion_matrix(labels, predictions, classes)
    assert matrix.dtype == np.int64
    pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    expected = [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)]
    assert matrix.tolist() == expected


def test_classes_that_never_occur_have_their_row_and_column():
    assert confusion_matrix([1], [1], 3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    empty = np.array([], np.int64)
    assert confusion_matrix(empty, empty, 2).tolist() == [[0, 0], [0, 0]]


@given(labelled())
def test_class_scores_are_those_of_scikit_learn(drawn):
    labels, predictions, classes = drawn
    scores = class_scores(confusion_matrix(labels, predictions, classes))
    options = {"labels": range(classes), "zero_division": np.nan}
    precision, recall, f1, support = precision_recall_fscore_support(labels, predictions, **options)
    np.testing.assert_allclose(scores.precision, precision, rtol=1e-14)
    np.testing.assert_allclose(scores.recall, recall, rtol=1e-14)
    np.testing.assert_allclose(scores.f1, f1, rtol=1e-14)
    np.testing.assert_array_equal(scores.support, support)
    assert scores.predicted.tolist() == [(predictions == c).sum() for c in range(classes)]
    assert scores.accuracy == pytest.approx((labels == predictions).mean(), rel=1e-14)
    macro = precision_recall_fscore_support(labels, predictions, average="macro", **options)
    ours = (scores.macro_precision, scores.macro_recall, scores.macro_f1)
    np.testing.assert_allclose(ours, macro[:3], rtol=1e-13)


def test_what_is_undefined_is_nan_and_left_out_of_the_averages():
    # Class 1 was never predicted, class 2 never occurs, class 3 neither.
    scores = class_scores([[2, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(scores.precision, [2 / 3, NAN, 0, NAN])
    np.testing.assert_array_equal(scores.recall, [2 / 3, 0, NAN, NAN])
    np.testing.assert_array_equal(scores.f1, [4 / 6, 0, 0, NAN])
    assert scores.macro_precision == pytest.approx(1 / 3)
    assert scores.macro_recall == pytest.approx(1 / 3)
    assert scores.macro_f1 == pytest.approx(2 / 9)


def test_without_samples_every_score_is_nan():
    scores = class_scores(np.zeros((2, 2), np.int64))
    assert math.isnan(scores.accuracy)
    assert math.isnan(scores.macro_precision)
    assert math.isnan(scores.macro_recall)
    assert math.isnan(scores.macro_f1)


# Scores and probabilities.


def test_top_k_counts_a_label_among_the_k_largest():
    scores = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0], [9.0, 8.0, 7.0]], np.float32)
    labels = np.array([2, 0, 1])
    assert top_k_accuracy(scores, labels, 1) == 0
    assert top_k_accuracy(scores, labels, 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, labels, 3) == 1


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 1000))
def test_top_k_agrees_with_sorting_ties_to_the_first(classes, samples, seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, (samples, classes))
    labels = generator.integers(0, classes, samples)
    for k in range(1, classes + 1):
        hits = 0
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
            order = sorted(range(classes), key=lambda c: (-row[c], c))
            hits += label in order[:k]
        assert top_k_accuracy(scores, labels, k) == pytest.approx(hits / samples)


def test_top_one_is_the_accuracy_even_where_scores_are_equal():
    assert top_k_accuracy(np.zeros((2, 3)), [0, 1], 1) == 0.5
    assert math.isnan(top_k_accuracy(np.zeros((0, 3)), np.array([], np.int64), 1))


def test_probabilities_are_softmax_in_float64_and_do_not_overflow():
    scores = np.array([[0.0, math.log(3)], [1e4, -1e4]], np.float32)
    probabilities = probabilities_of(scores)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, [[0.25, 0.75], [1, 0]], rtol=1e-7)
    assert np.isnan(probabilities_of([[0.0, NAN], [math.inf, 0.0]])).all()


def test_the_most_confident_come_first_and_of_equals_the_first():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.6, 0.4], [0.9, 0.1]])
    labels = np.array([1, 1, 0, 1, 1])
    mistakes = most_confident_mistakes(probabilities, labels, 10)
    assert mistakes.dtype == np.int64
    assert mistakes.tolist() == [0, 2, 4, 3]
    assert most_confident_mistakes(probabilities, labels, 2).tolist() == [0, 2]
    assert most_confident_correct(probabilities, labels, 10).tolist() == [1]
    assert most_confident_correct(probabilities, labels, 0).tolist() == []


# Regressions.


def test_regression_scores_are_those_of_the_definitions():
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(50, 2)) * [1, 10]
    predictions = targets + generator.normal(size=(50, 2))
    scores = regression_scores(targets, predictions)
    error = predictions - targets
    assert scores.mean_squared_error == pytest.approx((error**2).mean())
    assert scores.root_mean_squared_error == pytest.approx((error**2).mean() ** 0.5)
    assert scores.mean_absolute_error == pytest.approx(abs(error).mean())
    explained = 1 - (error**2).sum(axis=0) / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    assert scores.r2 == pytest.approx(explained.mean())


def test_an_output_whose_targets_are_all_equal_has_no_r2():
    assert math.isnan(regression_scores([2.0], [1.0]).r2)
    assert math.isnan(regression_scores([2.0, 2.0], [2.0, 2.0]).r2)
    two = regression_scores([[1.0, 5.0], [3.0, 5.0]], [[1.0, 4.0], [2.0, 5.0]])
    assert two.r2 == pytest.approx(0.5)


# Faults.


@pytest.mark.parametrize(
    ("call", "fault", "message"),
    [
        (lambda: confusion_matrix([0.5], [0], 2), TypeError, "labels is float64; expected"),
        (lambda: confusion_matrix([[0]], [0], 2), ValueError, "labels has 2 dimensions"),
        (lambda: confusion_matrix([0, 1], [0], 2), ValueError, r"predictions has shape \(1,\)"),
        (lambda: confusion_matrix([2], [0], 2), ValueError, "labels holds 2; expected 0 to 1"),
        (lambda: confusion_matrix([0], [-1], 2), ValueError, "predictions holds -1"),
        (lambda: confusion_matrix([0], [0], 0), ValueError, "classes is 0; expected"),
        (lambda: class_scores([[1.0]]), TypeError, "matrix has dtype float64"),
        (lambda: class_scores([[1, 2]]), ValueError, r"shape \(1, 2\); expected \(classes"),
        (lambda: class_scores([[-1]]), ValueError, "matrix holds -1"),
        (lambda: top_k_accuracy([[1.0, 2.0]], [0], 3), ValueError, "k is 3 but there are 2"),
        (lambda: top_k_accuracy([[1.0, NAN]], [0], 1), ValueError, "scores holds nan"),
        (lambda: top_k_accuracy(["a"], [0], 1), TypeError, "scores has dtype <U1"),
        (lambda: probabilities_of([1.0]), ValueError, "scores has 1 dimensions"),
        (lambda: probabilities_of(np.zeros((2, 0))), ValueError, "at least one class"),
        (lambda: most_confident_mistakes([[2.0, 0.0]], [0], 1), ValueError, "holds 2.0; expected"),
        (lambda: most_confident_correct([[NAN, 0.0]], [0], 1), ValueError, "holds nan; expected"),
        (lambda: most_confident_correct([[1.0]], [0], -1), ValueError, "count is -1"),
        (lambda: regression_scores([1.0], [[1.0]]), ValueError, "predictions has shape"),
        (lambda: regression_scores([1.0], [NAN]), ValueError, "predictions holds nan"),
        (lambda: regression_scores([], []), ValueError, "targets has shape"),
    ],
)
def test_faults_name_the_argument(call, fault, message):
    with pytest.raises(fault, match=message):
        call()


def test_every_public_function_has_an_example():
    functions = [
        value for name, value in vars(metrics).items()
        if getattr(value, "__module__", "") == metrics.__name__
        and callable(value) and not name.startswith("_") and not isinstance(value, type)
    ]  # fmt: skip
    assert len(functions) == 7
    assert all(">>>" in function.__doc__ for function in functions)
