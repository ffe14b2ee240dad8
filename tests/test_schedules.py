"""Learning-rate schedules: values worked out by hand."""

import math

import numpy as np
import pytest

from fastconv.schedules import (
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    OneCycle,
    Plateau,
    Polynomial,
    Step,
    Warmup,
)

ALL = [
    Constant(0.3),
    Step(0.3, every=4, factor=0.5),
    Exponential(0.3, every=4, factor=0.5),
    Cosine(0.3, total=20, final=0.01),
    OneCycle(0.3, total=20),
    Cyclic(0.01, 0.3, n_s=4),
    Polynomial(0.3, total=20, power=2.0, final=0.01),
    Warmup(Cosine(0.3, total=16), steps=4),
]


def kind(schedule):
    return type(schedule).__name__


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(0.3), {0: 0.3, 1: 0.3, 10**9: 0.3}),
        (Step(0.8, every=3, factor=0.5), {0: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2, 30: 0.8 / 1024}),
        (Step(0.8, every=3), {2: 0.8, 3: 0.08, 6: 0.008}),
        (Exponential(0.8, every=2, factor=0.25), {0: 0.8, 1: 0.4, 2: 0.2, 4: 0.05}),
        (Exponential(1.0, every=10, factor=0.9), {10: 0.9, 20: 0.81}),
        # Cosine: a third of the way down the cosine is at 1/2, so the rate at 3/4.
        (Cosine(0.4, total=12), {0: 0.4, 4: 0.3, 6: 0.2, 8: 0.1, 12: 0.0, 13: 0.0, 999: 0.0}),
        (Cosine(0.4, total=12, final=0.2), {0: 0.4, 4: 0.35, 6: 0.3, 12: 0.2, 50: 0.2}),
        # One cycle: up over 6 of 20 steps from 1/25, down over 14 to 1/10000.
        (
            OneCycle(1.0, total=20),
            {0: 0.04, 2: 0.04 + 0.96 / 4, 3: 0.52, 6: 1.0, 13: 0.50005, 20: 1e-4, 40: 1e-4},
        ),
        (
            OneCycle(2.0, total=8, rise=0.5, start_divisor=10, final_divisor=4),
            {0: 0.2, 2: 1.1, 4: 2.0, 6: 1.25, 8: 0.5},
        ),
        (Cyclic(0.0, 1.0, n_s=4), {0: 0, 1: 0.25, 4: 1, 5: 0.75, 8: 0, 9: 0.25, 12: 1}),
        (Cyclic(0.1, 0.5, n_s=2), {0: 0.1, 1: 0.3, 2: 0.5, 3: 0.3, 4: 0.1, 402: 0.5}),
    ],
    ids=lambda value: kind(value) if not isinstance(value, dict) else "",
)
def test_rates_are_those_worked_out_by_hand(schedule, values):
    rates = schedule.rates(list(values))
    np.testing.assert_allclose(rates, list(values.values()), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("schedule", ALL, ids=kind)
def test_many_steps_at_once_equal_one_at_a_time(schedule):
    steps = np.arange(40)
    rates = schedule.rates(steps)
    assert rates.dtype == np.float64
    assert rates.shape == (40,)
    np.testing.assert_array_equal(rates, [schedule.rates([step])[0] for step in range(40)])


@pytest.mark.parametrize("schedule", ALL, ids=kind)
def test_any_part_of_a_run_has_the_rates_of_the_whole(schedule):
    np.testing.assert_array_equal(
        schedule.rates(np.arange(17, 33)), schedule.rates(np.arange(40))[17:33]
    )


@pytest.mark.parametrize("schedule", ALL, ids=kind)
def test_rates_keep_the_shape_of_the_steps(schedule):
    assert schedule.rates(np.zeros((2, 3), np.int64)).shape == (2, 3)
    assert schedule.rates([]).shape == (0,)


@pytest.mark.parametrize("schedule", ALL, ids=kind)
def test_rates_are_never_negative_nor_above_the_largest(schedule):
    rates = schedule.rates(np.arange(100))
    assert (rates >= 0).all()
    assert rates.max() == pytest.approx(0.3)


@pytest.mark.parametrize("bad", [0, -1, math.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: Constant(v), "lr"),
        (lambda v: Step(v, 3), "lr"),
        (lambda v: Step(1.0, v), "every"),
        (lambda v: Step(1.0, 3, v), "factor"),
        (lambda v: Exponential(1.0, v), "every"),
        (lambda v: Exponential(1.0, 3, v), "factor"),
        (lambda v: Cosine(1.0, v), "total"),
        (lambda v: OneCycle(1.0, v), "total"),
        (lambda v: OneCycle(1.0, 3, rise=v), "rise"),
        (lambda v: OneCycle(1.0, 3, start_divisor=v), "start_divisor"),
        (lambda v: OneCycle(1.0, 3, final_divisor=v), "final_divisor"),
        (lambda v: Cyclic(0.0, v, 3), "eta_max"),
        (lambda v: Cyclic(0.0, 1.0, v), "n_s"),
    ],
)
def test_impossible_numbers_are_refused_by_name(make, name, bad):
    with pytest.raises(ValueError, match=rf"schedule: {name} is {bad}"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Cosine(1.0, 5, final=-0.1), "final is -0.1"),
        (lambda: OneCycle(1.0, 5, rise=1.0), "rise is 1.0"),
        (lambda: Cyclic(0.5, 0.4, 5), "eta_min is 0.5; expected 0 to eta_max .0.4"),
        (lambda: Cyclic(-0.5, 0.4, 5), "eta_min is -0.5"),
    ],
)
def test_impossible_bounds_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def rates_of_torch(make, steps, lr=0.1):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule, rates = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_polynomial_is_pytorchs():
    expected = rates_of_torch(lambda of, o: of.PolynomialLR(o, total_iters=10, power=1.5), 15)
    assert Polynomial(0.1, total=10, power=1.5).rates(range(15)) == pytest.approx(expected)


def test_a_warm_up_is_pytorchs_linear_rate_in_front_of_another():
    def make(of, optimizer):
        rise = of.LinearLR(optimizer, start_factor=0.2, total_iters=4)
        after = of.StepLR(optimizer, step_size=3, gamma=0.5)
        return of.SequentialLR(optimizer, [rise, after], milestones=[4])

    schedule = Warmup(Step(0.1, every=3, factor=0.5), steps=4, start=0.2)
    assert schedule.rates(range(14)) == pytest.approx(rates_of_torch(make, 14))


def test_a_plateau_reduces_when_pytorch_does():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.01, min_lr=0.015
    )
    ours = Plateau(0.1, factor=0.5, patience=2, threshold=0.01, least=0.015)
    losses = np.repeat([1.0, 0.8, 0.795, 0.7, 0.9, 0.7], [2, 3, 4, 1, 9, 12])
    for loss in losses:
        theirs.step(float(loss))
        ours.observe(float(loss))
        assert ours.rates([0])[0] == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.rates([5])[0] == 0.015


def test_a_plateau_is_told_of_validations_behind_a_warm_up_too():
    schedule = Warmup(Plateau(0.1, factor=0.5, patience=0), steps=2)
    for loss in (1.0, 1.0):
        schedule.observe(loss)
    assert schedule.rates([9])[0] == pytest.approx(0.05)
