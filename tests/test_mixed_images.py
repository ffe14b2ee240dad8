"""Mixup and cutmix: what they make of images and targets, and how much of each."""

import numpy as np
import pytest
from optional_torch import needs_torch, torch

from fastconv.backends.reference.augment import mix_images
from fastconv.data import Samples
from fastconv.layers import Conv2D, Dense, Flatten
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.augmentation import MixSpec
from fastconv.plans.loss import Loss
from fastconv.plans.operation import InputSpec, RandomSpec
from fastconv.preprocessing import Augmentation
from fastconv.recipe import load_recipe
from fastconv.schedules import Constant
from fastconv.spec import SpecError
from fastconv.trainer import Trainer

COUNT = 80
SIZE = InputSpec(COUNT, 8, 6, 2)
X = np.random.default_rng(0).uniform(20, 200, SIZE.x_shape)


def mixed(step=3, **options):
    y, partners, shares = np.empty(X.shape), np.empty(COUNT, np.int64), np.empty(COUNT)
    spec = MixSpec(SIZE, RandomSpec(7, 1), **options)
    mix_images(spec, X, np.array([step]), y, partners, shares, None)
    return y, partners, shares


def test_mixup_is_a_weighted_mean_of_an_image_and_another_of_the_batch():
    y, partners, shares = mixed(mixup=1.0)
    assert (partners != np.arange(COUNT)).all()
    assert len(set(partners)) > COUNT // 3
    share = shares[:, None, None, None]
    np.testing.assert_allclose(y, share * X + (1 - share) * X[partners], rtol=1e-12)


def test_cutmix_gives_the_partner_one_rectangle_and_counts_its_pixels():
    y, partners, shares = mixed(cutmix=1.0)
    for image, own, other, share in zip(y, X, X[partners], shares, strict=True):
        taken = (image != own).any(axis=2)
        np.testing.assert_array_equal(image[taken], other[taken])
        assert share == pytest.approx(1 - taken.mean())
        if taken.any():
            rows, columns = np.flatnonzero(taken.any(axis=1)), np.flatnonzero(taken.any(axis=0))
            assert taken[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert 0.5 < shares.mean() < 0.9  # rectangles are cut at the edges
    assert shares.min() < 0.3


def test_both_at_once_are_each_half_of_the_time():
    y, partners, _ = mixed(mixup=1.0, cutmix=1.0)
    pieces = ((y == X) | (y == X[partners])).all(axis=(1, 2, 3))
    assert 24 <= pieces.sum() <= 56


@pytest.mark.parametrize("parameter", [0.2, 0.5, 1.0, 4.0])
def test_shares_are_from_the_symmetric_beta_distribution(parameter):
    generator = np.random.default_rng(3)
    spec = MixSpec(SIZE, RandomSpec(0, 0), mixup=parameter)
    drawn = [spec.share(tuple(u), cuts=False) for u in generator.uniform(size=(20000, 2))]
    levels = np.linspace(0.05, 0.95, 10)
    wanted = np.quantile(generator.beta(parameter, parameter, 200000), levels)
    # A quantile of 20000 draws is within a few hundredths of a share of them.
    np.testing.assert_allclose(np.searchsorted(np.sort(drawn), wanted) / 20000, levels, atol=0.015)


def test_the_extremes_of_the_draws_give_numbers():
    for parameter in (1e-3, 0.1, 1.0, 100.0):
        spec = MixSpec(SIZE, RandomSpec(0, 0), mixup=parameter)
        for u1 in (0.0, 0.5, 1 - 2**-24):
            for u2 in (0.0, 0.25, 0.5, 0.75, 1 - 2**-24):
                assert 0 <= spec.share((u1, u2), cuts=False) <= 1


def batch():
    generator = np.random.default_rng(1)
    images = generator.uniform(0, 1, (8, 6, 5, 2))
    return images, generator.integers(0, 3, 8)


def trainer_of(loss, changes, backend, images, labels, **more):
    network = Sequential([Conv2D(4), Flatten(), Dense(3)], (6, 5, 2), dtype="float64")
    return Trainer(
        network, Samples(images, labels), loss=loss, optimizer=Optimizer(), schedule=Constant(0.1),
        batch_size=len(images), augmentation=changes, backend=backend, **more,
    )  # fmt: skip


@needs_torch
@pytest.mark.parametrize("backend", ["numpy", "numba", "cython"])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1, "class_weights": (1.0, 2.0, 0.5)}]
)
def test_a_step_on_mixed_images_is_pytorchs_with_mixed_targets(backend, options):
    images, labels = batch()
    trainer = trainer_of(
        Loss("softmax_cross_entropy", **options), Augmentation(mixup=0.6, cutmix=1.0), backend,
        images, labels,
    )  # fmt: skip
    before = {k: v.copy() for k, v in trainer.network.named_arrays().items()}
    score = trainer.train(1)
    buffers = trainer.runner.buffer
    partners, shares = buffers("partners"), buffers("shares")
    order = buffers("label")  # of the batch, as it was drawn
    w = {name: torch.tensor(array, requires_grad=True) for name, array in before.items()}
    x = torch.tensor(buffers("input.mixed")).permute(0, 3, 1, 2)
    y = torch.nn.functional.conv2d(
        x, w["conv2d_1.weight"].permute(3, 2, 0, 1), w["conv2d_1.bias"]
    ).permute(0, 2, 3, 1).flatten(1)  # fmt: skip
    scores = y @ w["dense_1.weight"] + w["dense_1.bias"]
    one_hot = np.eye(3)[order]
    targets = torch.tensor(shares[:, None] * one_hot + (1 - shares[:, None]) * one_hot[partners])
    weight = torch.tensor(options["class_weights"]).double() if options else None
    loss = torch.nn.functional.cross_entropy(
        scores, targets, weight=weight, label_smoothing=options.get("label_smoothing", 0.0)
    )
    loss.backward()
    assert score.loss == pytest.approx(loss.item(), rel=1e-9)
    for name, array in trainer.network.named_arrays().items():
        wanted = before[name] - 0.1 * w[name].grad.numpy()
        np.testing.assert_allclose(array, wanted, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("backend", ["numba", "cython"])
def test_training_on_mixed_images_is_the_same_on_every_backend(backend):
    images, labels = batch()
    made = []
    for name in ("numpy", backend):
        changes = Augmentation(flip=True, mixup=0.4, cutmix=1.0)
        trainer = trainer_of("softmax_cross_entropy", changes, name, images, labels)
        for _ in range(5):
            trainer.train(1)
        made.append(trainer.network.parameters)
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=1e-12)


def test_targets_of_a_regression_are_mixed_too():
    images, _ = batch()
    targets = np.random.default_rng(2).normal(size=(8, 3))
    changes = Augmentation(mixup=1.0)
    trainer = trainer_of("mean_squared_error", changes, "numpy", images, targets)
    trainer.train(1)
    own, partners, shares = map(trainer.runner.buffer, ("target", "partners", "shares"))
    wanted = shares[:, None] * own + (1 - shares[:, None]) * own[partners]
    np.testing.assert_allclose(trainer.runner.buffer("target.mixed"), wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "more", "said"),
    [
        (Loss("nll"), {}, "mixup is 'on'; expected none under the loss nll"),
        (Loss(ignore_index=2), {}, "mixup is 'on'; expected none with loss.ignore_index"),
        ("softmax_cross_entropy", {"sample_weights": np.ones(8)}, "expected none with sample_w"),
    ],
)
def test_what_cannot_be_mixed_is_refused(loss, more, said):
    images, labels = batch()
    from fastconv.layers import LogSoftmax

    network = Sequential(
        [Flatten(), Dense(3), *([LogSoftmax()] if loss == Loss("nll") else [])], (6, 5, 2)
    )
    with pytest.raises(SpecError, match=said):
        Trainer(
            network, Samples(images, labels), loss=loss, optimizer="sgd", schedule=0.1,
            batch_size=8, augmentation=Augmentation(mixup=1.0), backend="numpy", **more,
        )  # fmt: skip


def test_a_recipe_says_the_mixing_and_refuses_what_cannot_be_mixed():
    recipe = load_recipe("digits", [("augmentation.cutmix", 1.0)])
    assert recipe.augmentation.augmentation().mixes
    with pytest.raises(ValueError, match="cutmix mixes the images of a batch, but batch_size is 1"):
        load_recipe("digits", [("augmentation.cutmix", 1.0), ("batch_size", 1)])
    with pytest.raises(ValueError, match=r"augmentation\.mixup is 'on'; expected none with loss"):
        load_recipe("digits", [("augmentation.mixup", 1.0), ("loss.ignore_index", 1)])
