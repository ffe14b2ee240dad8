"""What is drawn: where data, tiles, texts and colours are, in matplotlib's own terms."""

import gc
import io
import subprocess
import sys
import weakref
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from fastconv import metrics, plots
from fastconv.preprocessing import Augmentation

NAN, INF = float("nan"), float("inf")
CIFAR = (
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
)  # fmt: skip
STEPS = np.arange(0, 200, 10)


def generator():
    return np.random.default_rng(0)


def curve():
    return 2.0 * np.exp(-STEPS / 50)


def counts():
    return generator().integers(0, 1000, (10, 10))


def new_axes():
    return Figure(figsize=(6, 4)).add_subplot()


def mistakes_titles():
    return [f"{name} 100 %\nis automobile" for name in CIFAR]


def searched(keys):
    """Values of keys of 30 trials."""
    g = generator()
    columns = {
        "optimizer.weight_decay": 10.0 ** -g.uniform(1, 5, 30),
        "schedule.kind": ["constant" if n % 2 else "exponential" for n in range(30)],
        "layers.10.probability": g.random(30),
        "batch_size": [50 + 50 * (n % 2) for n in range(30)],
        "augmentation.translation": g.random(30),
        "initialization.distribution": ["normal" if n % 3 else "uniform" for n in range(30)],
        "optimizer.decay_biases": [n % 5 == 0 for n in range(30)],
    }
    return dict(list(columns.items())[:keys])


def draw_everything():
    """Every function with what it may be given: calls that take an Axes or None."""
    g = generator()
    curves = {"training": (STEPS, curve()), "validation": (STEPS, curve() + 0.1)}
    layers = {f"a_layer_of_a_long_name_{k}": curve() * 10.0**-k for k in range(7)}
    statistics = {name: (values, values, values / 2) for name, values in layers.items()}
    images = g.integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    scores = metrics.class_scores(counts())
    probabilities = g.dirichlet(np.ones(10))
    return {
        "learning_curves": lambda ax: plots.learning_curves(
            curves, ylabel="loss", steps_per_epoch=40, log=True, ax=ax
        ),
        "accuracies": lambda ax: plots.learning_curves(
            curves, ylabel="accuracy", percent=True, ax=ax
        ),
        "learning_rate_curve": lambda ax: plots.learning_rate_curve(
            STEPS, curve(), steps_per_epoch=40, ax=ax
        ),
        "gradient_norms": lambda ax: plots.gradient_norms(STEPS, layers, ax=ax),
        "activation_statistics": lambda ax: plots.activation_statistics(STEPS, statistics, ax=ax),
        "confusion_matrix": lambda ax: plots.confusion_matrix(counts(), CIFAR, ax=ax),
        "confusion_matrix of short names": lambda ax: plots.confusion_matrix(
            counts(), "0 1 2 3 4 5 6 7 8 9".split(), ax=ax
        ),
        "confusion counts": lambda ax: plots.confusion_matrix(
            counts(), CIFAR, normalize=False, ax=ax
        ),
        "class_scores": lambda ax: plots.class_scores(scores, CIFAR, ax=ax),
        "prediction_bars": lambda ax: plots.prediction_bars(probabilities, CIFAR, label=3, ax=ax),
        "image_grid": lambda ax: plots.image_grid(images, ax=ax),
        "image_grid with titles": lambda ax: plots.image_grid(
            images, titles=mistakes_titles(), ax=ax
        ),
        "augmented_images": lambda ax: plots.augmented_images(
            images[:4], Augmentation(flip=True, crop=2, mixup=0.5), times=3, ax=ax
        ),
        "filters": lambda ax: plots.filters(g.normal(size=(3, 3, 3, 32)), ax=ax),
        "filters of 1 channel": lambda ax: plots.filters(g.normal(size=(5, 5, 1, 16)), ax=ax),
        "filters of 4 channels": lambda ax: plots.filters(g.normal(size=(3, 3, 4, 2)), ax=ax),
        "class_templates": lambda ax: plots.class_templates(
            g.normal(size=(64, 10)), (8, 8, 1), CIFAR, ax=ax
        ),
        "feature_maps": lambda ax: plots.feature_maps(g.random((12, 12, 32)), ax=ax),
        "saliency": lambda ax: plots.saliency(images[0], g.normal(size=(8, 8)), ax=ax),
        "histograms": lambda ax: plots.histograms(g.normal(size=99), g.normal(size=99), ax=ax),
        "regression_fit": lambda ax: plots.regression_fit(
            STEPS, curve(), STEPS, curve(), test=(STEPS[:3], curve()[:3]), ax=ax
        ),
        "predictions_against_targets": lambda ax: plots.predictions_against_targets(
            curve(), curve() + 0.1, ax=ax
        ),
        "accuracy_against": lambda ax: plots.accuracy_against(
            {
                "coarse": (10.0 ** -g.uniform(1, 5, 20), g.random(20), g.random(20) / 20),
                "finer": ([1e-3, 2e-3], [0.8, 0.9], [NAN, 0.1]),
            },
            xlabel="optimizer.l2", log=True, ax=ax,
        ),
        "accuracy_against names": lambda ax: plots.accuracy_against(
            {"": ([CIFAR[n % 5] for n in range(40)], g.random(40))}, xlabel="kind", ax=ax
        ),
        "parallel_coordinates": lambda ax: plots.parallel_coordinates(
            searched(7), g.random(30), log=["optimizer.weight_decay"], best=[3, 4], ax=ax
        ),
        "parallel_coordinates of a loss": lambda ax: plots.parallel_coordinates(
            searched(2), g.random(30), score_label="validation loss", percent=False, ax=ax
        ),
    }  # fmt: skip


EVERYTHING = draw_everything()
every_picture = pytest.mark.parametrize("name", sorted(EVERYTHING))


def shown_texts(figure):
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


# Rules that all functions keep.


def test_every_public_function_is_drawn_here():
    drawn = {name.split(" ")[0] for name in EVERYTHING} - {"accuracies", "confusion"}
    assert drawn == set(plots.__all__) - {"save", "theme"}


@every_picture
def test_a_given_axes_is_drawn_on_and_returned(name):
    ax = new_axes()
    assert EVERYTHING[name](ax) is ax
    assert ax.has_data() or any(panel.has_data() for panel in ax.child_axes)


def test_nobody_keeps_the_figures_and_no_setting_is_changed():
    before = dict(matplotlib.rcParams)
    figures = []
    for draw in EVERYTHING.values():
        with plots.theme("dark"):
            figures.append(weakref.ref(draw(None).get_figure()))
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
    gc.collect()
    assert [figure() for figure in figures] == [None] * len(figures)


def test_a_notebook_shows_the_picture_of_the_axes():
    axes: Any = plots.confusion_matrix(np.eye(3, dtype=int), ["a", "b", "c"])
    shown = Image.open(io.BytesIO(axes._repr_png_())).convert("L")
    assert shown.width > 300
    assert len(set(shown.tobytes())) > 10  # it is not blank
    axes.remove()
    assert axes._repr_png_() is None


def test_importing_drawing_and_saving_does_not_import_pyplot(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from fastconv import plots\n"
        "axes = plots.image_grid([[[[0.5]]]], titles=['a'])\n"
        "plots.save(plots.learning_rate_curve([0], [1.0]), 'rate', ('png', 'svg'))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    here = plots.__file__.rpartition("fastconv")[0]
    done = subprocess.run([sys.executable, "-c", code, here], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"rate.png", "rate.svg"}


@pytest.mark.parametrize("theme", ["light", "dark"])
@every_picture
def test_all_text_is_inside_the_picture_and_large_enough(name, theme):
    with plots.theme(theme):
        figure = EVERYTHING[name](None).get_figure()
    figure.draw_without_rendering()
    page = figure.bbox.padded(1)
    # Ticks beyond the limits have texts too, which are not drawn: an axis knows those that are.
    both = [axis for axis in figure.findobj(Axis) if axis.axes.axison]
    of_ticks = {
        label
        for axis in both
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
    }
    boxes = {axis: axis.get_tightbbox() for axis in both if axis.get_visible()}
    texts = [text for text in shown_texts(figure) if text not in of_ticks]
    boxes |= {text: text.get_window_extent() for text in texts}
    for artist, box in boxes.items():
        if box is not None:
            assert page.containsx(box.x0), artist
            assert page.containsx(box.x1), artist
            assert page.containsy(box.y0), artist
            assert page.containsy(box.y1), artist
    assert all(text.get_fontsize() >= 9 for text in shown_texts(figure))


def luminance(colour):
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "page"), [("light", "#ffffff"), ("dark", "#0d1117")])
def test_a_theme_is_clear_with_text_and_lines_that_stand_out(theme, page):
    with plots.theme(theme):
        ax = plots.gradient_norms(STEPS, {f"layer {k}": curve() for k in range(6)})
    assert ax.get_figure().get_facecolor()[3] == 0
    assert ax.get_facecolor()[3] == 0
    for text in shown_texts(ax.get_figure()):
        assert contrast(text.get_color(), page) >= 7
    colours = [line.get_color() for line in ax.get_lines()]
    assert len(set(colours)) == 6
    assert all(contrast(colour, page) >= 2.2 for colour in colours)


def test_an_unknown_theme_is_refused():
    with pytest.raises(ValueError, match="name is 'blue'; expected 'light' or 'dark'"):
        plots.theme("blue").__enter__()


# Curves.


def test_lines_hold_the_data_and_the_legend_the_last_values():
    series = {"run 1": (STEPS, curve()), "run 2": ([0, 5], [1.0, 0.25])}
    ax = plots.learning_curves(series, ylabel="loss")
    for line, (steps, values) in zip(ax.get_lines(), series.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_array_equal(line.get_ydata(), values)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [f"run 1: {2 * np.exp(-190 / 50):.4g}", "run 2: 0.25"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("step", "loss", "linear")


def test_lines_differ_in_more_than_colour():
    names = [f"layer {k}" for k in range(12)]
    ax = plots.gradient_norms(STEPS, dict.fromkeys(names, curve()))
    looks = {(line.get_linestyle(), line.get_marker()) for line in ax.get_lines()}
    assert len(looks) == 12
    assert all(len(line.get_markevery()) >= 2 for line in ax.get_lines())


def test_percent_is_what_readers_see_of_fractions():
    ax = plots.learning_curves({"test": ([0, 1], [0.5, 0.9812])}, ylabel="accuracy", percent=True)
    assert ax.get_legend().get_texts()[0].get_text() == "test: 98.1 %"
    assert ax.yaxis.get_major_formatter()(0.5) == "50 %"
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [0.5, 0.9812])


def test_the_upper_axis_counts_epochs():
    ax = plots.learning_curves({"a": ([0, 80], [1, 2])}, ylabel="loss", steps_per_epoch=40)
    ax.get_figure().draw_without_rendering()
    (top,) = ax.child_axes
    np.testing.assert_allclose(top.get_xlim(), np.array(ax.get_xlim()) / 40)
    assert top.get_xlabel() == "epoch"


@pytest.mark.parametrize("log", [False, True])
def test_values_that_are_not_finite_leave_gaps(log, tmp_path):
    series = {
        "diverged": ([0, 1, 2, 3], [1.0, 3.0, INF, NAN]),
        "now and then": ([0, 1, 2, 3, 4], [NAN, 2.0, NAN, 1.5, NAN]),
        "never": ([0, 1], [NAN, NAN]),
        "negative": ([0, 1], [-INF, -1.0]),
        "empty": ([], []),
    }
    ax = plots.learning_curves(series, ylabel="loss", log=log)
    plots.save(ax, tmp_path / "curves")
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        "diverged: 3, then nan",
        "now and then: 1.5, then nan",
        "never: nan",
        "negative: -1",
        "empty: none",
    ]
    # Points that no line reaches have markers, or nobody would see them.
    assert ax.get_lines()[1].get_markevery() == [1, 3]
    assert np.isfinite(ax.get_ylim()).all()


@pytest.mark.parametrize("values", [[0.0, 0.0], [-1.0, 0.0]])
def test_a_logarithmic_axis_without_positive_values_does_not_fail(values, tmp_path):
    plots.save(plots.gradient_norms([0, 1], {"dead": values}), tmp_path / "norms")


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("series", [{}, {"a": ([], [])}, {"a": ([0, 1], [NAN, INF])}])
def test_nothing_to_draw_is_said(series, log, tmp_path):
    ax = plots.learning_curves(series, ylabel="loss", log=log, steps_per_epoch=10)
    assert [text.get_text() for text in ax.texts] == ["no data"]
    plots.save(ax, tmp_path / "curves")


def test_a_learning_rate_is_one_line():
    ax = plots.learning_rate_curve(STEPS, curve(), log=True)
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), curve())
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "learning rate")
    assert plots.learning_rate_curve([], []).texts[0].get_text() == "no data"


def test_activation_statistics_has_a_panel_for_each_kind():
    statistics = {"relu_1": ([1, 2], [3, 4], [0.5, 0.6]), "relu_2": ([5, 6], [7, 8], [0.1, NAN])}
    ax = plots.activation_statistics([0, 10], statistics)
    assert [panel.get_ylabel() for panel in ax.child_axes] == ["mean", "std", "dead"]
    for kind, panel in enumerate(ax.child_axes):
        for line, (name, columns) in zip(panel.get_lines(), statistics.items(), strict=True):
            assert line.get_label() == name
            np.testing.assert_array_equal(line.get_ydata(), columns[kind])
    assert plots.activation_statistics([], {}).child_axes[0].texts[0].get_text() == "no data"


# Classification.


def test_cells_hold_the_percent_of_their_row_and_zeros_are_blank():
    matrix = [[970, 30, 0], [4, 9995, 1], [0, 0, 0]]
    ax = plots.confusion_matrix(matrix, ["a", "b", "c"])
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    # (column, row); what is not 0 or 100 is never written so.
    assert cells == {(0, 0): "97", (1, 0): "3", (0, 1): "<0.1", (1, 1): "100.0", (2, 1): "<0.1"}
    drawn = ax.images[0].get_array()
    np.testing.assert_array_equal(drawn.mask, np.equal(matrix, 0))
    np.testing.assert_allclose(drawn[0, :2], [97, 3])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")


def test_cells_may_hold_counts():
    ax = plots.confusion_matrix([[12, 3], [0, 5]], ["a", "b"], normalize=False)
    assert [text.get_text() for text in ax.texts] == ["12", "3", "5"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_stand_out_from_their_cells(theme):
    with plots.theme(theme):
        ax = plots.confusion_matrix(counts(), CIFAR)
    image = ax.images[0]
    for text in ax.texts:
        column, row = text.get_position()
        background = image.cmap(image.norm(image.get_array()[row, column]))
        assert contrast(text.get_color(), background) >= 4.5


def test_many_classes_have_colours_and_some_names():
    names = [f"class {k}" for k in range(100)]
    ax = plots.confusion_matrix(np.eye(100, dtype=int), names)
    assert len(ax.texts) == 0
    assert [tick.get_text() for tick in ax.get_yticklabels()] == names[::5]
    np.testing.assert_array_equal(ax.get_yticks(), range(0, 100, 5))


def test_bars_are_as_long_as_the_scores_and_dashes_stand_for_undefined():
    scores = metrics.class_scores([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    ax = plots.class_scores(scores, ["a", "b", "c"])
    widths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    np.testing.assert_allclose(widths, [[1, 2 / 3, 0], [0.75, 1, 0], [6 / 7, 0.8, 0]])
    assert [text.get_text() for text in ax.texts] == (
        ["100.0", "66.7", "–", "75.0", "100.0", "–", "85.7", "80.0", "–"]  # noqa: RUF001
    )
    assert len({bars[0].get_hatch() for bars in ax.containers}) == 3
    # The first class is at the top.
    assert ax.transData.transform((0, 0))[1] > ax.transData.transform((0, 1))[1]


def test_prediction_bars_go_from_the_most_probable_and_keep_the_true_class():
    ax = plots.prediction_bars([0.1, 0.6, 0.25, 0.05], list("abcd"), label=3, count=3)
    (bars,) = ax.containers
    assert [bar.get_width() for bar in bars] == [0.6, 0.25, 0.05]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "c", "d (true)"]
    assert [text.get_text() for text in ax.texts] == ["60.0 %", "25.0 %", "5.0 %"]
    assert [bool(bar.get_hatch()) for bar in bars] == [False, False, True]


# Tiles.


def tiles_of(ax, count, height, width):
    """Cut the one image on Axes into its tiles, found by what is not blank."""
    (image,) = ax.images
    drawn = image.get_array()
    blank = drawn.mask if drawn.ndim == 2 else drawn[..., 3] == 0
    rows, columns = (
        np.flatnonzero(np.diff(np.pad(~blank.all(axis=axis), 1).astype(int))).reshape(-1, 2)
        for axis in (1, 0)
    )
    tiles = [drawn[top:end, left:right] for top, end in rows for left, right in columns][:count]
    zoom = tiles[0].shape[0] // height
    for tile in tiles:
        assert tile.shape[:2] == (zoom * height, zoom * width)
    corners = [(top, left) for top, _ in rows for left, _ in columns][:count]
    return [np.ma.filled(tile[::zoom, ::zoom], NAN) for tile in tiles], corners, zoom


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_a_tile_with_its_own_pixels(dtype, channels):
    images = generator().integers(0, 256, (7, 5, 8, channels)).astype(np.uint8)
    given = images if dtype == np.uint8 else (images / 255).astype(dtype)
    tiles, corners, zoom = tiles_of(plots.image_grid(given, columns=3), 7, 5, 8)
    assert len(tiles) == 7
    for tile, image in zip(tiles, images, strict=True):
        expected = np.broadcast_to(image / 255, (5, 8, 3))
        np.testing.assert_allclose(tile[..., :3], expected, atol=1e-7)
    # Three in a row, with a gap that is thin beside a tile.
    assert len({left for _, left in corners}) == 3
    gap = corners[1][1] - corners[0][1] - 8 * zoom
    assert 1 <= gap <= 0.1 * 8 * zoom


def test_titles_stand_under_the_middle_of_their_tiles():
    images = np.full((4, 8, 8, 1), 200, np.uint8)
    titles = [f"cat {k} %\nis dog" for k in range(4)]
    ax = plots.image_grid(images, titles=titles, columns=2)
    _, corners, zoom = tiles_of(ax, 4, 8, 8)
    figure = ax.get_figure()
    figure.draw_without_rendering()
    assert [text.get_text() for text in ax.texts] == titles
    boxes = [text.get_window_extent() for text in ax.texts]
    for number, (box, (top, left)) in enumerate(zip(boxes, corners, strict=True)):
        middle, below = ax.transData.transform((left + 4 * zoom - 0.5, top + 8 * zoom - 0.5))
        assert (box.x0 + box.x1) / 2 == pytest.approx(middle, abs=2)
        assert box.y1 <= below + 1
        if number < 2:
            under = ax.transData.transform((0, corners[2][0] - 0.5))[1]
            assert box.y0 >= under - 1
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


@pytest.mark.parametrize("size", [8, 32])
def test_long_titles_do_not_touch_each_other(size):
    images = np.zeros((20, size, size, 1), np.uint8)
    titles = [f"{title}, not this" for title in mistakes_titles()] * 2
    ax = plots.image_grid(images, titles=titles)
    ax.get_figure().draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_filters_of_one_channel_share_a_scale_that_is_symmetric_around_zero():
    weights = generator().normal(size=(3, 5, 1, 6))
    ax = plots.filters(weights, columns=3)
    tiles, _, _ = tiles_of(ax, 6, 3, 5)
    for k, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile, weights[:, :, 0, k])
    most = abs(weights).max()
    assert ax.images[0].get_clim() == (-most, most)


def test_filters_of_three_channels_are_colours_with_grey_for_zero():
    weights = generator().normal(size=(3, 3, 3, 4))
    weights[:, :, :, 0] = 0
    tiles, _, _ = tiles_of(plots.filters(weights), 4, 3, 3)
    np.testing.assert_array_equal(tiles[0][..., :3], np.full((3, 3, 3), 0.5))
    most = abs(weights).max()
    for k, tile in enumerate(tiles):
        np.testing.assert_allclose((tile[..., :3] - 0.5) * 2 * most, weights[..., k], atol=1e-12)


def test_other_filters_have_a_row_each_and_a_tile_for_each_channel():
    weights = generator().normal(size=(3, 3, 5, 2))
    ax = plots.filters(weights)
    tiles, corners, _ = tiles_of(ax, 10, 3, 3)
    for number, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile, weights[:, :, number % 5, number // 5])
    assert len({top for top, _ in corners}) == 2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("channel", "filter")


def test_class_templates_are_the_columns_of_the_weights():
    weights = generator().normal(size=(12, 3))
    ax = plots.class_templates(weights, (4, 3, 1), ["a", "b", "c"])
    tiles, _, _ = tiles_of(ax, 3, 4, 3)
    for k, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile, weights[:, k].reshape(4, 3))
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    coloured = plots.class_templates(weights, (2, 2, 3), ["a", "b", "c"])
    tile = tiles_of(coloured, 3, 2, 2)[0][1]
    expected = 0.5 + weights[:, 1].reshape(2, 2, 3) / (2 * abs(weights).max())
    np.testing.assert_allclose(tile[..., :3], expected)


def test_feature_maps_have_one_scale_or_each_its_own():
    maps = generator().random((6, 6, 4)) * [1, 10, 100, 0]
    common, _, _ = tiles_of(plots.feature_maps(maps), 4, 6, 6)
    each, _, _ = tiles_of(plots.feature_maps(maps, scale="each"), 4, 6, 6)
    for k in range(4):
        np.testing.assert_array_equal(common[k], maps[..., k])
    for tile in each[:3]:
        assert (tile.min(), tile.max()) == (0, 1)
    np.testing.assert_array_equal(each[3], np.zeros((6, 6)))


def test_tiles_that_are_not_finite_stay_blank(tmp_path):
    maps = np.ones((4, 4, 2))
    maps[0, 0] = NAN, INF
    maps[1, 1] = 2
    for scale in ("common", "each"):
        drawn = plots.feature_maps(maps, scale=scale)
        blank = drawn.images[0].get_array().mask
        assert blank[0, 0]
        assert not blank[-1, -1]
        plots.save(drawn, tmp_path / scale)
    for broken in (np.full((3, 3, 1, 4), NAN), np.zeros((3, 3, 1, 4)), np.full((3, 3, 3, 4), NAN)):
        plots.save(plots.filters(broken), tmp_path / "filters")


@pytest.mark.parametrize("count", [1, 2, 7, 16, 33, 100])
def test_any_number_of_tiles_is_laid_out_wider_than_high(count):
    images = np.full((count, 16, 16, 1), 255, np.uint8)
    drawn = plots.image_grid(images).images[0].get_array()
    assert drawn.shape[0] <= drawn.shape[1]
    assert (drawn[..., 3] == 1).sum() == count * 32 * 32


def test_no_tiles_are_said_to_be_no_data(tmp_path):
    for ax in (
        plots.image_grid(np.zeros((0, 8, 8, 1), np.uint8)),
        plots.feature_maps(np.zeros((8, 8, 0)), scale="each"),
        plots.filters(np.zeros((3, 3, 1, 0))),
    ):
        assert [text.get_text() for text in ax.texts] == ["no data"]
        plots.save(ax, tmp_path / "none")


def test_saliency_lies_over_the_image_in_grey_and_is_clear_where_there_is_none():
    image = np.zeros((8, 6, 3), np.uint8)
    image[..., 1] = 255
    heat = np.array([[0.0, 4.0, NAN], [1.0, 2.0, 0.0]])
    ax = plots.saliency(image, heat)
    below, above = ax.images
    np.testing.assert_allclose(below.get_array(), np.full((8, 6), 0.7152))
    assert above.get_extent() == below.get_extent()
    opacity = above.get_alpha()
    assert (opacity[[0, 0, 1], [0, 2, 2]] == 0).all()
    assert opacity.max() == opacity[0, 1] < 1
    assert above.get_clim() == (0, 4)
    assert plots.saliency(image, -heat).images[1].get_clim() == (-4, 4)


# Numbers.


def test_histograms_count_both_over_the_same_intervals():
    ax = plots.histograms([0.0, 0.1, 0.9], [[0.2, 1.0], [0.8, NAN]], bins=2, log=True)
    before, after = ax.patches
    assert before.get_data().values.tolist() == [2, 1]  # type: ignore[attr-defined]
    assert after.get_data().values.tolist() == [1, 2]  # type: ignore[attr-defined]
    np.testing.assert_allclose(before.get_data().edges, [0, 0.5, 1])  # type: ignore[attr-defined]
    assert [before.get_fill(), after.get_fill()] == [True, False]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["before", "after (1 not finite)"]
    assert ax.get_yscale() == "log"
    assert plots.histograms([NAN], []).texts[0].get_text() == "no data"


def test_a_fit_shows_its_points_and_its_curve():
    ax = plots.regression_fit([1, 2], [3, NAN], STEPS, curve(), test=([5.0], [6.0]))
    training, test, fit = ax.get_lines()
    np.testing.assert_array_equal(training.get_xydata(), [[1, 3], [2, NAN]])
    np.testing.assert_array_equal(test.get_xydata(), [[5, 6]])
    np.testing.assert_array_equal(fit.get_ydata(), curve())
    assert training.get_marker() != test.get_marker()
    assert [line.get_linestyle() for line in (training, test, fit)] == ["None", "None", "-"]
    assert plots.regression_fit([], [], [], []).texts[0].get_text() == "no data"


def test_predictions_stand_over_their_targets_beside_the_diagonal():
    ax = plots.predictions_against_targets(
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 3.0], [NAN, 5.0], [5.0, 6.0]]
    )
    points, diagonal = ax.get_lines()
    np.testing.assert_array_equal(points.get_xydata(), [[1, 1], [2, 3], [4, 5], [5, 5], [6, 6]])
    assert diagonal.get_slope() == 1  # type: ignore[attr-defined]
    # Of the samples without a gap: R² 1 of the first output, 1 - 1 / 8 of the second; one error of
    # four is 1.
    assert ax.get_title() == "R² 0.938, root mean squared error 0.5\n1 not finite"
    assert plots.predictions_against_targets([], []).texts[0].get_text() == "no data"


# Saving.


@every_picture
def test_saving_gives_the_same_bytes_each_time(name, tmp_path):
    ax = EVERYTHING[name](None)
    (first,) = plots.save(ax, tmp_path / "first", ("svg",))
    (second,) = plots.save(ax, tmp_path / "second", ("svg",))
    assert first.read_bytes() == second.read_bytes()


def test_an_equal_picture_gives_the_same_bytes(tmp_path):
    for number in range(2):
        ax = EVERYTHING["confusion_matrix"](None)
        plots.save(ax, tmp_path / str(number), ("png", "svg"), dpi=50)
    for kind in ("png", "svg"):
        one, other = (tmp_path / f"{number}.{kind}" for number in range(2))
        assert one.read_bytes() == other.read_bytes()


def test_a_saved_picture_opens_in_its_size_with_a_clear_background(tmp_path):
    with plots.theme("dark"):
        ax = plots.learning_rate_curve(STEPS, curve())
    (path,) = plots.save(ax.get_figure(), tmp_path / "rate.of.learning", dpi=100)
    assert path == tmp_path / "rate.of.learning.png"
    with Image.open(path) as picture:
        assert picture.size == (600, 275)
        assert picture.mode == "RGBA"
        assert picture.getpixel((0, 0))[3] == 0
        assert set(picture.info) <= {"dpi"}


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    (path,) = plots.save(plots.learning_rate_curve([0], [1.0]), tmp_path / "rate")
    before = path.read_bytes()
    ax = plots.learning_rate_curve([0], [2.0])

    def fail(*args, **options):
        raise RuntimeError("no more paint")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no more paint"):
        plots.save(ax, tmp_path / "rate")
    assert [entry.name for entry in tmp_path.iterdir()] == ["rate.png"]
    assert path.read_bytes() == before


# Faults.


@pytest.mark.parametrize(
    ("call", "fault", "message"),
    [
        (
            lambda: plots.learning_curves({"a": ([0, 1], [1.0])}, ylabel="loss"),
            ValueError,
            "values of a has 1 values but steps of a has 2",
        ),
        (
            lambda: plots.learning_curves({}, ylabel="loss", steps_per_epoch=0),
            ValueError,
            "steps_per_epoch is 0; expected more than 0",
        ),
        (
            lambda: plots.gradient_norms([0], {"a": ["x"]}),
            TypeError,
            "norms of a has dtype <U1; expected numbers",
        ),
        (
            lambda: plots.activation_statistics([0], {"a": ([1], [2])}),
            ValueError,
            "statistics of a are 2 sequences; expected 3",
        ),
        (
            lambda: plots.confusion_matrix([[1, 2]], ["a"]),
            ValueError,
            r"matrix has shape \(1, 2\); expected \(classes, classes\)",
        ),
        (
            lambda: plots.confusion_matrix([[1, 2], [3, 4]], ["a"]),
            ValueError,
            "class_names is 1 names; expected 2, one for each class",
        ),
        (
            lambda: plots.confusion_matrix([[1, -2], [3, 4]], "ab"),
            ValueError,
            "matrix holds -2.0",
        ),
        (
            lambda: plots.prediction_bars([0.5, 0.5], "ab"),
            ValueError,
            "class_names is 'ab'; expected 2",
        ),
        (lambda: plots.prediction_bars([1.5], ["a"]), ValueError, "probabilities holds 1.5"),
        (lambda: plots.prediction_bars([1.0], ["a"], label=1), ValueError, "label is 1; expected"),
        (lambda: plots.prediction_bars([1.0], ["a"], count=0), ValueError, "count is 0; expected"),
        (
            lambda: plots.image_grid(np.zeros((2, 8, 8))),
            ValueError,
            r"images has 3 dimensions \(2, 8, 8\); expected 4",
        ),
        (lambda: plots.image_grid(np.zeros((1, 2, 2, 2))), ValueError, "expected 1 or 3 channels"),
        (
            lambda: plots.image_grid(np.full((1, 2, 2, 1), 2.0)),
            ValueError,
            "images holds 2.0; expected 0 to 1",
        ),
        (
            lambda: plots.image_grid(np.zeros((2, 2, 2, 1)), titles=["a"]),
            ValueError,
            "titles is 1 names; expected 2, one for each image",
        ),
        (
            lambda: plots.image_grid(np.zeros((2, 2, 2, 1)), columns=0),
            ValueError,
            "columns is 0; expected 1 or more",
        ),
        (
            lambda: plots.class_templates(np.zeros((5, 1)), (2, 2, 1), ["a"]),
            ValueError,
            "weights has 5 rows but image_shape",
        ),
        (
            lambda: plots.class_templates(np.zeros((8, 1)), (2, 2, 2), ["a"]),
            ValueError,
            "image_shape is",
        ),
        (lambda: plots.feature_maps(np.zeros((2, 2, 2)), scale="own"), ValueError, "scale is 'own"),
        (
            lambda: plots.saliency(np.zeros((2, 2, 1)), np.zeros((0, 2))),
            ValueError,
            r"heat has shape \(0, 2\); expected at least one pixel",
        ),
        (lambda: plots.histograms([1.0], [1.0], bins=0), ValueError, "bins is 0; expected"),
        (
            lambda: plots.regression_fit([1], [1], [1], [1, 2]),
            ValueError,
            "grid_y has 2 values but grid_x has 1",
        ),
        (
            lambda: plots.predictions_against_targets([1.0], [1.0, 2.0]),
            ValueError,
            r"predictions has shape \(2,\); expected \(1,\)",
        ),
        (lambda: plots.save(new_axes(), "x", ("gif",)), ValueError, "formats is"),
        (lambda: plots.save(new_axes(), "x", "png"), ValueError, "formats is 'png'"),
    ],
)
def test_faults_name_the_argument(call, fault, message):
    with pytest.raises(fault, match=message):
        call()


def test_a_saliency_map_can_be_labelled():
    axes = plots.saliency(np.zeros((4, 4, 1), np.uint8), np.ones((4, 4)), bar=False)
    axes.set_xlabel("a seven")
    assert axes.axison
    assert axes.xaxis.label.get_visible()
    assert len(axes.get_figure().axes) == 1
    assert not axes.get_xticks().size


def test_the_numbers_of_a_logarithmic_axis_are_plain():
    with plots.theme("light"):
        ax = plots.gradient_norms([0, 1, 2], {"dense_1": [0.01, 1, 300]})
        ax.get_figure().draw_without_rendering()
        shown = [tick.get_text() for tick in ax.get_yticklabels()]
    assert {"0.01", "0.1", "1", "10", "100"} <= set(shown)
