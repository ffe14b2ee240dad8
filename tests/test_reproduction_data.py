"""What is reproduced: the figures are those of the reports, the commands make what they say."""

import shlex

import pytest

from fastconv import train
from fastconv.recipe import load_recipe
from fastconv.reproduce.claims import MEASURES, claims
from fastconv.reproduce.comparisons import comparisons_of
from fastconv.reproduce.systems import reports, systems
from fastconv.reproduce.verdicts import outcome_of

# As in the reports, in percent; losses as they are.
STATED = {
    "mnist-strided": {"test_accuracy": 87.182, "train_accuracy": 86.589},
    "mnist-strided-l2": {"test_accuracy": 89.640, "train_accuracy": 87.259},
    "cifar10-strided": {"test_accuracy": 28.32},
    "cifar10-deep": {"test_accuracy": 55.119},
    "cifar10-deep-l2": {"test_accuracy": 75.230, "train_accuracy": 78.212},
    "cifar10-deep-weak-l2": {},
    "cifar10-deep-tuned": {"test_accuracy": 75.230},
    "cifar10-softmax": {},
    "cifar10-softmax-fast": {},
    "cifar10-softmax-eta-1": {},
    "cifar10-softmax-l2": {},
    "cifar10-softmax-l2-strong": {},
    "mnist-lenet": {
        "test_accuracy": 97.93, "validation_accuracy": 97.16, "train_accuracy_final": 97.62,
    },
    "cifar10-lenet": {"test_accuracy": 48},
    "cifar10-lenet-improved": {
        "test_accuracy": 55.0, "validation_accuracy": 56.52, "train_accuracy_final": 59.69,
    },
    "regression-selu": {"test_loss": 0.38, "train_loss_final": 0.19},
    "regression-relu": {},
    "mnist-batchnorm": {"test_accuracy": 99.3},
    "cifar10-mlp-one-cycle": {"test_accuracy": 46.17, "train_accuracy_final": 60.37},
    "cifar10-mlp-three-cycles": {"test_accuracy": 46.9, "train_accuracy_final": 71.67},
    "cifar10-mlp-cyclic": {"test_accuracy": 53.1, "train_accuracy_final": 63.5},
    "cifar10-mlp-cyclic-12-epochs": {"test_accuracy": 53.1, "train_accuracy_final": 63.5},
    "cifar10-mlp-weak-l2": {},
    "cifar10-mlp-strong-l2": {},
    "cifar10-mlp-overfit": {"train_accuracy_final": 97.83},
    "cifar10-mlp-overfit-slow": {"train_accuracy_final": 97.83},
}  # fmt: skip
SYSTEMS = {system.name: system for system in systems()}


def test_the_stated_figures_are_those_of_the_reports():
    assert set(SYSTEMS) == set(STATED)
    for name, figures in STATED.items():
        percent = {
            figure: 100 * value if "accuracy" in figure else value
            for figure, value in SYSTEMS[name].stated.items()
        }
        assert percent == pytest.approx(figures), name


def test_stated_times_are_for_the_whole_training():
    # 44 s for each 1000 of 55000 steps, 13 hours for each of 10 epochs.
    for name in ("mnist-strided", "mnist-strided-l2"):
        assert SYSTEMS[name].seconds == 44 * 55
    for name in ("cifar10-deep", "cifar10-deep-l2"):
        assert SYSTEMS[name].seconds == 13 * 3600 * 10


def test_variants_are_the_recipes_with_the_readings_that_the_reports_name():
    def difference(name):
        found, plain = SYSTEMS[name].load(), load_recipe(SYSTEMS[name].recipe_name)
        return (
            {"lr": found.optimizer.lr, "l2": found.optimizer.l2, "epochs": found.epochs},
            {"lr": plain.optimizer.lr, "l2": plain.optimizer.l2, "epochs": plain.epochs},
        )

    assert difference("cifar10-softmax-eta-1") == (
        {"lr": 1.0, "l2": 0.0, "epochs": 40}, {"lr": 0.1, "l2": 0.0, "epochs": 40},
    )  # fmt: skip
    assert difference("cifar10-mlp-cyclic-12-epochs")[0]["epochs"] == 12
    assert difference("cifar10-mlp-overfit-slow")[0]["lr"] == 0.001
    assert difference("cifar10-mlp-weak-l2")[0]["l2"] == 0.001
    assert difference("cifar10-mlp-strong-l2")[0]["l2"] == 0.1


@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
@pytest.mark.parametrize("name", STATED)
def test_the_command_of_a_system_trains_its_recipe(name, quick):
    words = shlex.split(SYSTEMS[name].command(3, quick=quick))
    assert words[:3] == ["python", "-m", "fastconv.train"]
    options = train.make_parser().parse_args(words[3:])
    trained = load_recipe(options.recipe, train._settings(options))
    assert trained == SYSTEMS[name].load(3, quick=quick)
    assert trained.seed == 3


def test_quick_runs_are_shorter_and_ask_for_more_than_chance():
    for system in systems():
        full, quick = system.load(), system.load(quick=True)
        assert (quick.epochs or 0, quick.steps or 0) <= (full.epochs or 0, full.steps or 0)
        bound = system.quick.at_least
        assert system.quick.at_most == 2.0 if bound is None else bound >= 0.15


def test_the_regressions_have_five_seeds():
    assert {name for name, system in SYSTEMS.items() if system.seeds == 5} == {
        "regression-selu", "regression-relu",
    }  # fmt: skip


def test_claims_name_systems_and_reports_that_there_are():
    letters = {report.name for report in reports()}
    assert letters == set("ABCDE") == {claim.report for claim in claims()}
    assert len({claim.name for claim in claims()}) == len(claims()) == 26
    for claim in claims():
        assert set(claim.systems) <= set(SYSTEMS), claim.name
    assert {claim.measure for claim in claims()} == set(MEASURES)


def test_the_compared_variations_are_those_of_the_reports(tmp_path):
    found = {comparison.name: comparison for comparison in comparisons_of(systems())}
    assert set(found) == {
        "stride", "filter-size", "depth", "filters", "dense-width", "dropout", "batch-size",
        "batch-norm", "pooling", "regression-size",
    }  # fmt: skip

    def recipes(name):
        comparison = found[name]
        return {
            variation.label: comparison.wanted(variation, 0, tmp_path, full=True).recipe
            for variation in comparison.variations
        }

    assert [recipe.batch_size for recipe in recipes("batch-size").values()] == [16, 64, 128]
    assert [recipe.layers[10]["units"] for recipe in recipes("dense-width").values()] == [
        100, 300, 1000,
    ]  # fmt: skip
    kinds = {
        label: [layer["kind"] for layer in recipe.layers]
        for name in ("depth", "batch-norm", "pooling")
        for label, recipe in recipes(name).items()
    }
    assert (kinds["2 convolutions"].count("conv2d"), kinds["3 convolutions"].count("conv2d")) == (
        2, 3,
    )  # fmt: skip
    assert (kinds["without"].count("batch_norm"), kinds["with"].count("batch_norm")) == (0, 3)
    assert (kinds["stride 2"].count("max_pool2d"), kinds["max pooling"].count("max_pool2d")) == (
        0, 2,
    )  # fmt: skip
    sizes = [
        [layer["units"] for layer in recipe.layers if layer["kind"] == "dense"]
        for recipe in recipes("regression-size").values()
    ]
    assert (sizes[0], sizes[-1]) == ([128, 128, 128, 1], [16, 64, 1])


def test_variations_are_shortened_unless_in_full(tmp_path):
    (comparison,) = (c for c in comparisons_of(systems()) if c.name == "batch-size")
    variation = comparison.variations[0]
    short = comparison.wanted(variation, 2, tmp_path, full=False)
    full = comparison.wanted(variation, 2, tmp_path, full=True)
    assert short.recipe.epochs < full.recipe.epochs
    assert (short.recipe.seed, short.path) == (
        2, tmp_path / "comparisons" / "batch-size" / "16-seed2",
    )  # fmt: skip


# Whether what is stated is reached.


@pytest.mark.parametrize(
    ("name", "values", "result", "words"),
    [
        ("mnist-lenet", [0.9793], "reached", "reached"),
        ("mnist-lenet", [0.97], "missed", "missed by 0.93 points"),
        ("mnist-lenet", [0.97, 0.99], "reached", "reached"),  # 98 on average
        ("mnist-lenet", [None], "missed", "missed: it diverged"),
        ("mnist-lenet", [], "not run", "\N{EN DASH}"),
        ("cifar10-softmax", [0.4], "not stated", "not stated"),
        ("regression-selu", [0.1], "not comparable", "not comparable, because the report's data"),
        ("cifar10-mlp-overfit", [49 / 50], "reached", "reached"),
        ("cifar10-mlp-overfit", [48 / 50], "missed", "missed by 1.83 points"),
    ],
)
def test_outcomes_say_by_how_much_a_figure_is_missed(name, values, result, words):
    outcome = outcome_of(SYSTEMS[name], values)
    assert outcome.result == result
    assert outcome.words.startswith(words)


def test_what_is_missed_for_a_known_reason_says_it():
    outcome = outcome_of(SYSTEMS["cifar10-deep-l2"], [0.42])
    assert outcome.missed_by == pytest.approx(0.3323)
    assert outcome.words.startswith("missed by 33.23 points (as stated the penalty takes")
