"""Test-time augmentation and the learning-rate finder."""

import json

import numpy as np
import pytest
from optional_torch import needs_torch, torch

from fastconv import evaluate, predict, train
from fastconv.averaged_views import Views
from fastconv.data import Samples
from fastconv.layers import Dense
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.rate_finder import find_learning_rate
from fastconv.runs.saved_run import load_run
from fastconv.schedules import Constant
from fastconv.spec import SpecError
from fastconv.trainer import Trainer

IMAGE = np.arange(12.0).reshape(1, 3, 4, 1)


def test_the_views_are_the_image_its_crops_and_their_mirror_images():
    crops = list(Views(shift=1).of(IMAGE))
    assert [view[0, :, :, 0].tolist() for view in crops] == [
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        # A pixel up and left: row 1 and column 1 stand in front of row 0 and column 0.
        [[5, 4, 5, 6], [1, 0, 1, 2], [5, 4, 5, 6]],
        [[5, 6, 7, 6], [1, 2, 3, 2], [5, 6, 7, 6]],
        [[5, 4, 5, 6], [9, 8, 9, 10], [5, 4, 5, 6]],
        [[5, 6, 7, 6], [9, 10, 11, 10], [5, 6, 7, 6]],
    ]
    with_mirrors = list(Views(flip=True, shift=1).of(IMAGE))
    assert len(with_mirrors) == Views(flip=True, shift=1).count == 10
    for view, mirrored in zip(with_mirrors[::2], with_mirrors[1::2], strict=True):
        np.testing.assert_array_equal(mirrored, view[:, :, ::-1])


def test_scores_are_the_mean_over_the_views():
    scores = Views(flip=True).scores(lambda images: images[:, 0, :2, 0], IMAGE)
    np.testing.assert_array_equal(scores, [[(0 + 3) / 2, (1 + 2) / 2]])


def test_a_shift_that_images_are_too_small_for_is_named():
    with pytest.raises(SpecError, match="shift is 3; expected less than the smaller side of the"):
        list(Views(shift=3).of(IMAGE))


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "digits"
    arguments = ["--recipe", "digits", "--steps", "60", "--no-report", "--quiet", "--threads", "1"]
    assert train.main([*arguments, "--out", str(path)]) == 0
    return path


@needs_torch
def test_evaluate_scores_the_mean_of_the_views(a_run, tmp_path):
    file = tmp_path / "scores.json"
    options = ["--average-flips", "--average-crops", "1", "--quiet", "--json", str(file)]
    assert evaluate.main([str(a_run), *options]) == 0
    found = json.loads(file.read_text())
    saved = load_run(a_run)
    from fastconv.data import load_digits

    test = load_digits().test
    inference = saved.inference()
    flat = [inference.predict(view) for view in Views(flip=True, shift=1).of(test.images)]
    scores = torch.from_numpy(np.mean(np.array(flat, np.float64), axis=0))
    labels = torch.from_numpy(test.labels)
    assert found["views"] == 10
    assert found["accuracy"] == (scores.argmax(1) == labels).double().mean().item()
    expected = torch.nn.functional.cross_entropy(scores, labels).item()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


@needs_torch
def test_predict_averages_probabilities_of_the_views(a_run, tmp_path):
    from fastconv.data import load_digits

    images = load_digits().test.images[:3]
    np.save(tmp_path / "images.npy", images)
    file = tmp_path / "predictions.json"
    options = ["--average-flips", "--json", str(file), "--top", "10"]
    assert predict.main([str(a_run), str(tmp_path / "images.npy"), *options]) == 0
    inference = load_run(a_run).inference()
    scores = inference.predict(images).astype(np.float64)
    mirrored = inference.predict(np.ascontiguousarray(images[:, :, ::-1]))
    expected = torch.softmax(torch.from_numpy((scores + mirrored) / 2), 1)
    for row, made in zip(expected, json.loads(file.read_text())["predictions"], strict=True):
        for each in made["classes"]:
            assert each["probability"] == pytest.approx(row[int(each["class"])].item(), rel=1e-5)


# The learning-rate finder


def linear_trainer(scale=1.0):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 1, 1, 5))
    y = scale * x[:, 0, 0] @ generator.normal(size=(5, 2))
    network = Sequential([Dense(2)], (5,), seed=1, dtype="float64")
    return Trainer(
        network, Samples(x, y), loss="mean_squared_error", optimizer=Optimizer(),
        schedule=Constant(1.0), batch_size=64, backend="numpy",
    )  # fmt: skip


def test_the_suggested_rate_is_below_the_one_at_which_a_quadratic_diverges():
    trainer = linear_trainer()
    x = trainer.training.images[:, 0, 0]
    # Mean squared error over two outputs: its Hessian is X^T X / 64.
    limit = 2 / np.linalg.eigvalsh(x.T @ x / 64).max()
    tried = find_learning_rate(trainer, steps=100, least=1e-4, most=100.0)
    assert 0.02 * limit < tried.suggested < limit
    assert tried.rates[-1] > limit  # it went on until the loss exploded, and no further
    assert len(tried.rates) < 100
    growth = tried.rates[1:] / tried.rates[:-1]
    np.testing.assert_allclose(growth, 1e6 ** (1 / 99))


def test_rates_that_are_too_large_from_the_first_on_are_named():
    with pytest.raises(SpecError, match=r"least is 100000\.0; expected less: the loss explodes in"):
        find_learning_rate(linear_trainer(), least=1e5, most=1e9)


def test_find_lr_draws_a_picture_and_trains_nothing(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "rates"
    arguments = ["--recipe", "digits", "--find-lr", "--threads", "1", "--out", str(path)]
    assert train.main(arguments) == 0
    assert {each.name for each in path.iterdir()} == {
        "learning_rates.json", "learning_rates.png", "learning_rates.svg"
    }  # fmt: skip
    found = json.loads((path / "learning_rates.json").read_text())
    assert 1e-6 < found["suggested"] < 10
    assert "suggested learning rate" in capsys.readouterr().out
