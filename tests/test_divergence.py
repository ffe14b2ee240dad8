"""Trainings that diverge: where that began, and going back with smaller learning rates."""

import json

import numpy as np
import pytest
import soak
from safetensors.numpy import load_file
from saved_runs import line, recipe_of

import fastconv
from fastconv import train
from fastconv.backends.selection import NAMES, backend_state
from fastconv.data import DataError, Dataset, Samples
from fastconv.execution.checkpoint import Checkpoint
from fastconv.layers import Dense, Flatten, ReLU
from fastconv.optimizers import Optimizer
from fastconv.runs.divergence import find_divergence
from fastconv.runs.experiment import prepare
from fastconv.schedules import Constant
from fastconv.training_loop import fit

BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]


def made_trainer(layers, backend="numpy", lr=5.0, images=None):
    images = np.ones((40, 1, 1, 1), np.float32) if images is None else images
    return fastconv.Trainer(
        fastconv.Sequential(layers, input_shape=images.shape[3:]),
        Samples(images, np.zeros((len(images), 1), np.float32)),
        loss="mean_squared_error",
        optimizer=Optimizer("sgd"),
        schedule=Constant(lr),
        batch_size=2,
        backend=backend,
        threads=1,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_step_is_the_first_one_whose_loss_is_not_finite(backend):
    """With x = 1 and target 0 the output w + b is multiplied by 1 - 2 * 2 * lr at each step."""
    trainer = made_trainer([Dense(1)], backend)
    trainer.network["dense_1.weight"][...] = 1.0
    good = trainer.checkpoint()
    assert fit(trainer, 400).stopped == "diverged"
    found = find_divergence(trainer, good)
    # 19 ** k squared is beyond float32's 3.4e38 from k = 16 on, which is step 17.
    assert 19.0**30 < float(np.finfo(np.float32).max) < 19.0**32
    assert (found.step, found.layer) == (17, None)
    assert found.cause == "the loss is infinite or NaN, and no layer's output is"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layer_is_the_first_one_whose_output_is_not_finite(backend):
    trainer = made_trainer([Dense(3), ReLU(), Dense(2), Dense(1)], backend, lr=1e-9)
    for name in ("dense_1.weight", "dense_2.weight", "dense_3.weight"):
        trainer.network[name][...] = 1e20  # 1e20, then 3e40, which float32 lacks
    good = trainer.checkpoint()
    assert fit(trainer, 20).stopped == "diverged"
    found = find_divergence(trainer, good)
    assert (found.step, found.layer) == (1, "dense_2")


def test_an_update_that_ruins_the_weights_is_named_with_them():
    trainer = made_trainer([Dense(1)], lr=1e30)
    trainer.network["dense_1.weight"][...] = 1e15
    good = trainer.checkpoint()
    assert fit(trainer, 20).stopped == "diverged"
    found = find_divergence(trainer, good)
    assert (found.step, found.layer) == (2, "dense_1")
    assert found.cause == "dense_1.weight is infinite or NaN since the update of step 1"


def test_what_looked_leaves_the_trainer_as_it_was():
    trainer = made_trainer([Dense(1)])
    good = trainer.checkpoint()
    fit(trainer, 400)
    step, weights = trainer.step, trainer.network.parameters.copy()
    find_divergence(trainer, good)
    assert trainer.step == step
    np.testing.assert_array_equal(trainer.network.parameters, weights)


def test_data_that_were_made_nan_after_the_check_are_found():
    images = np.ones((40, 1, 1, 1), np.float32)
    trainer = made_trainer([Flatten(), Dense(1)], lr=0.1, images=images)
    good = trainer.checkpoint()
    images[23] = np.nan
    assert fit(trainer, 20).stopped == "diverged"
    assert "sample 23 of the training data holds nan in its image" in (
        find_divergence(trainer, good).cause
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["training", "test"])
def test_data_that_are_not_finite_are_found_before_the_training(part, value):
    data = line()
    parts = {"training": data.training, "test": data.test}
    images = parts[part].images.copy()
    images[7] = value
    parts[part] = Samples(images, parts[part].labels)
    recipe = recipe_of([{"kind": "dense", "units": 1}], loss="mean_squared_error")
    with pytest.raises(DataError) as fault:
        prepare(recipe, dataset=Dataset("line", parts["training"], parts["test"], ()))
    assert str(fault.value) == (
        f"line: sample 7 of the {part} part holds {value} in its image at (0, 0, 0); expected "
        f"finite numbers; correct it, or take the sample away"
    )


# The command.

RECIPE = """
epochs = 3
batch_size = 60
[[layers]]
kind = "dense"
units = 20
[[layers]]
kind = "relu"
[[layers]]
kind = "dense"
units = 1
[data]
dataset = "curve"
[preprocessing]
kind = "none"
[optimizer]
kind = "sgd"
lr = 1000.0
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCONV_THREADS", "1")
    text = RECIPE + '[initialization]\nkind = "he"\n'
    (tmp_path / "recipe.toml").write_text(f'loss = "mean_squared_error"\n{text}', encoding="utf-8")

    def call(*arguments):
        code = train.main(["--no-report", "--recipe", "./recipe.toml", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_says_step_layer_and_fix(command, tmp_path):
    code, _, err = command("--out", "run")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert err.startswith("fastconv.train: diverged at step ")
    assert "--set optimizer.lr=" in err
    assert "--on-divergence lower-lr" in err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stopped"] == "diverged"
    assert 1 <= summary["diverged_at_step"] <= summary["steps"]


def test_the_last_good_checkpoint_is_kept(command, tmp_path):
    code, _, err = command("--out", "run", "--checkpoint-every", "1")
    assert code == 3
    assert "the last good checkpoint is kept" in err
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        arrays = Checkpoint.read(file).arrays
        assert all(np.isfinite(array).all() for array in arrays.values())


def test_lower_rates_from_the_beginning_are_those_of_another_run(command, tmp_path):
    code, out, _ = command("--out", "lowered", "--on-divergence", "lower-lr")
    assert code == 0
    assert "goes back to step 0, with learning rates times 0.5" in out
    (kept,) = (tmp_path / "lowered" / "checkpoints").glob("step-*[1-9]*")
    factor = Checkpoint.read(kept).state["trainer"]["rate_factor"]
    assert factor in [0.5**n for n in range(1, 11)]
    assert command("--out", "small", "--set", f"optimizer.lr={1000.0 * factor}")[0] == 0
    one, other = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("lowered", "small")
    )
    assert all((one[name] == other[name]).all() for name in other)
    histories = [soak.without_times(tmp_path / n / "history.csv") for n in ("lowered", "small")]
    assert histories[0] == histories[1]
