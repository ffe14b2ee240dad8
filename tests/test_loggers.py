"""Trainings in TensorBoard, MLflow and Weights & Biases: what their own readers find."""

import importlib.util
import sys
from pathlib import Path

import pytest
from saved_runs import TINY_RECIPE
from test_checkpoints import EVERY, STEPS, made_trainer, samples

from fastconv import loggers, train
from fastconv.loggers import LOGGERS, MLflow, TensorBoard, WeightsAndBiases, numbers_of
from fastconv.training_loop import fit


def needs(module):
    there = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not there, reason=f"{module} is not installed")


def trained(callback):
    return fit(
        made_trainer(), STEPS, validation=samples(20, 1), record_every=EVERY, callbacks=[callback]
    )


def test_the_numbers_are_those_of_the_columns():
    result = fit(made_trainer(), STEPS, record_every=EVERY)
    record = result.history[0]
    numbers = numbers_of(record)
    assert numbers["loss"] == record.training.loss
    assert numbers["learning_rate"] == record.learning_rate
    assert "validation_loss" not in numbers  # there is none
    assert "step" not in numbers


@needs("tensorboard")
def test_tensorboard_reads_every_line(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = trained(TensorBoard(tmp_path / "events"))
    read = EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    values = read.Scalars("validation_loss")
    assert [value.step for value in values] == [record.step for record in result.history]
    expected = [record.validation.loss for record in result.history]
    assert [value.value for value in values] == pytest.approx(expected, rel=1e-6)  # float32


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")  # the library's own
def test_mlflow_reads_every_line(tmp_path, monkeypatch):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    logger = MLflow("first", {"optimizer.lr": 0.5}, experiment="tests")
    result = trained(logger)
    client = mlflow.MlflowClient()
    found = client.get_metric_history(logger.run_id, "loss")
    assert {each.step: each.value for each in found} == {
        record.step: record.training.loss for record in result.history
    }
    run = client.get_run(logger.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"optimizer.lr": "0.5"})


def records_of(content):
    """The records of a .wandb file: a header, then a log in blocks as LevelDB has it."""
    place, parts, block = 7, [], 32768
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block  # what is left of a block is filled up
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


@needs("wandb")
@pytest.mark.filterwarnings("ignore")  # the library's own
def test_weights_and_biases_writes_every_line_offline(tmp_path, monkeypatch):
    from wandb.proto.wandb_internal_pb2 import Record

    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path)), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    result = trained(WeightsAndBiases("first", {"optimizer.lr": 0.5}, project="tests"))
    (file,) = tmp_path.rglob("*.wandb")
    losses = {}
    for data in records_of(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: item.value_json for item in
                     record.history.item}  # fmt: skip
            losses[int(items["_step"])] = float(items["loss"])
    assert losses == {record.step: record.training.loss for record in result.history}


@pytest.mark.parametrize(
    ("made", "module"),
    [
        (lambda: TensorBoard("events"), "tensorboard"),
        (MLflow, "mlflow"),
        (WeightsAndBiases, "wandb"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(made, module, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}.*fastconv\[{module}\]"):
        made()


def test_the_command_shows_a_run_where_it_is_told_to(tmp_path, monkeypatch):
    """With a logger in place of each library's, which the tests above try."""
    made = []

    class Notes:
        def __init__(self, *arguments):
            self.arguments, self.steps = arguments, []
            made.append(self)

        def on_history(self, trainer, record):
            self.steps.append(record.step)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")
    monkeypatch.setattr(train, "require_extra", lambda extra, command: None)
    for name in ("TensorBoard", "MLflow", "WeightsAndBiases"):
        monkeypatch.setattr(loggers, name, Notes)
    options = [part for name in LOGGERS for part in ("--log", name)]
    arguments = ["--recipe", "./tiny.toml", "--no-report", "--quiet", "--out", "run", *options]
    assert train.main(arguments) == 0
    assert [each.steps for each in made] == [[12, 24]] * 3
    assert made[0].arguments[0] == Path("run/tensorboard")
    name, parameters = made[1].arguments
    assert (name, parameters["optimizer.lr"], parameters["batch_size"]) == ("run", 0.5, 100)
