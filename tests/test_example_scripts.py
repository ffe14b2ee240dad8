"""The scripts in examples/ that show the library itself run, and what they print is right."""

import ast
import re
import runpy
import tempfile
from pathlib import Path

import pytest

from fastconv.backends.selection import backend_state

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)

SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run an example with its files in ``tmp_path``; return what it prints."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def call(name, *arguments):
        monkeypatch.setattr("sys.argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def numbers(text):
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_in_a_line_what_it_shows_and_is_short(path):
    text = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring is not None
    assert len(docstring.splitlines()) <= 2
    assert len(text.splitlines()) <= 60


def test_every_example_is_run_by_some_test():
    tests = "\n".join(path.read_text("utf-8") for path in TESTS.glob("test_*.py"))
    unseen = [path.name for path in SCRIPTS if f'"{path.stem}' not in tests]
    assert unseen == []


def test_loops_and_the_call_in_their_place_agree(run):
    difference, loops, fastconv, times = numbers(run("loops_replaced.py"))
    assert difference < 1e-12
    assert times > 10
    assert times == pytest.approx(loops / fastconv, rel=0.1)


def test_shapes_drawn_into_a_folder_are_told_apart(run, tmp_path):
    told = run("own_pictures.py")
    assert len(list(tmp_path.glob("*/shapes/*/*.png"))) == 900
    assert numbers(told)[0] > 0.85  # a third by guessing
    assert "a new triangle is taken for a triangle" in told


def test_the_times_of_pendulums_are_found_from_a_table(run, tmp_path):
    error, _, r2 = numbers(run("own_csv.py").replace("R2", "R 2"))
    assert 0.01 < error < 0.05  # the table's own noise is 0.01
    assert r2 > 0.99
    (table,) = tmp_path.glob("*/pendulums.csv")
    assert len(table.read_text().splitlines()) == 1501


def test_a_residual_network_learns_digits(run):
    told = run("residual_network.py")
    assert "residual_2.shortcut.conv2d_1" in told
    assert float(told.split("test accuracy")[1]) > 0.95


@pytest.mark.slow
def test_the_gain_over_seeds_is_the_difference_of_the_means(run):
    one, two, gain = map(numbers, run("many_seeds.py").splitlines())
    for count, mean, spread, least, most in (one, two):
        assert count in (1, 2)
        assert 90 < least < mean < most
        assert 0 < spread < most - least
    assert gain[0] == pytest.approx(two[1] - one[1], abs=0.11)  # of rounded means
    assert 0 < gain[1] < 1


def test_backends_end_at_the_same_parameters_but_for_rounding(run):
    working = [name for name in ("numpy", "cython") if backend_state(name).works]
    lines = run("compare_backends.py", *working, "cupy").splitlines()
    assert len(lines) == len(working) + 1
    for name, line in zip(working, lines, strict=False):
        microseconds, difference = numbers(line)
        assert line.startswith(f"{name}: ")
        assert microseconds > 1
        assert 0 < difference < 1e-4
    assert lines[-1].startswith("cupy: ")


@pytest.mark.slow
def test_a_search_finds_a_rate_that_learns(run):
    pytest.importorskip("optuna", reason="needs the extra search")
    told = run("settings_search.py")
    scores = [float(found) for found in re.findall(r"accuracy ([\d.]+):", told)]
    assert len(scores) == 8
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9 > scores[-1]
    assert Path(told.split("page about it: ")[1].strip()).is_file()


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bits(run, tmp_path):
    told = run("resume.py")
    assert re.search(r"it left step-0*\d+0\.safetensors", told)
    assert "bit for bit: True" in told
    assert len(list(tmp_path.glob("*/*/weights.safetensors"))) == 2
