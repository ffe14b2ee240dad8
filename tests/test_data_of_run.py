"""Which data a run was trained on: written down, compared with those found, others refused."""

import dataclasses
import gzip
import hashlib
import json
import shutil
import struct

import numpy as np
import pytest
from saved_runs import CONVOLUTIONAL, TINY_RECIPE, line, recipe_of, shades

from fastconv import evaluate, train
from fastconv.cli.progress import Display
from fastconv.data import DATASETS, Samples, load
from fastconv.data.identity import hash_array, identify
from fastconv.execution.config import ExecutionConfig
from fastconv.recipe import load_recipe
from fastconv.report import __main__ as report
from fastconv.report import write_report
from fastconv.reproduce import __main__ as reproduce
from fastconv.runs.data_of_run import check_data
from fastconv.runs.datasets import Datasets
from fastconv.runs.saved_run import RunError, load_run
from fastconv.training_run import RunOptions, explain_run, train_recipe

SYSTEM = "regression-relu"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("FASTCONV_BACKEND", "FASTCONV_DATA", "FASTCONV_THREADS"):
        monkeypatch.delenv(name, raising=False)


# The hash.


def test_a_hash_is_that_of_type_shape_and_elements_in_c_order():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert hash_array(array) == hashlib.sha256(b"|u1 (3, 4)\n" + bytes(range(12))).hexdigest()
    labels = np.array([1, 258], np.int64)
    expected = b"<i8 (2,)\n" + bytes([1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])
    assert hash_array(labels) == hashlib.sha256(expected).hexdigest()


def test_a_hash_does_not_depend_on_where_elements_lie():
    array = np.random.default_rng(0).integers(0, 256, (5, 6, 7), np.uint8)
    wide = np.zeros((10, 6, 14), np.uint8)
    wide[::2, :, ::2] = array
    labels = np.arange(9)
    for one, other in (
        (array, np.asfortranarray(array)),
        (array, wide[::2, :, ::2]),
        (labels, labels[::-1].copy()[::-1]),
        (labels, labels.astype(">i8")),
    ):
        assert hash_array(one) == hash_array(other)


def test_a_hash_in_blocks_is_that_of_the_whole():
    rows = np.random.default_rng(0).integers(0, 256, (5, 3_000_000), np.uint8)  # two to a block
    expected = hashlib.sha256(b"|u1 (5, 3000000)\n" + rows.tobytes()).hexdigest()
    assert hash_array(rows) == expected


@pytest.mark.parametrize("change", ["one element", "the shape", "the order", "the type"], ids=str)
def test_a_hash_tells_what_is_not_the_same(change):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    other = {
        "one element": array + (array == 7),
        "the shape": array.reshape(4, 3),
        "the order": array[::-1],
        "the type": array.astype(np.float32),
    }[change]
    assert hash_array(array) != hash_array(other)


def test_floats_are_hashed_as_the_network_is_given_them():
    x = np.random.default_rng(0).normal(size=(20, 3))
    # Another processor's sine may differ in the last bit.
    assert hash_array(x) == hash_array(np.nextafter(x, 9)) == hash_array(x.astype(np.float32))
    assert hash_array(x) != hash_array(x + 1e-5)
    assert len(hash_array(np.array([1e300, np.nan]))) == 64


def test_an_empty_part_has_an_identity():
    nothing = identify(Samples(np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, np.int64)))
    assert nothing.samples == 0
    assert nothing.labels == hashlib.sha256(b"<i8 (0,)\n").hexdigest()


@pytest.mark.parametrize("name", ["digits", "curve"])
def test_loaded_again_the_data_are_the_same(name):
    first, second = load(name), load(name)
    assert name in DATASETS
    for part, samples in first.parts.items():
        assert identify(samples) == identify(second.parts[part])
    assert identify(first.training) != identify(first.test)


# Data sets in files: another one under the same names.


def write_mnist(folder, shift, labels_of="both"):
    """Write MNIST's files; classes are told by where a bar is, all moved by ``shift``."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 200), ("t10k", 60)):
        labels = generator.integers(0, 10, count)
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 2 : 2 * label + 6] = 200
        if labels_of in ("both", part):
            labels = (labels + shift) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return str(folder)


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A run on one such data set, and two folders with others."""
    folder = tmp_path_factory.mktemp("bars")
    (folder / "tiny.toml").write_text(TINY_RECIPE + '[data]\ndataset = "mnist"\n')
    for name, shift, part in (("own", 0, "both"), ("other", 1, "both"), ("tests", 1, "t10k")):
        write_mnist(folder / name, shift, part)
    arguments = ["--recipe", str(folder / "tiny.toml"), "--quiet", "--no-report"]
    arguments += ["--data-dir", str(folder / "own"), "--out", str(folder / "run")]
    assert train.main([*arguments, "--epochs", "20"]) == 0
    return folder


@pytest.fixture
def copied(bars, tmp_path):
    """A copy of the run to change."""
    return shutil.copytree(bars / "run", tmp_path / "run")


def evaluated(capsys, *arguments):
    code = evaluate.main([*map(str, arguments), "--json", "-", "--quiet"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_a_run_says_which_data_it_was_trained_on(bars):
    model = json.loads((bars / "run" / "model.json").read_text())
    assert model["dataset"] == "mnist"
    assert {part: each["samples"] for part, each in model["data"].items()} == {
        "training": 200, "test": 60,
    }  # fmt: skip
    with gzip.open(bars / "own" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = file.read()[16:]
    expected = hashlib.sha256(b"|u1 (60, 28, 28, 1)\n" + pixels).hexdigest()
    assert model["data"]["test"]["images_sha256"] == expected


def test_the_same_data_are_evaluated_without_a_word(bars, capsys):
    summary = json.loads((bars / "run" / "summary.json").read_text())
    code, found, err = evaluated(capsys, bars / "run", "--data-dir", bars / "own")
    assert (code, err) == (0, "")
    assert (found["data"], found["accuracy"]) == ("same", summary["test_accuracy"])
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("there", "told"),
    [("other", "other training labels, other test labels"), ("tests", "other test labels")],
)
def test_other_data_of_the_same_name_are_refused(bars, there, told, capsys):
    for command, name in ((evaluate.main, "evaluate"), (report.main, "report")):
        assert command([str(bars / "run"), "--data-dir", str(bars / there)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err == (
            f"fastconv.{name}: run {bars / 'run'}: was trained on other data than this mnist, "
            f"which has {told}; give the folder of its data with --data-dir, or go on with "
            f"--any-data (any_data=True in Python)\n"
        )
    assert not (bars / "run" / "report.html").exists()


def test_any_data_are_evaluated_when_asked_for(bars, capsys):
    code, found, err = evaluated(capsys, bars / "run", "--data-dir", bars / "other", "--any-data")
    assert code == 0
    assert found["data"] == "other"
    assert found["accuracy"] < 0.1  # every label is another
    assert err == (
        f"fastconv.evaluate: run {bars / 'run'}: goes on with other data than it was trained on: "
        f"this mnist has other training labels, other test labels\n"
    )


def test_a_report_on_any_data_says_so(bars, copied, capsys):
    assert report.main([str(copied), "--data-dir", str(bars / "other"), "--any-data"]) == 0
    said = "goes on with other data than it was trained on: this mnist has other training labels"
    assert said in capsys.readouterr().err
    assert said in (copied / "report.html").read_text(encoding="utf-8")


def test_fewer_samples_and_missing_parts_are_named(bars, copied, capsys):
    file = copied / "recipe.toml"
    file.write_text(file.read_text().replace("[data]", "[data]\nvalidation = 50"))
    code, _, err = evaluated(capsys, copied, "--data-dir", bars / "own")
    assert code == 2
    assert "this mnist, which has 150 training samples instead of 200, a validation part;" in err


def test_a_run_of_an_earlier_version_is_read_and_not_compared(bars, copied, capsys):
    model = json.loads((copied / "model.json").read_text())
    del model["data"]
    (copied / "model.json").write_text(json.dumps(model))
    code, found, err = evaluated(capsys, copied, "--data-dir", bars / "other")
    assert (code, found["data"]) == (0, "unknown")
    assert err == (
        f"fastconv.evaluate: run {copied}: is of an earlier version, which did not write down its "
        f"data; this mnist could not be compared with them\n"
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "an object in data"),
        ({"test": 3}, "TypeError"),
        ({"test": {"samples": 60}}, "KeyError"),
        ({"test": {"samples": "60", "images_sha256": "0" * 64, "labels_sha256": "0" * 64}}, "'60'"),
        ({"test": {"samples": 60, "images_sha256": "0" * 64, "labels_sha256": 5}}, "5 is no SHA"),
    ],
)
def test_a_damaged_identity_is_named(copied, value, says, capsys):
    model = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps({**model, "data": value}))
    code, _, err = evaluated(capsys, copied)
    assert code == 2
    assert "model.json is damaged" in err
    assert says in err


def test_data_that_the_network_cannot_take_are_refused_in_any_case(bars, copied, capsys):
    file = copied / "recipe.toml"
    file.write_text(file.read_text().replace('dataset = "mnist"', 'dataset = "digits"'))
    code, _, err = evaluated(capsys, copied, "--any-data")
    assert code == 2
    assert err.count("\n") == 1
    assert (
        "its network takes images of shape (28, 28, 1) for 10 classes, but digits has images of "
        "shape (8, 8, 1) for 10 classes; give data of the same form" in err
    )


# Data of one's own.


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run on data that were given in Python."""
    folder = tmp_path_factory.mktemp("own")
    options = RunOptions(ExecutionConfig(threads=1), probes=False)
    display = Display(quiet=True, to_stderr=False)
    run = train_recipe(recipe_of(CONVOLUTIONAL), folder / "run", options, display, dataset=shades())
    return run, options


def test_a_run_names_the_data_that_it_was_given(own):
    run = load_run(own[0].folder.path)
    assert (run.dataset_name, run.summary["dataset"]) == ("shades", "shades")
    assert set(run.data) == {"training", "test", "validation"}


def test_a_command_says_that_it_cannot_load_data_of_ones_own(own, capsys):
    path = own[0].folder.path
    for command, name in ((evaluate.main, "evaluate"), (report.main, "report")):
        assert command([str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith(
            f"fastconv.{name}: run {path}: was trained on data of one's own, named 'shades', which "
            f"a command cannot load; give them in Python: fastconv.report.write_report("
        )


def test_in_python_the_report_takes_data_of_ones_own(own, tmp_path):
    run = load_run(shutil.copytree(own[0].folder.path, tmp_path / "run"))
    page = write_report(run, shades())
    assert "data set shades" in page.read_text(encoding="utf-8")
    score = run.inference().evaluate(shades().test)
    assert score.loss == pytest.approx(run.summary["test_loss"], rel=1e-6)


def test_in_python_other_data_are_refused_too(own, tmp_path):
    run = load_run(shutil.copytree(own[0].folder.path, tmp_path / "run"))
    data = shades()
    renamed = dataclasses.replace(data, class_names=("a", "b", "c"))
    fewer = dataclasses.replace(data, validation=None)
    brighter = Samples(data.test.images | 1, data.test.labels)
    for other, told in (
        (renamed, "other names of classes"),
        (fewer, "no validation part"),
        (dataclasses.replace(data, test=brighter), "other test images"),
        (dataclasses.replace(data, name="tints"), "another name than 'shades'"),
    ):
        with pytest.raises(RunError, match=f"which has {told}; give the data set"):
            write_report(run, other)
        assert check_data(run, other, any_data=True).agreement == "other"
    with pytest.raises(RunError, match="for 3 classes, but line has images of"):
        check_data(run, line(), any_data=True)


def test_the_data_are_compared_as_they_are_now():
    data = shades()
    before = identify(data.test)
    data.test.images[0, 0, 0, 0] ^= 1
    assert identify(data.test) != before


def test_a_run_with_an_appended_copy_is_of_the_data_without_it(tmp_path, capsys):
    (tmp_path / "x.toml").write_text(TINY_RECIPE + '[augmentation]\nmode = "append"\ncrop = 1\n')
    arguments = ["--recipe", str(tmp_path / "x.toml"), "--quiet", "--no-report"]
    assert train.main([*arguments, "--out", str(tmp_path / "run")]) == 0
    code, found, err = evaluated(capsys, tmp_path / "run")
    assert (code, found["data"], err) == (0, "same", "")


def test_the_report_of_a_run_just_made_needs_no_comparison(tmp_path):
    data = shades()
    options = RunOptions(ExecutionConfig(threads=1), probes=False)
    display = Display(quiet=True, to_stderr=False)
    run = train_recipe(recipe_of(CONVOLUTIONAL), tmp_path / "run", options, display, dataset=data)
    data.test.images[0] = 0
    assert explain_run(run, options).is_file()


# Reproduction.


@pytest.fixture
def reproduced(tmp_path, capsys):
    def call(*arguments):
        given = ["--backend", "numpy", "--threads", "1", "--out", str(tmp_path / "made"), "--quick"]
        code = reproduce.main([SYSTEM, *given, *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_reproduction_refuses_runs_of_other_data(reproduced, tmp_path):
    assert reproduced()[0] == 0
    file = tmp_path / "made" / "runs" / SYSTEM / "model.json"
    model = json.loads(file.read_text())
    model["data"]["test"]["labels_sha256"] = "0" * 64
    file.write_text(json.dumps(model))
    code, _, err = reproduced()
    assert (code, err.count("\n")) == (2, 1)
    assert "was trained on other data than this curve, which has other test labels" in err
    assert err.endswith("; --again trains it again\n")
    code, out, err = reproduced("--any-data")
    assert code == 0
    assert "is there already" in out
    assert err.count("goes on with other data than it was trained on") == err.count("\n") == 1
    assert reproduced("--again")[0] == 0
    assert reproduced()[2] == ""


def test_a_reproduction_reads_a_data_set_once_to_compare_it(monkeypatch):
    read = []
    monkeypatch.setattr(
        "fastconv.runs.datasets.identify_parts", lambda dataset: read.append(dataset.name) or {}
    )
    datasets, recipe = Datasets(), load_recipe("digits")
    assert datasets.identity_of(recipe) == datasets.identity_of(recipe) == {}
    assert read == ["digits"]
