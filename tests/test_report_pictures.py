"""What a page holds, and how: no picture less than ever, drawn once, without matplotlib."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_runs import CONVOLUTIONAL, TINY_RECIPE, line, recipe_of, save_run, shades

from fastconv.cli.progress import Display
from fastconv.data import Dataset, Samples
from fastconv.recipe import load_recipe
from fastconv.report import figure_files, write_report
from fastconv.report.drawing import Drawing
from fastconv.report.findings import Findings
from fastconv.runs.data_of_run import load_data
from fastconv.runs.saved_run import load_run
from fastconv.train import main as train
from fastconv.training_run import RunOptions, explain_run, train_recipe

KNOWN = json.loads(Path(__file__).with_name("pictures_of_reports.json").read_text(encoding="utf-8"))
"""For some recipes, the pictures that a page has always had, and the columns of their numbers."""


def images_like(name, shape, names):
    """Random images of a data set's shape, of which each class has its own brightness."""
    generator = np.random.default_rng(0)

    def part(count):
        labels = np.arange(count) % len(names)
        noise = generator.integers(0, 100, (count, *shape))
        return Samples((noise + 15 * labels[:, None, None, None]).astype(np.uint8), labels)

    return Dataset(name, part(60), part(40), names)


CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
DATA = {
    "digits": (None, 5),
    "lenet5": (images_like("mnist", (28, 28, 1), tuple("0123456789")), 5),
    "regression-relu": (None, 30),
    "cifar10-softmax": (images_like("cifar10", (32, 32, 3), CIFAR10), 5),
}


@pytest.fixture(scope="module", params=sorted(KNOWN))
def explained(request, tmp_path_factory):
    """The recipe's name and the folder of a short run of it, with its page."""
    dataset, steps = DATA[request.param]
    folder = tmp_path_factory.mktemp("runs") / request.param
    settings = [] if request.param != "cifar10-softmax" else [("data.validation", 0)]
    settings += [] if request.param == "digits" else [("batch_size", 20)]
    options = RunOptions(threads=1, backend="numpy", steps=steps)
    display = Display(quiet=True, to_stderr=False)
    finished = train_recipe(
        load_recipe(request.param, settings), folder, options, display, dataset=dataset
    )
    explain_run(finished, options)
    return request.param, folder


class Figures(HTMLParser):
    """The pictures of a page by the ids of their figures: what they show, in words."""

    def __init__(self, text):
        super().__init__()
        self.words, self.names = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "figure":
            self.names.append(found["id"].removeprefix("picture-"))
        if tag == "svg" and found.get("role") == "img":
            self.words[self.names[-1]] = found["aria-label"]


def test_a_page_has_every_picture_that_it_ever_had(explained):
    name, folder = explained
    figures = Figures((folder / "report.html").read_text(encoding="utf-8"))
    assert sorted(figures.names) == sorted(KNOWN[name])
    assert set(figures.words) == set(KNOWN[name])
    assert all(len(words) > 20 for words in figures.words.values())


def test_the_numbers_behind_the_pictures_are_those_that_there_ever_were(explained):
    name, folder = explained
    found = {}
    for path in (folder / "figures").iterdir():
        assert path.suffix == ".csv"  # no picture without --figures
        with open(path, encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        assert rows
        found[path.stem] = head
    expected = {picture: columns for picture, columns in KNOWN[name].items() if columns}
    if name == "cifar10-softmax":
        # A run as short as this one has no point of a validation.
        for each in (expected, found):
            for curve in ("loss-curve", "accuracy-curve"):
                each[curve] = each[curve][:2]
    assert found == expected


def test_files_of_the_pictures_come_when_they_are_asked_for(explained):
    name, folder = explained
    saved = load_run(folder)
    dataset = DATA[name][0] or load_data(saved, None)
    write_report(saved, dataset, figures="png")
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == set(KNOWN[name])
    for picture in drawn:
        with Image.open(folder / "figures" / f"{picture}.png") as file:
            assert min(file.size) > 100
    write_report(saved, dataset)
    assert not list((folder / "figures").glob("*.png"))


def test_processes_side_by_side_draw_what_one_draws(tmp_path, monkeypatch):
    drawings = [
        Drawing("learning_rate_curve", [0, 1, 2], [0.1, 0.2 + n, 0.3]) for n in range(4)
    ] + [
        Drawing("histogram_pairs", {"weight": (np.arange(9.0), np.arange(9.0) / 2)}),
        Drawing("saliency_grid", np.zeros((2, 8, 8, 1), np.uint8), np.ones((2, 8, 8)), ["a", "b"]),
    ]  # fmt: skip
    monkeypatch.setattr(figure_files, "_FEW", 2)
    for threads in ("1", "3"):
        monkeypatch.setenv("FASTCONV_THREADS", threads)
        folder = tmp_path / threads
        folder.mkdir()
        tasks = [(str(folder / str(n)), each) for n, each in enumerate(drawings)]
        figure_files.save_drawings(tasks, ("png", "svg"))
    one, three = (
        {path.name: path.read_bytes() for path in (tmp_path / threads).iterdir()}
        for threads in ("1", "3")
    )
    assert len(one) == 2 * len(drawings)
    assert one == three


def test_what_goes_wrong_in_a_process_is_raised_here(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_files, "_FEW", 1)
    monkeypatch.setenv("FASTCONV_THREADS", "2")
    rate = Drawing("learning_rate_curve", [0, 1], [0.1, 0.2])
    tasks = [(str(tmp_path / "good"), rate), (str(tmp_path / "missing" / "bad"), rate)]
    with pytest.raises(FileNotFoundError, match="missing"):
        figure_files.save_drawings(tasks, ("png",))
    assert (tmp_path / "good.png").exists()


def test_a_training_with_its_page_imports_no_matplotlib(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")
    code = (
        "import sys; from fastconv.train import main; "
        "code = main(['--recipe', 'tiny.toml', '--out', 'run', '--quiet']); "
        "print(code, *sorted(sys.modules))"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, *modules = done.stdout.split()
    assert code == "0"
    assert (tmp_path / "run" / "report.html").exists()
    assert {"numpy", "jinja2", "PIL"} <= set(modules)
    assert not {"matplotlib", "scipy", "pandas", "optuna"} & set(modules)


def test_a_page_is_small(tmp_path):
    assert train(["--out", str(tmp_path / "run"), "--quiet", "--epochs", "2"]) == 0
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000


# What is measured for the page is measured once.


def test_the_page_takes_the_scores_of_the_final_test(tmp_path, monkeypatch):
    recipe = recipe_of(CONVOLUTIONAL, data={"dataset": "digits"})
    options = RunOptions(threads=1, backend="numpy")
    display = Display(quiet=True, to_stderr=False)
    dataset = shades()
    finished = train_recipe(recipe, tmp_path / "run", options, display, dataset=dataset)
    trainer = finished.experiment.trainer
    np.testing.assert_array_equal(finished.test_scores, trainer.predict(dataset.test.images))
    labels = dataset.test.labels
    accuracy = np.mean(finished.test_scores.argmax(axis=1) == labels)
    assert finished.summary["test_accuracy"] == accuracy

    def refuse(*_, **__):
        raise AssertionError("the test part was scored again")

    monkeypatch.setattr("fastconv.runs.saved_run.SavedRun.inference_of", refuse)
    explain_run(finished, options)
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"accuracy {100 * accuracy:.2f} %" in text


def test_without_a_page_no_scores_are_kept(tmp_path):
    options = RunOptions(threads=1, backend="numpy", probes=False)
    display = Display(quiet=True, to_stderr=False)
    finished = train_recipe(
        recipe_of(CONVOLUTIONAL), tmp_path / "run", options, display, dataset=shades()
    )
    assert finished.test_scores is None


def test_all_layers_are_observed_in_one_pass(tmp_path, monkeypatch):
    experiment = save_run(tmp_path / "run", recipe_of(CONVOLUTIONAL), shades())
    findings = Findings(load_run(tmp_path / "run"), experiment.dataset)
    from fastconv.report.layer_sections import maximally_activating

    looked_at = []
    batches = findings.observed.batches_of_outputs

    def counted(images, layers=None):
        looked_at.append(len(images))
        return batches(images, layers)

    monkeypatch.setattr(findings.observed, "batches_of_outputs", counted)
    section = maximally_activating(findings)
    assert len(section.items) == 2  # convolutions
    assert sum(looked_at) == len(experiment.dataset.test)


# The summary says the whole.


def test_the_seconds_of_a_run_add_up(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")
    folder = tmp_path / "run"
    assert train(["--recipe", str(tmp_path / "tiny.toml"), "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    names = ("start", "load", "train", "validate", "test", "report")
    seconds = [summary[f"{name}_seconds"] for name in names]
    assert all(each >= 0 for each in seconds)
    # What is left is writing a few files.
    assert sum(seconds) <= summary["total_seconds"] + 1e-6
    assert summary["total_seconds"] - sum(seconds) < 0.5 * summary["total_seconds"] + 0.2
    (said,) = re.findall(r"^time: (.*)$", out, re.MULTILINE)
    numbers = [float(number) for number in re.findall(r"(\d+\.\d+) s", said)]
    assert numbers == [round(each, 2) for each in (*seconds, summary["total_seconds"])]


def test_the_seconds_of_a_command_begin_with_its_process(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")
    arguments = ["--recipe", "tiny.toml", "--no-report", "--quiet", "--json", "-"]
    path = os.pathsep.join(filter(None, sys.path))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fastconv.train", *arguments], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.monotonic() - began
    summary = json.loads(done.stdout)
    # The imports alone take more; and no part lies outside what was seen from here.
    assert summary["start_seconds"] > 0.02
    assert summary["total_seconds"] < seconds + 0.05


def test_without_a_page_there_are_no_seconds_of_one(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")
    folder = tmp_path / "run"
    arguments = ["--recipe", str(tmp_path / "tiny.toml"), "--out", str(folder), "--quiet"]
    assert train([*arguments, "--no-report"]) == 0
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["report_seconds"] is None
    assert summary["total_seconds"] >= summary["load_seconds"] > 0


# Runs of an earlier version.

NEW_IN_THE_SUMMARY = (
    "start_seconds", "load_seconds", "validate_seconds", "test_seconds", "report_seconds",
    "total_seconds",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_a_run_of_an_earlier_version_has_its_page(tmp_path, kind):
    folder = tmp_path / "run"
    if kind == "classes":
        experiment = save_run(folder, recipe_of(CONVOLUTIONAL), shades())
    else:
        layers = [{"kind": "dense", "units": 1}]
        recipe = recipe_of(layers, loss="mean_squared_error", preprocessing={"kind": "none"})
        experiment = save_run(folder, recipe, line())
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for key in (*NEW_IN_THE_SUMMARY, "peak_rss_mib", "warmup_seconds"):
        summary.pop(key, None)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del model["data"]
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
    (folder / "probe.csv").unlink()
    text = write_report(load_run(folder), experiment.dataset).read_text(encoding="utf-8")
    assert "<td>\N{EN DASH}</td>" in text  # the warm-up
    assert "loading data" not in text


# The field's own words.


def test_the_page_speaks_as_the_field_does(tmp_path):
    assert train(["--out", str(tmp_path / "run"), "--quiet", "--epochs", "2"]) == 0
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    shown = re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)
    for words in (
        "Confusion matrix", "Configuration", "warm-up", "peak memory", "Misclassified samples",
        "Maximally activating images", "Saliency maps", "Feature maps",
    ):  # fmt: skip
        assert words in shown, words
    for words in ("making ready", "most memory", "What ran", "excit", "taken for"):
        assert words not in shown, words
