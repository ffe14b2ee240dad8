"""The oracle's two ends of a training step: the input with its augmentation, and the update.

Expected values are worked out by hand.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastconv.backends.reference import input as reference_input
from fastconv.backends.reference import optim
from fastconv.plans.operation import AugmentSpec, InputSpec, OptimizerSpec, RandomSpec


def apply(kernel, spec, *inputs, shape, dtype=np.float64):
    """The output of a kernel that writes one array."""
    out = np.full(shape, 77, dtype)
    kernel(spec, *inputs, out, None)
    return out


# Updates: two steps each


def two_steps(kernel, spec, w, gradients, *buffers, rate, count=False):
    """The parameters after each of two steps."""
    w, seen = np.array(w, np.float64), []
    for step, gradient in enumerate(gradients):
        state = [np.array([rate])] + ([np.array([step])] if count else [])
        kernel(spec, w, np.array(gradient, np.float64), *buffers, *state, None)
        seen.append(w.copy())
    return seen


def test_sgd_with_l2_and_coupled_decay_by_hand():
    spec = OptimizerSpec("sgd", 3, weights=2, decayed=1, l2=0.25, coupled_decay=0.1)
    first, second = two_steps(optim.sgd_update, spec, [1, 1, 1], [[1, 1, 1]] * 2, rate=0.5)
    # g = (1 + 0.5 + 0.1, 1 + 0.5, 1), then (1 + 0.1 + 0.02, 1 + 0.125, 1).
    assert_allclose(first, [0.2, 0.25, 0.5], rtol=1e-14)
    assert_allclose(second, [0.2 - 0.56, 0.25 - 0.5625, 0], rtol=1e-14)


def test_decoupled_decay_by_hand():
    spec = OptimizerSpec("sgd", 2, weights=2, decayed=1, decoupled_decay=0.2)
    first, second = two_steps(optim.sgd_update, spec, [1, 1], [[1, 1]] * 2, rate=0.5)
    assert_allclose(first, [1 - 0.5 - 0.1, 0.5], rtol=1e-14)
    assert_allclose(second, [0.4 - 0.5 - 0.04, 0], rtol=1e-14)


@pytest.mark.parametrize(
    ("kind", "averaged", "updates"),
    [
        ("momentum", False, (1, 1.5)),
        ("momentum", True, (0.5, 0.75)),
        ("nesterov", False, (1 + 0.5, 1 + 0.75)),
        ("nesterov", True, (0.5 + 0.25, 0.5 + 0.375)),
    ],
)
def test_momentum_by_hand(kind, averaged, updates):
    spec = OptimizerSpec(kind, 1, 1, 0, momentum=0.5, averaged=averaged)
    velocity = np.zeros(1)
    first, second = two_steps(optim.momentum_update, spec, [8], [[1], [1]], velocity, rate=2.0)
    assert first.item() == 8 - 2 * updates[0]
    assert second.item() == 8 - 2 * updates[0] - 2 * updates[1]
    assert velocity.item() == (0.75 if averaged else 1.5)


def test_momentum_decays_apart_from_the_velocity():
    spec = OptimizerSpec("momentum", 1, 1, 1, momentum=0.5, decoupled_decay=0.25)
    velocity = np.zeros(1)
    first, second = two_steps(optim.momentum_update, spec, [4], [[1], [0]], velocity, rate=1.0)
    assert first.item() == 4 - 1 - 1
    assert second.item() == 2 - 0.5 - 0.5


def test_adam_by_hand():
    spec = OptimizerSpec("adam", 1, 1, 0, beta1=0.5, beta2=0.75, epsilon=1.0)
    m, v = np.zeros(1), np.zeros(1)
    first, second = two_steps(optim.adam_update, spec, [0], [[2], [-2]], m, v, rate=9.0, count=True)
    # m = 1, v = 1, corrected 2 and 4; then m = -1/2, v = 7/4, corrected -2/3 and 4.
    assert_allclose(first, -9 * 2 / (2 + 1), rtol=1e-14)
    assert_allclose(second, -6 + 9 * (2 / 3) / (2 + 1), rtol=1e-14)
    assert (m.item(), v.item()) == (-0.5, 1.75)


def test_adamw_takes_its_decay_from_the_old_parameter():
    spec = OptimizerSpec("adam", 1, 1, 1, beta1=0.5, beta2=0.75, epsilon=1.0, decoupled_decay=0.25)
    state = np.zeros(1), np.zeros(1)
    first, _ = two_steps(optim.adam_update, spec, [8], [[2]] * 2, *state, rate=0.5, count=True)
    assert_allclose(first, 8 - 0.5 * 2 / 3 - 0.5 * 0.25 * 8, rtol=1e-14)


# The input


def test_gathered_images_and_rows_keep_their_raw_values():
    images = np.array([[0, 255], [1, 2], [3, 4]], np.uint8).reshape(3, 1, 2, 1)
    indices = np.array([2, 0, 2])
    spec = InputSpec(3, 1, 2, 1)
    x = apply(
        reference_input.gather_images, spec, images, indices, shape=spec.x_shape, dtype=np.float32
    )
    assert x.reshape(3, 2).tolist() == [[3, 4], [0, 255], [3, 4]]
    labels = np.array([7, 8, 9])
    out = apply(reference_input.gather_rows, spec, labels, indices, shape=3, dtype=np.int64)
    assert out.tolist() == [9, 7, 9]


def test_scaling_and_standardising_by_hand():
    spec = InputSpec(1, 1, 2, 2)
    x = np.array([1.0, 10, 3, 30]).reshape(spec.x_shape)
    y = apply(reference_input.scale_images, spec, x, np.array([0.5]), shape=x.shape)
    assert y.ravel().tolist() == [0.5, 5, 1.5, 15]
    mean, std = np.array([1.0, 10]), np.array([2.0, 4])
    y = apply(reference_input.standardize_images, spec, x, mean, std, shape=x.shape)
    assert y.ravel().tolist() == [0, 0, 1, 5]
    mean, std = np.array([[1.0, 8], [1, 0]]), np.array([[2.0, 4], [1, 3]])
    y = apply(reference_input.standardize_images, spec, x, mean, std, shape=x.shape)
    assert y.ravel().tolist() == [0, 0.5, 2, 10]


def test_min_max_scales_each_image_by_itself_and_a_constant_one_to_zero():
    spec = InputSpec(3, 1, 3, 1)
    x = np.array([[1.0, 2, 5], [7, 7, 7], [0, -1, 1]]).reshape(spec.x_shape)
    y = apply(reference_input.min_max_images, spec, x, shape=x.shape)
    assert y.reshape(3, 3).tolist() == [[0, 0.25, 1], [0, 0, 0], [0.5, 0, 1]]


# Augmentation: the draws u_0 to u_8 are set by hand

HALF = dict.fromkeys(range(12), 0.5)
"""No flip, no shift, no angle: the middle of every range."""


@pytest.fixture
def augment(monkeypatch):
    """Augment a stack of images (batch, height, width) with given draws for each."""

    def run(images, *draws, **changes):
        images = np.array(images, np.float64)[..., None]
        spec = AugmentSpec(InputSpec(*images.shape), RandomSpec(0, 0), **changes)

        def fixed_words(random, step, words, workspace):
            shares = [(HALF | chosen)[k] for chosen in draws for k in range(12)]
            words[:] = [round(share * 2**24) << 8 for share in shares]

        monkeypatch.setattr(reference_input, "random_words", fixed_words)
        step = np.array([0])
        return apply(reference_input.augment_images, spec, images, step, shape=images.shape)[..., 0]

    return run


IMAGE = np.arange(1.0, 10).reshape(3, 3)
MOST = 1 - 2**-24
"""The largest draw there is."""


def test_nothing_changes_where_nothing_may(augment):
    assert_array_equal(augment([IMAGE], dict.fromkeys(range(12), 0.0))[0], IMAGE)


def test_each_image_flips_by_its_own_draw(augment):
    got = augment([IMAGE, IMAGE], {0: 0.5}, {0: 0.5 - 2**-24}, flip=True)
    assert_array_equal(got, [IMAGE, [[3, 2, 1], [6, 5, 4], [9, 8, 7]]])


def test_crop_shifts_by_whole_pixels_and_fills_with_zero(augment):
    # floor(0 * 3) - 1 = -1 row: the first row comes from the padding.
    assert_array_equal(augment([IMAGE], {1: 0.0}, crop=1)[0], [[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    assert_array_equal(augment([IMAGE], {2: MOST}, crop=1)[0], [[2, 3, 0], [5, 6, 0], [8, 9, 0]])
    assert_array_equal(augment([IMAGE], {1: MOST, 2: MOST}, crop=3)[0], np.zeros((3, 3)))


def test_the_flip_comes_before_the_crop(augment):
    got = augment([[[1, 2, 3]]], {0: 0.0, 2: MOST}, flip=True, crop=1)
    assert_array_equal(got, [[[2, 1, 0]]])


def test_a_warp_by_nothing_is_the_identity(augment):
    got = augment([IMAGE], {}, rotation=30, shear=20, translation=0.3)
    assert_allclose(got[0], IMAGE, rtol=1e-14)


@pytest.mark.parametrize(("draw", "quarters"), [(0.75, 1), (0.25, -1), (0.0, -2)])
def test_quarter_turns_are_those_of_rot90(augment, draw, quarters):
    # (2 * 0.75 - 1) * 180 degrees: a positive angle turns the picture counterclockwise.
    for image in (IMAGE, np.arange(16.0).reshape(4, 4)):
        got = augment([image], {3: draw}, rotation=180)
        assert_allclose(got[0], np.rot90(image, quarters), atol=1e-13)


def test_translation_moves_the_picture_down_and_right(augment):
    # (2 * 0.75 - 1) * (2/3 * 3 pixels) = 1 pixel; between two pixels both count.
    got = augment([IMAGE], {5: 0.75}, translation=2 / 3)
    assert_allclose(got[0], [[0, 0, 0], [1, 2, 3], [4, 5, 6]], atol=1e-14)
    got = augment([IMAGE], {6: 0.75}, translation=1 / 3)
    assert_allclose(got[0], [[0.5, 1.5, 2.5], [2, 4.5, 5.5], [3.5, 7.5, 8.5]], atol=1e-14)


def test_shear_moves_rows_against_each_other(augment):
    # (2 * 0 - 1) * 45 degrees has the tangent -1: the row above the centre samples 1 to the left.
    got = augment([IMAGE], {4: 0.0}, shear=45)
    assert_allclose(got[0], [[0, 1, 2], [4, 5, 6], [8, 9, 0]], atol=1e-14)


@pytest.mark.parametrize(
    ("cutout", "rows", "columns", "expected"),
    [
        (1, 0.5, 0.0, [[1, 2, 3], [0, 5, 6], [7, 8, 9]]),
        (2, 0.5, 0.5, [[0, 0, 3], [0, 0, 6], [7, 8, 9]]),
        (3, 0.0, MOST, [[1, 0, 0], [4, 0, 0], [7, 8, 9]]),
        (3, 0.5, 0.5, [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_cutout_zeroes_a_clipped_square(augment, cutout, rows, columns, expected):
    assert_array_equal(augment([IMAGE], {7: rows, 8: columns}, cutout=cutout)[0], expected)


def test_the_affine_map_of_the_spec_is_the_one_that_is_sampled(augment):
    # An image that grows linearly is sampled exactly wherever all four neighbours are inside.
    rows, columns = np.indices((9, 8), dtype=np.float64)
    draws = {3: 0.75, 4: 0.25, 5: 0.625, 6: 0.375}
    options = {"rotation": 20.0, "shear": 10.0, "translation": 0.1}
    spec = AugmentSpec(InputSpec(1, 9, 8, 1), RandomSpec(0, 0), **options)
    r0, ri, rj, c0, ci, cj = spec.affine((0.75, 0.25, 0.625, 0.375))
    row, column = r0 + ri * rows + rj * columns, c0 + ci * rows + cj * columns
    inside = (row >= 0) & (row <= 8) & (column >= 0) & (column <= 7)
    assert 30 < inside.sum() < 72
    got = augment([10 * rows + columns], draws, **options)[0]
    assert_allclose(got[inside], (10 * row + column)[inside], rtol=1e-12)


def test_draws_are_the_upper_bits_of_the_images_twelve_words():
    # Random123's first word for a zero key and counter is 0x6627e8d5, below one half: a flip.
    x = np.array([1.0, 2]).reshape(1, 1, 2, 1)
    spec = AugmentSpec(InputSpec(1, 1, 2, 1), RandomSpec(0, 0), flip=True)
    y = apply(reference_input.augment_images, spec, x, np.array([0]), shape=x.shape)
    assert y.ravel().tolist() == [2, 1]
    empty = np.empty((0, 1, 2, 1))
    spec = AugmentSpec(InputSpec(0, 1, 2, 1), RandomSpec(0, 0), flip=True, rotation=5)
    reference_input.augment_images(spec, empty, np.array([0]), empty.copy(), None)
