"""The command line: every option, every file it writes, and every mistake it names."""

import contextlib
import csv
import gzip
import json
import os
import pickle
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from saved_runs import TINY_RECIPE

import fastconv
from fastconv.backends.configuration import available_cores
from fastconv.backends.selection import NAMES, backend_state
from fastconv.cli.progress import percent, record_line
from fastconv.data import load
from fastconv.execution.ending import interruption
from fastconv.inference import Score
from fastconv.network import Sequential
from fastconv.recipe import load_recipe, recipe_names
from fastconv.runs.run_folder import RunFolder, to_json
from fastconv.train import main
from fastconv.training_loop import HistoryRecord

PACKAGE_PARENT = Path(fastconv.__file__).parent.parent

# 1297 training samples: 12 steps of 100 an epoch.
TINY = f"""
description = "One dense layer."
{TINY_RECIPE.strip()}
[preprocessing]
kind = "scale"
"""

FIELDS = {
    "recipe", "backend", "threads", "precision", "batch_size", "seed", "steps", "epochs",
    "parameters",
    "warmup_seconds", "train_seconds", "step_ms", "samples_per_second", "train_loss",
    "train_accuracy", "train_loss_final", "train_accuracy_final", "penalty", "validation_loss",
    "validation_accuracy", "test_loss", "test_accuracy", "peak_rss_mib", "launches", "stopped",
}  # fmt: skip
FILES = {
    "recipe.toml", "environment.json", "model.json", "history.csv", "weights.safetensors",
    "summary.json", "checkpoints",
}  # fmt: skip
FILES_WITH_REPORT = FILES | {"probe.csv", "report.html", "figures"}
NO_CHECKPOINT = {"checkpoints"}
"""Of a run that diverges before the first one."""
LINE = re.compile(
    r"\[Step (\d{5,})\]: Loss (\d+\.\d{3}) \| Accuracy: (\d+\.\d{3}) \| Time: \d+\.\d{2} seconds"
    r"( \| Validation Loss (\d+\.\d{3}) \| Validation Accuracy: (\d+\.\d{3}))?"
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("FASTCONV_BACKEND", "FASTCONV_DATA", "FASTCONV_THREADS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


class Run:
    """What a command printed, returned and left."""

    def __init__(self, code, out, err, folder):
        self.code, self.out, self.err, self.folder = code, out, err, Path(folder)

    @property
    def summary(self):
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))

    @property
    def recipe(self):
        return tomllib.loads((self.folder / "recipe.toml").read_text(encoding="utf-8"))

    @property
    def history(self):
        with open(self.folder / "history.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def weights(self):
        return (self.folder / "weights.safetensors").read_bytes()


@pytest.fixture
def command(capsys, tmp_path, tiny):
    """Call main with the tiny recipe, a new folder and one thread, unless told otherwise.

    Without a report: tests of its own look at that.
    """
    count = 0

    def call(*arguments):
        nonlocal count
        count += 1
        given = list(arguments)
        for option, value in (
            ("--recipe", tiny), ("--out", str(tmp_path / f"run{count}")), ("--threads", "1"),
        ):  # fmt: skip
            if option not in given:
                given += [option, value]
        try:
            code = main([*given, "--no-report"])
        except SystemExit as leaving:
            code = leaving.code
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err, given[given.index("--out") + 1])

    return call


def run_python(arguments, folder, **more):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **more.pop("variables", {})}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300, **more,
    )  # fmt: skip


# As a user runs it.


@contextlib.contextmanager
def on_one_core():
    """Start processes that may use one core, where matrix products do not wait for each other."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def test_without_an_argument_it_trains_on_digits(tmp_path):
    with on_one_core():
        done = run_python(["-m", "fastconv.train"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"digits-\d{8}-\d{6}", folder.name)
    assert {path.name for path in folder.iterdir()} == FILES_WITH_REPORT
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test_accuracy"] >= 0.97
    assert summary["stopped"] == "completed"
    # Not a terminal: plain lines, nothing that only a terminal understands.
    assert len(LINE.findall(done.stdout)) == 20
    assert "\x1b" not in done.stdout


def test_json_to_stdout_leaves_it_to_the_json_alone(tmp_path, tiny):
    done = run_python(
        ["-m", "fastconv.train", "--recipe", tiny, "--json", "-", "--out", "run"], tmp_path
    )
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert LINE.search(done.stderr)  # what is for people goes there


def test_a_mistake_is_exit_code_2_and_one_line(tmp_path):
    done = run_python(["-m", "fastconv.train", "--recipe", "digit"], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "did you mean 'digits'?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_warnings_as_errors_change_nothing(tmp_path, tiny):
    command = ["-W", "error", "-m", "fastconv.train", "--recipe", tiny, "--quiet", "--out", "run"]
    ruined = ["--set", "optimizer.lr=1e39"], 3, FILES_WITH_REPORT - NO_CHECKPOINT
    for extra, code, files in (([], 0, FILES_WITH_REPORT), ruined):
        done = run_python([*command, *extra], tmp_path)
        assert done.returncode == code, done.stderr
        assert {path.name for path in (tmp_path / "run").iterdir()} == files
        shutil.rmtree(tmp_path / "run")


def test_ctrl_c_stops_soon_and_writes_everything(tmp_path, tiny):
    command = ["--recipe", tiny, "--epochs", "1000000", "--out", "run", "--json", "-"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "fastconv.train", *command], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    history = tmp_path / "run" / "history.csv"
    try:
        give_up = time.monotonic() + 120
        while not history.exists() or len(history.read_text().splitlines()) < 3:
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES_WITH_REPORT
    summary = json.loads(out)
    assert summary["stopped"] == "interrupted"
    assert summary["test_accuracy"] is None
    with open(history, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["step"]) == summary["steps"] > 0
    network = Sequential(load_recipe(tiny).make_layers(), (8, 8, 1))
    network.load_weights(tmp_path / "run" / "weights.safetensors")
    assert np.isfinite(network.parameters).all()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_a_bar(tmp_path, tiny, quiet):
    leader, follower = os.openpty()
    environment = {
        **os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TERM": "xterm-256color", "COLUMNS": "130",
        "LINES": "40",
    }  # fmt: skip
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    arguments = ["--recipe", tiny, "--steps", "3000", "--validate-every", "1000", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastconv.train", *arguments, *(["--quiet"] if quiet else [])],
        cwd=tmp_path, env=environment, stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    content = b""
    try:
        while select.select([leader], [], [], 120)[0]:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            content += piece
        assert process.wait(timeout=60) == 0
    finally:
        os.close(leader)
        process.kill()
        process.wait()
    text = content.decode("utf-8")
    if quiet:
        assert text == ""
        return
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"epoch \d+", plain)
    assert re.search(r"\d+/3000", plain)
    assert re.search(r"loss \d+\.\d{3}\s+accuracy \d+\.\d{3} %", plain)
    assert re.search(r"[\d,]+ samples/s", plain)
    assert re.search(r"samples/s\s+\d+:\d\d", plain)  # time left
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in plain or "\N{BOX DRAWINGS HEAVY LEFT}" in plain
    # The lines of the history stand above the bar.
    assert [int(match[0]) for match in LINE.findall(plain)] == [1000, 2000, 3000]


# What it prints.


def test_what_is_printed_says_what_is_trained_and_how_it_ended(command):
    run = command()
    assert run.code == 0
    assert run.err == ""
    assert "recipe tiny: One dense layer." in run.out
    assert "data set digits: 1297 training, 300 test, 200 validation" in run.out
    assert re.search(r"^backend \w+ \(.+\), 1 thread$", run.out, re.MULTILINE)
    assert re.search(r"^dense_1 .* 650 ", run.out, re.MULTILINE)
    assert re.search(r"stopped\s+│ completed", run.out)
    assert re.search(rf"test\s+│ .*accuracy {percent(run.summary['test_accuracy'])} %", run.out)
    assert run.out.endswith(f"files: {run.folder}\n")


def test_lines_give_percent_and_the_history_fractions(command):
    run = command("--epochs", "3")
    lines = LINE.findall(run.out)
    assert len(lines) == len(run.history) == 3
    for (step, loss, accuracy, _, v_loss, v_accuracy), row in zip(lines, run.history, strict=True):
        assert int(step) == int(row["step"])
        assert loss == f"{float(row['loss']):.3f}"
        assert accuracy == f"{100 * float(row['accuracy']):.3f}"
        assert v_loss == f"{float(row['validation_loss']):.3f}"
        assert v_accuracy == f"{100 * float(row['validation_accuracy']):.3f}"
        assert 0 <= float(row["accuracy"]) <= 1


def test_a_line_looks_as_promised():
    training, validation = Score(125.2, 59.54, 100), Score(76.9, 75.88, 100)
    record = HistoryRecord(1000, 1, 0.01, training, validation, 0.0204, 0.01)
    assert record_line(record) == (
        "[Step 01000]: Loss 1.252 | Accuracy: 59.540 | Time: 0.02 seconds | "
        "Validation Loss 0.769 | Validation Accuracy: 75.880"
    )
    record = HistoryRecord(123456, 1, 0.01, training, None, 1.0, 0.01)
    assert record_line(record) == (
        "[Step 123456]: Loss 1.252 | Accuracy: 59.540 | Time: 1.00 seconds"
    )
    regression = Score(125.2, 0, 100, False), Score(76.9, 0, 100, False)
    assert record_line(HistoryRecord(1, 1, 0.01, *regression, 1.0, 0.01)) == (
        "[Step 00001]: Loss 1.252 | Time: 1.00 seconds | Validation Loss 0.769"
    )


def test_quiet_prints_nothing(command):
    run = command("--quiet")
    assert (run.code, run.out, run.err) == (0, "", "")
    assert {path.name for path in run.folder.iterdir()} == FILES


def test_quiet_and_json_print_the_json_alone(command):
    run = command("--quiet", "--json", "-")
    assert json.loads(run.out) == run.summary
    assert run.err == ""


def test_the_recipes_are_listed(command):
    run = command("--list-recipes")
    assert run.code == 0
    listed = {line.split()[0]: line for line in run.out.splitlines()}
    assert set(listed) == set(recipe_names())
    for name, line in listed.items():
        assert load_recipe(name).description in line
    assert not run.folder.exists()


def test_help_names_every_option(command):
    run = command("--help")
    assert run.code == 0
    for option in (
        "--recipe", "--list-recipes", "--dataset", "--data-dir", "--backend", "--epochs", "--steps",
        "--batch-size", "--seed", "--threads", "--validate-every", "--no-validate", "--out",
        "--set", "--quiet", "--json", "--evaluate-train",
    ):  # fmt: skip
        assert option in run.out


# The folder and the summary.


def test_the_summary_has_every_field_that_is_promised(command):
    run = command("--seed", "5")
    summary = run.summary
    assert set(summary) >= FIELDS
    assert {"recipe": "tiny", "batch_size": 100, "seed": 5, "steps": 24, "epochs": 2.0,
            "parameters": 650, "threads": 1, "stopped": "completed", "penalty": 0.0,
            "train_loss_final": None,
            "train_accuracy_final": None}.items() <= summary.items()  # fmt: skip
    assert summary["backend"] in NAMES
    assert summary["step_ms"] == pytest.approx(1000 * summary["train_seconds"] / 24)
    assert summary["samples_per_second"] == pytest.approx(2400 / summary["train_seconds"])
    for part in ("train", "validation", "test"):
        assert 0.3 < summary[f"{part}_accuracy"] <= 1
        assert 0 < summary[f"{part}_loss"] < 2.5
    assert summary["warmup_seconds"] > 0


def test_the_last_line_and_the_summary_agree(command):
    run = command()
    last = run.history[-1]
    assert float(last["validation_accuracy"]) == run.summary["validation_accuracy"]
    assert float(last["loss"]) == pytest.approx(run.summary["train_loss"], rel=1e-12)
    assert float(last["train_seconds"]) == pytest.approx(run.summary["train_seconds"], abs=1e-5)
    assert float(last["learning_rate"]) == 0.5


def test_the_test_accuracy_is_that_of_the_weights_in_the_folder(command):
    run = command()
    network = Sequential(load_recipe(str(run.folder / "recipe.toml")).make_layers(), (8, 8, 1))
    network.load_weights(run.folder / "weights.safetensors")
    test = load("digits").test
    x = test.images.reshape(300, -1) / 255
    scores = x @ network["dense_1.weight"] + network["dense_1.bias"]
    assert (scores.argmax(axis=1) == test.labels).mean() == run.summary["test_accuracy"]


def test_the_history_has_a_head_and_a_row_for_each_line(command):
    run = command("--epochs", "3")
    assert list(run.history[0]) == [
        "step", "epoch", "learning_rate", "loss", "accuracy", "validation_loss",
        "validation_accuracy", "seconds", "train_seconds",
    ]  # fmt: skip
    assert [(row["step"], row["epoch"]) for row in run.history] == [
        ("12", "1"), ("24", "2"), ("36", "3"),
    ]  # fmt: skip
    assert (run.folder / "history.csv").read_bytes().count(b"\r") == 0


def test_the_recipe_in_the_folder_is_complete_and_runs_to_the_same_weights(command):
    first = command(
        "--seed", "3", "--batch-size", "64", "--epochs", "1", "--set", "optimizer.kind=adam",
        "--set", "optimizer.lr=0.01", "--set", "augmentation.crop=1", "--validate-every", "7",
    )  # fmt: skip
    assert first.code == 0
    assert first.recipe["seed"] == 3
    assert first.recipe["batch_size"] == 64
    assert first.recipe["epochs"] == 1
    assert first.recipe["validate_every"] == 7
    assert first.recipe["optimizer"]["kind"] == "adam"
    assert first.recipe["optimizer"]["beta1"] == 0.9  # defaults are written out
    assert first.recipe["augmentation"]["crop"] == 1
    second = command("--recipe", str(first.folder / "recipe.toml"))
    assert second.weights == first.weights
    assert second.recipe == first.recipe
    third = command("--recipe", str(first.folder / "recipe.toml"), "--seed", "4")
    assert third.weights != first.weights


def test_equal_weights_are_equal_bytes_whatever_else_differs(command):
    plain = command()
    other = command("--quiet", "--no-validate", "--json", "-", "--evaluate-train")
    assert plain.weights == other.weights


def test_the_environment_is_recorded(command):
    run = command("--backend", "numpy")
    facts = json.loads((run.folder / "environment.json").read_text())
    assert facts["fastconv"] == fastconv.__version__
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["backend"] == "numpy"
    assert facts["backend_choice"] == "asked for"
    assert facts["threads"] == 1


def test_json_goes_to_a_file(command, tmp_path):
    path = tmp_path / "numbers.json"
    run = command("--json", str(path))
    assert json.loads(path.read_text()) == run.summary
    assert LINE.search(run.out)


def test_json_replaces_an_older_file(command, tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text("old")
    run = command("--json", str(path))
    assert json.loads(path.read_text()) == run.summary


def test_numbers_that_are_not_finite_are_null_in_json():
    text = to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_an_empty_folder_may_be_there_already(command, tmp_path):
    (tmp_path / "mine").mkdir()
    assert command("--out", str(tmp_path / "mine")).code == 0


def test_a_folder_is_made_with_its_parents(command, tmp_path):
    run = command("--out", str(tmp_path / "a" / "b" / "c"))
    assert {path.name for path in run.folder.iterdir()} == FILES


def test_new_folders_never_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-120000")
    names = []
    for _ in range(3):
        names.append(RunFolder.new("x").path.as_posix())
    assert names == [f"runs/x-20260101-120000{end}" for end in ("", "-2", "-3")]


def test_a_recipe_whose_name_is_a_path_stays_in_the_folder_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder.new("../a b/c").path.parent == Path("runs")


# The options.


def test_steps_are_updates_in_this_run_over_as_many_epochs_as_needed(command):
    run = command("--steps", "30", "--set", "schedule.kind=cosine")
    assert run.summary["steps"] == 30
    assert run.summary["epochs"] == 2.5
    assert run.summary["stopped"] == "steps"
    assert [row["epoch"] for row in run.history] == ["1", "2", "3"]
    # The schedule keeps the recipe's own length, 24 steps: the rate is 0 from there.
    assert float(run.history[0]["learning_rate"]) == pytest.approx(
        0.25 * (1 + np.cos(np.pi * 11 / 24))
    )
    assert float(run.history[-1]["learning_rate"]) == 0


def test_fewer_steps_than_an_epoch(command):
    run = command("--steps", "5")
    assert (run.summary["steps"], len(run.history)) == (5, 1)
    assert run.summary["train_loss"] == float(run.history[0]["loss"])
    assert run.recipe["epochs"] == 2  # the recipe itself keeps its length


def test_epochs_replace_the_recipes_length(command):
    assert command("--epochs", "1").summary["steps"] == 12
    assert command("--set", "epochs=3").summary["steps"] == 36
    run = command("--set", "steps=7")
    assert (run.summary["steps"], run.summary["stopped"]) == (7, "completed")


def test_options_go_before_settings(command):
    run = command("--set", "seed=1", "--seed", "2", "--set", "batch_size=10", "--batch-size", "64")
    assert (run.summary["seed"], run.summary["batch_size"]) == (2, 64)


def test_validation_every_so_many_steps(command):
    run = command("--validate-every", "10")
    assert [row["step"] for row in run.history] == ["10", "20", "24"]
    assert all(row["validation_loss"] for row in run.history)


def test_without_validation_its_fields_are_null_and_the_test_is_not(command):
    run = command("--no-validate")
    assert run.summary["validation_loss"] is None
    assert run.summary["validation_accuracy"] is None
    assert run.summary["test_accuracy"] > 0.3
    assert all(row["validation_loss"] == "" for row in run.history)
    assert "Validation" not in run.out


def test_the_finished_network_is_evaluated_on_the_training_set_when_asked(command):
    assert command().summary["train_accuracy_final"] is None
    run = command("--evaluate-train")
    assert 0.3 < run.summary["train_accuracy_final"] <= 1
    assert run.summary["train_accuracy_final"] != run.summary["train_accuracy"]
    by_recipe = command("--set", "evaluate_train=true")
    assert by_recipe.summary["train_accuracy_final"] == run.summary["train_accuracy_final"]


def test_the_backend_asked_for_is_the_one_that_works(command, monkeypatch):
    assert command("--backend", "numpy").summary["backend"] == "numpy"
    assert backend_state(command("--backend", "auto").summary["backend"]).works
    monkeypatch.setenv("FASTCONV_BACKEND", "numpy")
    run = command()
    assert run.summary["backend"] == "numpy"
    assert "backend numpy (FASTCONV_BACKEND)" in run.out


def test_threads_are_the_cores_there_are(command, capsys, tiny, tmp_path):
    assert command("--threads", "2").summary["threads"] == 2
    assert main(["--recipe", tiny, "--out", str(tmp_path / "r"), "--steps", "1"]) == 0
    capsys.readouterr()
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["threads"] == available_cores()


def test_the_environment_gives_the_threads_without_the_option(capsys, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_THREADS", "3")
    for folder, extra, threads in (("a", [], 3), ("b", ["--threads", "1"], 1)):
        out = tmp_path / folder
        assert main(["--recipe", tiny, "--out", str(out), "--steps", "1", "--quiet", *extra]) == 0
        assert json.loads((out / "summary.json").read_text())["threads"] == threads
        assert json.loads((out / "environment.json").read_text())["threads"] == threads
    monkeypatch.setenv("FASTCONV_THREADS", "many")
    assert main(["--recipe", tiny, "--out", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fastconv.train: FASTCONV_THREADS is 'many'; expected a number")
    assert error.count("\n") == 1


def test_another_data_set_from_a_folder(command, mnist, monkeypatch):
    run = command("--dataset", "mnist", "--data-dir", str(mnist.parent), "--batch-size", "10")
    assert run.code == 0, run.err
    assert run.summary["dataset"] == "mnist"
    assert run.recipe["data"]["dataset"] == "mnist"
    assert run.summary["validation_loss"] is None  # this data set has no such part
    monkeypatch.setenv("FASTCONV_DATA", str(mnist.parent))
    again = command("--dataset", "mnist", "--batch-size", "10")
    assert again.weights == run.weights


# Running out of bounds.


def test_a_run_that_diverges_is_exit_code_3_and_writes_everything(command):
    run = command("--set", "optimizer.lr=1e39", "--json", "-")
    assert run.code == 3
    assert {path.name for path in run.folder.iterdir()} == FILES - NO_CHECKPOINT
    assert run.summary["stopped"] == "diverged"
    assert run.summary["test_accuracy"] is None
    assert json.loads(run.out) == run.summary
    last = run.err.splitlines()[-1]
    assert "diverged" in last
    assert "optimizer.lr" in last


def test_one_ctrl_c_is_a_question_and_two_are_an_end():
    before = signal.getsignal(signal.SIGINT)
    with interruption() as is_pressed:
        assert not is_pressed()
        signal.raise_signal(signal.SIGINT)
        assert is_pressed()
        assert is_pressed.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_systems_send_before_they_kill_is_a_question_too(number):
    with interruption() as is_asked:
        signal.raise_signal(number)
        assert is_asked.signal == number
        assert signal.getsignal(number) == signal.SIG_DFL  # the next one is an end
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption() as is_asked:
            signal.raise_signal(signal.SIGHUP)
            assert not is_asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_ctrl_c_belongs_to_others():
    before, asked = signal.getsignal(signal.SIGINT), []

    def work():
        with interruption() as is_pressed:
            asked.append(is_pressed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
    assert signal.getsignal(signal.SIGINT) is before


# Mistakes: exit code 2, one line on stderr, nothing on stdout, and no folder.


def assert_refused(run, *told):
    assert run.code == 2
    assert run.out == ""
    assert len(run.err.splitlines()) == 1, run.err
    assert run.err.startswith("fastconv.train: ")
    assert "Traceback" not in run.err
    for part in told:
        assert re.search(part, run.err), run.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recipe", "digit"], "did you mean 'digits'"),
        (["--recipe", "mnist-stride"], "did you mean 'mnist-strided'"),
        (["--recipe", "nothing-like-it"], "one of cifar10-94, cifar10-deep, .*, digits, lenet5, "),
        (["--recipe", "absent/recipe.toml"], "absent/recipe.toml: cannot be read"),
        (["--set", "optimizer.lrr=1"], "optimizer.lrr.*did you mean 'optimizer.lr'"),
        (["--set", "lr=1"], "did you mean 'optimizer.lr'"),
        (["--set", "nonsense=1"], "nonsense: no such key"),
        (["--set", "layers.9.units=1"], "no layers.9; expected 0 to 1"),
        (["--set", "layers.1.unit=1"], "layers.1.unit.*did you mean 'units'"),
        (["--set", "optimizer.lr=fast"], "optimizer.lr is 'fast'.*expected a number"),
        (["--set", "layers.1.units=ten"], "layers.1.units is 'ten'.*expected an integer"),
        (["--set", "epochs=1.5"], "epochs is 1.5, a float; expected an integer"),
        (["--set", "optimizer.lr=nan"], "optimizer.lr is nan"),
        (["--set", "optimizer.lr=inf"], "optimizer.lr is inf"),
        (["--set", "optimizer.lr=-inf"], "optimizer.lr is -inf"),
        (["--set", "optimizer.lr=-1"], "lr is -1.0; expected more than 0"),
        (["--set", "optimizer.lr=0"], "lr is 0.0; expected more than 0"),
        (
            ["--set", "optimizer.kind=momentum", "--set", "optimizer.momentum=1.5"],
            "momentum is 1.5",
        ),
        (["--set", "optimizer.l2=-1"], "l2 is -1.0"),
        (["--set", "schedule.kind=step", "--set", "schedule.factor=-1"], "factor is -1.0"),
        (["--set", "augmentation.crop=-1"], "crop is -1"),
        (["--set", "augmentation.crop=9"], "crop is 9; expected 0 to 8, the larger side"),
        (["--set", f"augmentation.cutout={2**64}"], f"cutout is {2**64}"),
        (
            ["--set", "schedule.kind=step", "--set", "schedule.every_epochs=1e308"],
            r"schedule.every_epochs is 1e\+308; expected more than 0, at most 1e\+09",
        ),
        (["--set", "data.validation=1297"], "validation is 1297 but there are 1297"),
        (["--set", "data.validation=-1"], "data.validation is -1"),
        (["--set", "layers.0.kind=flaten"], "layers.0.kind is 'flaten'.*did you mean 'flatten'"),
        (["--set", "layers.1.units=7"], r"\(7,\) but digits has 10 classes"),
        (["--set", "layers.1.units=0"], "units is 0; expected an integer of 1 or more"),
        (["--set", "layers.1.units=1000000000000"], "more than fit in memory"),
        (["--set", "layers=[]"], "no layers"),
        (["--set", "loss=mean_squared_error"], "labels are class numbers"),
        (["--batch-size", "0"], "batch_size is 0; expected 1 or more"),
        (["--batch-size", "-3"], "batch_size is -3"),
        (["--batch-size", "1298"], "1298 but there are 1297 training samples"),
        (["--batch-size", "many"], "--batch-size: invalid int value: 'many'"),
        (["--seed", "-1"], "seed is -1; expected 0 to"),
        (["--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--epochs", "0"], "--epochs: 0; expected 1 or more"),
        (["--steps", "-5"], "--steps: -5; expected 1 or more"),
        (["--validate-every", "0"], "--validate-every: 0; expected 1 or more"),
        (["--dataset", "minst"], "did you mean 'mnist'"),
        (["--dataset", "mnist", "--data-dir", "absent"], "folder absent .*is not there"),
        (["--json", "."], r"--json \.: no such folder, or a folder itself"),
        (["--rec", "digits"], "unrecognized arguments: --rec"),
        (["digits"], "unrecognized arguments: digits"),
        (["--set"], "--set: expected one argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_named_with_the_fix(command, arguments, told, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    run = command(*arguments)
    assert_refused(run, told)
    assert not run.folder.exists()


@pytest.mark.parametrize("backend", NAMES)
def test_a_backend_that_cannot_work_here_is_refused_with_the_reason(command, backend):
    state = backend_state(backend)
    run = command("--backend", backend, "--steps", "1")
    if state.works:
        assert run.summary["backend"] == backend
    else:
        assert_refused(run, re.escape(" ".join(state.reason.split())), "use --backend numpy")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("this is no recipe", "not a TOML file"),
        ("", "layers: missing"),
        ("epochs = 1", "layers: missing"),
        (TINY.replace("epochs = 2", ""), "epochs is None and steps is None"),
        (TINY.replace("epochs = 2", "epochs = 2\nsteps = 2"), "epochs is 2 and steps is 2"),
        (TINY.replace("units = 10", ""), "layers.1.units: missing"),
        (TINY.replace("units = 10", "units = '10'"), "layers.1.units is '10', a str"),
        (TINY.replace('"dense"', '"dence"'), "'dence'.*did you mean 'dense'"),
        (TINY.replace('kind = "dense"', "kind = ['dense']"), "layers.1.kind is"),
        (TINY.replace("[optimizer]", "[optimiser]"), "optimiser.*did you mean 'optimizer'"),
        (TINY.replace("units = 10", "units = 10\nwidth = 3"), "layers.1.width: no such key"),
        (
            TINY.replace('kind = "flatten"', 'kind = "max_pool2d"\nkernel = 9'),
            r"layer 1 \(max_pool2d_1\), input \(8, 8, 1\): the kernel spans 9",
        ),
        (
            TINY.replace('kind = "flatten"', 'kind = "conv2d"\nfilters = 4\nkernel = 9'),
            r"layer 1 \(conv2d_1\).*smaller kernel",
        ),
        (TINY.replace('kind = "flatten"', 'kind = "relu"'), "put flatten in front"),
        (
            TINY.replace('kind = "flatten"', 'kind = "conv2d"\nfilters = 4\npadding = "sme"'),
            "padding is 'sme'.*'same'",
        ),
    ],
)
def test_a_wrong_recipe_file_is_named_with_the_fix(command, tmp_path, text, told):
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    assert_refused(command("--recipe", str(path)), told)


# Where nothing can be written.


def test_a_folder_that_is_not_empty_is_not_touched(command, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    run = command("--out", str(tmp_path / "full"))
    assert_refused(run, r"not empty \(thesis.tex\)", "--out")
    assert [path.name for path in run.folder.iterdir()] == ["thesis.tex"]


def test_a_run_is_never_overwritten(command):
    first = command()
    before = first.weights
    assert_refused(command("--out", str(first.folder), "--seed", "9"), "not empty")
    assert first.weights == before


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_file_is_no_folder(command, tmp_path, below):
    (tmp_path / "file").write_text("text")
    run = command("--out", str(tmp_path / "file" / below) if below else str(tmp_path / "file"))
    assert_refused(run, "cannot be written", "--out")
    assert (tmp_path / "file").read_text() == "text"


def test_an_empty_name_is_no_folder_of_its_own(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the recipe is, so it is not empty
    assert_refused(command("--out", ""), "not empty")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_folder_without_permission_is_refused(command, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(command("--out", str(tmp_path / "locked" / "run")), "cannot be written")
    assert_refused(command("--json", str(tmp_path / "locked" / "x.json")), "cannot be written")


# Data that is not what it should be.


def idx(array):
    """An array of bytes in the IDX format: magic number, sizes, numbers."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


MNIST_FILES = {
    "train-images-idx3-ubyte": (40, 6, 6), "train-labels-idx1-ubyte": (40,),
    "t10k-images-idx3-ubyte": (10, 6, 6), "t10k-labels-idx1-ubyte": (10,),
}  # fmt: skip


@pytest.fixture
def mnist(tmp_path):
    """A small data set in the files of MNIST."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, shape in MNIST_FILES.items():
        top = 256 if "images" in name else 10
        content = idx(generator.integers(0, top, shape))
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def regzip(change):
    return lambda content: gzip.compress(change(gzip.decompress(content)))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("train-images-idx3-ubyte.gz", lambda c: c[:-20], "truncated or damaged"),
        ("train-images-idx3-ubyte.gz", lambda c: c[:100] + b"\0" * 50 + c[150:], "damaged"),
        ("train-images-idx3-ubyte.gz", lambda c: b"", "ends after 0 bytes"),
        ("train-images-idx3-ubyte.gz", lambda c: b"<html>not found</html>", "magic number"),
        ("train-images-idx3-ubyte.gz", regzip(lambda c: c[:-1]), "is truncated"),
        ("train-images-idx3-ubyte.gz", regzip(lambda c: c + b"x"), "bytes left over"),
        ("train-images-idx3-ubyte.gz", regzip(lambda c: c[:10]), "within its header"),
        ("train-images-idx3-ubyte.gz", regzip(lambda c: b"\1" + c[1:]), "magic number"),
        ("t10k-labels-idx1-ubyte.gz", regzip(lambda c: c[:-1] + b"\n"), "label 10 of sample 9"),
        ("train-labels-idx1-ubyte.gz", regzip(lambda c: c[:8] + b"\xff" + c[9:]),
         "label 255 of sample 0.*10 classes"),
        ("t10k-labels-idx1-ubyte.gz", regzip(lambda c: idx(np.zeros(9))), "10 images but .* 9"),
        ("train-labels-idx1-ubyte.gz", regzip(lambda c: idx(np.zeros((40, 1)))), "1 dimensions"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_mnist_is_named(command, mnist, name, change, told):
    rewrite(mnist / name, change)
    run = command("--dataset", "mnist", "--data-dir", str(mnist.parent), "--batch-size", "10")
    part = name.split("-")[0]
    assert_refused(run, told, rf"{part}-(images|labels)-idx")


@pytest.mark.parametrize("name", MNIST_FILES)
def test_a_missing_file_of_mnist_is_named(command, mnist, name):
    (mnist / f"{name}.gz").unlink()
    run = command("--dataset", "mnist", "--data-dir", str(mnist.parent))
    assert_refused(run, name, "--data-dir or FASTCONV_DATA")


def test_a_missing_data_folder_of_the_environment_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "absent"))
    assert_refused(command("--dataset", "mnist"), "absent", "from FASTCONV_DATA")


@pytest.fixture
def cifar10(tmp_path):
    """A small data set in the files of CIFAR-10's Python version."""
    folder = tmp_path / "data" / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        planes = generator.integers(0, 256, (8, 3072), np.uint8)
        batch = {b"data": planes, b"labels": [int(n) for n in generator.integers(0, 10, 8)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {b"label_names": [f"class {n}".encode() for n in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


def train_on_cifar10(command, folder):
    return command("--dataset", "cifar10", "--data-dir", str(folder), "--batch-size", "10")


def test_the_small_copy_of_cifar10_is_trained_on(command, cifar10):
    run = train_on_cifar10(command, cifar10.parent.parent)
    assert run.code == 0, run.err
    assert run.summary["parameters"] == 3072 * 10 + 10


def with_labels(labels):
    def change(content):
        batch = pickle.loads(content, encoding="bytes")
        return pickle.dumps({**batch, b"labels": labels}, protocol=2)

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("data_batch_3", lambda c: c[: len(c) // 2], "data_batch_3"),
        ("data_batch_3", lambda c: b"", "data_batch_3"),
        ("data_batch_3", lambda c: b"no pickle", "data_batch_3"),
        ("test_batch", with_labels([10] + [0] * 7), "test_batch.*label 10 of sample 0"),
        ("data_batch_5", with_labels([0] * 7 + [-1]), "data_batch_5.*label -1 of sample 7"),
        ("data_batch_5", with_labels([0] * 7), "data_batch_5.*7 class numbers.*8 images"),
        ("data_batch_1", lambda c: pickle.dumps({}, protocol=2), "data_batch_1.*'data'"),
        ("batches.meta", lambda c: pickle.dumps({}, protocol=2), "batches.meta.*class names"),
        ("batches.meta", lambda c: c[:-5], "batches.meta"),
    ],
)
def test_a_damaged_batch_of_cifar10_is_named(command, cifar10, name, change, told):
    rewrite(cifar10 / name, change)
    assert_refused(train_on_cifar10(command, cifar10.parent.parent), told)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_missing_batch_of_cifar10_is_named(command, cifar10, name):
    (cifar10 / name).unlink()
    assert_refused(train_on_cifar10(command, cifar10.parent.parent), f"{name} is not in")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_archive_of_cifar10_is_named(command, cifar10, tmp_path, kept):
    folder = tmp_path / "archive"
    folder.mkdir()
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(cifar10, cifar10.name)
    assert train_on_cifar10(command, folder).code == 0
    rewrite(path, lambda content: content[: int(kept * len(content))])
    assert_refused(train_on_cifar10(command, folder), r"cifar-10-python\.tar\.gz")


def test_a_folder_without_data_is_named(command, tmp_path):
    (tmp_path / "nothing").mkdir()
    for name in ("mnist", "cifar10"):
        run = command("--dataset", name, "--data-dir", str(tmp_path / "nothing"))
        assert_refused(run, f"{tmp_path}/nothing", "--data-dir or FASTCONV_DATA")
