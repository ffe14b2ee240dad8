"""Recipes: what a file says is what is run, and what it says wrongly is named."""

import dataclasses
import math
import re
import tomllib

import pytest
import tomli_w

from fastconv.initializers import Glorot, He, LeCun, Normal
from fastconv.layers import (
    LAYERS,
    OWN_KINDS,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    Residual,
    Scale,
)
from fastconv.network import Sequential
from fastconv.preprocessing import Augmentation
from fastconv.recipe import (
    InitializationSection,
    Recipe,
    ScheduleSection,
    load_recipe,
    load_written_recipe,
    parse_setting,
    recipe_names,
    set_key,
)
from fastconv.recipes.schema import RecipeError, nearest
from fastconv.schedules import Constant, Cosine, Cyclic, Exponential, OneCycle, Step

HEAD = "epochs = 2\n"
LAYERS_OF_FILE = """
[[layers]]
kind = "flatten"
[[layers]]
kind = "dense"
units = 10
"""


def write(folder, text):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def load_text(folder, text, *settings):
    return load_recipe(write(folder, text), settings)


# The recipes that are shipped.


def test_the_recipes_that_are_promised_are_there():
    assert {"digits", "mnist-strided", "cifar10-deep", "lenet5"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load_and_describe_themselves(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    assert len(recipe.make_layers()) == len(recipe.layers)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_written_out_in_full_is_the_same_recipe(name, tmp_path):
    recipe = load_recipe(name)
    again = load_text(tmp_path, tomli_w.dumps(recipe.table()))
    assert again.make_layers() == recipe.make_layers()
    assert again.table() == recipe.table()


def test_the_report_behind_cifar10_deep_is_followed():
    recipe = load_recipe("cifar10-deep")
    layers = [layer for layer in recipe.make_layers() if not isinstance(layer, LeakyReLU)]
    assert [layer.filters for layer in layers if isinstance(layer, Conv2D)] == [32, 32, 64, 64]
    assert [layer.units for layer in layers if isinstance(layer, Dense)] == [256, 10]
    assert recipe.batch_size == 1
    assert recipe.optimizer.kind == "sgd"
    assert recipe.optimizer.lr == 0.005


def test_lenet5_has_the_sizes_of_the_paper():
    recipe = load_recipe("lenet5")
    network = Sequential(recipe.make_layers(), input_shape=(28, 28, 1))
    convolutions = 5 * 5 * 1 * 6 + 6, 5 * 5 * 6 * 16 + 16
    dense = 4 * 4 * 16 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10
    assert network.parameter_count == sum(convolutions + dense) == 44426
    sizes = [shape[0] for shape in network.shapes if len(shape) == 3]
    assert list(dict.fromkeys(sizes)) == [28, 24, 12, 8, 4]
    assert (recipe.batch_size, recipe.epochs) == (32, 10)
    assert (recipe.optimizer.kind, recipe.optimizer.lr) == ("adam", 3e-4)
    assert recipe.data.dataset == "mnist"


# Reading.


def test_what_is_left_out_has_its_default(tmp_path):
    recipe = load_text(tmp_path, HEAD + LAYERS_OF_FILE)
    assert recipe.name == "mine"  # the file's
    assert recipe.epochs == 2
    assert recipe.steps is None
    assert recipe.batch_size == 32
    assert recipe.seed == 0
    assert recipe.data.dataset == "digits"
    assert recipe.make_layers() == (Flatten(), Dense(10))


def test_the_full_table_names_every_key_that_does_something(tmp_path):
    table = load_text(tmp_path, HEAD + LAYERS_OF_FILE).table()
    keys = {field.name for field in dataclasses.fields(Recipe)}
    # The options of a loss stand in its own section.
    assert keys - set(table) == {
        "steps", "validate_every", "loss_options", "average_weights", "momentum_schedule", "shards",
        "sync_batch_norm",
    }  # fmt: skip
    assert table["optimizer"] == {
        "kind": "sgd", "l2": 0.0, "weight_decay": 0.0, "decay_mode": "coupled",
        "decay_biases": False, "lr": 0.01, "groups": [],
    }  # fmt: skip
    assert table["schedule"] == {"kind": "constant"}


def test_integers_are_numbers_too(tmp_path):
    recipe = load_text(tmp_path, HEAD + "[optimizer]\nlr = 1\n" + LAYERS_OF_FILE)
    assert recipe.optimizer.lr == 1.0
    assert isinstance(recipe.optimizer.lr, float)


def test_lists_in_a_layer_are_pairs(tmp_path):
    text = '[[layers]]\nkind = "conv2d"\nfilters = 3\nkernel = [3, 5]\npadding = [[0, 1], [2, 3]]\n'
    (layer,) = load_text(tmp_path, HEAD + text).make_layers()
    assert layer.output_shape((8, 9, 1)) == (7, 10, 3)


def test_every_layer_can_be_named_in_a_recipe(tmp_path):
    kinds = ("conv2d", "conv_transpose2d", "conv1d", "separable_conv2d")
    own: dict = {kind: {"filters": 3} for kind in kinds}
    own |= {"dense": {"units": 3}, "group_norm": {"num_groups": 3}}
    own |= {"reshape": {"shape": [4, 3]}, "permute": {"dims": [2, 0, 1]}}
    inner = [{"kind": "relu"}]
    own |= {"residual": {"layers": inner}, "scale": {"layers": inner}}
    own |= {"concatenate": {"branches": [inner, []]}}
    own |= {"graph": {"steps": [{"name": "bent", "reads": ["input"], "layer": inner[0]}]}}
    kinds = [kind for kind in LAYERS if kind in OWN_KINDS]
    tables = [{"kind": kind, **own.get(kind, {})} for kind in kinds]
    recipe = load_text(tmp_path, tomli_w.dumps({"epochs": 1, "layers": tables}))
    assert [type(layer) for layer in recipe.make_layers()] == [LAYERS[kind] for kind in kinds]


NESTED_LAYERS = """
epochs = 1
[[layers]]
kind = "residual"
layers = [
    { kind = "conv2d", filters = 4, padding = 1 },
    { kind = "scale", layers = [{ kind = "global_avg_pool2d" }, { kind = "dense", units = 4 }] },
]
shortcut = [{ kind = "conv2d", filters = 4, kernel = 1 }]
[[layers]]
kind = "concatenate"
branches = [[{ kind = "conv2d", filters = 2, kernel = 1 }], []]
[[layers]]
kind = "global_avg_pool2d"
"""


def test_layers_of_layers_are_tables_in_lists(tmp_path):
    recipe = load_text(tmp_path, NESTED_LAYERS)
    assert recipe.make_layers() == (
        Residual(
            [Conv2D(4, padding=1), Scale([GlobalAvgPool2D(), Dense(4)])], shortcut=[Conv2D(4, 1)]
        ),
        Concatenate([Conv2D(2, 1)], []),
        GlobalAvgPool2D(),
    )
    assert recipe.make_network((8, 8, 3)).output_shape == (6,)


def test_layers_of_layers_are_written_with_every_key(tmp_path):
    recipe = load_text(tmp_path, NESTED_LAYERS)
    written = recipe.table()["layers"]
    assert written[0]["layers"][0]["dilation"] == 1
    assert load_text(tmp_path, tomli_w.dumps(recipe.table())).make_layers() == recipe.make_layers()


def test_a_setting_reaches_a_layer_within_a_layer(tmp_path):
    (tmp_path / "mine.toml").write_text(NESTED_LAYERS, encoding="utf-8")
    settings = [("layers.0.layers.0.kernel", 1), ("layers.0.layers.0.padding", 0)]
    recipe = load_recipe(str(tmp_path / "mine.toml"), settings)
    assert recipe.make_layers()[0].branches[0].layers[0] == Conv2D(4, 1)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("kind = 'residual'", "layers.0.layers is missing; a layer of kind 'residual' needs it"),
        (
            "kind = 'residual'\nlayer = []",
            "layers.0.layer is unknown; a layer of kind 'residual' has layers or shortcut; did you "
            "mean 'layers'?",
        ),
        ("kind = 'scale'\nlayers = 3", "layers.0.layers is 3; expected a list of layers"),
        (
            "kind = 'scale'\nlayers = ['relu']",
            "layers.0.layers.0 is 'relu'; expected a layer, such as { kind = 'relu' }",
        ),
        (
            "kind = 'concatenate'\nbranches = [[{ kind = 'rleu' }]]",
            "layers.0.branches.0.0.kind is 'rleu'; expected one of",
        ),
        (
            "kind = 'scale'\nlayers = [{ kind = 'dense', unit = 3 }]",
            "layers.0.layers.0.unit",
        ),
    ],
)
def test_a_mistake_within_a_layer_is_named_by_its_path(table, told, tmp_path):
    with pytest.raises(RecipeError, match=re.escape(told)):
        load_text(tmp_path, f"epochs = 1\n[[layers]]\n{table}\n")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, He()),
        ({"kind": "he", "distribution": "uniform"}, He("uniform")),
        ({"kind": "normal", "std": 0.3}, Normal(0.3)),
        ({"kind": "glorot"}, Glorot("uniform")),
        ({"kind": "glorot", "distribution": "normal"}, Glorot("normal")),
        ({"kind": "lecun"}, LeCun("normal")),
    ],
)
def test_initialisers_by_their_names(section, expected):
    assert InitializationSection(**section).initializer() == expected


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, Constant(0.2)),
        ({"kind": "step", "every_epochs": 3, "factor": 0.5}, Step(0.2, 30, 0.5)),
        ({"kind": "exponential", "every_epochs": 0.5}, Exponential(0.2, 5, 0.1)),
        ({"kind": "exponential", "every_epochs": 1e-9}, Exponential(0.2, 1, 0.1)),
        ({"kind": "cosine", "final": 0.01}, Cosine(0.2, 100, 0.01)),
        ({"kind": "one_cycle", "rise": 0.4}, OneCycle(0.2, 100, 0.4)),
        ({"kind": "cyclic", "eta_max": 0.5, "n_s": 7}, Cyclic(1e-5, 0.5, 7)),
    ],
)
def test_schedules_by_their_names_count_epochs_in_steps(section, expected):
    assert ScheduleSection(**section).schedule(0.2, 10, 100) == expected


def test_augmentation_is_the_section_without_its_mode(tmp_path):
    text = '[augmentation]\nmode = "append"\nflip = true\nrotation = 15\n'
    recipe = load_text(tmp_path, HEAD + text + LAYERS_OF_FILE)
    assert recipe.augmentation.augmentation() == Augmentation(flip=True, rotation=15.0)


# Setting keys.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=0.1", ("optimizer.lr", 0.1)),
        ("optimizer.lr = 1e-3 ", ("optimizer.lr", 0.001)),
        ("epochs=3", ("epochs", 3)),
        ("loss=nll", ("loss", "nll")),
        ('loss="nll"', ("loss", "nll")),
        ("evaluate_train=true", ("evaluate_train", True)),
        ("layers.0.kernel=[3, 5]", ("layers.0.kernel", [3, 5])),
        ("name=a=b", ("name", "a=b")),
        ("name=", ("name", "")),
    ],
)
def test_settings_are_toml_or_else_strings(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["", "epochs", "=3", " = 3"])
def test_a_setting_without_a_key_and_a_value_is_refused(text):
    with pytest.raises(RecipeError, match="expected key=value"):
        parse_setting(text)


def test_set_keys_reach_every_part_of_a_recipe():
    recipe = load_recipe(
        "digits",
        [
            ("batch_size", 7),
            ("optimizer.lr", 0.5),
            ("data.validation_seed", 3),
            ("augmentation.flip", True),
            ("layers.0.filters", 5),
            ("layers.0.padding", "same"),
            ("preprocessing.mean", [0.5]),
            ("preprocessing.kind", "standardize"),
            ("preprocessing.std", [0.25]),
        ],
    )
    assert recipe.batch_size == 7
    assert recipe.optimizer.lr == 0.5
    assert recipe.data.validation_seed == 3
    assert recipe.augmentation.flip is True
    assert recipe.make_layers()[0] == Conv2D(5, 3, padding="same")
    assert recipe.preprocessing.mean == (0.5,)


def test_of_epochs_and_steps_the_one_that_is_set_replaces_the_other():
    recipe = load_recipe("digits", [("steps", 12)])
    assert (recipe.epochs, recipe.steps) == (None, 12)
    recipe = load_recipe("digits", [("steps", 12), ("epochs", 3)])
    assert (recipe.epochs, recipe.steps) == (3, None)


def test_the_last_setting_of_a_key_counts():
    assert load_recipe("digits", [("seed", 1), ("seed", 2)]).seed == 2


def test_setting_a_key_changes_the_table_in_place():
    table = {"layers": [{"kind": "dense", "units": 3}]}
    set_key(table, "layers.0.units", 4)
    set_key(table, "optimizer.lr", 0.5)
    assert table == {"layers": [{"kind": "dense", "units": 4}], "optimizer": {"lr": 0.5}}


# Mistakes.


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("optimizer.lrr", 1, "no such key; did you mean 'optimizer.lr'"),
        ("optimiser.lr", 1, "no such key; did you mean 'optimizer.lr'"),
        ("batchsize", 1, "no such key; did you mean 'batch_size'"),
        ("zzz", 1, "no such key; expected layers.NUMBER.KEY or one of name, .*schedule.n_s"),
        ("zzz.qqq", 1, "no such key"),
        ("optimizer", 1, "no such key"),
        ("optimizer.lr.x", 1, "optimizer.lr is a value, not a section"),
        ("layers.6.unit", 1, r"layers.6.unit: no such key; did you mean 'units'"),
        ("layers.6.units.x", 1, "layers.6.units is a value"),
        ("layers.7.units", 1, "there is no layers.7; expected 0 to 6"),
        ("layers.-1.units", 1, "there is no layers.-1"),
        ("layers.last.units", 1, "there is no layers.last"),
        ("layers.\N{SUPERSCRIPT TWO}.units", 1, "there is no layers"),
        ("layers.0", 1, "expected layers.NUMBER.KEY"),
        ("layers", 3, "layers is 3; expected a list"),
        ("layers", [3], "layers.0 is 3; expected a table"),
        ("layers.0.kind", "conv3d", "layers.0.kind is 'conv3d'.*did you mean 'conv2d'"),
        ("layers.0.kind", ["conv2d"], "layers.0.kind is"),
        ("layers.0.kind", 3, "layers.0.kind is 3"),
        ("layers.0.filters", "8", "layers.0.filters is '8', a str; expected an integer"),
        ("layers.0.filters", 8.0, "a float; expected an integer"),
        ("layers.0.filters", True, "a bool; expected an integer"),
        ("layers.0.bias", 1, "layers.0.bias is 1, an int; expected true or false"),
        ("optimizer.lr", "fast", "optimizer.lr is 'fast', a str; expected a number"),
        ("optimizer.lr", True, "a bool; expected a number"),
        ("optimizer.lr", math.nan, "optimizer.lr is nan; expected a finite number"),
        ("optimizer.lr", math.inf, "optimizer.lr is inf; expected a finite number"),
        ("optimizer.lr", 10**400, "optimizer.lr is too large"),
        ("optimizer.lr", -1, "optimizer.lr is -1.0; expected more than 0"),
        ("optimizer.lr", 0, "optimizer.lr is 0.0; expected more than 0"),
        ("optimizer.kind", "adamm", "did you mean 'adam'"),
        ("optimizer.beta1", 1, "optimizer.beta1 is 1.0; expected 0 or more, below 1"),
        ("optimizer.l2", math.inf, "optimizer.l2 is inf"),
        ("optimizer.weight_decay", -1, "optimizer.weight_decay is -1.0; expected 0 or more"),
        ("epochs", 0, "epochs is 0; expected 1 or more"),
        ("steps", -1, "steps is -1; expected 1 or more"),
        ("validate_every", 0, "validate_every is 0"),
        ("batch_size", 0, "batch_size is 0; expected 1 or more"),
        ("seed", -1, "seed is -1; expected 0 to"),
        ("seed", 2**64, "seed is 18446744073709551616; expected 0 to"),
        ("name", 3, "name is 3, an int; expected a string"),
        ("loss", "mse", "loss is 'mse'; expected one of softmax_cross_entropy, nll"),
        ("data.dataset", "mnits", "did you mean 'mnist'"),
        ("data.validation", -1, "data.validation is -1"),
        ("data.validation_seed", -1, "data.validation_seed is -1"),
        ("data.training_samples", 0, "data.training_samples is 0; expected 1 or more"),
        ("data.dark_intervals", [3], "data.dark_intervals.0 is 3; expected a list"),
        ("preprocessing.mean", 0.5, "preprocessing.mean is 0.5; expected a list"),
        ("preprocessing.kind", "scal", "did you mean 'scale'"),
        ("augmentation.crop", -1, "augmentation.crop is -1; expected an integer of 0 or more"),
        ("augmentation.rotation", 500, "augmentation.rotation is 500.0; expected 0 to 180"),
        ("schedule.final", -1, "schedule.final is -1.0; expected 0 or more"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(key, value, told):
    with pytest.raises(RecipeError, match=told) as caught:
        load_recipe("digits", [(key, value)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["optimizer.momentum=0.5"], "optimizer.momentum does nothing under optimizer.kind = "
         "'adam'; use optimizer.beta1, or set optimizer.kind to 'momentum', 'nesterov', 'rmsprop' "
         "or 'muon'"),
        (["optimizer.momentum=0.5", "optimizer.kind=sgd"],
         "optimizer.momentum does nothing under optimizer.kind = 'sgd'; leave it out, or set"),
        (["optimizer.kind=sgd", "optimizer.averaged=true"], "optimizer.averaged does nothing"),
        (["optimizer.kind=nesterov", "optimizer.beta1=0.8"], "use optimizer.momentum, or set "
         "optimizer.kind to 'adam', 'adamw', 'nadam', 'lamb' or 'muon'"),
        (["optimizer.kind=momentum", "optimizer.beta2=0.8"], "optimizer.beta2 does nothing"),
        (["optimizer.kind=sgd", "optimizer.epsilon=1e-6"], "optimizer.epsilon does nothing under"),
        (["optimizer.kind=adamw", "optimizer.decay_mode=coupled"],
         "use optimizer.weight_decay, which adamw decouples, or set optimizer.kind to 'sgd', "
         "'momentum', 'nesterov', 'adam', 'rmsprop', 'adagrad' or 'nadam'"),
        (["optimizer.kind=rmsprop", "optimizer.beta2=0.8"], "use optimizer.alpha, or set"),
        (["optimizer.kind=lamb", "optimizer.decay_mode=coupled"], "which lamb decouples"),
        (["optimizer.kind=sgd", "optimizer.nesterov=true"], "optimizer.nesterov does nothing"),
        (["optimizer.groups=[{names='x', frozen=true, rate_factor=2}]"],
         "optimizer.groups.0.rate_factor is 2.0; expected nothing beside frozen"),
        (["schedule.kind=plateau", "schedule.final=0.1"], "use schedule.least, or set"),
        (["schedule.power=2"], "schedule.power does nothing under schedule.kind = 'cosine'"),
        (["schedule.warmup_start=0.1"], "does nothing without schedule.warmup_epochs"),
        (["schedule.warmup_epochs=1", "schedule.warmup_start=2"],
         "schedule.warmup_start is 2.0; expected 0 to 1"),
        (["accumulate=0"], "accumulate is 0; expected 1 or more"),
        (["average_weights=1.0"], "average_weights is 1.0; expected a number between 0 and 1"),
        (["optimizer.lr=0.1", "schedule.kind=cyclic"], "optimizer.lr does nothing under "
         "schedule.kind = 'cyclic'; use schedule.eta_min and schedule.eta_max"),
        (["schedule.eta_max=0.1"], "schedule.eta_max does nothing under schedule.kind = 'cosine'; "
         "use optimizer.lr, or set schedule.kind to 'cyclic'"),
        (["schedule.kind=constant", "schedule.final=0.1"], "schedule.final does nothing under "
         "schedule.kind = 'constant'; leave it out, or set schedule.kind to 'cosine'"),
        (["schedule.kind=one_cycle", "schedule.final=0"], "use schedule.final_divisor, or set"),
        (["schedule.kind=one_cycle", "schedule.eta_min=0"], "use schedule.start_divisor, or set"),
        (["schedule.kind=cyclic", "schedule.rise=0.5"], "use schedule.n_s, or set"),
        (["schedule.kind=exponential", "schedule.n_s=5"], "schedule.n_s does nothing under"),
        (["schedule.factor=0.5"], "schedule.factor does nothing under schedule.kind = 'cosine'; "
         "leave it out, or set schedule.kind to 'step', 'exponential' or 'plateau'"),
        (["schedule.every_epochs=2"], "schedule.every_epochs does nothing under"),
        (["schedule.start_divisor=2"], "schedule.start_divisor does nothing under"),
        (["preprocessing.kind=min_max", "preprocessing.per=channel"],
         "preprocessing.per does nothing under preprocessing.kind = 'min_max'; leave it out, or "
         "set preprocessing.kind to 'standardize'"),
        (["preprocessing.mean=[0.5]"], "preprocessing.mean does nothing under"),
        (["preprocessing.std=[0.5]"], "preprocessing.std does nothing under"),
        (["preprocessing.kind=standardize", "preprocessing.mean=[0.5]"], "preprocessing.mean and "
         "preprocessing.std go together"),
        (["initialization.std=0.1"], "initialization.std does nothing under "
         "initialization.kind = 'he'; leave it out, or set initialization.kind to 'normal'"),
        (["initialization.kind=normal", "initialization.distribution=uniform"],
         "use initialization.std, or set initialization.kind to 'he', 'glorot' or 'lecun'"),
        (['data.training_batches=["data_batch_1"]'], "data.training_batches does nothing under "
         "data.dataset = 'digits'; leave it out, or set data.dataset to 'cifar10'"),
        (["data.dataset=mnist", "data.curve_seed=1"], "data.curve_seed does nothing under"),
        (["data.dataset=mnist", "data.training_noise=1"], "or set data.dataset to 'curve'"),
    ],
)  # fmt: skip
def test_a_key_that_does_nothing_is_named_with_what_does(settings, told):
    for order in (settings, settings[::-1]):
        with pytest.raises(RecipeError, match=re.escape(told)) as caught:
            load_recipe("digits", [parse_setting(text) for text in order])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("[optimizer]\nmomentum = 0.9\n", "optimizer.momentum does nothing under optimizer.kind"),
        ('[schedule]\nkind = "cyclic"\n[optimizer]\nlr = 0.1\n', "optimizer.lr does nothing"),
        ('[schedule]\nkind = "step"\nfinal = 0.1\n', "schedule.final does nothing under"),
        ("[schedule]\neta_max = 0.1\n", "schedule.eta_max does nothing under schedule.kind = 'con"),
        ('[preprocessing]\nper = "channel"\n', "preprocessing.kind = 'scale'"),
    ],
)
def test_in_a_file_too_even_with_the_value_that_it_would_have_anyway(tmp_path, section, told):
    with pytest.raises(RecipeError, match=told):
        load_text(tmp_path, HEAD + section + LAYERS_OF_FILE)


def test_another_kind_takes_the_keys_of_the_old_one_along():
    assert load_recipe("mnist-lenet").optimizer.momentum == 0.95
    recipe = load_recipe("mnist-lenet", [("optimizer.kind", "adam")])
    assert (recipe.optimizer.kind, recipe.optimizer.averaged) == ("adam", False)
    assert "momentum" not in recipe.table()["optimizer"]
    kept = load_recipe("mnist-lenet", [("optimizer.kind", "nesterov")])
    assert (kept.optimizer.momentum, kept.optimizer.averaged) == (0.95, True)
    recipe = load_recipe("cifar10-mlp-cyclic", [("schedule.kind", "cosine"), ("optimizer.lr", 0.2)])
    assert recipe.table()["schedule"] == {"kind": "cosine", "final": 0.0}
    assert recipe.table()["optimizer"]["lr"] == 0.2
    recipe = load_recipe("digits", [("schedule.kind", "cyclic")])
    assert "lr" not in recipe.table()["optimizer"]


def test_the_key_of_the_largest_rate_is_the_one_that_counts():
    assert load_recipe("digits").rate_key == "optimizer.lr"
    assert load_recipe("cifar10-mlp-cyclic").rate_key == "schedule.eta_max"


def test_a_recipe_that_an_earlier_version_wrote_with_every_key_is_read(tmp_path):
    table = load_recipe("cifar10-mlp-cyclic").table()
    table["optimizer"] |= {"lr": 0.01, "momentum": 0.9, "beta1": 0.9}
    table["schedule"] |= {"final": 0.0, "rise": 0.3}
    file = write(tmp_path, tomli_w.dumps(table))
    assert load_written_recipe(file).table() == load_recipe("cifar10-mlp-cyclic").table()
    with pytest.raises(RecipeError, match=r"optimizer\.momentum does nothing"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("step", "factor", 0),
        ("exponential", "factor", -1),
        ("step", "every_epochs", -1),
        ("one_cycle", "rise", 2),
        ("one_cycle", "start_divisor", 0),
        ("one_cycle", "final_divisor", -1),
        ("cyclic", "n_s", 0),
        ("cyclic", "eta_min", 1),
        ("cyclic", "eta_max", -1),
    ],
)
def test_impossible_schedules_are_found_before_anything_is_loaded(kind, key, value):
    with pytest.raises(RecipeError, match=rf"schedule\.({key}|eta_min) is"):
        load_recipe("digits", [("schedule.kind", kind), (f"schedule.{key}", value)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "layers: missing"),
        ("epochs = 1", "layers: missing"),
        ("this is no TOML", "not a TOML file"),
        ("epochs = 1\nepochs = 2\n" + LAYERS_OF_FILE, "not a TOML file"),
        (LAYERS_OF_FILE, "epochs is None and steps is None; a recipe has one of the two"),
        (HEAD + "steps = 3\n" + LAYERS_OF_FILE, "epochs is 2 and steps is 3"),
        (HEAD + "optimizer = 3\n" + LAYERS_OF_FILE, r"optimizer is 3; expected a table"),
        (HEAD + "[optimiser]\nlr = 1\n" + LAYERS_OF_FILE, "optimiser.*did you mean 'optimizer'"),
        (HEAD + "[optimizer]\nrate = 1\n" + LAYERS_OF_FILE, "optimizer.rate: no such key"),
        (HEAD + '[[layers]]\nkind = "dense"\n', "layers.0.units: missing"),
        (HEAD + '[[layers]]\nfilters = 3\n', "layers.0.kind is None"),
        (HEAD + '[[layers]]\nkind = "dense"\nunits = 3\nrate = 2\n', "layers.0.rate: no such key"),
        (HEAD + '[[layers]]\nkind = "leaky_relu"\nalpha = inf\n', "layers.0.alpha is inf"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, text, told):
    with pytest.raises(RecipeError, match=told) as caught:
        load_text(tmp_path, text)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(RecipeError, match=f"recipe {path}: cannot be read"):
            load_recipe(str(path))


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(RecipeError, match=r"'digit'; expected one of .*did you mean 'digits'\?"):
        load_recipe("digit")
    with pytest.raises(RecipeError, match=r"expected one of cifar10-94, .*, digits, lenet5, "):
        load_recipe("zzzzzz")


def test_nearest_names_nothing_that_is_far():
    assert nearest("epoch", ["epochs", "steps"]) == "; did you mean 'epochs'?"
    assert nearest("qqqqq", ["epochs", "steps"]) == ""


def test_the_written_table_is_toml(tmp_path):
    text = tomli_w.dumps(load_recipe("cifar10-deep").table())
    # The defaults are written too, so that the file keeps its meaning when they change.
    assert tomllib.loads(text)["layers"][0] == {
        "kind": "conv2d",
        "filters": 32,
        "kernel": 3,
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
        "bias": True,
    }
