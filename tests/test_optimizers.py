"""Update rules: training steps against loops in float64, written from the papers."""

import math

import numpy as np
import pytest

from fastconv.data import Samples, epoch_order
from fastconv.layers import BatchNorm, Dense, Tanh
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.schedules import Step
from fastconv.trainer import Trainer

FEATURES, HIDDEN, CLASSES = 5, 4, 3
BATCH, STEPS = 4, 11
SCHEDULE = Step(0.05, every=4, factor=0.5)


def make_samples():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(22, 1, 1, FEATURES))
    return Samples(images, generator.integers(0, CLASSES, 22))


def make_network():
    layers = [Dense(HIDDEN), Tanh(), Dense(CLASSES)]
    network = Sequential(layers, (FEATURES,), seed=3, dtype="float64")
    # Biases that start at 0 would hide what decay does to them.
    for name, array in network.named_arrays().items():
        if name.endswith("bias"):
            array[...] = np.linspace(-1, 1, array.size)
    return network


def trained_by_fastconv(**options):
    samples, network = make_samples(), make_network()
    trainer = Trainer(
        network, samples, loss="softmax_cross_entropy", optimizer=Optimizer(**options),
        schedule=SCHEDULE, batch_size=BATCH, seed=9, backend="numpy",
    )  # fmt: skip
    while trainer.step < STEPS:
        trainer.train(min(STEPS - trainer.step, trainer.steps_left_in_epoch()))
    return network.named_arrays()


def gradients_by_hand(p, x, labels):
    """Of the mean cross entropy of a network with one hidden layer of tanh."""
    hidden = np.tanh(x @ p["dense_1.weight"] + p["dense_1.bias"])
    scores = hidden @ p["dense_2.weight"] + p["dense_2.bias"]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    dscores = (probabilities - np.eye(CLASSES)[labels]) / len(x)
    dhidden = dscores @ p["dense_2.weight"].T * (1 - hidden**2)
    return {
        "dense_1.weight": x.T @ dhidden,
        "dense_1.bias": dhidden.sum(axis=0),
        "dense_2.weight": hidden.T @ dscores,
        "dense_2.bias": dscores.sum(axis=0),
    }


def trained_by_hand(update, l2=0.0, coupled=0.0, decoupled=0.0, biases=False):
    """The training loop: ``update(memory, g, t)`` gives the step of one parameter."""
    samples = make_samples()
    p = {name: array.copy() for name, array in make_network().named_arrays().items()}
    memory = {name: {} for name in p}
    per_epoch = len(samples) // BATCH
    for step in range(STEPS):
        order = epoch_order(len(samples), 9, step // per_epoch)
        chosen = order[step % per_epoch * BATCH :][:BATCH]
        gradients = gradients_by_hand(p, samples.images[chosen, 0, 0], samples.labels[chosen])
        lr = 0.05 * 0.5 ** (step // 4)
        for name, g in gradients.items():
            is_weight = name.endswith("weight")
            w = p[name].copy()
            if is_weight:
                g = g + 2 * l2 * w
            if is_weight or biases:
                g = g + coupled * w
            p[name] -= lr * update(memory[name], g, step + 1)
            if is_weight or biases:
                p[name] -= lr * decoupled * w
    return p


def sgd(memory, g, t):
    return g


def momentum(mu, dampening=0.0):
    def update(memory, g, t):
        memory["m"] = mu * memory.get("m", 0.0) + (1 - dampening) * g
        return memory["m"]

    return update


def nesterov(mu, averaged=False):
    def update(memory, g, t):
        share = 1 - mu if averaged else 1.0
        memory["m"] = mu * memory.get("m", 0.0) + share * g
        return share * g + mu * memory["m"]

    return update


def adam(beta1=0.9, beta2=0.999, epsilon=1e-8):
    def update(memory, g, t):
        memory["m"] = beta1 * memory.get("m", 0.0) + (1 - beta1) * g
        memory["v"] = beta2 * memory.get("v", 0.0) + (1 - beta2) * g**2
        m = memory["m"] / (1 - beta1**t)
        v = memory["v"] / (1 - beta2**t)
        return m / (np.sqrt(v) + epsilon)

    return update


RULES = {
    "sgd": ({"kind": "sgd"}, sgd),
    "momentum": ({"kind": "momentum", "momentum": 0.8}, momentum(0.8)),
    "momentum by default": ({"kind": "momentum"}, momentum(0.9)),
    "averaged momentum": (
        {"kind": "momentum", "momentum": 0.8, "averaged": True},
        momentum(0.8, dampening=0.8),
    ),
    "nesterov": ({"kind": "nesterov", "momentum": 0.7}, nesterov(0.7)),
    "averaged nesterov": (
        {"kind": "nesterov", "momentum": 0.7, "averaged": True},
        nesterov(0.7, averaged=True),
    ),
    "adam": ({"kind": "adam"}, adam()),
    "adam with its own numbers": (
        {"kind": "adam", "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3},
        adam(0.5, 0.9, 1e-3),
    ),
}

DECAYS = {
    "none": ({}, {}),
    "l2": ({"l2": 0.03}, {"l2": 0.03}),
    "coupled decay": ({"weight_decay": 0.1}, {"coupled": 0.1}),
    "decoupled decay": ({"weight_decay": 0.1, "decay_mode": "decoupled"}, {"decoupled": 0.1}),
    "coupled decay of biases": (
        {"weight_decay": 0.1, "decay_biases": True},
        {"coupled": 0.1, "biases": True},
    ),
    "decoupled decay of biases": (
        {"weight_decay": 0.1, "decay_mode": "decoupled", "decay_biases": True},
        {"decoupled": 0.1, "biases": True},
    ),
    "l2 and decay": (
        {"l2": 0.03, "weight_decay": 0.1, "decay_biases": True},
        {"l2": 0.03, "coupled": 0.1, "biases": True},
    ),
}


@pytest.mark.parametrize("decay", list(DECAYS))
@pytest.mark.parametrize("rule", list(RULES))
def test_training_steps_equal_a_loop_written_from_the_paper(rule, decay):
    options, update = RULES[rule]
    more, by_hand = DECAYS[decay]
    expected = trained_by_hand(update, **by_hand)
    for name, array in trained_by_fastconv(**options, **more).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-10, atol=1e-12)


def test_adamw_is_adam_with_decoupled_decay():
    expected = trained_by_hand(adam(), decoupled=0.1)
    for name, array in trained_by_fastconv(kind="adamw", weight_decay=0.1).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-10, atol=1e-12)


def test_l2_is_the_gradient_of_the_penalty_that_is_reported():
    network = make_network()
    lam, name, h = 0.03, "dense_1.weight", 1e-6
    start = network[name][2, 1]
    penalties = []
    for shift in (h, -h):
        network[name][2, 1] = start + shift
        penalties.append(network.penalty(lam))
    assert (penalties[0] - penalties[1]) / (2 * h) == pytest.approx(2 * lam * start, rel=1e-6)


def test_what_decay_spares_is_the_back_of_the_buffer():
    network = Sequential([Dense(4), BatchNorm(), Dense(3)], (5,))
    spec = Optimizer(weight_decay=0.1, l2=0.2).spec(network)
    assert spec.weights == spec.decayed == network.weights_end
    assert spec.size == network.parameters.size
    everything = Optimizer(weight_decay=0.1, decay_biases=True).spec(network)
    assert everything.decayed == network.parameters.size
    assert everything.weights == network.weights_end


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "lion"}, "kind is 'lion'; expected one of sgd, momentum"),
        ({"momentum": 1.0}, "momentum is 1.0; expected 0 or more, below 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"beta1": 1.0}, "beta1 is 1.0"),
        ({"beta2": math.nan}, "beta2 is nan"),
        ({"epsilon": 0.0}, "epsilon is 0.0; expected more than 0"),
        ({"l2": -1.0}, "l2 is -1.0; expected 0 or more"),
        ({"weight_decay": -1.0}, "^Optimizer: weight_decay is -1.0; expected 0 or more$"),
        (
            {"weight_decay": -1.0, "decay_mode": "decoupled"},
            "^Optimizer: weight_decay is -1.0; expected 0 or more$",
        ),
        ({"kind": "muon", "l2": 0.1}, "l2 is 0.1; expected 0 under muon; use weight_decay"),
        ({"kind": "rmsprop", "alpha": 1.0}, "alpha is 1.0; expected 0 or more, below 1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; expected more than 0; leave it out for no limit"),
        ({"decay_mode": "both"}, "decay_mode is 'both'; expected 'coupled' or 'decoupled'"),
    ],
)
def test_impossible_numbers_are_refused_by_the_name_they_were_given(options, told):
    with pytest.raises(ValueError, match=told):
        Optimizer(**options)


def test_frozen_parameters_between_others_of_one_rule_stay_as_they_are():
    network = Sequential([Dense(4), Tanh(), Dense(4), Tanh(), Dense(CLASSES)], (FEATURES,))
    frozen = ParameterGroup("dense_2.*", frozen=True)
    update = Optimizer("momentum", groups=(frozen,)).update(network)
    updated = [(s.start, s.start + s.spec.size) for s in update.stretches]
    for name, place in network.places.items():
        is_updated = any(a <= place.offset and place.end <= b for a, b in updated)
        assert is_updated == (not name.startswith("dense_2")), name
        assert is_updated or all(place.end <= a or b <= place.offset for a, b in updated), name
