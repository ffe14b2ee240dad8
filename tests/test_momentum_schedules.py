"""Schedules of the momentum, and slow weights: 20 steps against PyTorch and a loop by hand."""

import numpy as np
import pytest
from optional_torch import needs_torch, torch

from fastconv.backends.selection import backend_state
from fastconv.data import Samples, epoch_order
from fastconv.execution.checkpoint import CheckpointError
from fastconv.layers import Dense, Flatten, Tanh
from fastconv.momentum_schedules import CosineMomentum, LinearMomentum, OneCycleMomentum
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.recipe import load_recipe, read_recipe
from fastconv.schedules import Cosine
from fastconv.spec import SpecError
from fastconv.step_check.check import check_step
from fastconv.trainer import Trainer

BATCH, STEPS, CLASSES = 8, 20, 3
BACKENDS = [name for name in ("numpy", "numba", "cython") if backend_state(name).works]
SCHEDULE = Cosine(0.1, STEPS, 0.01)
MOMENTA = OneCycleMomentum(STEPS, 0.4, 0.5, 0.9)


def make_samples():
    generator = np.random.default_rng(0)
    return Samples(generator.normal(size=(32, 3, 2, 1)), generator.integers(0, CLASSES, 32))


def make_trainer(backend, optimizer, momenta=None, dtype="float64"):
    network = Sequential(
        [Flatten(), Dense(4), Tanh(), Dense(CLASSES)], (3, 2, 1), seed=3, dtype=dtype
    )
    return Trainer(
        network, make_samples(), loss="softmax_cross_entropy", optimizer=optimizer,
        schedule=SCHEDULE, batch_size=BATCH, seed=9, backend=backend, momentum_schedule=momenta,
    )  # fmt: skip


def train(trainer, steps=STEPS):
    while trainer.step < steps:
        trainer.train(min(steps - trainer.step, trainer.steps_left_in_epoch()))
    return trainer


def loss_of(p, step):
    samples = make_samples()
    chosen = epoch_order(32, 9, step // 4)[step % 4 * BATCH :][:BATCH]
    x = torch.from_numpy(samples.images[chosen]).flatten(1)
    x = torch.tanh(x @ p["dense_1.weight"] + p["dense_1.bias"])
    scores = x @ p["dense_2.weight"] + p["dense_2.bias"]
    return torch.nn.functional.cross_entropy(scores, torch.from_numpy(samples.labels[chosen]))


def trained_by_torch(make_optimizer, before_step=lambda group, step: None, after_step=None):
    network = make_trainer("numpy", Optimizer()).network
    p = {
        name: torch.from_numpy(array.copy()).requires_grad_()
        for name, array in network.named_arrays().items()
    }
    optimizer = make_optimizer(p.values())
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(p, step).backward()
        for group in optimizer.param_groups:
            group["lr"] = SCHEDULE.rates([step])[0]
            before_step(group, step)
        optimizer.step()
        if after_step is not None:
            after_step(p, step)
    return {name: each.detach().numpy() for name, each in p.items()}


def assert_equal(trainer, expected):
    for name, array in trainer.network.named_arrays().items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-9, err_msg=name)


def momentum_by_hand(step):
    """Half a cosine from 0.9 to 0.5 over 8 steps, and back over 12."""
    share = step / 8 if step < 8 else (step - 8) / 12
    start, end = (0.9, 0.5) if step < 8 else (0.5, 0.9)
    return end + (start - end) * (1 + np.cos(np.pi * share)) / 2


def test_momenta_are_those_worked_out_by_hand():
    wanted = [momentum_by_hand(step) for step in range(STEPS)]
    np.testing.assert_allclose(MOMENTA.momenta(range(STEPS)), wanted, rtol=1e-14)
    np.testing.assert_allclose(
        LinearMomentum(0.85, 0.95, 10).momenta([0, 4, 10, 99]), [0.85, 0.89, 0.95, 0.95]
    )
    np.testing.assert_allclose(
        CosineMomentum(0.5, 0.9, 4).momenta([1]), 0.7 - 0.2 * np.cos(np.pi / 4)
    )


def set_momentum(group, step):
    group["momentum"] = momentum_by_hand(step)


def set_beta1(group, step):
    group["betas"] = momentum_by_hand(step), 0.999


RULES = {
    "momentum": (
        Optimizer("momentum"), lambda p: torch.optim.SGD(p, 1.0, momentum=0.9), set_momentum,
    ),
    "nesterov, clipped": (
        Optimizer("nesterov", clip_value=1e6),
        lambda p: torch.optim.SGD(p, 1.0, momentum=0.9, nesterov=True), set_momentum,
    ),
    "adam": (Optimizer("adam"), lambda p: torch.optim.Adam(p), set_beta1),
    "adamw in groups": (
        Optimizer("adamw", groups=(ParameterGroup("*.bias", weight_decay=0.0),)),
        lambda p: torch.optim.AdamW(p, weight_decay=0.0), set_beta1,
    ),
}  # fmt: skip


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", list(RULES))
def test_twenty_steps_of_scheduled_momentum_equal_those_of_pytorch(rule, backend):
    optimizer, make_optimizer, before_step = RULES[rule]
    trainer = train(make_trainer(backend, optimizer, MOMENTA))
    assert_equal(trainer, trained_by_torch(make_optimizer, before_step))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_averaged_momentum_leaves_the_gradient_the_rest(backend):
    # With m = mu m + (1 - mu) g, a constant gradient of 1 keeps a velocity of 1.
    scheduled = train(make_trainer(backend, Optimizer("momentum", averaged=True), MOMENTA), 3)
    velocity = scheduled.checkpoint().arrays["optimizer/first_moment"]
    plain = train(make_trainer(backend, Optimizer("momentum", momentum=0.0), None), 1)
    first = plain.checkpoint().arrays["optimizer/first_moment"]
    again = make_trainer(backend, Optimizer("momentum", averaged=True), MOMENTA)
    again.train(1)
    m = again.checkpoint().arrays["optimizer/first_moment"]
    np.testing.assert_allclose(m, (1 - momentum_by_hand(0)) * first, rtol=1e-12)
    assert np.abs(velocity).max() > np.abs(m).max()


def by_lookahead(make_optimizer, steps, alpha):
    slow = {}

    def after_step(p, step):
        if not slow:
            start = make_trainer("numpy", Optimizer()).network.named_arrays()
            slow.update({name: torch.from_numpy(array.copy()) for name, array in start.items()})
        if (step + 1) % steps == 0:
            with torch.no_grad():
                for name, each in p.items():
                    slow[name] += alpha * (each - slow[name])
                    each.copy_(slow[name])

    return trained_by_torch(make_optimizer, after_step=after_step)


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("optimizer", "make_optimizer"),
    [
        (Optimizer("sgd", lookahead_steps=3, lookahead_alpha=0.25),
         lambda p: torch.optim.SGD(p, 1.0)),
        (Optimizer("adam", lookahead_steps=3, lookahead_alpha=0.25),
         lambda p: torch.optim.Adam(p)),
    ],
    ids=["sgd", "adam"],
)  # fmt: skip
def test_twenty_steps_with_slow_weights_equal_the_published_loop(
    optimizer, make_optimizer, backend
):
    trainer = train(make_trainer(backend, optimizer))
    assert_equal(trainer, by_lookahead(make_optimizer, 3, 0.25))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stop", [5, 7])
def test_a_training_goes_on_from_a_checkpoint_bit_for_bit(backend, stop, tmp_path):
    optimizer = Optimizer("momentum", lookahead_steps=3)
    whole = train(make_trainer(backend, optimizer, MOMENTA, "float32"))
    train(begun := make_trainer(backend, optimizer, MOMENTA, "float32"), stop)
    begun.save_checkpoint(tmp_path / "c.safetensors")
    rest = make_trainer(backend, optimizer, MOMENTA, "float32")
    rest.load_checkpoint(tmp_path / "c.safetensors")
    train(rest)
    np.testing.assert_array_equal(rest.network.parameters, whole.network.parameters)


def test_a_checkpoint_without_slow_weights_is_refused():
    plain = make_trainer("numpy", Optimizer("sgd")).checkpoint()
    with pytest.raises(CheckpointError, match="slow_weights' does not fit"):
        make_trainer("numpy", Optimizer("sgd", lookahead_steps=3)).restore(plain)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_reference_makes_the_same_steps(backend):
    samples = make_samples()
    network = make_trainer("numpy", Optimizer(), dtype="float32").network
    rates = np.column_stack((SCHEDULE.rates(range(4)), MOMENTA.momenta(range(4))))
    check = check_step(
        network, samples.images[:8].astype(np.float32), Optimizer("nesterov", lookahead_steps=2),
        samples.labels[:8], rate=rates, steps=4, backend=backend, verbose=False,
    )  # fmt: skip
    assert check.passed


def test_a_rule_without_a_momentum_to_schedule_is_refused():
    with pytest.raises(SpecError, match="kind is 'muon'; expected one of momentum, nesterov"):
        make_trainer("numpy", Optimizer("muon"), MOMENTA)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OneCycleMomentum(0), "total is 0; expected more than 0"),
        (lambda: OneCycleMomentum(9, base_momentum=0.96), r"at most max_momentum \(0.95\)"),
        (lambda: LinearMomentum(0.5, 1.0, 9), "final is 1.0; expected 0 or more, below 1"),
        (
            lambda: Optimizer(lookahead_steps=0),
            "lookahead_steps is 0; expected an integer of 1 or more",
        ),
        (lambda: Optimizer(lookahead_alpha=0.5), "expected nothing without lookahead_steps"),
        (lambda: Optimizer(lookahead_steps=2, lookahead_alpha=2.0), "more than 0, at most 1"),
    ],
)
def test_impossible_numbers_are_refused_by_name(make, said):
    with pytest.raises(SpecError, match=said):
        make()


def test_a_recipe_says_both_and_is_read_again_as_it_is_written():
    settings = [
        ("optimizer.kind", "adamw"), ("optimizer.lookahead_steps", 5),
        ("momentum_schedule.kind", "linear"), ("momentum_schedule.epochs", 2),
    ]  # fmt: skip
    recipe = load_recipe("digits", settings)
    assert recipe.make_momentum_schedule(10, 100) == LinearMomentum(0.85, 0.95, 20)
    again = read_recipe(recipe.table())
    assert again.momentum_schedule == recipe.momentum_schedule
    assert again.optimizer == recipe.optimizer
    with pytest.raises(ValueError, match=r"optimizer\.beta1 does nothing beside momentum_schedule"):
        load_recipe("digits", [*settings, ("optimizer.beta1", 0.8)])
    with pytest.raises(ValueError, match=r"momentum_schedule does nothing under optimizer.kind"):
        load_recipe("digits", [("optimizer.kind", "sgd"), ("momentum_schedule.rise", 0.2)])
