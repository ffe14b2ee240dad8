"""Reading a run's folder: what was trained comes back, and what is wrong is said in one line."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from saved_runs import CONVOLUTIONAL, NAMES, recipe_of, save_run, shades

from fastconv import evaluate, export, predict
from fastconv.execution.config import ExecutionConfig
from fastconv.report import __main__ as report
from fastconv.runs.saved_run import RunError, load_run

REQUIRED = (
    "model.json", "recipe.toml", "environment.json", "summary.json", "history.csv",
    "weights.safetensors",
)  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    recipe = recipe_of(CONVOLUTIONAL, preprocessing={"kind": "standardize", "per": "feature"})
    return folder, save_run(folder, recipe, shades())


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved[0], tmp_path / "run")


def test_what_was_trained_comes_back(saved):
    folder, experiment = saved
    run = load_run(folder)
    assert run.name == "one"
    assert run.recipe.table() == experiment.recipe.table()
    assert run.class_names == NAMES
    assert run.image_shape == (8, 10, 3)
    np.testing.assert_array_equal(run.network().parameters, experiment.trainer.network.parameters)
    np.testing.assert_array_equal(run.network().state, experiment.trainer.network.state)
    assert run.history["step"].tolist() == [6, 12, 18]
    assert set(run.probe) == {"conv2d_1", "relu_1", "conv2d_2", "batch_norm_1", "relu_2", "dense_1"}
    assert run.probe["conv2d_2"]["step"].tolist() == [6, 12, 18]


def test_a_run_with_the_names_of_an_earlier_version_comes_back(saved, folder):
    for name, written, earlier in (
        ("model.json", '"std"', '"deviation"'),
        ("probe.csv", ",std,", ",deviation,"),
        ("recipe.toml", "[initialization]\n", "[initialization]\ndeviation = 0.1\n"),
    ):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(written) == 1
        (folder / name).write_text(text.replace(written, earlier), encoding="utf-8")
    now, then = load_run(saved[0]), load_run(folder)
    np.testing.assert_array_equal(then.preprocessing.std, now.preprocessing.std)
    np.testing.assert_array_equal(then.probe["relu_1"]["std"], now.probe["relu_1"]["std"])
    assert then.recipe.table() == now.recipe.table()


def test_the_saved_network_says_what_the_trained_one_says(saved):
    folder, experiment = saved
    images = experiment.dataset.test.images
    expected = experiment.trainer.predict(images)
    np.testing.assert_array_equal(
        load_run(folder).inference(ExecutionConfig("numpy")).predict(images), expected
    )


def test_the_network_before_the_training_is_that_of_the_seed(saved):
    folder, experiment = saved
    run = load_run(folder)
    first = experiment.recipe.make_network((8, 10, 3))
    np.testing.assert_array_equal(run.initial_network().parameters, first.parameters)
    assert (run.initial_network().parameters != run.network().parameters).any()


def test_no_value_is_nan(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    cells = lines[1].split(",")
    cells[5] = cells[6] = ""  # without validation
    (folder / "history.csv").write_text("\n".join([lines[0], ",".join(cells)]) + "\n")
    assert np.isnan(load_run(folder).history["validation_loss"]).all()


def commands(folder):
    """Each command that reads a run."""
    return {
        "fastconv.report": lambda: report.main([str(folder)]),
        "fastconv.evaluate": lambda: evaluate.main([str(folder)]),
        "fastconv.predict": lambda: predict.main([str(folder), "image.png"]),
        "fastconv.export": lambda: export.main([str(folder), "network.onnx"]),
    }


def assert_refused(folder, capsys, says):
    """Every command says so in one line, with exit code 2, and no traceback."""
    for name, call in commands(folder).items():
        assert call() == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"{name}: run .*{says}.*\n", err), err


@pytest.mark.parametrize("name", REQUIRED)
def test_an_incomplete_run_is_named(folder, name, capsys):
    (folder / name).unlink()
    with pytest.raises(RunError, match=re.escape(f"{name} is missing")):
        load_run(folder).network()
    assert_refused(folder, capsys, f"{re.escape(name)} is missing, so this is no finished run")


def test_no_folder_is_named(tmp_path, capsys):
    assert_refused(tmp_path / "nothing", capsys, "nothing: no such folder")


def test_a_newer_run_asks_for_an_update(folder, capsys):
    model = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**model, "format": 2}))
    assert_refused(folder, capsys, "its format is 2, but this fastconv reads up to 1; update")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.json", "{", "model.json is damaged"),
        ("model.json", "[]", "model.json is damaged"),
        ("model.json", "{}", "no format number"),
        ("model.json", '{"format": true}', "no format number"),
        ("model.json", '{"format": -5}', "no format number"),
        ("model.json", "[" * 100_000 + "]" * 100_000, "model.json is damaged"),
        ("summary.json", '{"a":' * 100_000 + "1" + "}" * 100_000, "summary.json is damaged"),
        ("recipe.toml", "seed = " + "[" * 2000 + "]" * 2000, "not a TOML file"),
        ("history.csv", f"step\n{'1' * 140_000}\n", "history.csv is damaged .*field larger"),
        ("probe.csv", f"step,layer\n0,{'a' * 140_000}\n", "probe.csv is damaged .*field larger"),
        ("model.json", '{"format": 1}', "model.json is damaged"),
        ("recipe.toml", "name = ", "not a TOML file"),
        ("recipe.toml", 'name = "x"\nlayerz = []', "no such key"),
        ("environment.json", "null", "environment.json is damaged"),
        ("summary.json", "", "summary.json is damaged"),
        ("history.csv", "step,epoch\n1,1\n", "history.csv is damaged .*no column"),
        ("probe.csv", "step,layer\n1,x\n", "probe.csv is damaged .*no column"),
        ("summary.json", '{"steps": "x"}', "summary.json is damaged .*steps is 'x'; expected a n"),
    ],
)
def test_a_damaged_file_is_named(folder, name, content, says, capsys):
    (folder / name).write_text(content)
    with pytest.raises(RunError, match=says):
        load_run(folder)
    assert_refused(folder, capsys, says)


@pytest.mark.parametrize(
    "change",
    [
        {"image_shape": [float("inf")] * 3},
        {"image_shape": [8, 10]},
        {"class_names": 3},
        {"dataset": 3},
        {"preprocessing": {"kind": "scale"}},
    ],
    ids=str,
)
def test_a_damaged_value_is_named(folder, change, capsys):
    model = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**model, **change}))
    assert_refused(folder, capsys, "model.json is damaged")


@pytest.mark.parametrize("names", [[], ["one"], ["a", "b", "c", "d"]])
def test_classes_that_do_not_fit_the_network_are_named(folder, names, capsys):
    model = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**model, "class_names": names}))
    assert_refused(folder, capsys, f"model.json is damaged .{len(names)} names of classes do not")


def test_a_probe_whose_layers_differ_in_length_is_named(folder, capsys):
    lines = (folder / "probe.csv").read_text().splitlines()
    (folder / "probe.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert_refused(folder, capsys, "probe.csv is damaged .*the layers have different steps")


def test_scores_that_are_not_finite_are_no_predictions(saved, folder, capsys):
    network = saved[1].recipe.make_network((8, 10, 3))
    network.parameters[...] = np.nan
    network.save_weights(folder / "weights.safetensors")
    image = folder.parent / "image.png"
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(image)
    assert predict.main([str(folder), str(image)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the network's scores are not finite numbers: its training diverged" in err


def test_a_number_that_is_none_is_named(folder):
    text = (folder / "history.csv").read_text()
    (folder / "history.csv").write_text(text.replace("\n6,", "\nsix,"))
    with pytest.raises(RunError, match=r"history.csv is damaged \(ValueError: .*'six'"):
        load_run(folder)


@pytest.mark.parametrize("damage", ["cut", "noise", "other"])
def test_damaged_weights_are_named(folder, damage):
    file = folder / "weights.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "noise":
        file.write_bytes(bytes(range(256)))
    else:
        recipe_of([{"kind": "flatten"}, {"kind": "dense", "units": 3}]).make_network(
            (8, 10, 3)
        ).save_weights(file)
    with pytest.raises(RunError, match=r"weights\.safetensors.*; train it again"):
        load_run(folder).network()
