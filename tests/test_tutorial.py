"""The tutorial: every stage learns the same, and docs/tutorial.md shows the code that runs."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastconv

ROOT = Path(__file__).parent.parent
BENCH, TUTORIAL = ROOT / "bench", ROOT / "docs" / "tutorial.md"
if not (BENCH.is_dir() and TUTORIAL.exists()):
    pytest.skip("bench/ and docs/ are not beside the tests", allow_module_level=True)

sys.path.insert(0, str(BENCH))
try:
    import tutorial
    import tutorial_check
    import tutorial_loops
    import tutorial_stages
finally:
    sys.path.remove(str(BENCH))

SIZE, FILTERS, UNITS = 20, (2, 3, 4, 5), 6
"""The network, made small: 2 x 2 x 5 features before the dense layers."""
BATCH = 2


@pytest.fixture(scope="module")
def parameters() -> tutorial_stages.Parameters:
    made = tutorial_stages.draw_parameters(SIZE, FILTERS, UNITS, std=0.4)
    draw = np.random.default_rng(5)  # biases of 0 could hide what a bias does
    return [(w, draw.normal(0, 0.1, b.shape)) for w, b in made]


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    return images, draw.integers(0, 10, BATCH)


@pytest.fixture(scope="module")
def of_loops(parameters, batch) -> tuple[float, tutorial_stages.Parameters]:
    return tutorial_stages.loss_and_gradients(tutorial_stages.student_loops, parameters, *batch)


def assert_same(found, expected, tolerance: float) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    for found_pair, expected_pair in zip(found[1], expected[1], strict=True):
        for a, b in zip(found_pair, expected_pair, strict=True):
            assert a.shape == b.shape
            assert np.abs(b).max() > 0
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("name", [name for name in tutorial_stages.STAGES if name != "loops"])
def test_every_stage_gives_the_loss_and_the_gradients_of_the_loops(
    name: str, parameters, batch, of_loops
) -> None:
    found = tutorial_stages.loss_and_gradients(tutorial_stages.STAGES[name], parameters, *batch)
    in_double = name in ("conv2d", "every kernel")
    assert_same(found, of_loops, 1e-12 if in_double else 1e-5)


def test_the_numpy_backend_trains_the_same_step_as_the_loops(parameters, batch, of_loops) -> None:
    with fastconv.use_backend("numpy"):
        found = tutorial_stages.loss_and_gradients(tutorial_stages.plan, parameters, *batch)
    assert_same(found, of_loops, 1e-5)


def test_the_loops_give_the_gradients_that_differences_give(parameters, batch, of_loops) -> None:
    images, labels = batch
    x = tutorial_loops.min_max(images)

    def loss(number: int, part: int, index: int, shift: float) -> float:
        moved = [[array.copy() for array in pair] for pair in parameters]
        moved[number][part].reshape(-1)[index] += shift
        return tutorial_loops.training_step(tutorial_loops.make_layers(moved), x, labels, 0.0)

    h = 1e-6
    for number in range(6):
        for part in range(2):
            gradient = of_loops[1][number][part].reshape(-1)
            index = int(np.abs(gradient).argmax())
            numerical = (loss(number, part, index, h) - loss(number, part, index, -h)) / (2 * h)
            assert gradient[index] == pytest.approx(numerical, rel=1e-5)


@pytest.mark.parametrize("name", ["every kernel", "float32, NHWC", "plan"])
def test_a_stage_goes_on_training_where_the_step_before_ended(name: str, parameters) -> None:
    """Three steps on the same image: kept arrays and the order of updates show only then."""
    draw = np.random.default_rng(2)
    images, labels = draw.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8), np.array([3])
    one, other = (
        tutorial_stages.STAGES[each](parameters, images, labels, 1, 0.001)
        for each in ("loops", name)
    )
    losses = [one.train(1) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    assert [other.train(1) for _ in range(3)] == pytest.approx(losses, rel=1e-5)
    for (w, _), (expected, _) in zip(other.parameters(), one.parameters(), strict=True):
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-6)


def test_the_stages_train_the_network_of_the_recipe() -> None:
    recipe = fastconv.load_recipe("cifar10-deep")
    expected = recipe.make_network((32, 32, 3))
    network = tutorial_stages.make_network(32, (32, 32, 64, 64), 256)
    assert network.layers == expected.layers
    shapes = [w.shape for w, _ in tutorial_stages.to_nhwc(tutorial_stages.draw_parameters())]
    names = [name for name in expected.places if name.endswith(".weight")]
    assert shapes == [expected[name].shape for name in names]


def test_going_to_nhwc_and_back_changes_nothing(parameters) -> None:
    back = tutorial_stages.from_nhwc(tutorial_stages.to_nhwc(parameters))
    for (w, b), (expected_w, expected_b) in zip(back, parameters, strict=True):
        np.testing.assert_array_equal(w, expected_w.astype(np.float32))
        np.testing.assert_array_equal(b, expected_b.astype(np.float32))


def test_the_checks_find_a_right_backward_pass_right() -> None:
    assert max(tutorial_check.beside_fastconv(tutorial_loops.Conv)) < 1e-12
    assert tutorial_check.beside_differences(tutorial_loops.Conv) < 1e-7


def test_the_checks_find_a_wrong_backward_pass_wrong() -> None:
    class Flipped(tutorial_loops.Conv):
        """A usual mistake: the gradient of the filters turned by 180 degrees."""

        def backward(self, dy):
            dx = super().backward(dy)
            self.dw = self.dw[:, :, ::-1, ::-1]
            return dx

    dx, dw, db = tutorial_check.beside_fastconv(Flipped)
    assert dw > 0.1
    assert max(dx, db) < 1e-12
    assert tutorial_check.beside_differences(Flipped) > 0.1


def test_check_gradients_passes_the_network_of_the_tutorial() -> None:
    assert tutorial_check.whole_network().passed


def snippets() -> list[tuple[str, str]]:
    """(file, code) of every Python block; each has a comment above it that names its file."""
    text = TUTORIAL.read_text(encoding="utf-8")
    found = re.findall(r"^<!-- (\S+\.py) -->\n```python\n(.*?)^```", text, flags=re.S | re.M)
    assert len(found) == text.count("```python")
    return found


def test_the_tutorial_shows_code_of_every_stage() -> None:
    shown = "\n".join(code for _, code in snippets())
    for name in ("class Conv(", "class FastConv(", "class FastMaxPool(", "class NhwcConv(",
                 "fastconv.Sequential(", "fastconv.Trainer("):  # fmt: skip
        assert name in shown


@pytest.mark.parametrize(
    ("file", "code"), snippets(), ids=lambda part: part.strip().split("\n")[0][:40]
)
def test_what_the_tutorial_shows_is_what_runs(file: str, code: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    # Whole lines, at whatever depth they stand.
    indented = (textwrap.indent(code, " " * depth) for depth in (0, 4, 8))
    assert any(f"\n{each}" in source for each in indented)


def test_files_that_the_tutorial_links_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TUTORIAL.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (TUTORIAL.parent / link).exists()] == []


def test_the_tutorial_has_a_place_for_the_table(tmp_path: Path) -> None:
    before = TUTORIAL.read_text(encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(before, encoding="utf-8")
    tutorial.replace_table(page, r"the \1 table")
    head, _, tail = before.partition(tutorial.BEGIN)
    tail = tail.partition(tutorial.END)[2]
    expected = f"{head}{tutorial.BEGIN}\nthe \\1 table\n{tutorial.END}{tail}"
    assert page.read_text(encoding="utf-8") == expected


def test_a_table_takes_the_place_of_nothing_or_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"a\n{tutorial.BEGIN}\n{tutorial.END}\nz\n")
    for text in ("one", "two\nlines"):
        tutorial.replace_table(page, text)
        assert page.read_text() == f"a\n{tutorial.BEGIN}\n{text}\n{tutorial.END}\nz\n"


def test_a_file_without_marks_is_a_mistake_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    upside_down = f"{tutorial.END}\n{tutorial.BEGIN}\n"
    page.write_text(upside_down)
    assert tutorial.main(["--table", str(page)]) == 2
    assert tutorial.main(["--table", str(tmp_path / "absent.md")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("bench/tutorial.py: --table ") for line in lines)
    assert page.read_text() == upside_down


def test_a_table_says_times_epochs_and_factors() -> None:
    rows = [
        tutorial.Row("loops", 1, 1, [1.2, 0.9, 1.0]),
        tutorial.Row("plan", 1, 100, [0.0005, 0.0004, 0.0008]),
        tutorial.Row("batch 32", 32, 100, [0.0064]),
    ]
    assert tutorial.table(rows).splitlines()[2:] == [
        "| 1 loops | 1000 | 900 to 1200 | 1 | 13 h 53 min |  | 1.0x |",
        "| 2 plan | 0.5 | 0.4 to 0.8 | 2000 | 25 s | 2000x | 2000x |",
        "| 3 batch 32 | 6.4 | 6.4 to 6.4 | 5000 | 10 s | 2.5x | 5000x |",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(46_800, "13 h 0 min"), (3599, "59 min 59 s"), (65, "1 min 5 s"), (11.62, "11.6 s")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert tutorial.duration(seconds) == text


def test_the_script_prints_json_and_writes_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is small here; all else is as in the measured run."""
    small = tutorial_stages.draw_parameters(SIZE, FILTERS, UNITS, std=0.4)
    monkeypatch.setattr(tutorial, "draw_parameters", lambda: small)
    monkeypatch.setattr(tutorial, "IMAGE_SIZE", SIZE)
    monkeypatch.setattr(tutorial, "EPOCH", 128)
    monkeypatch.setenv("FASTCONV_THREADS", "1")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tutorial.BEGIN}\n{tutorial.END}\nafter\n")
    options = ["--rounds", "2", "--span", "0.001", "--json", "-", "--table", str(page)]
    assert tutorial.main(options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in printed["rows"]] == [
        "loops", "conv2d", "every kernel", "float32, NHWC", "plan", "batch 32", "batch 128",
    ]  # fmt: skip
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in printed["rows"])
    text = page.read_text()
    assert text.startswith(f"before\n{tutorial.BEGIN}\n<!-- table made by: python bench/tutorial")
    assert text.endswith(f"x |\n\n{tutorial.END}\nafter\n")
    assert text.count("\n| ") == 8  # head and seven lines
