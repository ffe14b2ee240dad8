"""``python -m fastconv.train --check``: first steps beside the reference's, then the training."""

import re

import numpy as np
import pytest
from saved_runs import TINY_RECIPE

from fastconv.backends.numpy import dense, optim
from fastconv.train import main

CONVOLUTIONAL = """
epochs = 1
batch_size = 100
seed = 5
loss = "nll"
layers = [
    { kind = "conv2d", filters = 2 }, { kind = "relu" }, { kind = "dropout", probability = 0.2 },
    { kind = "flatten" }, { kind = "dense", units = 10 }, { kind = "log_softmax" },
]
[data]
dataset = "digits"
[preprocessing]
kind = "standardize"
[augmentation]
crop = 1
[optimizer]
kind = "adam"
lr = 0.01
weight_decay = 0.1
[schedule]
kind = "step"
every_epochs = 1
"""


@pytest.fixture
def train(capsys, tmp_path, monkeypatch):
    """Train a recipe in a new folder; exit code, stdout, stderr and the folder."""
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)

    def call(*options, recipe=TINY_RECIPE):
        file, folder = tmp_path / "own.toml", tmp_path / "run"
        file.write_text(recipe, encoding="utf-8")
        code = main(
            ["--recipe", str(file), "--out", str(folder), "--threads", "1", "--backend", "numpy",
             "--no-report", *options]
        )  # fmt: skip
        said = capsys.readouterr()
        return code, said.out, said.err, folder

    return call


@pytest.mark.parametrize("recipe", [TINY_RECIPE, CONVOLUTIONAL], ids=["dense", "convolutional"])
def test_right_steps_are_one_line_and_the_training_goes_on(train, recipe):
    code, out, err, folder = train("--check", recipe=recipe)
    assert (code, err) == (0, "")
    assert re.match(
        r"check passed: 3 steps of 20 of 100 samples on numpy are those of the reference \(", out
    )
    assert len(re.findall("^check ", out, re.MULTILINE)) == 1
    assert (folder / "weights.safetensors").is_file()


def test_the_check_changes_nothing_of_the_training(train, tmp_path):
    *_, folder = train()
    without = (folder / "weights.safetensors").read_bytes()
    folder.rename(tmp_path / "without")
    *_, folder = train("--check")
    assert (folder / "weights.safetensors").read_bytes() == without


def test_wrong_steps_are_one_line_on_stderr_and_nothing_is_written(train, monkeypatch):
    right = dense.dense_backward_weight

    def wrong(*arguments):
        right(*arguments)
        arguments[3][0] += 0.01

    monkeypatch.setattr(dense, "dense_backward_weight", wrong)
    code, out, err, folder = train("--check")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(
        "fastconv.train: check FAILED: 3 steps of 20 of 100 samples on numpy are not those of the "
        "reference: dense_1.weight is "
    )
    assert line.endswith("; nothing was trained; use another --backend, and report this")
    assert not folder.exists()


def test_the_check_makes_the_updates_of_the_recipe(train, monkeypatch):
    right, rates = optim.sgd_update, []

    def note(spec, w, dw, rate, workspace):
        rates.append(float(rate[0]))
        right(spec, w, dw, rate, workspace)

    monkeypatch.setattr(optim, "sgd_update", note)
    schedule = TINY_RECIPE + '[schedule]\nkind = "exponential"\nfactor = 0.5\nevery_epochs = 0.08\n'
    code, *_ = train("--check", "--steps", "3", recipe=schedule)
    assert code == 0
    # One by one, all in one call, and then for good.
    np.testing.assert_array_equal(rates, rates[:3] * 3)
    assert rates[0] == 0.5
    assert rates[2] < rates[0]


def test_without_the_option_nothing_is_checked(train):
    code, out, *_ = train()
    assert code == 0
    assert "check" not in out


def test_quiet_says_nothing(train):
    assert train("--check", "--quiet")[:3] == (0, "", "")
