"""From data of one's own to a network that names a new picture, by commands alone."""

import csv
import json

import numpy as np
import pytest
from own_data_files import MODES, picture_folder, save_picture, stripes, write_csv, write_idx
from PIL import Image

from fastconv.data.__main__ import main as describe
from fastconv.evaluate import main as evaluate
from fastconv.predict import main as predict
from fastconv.recipe import load_recipe
from fastconv.report.__main__ import main as report
from fastconv.runs.saved_run import load_run
from fastconv.train import main as train

NAMES = ("bottom", "middle", "top")
SHORT = ["--epochs", "8", "--no-report", "--quiet"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 90 pictures of all modes and two sizes, and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("own") / "stripes"
    images, labels = stripes(90)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        mode = MODES[(number // 3) % len(MODES)]
        larger = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1) if number % 2 else image
        save_picture(folder / NAMES[label] / f"{number:02}.png", larger, mode)
    out = folder.parent / "run"
    arguments = ["--data", str(folder), "--set", "data.size=[8,8]", "--out", str(out)]
    assert train([*arguments, "--epochs", "12", "--quiet"]) == 0
    return folder, out


def test_one_command_trains_tests_and_writes_a_page_that_names_the_classes(pictures):
    folder, out = pictures
    summary = json.loads((out / "summary.json").read_text())
    assert summary["dataset"] == "stripes"
    assert summary["test_accuracy"] >= 0.9
    run = load_run(out)
    assert run.class_names == NAMES
    assert run.recipe.data.path == str(folder)
    assert run.recipe.layers[-1]["units"] == 3
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)


def test_a_new_picture_is_named(pictures, tmp_path, capsys):
    _, out = pictures
    images, labels = stripes(6, seed=9)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        save_picture(tmp_path / "new" / f"{number}-{NAMES[label]}.png", image)
    table = tmp_path / "found.csv"
    assert predict([str(out), str(tmp_path / "new"), "--csv", str(table)]) == 0
    with open(table, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 6
    for row in rows:
        assert row["class"] in row["image"]
        shares = [float(row[f"probability of {name}"]) for name in NAMES]
        assert sum(shares) == pytest.approx(1)
        assert float(row["probability"]) == max(shares)
    assert capsys.readouterr().out.count("%") == 18


def test_arrays_and_tables_are_predicted_as_pictures_are(pictures, tmp_path):
    _, out = pictures
    images, labels = stripes(6, seed=9)
    colours = np.repeat(images[..., None], 3, axis=3)
    np.save(tmp_path / "a.npy", colours)
    np.save(tmp_path / "one.npy", colours[4])
    np.savez(tmp_path / "b.npz", images=colours.transpose(0, 3, 1, 2), labels=labels)
    found = {}
    for name in ("a.npy", "b.npz", "one.npy"):
        file = tmp_path / f"{name}.json"
        assert predict([str(out), str(tmp_path / name), "--json", str(file)]) == 0
        found[name] = json.loads(file.read_text())["predictions"]
    assert [each["classes"][0]["class"] for each in found["a.npy"]] == [NAMES[n] for n in labels]
    for name in ("a.npy", "b.npz"):
        assert [each["classes"] for each in found[name]] == [e["classes"] for e in found["a.npy"]]
    assert found["a.npy"][4]["image"] == f"{tmp_path / 'a.npy'}:4"
    assert found["one.npy"][0]["classes"][0]["class"] == NAMES[labels[4]]


def test_a_run_finds_its_data_again_and_knows_them(pictures, capsys):
    folder, out = pictures
    assert evaluate([str(out), "--json", "-", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["data"], found["part"], found["samples"]) == ("same", "test", 18)
    moved = folder.with_name("moved")
    folder.rename(moved)
    try:
        assert evaluate([str(out)]) == 2
        assert "--data-dir" in capsys.readouterr().err
        assert evaluate([str(out), "--data-dir", str(moved), "--json", "-", "--quiet"]) == 0
        assert json.loads(capsys.readouterr().out)["data"] == "same"
        assert report([str(out), "--data-dir", str(moved)]) == 0
    finally:
        moved.rename(folder)


def test_data_that_were_changed_are_refused_unless_any_will_do(pictures, capsys):
    folder, out = pictures
    file = folder / "top" / "02.png"
    before = file.read_bytes()
    Image.new("L", (8, 8), 99).save(file)
    try:
        assert evaluate([str(out), "--quiet"]) == 2
        assert "was trained on other data than this stripes" in capsys.readouterr().err
        assert evaluate([str(out), "--quiet", "--any-data"]) == 0
    finally:
        file.write_bytes(before)


def test_other_labelled_data_are_judged_by_the_names_of_their_classes(pictures, tmp_path, capsys):
    _, out = pictures
    images, labels = stripes(20, classes=2, seed=5)  # the first two classes of three
    for number, label in enumerate(labels):
        # Alone in its folder, "top" would be class 1 and not 2.
        save_picture(tmp_path / "new" / NAMES[2 * label] / f"{number}.png",
                     stripes(3, seed=number)[0][2 * label])  # fmt: skip
    np.savez(
        tmp_path / "new.npz", x=np.repeat(images[..., None], 3, axis=3), y=np.array(NAMES)[labels]
    )
    for name in ("new", "new.npz"):
        assert evaluate([str(out), "--data", str(tmp_path / name), "--json", "-", "--quiet"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["part"], found["samples"], found["data"]) == ("all", 20, "other")
        assert found["accuracy"] >= 0.9
    save_picture(tmp_path / "new" / "sideways" / "a.png", images[0])
    assert evaluate([str(out), "--data", str(tmp_path / "new"), "--quiet"]) == 2
    assert "'sideways', which the training part lacks" in capsys.readouterr().err


def forms(folder):
    """The same stripes as a CSV, an .npz and IDX files, by the path of each."""
    images, labels = stripes(90)
    write_csv(folder / "table.csv", images, labels)
    np.savez(folder / "arrays.npz", images=images / np.float32(255), labels=labels)
    idx = folder / "fashion"
    idx.mkdir()
    for part, rows in (("train", slice(0, 70)), ("t10k", slice(70, 90))):
        write_idx(idx / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(idx / f"{part}-labels-idx1-ubyte.gz", labels[rows].astype(np.uint8))
    return ("table.csv", "arrays.npz", "fashion")


def test_tables_arrays_and_idx_files_train_and_name_a_new_picture(tmp_path):
    images, labels = stripes(1, seed=9)
    save_picture(tmp_path / "new.png", images[0])
    for name in forms(tmp_path):
        out = tmp_path / f"run-{name}"
        assert train(["--data", str(tmp_path / name), "--out", str(out), *SHORT]) == 0
        assert json.loads((out / "summary.json").read_text())["test_accuracy"] >= 0.8, name
        file = tmp_path / f"{name}.json"
        # A run on numbers from 0 to 1 takes a picture's pixels to that range too.
        assert predict([str(out), str(tmp_path / "new.png"), "--json", str(file)]) == 0
        (found,) = json.loads(file.read_text())["predictions"]
        assert found["classes"][0]["class"] == str(labels[0])
        assert evaluate([str(out), "--quiet"]) == 0


def test_a_table_of_features_is_for_another_recipe_and_its_rows_are_predicted(tmp_path, capsys):
    generator = np.random.default_rng(0)
    kinds = np.arange(80) % 2
    values = generator.normal(size=(80, 3)) + 4 * kinds[:, None]
    rows = [
        ",".join([*map(str, row), ("oak", "ash")[k]]) for row, k in zip(values, kinds, strict=True)
    ]
    file = tmp_path / "leaves.csv"
    file.write_text("a,b,c,species\n" + "\n".join(rows), encoding="utf-8")
    arguments = ["--data", str(file), "--set", "data.label=species", *SHORT]
    assert train([*arguments, "--out", str(tmp_path / "no")]) == 2
    assert "3 features for each sample" in (err := capsys.readouterr().err)
    assert "--recipe own-features" in err
    assert err.count("\n") == 1
    out = tmp_path / "run"
    arguments += ["--recipe", "own-features", "--epochs", "40"]
    assert train([*arguments, "--out", str(out)]) == 0
    (tmp_path / "new.csv").write_text("a,b,c\n0,0,0\n4,4,4\n", encoding="utf-8")
    assert predict([str(out), str(tmp_path / "new.csv")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "new.csv:1: oak" in said[0]
    assert "new.csv:2: ash" in said[1]
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert predict([str(out), str(tmp_path / "a.png")]) == 2


def test_a_regression_of_ones_own_is_trained(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    np.savez(tmp_path / "a.npz", x=x, y=x @ [[1.0], [2.0]])
    arguments = ["--data", str(tmp_path / "a.npz"), "--recipe", "own-features", *SHORT]
    out = tmp_path / "run"
    assert train([*arguments, "--set", "loss=mean_squared_error", "--out", str(out)]) == 0
    assert load_run(out).output_shape == (1,)
    assert json.loads((out / "summary.json").read_text())["test_loss"] < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "none"], "none: there is no such file or folder"),
        (["--data", "http://example.org/a.zip"], "is an address, and nothing is fetched"),
        (["--data", ".", "--dataset", "mnist"], "give one of the two"),
        (["--data", ".", "--data-dir", "."], "leave the other out"),
        (["--data", ".", "--set", "data.fit=stretch"], "data.fit is 'stretch'"),
        (["--data", ".", "--set", "data.test_fraction=2"], "data.test_fraction is 2"),
        (["--recipe", "own-pictures"], "there is no path of the data; give it by --data"),
        (["--recipe", "digits", "--set", "data.size=[8,8]"], "data.size is for data of one's own"),
        (["--data", "empty"], "holds no data"),
        (["--data", "floats.npz"], "labels are floating numbers"),
        (["--data", "nan.npz"], "holds nan"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, arguments, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    np.savez("floats.npz", x=np.zeros((4, 8, 8)), y=[0.5, 1, 2, 3])
    np.savez("nan.npz", x=np.full((4, 8, 8), np.nan), y=[0, 1, 0, 1])
    assert train([*arguments, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_units_follow_from_the_classes():
    recipe = load_recipe("own-pictures")
    assert recipe.awaits_classes
    assert recipe.table()["layers"][-1]["units"] == "classes"
    network = recipe.for_outputs(7).make_network((20, 30, 3))
    assert network.output_shape == (7,)
    assert not recipe.for_outputs(7).awaits_classes
    for shape in ((1, 2, 1), (5, 64, 3)):  # any size
        assert recipe.for_outputs(4).make_network(shape).output_shape == (4,)


# ---- what there is ---------------------------------------------------------------------------


def test_the_description_counts_classes_sizes_ranges_and_duplicates(tmp_path, capsys):
    folder = tmp_path / "data"
    picture_folder(folder / "train", count=30)
    picture_folder(folder / "test", count=6, seed=1)
    first = (folder / "train" / "top" / "002.png").read_bytes()
    (folder / "test" / "top" / "again.png").write_bytes(first)
    (folder / "train" / "top" / "twice.png").write_bytes(first)
    save_picture(folder / "train" / "middle" / "wide.png", np.full((8, 12), 255, np.uint8))
    (folder / "train" / "middle" / "bad.png").write_text("no picture")
    sheet = tmp_path / "sheet.png"
    assert describe([str(folder), "--json", "-", "--sheet", str(sheet)]) == 0
    found = capsys.readouterr()
    said = json.loads(found.out)
    assert said["class_names"] == list(NAMES)
    assert said["parts"]["test"]["classes"] == {"bottom": 2, "middle": 2, "top": 3}
    assert said["parts"]["training"]["samples"] + said["parts"]["validation"]["samples"] == 32
    assert said["sizes"] == [
        {"height": 8, "width": 8, "pictures": 38}, {"height": 8, "width": 12, "pictures": 1}
    ]  # fmt: skip
    assert (said["low"], said["high"]) == (0.0, 255.0)
    together = said["duplicates_within_training"] + len(said["duplicates_between_parts"])
    assert together == 2
    assert ["test/top/again.png (test)"] in [pair[:1] for pair in said["duplicates_between_parts"]]
    assert any("bad.png" in remark for remark in said["remarks"])
    assert "samples of other parts are in the training part too" in found.err
    with Image.open(sheet) as picture:
        assert picture.size[1] == 3 * 68 + 4  # a row for each class


def test_the_description_counts_what_is_not_finite(tmp_path, capsys):
    images, labels = stripes(30)
    values = images / 51.0
    values[3, 0, :2] = np.nan
    values[4, 0, 0] = np.inf
    np.savez(tmp_path / "a.npz", x=values, y=labels)
    assert describe([str(tmp_path / "a.npz"), "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["not_finite"] == 3
    assert 0 <= said["low"] < said["high"] <= 5


def test_the_description_says_mistakes_in_one_line(tmp_path, capsys):
    (tmp_path / "one" / "class").mkdir(parents=True)
    for arguments, says in (
        ([str(tmp_path / "none")], "no such file or folder"),
        ([str(tmp_path / "one")], "class 'class' has no pictures"),
        ([str(tmp_path), "--set", "epochs=0"], "epochs is 0"),
        ([str(tmp_path), "--sheet", str(tmp_path / "no" / "a.png")], "--sheet"),
    ):
        assert describe(arguments) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
