"""Ctrl-C while a network learns: soon heard, and afterwards everything is whole."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

import fastconv
from fastconv.backends.selection import NAMES, backend_state
from fastconv.data import Samples, epoch_order
from fastconv.execution import interrupts as interrupts_module
from fastconv.execution.ending import interruption
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.pace import Pace
from fastconv.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Step
from fastconv.training_loop import fit

BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]
BATCH = 4
STEPS = 40
"""Of an epoch."""


class FixedPace(Pace):
    """So many steps at a time, however long they take."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def measure(self, steps: int, seconds: float) -> None:
        """Nothing is learned from it."""


def made_trainer(backend: str, steps_at_a_time: int = 1) -> fastconv.Trainer:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH * STEPS, 6, 5, 2), np.uint8)
    network = fastconv.Sequential(
        [Conv2D(4), BatchNorm(), ReLU(), Dropout(0.2), Flatten(), Dense(3)], input_shape=(6, 5, 2)
    )
    trainer = fastconv.Trainer(
        network,
        Samples(images, generator.integers(0, 3, len(images))),
        loss="softmax_cross_entropy",
        optimizer=Optimizer("adam"),
        schedule=Step(0.01, every=25),
        batch_size=BATCH,
        preprocessing=Preprocessing("scale"),
        backend=backend,
        threads=1,
    )
    trainer._pace = FixedPace(steps_at_a_time)
    return trainer


def weights_of(trainer: fastconv.Trainer) -> np.ndarray:
    trainer.update_network()
    return np.concatenate([trainer.network.parameters, trainer.network.state])


def weights_after(backend: str, steps: int) -> np.ndarray:
    """Of training that nobody interrupts, in one call of the runner for each epoch."""
    trainer = made_trainer(backend)
    for epoch in range(-(-steps // STEPS)):
        count = min(STEPS, steps - STEPS * epoch)
        order = epoch_order(BATCH * STEPS, 0, epoch)[: count * BATCH].reshape(count, BATCH)
        first = STEPS * epoch
        rates = trainer.schedule.rates(np.arange(first, first + count))
        trainer.runner.run(order, rates, first)
    return weights_of(trainer)


class Pressed:
    """A runner that presses Ctrl-C as it begins its n-th run."""

    def __init__(self, runner, run: int) -> None:
        self._runner, self._left = runner, run

    def run(self, *arguments, **options):
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)
        return self._runner.run(*arguments, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_ends_training_between_steps_and_the_step_is_that_of_the_weights(backend):
    trainer = made_trainer(backend, steps_at_a_time=3)
    runner = trainer._runner
    trainer._runner = Pressed(runner, run=4)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(STEPS)
    assert trainer.step == 12  # the fourth run of three steps is finished, a fifth is not begun
    np.testing.assert_array_equal(weights_of(trainer), weights_after(backend, 12))
    trainer._runner = runner
    trainer.train(trainer.steps_left_in_epoch())
    assert trainer.step == STEPS
    np.testing.assert_array_equal(weights_of(trainer), weights_after(backend, STEPS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_any_moment_of_many_short_trainings_loses_and_repeats_no_step(backend):
    """Real signals from beside, in whatever the trainer is doing."""
    trainer = made_trainer(backend)
    steps = STEPS * (10 if backend == "numpy" else 100)
    armed, pressed, done = [], [], threading.Event()

    def interrupt(number, frame):
        if armed:
            armed.clear()
            pressed.append(trainer.step)
            raise KeyboardInterrupt

    def press_often():
        while not done.wait(0.002):
            os.kill(os.getpid(), signal.SIGINT)

    before, presser = signal.signal(signal.SIGINT, interrupt), threading.Thread(target=press_often)
    presser.start()
    try:
        while trainer.step < steps:
            try:
                armed.append(True)
                while trainer.step < steps:
                    trainer.train(1)
                armed.clear()
            except KeyboardInterrupt:
                pass
    finally:
        done.set()
        presser.join()
        signal.signal(signal.SIGINT, before)
    assert trainer.step == steps
    assert len(pressed) > 1
    np.testing.assert_array_equal(weights_of(trainer), weights_after(backend, steps))


def test_ctrl_c_in_the_midst_of_a_step_lets_it_be_finished():
    trainer = made_trainer("numpy", steps_at_a_time=5)
    calls = trainer.runner._calls
    update, pressed = calls[-1], []

    def press_first():
        pressed.append(True)
        if len(pressed) == 2:
            signal.raise_signal(signal.SIGINT)
        update()

    calls[-1] = press_first
    with pytest.raises(KeyboardInterrupt):
        trainer.train(STEPS)
    assert trainer.step == 5
    np.testing.assert_array_equal(weights_of(trainer), weights_after("numpy", 5))


@pytest.mark.parametrize("call", range(0, 30, 3))
def test_a_slow_step_of_numpy_is_left_as_if_it_had_not_begun(call):
    """Before the update; from there on it is finished."""
    trainer = made_trainer("numpy")
    trainer.train(4)
    calls = trainer.runner._calls
    update = len(calls) - 1
    number = min(call, update)
    true_call = calls[number]

    def press_and_call():
        signal.raise_signal(signal.SIGINT)
        true_call()

    calls[number] = press_and_call
    with pytest.raises(KeyboardInterrupt):
        trainer.train(3)
    made = 5 if number == update else 4
    assert trainer.step == made
    np.testing.assert_array_equal(weights_of(trainer), weights_after("numpy", made))
    calls[number] = true_call
    trainer.train(STEPS - made)
    np.testing.assert_array_equal(weights_of(trainer), weights_after("numpy", STEPS))


class Watch:
    """Notes what the training loop tells."""

    def __init__(self) -> None:
        self.steps, self.records = [], []

    def on_steps(self, step, epoch, score):
        self.steps.append(step)

    def on_record(self, record):
        self.records.append(record)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_in_fit_ends_the_line_that_was_begun(backend):
    trainer, watch = made_trainer(backend, steps_at_a_time=3), Watch()
    runner = trainer._runner
    trainer._runner = Pressed(runner, run=20)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, 10 * STEPS, validation=trainer.training, record_every=20, observer=watch)
    # Lines are of 20 steps: six runs of three, and one of two.
    assert trainer.step == 58
    assert [record.step for record in watch.records] == [20, 40, 58]
    assert [record.training.samples for record in watch.records] == [80, 80, 18 * BATCH]
    assert [record.validation is None for record in watch.records] == [False, False, True]
    assert watch.steps[-1] == 58
    assert watch.records[-1].train_seconds == trainer.train_seconds
    np.testing.assert_array_equal(weights_of(trainer), weights_after(backend, 58))
    trainer._runner = runner
    fit(trainer, 2 * STEPS)
    np.testing.assert_array_equal(weights_of(trainer), weights_after(backend, 2 * STEPS))


@pytest.mark.parametrize("steps", [0, 4, STEPS])
def test_ctrl_c_in_the_midst_of_the_first_step_of_fit_tells_nothing(steps):
    trainer, watch = made_trainer("numpy"), Watch()
    if steps:
        trainer.train(steps)
    trainer.runner._calls[3] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, 2 * STEPS, observer=watch)
    assert trainer.step == steps
    assert (watch.steps, watch.records) == ([], [])


def _never(samples):
    raise AssertionError


def test_ctrl_c_in_a_validation_ends_it_and_keeps_the_line():
    trainer, watch = made_trainer("numpy", steps_at_a_time=STEPS), Watch()
    validation, rows = trainer.training, []
    trainer.prepare_evaluation(validation)
    evaluator = trainer.inference._evaluators.find(validation, _never)
    ((order, runner, _),) = evaluator._parts
    many = np.repeat(order, 5, axis=0)

    class Watched(Pressed):
        def run(self, order, **options):
            rows.append(len(order))
            return super().run(order, **options)

    evaluator._parts = [(many, Watched(runner, run=2), FixedPace(1))]
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, STEPS, validation=validation, observer=watch)
    assert rows == [1, 1]
    assert [(record.step, record.validation) for record in watch.records] == [(STEPS, None)]
    assert trainer.step == STEPS


def test_a_first_ctrl_c_that_is_a_question_ends_fit_with_a_result():
    trainer = made_trainer("numpy", steps_at_a_time=3)
    trainer._runner = Pressed(trainer._runner, run=2)
    with interruption() as is_interrupted:
        result = fit(trainer, STEPS, is_interrupted=is_interrupted)
    assert result.stopped == "interrupted"
    assert trainer.step == result.history[-1].step == 6


def test_training_in_another_thread_leaves_ctrl_c_to_the_main_one():
    before, trainer, found = signal.getsignal(signal.SIGINT), made_trainer("numpy"), []

    class Looking(Pressed):
        def run(self, *arguments, **options):
            found.append(signal.getsignal(signal.SIGINT))
            return super().run(*arguments, **options)

    trainer._runner = Looking(trainer._runner, run=0)
    thread = threading.Thread(target=trainer.train, args=(5,))
    thread.start()
    thread.join()
    assert trainer.step == 5
    assert found == [before] * 5


# Steps in several runs are the same steps.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_at_a_time", [1, 3, 16, 1000])
def test_steps_in_several_runs_have_the_statistics_of_one(backend, steps_at_a_time):
    score = made_trainer(backend, steps_at_a_time).train(STEPS)
    whole = made_trainer(backend)
    order = epoch_order(BATCH * STEPS, 0, 0).reshape(STEPS, BATCH)
    expected = whole.runner.run(order, whole.schedule.rates(np.arange(STEPS)), 0)
    assert [score.loss_sum, score.correct, score.samples] == expected.tolist()


def test_the_pace_follows_the_time_that_steps_take():
    pace = Pace()
    assert pace.steps == 1
    for steps, seconds, expected in [
        (1, 1e-6, 10),  # at most ten times as many
        (10, 1e-5, 100),
        (100, 0.05, 80),  # 0.5 ms each: 0.04 s
        (64, 6.4, 1),  # 0.1 s each: one
        (1, 0.01, 4),
    ]:
        pace.measure(steps, seconds)
        assert pace.steps == expected


def test_the_pace_goes_on_in_whole_graphs_where_there_are_any():
    pace = Pace(16)
    assert pace.steps == 16
    for steps, seconds, expected in [
        (16, 0.01, 64),
        (64, 0.05, 48),  # 51 would take 0.04 s
        (48, 0.48, 4),  # 10 ms each: not even a graph
        (4, 1e-4, 32),
    ]:
        pace.measure(steps, seconds)
        assert pace.steps == expected


def test_one_step_among_many_does_not_make_the_pace_slow():
    pace = Pace()
    pace.steps = 160
    pace.measure(1, 1e-5)
    assert pace.steps == 160


# Interrupts that wait.


@pytest.fixture
def heard():
    """Noted in place of what Ctrl-C does."""
    numbers = []
    before = signal.signal(signal.SIGINT, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_until_it_is_let_through(heard):
    with DeferredInterrupts() as interrupts:
        press()
        press()
        assert heard == []
        interrupts.let_through()
        assert heard == [signal.SIGINT]
        interrupts.let_through()
    assert heard == [signal.SIGINT]


def test_an_interrupt_waits_until_the_end_at_most(heard):
    before = signal.getsignal(signal.SIGINT)
    with DeferredInterrupts():
        press()
        assert heard == []
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before
    press()
    assert len(heard) == 2


def test_the_outer_one_keeps_what_comes_within_an_inner_one(heard):
    with DeferredInterrupts() as outer:
        with DeferredInterrupts() as inner:
            press()
        assert heard == []
        with DeferredInterrupts() as inner:
            inner.let_through()
        assert len(heard) == 1
        press()
        outer.let_through()
        assert len(heard) == 2


def test_a_handler_may_put_another_in_its_place():
    second = []

    def first(number, frame):
        signal.signal(signal.SIGINT, lambda number, frame: second.append(number))

    before = signal.signal(signal.SIGINT, first)
    try:
        with DeferredInterrupts() as interrupts:
            press()
            interrupts.let_through()
            press()
            assert second == []
        assert len(second) == 1
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_is_set_within_stays(heard):
    def other(number, frame):
        pass

    with DeferredInterrupts():
        signal.signal(signal.SIGINT, other)
    assert signal.getsignal(signal.SIGINT) is other


def test_an_exception_leaves_the_handler_as_it_was(heard):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), DeferredInterrupts():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before
    with DeferredInterrupts():  # and the next one works
        assert signal.getsignal(signal.SIGINT) is not before


def test_ctrl_c_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with DeferredInterrupts() as interrupts:
            press()
            interrupts.let_through()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_whoever_presses_again_later_is_heard_at_once(heard, monkeypatch):
    monkeypatch.setattr(interrupts_module, "_PATIENCE_SECONDS", 0.0)
    with DeferredInterrupts():
        press()
        assert heard == []
        press()
        assert len(heard) == 1
    assert len(heard) == 1
