"""Pages that explain runs: what is on them, what lies beside them, and that they need nothing."""

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from saved_runs import CONVOLUTIONAL, NAMES, TINY_RECIPE, line, recipe_of, save_run, shades

import fastconv
from fastconv import plots
from fastconv.layers import BatchNorm, Conv2D
from fastconv.network import Sequential
from fastconv.report import __main__ as command
from fastconv.report import write_comparison, write_report
from fastconv.report.comparison import differing_settings, names_of
from fastconv.report.findings import Findings
from fastconv.report.overview import step_operations
from fastconv.report.run_report import run_page
from fastconv.report.svg import inline_svg
from fastconv.runs.saved_run import RunError, load_run
from fastconv.train import main as train

LINEAR = [{"kind": "flatten"}, {"kind": "dense", "units": 3}]
SECTIONS = {
    "what-ran", "curves", "confusion", "examples", "filters", "feature-maps", "saliency",
    "excitation", "weights", "activations", "gradients", "model",
}  # fmt: skip


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.pictures, self.links, self.ids, self.scripts = [], [], [], [], 0
        self.depth = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.scripts += tag == "script"
        self.links += [found[name] for name in ("src", "href", "xlink:href") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag == "section":
            self.sections.append(found["id"])
        if tag == "svg" and "aria-hidden" not in found:  # what hides stands beside a name
            self.pictures.append(found)


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def content(folder, dataset):
    """A page's content, of which no picture is drawn yet."""
    return run_page(Findings(load_run(folder), dataset))


def sections_of(folder, dataset):
    return {section.name for section in content(folder, dataset).sections}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A run of a convolutional network and its report."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    experiment = save_run(folder, recipe_of(CONVOLUTIONAL), shades())
    path = write_report(load_run(folder), experiment.dataset, figures="svg")
    return path, experiment


def test_a_report_has_every_section(reported):
    path, _ = reported
    assert path.name == "report.html"
    assert set(read(path).sections) == SECTIONS


def test_a_report_loads_nothing(reported):
    page = read(reported[0])
    assert page.scripts == 0
    # Within the page, or written into it.
    assert all(link.startswith(("#", "data:")) for link in page.links)
    text = reported[0].read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_every_picture_says_what_it_shows(reported):
    pictures = read(reported[0]).pictures
    assert len(pictures) == 24
    for picture in pictures:
        assert picture["role"] == "img"
        assert len(picture["aria-label"]) > 20


def test_what_pictures_refer_to_is_there_once(reported):
    page = read(reported[0])
    assert len(set(page.ids)) == len(page.ids)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids)


def test_names_of_classes_cannot_break_the_page(reported):
    text = reported[0].read_text(encoding="utf-8")
    assert "<bright>" not in text
    assert "&lt;bright&gt; &amp; so on" in text


def test_pictures_lie_beside_the_page_as_files(reported):
    path, _ = reported
    names = {p.stem for p in (path.parent / "figures").iterdir() if p.suffix == ".png"}
    assert len(names) == len(read(path).pictures)
    assert {"loss-curve", "confusion-matrix", "filters", "maps-correct-conv2d_1"} <= names
    for name in names:
        with Image.open(path.parent / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 100
        ElementTree.parse(path.parent / "figures" / f"{name}.svg")


def test_the_numbers_of_the_confusion_matrix_lie_beside_it(reported):
    path, experiment = reported
    samples = experiment.dataset.test
    taken = experiment.trainer.predict(samples.images).argmax(axis=1)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (samples.labels, taken), 1)
    head, *body = rows(path.parent / "figures" / "confusion-matrix.csv")
    assert head == ["true class", *NAMES]
    assert [row[0] for row in body] == list(NAMES)
    assert [[int(cell) for cell in row[1:]] for row in body] == expected.tolist()


def test_the_numbers_of_the_curves_are_those_of_the_history(reported):
    path, _ = reported
    with open(path.parent / "history.csv", encoding="utf-8", newline="") as file:
        history = list(csv.DictReader(file))
    head, *body = rows(path.parent / "figures" / "loss-curve.csv")
    assert head == ["step", "training", "validation"]
    assert [float(row[1]) for row in body] == [float(line["loss"]) for line in history]
    assert [float(row[2]) for row in body] == [float(line["validation_loss"]) for line in history]


def test_mistakes_are_the_most_confident_ones(reported):
    path, experiment = reported
    samples = experiment.dataset.test
    scores = experiment.trainer.predict(samples.images).astype(np.float64)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    wrong = np.flatnonzero(scores.argmax(axis=1) != samples.labels)
    order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    head, *body = rows(path.parent / "figures" / "mistakes.csv")
    assert head == ["sample", "predicted", "probability", "class"]
    assert [int(row[0]) for row in body] == order[:24].tolist()
    for row in body:
        n = int(row[0])
        assert row[1] == NAMES[scores[n].argmax()]
        assert row[3] == NAMES[samples.labels[n]]
        assert float(row[2]) == pytest.approx(probabilities[n].max(), rel=1e-5)


def test_the_numbers_of_the_histograms_count_every_weight(reported):
    path, experiment = reported
    head, *body = rows(path.parent / "figures" / "weights-conv2d_1.csv")
    assert head == ["parameter", "from", "to", "before", "after"]
    for kind, network in (("before", load_run(path.parent).initial_network()),
                          ("after", experiment.trainer.network)):  # fmt: skip
        for name in ("weight", "bias"):
            values = network[f"conv2d_1.{name}"]
            for row in (row for row in body if row[0] == name):
                low, high, count = float(row[1]), float(row[2]), int(row[head.index(kind)])
                inside = (values >= low) & (values < high)
                # The last interval has its end.
                assert count in (inside.sum(), (inside | (values == high)).sum())
            counted = sum(int(row[head.index(kind)]) for row in body if row[0] == name)
            assert counted == values.size


def test_the_maximally_activating_images_are_named(reported):
    path, experiment = reported
    head, *body = rows(path.parent / "figures" / "excitation-conv2d_1.csv")
    assert head == ["filter", "sample", "output", "row", "column"]
    x = experiment.dataset.test.images.astype(np.float32) / 255
    network = experiment.trainer.network
    y = fastconv.conv2d(
        x, network["conv2d_1.weight"], network["conv2d_1.bias"], padding="same", layout="NHWC"
    )
    y = np.maximum(y, 0)
    for row in body:
        number, sample, i, j = (int(row[n]) for n in (0, 1, 3, 4))
        assert float(row[2]) == pytest.approx(y[sample, i, j, number], rel=1e-4)
    strongest = next(row for row in body if row[0] == "2")
    assert int(strongest[1]) == y[..., 2].max(axis=(1, 2)).argmax()


def picture_of(folder, dataset, name):
    page = content(folder, dataset)
    found = [p for section in page.sections for p in section.pictures if p.name == name]
    assert len(found) == 1
    return found[0]


def test_the_filters_drawn_are_those_of_the_trained_network(reported):
    path, experiment = reported
    picture = picture_of(path.parent, experiment.dataset, "filters")
    drawn = np.asarray(picture.drawing.axes().images[0].get_array())
    w = experiment.trainer.network["conv2d_1.weight"]
    # Colours around grey, which is 0, on one scale; the first filter's first pixel is on the left.
    expected = 0.5 + 0.5 * w[0, 0, :, 0] / abs(w).max()
    np.testing.assert_allclose(drawn[0, 0, :3], expected, atol=1e-6)


def test_feature_maps_are_those_of_the_image_that_they_stand_below(reported):
    path, experiment = reported
    findings = Findings(load_run(path.parent), experiment.dataset)
    index = int(findings.correct[0])
    network = experiment.trainer.network
    x = experiment.dataset.test.images[index : index + 1].astype(np.float32) / 255
    y = fastconv.conv2d(
        x, network["conv2d_1.weight"], network["conv2d_1.bias"], padding="same", layout="NHWC"
    )[0]
    picture = picture_of(path.parent, experiment.dataset, "maps-correct-conv2d_1")
    drawn = np.ma.filled(picture.drawing.axes().images[0].get_array(), np.nan)
    zoom = next(n for n in range(1, 99) if not np.isnan(drawn[0, : 10 * n]).any()
                and np.isnan(drawn[0, 10 * n]))  # fmt: skip
    y = np.maximum(y, 0)
    brightest = y[..., y.max(axis=(0, 1)).argmax()]
    scaled = (brightest - brightest.min()) / (brightest.max() - brightest.min())
    height, width = drawn.shape
    tiles = [
        drawn[i : i + 8 * zoom : zoom, j : j + 10 * zoom : zoom]
        for i in range(height - 8 * zoom + 1)
        for j in range(width - 10 * zoom + 1)
    ]
    assert any(np.allclose(tile, scaled, atol=1e-5) for tile in tiles)


@pytest.mark.parametrize(
    ("name", "column", "layer", "said"),
    [
        ("gradient-norms", "conv2d_2", "conv2d_2", "gradient_norm"),
        ("activation-statistics", "relu_1: mean", "relu_1", "mean"),
        ("activation-statistics", "relu_2: std", "relu_2", "std"),
        ("activation-statistics", "relu_2: dead", "relu_2", "dead"),
    ],
)
def test_what_the_probe_saw_is_drawn_under_its_name(reported, name, column, layer, said):
    path, _ = reported
    head, *body = rows(path.parent / "figures" / f"{name}.csv")
    with open(path.parent / "probe.csv", encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["layer"] == layer]
    place = head.index(column)
    assert [float(row[0]) for row in body] == [float(line["step"]) for line in lines]
    assert [float(row[place]) for row in body] == [float(line[said]) for line in lines]


def test_the_arithmetic_of_a_step_leaves_out_the_gradient_of_the_images(reported):
    _, experiment = reported
    # 3x3 filters over 8x10 pixels, 3x3 over 4x5, and a dense layer; a multiplication and an
    # addition each. Forward, data gradient, weight gradient.
    first, second, dense = 9 * 3 * 4 * 80, 9 * 4 * 6 * 6, 36 * 3
    expected = 2 * (2 * first + 3 * second + 3 * dense)
    assert step_operations(experiment.trainer.network) == expected


def test_a_convolution_behind_a_batch_norm_passes_a_gradient_on():
    # Scale and shift of the batch norm are learned from the gradient of the convolution's input.
    network = Sequential([BatchNorm(), Conv2D(4, 3, padding=1)], (8, 10, 3))
    assert step_operations(network) == 3 * 2 * 9 * 3 * 4 * 80


def test_the_learning_rate_is_drawn_between_the_validations_too(tmp_path):
    schedule = {"kind": "cyclic", "eta_min": 0.001, "eta_max": 0.01, "n_s": 3}
    experiment = save_run(tmp_path / "run", recipe_of(LINEAR, schedule=schedule), shades())
    picture = picture_of(tmp_path / "run", experiment.dataset, "learning-rate")
    # Three steps up and three down, twelve times over 18 steps; validations see the lowest only.
    expected = [(1, 0.001), (2, 0.004), (3, 0.007), (4, 0.01), (5, 0.007), (6, 0.004), (7, 0.001)]
    assert [tuple(row) for row in picture.numbers.rows[:7]] == [
        pytest.approx(pair) for pair in expected
    ]
    assert len(picture.numbers.rows) == 18


def test_filters_that_nothing_activates_are_named_and_not_drawn(tmp_path):
    experiment = save_run(tmp_path / "run", recipe_of(CONVOLUTIONAL), shades())
    network = experiment.trainer.network
    network["conv2d_1.bias"][1] = -1e6
    network.save_weights(tmp_path / "run" / "weights.safetensors")
    picture = picture_of(tmp_path / "run", experiment.dataset, "excitation-conv2d_1")
    assert {row[0] for row in picture.numbers.rows} == {0, 2, 3}
    assert "filter 1 is activated by no image" in picture.caption


def test_scores_that_are_not_finite_have_no_confusion_matrix(tmp_path, capsys):
    experiment = save_run(tmp_path / "run", recipe_of(LINEAR), shades())
    network = experiment.trainer.network
    network.parameters[: network.weights_end] = 1e37  # finite, but the scores are not
    network.save_weights(tmp_path / "run" / "weights.safetensors")
    assert "confusion" not in sections_of(tmp_path / "run", experiment.dataset)


def test_names_are_no_formulas(tmp_path):
    dataset = shades()
    names = ("$\\frac{$", "^", "_x_")
    dataset = type(dataset)(dataset.name, dataset.training, dataset.test, names, dataset.validation)
    save_run(tmp_path / "$run{", recipe_of(LINEAR), dataset)
    save_run(tmp_path / "_run", recipe_of(LINEAR), dataset)
    runs = [load_run(tmp_path / name) for name in ("$run{", "_run")]
    assert read(write_report(runs[0], dataset)).sections
    assert read(write_comparison(runs, tmp_path / "both.html")).sections
    with plots.theme("light"):
        axes = plots.learning_curves({"_run": ([0, 1], [1, 2])}, ylabel="loss")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["_run: 2"]


def test_the_same_run_gives_the_same_page_without_pictures_of_an_earlier_one(reported):
    path, experiment = reported
    before = path.read_bytes()
    old, own = (path.parent / "figures" / name for name in ("old.png", "own.png"))
    old.write_bytes(b"")
    own.write_bytes(b"")
    path.write_bytes(before + b'<figure id="picture-old">')  # such as the page of another version
    write_report(load_run(path.parent), experiment.dataset, figures="svg")
    assert not old.exists()
    assert own.exists()  # of which no page knows
    own.unlink()
    assert path.read_bytes() == before


def test_behind_a_link_nothing_is_removed(tmp_path):
    experiment = save_run(tmp_path / "run", recipe_of(LINEAR), shades())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "templates.png").write_bytes(b"")
    (tmp_path / "run" / "figures").symlink_to(tmp_path / "photos")
    write_report(load_run(tmp_path / "run"), experiment.dataset)
    assert (tmp_path / "photos" / "templates.png").exists()
    assert (tmp_path / "photos" / "loss-curve.csv").exists()


def test_facts_stand_on_top(reported):
    path, experiment = reported
    run = load_run(path.parent)
    facts = dict(content(path.parent, experiment.dataset).facts)
    assert facts["test accuracy"] == f"{100 * run.summary['test_accuracy']:.2f} %"
    assert {"validation accuracy", "running training accuracy", "training time"} <= set(facts)


def test_a_linear_classifier_has_templates(tmp_path):
    experiment = save_run(tmp_path / "run", recipe_of(LINEAR), shades())
    sections = sections_of(tmp_path / "run", experiment.dataset)
    assert "templates" in sections
    assert not {"filters", "feature-maps", "excitation"} & sections


def test_images_of_other_channels_are_not_drawn(tmp_path):
    experiment = save_run(tmp_path / "run", recipe_of(CONVOLUTIONAL), shades(channels=2))
    assert sections_of(tmp_path / "run", experiment.dataset) == SECTIONS - {
        "examples", "filters", "feature-maps", "saliency", "excitation"
    }  # fmt: skip


def test_a_regression_is_drawn_against_its_data(tmp_path):
    layers = [{"kind": "dense", "units": 8}, {"kind": "tanh"}, {"kind": "dense", "units": 1}]
    recipe = recipe_of(layers, loss="mean_squared_error", preprocessing={"kind": "none"})
    experiment = save_run(tmp_path / "run", recipe, line())
    path = write_report(load_run(tmp_path / "run"), experiment.dataset)
    page = read(path)
    assert "regression" in page.sections
    assert not {"confusion", "examples"} & set(page.sections)
    head, *body = rows(path.parent / "figures" / "predictions-against-targets.csv")
    assert head == ["sample", "output", "target", "prediction"]
    test = experiment.dataset.test
    predicted = experiment.trainer.predict(test.images)
    assert [int(row[0]) for row in body] == list(range(len(test)))
    assert [float(row[2]) for row in body] == pytest.approx(test.labels[:, 0].tolist())
    assert [float(row[3]) for row in body] == pytest.approx(predicted[:, 0].tolist(), abs=1e-5)
    _, *curve = rows(path.parent / "figures" / "fit.csv")
    x = np.array([[float(cell) for cell in row] for row in curve])
    again = experiment.trainer.predict(x[:, :1].reshape(-1, 1, 1, 1).astype(np.float32))
    np.testing.assert_allclose(x[:, 1], again[:, 0], atol=1e-5)


def test_a_training_that_diverged_has_its_curves(tmp_path):
    recipe = recipe_of(LINEAR, optimizer={"kind": "sgd", "lr": 1e39})
    with np.errstate(all="ignore"):
        experiment = save_run(tmp_path / "run", recipe, shades())
    run = load_run(tmp_path / "run")
    assert run.summary["stopped"] == "diverged"
    page = content(tmp_path / "run", experiment.dataset)
    sections = {section.name for section in page.sections}
    assert {"what-ran", "curves", "model"} <= sections
    assert not {"confusion", "weights", "templates"} & sections
    assert "the training diverged" in page.lead
    # What there is of it can be drawn.
    assert read(write_report(run, experiment.dataset)).sections


def test_a_run_without_a_probe_has_no_gradients(tmp_path):
    experiment = save_run(tmp_path / "run", recipe_of(LINEAR), shades(), with_probe=False)
    assert not {"gradients", "activations"} & sections_of(tmp_path / "run", experiment.dataset)


def test_no_sample_of_a_class_is_no_mistake_of_the_report(tmp_path):
    dataset = shades()
    test = dataset.test.take(np.flatnonzero(dataset.test.labels == 0))
    dataset = type(dataset)(dataset.name, dataset.training, test, NAMES, dataset.validation)
    save_run(tmp_path / "run", recipe_of(LINEAR), dataset)
    page = content(tmp_path / "run", dataset)
    (numbers,) = [
        picture.numbers
        for section in page.sections
        for picture in section.pictures
        if picture.name == "class-scores"
    ]
    assert [row[4] for row in numbers.rows] == [len(test), 0, 0]
    # No recall of a class that never occurs.
    assert numbers.rows[1][2] is numbers.rows[2][2] is None


# ---- the pictures of a page ------------------------------------------------------------------


def test_a_picture_takes_its_colours_from_the_page():
    with plots.theme("light"):
        axes = plots.learning_curves({"a": ([0, 1], [1, 2]), "b": ([0, 1], [2, 1])}, ylabel="loss")
        svg = inline_svg(axes, "curve", 'says "this" & <that>')
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'says "this" & <that>'
    assert "currentColor" in svg
    assert "var(--series-0)" in svg
    assert "var(--series-1)" in svg
    assert "#0072b2" not in svg.lower()


def test_pictures_of_one_page_do_not_share_names():
    with plots.theme("light"):
        first, second = (
            inline_svg(plots.learning_rate_curve([0, 1], [1, 2]), name, "x") for name in "ab"
        )
    names = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert names[0]
    assert not names[0] & names[1]


# ---- comparisons -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, recipe in (
        ("slow", recipe_of(LINEAR, optimizer={"kind": "sgd", "lr": 0.001})),
        ("fast", recipe_of(LINEAR, optimizer={"kind": "sgd", "lr": 0.05}, batch_size=10)),
    ):
        save_run(folder / name, recipe, shades())
    return [load_run(folder / name) for name in ("slow", "fast")]


def test_a_comparison_names_what_differs(two_runs):
    assert differing_settings(two_runs) == [
        ["batch_size", "20", "10"], ["optimizer.lr", "0.001", "0.05"]
    ]  # fmt: skip
    assert differing_settings([two_runs[0]] * 2) == []


def test_runs_of_one_name_are_told_apart(two_runs, tmp_path):
    assert names_of(two_runs) == ["slow", "fast"]
    with pytest.raises(RunError, match="slow: is there twice"):
        names_of([two_runs[0]] * 2)
    elsewhere = shutil.copytree(two_runs[0].path, tmp_path / "slow")
    again = [two_runs[0], load_run(elsewhere)]
    assert names_of(again) == [str(two_runs[0].path), str(elsewhere)]


def test_a_comparison_lays_the_curves_over_each_other(two_runs, tmp_path):
    path = write_comparison(two_runs, tmp_path / "both.html")
    page = read(path)
    assert page.sections == ["results", "settings", "curves"]
    assert len(page.pictures) == 4
    head, *body = rows(tmp_path / "both-figures" / "comparison-validation-accuracy.csv")
    # Batches of 10 and of 20: epochs, so that they can be compared.
    assert head == ["run", "epoch", "validation_accuracy"]
    for run in two_runs:
        drawn = [row for row in body if row[0] == run.name]
        assert [float(row[1]) for row in drawn] == [1, 2, 3]
        accuracies = run.history["validation_accuracy"].tolist()
        assert [float(row[2]) for row in drawn] == accuracies
    text = path.read_text(encoding="utf-8")
    for run in two_runs:
        assert f"{100 * run.summary['test_accuracy']:.2f} %" in text


# ---- the command line ------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    """A recipe for the digits with few pictures on its page."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return ["--recipe", str(path), "--quiet", "--out"]


def test_a_training_writes_its_report_and_the_command_writes_it_again(tmp_path, tiny, capsys):
    folder = tmp_path / "run"
    assert train([*tiny, str(folder), "--figures", "svg"]) == 0
    page = (folder / "report.html").read_bytes()
    assert (folder / "figures" / "templates.svg").exists()
    (folder / "report.html").unlink()
    assert command.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_bytes() == page


def test_without_a_report_nothing_is_measured_for_it(tmp_path, tiny):
    folder = tmp_path / "run"
    assert train([*tiny, str(folder), "--no-report"]) == 0
    there = {path.name for path in folder.iterdir()}
    assert not {"probe.csv", "report.html", "figures"} & there


def test_a_report_changes_nothing_of_the_training(tmp_path, tiny):
    for name, more in (("with", []), ("without", ["--no-report"])):
        assert train([*tiny, str(tmp_path / name), *more]) == 0
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in ("with", "without")]
    assert weights[0] == weights[1]
    accuracies = [
        json.loads((tmp_path / n / "summary.json").read_text())["test_accuracy"]
        for n in ("with", "without")
    ]
    assert accuracies[0] == accuracies[1]


def test_a_long_run_is_probed_some_fifty_times(tmp_path, tiny):
    folder = tmp_path / "run"
    assert train([*tiny, str(folder), "--steps", "240", "--validate-every", "2"]) == 0
    steps = load_run(folder).probe["dense_1"]["step"]
    # 120 lines: every third one, and the network before the first step.
    assert steps.tolist() == [*range(0, 241, 6)]


def test_several_runs_are_compared_beside_the_first(two_runs, capsys):
    folders = [str(run.path) for run in two_runs]
    assert command.main(folders) == 0
    path = two_runs[0].path.parent / "comparison.html"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.exists()


@pytest.mark.parametrize("where", ["nowhere/page.html", "."])
def test_a_page_that_cannot_be_written_is_one_line(two_runs, tmp_path, where, capsys):
    folders = [str(run.path) for run in two_runs]
    assert command.main([*folders, "--out", str(tmp_path / where)]) == 2
    assert re.fullmatch(r"fastconv.report: --out .*; give a file's path\n", capsys.readouterr().err)


def test_the_page_of_one_run_stays_in_its_folder(two_runs, capsys):
    assert command.main([str(two_runs[0].path), "--out", "page.html"]) == 2
    assert "--out page.html: is for several runs" in capsys.readouterr().err
