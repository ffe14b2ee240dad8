"""What steers a training: early stopping, metrics of validations, callbacks, first weights."""

import csv
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from saved_runs import TINY_RECIPE
from test_checkpoints import EVERY, STEPS, lines_of, made_trainer, samples, weights_of

from fastconv import train
from fastconv.early_stopping import EarlyStopping
from fastconv.inference import Score
from fastconv.metrics import class_scores, confusion_matrix, regression_scores
from fastconv.network import NetworkError
from fastconv.recipes.schema import RecipeError
from fastconv.runs.saved_run import load_run
from fastconv.spec import SpecError
from fastconv.training_loop import Callback, HistoryRecord, Progress, Result, fit
from fastconv.validation_metrics import validation_metrics

VALIDATION = samples(40, 1)


def record(step, loss, correct=0.0, **metrics):
    nothing = Score(0.0, 0.0, 0.0)
    return HistoryRecord(step, 1, 0.1, nothing, Score(loss, correct, 1.0), 0.0, 0.0, metrics)


class Weights:
    """In place of a trainer: its weights are the number of times that they were asked for."""

    def __init__(self):
        self.asked = 0
        self.now = None

    def weights(self):
        self.asked += 1
        return {"w": np.array(self.asked)}

    def set_weights(self, weights):
        self.now = int(weights["w"])


# Early stopping.


@pytest.mark.parametrize(
    ("metric", "values", "patience", "least_change", "best", "stops"),
    [
        ("loss", [5.0, 4.0, 4.5, 4.0, 3.9], 3, 0.0, 5, False),
        ("loss", [5.0, 4.0, 4.5, 4.0, 3.9], 2, 0.0, 2, True),
        ("loss", [5.0, 4.0, 3.95, 3.91, 3.5], 2, 0.1, 2, True),
        ("macro_f1", [0.1, 0.3, 0.2, 0.3], 2, 0.0, 2, True),
        ("mean_absolute_error", [0.1, 0.3, 0.2], 2, 0.0, 1, True),
        ("r2", [float("nan"), 0.3, 0.2], None, 0.0, 2, False),
    ],
)
def test_the_best_is_by_hand_the_best(metric, values, patience, least_change, best, stops):
    trainer = Weights()
    stopping = EarlyStopping(metric, patience=patience, least_change=least_change)
    for step, value in enumerate(values, start=1):
        line = record(step, value) if metric == "loss" else record(step, 0.0, **{metric: value})
        stopping.observe(trainer, line)
        if stopping.stops:
            break
    assert (stopping.best_step, stopping.stops) == (best, stops)
    assert stopping.best_value == values[best - 1]
    stopping.finish(trainer)
    assert trainer.now == trainer.asked


def test_a_training_that_gets_no_better_ends_with_its_best_weights():
    stopping = EarlyStopping("loss", patience=2)
    kept = {}

    class Keeper(Callback):
        def on_history(self, trainer, record):
            kept[record.step] = weights_of(trainer)

    trainer = made_trainer()
    result = fit(
        trainer, 10_000, validation=VALIDATION, record_every=EVERY, early_stopping=stopping,
        callbacks=[Keeper()],
    )  # fmt: skip
    assert result.stopped == "stopped early"
    losses = [line.validation.loss for line in result.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3
    assert stopping.best_step == result.history[best].step
    np.testing.assert_array_equal(weights_of(trainer), kept[stopping.best_step])


def test_a_metric_that_was_not_measured_is_named():
    stopping = EarlyStopping("macro_f1")
    with pytest.raises(SpecError, match="metric is 'macro_f1'; expected one of loss, accuracy"):
        stopping.observe(Weights(), record(1, 2.0))
    for options in ({"patience": 0}, {"least_change": -1.0}):
        with pytest.raises(SpecError):
            EarlyStopping(**options)


# Metrics.


def test_metrics_of_a_validation_are_those_of_the_predictions():
    names = ["macro_f1", "top_2_accuracy"]
    trainer = made_trainer()
    metrics = validation_metrics(names, is_classification=True)
    result = fit(trainer, STEPS, validation=VALIDATION, metrics=metrics)
    scores = trainer.predict(VALIDATION.images)
    second = np.sort(scores, axis=1)[:, -2]
    own = scores[np.arange(len(scores)), VALIDATION.labels]
    matrix = confusion_matrix(VALIDATION.labels, scores.argmax(axis=1), 3)
    assert result.history[-1].metrics == {
        "macro_f1": class_scores(matrix).macro_f1,
        "top_2_accuracy": float(np.mean(own >= second)),
    }


def test_metrics_of_a_regression_are_those_of_its_errors():
    scores, targets = np.array([[1.0], [3.0]]), np.array([[2.0], [5.0]])
    names = ["mean_absolute_error", "root_mean_squared_error", "r2"]
    metrics = validation_metrics(names, is_classification=False)
    assert metrics["mean_absolute_error"](scores, targets) == 1.5
    assert metrics["root_mean_squared_error"](scores, targets) == pytest.approx(2.5**0.5)
    assert metrics["r2"](scores, targets) == regression_scores(targets, scores).r2
    with pytest.raises(RecipeError, match="holds 'r2', which is not for classes"):
        validation_metrics(["r2"], is_classification=True)


# Callbacks.


class Notes:
    """No subclass of anything: the methods are enough."""

    def __init__(self, end_at=None):
        self.steps, self.lines, self.ends, self.end_at = [], [], [], end_at

    def on_step(self, trainer, loss):
        self.steps.append((trainer.step, loss))
        return trainer.step == self.end_at

    def on_history(self, trainer, record):
        self.lines.append(record)

    def on_end(self, trainer, result):
        self.ends.append(result)


def test_callbacks_are_told_every_step_every_line_and_the_end():
    notes = Notes()
    result = fit(made_trainer(), STEPS, record_every=EVERY, callbacks=[notes])
    assert [step for step, _ in notes.steps] == list(range(1, STEPS + 1))
    assert notes.lines == result.history
    assert notes.ends == [result]
    for line in result.history:
        losses = [loss for step, loss in notes.steps if line.step - EVERY < step <= line.step]
        if line.step % EVERY == 0:
            assert line.training.loss == pytest.approx(np.mean(losses), rel=1e-9)


def test_a_callback_changes_no_bit_and_may_end_the_training():
    plain, watched = made_trainer(), made_trainer()
    expected = fit(plain, STEPS, record_every=EVERY)
    assert lines_of(fit(watched, STEPS, record_every=EVERY, callbacks=[Notes()])) == lines_of(
        expected
    )
    np.testing.assert_array_equal(weights_of(watched), weights_of(plain))
    trainer = made_trainer()
    result = fit(trainer, STEPS, record_every=EVERY, callbacks=[Notes(end_at=6)])
    assert (result.stopped, trainer.step) == ("stopped early", 6)
    assert [line.step for line in result.history] == [4, 6]


def test_without_on_step_the_steps_are_made_many_at_a_time():
    counted = []
    trainer = made_trainer()
    train_steps = trainer.train
    trainer.train = lambda steps, **more: counted.append(steps) or train_steps(steps, **more)
    trainer._pace.steps = 3
    fit(trainer, STEPS, callbacks=[Callback()])
    assert max(counted) > 1
    counted.clear()
    other = made_trainer()
    train_other = other.train
    other.train = lambda steps, **more: counted.append(steps) or train_other(steps, **more)
    fit(other, STEPS, callbacks=[Notes()])
    assert set(counted) == {1}


# The history as rows.


def test_the_history_comes_as_rows():
    metrics = validation_metrics(["macro_f1"], is_classification=True)
    result = fit(made_trainer(), STEPS, validation=VALIDATION, record_every=EVERY, metrics=metrics)
    rows = result.rows()
    assert [row["step"] for row in rows] == [record.step for record in result.history]
    assert rows[2]["validation_loss"] == result.history[2].validation.loss
    assert rows[2]["validation_macro_f1"] == result.history[2].metrics["macro_f1"]
    again = [HistoryRecord.from_table(json.loads(json.dumps(r.table()))) for r in result.history]
    assert again == result.history
    assert Progress.from_table(Progress(history=again).table()).history == again


def test_the_history_comes_as_a_data_frame():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    result = fit(made_trainer(), STEPS, record_every=EVERY)
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["step"].tolist() == [record.step for record in result.history]


def test_without_pandas_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs pandas.*fastconv\[pandas\]"):
        Result("completed", Score(0.0, 0.0, 0.0)).to_pandas()


# The command.


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCONV_THREADS", "1")
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")

    def call(*arguments):
        code = train.main(["--no-report", "--recipe", "./tiny.toml", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_run_stops_early_and_ends_with_its_best_weights(command, tmp_path):
    sets = ("validation.patience=2", "validation.best=restore", "validation.metrics=['macro_f1']",
            "validation.metric=macro_f1", "epochs=300", "optimizer.lr=0.1")  # fmt: skip
    options = [part for each in sets for part in ("--set", each)]
    assert command("--out", "run", *options)[0] == 0
    run = load_run(tmp_path / "run")
    assert run.summary["stopped"] == "stopped early"
    values = run.history["validation_macro_f1"]
    best = int(np.argmax(values))
    assert len(values) == best + 3
    assert run.summary["best_step"] == run.history["step"][best]
    assert run.summary["best_value"] == values[best]
    names = [tmp_path / "run" / name for name in ("weights.safetensors", "best.safetensors")]
    one, other = map(load_file, names)
    assert all((one[name] == other[name]).all() for name in one)
    # The score of those weights is that of the best line.
    with open(tmp_path / "run" / "history.csv", encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[best]
    samples = run.inference()
    from fastconv.runs.experiment import load_dataset

    score = samples.evaluate(load_dataset(run.recipe, None).validation)
    assert score.loss == float(row["validation_loss"])
    code = train.main(["--resume", "run"])
    assert code == 2


def test_keys_of_the_validation_are_checked(command):
    for setting, told in (
        ("validation.metrics=['f2']", "validation.metrics holds 'f2'; expected some of"),
        ("validation.metrics=['r2']", "holds 'r2', which is not for classes"),
        ("validation.metric=macro_f1", "validation.metric is 'macro_f1'; expected one of loss"),
        ("validation.patience=0", "validation.patience is 0; expected 1 or more"),
    ):
        code, _, err = command("--out", "run", "--set", setting)
        assert code == 2
        assert told in err


def test_a_run_begins_from_the_weights_of_another(command, tmp_path):
    assert command("--out", "first")[0] == 0
    code, out, _ = command("--out", "second", "--init-from", "first", "--steps", "1",
                           "--set", "optimizer.lr=1e-30")  # fmt: skip
    assert code == 0
    assert "not taken" not in out
    one, other = (load_file(tmp_path / n / "weights.safetensors") for n in ("first", "second"))
    assert all((one[name] == other[name]).all() for name in one)


def test_what_does_not_fit_is_left_out_and_said(command, tmp_path):
    assert command("--out", "first")[0] == 0
    arrays = load_file(tmp_path / "first" / "weights.safetensors")
    arrays["extra_1.weight"] = np.zeros(3, np.float32)
    arrays["dense_1.bias"] = np.zeros(7, np.float32)
    save_file(arrays, tmp_path / "other.safetensors")
    code, out, _ = command("--out", "second", "--init-from", "other.safetensors", "--steps", "1")
    assert code == 0
    assert (
        "weights: not taken: dense_1.bias ((7,) in the file, (10,) here), "
        "extra_1.weight (not in the network)"
    ) in out
    save_file({"w": arrays["extra_1.weight"]}, tmp_path / "none.safetensors")
    code, _, err = command("--out", "third", "--init-from", "none.safetensors")
    assert code == 2
    assert "nothing in it fits the network" in err
    assert command("--out", "third", "--init-from", "nowhere")[0] == 2


def test_weights_of_a_checkpoint_are_weights_too(tmp_path):
    trainer = made_trainer()
    trainer.train(5)
    trainer.save_checkpoint(tmp_path / "five.safetensors")
    network = made_trainer().network
    assert network.load_matching_weights(tmp_path / "five.safetensors") == []
    np.testing.assert_array_equal(network.parameters, trainer.network.parameters)
    with pytest.raises(NetworkError):
        network.load_matching_weights(tmp_path / "none.safetensors")
