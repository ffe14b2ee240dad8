"""Searches: what is drawn, how it is judged, what is kept, and what is shown."""

import csv
import dataclasses
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, standing_in
from PIL import Image
from saved_runs import TINY_RECIPE, line, shades

from fastconv import plots
from fastconv.backends.configuration import available_cores
from fastconv.backends.selection import backend_state
from fastconv.data import Dataset, Samples, load
from fastconv.execution.config import ExecutionConfig
from fastconv.recipe import recipe_names
from fastconv.runs.experiment import prepare
from fastconv.train import main as train
from fastconv.training_loop import fit

pytest.importorskip("optuna")

from fastconv.search import __main__ as command
from fastconv.search import study as study_module
from fastconv.search import worker
from fastconv.search.definition import SearchError, load_search, search_names
from fastconv.search.folds import folds_of
from fastconv.search.outcome import Outcome, Trial
from fastconv.search.page import search_page
from fastconv.search.pool import Pool, share_cores
from fastconv.search.space import Dimension
from fastconv.search.study import Stage, open_storage
from fastconv.search.worker import Prune, Stop, Task, Trainings, WorkerConfig

RANDOM = """
recipe = "small.toml"
trials = 4
[space."optimizer.lr"]
kind = "log_uniform"
low = 1e-3
high = 1.0
"""
GRID = """
recipe = "small.toml"
method = "grid"
[space."optimizer.lr"]
values = [0.1, 0.2, 0.4]
[space.batch_size]
values = [50, 100]
[space."optimizer.kind"]
values = ["sgd", "adam"]
"""


@pytest.fixture
def write(tmp_path):
    """Writes a search file beside its recipe, and returns its path."""
    (tmp_path / "small.toml").write_text(TINY_RECIPE, encoding="utf-8")

    def write(text, name="tried"):
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def search(write):
    return lambda text, *more: load_search(write(text), *more)


# ---- what a search file says -----------------------------------------------------------------


def test_the_searches_that_are_shipped_can_be_made():
    assert {"cifar10-mlp-lambda", "regression-selu-folds"} <= set(search_names())
    for name in search_names():
        found = load_search(name)
        assert found.definition.recipe in recipe_names()
        assert found.definition.description


def test_the_grid_of_the_regression_is_that_of_its_report():
    definition = load_search("regression-selu-folds").definition
    assert definition.folds == 5
    assert definition.first_trials == 3 * 3 * 2
    assert definition.trainings == 5


GUIDE = Path(__file__).parent.parent / "docs" / "settings_search.md"


@pytest.mark.skipif(not GUIDE.exists(), reason="docs are not beside the tests")
def test_the_search_file_of_the_guide_can_be_made(search):
    (text,) = re.findall(
        r"^```toml\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), flags=re.S | re.M
    )
    definition = search(text).definition
    assert (definition.first_trials, definition.finer.trials) == (30, 20)


def test_a_trials_recipe_is_the_recipe_with_its_settings(search):
    found = search(RANDOM + "[settings]\nepochs = 7\n", [("batch_size", 10)])
    recipe = found.recipe({"optimizer.lr": 0.25, "layers.1.units": 12})
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer.lr) == (7, 10, 0.25)
    assert recipe.layers[1]["units"] == 12
    # And the next trial starts from the recipe again.
    assert found.recipe({}).optimizer.lr == 0.5
    assert found.recipe({}).layers[1]["units"] == 10


def test_a_setting_of_the_command_wins_over_the_file(search):
    found = search(RANDOM + "[settings]\nepochs = 7\n", [("epochs", 3)], 9)
    assert found.recipe({}).epochs == 3
    assert found.definition.first_trials == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (RANDOM.replace("trials = 4", "trails = 4"), "trails: no such key; did you mean 'trials'"),
        (RANDOM.replace("trials = 4", 'trials = "4"'), "trials is '4', a str; expected an integer"),
        (RANDOM.replace("trials = 4", ""), "trials: missing"),
        (RANDOM.replace("trials = 4", "trials = 0"), "trials is 0; expected 1 or more"),
        (RANDOM.replace("trials = 4", 'trials = 4\nmethod = "tpf"'), "did you mean 'tpe'"),
        (RANDOM.replace("trials = 4", 'trials = 4\nmetric = "test_accuracy"'),
         "metric is 'test_accuracy'; expected one of validation_accuracy, validation_loss"),
        (RANDOM.replace("trials = 4", "trials = 4\nfolds = 1"), "folds is 1; expected 2 or more"),
        (RANDOM.replace("trials = 4", "trials = 4\nrepeats = 0"), "repeats is 0"),
        (RANDOM.replace("trials = 4", "trials = 4\nseed = -1"), "seed is -1"),
        (RANDOM.replace("trials = 4", 'trials = 4\nname = "../x"'), "name is '../x'"),
        (RANDOM.replace("small.toml", "smal.toml"), "smal.toml: cannot be read"),
        (RANDOM.replace('"optimizer.lr"', '"optimizer.rl"'),
         "optimizer.rl: no such key; did you mean 'optimizer.l2'|'optimizer.lr'"),
        (RANDOM.replace('"optimizer.lr"', "optimizer.lr"),
         r'space.optimizer: is a section; write its keys in quotes: \[space."optimizer.lr"\]'),
        (RANDOM.replace("log_uniform", "loguniform"), "did you mean 'log_uniform'"),
        (RANDOM.replace("low = 1e-3", "low = 0"), "low is 0; expected more than 0"),
        (RANDOM.replace("low = 1e-3", "low = 2"), "low is 2 and high is 1; expected low < high"),
        (RANDOM.replace("low = 1e-3", ""), "give low and high"),
        (RANDOM.replace('kind = "log_uniform"', ""), "add kind = 'uniform'"),
        (RANDOM.replace("log_uniform", "int"), "expected integers"),
        (RANDOM.replace("log_uniform", "choice").replace("low = 1e-3\nhigh = 1.0", ""),
         "give values"),
        (RANDOM + '[settings]\n"optimizer.momentum" = 0.5\n',
         "settings: .*optimizer.momentum does nothing under optimizer.kind = 'sgd'|"
         "optimizer.momentum does nothing under optimizer.kind = 'sgd'"),
        (RANDOM + '[space."optimizer.beta1"]\nvalues = [0.8, 0.9]\n',
         "space: optimizer.beta1 does nothing under optimizer.kind = 'sgd'; leave it out, or set"),
        (RANDOM + '[space."optimizer.kind"]\nvalues = ["momentum", "sgd"]\n'
         '[space."optimizer.momentum"]\nvalues = [0.8, 0.9]\n',
         "space: optimizer.momentum does nothing under optimizer.kind = 'sgd'"),
        (RANDOM.replace("optimizer.lr", "batch_size"), "batch_size is 0.001, a float"),
        (RANDOM + '[settings]\n"optimizer.lr" = 1\n', r"optimizer.lr is in \[settings\] and in"),
        (RANDOM + "[settings.optimizer]\nl2 = 1\n", 'in quotes: "optimizer.l2" = ...'),
        (RANDOM + "[settings]\nepoch = 1\n", "settings: epoch: no such key; did you mean 'epochs'"),
        (RANDOM + "[finer]\ntrials = 3\nbest = 1\n", "finer: best is 1; expected 2 or more"),
        (RANDOM + "[finer]\nbest = 3\n", "finer.trials: missing"),
        (GRID.replace("values = [50, 100]", 'kind = "int"\nlow = 1\nhigh = 2'),
         "space.batch_size: kind is 'int', but method 'grid' visits points; give values"),
        (GRID.replace("[50, 100]", "[50, 50]"), "expected each value once"),
        (GRID.replace("[50, 100]", "[]"), "nothing to choose from"),
        (GRID.replace("[50, 100]", "[50, [1]]"), r"values holds \[1\]"),
        (GRID.replace("[50, 100]", "[50, 100.5]"), "batch_size is 100.5"),
        (GRID + "[finer]\ntrials = 3\n", "a grid has no finer stage"),
        ('recipe = "small.toml"\ntrials = 2\n', "there is no key to vary"),
    ],
)  # fmt: skip
def test_a_wrong_search_file_is_named_with_the_fix(search, text, told):
    with pytest.raises(SearchError, match=told) as caught:
        search(text)
    assert re.match(r"search \S+tried.toml: ", str(caught.value))


# ---- what is drawn ---------------------------------------------------------------------------

WIDE = {
    "optimizer.l2": Dimension("log_uniform", 1e-5, 1e-1),
    "optimizer.momentum": Dimension("uniform", 0.5, 1.0),
    "layers.0.filters": Dimension("int", 3, 6),
    "optimizer.kind": Dimension("choice", values=("sgd", "adam", "adamw")),
}


@pytest.fixture
def stage(search, tmp_path):
    """Makes stages of a search; those of one file are one study, one without a file is alone."""

    def stage(text=RANDOM, space=None, wanted=4, file=None, *, is_shared=False):
        definition = search(text).definition
        url = "sqlite://" if file is None else f"sqlite:///{tmp_path / file}"
        storage = open_storage(url, is_shared=is_shared)
        return Stage(storage, definition, 0, space or definition.space, wanted, {"search": text})

    return stage


def exhaust(stage, score=lambda settings: 0.5):
    """Ask for all trials and tell a score for each; the settings by index."""
    while (asked := stage.ask()) is not None:
        number, settings = asked
        stage.tell(number, "completed", [score(settings)], 0.1, "")
    return {trial.index: trial.settings for trial in stage.finished()}


def test_a_grid_visits_every_combination_exactly_once(stage):
    drawn = exhaust(stage(GRID, wanted=12))
    visited = [tuple(settings.values()) for settings in drawn.values()]
    every = itertools.product([0.1, 0.2, 0.4], [50, 100], ["sgd", "adam"])
    assert visited == list(every)


def distance(draws):
    """The largest distance between the draws' distribution and the even one on [0, 1]."""
    ordered = np.sort(draws)
    steps = np.arange(ordered.size + 1) / ordered.size
    return max(np.abs(ordered - steps[:-1]).max(), np.abs(ordered - steps[1:]).max())


def test_random_draws_are_spread_as_they_should_be(stage):
    drawn = list(exhaust(stage(space=WIDE, wanted=150)).values())
    l2 = np.array([settings["optimizer.l2"] for settings in drawn])
    momentum = np.array([settings["optimizer.momentum"] for settings in drawn])
    # Kolmogorov and Smirnov's limit for a share of 1 % of false alarms.
    limit = 1.63 / math.sqrt(len(drawn))
    assert distance((np.log10(l2) + 5) / 4) < limit
    assert distance((momentum - 0.5) / 0.5) < limit
    assert distance((l2 - 1e-5) / (1e-1 - 1e-5)) > limit  # which an even draw would not exceed
    # One key says nothing of another.
    assert abs(np.corrcoef(np.log10(l2), momentum)[0, 1]) < 3 / math.sqrt(len(drawn))
    filters = [settings["layers.0.filters"] for settings in drawn]
    kinds = [settings["optimizer.kind"] for settings in drawn]
    for values, every in ((filters, {3, 4, 5, 6}), (kinds, {"sgd", "adam", "adamw"})):
        assert set(values) == every
        # 150 draws of 3 or 4: each count is within 5 deviations of its mean.
        share = 1 / len(every)
        std = math.sqrt(150 * share * (1 - share))
        assert all(abs(values.count(v) - 150 * share) < 5 * std for v in every)


def test_another_seed_draws_other_points(stage):
    drawn = [
        exhaust(stage(RANDOM.replace("trials = 4", f"trials = 4\nseed = {seed}")))
        for seed in (0, 1)
    ]
    assert not {s["optimizer.lr"] for s in drawn[0].values()} & {
        s["optimizer.lr"] for s in drawn[1].values()
    }


@pytest.mark.parametrize("text", [RANDOM, GRID], ids=["random", "grid"])
def test_an_interrupted_study_has_the_points_of_one_that_was_not(stage, text):
    expected = exhaust(stage(text, wanted=8))
    broken = stage(text, wanted=8, file="broken")
    asked = [broken.ask() for _ in range(5)]
    for number, _ in asked[:3]:
        broken.tell(number, "completed", [0.5], 0.1, "")
    # Two were at work when it was killed.
    again = stage(text, wanted=8, file="broken")
    again.fail_interrupted(is_alone=True)
    assert exhaust(again) == expected
    assert len(again.finished()) == 8


@pytest.mark.parametrize("text", [RANDOM, GRID], ids=["random", "grid"])
def test_two_machines_share_the_points_of_one(stage, text):
    expected = exhaust(stage(text, wanted=7))
    machines = [stage(text, wanted=7, file="both", is_shared=True) for _ in range(2)]
    at_work = []
    for turn in itertools.count():
        machine = machines[turn % 2]
        asked = machine.ask()
        if asked is None:
            break
        at_work.append((machine, asked[0]))
        if len(at_work) > 3:
            machine, number = at_work.pop(0)
            machine.tell(number, "completed", [0.5], 0.1, "")
    # All are taken, though four of them are not finished yet.
    assert [machine.ask() for machine in machines] == [None, None]
    for machine, number in at_work:
        machine.tell(number, "completed", [0.5], 0.1, "")
    for machine in machines:
        assert machine.is_complete()
        assert {trial.index: trial.settings for trial in machine.finished()} == expected


def test_the_trial_of_a_machine_that_died_is_made_again(stage, monkeypatch):
    monkeypatch.setattr(study_module, "_HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(study_module, "_GRACE_SECONDS", 2)
    dead, alive = (stage(wanted=1, file="both", is_shared=True) for _ in range(2))
    _, settings = dead.ask()
    alive.fail_interrupted(is_alone=False)
    assert alive.ask() is None  # it may well live
    time.sleep(3.2)
    alive.fail_interrupted(is_alone=False)
    assert alive.ask()[1] == settings


def test_more_trials_go_on_from_those_there_are(stage):
    few = exhaust(stage(wanted=3, file="one"))
    more = exhaust(stage(wanted=6, file="one"))
    assert {index: more[index] for index in range(3)} == few
    assert len({settings["optimizer.lr"] for settings in more.values()}) == 6


def test_tpe_goes_where_scores_are_good(stage):
    def score(settings):
        return -abs(math.log10(settings["optimizer.l2"]) + 3)  # best at 1e-3

    space = {"optimizer.l2": WIDE["optimizer.l2"]}
    text = RANDOM.replace("trials = 4", 'trials = 4\nmethod = "tpe"')
    drawn = exhaust(stage(text, space, 60), score)
    away = [-score(drawn[index]) for index in range(20, 60)]
    # Even draws over [-5, -1] are 1 away on average, and that of 40 has a std of 0.09.
    assert np.mean(away) < 0.7


def test_another_search_of_the_same_name_is_refused(stage):
    stage(RANDOM, file="one")
    with pytest.raises(SearchError, match=r"is another, whose search is .*--out"):
        stage(RANDOM + "# another\n", file="one")


def test_a_data_base_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(SearchError, match=r"--storage sqlite:.*cannot be opened") as caught:
        open_storage(f"sqlite:///{tmp_path}/absent/x.sqlite3", is_shared=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(SearchError, match="cannot be opened") as caught:
        open_storage("nonsense://anna:secret@host/name", is_shared=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("dimension", "best", "expected"),
    [
        (Dimension("log_uniform", 1e-5, 1), [0.1, 0.01, 0.05], (0.01, 0.1)),
        (Dimension("int", 1, 9), [4, 7, 4], (4, 7)),
        (Dimension("int", 1, 9), [4, 4], (4,)),
        (Dimension(values=("a", "b", "c")), ["c", "a"], ("a", "c")),
    ],
)
def test_the_finer_range_is_spanned_by_the_best(dimension, best, expected):
    assert dimension.narrowed(best).ends() == expected


NEEDS_CYTHON = pytest.mark.skipif(
    not backend_state("cython").works, reason="needs a backend whose bits no thread changes"
)

# ---- how a trial is judged -------------------------------------------------------------------


def trained(search, settings=None, dataset=None, monkeypatch=None, **config):
    if dataset is not None:
        monkeypatch.setattr(worker, "load_dataset", lambda recipe, data_dir: dataset)
    return Trainings(WorkerConfig(search, **config)).train(Task(0, settings or {}))


@pytest.mark.parametrize("metric", ["validation_accuracy", "validation_loss"])
def test_a_score_is_that_of_the_training_by_hand(search, write, tmp_path, metric):
    text = RANDOM.replace("trials = 4", f'trials = 4\nrepeats = 2\nmetric = "{metric}"')
    found = search(text + "[settings]\nevaluate_train = true\n")
    done = trained(found, {"optimizer.lr": 0.3, "batch_size": 50})
    assert done.state == "completed"
    of_training = metric.replace("validation", "train") + "_final"
    pairs = zip(done.scores, done.training_scores, strict=True)
    for seed, (score, training_score) in enumerate(pairs):
        arguments = [
            "--recipe", str(tmp_path / "small.toml"), "--set", "optimizer.lr=0.3",
            "--batch-size", "50", "--seed", str(seed), "--out", str(tmp_path / str(seed)),
            "--quiet", "--no-report", "--threads", "1", "--set", "evaluate_train=true",
        ]  # fmt: skip
        assert train(arguments) == 0
        summary = json.loads((tmp_path / str(seed) / "summary.json").read_text())
        assert (summary[metric], summary[of_training]) == (score, training_score)
    assert len(set(done.scores)) == 2


def test_training_samples_are_judged_only_where_that_is_asked_for(search):
    assert trained(search(RANDOM)).training_scores == ()


def test_the_gap_is_training_score_less_score():
    trial = Trial(0, 0, {}, "completed", (0.5, 0.6), 1.0, training_scores=(0.9, 0.8))
    assert trial.training_score == pytest.approx(0.85)
    assert trial.gap == pytest.approx((0.4 + 0.2) / 2)
    assert trial.gap_spread == pytest.approx(0.2 / math.sqrt(2))
    for other in (
        dataclasses.replace(trial, training_scores=()),
        dataclasses.replace(trial, state="pruned", scores=(0.5,)),
    ):
        assert (other.gap, other.gap_spread) == (None, None)


def test_looking_at_every_line_changes_no_score(search):
    found = search(RANDOM)
    lines = []
    trainings = Trainings(WorkerConfig(found, reports_records=True))
    done = trainings.train(Task(0, {}), lambda line, value: lines.append((line, value)))
    assert done.scores == trained(found).scores
    assert [line for line, _ in lines] == [0, 1]
    assert lines[-1][1] == done.scores[0]


def test_without_pruning_nothing_is_told_before_the_end(search):
    lines = []
    trainings = Trainings(
        WorkerConfig(search(RANDOM.replace("trials = 4", "trials = 4\nrepeats = 2")))
    )
    done = trainings.train(Task(0, {}), lambda line, value: lines.append(line))
    assert (done.state, lines) == ("completed", [])


@NEEDS_CYTHON
def test_repeats_go_side_by_side_where_there_are_threads_to_the_same_scores(search, monkeypatch):
    found = search(RANDOM.replace("trials = 4", "trials = 4\nrepeats = 3"))
    threads = []

    def recorded(recipe, **given):
        threads.append(given["config"].threads)
        return prepare(recipe, **given)

    monkeypatch.setattr(worker, "prepare", recorded)
    scores = [trained(found, execution=ExecutionConfig("cython", threads=n)).scores for n in (1, 3)]
    assert threads == [1] * 6  # three at once, on a thread each
    assert scores[0] == scores[1]
    assert len(set(scores[0])) == 3


def test_a_card_trains_the_repeats_of_a_trial_in_one_launch(search, monkeypatch):
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    found = search(RANDOM.replace("trials = 4", "trials = 4\nrepeats = 3"))
    with standing_in(HostDevice()) as device:
        done = trained(found, {}, execution=ExecutionConfig("cupy"))
    together = [grid[1] for _, kernel, grid, _ in device.launched if "block_steps" in kernel]
    assert max(together) == 3
    expected = trained(found, {}, execution=ExecutionConfig("numpy", 1))
    assert done.state == expected.state == "completed"
    np.testing.assert_allclose(done.scores, expected.scores, atol=0.05)
    assert len(done.scores) == 3


@NEEDS_CYTHON
def test_settings_that_do_not_fit_are_impossible_side_by_side_too(search):
    found = search(RANDOM.replace("trials = 4", "trials = 4\nrepeats = 3"))
    config = ExecutionConfig("cython", threads=2)
    assert trained(found, {"batch_size": 10**6}, execution=config).state == "impossible"


def numbered(samples=60, classes=3):
    """Images that know their own number."""
    labels = np.arange(samples) % classes
    images = np.arange(samples, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, axis=3)
    part = Samples(images, labels.astype(np.int64))
    names = tuple("abc"[:classes])
    return Dataset("numbered", part, part.take([0]), names, part.take([1]))


def test_folds_are_disjoint_and_cover_the_training_part():
    dataset = numbered()
    held_out = []
    for fold in folds_of(dataset, 5, seed=3):
        kept, judged = (
            part.images[:, 0, 0, 0].tolist() for part in (fold.training, fold.validation)
        )
        assert sorted(kept + judged) == list(range(60))
        # Each class has its share.
        assert np.bincount(fold.validation.labels).tolist() == [4, 4, 4]
        held_out += judged
    assert sorted(held_out) == list(range(60))


def test_a_fold_is_judged_by_what_it_holds_out(search, monkeypatch):
    from sklearn.model_selection import StratifiedKFold

    found = search(RANDOM.replace("trials = 4", "trials = 4\nfolds = 3\nseed = 5"))
    dataset = load("digits")
    done = trained(found)
    divider = StratifiedKFold(3, shuffle=True, random_state=5)
    parts = divider.split(np.zeros(len(dataset.training)), dataset.training.labels)
    expected = []
    for kept, judged in parts:
        fold = Dataset(
            "digits", dataset.training.take(kept), dataset.test, dataset.class_names,
            dataset.training.take(judged),
        )  # fmt: skip
        experiment = prepare(found.recipe({}), dataset=fold, config=ExecutionConfig(threads=1))
        fit(experiment.trainer, experiment.steps)
        expected.append(experiment.trainer.evaluate(fold.validation).accuracy)
    assert list(done.scores) == expected


class Untouchable:
    """A test part that nobody may look at."""

    def __getattribute__(self, name):
        raise AssertionError(f"somebody looked at {name} of the test part")


@pytest.mark.parametrize("folds", [0, 3])
def test_the_test_part_is_not_looked_at(search, monkeypatch, folds):
    dataset = load("digits")
    object.__setattr__(dataset, "test", Untouchable())
    with pytest.raises(AssertionError, match="somebody looked"):
        _ = dataset.test.images
    found = search(RANDOM.replace("trials = 4", f"trials = 4\nfolds = {folds}"))
    done = trained(found, {}, dataset, monkeypatch, reports_records=True)
    assert done.state == "completed"


def test_a_search_without_samples_to_judge_by_says_how_to_get_some(search):
    found = search(RANDOM + '[settings]\n"data.validation" = 0\n')
    with pytest.raises(SearchError, match=r'"data.validation" = N in \[settings\], or folds = 5'):
        Trainings(WorkerConfig(found)).check({})
    # Folds are enough.
    folded = search(
        RANDOM.replace("trials = 4", "trials = 4\nfolds = 2")
        + '[settings]\n"data.validation" = 0\n'
    )
    config = ExecutionConfig("numpy", 1)
    assert Trainings(WorkerConfig(folded, execution=config)).check({}) == "numpy"


def test_a_regression_has_no_accuracy(search, monkeypatch):
    dataset = dataclasses.replace(line(), validation=line().test)
    monkeypatch.setattr(worker, "load_dataset", lambda recipe, data_dir: dataset)
    with pytest.raises(SearchError, match=r"line is a regression.*metric = 'validation_loss'"):
        Trainings(WorkerConfig(search(RANDOM))).check({})


def test_more_folds_than_samples_are_refused(search, monkeypatch):
    monkeypatch.setattr(worker, "load_dataset", lambda recipe, data_dir: numbered())
    found = search(RANDOM.replace("trials = 4", "trials = 4\nfolds = 61"))
    with pytest.raises(SearchError, match="folds is 61"):
        Trainings(WorkerConfig(found)).check({})


def test_a_training_that_diverges_is_an_answer(search):
    found = search(RANDOM)
    with np.errstate(all="ignore"):
        done = trained(found, {"optimizer.lr": 1e39}, execution=ExecutionConfig("numpy", 1))
    assert (done.state, done.scores) == ("diverged", ())


def test_settings_that_fit_no_network_are_an_answer(search):
    done = trained(search(RANDOM), {"layers.1.units": 9})
    assert done.state == "impossible"
    assert "10 classes" in done.reason
    done = trained(search(RANDOM), {"batch_size": 100_000})
    assert done.state == "impossible"


@pytest.mark.parametrize(("order", "state"), [(Prune(0), "pruned"), (Stop(), None)])
def test_a_trial_that_is_given_up_says_why(search, order, state):
    trainings = Trainings(WorkerConfig(search(RANDOM)))
    assert trainings.train(Task(0, {}), reason_to_stop=lambda: order).state == state


def test_the_data_are_loaded_once(search, monkeypatch):
    loaded = []

    def counted(recipe, data_dir):
        loaded.append(recipe.data.validation_seed)
        return shades()

    monkeypatch.setattr(worker, "load_dataset", counted)
    config = WorkerConfig(search(RANDOM), execution=ExecutionConfig("numpy", 1))
    trainings = Trainings(config)
    fits = {"layers.1.units": 3, "batch_size": 20}
    for rate in (0.1, 0.2, 0.3):
        assert trainings.train(Task(0, {**fits, "optimizer.lr": rate})).state == "completed"
    assert loaded == [None]
    trainings.train(Task(0, {**fits, "data.validation_seed": 3}))
    assert loaded == [None, 3]


def test_trials_worse_than_the_median_are_pruned(stage):
    found = stage(wanted=8)
    for score in (0.5, 0.6, 0.7, 0.8, 0.9):
        number, _ = found.ask()
        assert not found.report(number, 0, score)
        found.tell(number, "completed", [score], 0.1, "")
    number, _ = found.ask()
    assert found.report(number, 0, 0.65)  # below 0.7
    found.tell(number, "pruned", [], 0.1, "")
    number, _ = found.ask()
    assert not found.report(number, 0, 0.75)
    assert [trial.score for trial in found.finished()] == [0.5, 0.6, 0.7, 0.8, 0.9, None]


# ---- side by side ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "jobs", "threads", "expected"),
    [(8, None, None, 8), (8, None, 3, 2), (8, 3, None, 3), (8, 2, 4, 2), (1, None, None, 1)],
)
def test_there_are_never_more_threads_than_cores(cores, jobs, threads, expected):
    assert share_cores(cores, jobs, threads, on_device=False) == expected


def test_one_gpu_has_one_job_unless_asked():
    assert share_cores(8, None, None, on_device=True) == 1
    assert share_cores(8, 2, None, on_device=True) == 2


@pytest.mark.parametrize(
    ("jobs", "threads", "told"),
    [
        (9, None, "--jobs 9 with 1 thread each are 9 threads.* 8 cores; give --jobs 8$"),
        (4, 3, "--jobs 4 with 3 threads each are 12 .*give --jobs 2 or --threads 2$"),
        (None, 9, "--threads is 9 but there are 8 cores"),
    ],
)
def test_more_threads_than_cores_are_refused_with_the_fix(jobs, threads, told):
    with pytest.raises(SearchError, match=told):
        share_cores(8, jobs, threads, on_device=False)


def test_a_worker_that_is_killed_is_one_line(search):
    with Pool(WorkerConfig(search(RANDOM)), 1) as pool:
        (process,) = (each.process for each in pool._workers)
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        with pytest.raises(SearchError, match=r"ended with code -9 .*memory.*fewer --jobs"):
            list(pool.messages(10))


def test_a_worker_gives_the_trial_up_that_it_is_told_to(search):
    endless = {"epochs": 10**7}
    with Pool(WorkerConfig(search(RANDOM), reports_records=True), 1) as pool:
        while not pool.has_free_worker():
            assert list(pool.messages(10)) == []
        pool.start(Task(7, endless))
        (worker_of_7,) = pool._workers
        worker_of_7.connection.send(Prune(6))  # of a trial that is over
        first = next(iter(pool.messages(10)))
        assert (first.number, first.line) == (7, 0)
        assert pool.running == [7]
        pool.prune(7)
        while pool.running:
            *_, last = pool.messages(10)
        assert (last.number, last.state) == (7, "pruned")
        # And takes the next one.
        pool.start(Task(8, {}))
        while pool.running:
            *_, last = pool.messages(10)
        assert (last.number, last.state) == (8, "completed")


# ---- the command -----------------------------------------------------------------------------

STAGES = (
    RANDOM.replace("trials = 4", "trials = 5\nrepeats = 2")
    + '[space."optimizer.kind"]\nvalues = ["sgd", "momentum"]\n[finer]\ntrials = 3\nbest = 2\n'
    + "[settings]\nevaluate_train = true\n"
)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search of two stages: its folder, and the arguments that made it."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "small.toml").write_text(TINY_RECIPE, encoding="utf-8")
    (folder / "two.toml").write_text(STAGES, encoding="utf-8")
    arguments = [str(folder / "two.toml"), "--out", str(folder / "out"), "--jobs", "1"]
    assert command.main([*arguments, "--quiet", "--json", str(folder / "two.json")]) == 0
    return folder / "out", arguments


def test_a_search_writes_every_trial(searched):
    folder, _ = searched
    found = rows(folder / "trials.csv")
    assert [(row["stage"], row["trial"]) for row in found] == [
        *(("0", str(n)) for n in range(5)), *(("1", str(n)) for n in range(3))
    ]  # fmt: skip
    for row in found:
        scores = [float(score) for score in row["scores"].split()]
        assert len(scores) == 2
        assert float(row["score"]) == pytest.approx(sum(scores) / 2)
        # The std of two numbers.
        assert float(row["spread"]) == pytest.approx(abs(scores[0] - scores[1]) / math.sqrt(2))
        training_scores = [float(score) for score in row["training_scores"].split()]
        assert float(row["training_score"]) == pytest.approx(sum(training_scores) / 2)
        gaps = [mine - other for mine, other in zip(training_scores, scores, strict=True)]
        assert float(row["gap"]) == pytest.approx(sum(gaps) / 2)


def test_the_finer_stage_is_among_the_best_of_the_first(searched):
    found = rows(searched[0] / "trials.csv")
    first, finer = ([row for row in found if row["stage"] == stage] for stage in "01")
    # Of equal scores the earlier trial.
    best = sorted(first, key=lambda row: (-float(row["score"]), int(row["trial"])))[:2]
    low, high = sorted(float(row["optimizer.lr"]) for row in best)
    assert all(low <= float(row["optimizer.lr"]) <= high for row in finer)
    kinds = {row["optimizer.kind"] for row in best}
    assert {row["optimizer.kind"] for row in finer} <= kinds


def test_the_summary_has_the_best(searched):
    folder, _ = searched
    summary = json.loads((folder / "summary.json").read_text())
    best = max(float(row["score"]) for row in rows(folder / "trials.csv"))
    assert summary["best"]["score"] == best
    assert summary["finished"] == summary["wanted"] == 8
    assert json.loads((folder.parent / "two.json").read_text()) == summary


def test_the_definition_that_is_written_is_the_search_again(searched):
    folder, _ = searched
    written = tomllib.loads((folder / "search.toml").read_text())
    assert written["space"]["optimizer.lr"] == {"kind": "log_uniform", "low": 1e-3, "high": 1.0}
    assert (written["trials"], written["finer"]) == (5, {"trials": 3, "best": 2})


def test_the_page_shows_the_best_and_every_key(searched):
    folder, _ = searched
    text = (folder / "search.html").read_text(encoding="utf-8")
    sections = re.findall(r'<section id="([^"]+)"', text)
    assert sections == ["what-was-tried", "best", "by-key", "together", "trials"]
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    best = max(float(row["score"]) for row in rows(folder / "trials.csv"))
    assert f"<dd>{100 * best:.2f} %</dd>" in text
    names = {"by-optimizer-lr", "by-optimizer-kind", "parallel-coordinates"}
    names |= {"gap-by-optimizer-lr", "gap-by-optimizer-kind"}
    assert {path.stem for path in (folder / "figures").iterdir()} == names
    for name in names:
        with Image.open(folder / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 400
    drawn = rows(folder / "figures" / "by-optimizer-lr.csv")
    tried = rows(folder / "trials.csv")
    for key in ("optimizer.lr", "score", "spread"):
        assert [row[key] for row in drawn] == [row[key] for row in tried]
    drawn = rows(folder / "figures" / "gap-by-optimizer-lr.csv")
    for key in ("optimizer.lr", "training_score", "gap", "gap_spread"):
        assert [row[key] for row in drawn] == [row[key] for row in tried]
    least, most = sorted(tried, key=lambda row: float(row["gap"]))[:: len(tried) - 1]
    ends = [f"{100 * float(row['gap']):.2f} %" for row in (least, most)]
    assert re.search(f"from {ends[0]} at [0-9.]+ to {ends[1]} at", text)


def test_a_finished_search_trains_nothing_again(searched, monkeypatch, capsys):
    folder, arguments = searched
    files = [folder / name for name in ("trials.csv", "summary.json", "search.html")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()

    class NoPool:
        def __init__(self, config, jobs):
            raise AssertionError("workers were started")

    monkeypatch.setattr("fastconv.search.engine.Pool", NoPool)
    assert command.main([*arguments, "--json", "-"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["finished"] == 8
    assert "5 trials, 5 of them there already" in shown.err
    assert [file.read_bytes() for file in files] == before


def test_another_search_does_not_go_on_there(searched, capsys):
    _, arguments = searched
    before = (searched[0] / "search.toml").read_bytes()
    assert command.main([*arguments, "--set", "epochs=3"]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"fastconv.search: .*recipe.epochs is 2, not 3; .*--out.*\n", told)
    assert (searched[0] / "search.toml").read_bytes() == before


def test_a_folder_where_a_search_is_at_work_is_left_alone(searched, capsys):
    from fastconv.search.folder import SearchFolder

    folder, arguments = searched
    with SearchFolder(folder).alone():
        assert command.main(arguments) == 2
    assert "another search is at work there" in capsys.readouterr().err


def test_a_folder_of_other_files_is_left_alone(write, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    assert command.main([write(RANDOM), "--out", str(tmp_path / "full")]) == 2
    assert "holds other files (thesis.tex)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["search.lock", "search.toml", "study.sqlite3"])
def test_nothing_is_written_through_a_link_in_the_folder_of_a_search(tmp_path, capsys, name):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "search.toml").write_text("")
    (tmp_path / "out" / name).unlink(missing_ok=True)
    (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    assert command.main(["cifar10-mlp-lambda", "--out", str(tmp_path / "out")]) == 2
    assert f"its {name} is a link" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "precious"


def start(arguments):
    """The command as a person starts it: a group of processes that Ctrl-C reaches together."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "fastconv.search", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(command.__file__).parents[2])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def group_is_gone(number):
    for _ in range(50):
        try:
            os.killpg(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_stops_every_worker_and_the_same_command_goes_on(write, tmp_path):
    text = RANDOM.replace("trials = 4", "trials = 6") + "[settings]\nepochs = 150\n"
    jobs = str(min(2, available_cores()))
    arguments = [write(text), "--out", str(tmp_path / "out"), "--jobs", jobs]
    running = start(arguments)
    for shown in running.stdout:
        if shown.startswith("[1/6]"):
            break
    os.killpg(running.pid, signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.fullmatch(r"fastconv.search: interrupted after [1-5] of 6 trials; .*\n", told)
    assert group_is_gone(running.pid)
    before = rows(tmp_path / "out" / "trials.csv")
    assert (tmp_path / "out" / "search.html").exists()

    assert command.main([*arguments, "--quiet"]) == 0
    after = rows(tmp_path / "out" / "trials.csv")
    assert [row["trial"] for row in after] == list("012345")
    assert all(row in after for row in before)  # not trained again: the seconds are the same
    # The points of a search that was not interrupted.
    rates = [float(row["optimizer.lr"]) for row in after]
    storage = open_storage("sqlite://", is_shared=False)
    definition = load_search(arguments[0]).definition
    whole = exhaust(Stage(storage, definition, 0, definition.space, 6, {}))
    assert rates == [settings["optimizer.lr"] for settings in whole.values()]


def test_a_worker_does_not_outlive_the_command(write, tmp_path):
    text = RANDOM.replace("trials = 4", "trials = 100") + "[settings]\nepochs = 150\n"
    running = start([write(text), "--out", str(tmp_path / "out"), "--jobs", "1"])
    for shown in running.stdout:
        if shown.startswith("[1/100]"):
            break
    running.kill()
    running.communicate(timeout=60)
    assert group_is_gone(running.pid)


def test_two_commands_share_one_study(write, tmp_path):
    text = RANDOM.replace("trials = 4", "trials = 6") + "[settings]\nepochs = 150\n"
    file, url = write(text), f"sqlite:///{tmp_path / 'shared'}"
    outs = [tmp_path / name for name in ("one", "other")]
    both = [
        start([file, "--jobs", "1", "--storage", url, "--out", str(out), "--prune"]) for out in outs
    ]
    for each in both:
        _, told = each.communicate(timeout=120)
        assert (each.returncode, told) == (0, "")
    found = [rows(out / "trials.csv") for out in outs]
    assert [row["trial"] for row in found[0]] == list("012345")
    assert found[0] == found[1]
    assert not (outs[0] / "study.sqlite3").exists()


def test_a_search_that_cannot_be_made_is_one_line(write, tmp_path, capsys):
    text = RANDOM + '[settings]\n"data.validation" = 0\n'
    assert command.main([write(text), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"fastconv.search: recipe small holds no samples out.*\n", told)


def test_a_search_without_a_result_says_so(write, tmp_path, capsys):
    text = GRID.replace("[50, 100]", "[5000]").replace("[0.1, 0.2, 0.4]", "[0.1]")
    assert command.main([write(text), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert re.fullmatch(
        r"fastconv.search: no trial came to a result; the first of them: batch size is 5000.*\n",
        told,
    )
    assert {row["state"] for row in rows(tmp_path / "out" / "trials.csv")} == {"impossible"}


def test_without_optuna_the_command_says_what_to_install(write, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert command.main([write(RANDOM)]) == 2
    told = capsys.readouterr().err
    assert told == (
        "fastconv.search: needs optuna, which is not installed; pip install 'fastconv[search]'\n"
    )


def test_searches_are_listed(capsys):
    assert command.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^{name}  ", shown, flags=re.M) for name in search_names())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say which search"),
        (["cifar10-mlp-lamda"], "did you mean 'cifar10-mlp-lambda'"),
        (["absent.toml"], "absent.toml: cannot be read"),
        (["--jobs", "100000", "regression-selu-folds"], "give --jobs"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, told, capsys):
    try:
        code = command.main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert told in shown


# ---- the pictures ----------------------------------------------------------------------------


def test_a_page_without_a_result_has_its_trials(search):
    trial = Trial(0, 0, {"optimizer.lr": 0.1}, "diverged", (), 1.0)
    page = search_page(Outcome(search(RANDOM), (trial,), 4))
    assert [section.name for section in page.sections] == ["what-was-tried", "best", "trials"]


def test_points_lie_at_their_values():
    series = {"a": ([1e-3, 1e-2], [0.4, math.nan]), "b": ([1e-1], [0.5], [0.1])}
    axes = plots.accuracy_against(series, xlabel="l2", log=True)
    drawn = {each.get_label(): each.get_xydata().tolist() for each in axes.get_lines()}
    assert drawn["a"] == [[1e-3, 0.4]]
    assert drawn["b"] == [[1e-1, 0.5]]
    (bar,) = axes.collections[0].get_segments()  # type: ignore[attr-defined]
    np.testing.assert_allclose(bar, [[0.1, 0.4], [0.1, 0.6]])
    assert axes.get_xscale() == "log"
    axes.figure.draw_without_rendering()
    texts = [label.get_text() for label in axes.get_xticklabels()]
    assert {"0.001", "0.01", "0.1"} <= set(texts)


def test_trials_of_one_named_value_stand_side_by_side():
    series = {"": (["x", "y", "x", "x"], [1, 2, 3, 4])}
    axes = plots.accuracy_against(series, xlabel="kind", percent=False, names=["y", "x"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["y", "x"]
    places = axes.get_lines()[0].get_xdata()
    np.testing.assert_allclose(places, [0.68, 0, 1, 1.32])


@pytest.mark.parametrize(
    ("series", "told"),
    [
        ({"a": ([1, 2], [1])}, "scores of a has 1 values but values of a has 2"),
        ({"a": ([1],)}, "a has 1 sequences; expected 2 or 3"),
        ({"a": ([0.0], [1])}, "holds 0.0; expected more than 0"),
    ],
)
def test_wrong_points_are_named(series, told):
    with pytest.raises(ValueError, match=told):
        plots.accuracy_against(series, xlabel="x", log=True)


def test_lines_go_through_the_values_of_a_trial():
    columns = {"lr": [0.01, 0.1, 1.0], "kind": ["sgd", "adam", "sgd"]}
    axes = plots.parallel_coordinates(columns, [0.0, 0.5, 1.0], log=["lr"], best=[2])
    trials = [each for each in axes.get_lines() if each.get_gid() is None]
    heights = [each.get_ydata().tolist() for each in trials]
    np.testing.assert_allclose(heights, [[0, 0, 0], [0.5, 1, 0.5], [1, 0, 1]])
    widths = [each.get_linewidth() for each in trials]
    assert widths[2] > 2 * widths[0] == 2 * widths[1]
    texts = {text.get_text() for text in axes.texts}
    assert {"0.01", "0.1", "1", "sgd", "adam", "0 %", "100 %", "lr"} <= texts


@pytest.mark.parametrize(
    ("columns", "more", "told"),
    [
        ({"a": [1, 2]}, {}, "column a has 2 values but there are 1 scores"),
        ({"a": [0]}, {"log": ["a"]}, "column a holds 0.0; expected more than 0"),
        ({"a": [1]}, {"best": [1]}, "best holds 1; expected 0 to 0"),
    ],
)
def test_wrong_columns_are_named(columns, more, told):
    with pytest.raises(ValueError, match=told):
        plots.parallel_coordinates(columns, [0.5], **more)


def test_pictures_without_a_score_say_so():
    for axes in (
        plots.accuracy_against({"a": ([1], [math.nan])}, xlabel="x"),
        plots.parallel_coordinates({"a": [1]}, [math.nan]),
    ):
        assert "no data" in {text.get_text() for text in axes.texts}
