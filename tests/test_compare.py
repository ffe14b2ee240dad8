"""Training steps beside PyTorch and JAX: who is measured, how, and what is made of it."""

import importlib.util
import json
import math
import time

import numpy as np
import pytest

from fastconv.compare import __main__ as command
from fastconv.compare import fastconv_steps
from fastconv.compare.contender import fastest, whole_steps
from fastconv.compare.measuring import CompareError, Contender, Turns, measure
from fastconv.compare.outcome import Measured, crossover, report
from fastconv.compare.setting import READY_BATCHES, Setting


def needs(module):
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed"
    )


def measured(width, ratio, batch=1):
    """A setting where fastconv's fastest step takes 2 us, and PyTorch's ``ratio`` times as long."""
    own = Turns("fastconv", "1 thread", (4e-6, 2e-6, 3e-6))
    peer = Turns("pytorch", "NCHW", (6e-6 * ratio, 2e-6 * ratio, 6e-6 * ratio))
    return Measured(Setting(width, 2, batch), (own, peer))


def test_the_crossover_lies_where_a_straight_line_of_logarithms_crosses_one():
    # From 8 to 64 the ratio falls by a factor of 8, from 2 to 1/4: a third of the way.
    assert crossover([8, 64], [2, 0.25]) == pytest.approx(8 * 8 ** (1 / 3))
    assert crossover([4, 8, 16], [3, 0.5, 2]) == math.inf  # faster again at the last
    assert crossover([4, 8], [1, 0.9]) == 0


def test_a_ratio_is_that_of_the_fastest_rounds():
    assert measured(8, 5).ratio("pytorch") == pytest.approx(5)
    assert measured(8, 5).ratio_of_medians("pytorch") == pytest.approx(10)


def test_the_tables_tell_the_width_the_ratios_and_the_machine():
    text = report(
        [measured(64, 0.25), measured(8, 2), measured(8, 3, 16)], ["pytorch"], "a machine"
    )
    assert text.startswith("a machine\n")
    assert "| 2 | 1 | 16 |" in text
    assert "| 2 | 16 | above 8 |" in text
    assert "| 2 | 1 | 64 | 2 | 0.25 (0.50) |" in text


def test_the_fastest_variant_is_chosen_and_timed_by_the_step():
    def sleeper(seconds):
        return lambda steps: time.sleep(seconds * steps)

    name, seconds = fastest({"slow": sleeper(0.02), "fast": sleeper(0.005)}, span=0.01)
    assert name == "fast"
    assert 0.005 <= seconds < 0.02


def test_a_variant_far_behind_makes_two_steps_and_no_more():
    made = []
    variants = {
        "fast": lambda steps: None,
        "far behind": lambda steps: (made.append(steps), time.sleep(0.02 * steps)),
    }
    name, _ = fastest(variants, span=0.01)
    assert name == "fast"
    assert made == [1, 1]


@pytest.mark.parametrize("seconds", [1e-7, 1e-4, 0.003, 0.02, 0.4])
def test_steps_fill_a_turn_and_are_whole_scans(seconds):
    steps = whole_steps(seconds, span=0.1)
    assert steps % READY_BATCHES == 0 or READY_BATCHES % steps == 0
    assert steps == 1 or 0.05 < steps * seconds <= 0.1 + 1e-9


def test_steps_of_fastconv_train_the_network(monkeypatch):
    trainers = []

    class Kept(fastconv_steps.Trainer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            trainers.append(self)

    monkeypatch.setattr(fastconv_steps, "Trainer", Kept)
    setting = Setting(width=4, depth=2, batch=4)
    made = fastconv_steps.variants(setting, threads=2)
    assert list(made) == ["1 thread", "2 threads"]
    made["1 thread"](2 * READY_BATCHES + 3)  # over the ends of epochs
    assert [trainer.step for trainer in trainers] == [2 * READY_BATCHES + 3, 0]
    assert (trainers[0].network.parameters != trainers[1].network.parameters).any()


@needs("jax")
def test_jax_computes_the_loss_and_the_gradient_of_the_network():
    import jax

    from fastconv.compare import jax_steps

    setting = Setting(width=4, depth=4, batch=3)
    images, labels = setting.batches()
    network = setting.network()
    loss, gradient = network.value_and_gradient(None, images[0], labels[0])
    found, gradients = jax.value_and_grad(jax_steps._loss)(
        jax_steps._parameters(setting), images[0], labels[0]
    )
    assert float(found) == pytest.approx(loss, rel=1e-5)
    views = network.gradient_views(gradient)
    np.testing.assert_allclose(gradients[0][0], views["conv2d_1.weight"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(gradients[-1][0], views["dense_1.weight"], rtol=1e-3, atol=1e-6)


def test_a_contender_that_ends_says_why_in_one_line():
    with Contender("nobody", 1, 0.01) as contender, pytest.raises(CompareError) as raised:
        measure(Setting(4, 1, 1), [contender], 1, 0.01)
    assert str(raised.value).startswith("nobody: its process ended: ModuleNotFoundError")


def test_without_a_peer_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert command.main([]) == 2
    told = capsys.readouterr().err
    assert told.startswith("fastconv.compare: pytorch and jax not installed; pip install")
    assert len(told.splitlines()) == 1


def test_the_chart_has_a_panel_for_each_depth_and_a_line_for_each_batch():
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    from fastconv.compare.chart import chart

    figure = chart([measured(8, 2), measured(64, 0.25), measured(8, 3, 16)], ["pytorch"])
    (panel,) = figure.axes
    level, *lines = panel.get_lines()
    assert set(level.get_ydata()) == {1}
    assert [list(line.get_xdata()) for line in lines] == [[8, 64], [8]]
    np.testing.assert_allclose(lines[0].get_ydata(), [2, 0.25])


@pytest.mark.slow
@needs("torch")
def test_the_command_measures_small_networks_and_writes_what_it_found(tmp_path, capsys):
    files = {name: tmp_path / f"found.{name}" for name in ("md", "png", "json")}
    code = command.main([
        "--peer", "pytorch", "--width", "4", "--depth", "1", "--batch", "1", "--rounds", "2",
        "--threads", "1", "--table", str(files["md"]), "--chart", str(files["png"]),
        "--json", str(files["json"]),
    ])  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 0
    assert out == files["md"].read_text("utf-8")
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    (found,) = json.loads(files["json"].read_text("utf-8"))["measured"]
    assert [turns["who"] for turns in found["turns"]] == ["fastconv", "pytorch"]
    assert all(len(turns["seconds"]) == 2 and min(turns["seconds"]) > 0 for turns in found["turns"])
    assert "width 4" in err
