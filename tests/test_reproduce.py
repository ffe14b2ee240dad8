"""``python -m fastconv.reproduce``, on a system whose data need no download."""

import contextlib
import dataclasses
import json
import re
import shutil
import signal

import numpy as np
import pytest
from saved_runs import CONVOLUTIONAL, recipe_of, save_run, shades

from fastconv import training_run
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.ending import Interruption
from fastconv.report.findings import Findings
from fastconv.reproduce import __main__ as reproduce
from fastconv.reproduce import results
from fastconv.reproduce.claims import claims, examine
from fastconv.reproduce.comparisons import Comparison, Variation
from fastconv.reproduce.prediction_measures import certainty
from fastconv.reproduce.systems import chosen_systems
from fastconv.runs.saved_run import load_run

SYSTEM = "regression-relu"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("FASTCONV_BACKEND", "FASTCONV_DATA", "FASTCONV_THREADS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Trainings of some steps, on the backend that needs no compiler."""
    system = chosen_systems([SYSTEM])[0]
    quick = dataclasses.replace(
        system.quick, at_most=100.0, settings={"epochs": 40, "validate_every": 20}
    )
    short = tuple(
        dataclasses.replace(each, quick=quick) if each.report == "D" else each
        for each in chosen_systems([])
    )
    monkeypatch.setattr(results, "systems", lambda: short)
    monkeypatch.setattr(
        reproduce, "chosen_systems",
        lambda names: tuple(s for s in short if s in chosen_of(names, short)),
    )  # fmt: skip


def chosen_of(names, short):
    known = {system.name for system in chosen_systems(names)}
    return [system for system in short if system.name in known]


@pytest.fixture
def command(capsys, tmp_path):
    def call(*arguments, quick=True):
        given = ["--backend", "numpy", "--threads", "1", *arguments]
        if "--out" not in given:
            given += ["--out", str(tmp_path / "made")]
        try:
            code = reproduce.main([*given, *(["--quick"] if quick else [])])
        except SystemExit as leaving:
            code = leaving.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def made(tmp_path):
    return json.loads((tmp_path / "made" / "results.json").read_text(encoding="utf-8"))


def entry(tmp_path, name=SYSTEM):
    (found,) = (each for each in made(tmp_path)["systems"] if each["name"] == name)
    return found


def test_a_system_is_trained_and_a_page_written(command, tmp_path):
    code, out, err = command(SYSTEM, "regression-selu")
    assert (code, err) == (0, "")
    assert "[1/2] regression-selu" in out
    page = (tmp_path / "made" / "index.html").read_text(encoding="utf-8")
    assert "The SELU network has a smaller test error" in page
    assert "It needs runs of mnist-lenet." in page
    run = load_run(tmp_path / "made" / "runs" / SYSTEM)
    assert run.summary["steps"] == 80  # 40 epochs of two batches
    found = entry(tmp_path)
    assert found["runs"][0]["summary"]["test_loss"] == run.summary["test_loss"]
    assert found["runs"][0]["folder"] == f"runs/{SYSTEM}"
    (claim,) = (c for c in made(tmp_path)["claims"] if c["name"] == "regression-selu-relu")
    assert claim["measured"][SYSTEM] == run.summary["test_loss"]
    assert claim["verdict"] == "not shown"  # one seed has no spread


def test_what_is_there_is_not_trained_again(command, tmp_path):
    command(SYSTEM)
    before = entry(tmp_path)["runs"]
    _, out, _ = command(SYSTEM)
    assert "is there already" in out
    assert entry(tmp_path)["runs"] == before
    _, out, _ = command(SYSTEM, "--again")
    assert "is there already" not in out
    # Times are new, results the same.
    after = entry(tmp_path)["runs"]
    assert after[0]["summary"]["train_seconds"] != before[0]["summary"]["train_seconds"]
    assert after[0]["summary"]["test_loss"] == before[0]["summary"]["test_loss"]


@pytest.mark.parametrize("change", ["incomplete", "version", "recipe"])
def test_what_is_not_the_run_wanted_is_trained_again(change, command, tmp_path):
    command(SYSTEM)
    folder = tmp_path / "made" / "runs" / SYSTEM
    if change == "incomplete":
        (folder / "summary.json").unlink()
    elif change == "version":
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        text = json.dumps({**environment, "fastconv": "0.0.1"})
        (folder / "environment.json").write_text(text, encoding="utf-8")
    else:
        recipe = (folder / "recipe.toml").read_text(encoding="utf-8")
        assert "epochs = 40\n" in recipe
        text = recipe.replace("epochs = 40\n", "epochs = 41\n")
        (folder / "recipe.toml").write_text(text, encoding="utf-8")
    _, out, _ = command(SYSTEM)
    assert "is there already" not in out
    assert load_run(folder).summary["steps"] == 80


def test_systems_made_earlier_stay_on_the_page(command, tmp_path):
    command("regression-selu")
    command(SYSTEM)
    assert len(entry(tmp_path, "regression-selu")["runs"]) == 1


def test_seeds_have_folders_of_their_own(command, tmp_path):
    code, _, _ = command(SYSTEM, "regression-selu", "--seeds", "2")
    assert code == 0
    found = entry(tmp_path)["runs"]
    assert [(run["seed"], run["folder"]) for run in found] == [
        (0, f"runs/{SYSTEM}"), (1, f"runs/{SYSTEM}-seed1"),
    ]  # fmt: skip
    losses = [run["summary"]["test_loss"] for run in found]
    assert losses[0] != losses[1]
    (claim,) = (c for c in made(tmp_path)["claims"] if c["name"] == "regression-selu-relu")
    assert claim["measured"][SYSTEM] == pytest.approx(np.mean(losses))


def test_a_run_has_its_report_and_the_page_leads_there(command, tmp_path, monkeypatch):
    short = chosen_systems([SYSTEM])[0]
    short = dataclasses.replace(short, settings={"epochs": 20, "validate_every": 10})
    monkeypatch.setattr(reproduce, "chosen_systems", lambda names: (short,))
    monkeypatch.setattr(results, "systems", lambda: (short,))
    elsewhere = tmp_path / "elsewhere.html"
    code, _, _ = command("--seeds", "1", "--page", str(elsewhere), quick=False)
    assert code == 0
    assert (tmp_path / "made" / "runs" / SYSTEM / "report.html").is_file()
    page = (tmp_path / "made" / "index.html").read_text(encoding="utf-8")
    assert f'<a href="runs/{SYSTEM}/report.html">{SYSTEM}</a>' in page
    alone = elsewhere.read_text(encoding="utf-8")
    assert SYSTEM in alone
    assert "report.html" not in alone
    assert not re.search(r'href="(?!#|data:)', alone)
    run = load_run(tmp_path / "made" / "runs" / SYSTEM)
    assert run.environment["command"] == [
        "train", "--recipe", SYSTEM, "--set", "epochs=20", "--set", "validate_every=10",
    ]  # fmt: skip


@pytest.mark.slow
def test_variations_stand_beside_each_other(command, tmp_path, monkeypatch):
    short = dataclasses.replace(chosen_systems([SYSTEM])[0], settings={"epochs": 20}, seeds=1)
    monkeypatch.setattr(reproduce, "chosen_systems", lambda names: (short,))
    monkeypatch.setattr(results, "systems", lambda: (short,))
    widths = tuple(
        Variation(f"{n} units", {"layers.0.units": n, "epochs": 30, "validate_every": 10})
        for n in (2, 4)
    )
    wide = Comparison(
        "D", "width", "The first layer's width is unimportant.", SYSTEM, widths, "equal",
        figure="test_loss", within=1e9, seeds=2, short={"epochs": 10, "validate_every": 5},
    )  # fmt: skip
    monkeypatch.setattr(reproduce, "comparisons_of", lambda chosen: (wide,))
    monkeypatch.setattr(results.comparisons, "comparisons_of", lambda chosen: (wide,))
    code, out, _ = command("--comparisons", quick=False)
    assert (code, "4 units, seed 1: test loss" in out) == (0, True)
    folder = tmp_path / "made" / "comparisons" / "width"
    losses = [load_run(folder / name).summary["test_loss"] for name in ("4-units", "4-units-seed1")]
    (claim,) = (c for c in made(tmp_path)["claims"] if c["name"] == "width")
    assert claim["verdict"] == "shown"
    assert claim["text"].endswith(", in shortened trainings (epochs 10, validate_every 5).")
    assert claim["measured"]["4 units"] == pytest.approx(np.mean(losses))
    page = (tmp_path / "made" / "index.html").read_text(encoding="utf-8")
    assert wide.words.replace("'", "&#39;") in page
    before = made(tmp_path)["claims"]
    assert command("--comparisons", quick=False)[1].count("is there already") == 5
    command(quick=False)  # without the option they stay on the page
    assert made(tmp_path)["claims"] == before
    command("--comparisons", "--full", quick=False)
    (claim,) = (c for c in made(tmp_path)["claims"] if c["name"] == "width")
    assert "shortened" not in claim["text"]


def test_ctrl_c_keeps_what_is_finished(command, tmp_path, monkeypatch):
    command("regression-selu")

    @contextlib.contextmanager
    def pressed():
        asked = Interruption()
        asked.signal = signal.SIGINT
        yield asked

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "interruption", pressed)
        code, out, _ = command("regression-selu", SYSTEM)
    assert code == 130
    assert "interrupted" in out
    assert (tmp_path / "made" / "index.html").is_file()
    assert entry(tmp_path)["runs"] == []
    assert len(entry(tmp_path, "regression-selu")["runs"]) == 1
    code, out, _ = command("regression-selu", SYSTEM)
    assert (code, out.count("is there already")) == (0, 1)


def test_a_missed_floor_fails_the_command(command, monkeypatch):
    strict = tuple(
        dataclasses.replace(each, quick=dataclasses.replace(each.quick, at_most=1e-9))
        if each.name == SYSTEM
        else each
        for each in results.systems()
    )
    monkeypatch.setattr(results, "systems", lambda: strict)
    code, _, err = command(SYSTEM)
    assert code == 1
    assert err.startswith(f"fastconv.reproduce: {SYSTEM}: test loss ")
    assert err.endswith("expected at most 1e-09\n")


def test_the_table_takes_the_place_between_the_marks(command, tmp_path):
    page = tmp_path / "page.md"
    text = "before\n\n{}\n\nafter\n"
    marked = "<!-- reproduced: begin -->\nold\n<!-- reproduced: end -->"
    page.write_text(text.format(marked), encoding="utf-8")
    for _ in range(2):  # the second time in place of the first
        assert command(SYSTEM, "--table", str(page))[0] == 0
        written = page.read_text(encoding="utf-8")
        begin = "before\n\n<!-- reproduced: begin -->\n\nTraining time of all runs: "
        assert written.startswith(begin)
        assert "backend numpy; threads 1; " in written
        assert written.endswith("|\n\n<!-- reproduced: end -->\n\nafter\n")
        assert "old" not in written
        (line,) = (line for line in written.splitlines() if line.startswith(f"| `{SYSTEM}` |"))
        assert "| 0 | D | `python -m fastconv.train --recipe regression-relu" in line


def test_results_go_to_stdout_alone(command, tmp_path):
    code, out, err = command(SYSTEM, "--json", "-")
    assert code == 0
    assert json.loads(out) == made(tmp_path)
    assert f"[1/1] {SYSTEM}" in err


def test_the_systems_are_listed(command):
    code, out, _ = command("--list")
    assert code == 0
    assert "C  mnist-lenet " in out
    assert "test 97.93 %" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mnist-lennet"], "did you mean 'mnist-lenet'?"),
        (["--comparisons"], "--quick and --comparisons"),
        (["--full"], "--full"),
        (["--page", "nowhere/page.html"], "--page nowhere/page.html: no such folder"),
        (["--table", "nowhere/page.md"], "--table nowhere/page.md: cannot be read"),
        (["--seeds", "0"], "--seeds"),
        (["--backend", "abacus", SYSTEM], "abacus"),
        (["--json", "nowhere/results.json"], "--json nowhere/results.json"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, told):
    code, out, err = command(*arguments)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_a_page_without_marks_is_refused_before_the_work(command, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks\n", encoding="utf-8")
    code, _, err = command(SYSTEM, "--table", str(page))
    assert (code, page.read_text(encoding="utf-8")) == (2, "no marks\n")
    assert "<!-- reproduced: begin -->" in err
    assert not (tmp_path / "made" / "runs").exists()


def test_shortened_runs_do_not_replace_those_of_full_length(command, tmp_path):
    command(SYSTEM)
    before = entry(tmp_path)
    code, _, err = command(SYSTEM, quick=False)
    assert code == 2
    assert "shortened trainings" in err
    assert entry(tmp_path) == before


def test_a_folder_that_is_no_run_is_never_removed(command, tmp_path):
    folder = tmp_path / "made" / "runs" / SYSTEM
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("three years", encoding="utf-8")
    code, _, err = command(SYSTEM)
    assert code == 2
    assert "thesis.txt" in err
    assert (folder / "thesis.txt").is_file()


# Claims follow from measurements: what refutes them is said to.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a small network, whose numbers the tests replace."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    experiment = save_run(folder, recipe_of(CONVOLUTIONAL), shades())
    return Findings(load_run(folder), experiment.dataset, "numpy")


@pytest.fixture
def with_numbers(run):
    """Findings of that run with another summary or history."""

    def change(summary=None, history=None):
        saved = dataclasses.replace(
            run.run,
            summary={**run.run.summary, **(summary or {})},
            history={**run.run.history, **(history or {})},
        )
        return Findings(saved, run.dataset, "numpy")

    return change


def claim(name):
    (found,) = (each for each in claims() if each.name == name)
    return found


def test_a_claim_without_its_runs_says_nothing(run):
    assert examine(claim("lenet-improved"), {"cifar10-lenet": [run]}) is None
    assert examine(claim("lenet-improved"), {"cifar10-lenet": [run], "digits": [run]}) is None


def test_a_training_that_diverged_shows_no_claim(with_numbers):
    found = {"mnist-lenet": [with_numbers({"stopped": "diverged"})]}
    evidence = examine(claim("lenet-parameters"), found)
    assert evidence.verdict == "not shown"
    assert "mnist-lenet diverged" in evidence.text


def test_another_number_of_parameters_refutes_the_claim(run):
    evidence = examine(claim("lenet-parameters"), {"mnist-lenet": [run]})
    # 3x3x3x4 and 3x3x4x6 with biases, two scales and shifts, 2x3x6 inputs of 3 units.
    count = 108 + 4 + 216 + 6 + 12 + run.network["dense_1.weight"].size + 3
    assert (evidence.verdict, evidence.text) == ("refuted", f"It has {count:,}.")


@pytest.mark.parametrize(
    ("fast", "verdict"), [([1, 3, 1, 3, 1, 3], "shown"), ([3, 2, 1, 1, 1, 1], "refuted")]
)
def test_large_rates_are_unstable_if_their_losses_swing(with_numbers, fast, verdict):
    def findings(losses):
        values = np.array(losses, np.float64)
        return [with_numbers(history={"validation_loss": values, "step": np.arange(6.0)})]

    calm = findings([3, 2, 1, 1, 1, 1])
    rates = claim("softmax-rates")
    found = {name: findings(fast) for name in rates.systems} | {"cifar10-softmax": calm}
    evidence = examine(rates, found)
    assert evidence.verdict == verdict
    assert len(evidence.items) == 2


@pytest.mark.parametrize(("right", "verdict"), [(49, "shown"), (48, "refuted")])
def test_fifty_images_are_learned_if_49_are_right(with_numbers, right, verdict):
    findings = [with_numbers({"train_accuracy_final": right / 50})]
    names = ("cifar10-mlp-overfit", "cifar10-mlp-overfit-slow")
    evidence = examine(claim("mlp-overfit"), dict.fromkeys(names, findings))
    assert evidence.verdict == verdict
    assert evidence.measured == dict.fromkeys(names, right / 50)


def test_the_same_network_is_not_better_than_itself(run):
    found = {"cifar10-lenet": [run], "cifar10-lenet-improved": [run]}
    assert examine(claim("lenet-improved"), found).verdict == "not shown"


def test_a_network_is_surer_of_what_it_knows(run):
    right, wrong = certainty(run)
    guesses = run.run.inference(ExecutionConfig("numpy")).predict(run.samples.images)
    powers = np.exp(guesses.astype(np.float64))
    highest = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
    is_right = guesses.argmax(axis=1) == run.samples.labels
    assert right.mean == pytest.approx(highest[is_right].mean(), rel=1e-5)
    assert wrong.mean == pytest.approx(highest[~is_right].mean(), rel=1e-5)


def test_smaller_weights_everywhere_are_clipped_tails(run, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(run.run.path, folder)
    half = run.run.network()
    half.parameters[...] *= 0.5
    half.save_weights(folder / "weights.safetensors")
    halved = Findings(load_run(folder), run.dataset, "numpy")
    tails = claim("mnist-strided-tails")
    found = {"mnist-strided": [run], "mnist-strided-l2": [halved]}
    assert examine(tails, found).verdict == "shown"
    found = {"mnist-strided": [halved], "mnist-strided-l2": [run]}
    assert examine(tails, found).verdict == "refuted"


def test_cycles_are_seen_in_the_accuracy(with_numbers):
    recipe = {"n_s": 2}
    history = {
        "step": np.arange(1.0, 9.0),
        "learning_rate": np.array([1.0, 2, 1, 0, 1, 2, 1, 0]),
        "validation_accuracy": np.array([0.3, 0.2, 0.4, 0.5, 0.4, 0.3, 0.5, 0.6]),
        "loss": np.ones(8),
    }
    findings = with_numbers(history=history)
    schedule = dataclasses.replace(
        findings.run.recipe.schedule, kind="cyclic", eta_min=0.1, eta_max=1.0, **recipe
    )
    changed = dataclasses.replace(findings.run.recipe, schedule=schedule)
    findings = Findings(
        dataclasses.replace(findings.run, recipe=changed), findings.dataset, "numpy"
    )
    evidence = examine(claim("mlp-cycles"), {"cifar10-mlp-three-cycles": [findings]})
    assert evidence.verdict == "shown"
    assert list(evidence.measured.values()) == [0.2, 0.5, 0.3, 0.6]
