"""Newer update rules over 20 steps: against PyTorch, or the published formula where it has none."""

import numpy as np
import pytest
from optional_torch import needs_torch, torch

from fastconv.backends.selection import backend_state
from fastconv.data import Samples, epoch_order
from fastconv.layers import Conv2D, Dense, Flatten, Tanh
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.schedules import Cosine
from fastconv.spec import SpecError
from fastconv.trainer import Trainer

BATCH, STEPS, CLASSES = 8, 20, 5
BACKENDS = [name for name in ("numpy", "numba", "cython") if backend_state(name).works]
SCHEDULE = Cosine(0.02, STEPS, 0.005)


def make_samples():
    generator = np.random.default_rng(0)
    return Samples(generator.normal(size=(32, 6, 6, 2)), generator.integers(0, CLASSES, 32))


def make_network():
    # A wide matrix and two tall ones.
    layers = [Conv2D(9), Tanh(), Flatten(), Dense(4), Tanh(), Dense(CLASSES)]
    network = Sequential(layers, (6, 6, 2), seed=3, dtype="float64")
    for name, array in network.named_arrays().items():
        if name.endswith("bias"):
            array[...] = np.linspace(-1, 1, array.size)
    return network


def trained(backend, *, batch_size=BATCH, steps=STEPS, **options):
    more = {name: options.pop(name) for name in ("accumulate", "average") if name in options}
    trainer = Trainer(
        make_network(), make_samples(), loss="softmax_cross_entropy",
        optimizer=Optimizer(**options), schedule=SCHEDULE, batch_size=batch_size, seed=9,
        backend=backend, **more,
    )  # fmt: skip
    while trainer.step < steps:
        trainer.train(min(steps - trainer.step, trainer.steps_left_in_epoch()))
    return trainer


def loss_of(p, chosen):
    samples = make_samples()
    x = torch.from_numpy(samples.images[chosen]).permute(0, 3, 1, 2)
    w = p["conv2d_1.weight"].permute(3, 2, 0, 1)
    x = torch.tanh(torch.nn.functional.conv2d(x, w, p["conv2d_1.bias"]))
    x = x.permute(0, 2, 3, 1).flatten(1)
    x = torch.tanh(x @ p["dense_1.weight"] + p["dense_1.bias"])
    scores = x @ p["dense_2.weight"] + p["dense_2.bias"]
    return torch.nn.functional.cross_entropy(scores, torch.from_numpy(samples.labels[chosen]))


def trained_by_torch(make_optimizer, before_step=lambda p: None, after_step=lambda p: None):
    p = {
        name: torch.from_numpy(array.copy()).requires_grad_()
        for name, array in make_network().named_arrays().items()
    }
    optimizer = make_optimizer(p)
    for step in range(STEPS):
        order = epoch_order(32, 9, step // 4)
        for group in optimizer.param_groups:
            group["lr"] = SCHEDULE.rates([step])[0] * group.get("factor", 1.0)
        optimizer.zero_grad()
        loss_of(p, order[step % 4 * BATCH :][:BATCH]).backward()
        before_step(p)
        optimizer.step()
        after_step(p)
    return {name: each.detach().numpy() for name, each in p.items()}


def weights_and_rest(p, decay):
    weights = [each for name, each in p.items() if name.endswith("weight")]
    rest = [each for name, each in p.items() if name.endswith("bias")]
    return [{"params": weights, "weight_decay": decay}, {"params": rest}]


def assert_equal(trainer, expected):
    for name, array in trainer.network.named_arrays().items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-6, err_msg=name)


RULES = {
    "rmsprop": ({"kind": "rmsprop"}, lambda p: torch.optim.RMSprop(p.values())),
    "rmsprop, centred, with momentum": (
        {"kind": "rmsprop", "centered": True, "momentum": 0.8, "alpha": 0.9, "epsilon": 1e-3},
        lambda p: torch.optim.RMSprop(p.values(), alpha=0.9, eps=1e-3, centered=True, momentum=0.8),
    ),
    "rmsprop with decay": (
        {"kind": "rmsprop", "weight_decay": 0.1},
        lambda p: torch.optim.RMSprop(weights_and_rest(p, 0.1)),
    ),
    "adagrad": ({"kind": "adagrad"}, lambda p: torch.optim.Adagrad(p.values())),
    "nadam": (
        {"kind": "nadam", "beta1": 0.8, "momentum_decay": 0.1},
        lambda p: torch.optim.NAdam(p.values(), betas=(0.8, 0.999), momentum_decay=0.1),
    ),
    "nadam with decoupled decay": (
        {"kind": "nadam", "weight_decay": 0.1, "decay_mode": "decoupled"},
        lambda p: torch.optim.NAdam(weights_and_rest(p, 0.1), decoupled_weight_decay=True),
    ),
}


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", list(RULES))
def test_twenty_steps_equal_those_of_pytorch(rule, backend):
    options, make_optimizer = RULES[rule]
    assert_equal(trained(backend, **options), trained_by_torch(make_optimizer))


class Published(torch.optim.Optimizer if torch is not None else object):
    """A rule of a paper in NumPy float64, over PyTorch's gradients of named parameters."""

    def __init__(self, p, update):
        super().__init__(p.values(), {"lr": 0.0})
        self.update, self.named, self.t = update, p, 0
        self.memory = {name: {} for name in p}

    def step(self, closure=None):
        self.t += 1
        for name, parameter in self.named.items():
            w, g = parameter.detach().numpy(), parameter.grad.numpy()
            rate = self.param_groups[0]["lr"]
            self.update(name, self.memory[name], w, g, self.t, rate)


def adam_direction(memory, g, t, epsilon):
    memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * g**2
    return memory["m"] / (1 - 0.9**t) / (np.sqrt(memory["v"] / (1 - 0.999**t)) + epsilon)


class Several:
    """Optimisers of PyTorch side by side."""

    def __init__(self, optimizers):
        self.optimizers = optimizers

    @property
    def param_groups(self):
        return [group for each in self.optimizers for group in each.param_groups]

    def zero_grad(self):
        for each in self.optimizers:
            each.zero_grad()

    def step(self):
        for each in self.optimizers:
            each.step()


def lamb(name, memory, w, g, t, rate):
    """Algorithm 2 of arXiv:1904.00962, with the identity as its function of the norm."""
    u = adam_direction(memory, g, t, 1e-6) + (0.1 * w if name.endswith("weight") else 0)
    w -= rate * np.linalg.norm(w) / np.linalg.norm(u) * u


def muon(name, memory, w, g, t, rate):
    """Jordan's with its own coefficients, on [out, rest]; AdamW on what is no matrix."""
    if name.endswith("bias"):
        w -= rate * adam_direction(memory, g, t, 1e-8)
        return
    memory["m"] = 0.95 * memory.get("m", 0.0) + 0.05 * g
    update = 0.05 * g + 0.95 * memory["m"]
    matrix = np.moveaxis(update, -1, 0).reshape(w.shape[-1], -1)
    x = matrix / max(np.linalg.norm(matrix), 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    x = x * max(1, x.shape[0] / x.shape[1]) ** 0.5
    step = np.moveaxis(x.reshape(w.shape[-1], *w.shape[:-1]), 0, -1)
    w -= rate * 0.1 * w + rate * step


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", [lamb, muon], ids=["lamb", "muon"])
def test_twenty_steps_equal_the_published_formula(rule, backend):
    expected = trained_by_torch(lambda p: Published(p, rule))
    assert_equal(trained(backend, kind=rule.__name__, weight_decay=0.1), expected)


def muon_of_normal_weights(name, memory, w, g, t, rate):
    """airbench94_muon's: three iterations, filters of norm sqrt(outputs), PyTorch's SGD beside."""
    if name.endswith("bias"):
        g = g + 0.2 * w
        memory["m"] = 0.85 * memory.get("m", 0.0) + g
        w -= 2 * rate * (g + 0.85 * memory["m"])
        return
    memory["m"] = 0.6 * memory.get("m", 0.0) + g
    matrix = np.moveaxis(g + 0.6 * memory["m"], -1, 0).reshape(w.shape[-1], -1)
    x = matrix / np.linalg.norm(matrix)
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    w *= w.shape[-1] ** 0.5 / np.linalg.norm(w)
    x = x * max(1, x.shape[0] / x.shape[1]) ** 0.5
    w -= rate * np.moveaxis(x.reshape(w.shape[-1], *w.shape[:-1]), 0, -1)


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
def test_muon_on_weights_of_one_norm_beside_nesterov_on_biases_is_the_published_rule(backend):
    biases = ParameterGroup("*.bias", rate_factor=2.0, weight_decay=0.2, kind="nesterov",
                            momentum=0.85)  # fmt: skip
    trainer = trained(
        backend, kind="muon", momentum=0.6, newton_schulz_steps=3, normalize_weights=True,
        groups=(biases,),
    )  # fmt: skip
    assert_equal(trainer, trained_by_torch(lambda p: Published(p, muon_of_normal_weights)))


def test_muon_makes_the_step_of_a_layer_nearly_orthogonal():
    before = make_network()["dense_1.weight"].copy()
    step = (before - trained("numpy", kind="muon", steps=1).network["dense_1.weight"]) / 0.02
    singular = np.linalg.svd(step, compute_uv=False)
    assert (singular > 0.5).all()
    assert (singular < 1.3).all()


# Parameter groups, clipping, accumulation and averages


GROUPS = (
    ParameterGroup("dense_2.weight", rate_factor=0.25, weight_decay=0.3),
    ParameterGroup("conv2d_1.*", frozen=True),
    ParameterGroup("*.bias", rate_factor=2.0),
)


def make_groups(p):
    for name in ("conv2d_1.weight", "conv2d_1.bias"):
        p[name].requires_grad_(False)
    return torch.optim.AdamW(
        [
            {"params": [p["dense_2.weight"]], "factor": 0.25, "weight_decay": 0.3},
            {"params": [p["dense_1.weight"]], "weight_decay": 0.1},
            {"params": [p["dense_1.bias"], p["dense_2.bias"]], "factor": 2.0, "weight_decay": 0.0},
        ]
    )


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("limit", [None, 0.3])
def test_groups_have_their_own_rates_and_decay_and_frozen_ones_count_for_no_norm(backend, limit):
    def clip(p):
        if limit is not None:
            trained = [each for each in p.values() if each.grad is not None]
            assert torch.nn.utils.clip_grad_norm_(trained, limit) > 0

    expected = trained_by_torch(make_groups, clip)
    trainer = trained(backend, kind="adamw", weight_decay=0.1, groups=GROUPS, clip_norm=limit)
    assert_equal(trainer, expected)
    np.testing.assert_array_equal(
        trainer.network["conv2d_1.weight"], make_network()["conv2d_1.weight"]
    )


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_have_update_rules_of_their_own(backend):
    def rules(p):
        biases = [p[name] for name in p if name.endswith("bias")]
        return [
            torch.optim.AdamW([p["conv2d_1.weight"]], weight_decay=0.1),
            torch.optim.RMSprop([p["dense_1.weight"]], momentum=0.5, weight_decay=0.1),
            torch.optim.SGD([p["dense_2.weight"]], momentum=0.9, weight_decay=0.1),
            torch.optim.SGD(biases),
        ]

    groups = (
        ParameterGroup("conv2d_1.weight", kind="adamw"),
        ParameterGroup("dense_1.weight", kind="rmsprop", momentum=0.5),
        ParameterGroup("*.bias", kind="sgd"),
    )
    trainer = trained(backend, kind="momentum", weight_decay=0.1, groups=groups)
    assert_equal(trainer, trained_by_torch(lambda p: Several(rules(p))))


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_clipped_by_value_before_the_update(backend):
    def clip(p):
        torch.nn.utils.clip_grad_value_(p.values(), 0.01)

    expected = trained_by_torch(lambda p: torch.optim.SGD(p.values()), clip)
    assert_equal(trained(backend, kind="sgd", clip_value=0.01), expected)


def test_a_group_without_parameters_is_an_error_that_lists_their_names():
    rule = Optimizer(groups=(ParameterGroup("conv_*", frozen=True),))
    with pytest.raises(
        SpecError, match="names is 'conv_\\*'; expected a pattern of some of conv2d"
    ):
        rule.update(make_network())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
def test_accumulated_passes_make_the_step_of_their_samples_together(kind, backend):
    whole = trained(backend, kind=kind)
    parts = trained(backend, kind=kind, batch_size=BATCH // 4, accumulate=4)
    assert parts.steps_per_epoch == whole.steps_per_epoch == 4
    np.testing.assert_allclose(
        parts.network.parameters, whole.network.parameters, rtol=0, atol=1e-11
    )


@needs_torch
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_average_of_the_weights_is_pytorchs(backend):
    start = {name: array.copy() for name, array in make_network().named_arrays().items()}
    average = {name: torch.from_numpy(array) for name, array in start.items()}

    def after_step(p):
        for name, each in average.items():
            each.lerp_(p[name].detach(), 0.1)

    expected = trained_by_torch(lambda p: torch.optim.SGD(p.values()), after_step=after_step)
    trainer = trained(backend, kind="sgd", average=0.9)
    trainer.update_network()
    assert_equal(trainer, expected)
    for name, array in trainer.trained_network.named_arrays().items():
        np.testing.assert_allclose(array, average[name], rtol=0, atol=1e-9, err_msg=name)
    samples = make_samples()
    scores = trainer.predict(samples.images)
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(scores), torch.from_numpy(samples.labels)
    )
    assert trainer.evaluate(samples).loss == pytest.approx(loss.item(), rel=1e-9)
    assert trainer.evaluate(samples).loss == pytest.approx(
        loss_of(average, np.arange(32)).item(), rel=1e-9
    )


def test_a_plain_optimiser_makes_the_plan_that_it_made_before():
    network = make_network()
    rule = Optimizer("momentum", weight_decay=0.1)
    assert rule.update(network) == rule.spec(network)
