"""The measures behind the claims, on numbers worked out by hand."""

import math

import numpy as np
import pytest

from fastconv.reproduce.comparisons import Comparison, Variation, judge
from fastconv.reproduce.paired import Difference, difference
from fastconv.reproduce.prediction_measures import likeness, share_within_groups
from fastconv.reproduce.training_measures import swing, tops_and_ends
from fastconv.reproduce.verdicts import is_larger, measure, shown_measurement
from fastconv.reproduce.weight_measures import roughness


def test_an_accuracy_has_the_error_of_a_share():
    assert measure([0.2], samples=400).error == pytest.approx(math.sqrt(0.2 * 0.8 / 400))


def test_several_seeds_add_their_spread():
    value = measure([0.1, 0.3], samples=100)
    # Deviation of 0.1 and 0.3 is 0.1414; over the root of two seeds it is 0.1.
    assert (value.mean, value.spread) == (pytest.approx(0.2), pytest.approx(0.02**0.5))
    assert value.error == pytest.approx(math.sqrt(0.01 + 0.2 * 0.8 / 100))


def test_a_loss_of_one_seed_shows_nothing():
    assert is_larger(measure([3.0]), measure([1.0])) == "not shown"
    assert is_larger(measure([3.0, 3.1]), measure([1.0, 1.1])) == "shown"
    assert is_larger(measure([1.0, 1.1]), measure([3.0, 3.1])) == "refuted"


def test_a_training_that_diverged_shows_nothing():
    assert is_larger(measure([None], 100), measure([0.5], 100)) == "not shown"
    assert shown_measurement("test_accuracy", measure([None])) == "\N{EN DASH}"


# Two systems on the same samples.


def test_the_error_of_a_difference_comes_from_disagreements():
    # 100 samples: 10 that only the first gets right, 4 that only the second does.
    first = np.array([[True] * 80 + [True] * 10 + [False] * 4 + [False] * 6])
    second = np.array([[True] * 80 + [False] * 10 + [True] * 4 + [False] * 6])
    found = difference(first, second)
    assert found.value == pytest.approx(0.06)
    # Sum of squares 14 less 6^2 / 100, over 99, is the variance of the differences.
    assert found.error == pytest.approx(math.sqrt((14 - 0.36) / 99 / 100))
    assert found.is_positive == "not shown"


def test_what_no_sample_contradicts_is_shown():
    first = np.array([[True] * 90 + [False] * 10])
    second = np.array([[True] * 70 + [False] * 30])
    assert difference(first, second).is_positive == "shown"
    assert difference(second, first).is_positive == "refuted"
    assert difference(first, first).is_positive == "not shown"


def test_the_spread_of_seeds_makes_a_difference_less_sure():
    steady = np.array([[True] * 90 + [False] * 10] * 2)
    moving = np.array([[True] * 60 + [False] * 40, [True] * 100])
    assert difference(steady, moving).value == pytest.approx(0.1)
    # Seeds of 60 and 100 %: variance 0.08 of one seed, 0.04 of their mean.
    assert difference(steady, moving).error > 0.2


def test_differences_of_differences_add_their_errors():
    assert Difference(0.5, 0.03) - Difference(0.2, 0.04) == Difference(
        pytest.approx(0.3), pytest.approx(0.05)
    )


# Pictures.


def test_a_map_that_is_the_image_or_its_negative_is_wholly_alike():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 1)).astype(np.uint8)
    same = image.astype(np.float32)
    assert likeness(image, same) == pytest.approx(1)
    assert likeness(image, 255 - same) == pytest.approx(1)
    flat = np.ones_like(same)
    assert likeness(image, flat) == 0
    assert likeness(image, np.concatenate([flat, same], axis=2)) == pytest.approx(1)


def test_maps_are_compared_at_their_own_size():
    ramp = np.tile(np.arange(8, dtype=np.uint8)[:, None, None] * 20, (1, 8, 3))
    small = np.tile(np.arange(4, dtype=np.float32)[:, None, None], (1, 4, 1))
    assert likeness(ramp, small) == pytest.approx(1)
    assert likeness(ramp, small.transpose(1, 0, 2)) == pytest.approx(0, abs=1e-12)


def test_noise_is_rougher_than_a_ramp():
    # Neighbours in a column differ by 1, in a row by 0: 12 and 12 differences of a 4 x 4 picture.
    ramp = np.tile(np.arange(4.0)[:, None, None, None], (1, 4, 1, 1))
    assert roughness(ramp) == pytest.approx(0.5 / math.sqrt(1.25))
    noise = np.random.default_rng(0).normal(size=(64, 64, 3, 4))
    # Of two independent normal numbers the mean absolute difference is 2 / sqrt(pi) deviations.
    assert roughness(noise) == pytest.approx(2 / math.sqrt(math.pi), rel=0.02)
    assert roughness(5 * noise) == pytest.approx(roughness(noise))


# Curves.


def test_a_loss_that_jumps_swings_and_one_that_diverged_swings_without_end():
    assert swing(np.array([5.0, 4.0, 2.0, 4.0, 2.0, 4.0])) == pytest.approx(2 / (10 / 3))
    assert swing(np.array([9.0, 5.0, 1.0, 1.0, 1.0])) == 0
    assert swing(np.array([1.0, 1.0, 1.0, np.nan])) == math.inf


def test_cycles_are_looked_at_where_the_rate_turns():
    steps = np.arange(1.0, 13.0) * 100
    values = np.arange(12.0)
    # Rates turn after 300, 600, 900 and 1200 steps.
    assert tops_and_ends(steps, values, 300) == [(2.0, 5.0), (8.0, 11.0)]
    assert tops_and_ends(steps[:5], values[:5], 300) == []


def test_mistakes_within_groups_are_counted():
    # Classes 0 and 1 are of a group, 2 and 3 of the other.
    matrix = np.array([[5, 3, 1, 0], [0, 9, 0, 0], [0, 0, 7, 2], [2, 0, 0, 6]])
    share, mistakes, by_chance = share_within_groups(matrix, [True, True, False, False])
    assert (share, mistakes) == (pytest.approx(5 / 8), 8)
    assert by_chance == pytest.approx(1 / 3)  # one of three wrong classes


# Comparisons.


def comparison(expects, **more):
    variations = tuple(Variation(label, {}) for label in "abc")
    return Comparison("D", "test", "A test.", "digits", variations, expects, **more)


def measured(*values, samples=10_000):
    return dict(zip("abc", (measure([value], samples) for value in values), strict=True))


@pytest.mark.parametrize(
    ("expects", "values", "verdict"),
    [
        ("rises", (0.80, 0.85, 0.90), "shown"),
        ("rises", (0.90, 0.95, 0.80), "refuted"),
        ("rises", (0.90, 0.95, 0.901), "not shown"),
        ("falls", (0.90, 0.85, 0.80), "shown"),
        ("rises", (0.80, 0.95, 0.90), "not shown"),
        ("falls", (0.80, 0.85, 0.90), "refuted"),
        ("falls", (0.90, 0.91, 0.80), "not shown"),
    ],
)
def test_the_last_variation_is_compared_with_the_first_and_none_turns_back(
    expects, values, verdict
):
    assert judge(comparison(expects), measured(*values)) == verdict


def test_the_best_must_beat_every_other():
    best = comparison("best", best="c")
    assert judge(best, measured(0.8, 0.85, 0.9)) == "shown"
    assert judge(best, measured(0.8, 0.899, 0.9)) == "not shown"
    assert judge(best, measured(0.8, 0.95, 0.9)) == "refuted"
    smallest = comparison("best", best="c", figure="test_loss")
    values = {"a": measure([3.0, 3.1]), "b": measure([2.0, 2.1]), "c": measure([1.0, 1.1])}
    assert judge(smallest, values) == "shown"


def test_equal_is_within_a_margin():
    equal = comparison("equal", within=0.01)
    assert judge(equal, measured(0.900, 0.905, 0.908, samples=1_000_000)) == "shown"
    # Within it, but by chance perhaps: a standard error is 0.004.
    assert judge(equal, measured(0.900, 0.905, 0.908)) == "not shown"
    assert judge(equal, measured(0.90, 0.95, 0.80)) == "refuted"
    assert judge(equal, measured(0.900, 0.905, 0.915)) == "not shown"


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ([0.5, 0.6], "shown"),
        ([1.1, 1.2], "shown"),
        ([1.1, 1.6], "not shown"),
        ([2, 2.1], "refuted"),
    ],
)
def test_no_worse_is_within_a_margin_on_one_side(last, verdict):
    losses = {"a": measure([1.0, 1.1]), "b": measure([9.0, 9.1]), "c": measure(last)}
    assert judge(comparison("no worse", figure="test_loss", within=0.3), losses) == verdict


@pytest.mark.parametrize(("last", "verdict"), [(0.95, "shown"), (0.88, "shown"), (0.8, "refuted")])
def test_an_accuracy_is_worse_where_it_is_smaller(last, verdict):
    accuracies = measured(0.9, 0.5, last, samples=1_000_000)
    assert judge(comparison("no worse", within=0.03), accuracies) == verdict
