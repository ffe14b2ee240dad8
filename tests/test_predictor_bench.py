"""What bench/predictor.py and bench/peers.py say; the times themselves are no test."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
if not BENCH.is_dir():
    pytest.skip("bench/ is in the source tree alone", allow_module_level=True)
sys.path.append(str(BENCH))

import peers  # noqa: E402
import predictor  # noqa: E402
from peers import Line  # noqa: E402


def line(who, variant, *seconds):
    return Line("lenet5", 16, "best", who, variant, list(seconds), 0.0)


LINES = [
    line("fastconv-numpy", "fastconv numpy", 9e-3, 8e-3, 7e-3),
    line("fastconv-cython", "fastconv cython", 1e-4, 2e-4, 9e-4),
    line("pytorch", "PyTorch eager NCHW", 5e-4, 6e-4, 7e-4),
    line("pytorch", "PyTorch eager channels_last", 6e-4, 7e-4, 7e-4),
    line("pytorch", "PyTorch compiled", 3e-4, 5e-4, 8e-4),
    line("onnxruntime", "onnxruntime", 9e-4, 9e-4, 9e-4),
]
FIELD = ["fastconv-numpy", "fastconv-cython", "pytorch", "onnxruntime"]


def test_a_row_has_the_median_and_the_spread_of_each_column_and_the_ratio_to_the_fastest_peer():
    assert predictor.row_of("lenet5", 16, LINES, FIELD) == [
        "`lenet5`, 16 images", "8000.0 (7000.0 to 9000.0)", "200.0 (100.0 to 900.0)",
        "600.0 (500.0 to 700.0)", "500.0 (300.0 to 800.0)", "900.0 (900.0 to 900.0)", "2.50x",
    ]  # fmt: skip


def test_who_was_left_out_has_an_empty_cell():
    row = predictor.row_of("lenet5", 1, LINES[:1], FIELD)
    assert row == ["`lenet5`, 1 image", "8000.0 (7000.0 to 9000.0)", "", "", "", "", ""]


def test_a_peer_that_is_not_installed_is_said_to_be_and_the_table_goes_on(monkeypatch, capsys):
    asked = []

    def measured(workload, field, threads, rounds, span, isa, script):
        asked.append((workload, field, script))
        return LINES

    monkeypatch.setattr(predictor, "measure", measured)
    monkeypatch.setattr(predictor.importlib.util, "find_spec", lambda name: None)
    arguments = ["--table", "--recipes", "lenet5", "--batches", "1,16", "--backends", "cython"]
    assert predictor.main(arguments) == 0
    printed = capsys.readouterr()
    assert "pytorch: left out, torch is not installed" in printed.err
    assert "onnxruntime: left out, onnxruntime is not installed" in printed.err
    assert asked == [(("lenet5", batch), ["fastconv-cython"], "predicting.py") for batch in (1, 16)]
    head, rule, *rows = printed.out.splitlines()
    assert head.startswith("| prediction, us | fastconv cython | the fastest peer")
    assert [row.count("|") for row in (rule, *rows)] == [4] * 3


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        (peers, ["--peers", "torch"], "--peers: 'torch'; expected some of pytorch, jax, keras"),
        (peers, ["--backends", "cpython"], "--backends: 'cpython'; expected some of numpy, "),
        (peers, ["--workload", "lenet5"], "--workload: 'lenet5'; expected RECIPE:BATCH, such as"),
        (peers, ["--workload", "lenet5:0"], "--workload: 'lenet5:0'; expected RECIPE:BATCH"),
        (peers, ["--workload", "lenet:1"], "did you mean 'lenet5'"),
        (peers, ["--workload", "digits:1"], "recipe 'digits' is for the data set digits; expected"),
        (peers, ["--span", "0"], "--span: 0; expected a number above 0"),
        (peers, ["--json", "absent/numbers.json"], "--json absent/numbers.json: no such folder"),
        (predictor, ["--peers", "jax"], "--peers: 'jax'; expected some of pytorch, onnxruntime"),
        (predictor, ["--batches", "1,x"], "--batches: '1,x'; expected numbers and commas"),
        (predictor, ["--recipes", "lenet"], "did you mean 'lenet5'"),
    ],
)
def test_a_mistake_is_exit_code_2_and_one_line(command, arguments, told, capsys, monkeypatch):
    monkeypatch.setattr(command, "measure", None)  # nothing is measured
    try:
        code = command.main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    captured = capsys.readouterr()
    assert (code, captured.err.count("\n")) == (2, 1)
    assert captured.err.startswith(f"bench/{command.__name__}.py: ")
    assert told in captured.err
