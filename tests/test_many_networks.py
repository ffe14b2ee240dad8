"""Many networks at once: each as if it were trained alone, and what is told of all of them."""

import csv
import dataclasses
import json
import os
import signal
import statistics
import threading

import numpy as np
import pytest
from saved_runs import TINY_RECIPE, recipe_of, shades

import fastconv
from fastconv.data import load
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.ending import Interruption
from fastconv.execution.side_by_side import share_threads, side_by_side
from fastconv.many_networks import trainings
from fastconv.many_networks.trainings import Wanted, train_wanted
from fastconv.runs import datasets
from fastconv.runs.experiment import prepare
from fastconv.runs.run_folder import OutputError
from fastconv.spec import SpecError
from fastconv.train import main
from fastconv.training_loop import fit
from fastconv.training_run import RunOptions

CONVOLUTIONAL = [
    {"kind": "conv2d", "filters": 4}, {"kind": "relu"}, {"kind": "max_pool2d", "kernel": 2},
    {"kind": "dropout", "probability": 0.2}, {"kind": "flatten"}, {"kind": "dense", "units": 3},
]  # fmt: skip
UNBOUNDED = {"kind": "sgd", "lr": 1e30}


def weights_of(network):
    return {name: array.tobytes() for name, array in network.named_arrays().items()}


def trained_alone(recipe, dataset, **config):
    """Test accuracy and weights of a training by the loop itself."""
    experiment = prepare(recipe, dataset=dataset, config=ExecutionConfig(**config))
    fit(experiment.trainer, experiment.steps, validation=dataset.validation)
    accuracy = experiment.trainer.evaluate(dataset.test).accuracy
    experiment.trainer.update_network()
    return accuracy, weights_of(experiment.trainer.trained_network)


# Calls side by side.


def test_as_many_calls_as_there_are_threads_are_under_way_at_once():
    together = threading.Barrier(3, timeout=20)  # breaks unless three wait at the same time
    calls = [lambda n=n: (together.wait(), n)[1] for n in range(6)]
    assert sorted(side_by_side(calls, 3, Interruption())) == [(n, n) for n in range(6)]


def test_a_fault_asks_the_others_to_end_and_is_raised_after_them():
    asked, ended = Interruption(), []

    def wait_until_asked():
        while not asked():
            pass
        ended.append(True)

    def fail():
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        list(side_by_side([wait_until_asked, fail, fail], 2, asked))
    assert ended == [True]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_call_begins_after_the_end_is_asked_for(workers):
    asked, begun = Interruption(), []
    calls = [lambda n=n: (begun.append(n), asked.ask()) for n in range(9)]
    list(side_by_side(calls, workers, asked))
    assert 1 <= len(begun) <= workers


@pytest.mark.parametrize(
    ("threads", "pieces", "backend", "expected"),
    [
        (2, 16, "cython", (2, 1)), (8, 3, "numpy", (3, 2)), (4, 1, "cython", (1, 4)),
        (1, 5, "cython", (1, 1)), (8, 4, "numba", (4, 2)), (8, 4, "cupy", (1, 8)),
    ],
)  # fmt: skip
def test_threads_are_shared_out(threads, pieces, backend, expected):
    assert share_threads(threads, pieces, backend) == expected


# train_many.


def test_each_network_has_the_bits_of_a_training_alone_on_two_threads(backend_with_kernels):
    data = shades()
    recipes = [
        recipe_of(CONVOLUTIONAL, optimizer={"kind": "adam", "lr": rate}) for rate in (0.01, 0.02)
    ]
    # BLAS adds up in another order on another number of threads.
    alone = 1 if backend_with_kernels == "numpy" else 2
    trained = fastconv.train_many(
        recipes, seeds=(3, 5), dataset=data, backend=backend_with_kernels, threads=2
    )
    assert [(each.recipe.optimizer.lr, each.seed) for each in trained] == [
        (0.01, 3), (0.01, 5), (0.02, 3), (0.02, 5)
    ]  # fmt: skip
    for each in trained:
        accuracy, weights = trained_alone(
            each.recipe, data, backend=backend_with_kernels, threads=alone
        )
        assert each.summary["test_accuracy"] == accuracy
        assert weights_of(each.network) == weights
    assert len({weights_of(each.network)["dense_1.weight"] for each in trained}) == 4


@pytest.fixture(params=["numpy", "cython", "numba"])
def backend_with_kernels(request):
    state = fastconv.backends.selection.backend_state(request.param)
    if not state.works:
        pytest.skip(state.reason)
    return request.param


def test_the_data_are_loaded_once(monkeypatch):
    loaded = []

    def load_once(recipe, data_dir):
        loaded.append(recipe.seed)
        return load("digits")

    monkeypatch.setattr(datasets, "load_dataset", load_once)
    fastconv.train_many("digits", seeds=range(4), steps=2, threads=2)
    assert len(loaded) == 1


def test_history_and_summary_are_those_of_the_training(tmp_path):
    data = shades()
    (each,) = fastconv.train_many(recipe_of(CONVOLUTIONAL), dataset=data, out=tmp_path / "runs")
    assert each.path == tmp_path / "runs" / "seed-0"
    with open(each.path / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert each.history["step"].tolist() == [6, 12, 18]  # 120 samples in batches of 20
    assert each.history["loss"].tolist() == [float(row["loss"]) for row in rows]
    assert each.summary == json.loads((each.path / "summary.json").read_text())
    assert (each.stopped, each.summary["steps"]) == ("completed", 18)


def test_one_that_diverges_ends_alone():
    data = shades()
    good, bad = recipe_of(CONVOLUTIONAL), recipe_of(CONVOLUTIONAL, optimizer=UNBOUNDED)
    trained = fastconv.train_many([bad, good, bad, good], dataset=data, threads=2)
    ends = [each.stopped for each in trained]
    assert ends == ["diverged", "completed", "diverged", "completed"]
    assert weights_of(trained[1].network) == trained_alone(good, data)[1]
    assert weights_of(trained[3].network) == trained_alone(good, data)[1]


def test_an_error_of_one_is_raised_and_no_other_begins(tmp_path):
    data = shades()
    fits, too_large = recipe_of(CONVOLUTIONAL), recipe_of(CONVOLUTIONAL, batch_size=1000)
    recipes = [too_large, *[fits] * 9]
    with pytest.raises(fastconv.data.DataError, match="batch size is 1000"):
        fastconv.train_many(recipes, dataset=data, threads=1, out=tmp_path)
    assert not any(tmp_path.glob("recipe-9-*"))


def test_trainings_that_were_stopped_go_on_to_the_same_bits(tmp_path):
    data = shades()
    wanted = [
        Wanted(dataclasses.replace(recipe_of(CONVOLUTIONAL), seed=n), tmp_path / f"seed-{n}")
        for n in range(4)
    ]
    options, asked = RunOptions(threads=2, probes=False), Interruption()
    ended = []
    for number, each in train_wanted(wanted, options, asked, dataset=data):
        ended.append((number, each.stopped))
        asked.ask()  # others are in their midst, have not begun, or have just ended
    finished = [f"seed-{number}" for number, stopped in ended if stopped == "completed"]
    assert 1 <= len(finished) < 4
    written = {name: (tmp_path / name / "summary.json").stat().st_mtime_ns for name in finished}
    again = fastconv.train_many(
        recipe_of(CONVOLUTIONAL), seeds=range(4), dataset=data, threads=2, out=tmp_path
    )
    for each in again:
        assert weights_of(each.network) == trained_alone(each.recipe, data)[1]
    for name, moment in written.items():
        assert (tmp_path / name / "summary.json").stat().st_mtime_ns == moment


def test_a_folder_of_other_runs_is_not_taken_for_these(tmp_path):
    data = shades()
    fastconv.train_many(recipe_of(CONVOLUTIONAL), dataset=data, out=tmp_path)
    with pytest.raises(OutputError, match=r"seed-0: not empty \(a finished run\)"):
        fastconv.train_many(recipe_of(CONVOLUTIONAL, epochs=5), dataset=data, out=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, r"train_many: recipes is \[\]; expected one or more"),
        (("digits", []), {}, r"train_many: seeds is \[\]; expected one or more"),
        (("digits", [1, 1]), {}, r"train_many: seeds is \[1, 1\]; expected each of them once"),
        (("digits",), {"steps": 0}, "train_many: steps is 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_trained_is_named(arguments, options, message):
    with pytest.raises(SpecError, match=message):
        fastconv.train_many(*arguments, **options)


# The command line.


@pytest.fixture
def train(capsys, tmp_path):
    """Train a small recipe; exit code, stdout and stderr."""
    file = tmp_path / "tiny.toml"
    file.write_text(TINY_RECIPE, encoding="utf-8")

    def call(*options, named=True):
        recipe = ["--recipe", str(file)] if named else []
        code = main([*recipe, "--threads", "2", "--no-report", *map(str, options)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_seeds_are_runs_of_their_own_and_a_table_of_mean_and_spread(train, tmp_path):
    code, out, err = train("--seed", 7, "--seeds", 3, "--out", tmp_path / "many")
    assert (code, err) == (0, "")
    summaries = []
    for seed in (7, 8, 9):
        assert train("--seed", seed, "--out", tmp_path / str(seed))[0] == 0
        runs = tmp_path / "many" / f"seed-{seed}", tmp_path / str(seed)
        weights = [(run / "weights.safetensors").read_bytes() for run in runs]
        assert weights[0] == weights[1]
        summaries.append(json.loads((runs[1] / "summary.json").read_text()))
    accuracies = [each["test_accuracy"] for each in summaries]
    found = json.loads((tmp_path / "many" / "seeds.json").read_text())
    assert found["mean"]["test_accuracy"] == pytest.approx(np.mean(accuracies), rel=1e-12)
    assert found["std"]["test_accuracy"] == pytest.approx(statistics.stdev(accuracies), rel=1e-12)
    assert [each["seed"] for each in found["runs"]] == [7, 8, 9]
    cells = [line.split("│") for line in out.splitlines() if line.startswith("│")]
    shown = {row[1].strip(): row[5].strip() for row in cells}
    expected = {str(seed): 100 * each for seed, each in zip((7, 8, 9), accuracies, strict=True)}
    expected |= {"mean": 100 * np.mean(accuracies), "std": 100 * statistics.stdev(accuracies)}
    assert shown == {name: f"{value:.3f}" for name, value in expected.items()}


def test_ctrl_c_keeps_all_seeds_and_resume_goes_on_with_them(train, tmp_path, monkeypatch):
    begun, train_recipe = [], trainings.train_recipe

    def interrupted(*arguments, **options):
        begun.append(True)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return train_recipe(*arguments, **options)

    monkeypatch.setattr(trainings, "train_recipe", interrupted)
    options = ("--set", "epochs=40", "--seeds", 4)
    code, _, err = train(*options, "--out", tmp_path / "many")
    assert code == 130
    assert err.startswith("fastconv.train: interrupted after ")
    assert err.endswith(f"go on with python -m fastconv.train --resume {tmp_path}/many\n")
    assert train("--resume", tmp_path / "many", named=False)[0] == 0
    assert train(*options, "--out", tmp_path / "undisturbed")[0] == 0
    for seed in range(4):
        weights = [
            (tmp_path / name / f"seed-{seed}" / "weights.safetensors").read_bytes()
            for name in ("many", "undisturbed")
        ]
        assert weights[0] == weights[1]


def test_seeds_that_diverge_are_told_and_left_out_of_the_mean(train, tmp_path):
    code, _, err = train("--seeds", 2, "--set", "optimizer.lr=1e38", "--out", tmp_path / "many")
    assert code == 3
    assert "2 of 2 trainings diverged, seed 0 at step " in err
    assert json.loads((tmp_path / "many" / "seeds.json").read_text())["mean"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", 2), "--workers does not go with --seeds"),
        (("--find-lr",), "--find-lr does not go with --seeds"),
        (("--seed", 2**64 - 1), "seed is 18446744073709551616; expected 0 to 2"),
        (("--out", "."), "not empty"),
    ],
)
def test_mistakes_beside_seeds_are_one_line(train, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = train("--seeds", 2, *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_nothing_is_changed_when_many_seeds_go_on(train, tmp_path):
    assert train("--seeds", 2, "--steps", 2, "--out", tmp_path / "many")[0] == 0
    code, _, err = train("--resume", tmp_path / "many", "--epochs", 9, named=False)
    assert (code, err.count("\n")) == (2, 1)
    assert "--epochs does not go with --resume" in err
    file = tmp_path / "many" / "seeds.json"
    file.write_text('{"seeds": [0.5], "options": {}, "table": {}}', encoding="utf-8")
    code, _, err = train("--resume", tmp_path / "many", named=False)
    assert (code, err.count("\n")) == (2, 1)
    assert "seeds.json is damaged" in err
