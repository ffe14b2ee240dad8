"""Groups of parameters with learning rates of their own: steps by hand, runs, recipes, pages."""

import numpy as np
import pytest

from fastconv import check_step, load_recipe
from fastconv.backends.selection import backend_state
from fastconv.data import Samples, epoch_order
from fastconv.layers import Dense, Tanh
from fastconv.momentum_schedules import LinearMomentum
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.recipe import load_written_recipe, read_recipe
from fastconv.recipes.schema import RecipeError
from fastconv.report.training_sections import learning_rate
from fastconv.runs.saved_run import load_run
from fastconv.schedules import Constant, Cosine, Plateau, Step, Warmup
from fastconv.spec import SpecError
from fastconv.train import main
from fastconv.trainer import Trainer

BACKENDS = [name for name in ("numpy", "numba", "cython") if backend_state(name).works]
FEATURES, CLASSES, BATCH, STEPS = 5, 3, 4, 11
SCHEDULE, MOMENTA = Step(0.05, every=4, factor=0.5), LinearMomentum(0.5, 0.9, STEPS)
OF_BIASES, OF_FIRST = Cosine(0.4, STEPS), Warmup(Constant(0.2), 5)
GROUPS = (
    ParameterGroup("*.bias", schedule=OF_BIASES, rate_factor=0.5),
    ParameterGroup("dense_1.*", schedule=OF_FIRST, weight_decay=0.1),
)


def make_samples(dtype="float64"):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(22, 1, 1, FEATURES)).astype(dtype)
    return Samples(images, generator.integers(0, CLASSES, 22))


def make_network(dtype="float64"):
    layers = [Dense(4), Tanh(), Dense(4), Tanh(), Dense(CLASSES)]
    return Sequential(layers, (FEATURES,), seed=3, dtype=dtype)


def make_trainer(backend, *, dtype="float64", kind="sgd", groups=GROUPS, **options):
    optimizer = Optimizer(kind, groups=groups)
    return Trainer(
        make_network(dtype), make_samples(dtype), loss="softmax_cross_entropy",
        optimizer=optimizer, schedule=SCHEDULE, seed=9, backend=backend,
        **{"batch_size": BATCH, **options},
    )  # fmt: skip


def train(trainer, steps=STEPS, at_once=5):
    while trainer.step < steps:
        trainer.train(min(at_once, steps - trainer.step, trainer.steps_left_in_epoch()))
    trainer.update_network()
    return trainer


def by_hand(momenta=None):
    """Parameters after the steps of gradient descent, with velocities where there are momenta."""
    network, samples = make_network(), make_samples()
    arrays = network.named_arrays()
    velocity = {name: np.zeros_like(array) for name, array in arrays.items()}
    for step in range(STEPS):
        chosen = epoch_order(22, 9, step // 5)[step % 5 * BATCH :][:BATCH]
        _, flat = network.value_and_gradient(
            None, samples.images[chosen], samples.labels[chosen], backend="numpy"
        )  # fmt: skip
        for name, place in network.places.items():
            g = flat[place.offset : place.end].reshape(arrays[name].shape)
            rate = SCHEDULE.rates([step])[0]
            if name.endswith("bias"):
                rate = 0.5 * OF_BIASES.rates([step])[0]
            elif name.startswith("dense_1"):
                rate, g = OF_FIRST.rates([step])[0], g + 0.1 * arrays[name]
            kept = 0.0 if momenta is None else momenta.momenta([step])[0]
            velocity[name] = kept * velocity[name] + g
            arrays[name] -= rate * velocity[name]
    return network


def assert_close(trainer, network):
    for name, array in trainer.network.named_arrays().items():
        np.testing.assert_allclose(array, network[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at_once", [1, 5])
def test_each_group_goes_by_its_own_schedule(backend, at_once):
    assert_close(train(make_trainer(backend), at_once=at_once), by_hand())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at_once", [1, 5])
def test_a_scheduled_momentum_is_that_of_all(backend, at_once):
    trainer = make_trainer(backend, kind="momentum", momentum_schedule=MOMENTA)
    assert_close(train(trainer, at_once=at_once), by_hand(MOMENTA))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options", [{"accumulate": 2, "batch_size": 2}, {"shards": 2}, {"average": 0.9}], ids=str
)
def test_so_they_do_beside_other_options(options, backend):
    assert_close(train(make_trainer(backend, **options)), by_hand())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "muon", "lamb"])
def test_a_group_with_the_schedule_of_the_others_changes_no_bit(kind, backend):
    group = ParameterGroup("dense_2.*", schedule=SCHEDULE)
    found = train(make_trainer(backend, kind=kind, groups=(group,), dtype="float32"))
    plain = ParameterGroup("dense_2.*")
    expected = train(make_trainer(backend, kind=kind, groups=(plain,), dtype="float32"))
    np.testing.assert_array_equal(found.network.parameters, expected.network.parameters)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_goes_on_from_a_checkpoint_bit_for_bit(backend, tmp_path):
    whole = train(make_trainer(backend, kind="adam", dtype="float32"))
    begun = train(make_trainer(backend, kind="adam", dtype="float32"), 7)
    begun.save_checkpoint(tmp_path / "c.safetensors")
    rest = make_trainer(backend, kind="adam", dtype="float32")
    rest.load_checkpoint(tmp_path / "c.safetensors")
    train(rest)
    np.testing.assert_array_equal(rest.network.parameters, whole.network.parameters)
    schedules = begun.checkpoint().state["trainer"]["group_schedules"]
    assert schedules == [repr(OF_BIASES), repr(OF_FIRST)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_reference_makes_the_same_steps(backend):
    samples = make_samples("float32")
    check = check_step(
        make_network("float32"), samples.images[:8], Optimizer("momentum", groups=GROUPS),
        samples.labels[:8], rate=0.1, steps=4, backend=backend, verbose=False,
    )  # fmt: skip
    assert check.passed


def test_a_factor_of_all_rates_is_one_of_the_groups_too():
    trainer = make_trainer("numpy")
    before = trainer.rates_and_momenta([0, 3])
    trainer.rate_factor = 0.5
    np.testing.assert_allclose(trainer.rates_and_momenta([0, 3]), before / 2)
    assert before.shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ParameterGroup("*", schedule=Plateau(0.1)), "schedule is Plateau.*plateau is for"),
        (lambda: ParameterGroup("*", schedule=Warmup(Plateau(0.1), 3)), "a function of the step"),
        (lambda: ParameterGroup("*", schedule="cosine"), "schedule is 'cosine'; expected a Sched"),
        (lambda: ParameterGroup("*", schedule=-1.0), "lr is -1.0; expected more than 0"),
        (lambda: ParameterGroup("*", frozen=True, schedule=0.1), "schedule is .*nothing beside"),
    ],
)
def test_what_a_group_cannot_have_is_an_error(make, said):
    with pytest.raises(SpecError, match=said):
        make()


# Recipes, runs and pages


OF_RECIPE = [
    ("optimizer.groups", [
        {"names": "*.bias", "schedule": {"kind": "cosine", "final": 0.001}, "lr": 0.3},
        {"names": "dense_1.*", "lr": 0.02},
        {"names": "dense_2.*", "rate_factor": 2.0},
    ]),
    ("schedule.kind", "step"), ("schedule.every_epochs", 2.0),
]  # fmt: skip


def test_a_recipe_says_the_rates_of_its_groups(tmp_path):
    recipe = load_recipe("digits", OF_RECIPE)
    lr = recipe.optimizer.lr
    of_biases, of_first = recipe.make_optimizer(10, 100).schedules
    assert of_biases == Cosine(0.3, 100, 0.001)
    assert of_first == Step(0.02, 20, 0.1)
    assert recipe.schedule.schedule(lr, 10, 100) == Step(lr, 20, 0.1)
    assert recipe.make_optimizer(10, 100).groups[2] == ParameterGroup("dense_2.*", 2.0)
    again = read_recipe(recipe.table())
    assert again.table() == recipe.table()
    assert again.optimizer == recipe.optimizer
    plain = load_recipe("digits")
    assert plain.make_optimizer(10, 100) is plain.optimizer


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"schedule": {"kind": "plateau"}}, r"'\*.bias' is a plateau; expected a function of the"),
        ({"schedule": {"kind": "cyclic"}, "lr": 0.1}, "lr of .* does nothing under .*'cyclic'"),
        ({"lr": 0.0}, "lr is 0.0; expected more than 0"),
        ({"lr": 0.1, "frozen": True}, "lr is 0.1; expected nothing beside frozen"),
        ({"schedule": {"kind": "constant", "final": 0.1}},
         "groups.0.schedule.final does nothing under"),
        ({"schedule": 0.1}, "groups.0.schedule is 0.1; expected a table"),
    ],
)  # fmt: skip
def test_mistakes_in_a_recipe_are_named(group, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe("digits", [("optimizer.groups", [{"names": "*.bias", **group}])])


def test_a_run_saves_them_shows_them_and_goes_on_bit_for_bit(tmp_path, capsys):
    groups = "optimizer.groups=[{names='*.bias', lr=0.3, schedule={kind='cosine'}}]"
    options = ["--quiet", "--backend", "numpy", "--set", groups]
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    assert main(["--recipe", "digits", "--steps", "40", "--out", str(whole), *options]) == 0
    assert main(["--recipe", "digits", "--steps", "25", "--out", str(begun), *options]) == 0
    assert main(["--resume", str(begun), "--steps", "40", "--quiet"]) == 0
    capsys.readouterr()
    recipe = load_written_recipe(whole / "recipe.toml")
    assert recipe.optimizer.groups[0].schedule.kind == "cosine"
    weights = "weights.safetensors"
    assert (whole / weights).read_bytes() == (begun / weights).read_bytes()
    picture = learning_rate(load_run(whole))
    assert picture.numbers.columns == ("step", "learning_rate", "*.bias")
    assert picture.numbers.rows[0][2] == pytest.approx(0.3)
    assert "*.bias" in picture.drawing.html("rate", "rates")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_may_have_two_schedules(backend):
    # Plain gradient descent updates a layer's weight and bias together where it can.
    groups = tuple(
        ParameterGroup(f"*.{name}", schedule=Constant(rate))
        for name, rate in (("weight", 0.1), ("bias", 0.3))
    )
    of_both = train(make_trainer(backend, groups=groups), 1)
    start = make_network().named_arrays()
    for name, rate in (("weight", 0.1), ("bias", 0.3)):
        alike = train(make_trainer(backend, groups=(ParameterGroup("*", schedule=rate),)), 1)
        for key, array in of_both.network.named_arrays().items():
            if key.endswith(name):
                np.testing.assert_array_equal(array, alike.network[key], err_msg=key)
                assert (array != start[key]).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"frozen": True}], ids=str)
def test_groups_of_one_rule_pass_the_check_of_plans(options, backend, monkeypatch):
    monkeypatch.setenv("FASTCONV_CHECK", "1")
    trainer = make_trainer(backend, groups=(ParameterGroup("dense_2.*", **options),))
    before = make_network()["dense_2.weight"].copy()
    train(trainer)
    is_frozen = (trainer.network["dense_2.weight"] == before).all()
    assert is_frozen == ("frozen" in options)
