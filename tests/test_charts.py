"""The charts of a page: where things are drawn, what they say, and that the page can use them."""

import base64
import inspect
import io
import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from fastconv import metrics, plots
from fastconv.report import charts, composites
from fastconv.report.charts.canvas import MOST_HIDDEN
from fastconv.report.charts.classification import CELL_DARK, CELL_LIGHT, TEXT_TURNS
from fastconv.report.charts.ticks import linear_ticks, logarithmic_ticks, tick_labels
from fastconv.report.drawing import Drawing

STEPS = np.arange(0, 1001, 50)


class Chart:
    """A chart as a page has it, taken apart."""

    def __init__(self, kind, *arguments, **options):
        text = Drawing(kind, *arguments, **options).html("chart", "What it shows, in words.")
        self.root = ElementTree.fromstring(text.replace("&nbsp;", " "))
        (self.svg,) = [each for each in self.root.iter("svg") if each.get("role") == "img"]
        self.texts = [
            ("".join(each.itertext()), each) for each in self.svg.iter("text")
            if each.get("class") != "told"
        ]  # fmt: skip
        self.titles = ["".join(each.itertext()) for each in self.svg.iter("title")]
        self.names = ["".join(each.itertext()) for each in self.root if each.tag != "svg"]

    def paths(self, *classes):
        """The commands of the paths with all of these classes."""
        return [
            path.get("d") for path in self.svg.iter("path")
            if set(classes) <= set(path.get("class", "").split())
        ]  # fmt: skip

    def scale(self, axis):
        """From places to numbers, by what is written beside an axis: (slope, offset)."""
        found = []
        for text, element in self.texts:
            if element.get("transform") or not re.fullmatch(r"-?[\d.]+(e-?\d+)?( %)?", text):
                continue
            below = element.get("text-anchor") == "middle"
            if below == (axis == "x"):
                value = float(text.removesuffix(" %")) / (100 if text.endswith("%") else 1)
                found.append((float(element.get(axis)), value))
        places, values = np.array(sorted(found)).T
        return np.polyfit(places, values, 1)

    def image(self):
        """The picture inside, as Pillow reads it, in red, green, blue and opacity."""
        (element, *_) = self.svg.iter("image")
        head, data = element.get("href").split(",")
        assert head == "data:image/png;base64"
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def points_of(path):
    return np.array([[float(n) for n in pair.split()] for pair in re.split("[ML]", path)[1:]])


# Curves.


def test_a_line_goes_through_its_points():
    values = np.cos(STEPS / 150) + 2
    chart = Chart("learning_curves", {"training": (STEPS, values)}, ylabel="loss")
    (path,) = chart.paths("line", "n0")
    xs, ys = points_of(path).T
    assert len(xs) == len(STEPS)
    # Read off the axes, as people do: the numbers there say where each point is.
    np.testing.assert_allclose(np.polyval(chart.scale("x"), xs), STEPS, atol=3)
    upward = np.polyval(chart.scale("y"), ys + 0.35 * 16)
    np.testing.assert_allclose(upward, values, atol=0.01)


def test_accuracies_are_read_in_percent():
    chart = Chart(
        "learning_curves", {"a": (STEPS, STEPS / 2000 + 0.4)}, ylabel="accuracy", percent=True
    )
    (path,) = chart.paths("line", "n0")
    shares = np.polyval(chart.scale("y"), points_of(path)[:, 1] + 0.35 * 16)
    np.testing.assert_allclose(shares, STEPS / 2000 + 0.4, atol=0.003)
    assert chart.names[-1] == "a: 90.0 %"


def test_what_is_not_finite_leaves_a_gap():
    values = np.ones(len(STEPS))
    values[[4, 10]] = np.nan, np.inf
    chart = Chart("learning_curves", {"a": (STEPS, values)}, ylabel="loss")
    (path,) = chart.paths("line", "n0")
    assert path.count("M") == 3
    assert "nan" not in path


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances():
    chart = Chart("gradient_norms", [0, 1, 2, 3], {"dense_1": [1000.0, 10.0, 0.1, 0.0]})
    (path,) = chart.paths("line", "n0")
    _, ys = points_of(path).T
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2)
    assert ys[3] > ys[2]  # 0 has no logarithm: at the bottom


@pytest.mark.parametrize(
    ("values", "said"),
    [([], "no data"), ([np.nan, np.nan], "no data"), ([np.inf, np.nan], "no data")],
)
def test_without_a_number_it_says_so(values, said):
    chart = Chart("learning_curves", {"a": (np.arange(len(values)), values)}, ylabel="loss")
    assert said in [text for text, _ in chart.texts]


@pytest.mark.parametrize(
    "values",
    [[3.0], [0.0, 0.0], [1e-300, 2e-300], [-1e308, 1e308], [1e15, 1e15 + 2], [1e-8, 1.0]],
)
def test_any_finite_numbers_can_be_drawn(values):
    for log in (False, True):
        chart = Chart(
            "learning_curves", {"a": (np.arange(len(values)), values)}, ylabel="loss", log=log
        )
        ys = np.concatenate([points_of(path)[:, 1] for path in chart.paths("line")])
        assert ((ys >= 0) & (ys <= float(chart.svg.get("viewBox").split()[3]))).all()


def test_the_pointer_is_told_the_values_of_all_lines():
    series = {"training": (STEPS, STEPS / 100), "validation": (STEPS[::4], STEPS[::4] / 50)}
    chart = Chart("learning_curves", series, ylabel="loss")
    assert len(chart.titles) == len(STEPS)
    assert chart.titles[4] == "step 200\ntraining 2\nvalidation 4"
    assert chart.titles[5] == "step 250\ntraining 2.5"
    told = ["\n".join(each.itertext()) for each in chart.svg.iter("text")
            if each.get("class") == "told"]  # fmt: skip
    assert told == chart.titles  # on a phone too, which has no tooltips


def test_of_more_lines_than_there_is_room_for_the_title_tells_the_rest():
    statistics = {f"relu_{n}": ([n, n], [1, 1], [0, 0]) for n in range(20)}
    chart = Chart("activation_statistics", [0, 1], statistics)
    told = [list(each.itertext()) for each in chart.svg.iter("text") if each.get("class") == "told"]
    assert {len(lines) for lines in told} == {8}
    assert {lines[-1] for lines in told} == {"\N{HORIZONTAL ELLIPSIS}"}
    assert all(len(title.split("\n")) == 21 for title in chart.titles)


def test_of_many_points_some_answer_the_pointer():
    steps = np.arange(5000)
    chart = Chart("learning_rate_curve", steps, 1 / (1 + steps))
    assert 40 < len(chart.titles) <= 80
    for title in chart.titles:
        step, rate = re.fullmatch(r"step ([\d,]+)\nlearning rate (\S+)", title).groups()
        assert float(rate) == pytest.approx(1 / (1 + int(step.replace(",", ""))), rel=1e-3)


def test_the_strips_under_the_pointer_cover_the_axes_without_a_gap():
    chart = Chart("learning_curves", {"a": ([0, 1, 10, 12], [1, 2, 3, 4])}, ylabel="loss")
    strips = [each for each in chart.svg.iter("rect") if each.get("class") == "strip"]
    edges = [(float(s.get("x")), float(s.get("x")) + float(s.get("width"))) for s in strips]
    for (_, end), (start, _) in itertools.pairwise(edges):
        assert end == pytest.approx(start, abs=0.11)


def test_a_click_on_a_name_can_hide_each_line():
    names = [f"layer_{n}" for n in range(MOST_HIDDEN + 2)]
    chart = Chart("gradient_norms", [0, 1], {name: [1, 2 + n] for n, name in enumerate(names)})
    inputs = [each for each in chart.root if each.tag == "input"]
    labels = [each for each in chart.root if each.tag == "label"]
    assert [each.get("for") for each in labels] == [each.get("id") for each in inputs]
    assert len(inputs) == MOST_HIDDEN
    assert all("checked" in each.attrib for each in inputs)
    assert [name for name in chart.names if name] == names
    for number, box in enumerate(inputs):
        assert box.get("class") == f"h{number}"
        assert len(chart.paths("line", f"n{number}")) == 1
        assert len(chart.paths("mark", f"n{number}")) == 1


def test_lines_differ_by_more_than_their_colour():
    norms = {f"layer_{n}": [1.0, 2.0 + n, 3.0] for n in range(7)}
    chart = Chart("gradient_norms", [0, 1, 2], norms)
    lines = [path for path in chart.svg.iter("path") if "line" in path.get("class").split()]
    marks = [re.sub(r"M[\d.]+ [\d.]+", "", path) for path in chart.paths("mark")]
    looks = list(zip([line.get("stroke-dasharray") for line in lines], marks, strict=True))
    assert len(set(looks)) == 7


def test_statistics_of_activations_have_three_panels():
    statistics = {"relu_1": ([0.1, 0.2], [1.0, 1.1], [0.0, 0.5]),
                  "relu_2": ([0.3, 0.4], [2.0, 2.1], [0.0, 0.0])}  # fmt: skip
    chart = Chart("activation_statistics", [0, 10], statistics)
    assert len(chart.paths("line", "n0")) == len(chart.paths("line", "n1")) == 3
    assert "step 10\nrelu_1 50.00 %\nrelu_2 0.00 %" in chart.titles
    assert [name for name in chart.names if name] == ["relu_1", "relu_2"]


# Ticks.


@pytest.mark.parametrize("seed", range(40))
def test_ticks_are_round_and_within_the_axis(seed):
    generator = np.random.default_rng(seed)
    low = generator.normal() * 10.0 ** generator.integers(-6, 6)
    high = low + 10.0 ** generator.uniform(-5, 5)
    ticks = linear_ticks(low, high, 8)
    assert 2 <= len(ticks) <= 8
    room = 1e-6 * (high - low)
    assert low - room <= ticks[0]
    assert ticks[-1] <= high + room
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    factor = steps[0] / 10.0 ** np.floor(np.log10(steps[0] * (1 + 1e-9)))
    assert min(abs(factor - each) for each in (1, 2, 2.5, 5, 10)) < 1e-5
    labels = tick_labels(ticks)
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(("low", "high"), [(1e-9, 1e3), (0.3, 0.5), (2e-3, 7.0), (90.0, 1e4)])
def test_logarithmic_ticks_are_few_and_within_the_axis(low, high):
    ticks = logarithmic_ticks(low, high, 7)
    assert 2 <= len(ticks) <= 7
    assert low * 0.999 <= min(ticks)
    assert max(ticks) <= high * 1.001


# Classes.

MATRIX = [[90, 10, 0], [0, 197, 3], [0, 0, 0]]
NAMES = ["cat", "dog & <owl>", "fox"]


def test_each_cell_says_how_many_were_predicted():
    chart = Chart("confusion_matrix", MATRIX, NAMES)
    assert chart.titles == [
        "true cat, predicted cat: 90 of 100, 90 %",
        "true cat, predicted dog & <owl>: 10 of 100, 10 %",
        "true dog & <owl>, predicted dog & <owl>: 197 of 200, 98 %",
        "true dog & <owl>, predicted fox: 3 of 200, 2 %",
    ]
    numbers = [text for text, element in chart.texts if "small" in element.get("class", "")]
    assert numbers == ["90", "10", "98", "2"]


def test_cells_lie_in_the_row_of_the_true_class():
    chart = Chart("confusion_matrix", MATRIX, NAMES)
    cells = [each for each in chart.svg.iter("rect") if len(each)]
    size = float(cells[0].get("width"))
    left = float(cells[0].get("x"))
    places = [
        (round(float(c.get("y")) / size), round((float(c.get("x")) - left) / size)) for c in cells
    ]
    assert places == [(0, 0), (0, 1), (1, 1), (1, 2)]
    opacities = [float(cell.get("fill-opacity")) for cell in cells]
    np.testing.assert_allclose(opacities, np.sqrt([0.9, 0.1, 0.985, 0.015]), atol=0.01)


def test_counts_are_drawn_where_they_are_asked_for():
    chart = Chart("confusion_matrix", MATRIX, NAMES, normalize=False)
    numbers = [text for text, element in chart.texts if "small" in element.get("class", "")]
    assert numbers == ["90", "10", "197", "3"]


def test_a_hundred_classes_have_cells_without_numbers():
    matrix = np.diag(np.arange(1, 101))
    chart = Chart("confusion_matrix", matrix, [f"class {n}" for n in range(100)])
    assert len(chart.titles) == 100
    assert not [1 for _, element in chart.texts if "small" in element.get("class", "")]


def luminance(colour):
    channels = np.asarray(colour) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("paper", "cell", "low", "high"),
    [("#ffffff", CELL_LIGHT, 0.0, 1.0), ("#0d1117", CELL_DARK, 1.0, 0.0)],
)
def test_numbers_in_cells_can_be_read_on_every_colour(paper, cell, low, high):
    """The contrast of WCAG 2 for text is 4.5 or more; the page's text is black or white."""
    ground, full = (np.array(list(bytes.fromhex(c[1:]))) for c in (paper, cell))
    for opacity in np.linspace(0, 1, 201):
        shown = luminance(ground * (1 - opacity) + full * opacity)
        text = high if opacity >= TEXT_TURNS else low
        contrast = (max(shown, text) + 0.05) / (min(shown, text) + 0.05)
        assert contrast > 4.45, opacity


def test_bars_are_as_long_as_the_scores():
    scores = metrics.class_scores(MATRIX)
    chart = Chart("class_scores", scores, NAMES)
    assert chart.titles[:3] == ["cat: precision 100.0 %", "dog & <owl>: precision 95.2 %",
                                "fox: precision 0.0 %"]  # fmt: skip
    assert chart.titles[5] == "fox: recall \N{EN DASH}"  # it never occurs
    bars = [each for each in chart.svg.iter("rect") if len(each)]
    widths = np.array([float(bar.get("width")) for bar in bars])
    full = widths[0]
    expected = [1, 197 / 207, 0, 0.9, 0.985, 0]
    np.testing.assert_allclose(widths[:6] / full, expected, atol=0.001)


# Weights.


def test_histograms_count_every_weight():
    before, after = np.array([-1.0, 0.0, 0.1, 1.0]), np.array([0.0, 0.0, 1.0, np.nan])
    chart = Chart("histogram_pairs", {"weight": (before, after)}, bins=2)
    assert chart.titles == ["-1 to 0\nbefore 1\nafter 0", "0 to 1\nbefore 3\nafter 3"]
    assert [name for name in chart.names if name] == ["before", "after"]


def test_a_bar_is_as_high_as_its_count():
    before = np.repeat([0.0, 1.0, 2.0], [10, 5, 0])
    chart = Chart("histogram_pairs", {"weight": (before, [2.0])}, bins=2)
    (area,) = chart.paths("area", "n0")
    bottom = float(re.match(r"M[\d.]+ ([\d.]+)", area)[1])
    first, second = (bottom - float(y) for y in re.findall(r"V([\d.]+)", area)[:2])
    assert second / first == pytest.approx(0.5, abs=0.01)


# Regressions.


def test_dots_lie_where_target_and_prediction_say():
    targets = np.linspace(-2, 2, 9)
    chart = Chart("predictions_against_targets", targets, targets + 0.5)
    (path,) = chart.paths("scatter", "n0")
    dots = np.array([[float(n) for n in pair] for pair in re.findall(r"M(\S+) (\S+?)h0", path)])
    np.testing.assert_allclose(np.polyval(chart.scale("x"), dots[:, 0]), targets, atol=0.02)
    upward = np.polyval(chart.scale("y"), dots[:, 1] + 0.35 * 16)
    np.testing.assert_allclose(upward, targets + 0.5, atol=0.02)
    assert chart.texts[0][0] == "R² 0.850, root mean squared error 0.5"


def test_a_fit_has_its_samples_and_answers_the_pointer():
    x = np.linspace(0, 1, 5)
    chart = Chart("regression_fit", x, x**2, x, x**2, test=([0.5], [0.3]), test_name="validation")
    assert [name for name in chart.names if name] == ["training", "validation", "fit"]
    assert "x 0.5\nfit 0.25" in chart.titles
    assert len(chart.paths("scatter")) == 2


# Pixels.


def test_images_are_in_the_page_pixel_by_pixel():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, 40, 33, 3)).astype(np.uint8)
    chart = Chart("image_grid", images, titles=list("abcdef"), columns=3)
    drawn = chart.image()
    gap = drawn.shape[1] - 3 * 33
    assert gap > 0
    np.testing.assert_array_equal(drawn[:40, :33, :3], images[0])
    np.testing.assert_array_equal(drawn[:40, 33 + gap // 2 : 66 + gap // 2, :3], images[1])
    second = (len(drawn) + gap // 2) // 2  # where the second row begins: text is below each
    np.testing.assert_array_equal(drawn[second : second + 40, -33:, :3], images[5])
    assert (drawn[:40, 33, 3] == 0).all()  # gaps are clear
    assert [text for text, _ in chart.texts] == list("abcdef")


def test_grey_images_stay_grey():
    images = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 4
    drawn = Chart("image_grid", images).image()
    zoom = len(drawn) // 8
    np.testing.assert_array_equal(drawn[::zoom, ::zoom, 1], images[0, ..., 0])
    assert (drawn[..., 0] == drawn[..., 2]).all()


def test_filters_are_blue_white_and_red():
    w = np.array([[-2.0, 0.0], [1.0, 2.0]]).reshape(2, 2, 1, 1)
    drawn = Chart("filters", w).image()[::16, ::16, :3].astype(int)
    np.testing.assert_array_equal(drawn[0, 0], [5, 48, 97])
    assert (drawn[0, 1] > 240).all()
    assert drawn[1, 0, 0] > drawn[1, 0, 2] + 50
    np.testing.assert_array_equal(drawn[1, 1], [103, 0, 31])


def test_filters_of_three_channels_are_colours_around_grey():
    generator = np.random.default_rng(1)
    w = generator.normal(size=(32, 32, 3, 1))
    drawn = Chart("filters", w).image()
    np.testing.assert_allclose(drawn[..., :3], 127.5 + 127.5 * w[..., 0] / abs(w).max(), atol=0.51)


def test_filters_of_many_channels_have_a_row_each():
    w = np.random.default_rng(2).normal(size=(32, 32, 5, 3))
    chart = Chart("filters", w)
    height, width = chart.image().shape[:2]
    assert (height > 3 * 32, width > 5 * 32) == (True, True)
    assert {"filter", "channel"} <= {text for text, _ in chart.texts}


def test_each_feature_map_goes_from_dark_to_bright():
    maps = np.stack([np.linspace(0, 1, 32 * 32), np.linspace(-50, 90, 32 * 32)], axis=-1)
    drawn = Chart("feature_maps", maps.reshape(32, 32, 2), scale="each", columns=2).image()
    for left in (0, drawn.shape[1] - 32):
        np.testing.assert_array_equal(drawn[0, left, :3], [0x44, 0x01, 0x54])
        np.testing.assert_array_equal(drawn[31, left + 31, :3], [0xFD, 0xE7, 0x25])


def test_a_feature_map_that_is_not_finite_is_clear():
    maps = np.full((32, 32, 1), np.nan)
    maps[0, 0], maps[0, 1] = 0.0, 1.0
    drawn = Chart("feature_maps", maps, scale="each").image()
    assert drawn[0, 0, 3] == drawn[0, 1, 3] == 255
    assert (drawn[1:, :, 3] == 0).all()


def test_no_maps_and_no_images_are_no_data():
    for kind, array in (
        ("feature_maps", np.zeros((4, 4, 0))),
        ("image_grid", np.zeros((0, 4, 4, 1))),
    ):
        assert [text for text, _ in Chart(kind, array).texts] == ["no data"]


def test_heat_covers_the_image_where_there_is_some():
    images = np.full((2, 32, 32, 1), 100, np.uint8)
    heat = np.zeros((2, 32, 32))
    heat[0, 0, 0], heat[1, 5, 5] = 3.0, -1.0
    drawn = Chart("saliency_grid", images, heat, ["one", "two"], signed=True).image()
    right = drawn[:, -32:].astype(int)
    assert (drawn[5, 5, :3] == 100).all()
    red, _, blue = drawn[0, 0, :3].astype(int)
    assert red > blue + 40
    assert right[5, 5, 2] > right[5, 5, 0] + 40


# What all have in common.


@pytest.mark.parametrize("name", charts.__all__)
def test_a_chart_takes_what_the_picture_for_a_file_takes(name):
    ours = list(inspect.signature(getattr(charts, name)).parameters.values())[1:]
    origin = composites if hasattr(composites, name) else plots
    theirs = inspect.signature(getattr(origin, name)).parameters.values()
    # How, not what: an Axes to draw on is of no use here.
    shown = [(each.name, each.default, each.kind) for each in theirs if each.name != "ax"]
    assert [(each.name, each.default, each.kind) for each in ours] == shown


def test_names_are_text_and_no_markup():
    chart = Chart("learning_curves", {"<b>&\"'": ([0, 1], [1, 2])}, ylabel="<i>")
    assert [name for name in chart.names if name] == ["<b>&\"': 2"]
    assert chart.titles[0] == "step 0\n<b>&\"' 1"
    assert "<i>" in [text for text, _ in chart.texts]


def test_a_chart_says_in_words_what_it_shows():
    chart = Chart("learning_rate_curve", [0, 1], [0.1, 0.2])
    assert chart.svg.get("role") == "img"
    assert chart.svg.get("aria-label") == "What it shows, in words."


def test_what_has_no_chart_is_drawn_by_matplotlib():
    text = Drawing("accuracy_against", {"trials": ([0.1, 0.2], [0.5, 0.6])}, xlabel="lr").html(
        "by-lr", "Accuracy by rate."
    )
    assert text.startswith('<svg role="img" aria-label="Accuracy by rate."')
    assert "var(--series-0)" in text
