"""Trainings whose steps one launch makes: each as by itself, on the host in place of a card."""

import dataclasses
import threading

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, standing_in
from saved_runs import recipe_of, shades

import fastconv
from fastconv.backends.cupy import run
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.ending import Interruption
from fastconv.execution.lockstep import Lockstep, LockstepConfig, in_lockstep, taking_part
from fastconv.execution.side_by_side import side_by_side
from fastconv.many_networks.trainings import Wanted, train_wanted
from fastconv.training_run import RunOptions

SMALL = [
    {"kind": "conv2d", "filters": 4}, {"kind": "relu"}, {"kind": "max_pool2d", "kernel": 2},
    {"kind": "dropout", "probability": 0.2}, {"kind": "flatten"}, {"kind": "dense", "units": 3},
]  # fmt: skip
WITH_NORM = [{**SMALL[0], "bias": False}, {"kind": "batch_norm"}, *SMALL[1:]]
BLOCKS = "block_steps<float>"


@pytest.fixture
def device(monkeypatch):
    """A device in place of CuPy's, and a cupy backend that can train."""
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(HostDevice()) as made:
        yield made


def weights_of(trained):
    return {name: array.copy() for name, array in trained.network.named_arrays().items()}


def launches_of_blocks(device):
    """How many networks each launch of blocks had."""
    return [grid[1] for _, kernel, grid, _ in device.launched if kernel == BLOCKS]


def train_many(recipes, backend="cupy", **options):
    return fastconv.train_many(recipes, dataset=shades(), backend=backend, **options)


def assert_trained_alike(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.stopped == other.stopped
        assert one.history["step"].tolist() == other.history["step"].tolist()
        np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-3)
        expected = weights_of(other)
        for name, array in weights_of(one).items():
            np.testing.assert_allclose(array, expected[name], atol=2e-3, err_msg=name)


def test_many_networks_are_trained_by_one_launch_as_numpy_trains_each(device):
    rates = (0.01, 0.003)
    recipes = [recipe_of(SMALL, optimizer={"kind": "adam", "lr": rate}) for rate in rates]
    ours = train_many(recipes, seeds=(3, 5))
    made = launches_of_blocks(device)
    assert max(made) == 4
    assert sum(made) / len(made) > 3
    assert_trained_alike(ours, train_many(recipes, "numpy", seeds=(3, 5)))
    assert len({weights_of(each)["dense_1.weight"].tobytes() for each in ours}) == 4


def test_networks_of_different_layers_and_lengths_train_together(device):
    larger = [{**SMALL[0], "filters": 6}, *SMALL[1:]]
    recipes = [
        recipe_of(SMALL),
        recipe_of(larger, epochs=1, batch_size=10),
        recipe_of(SMALL, seed=4),
    ]
    ours = train_many(recipes)
    assert max(launches_of_blocks(device)) == 3
    assert_trained_alike(ours, train_many(recipes, "numpy"))


def test_how_many_train_together_changes_no_bit(device, monkeypatch):
    recipe = recipe_of(SMALL, epochs=1)
    four = train_many(recipe, seeds=range(4))
    monkeypatch.setattr(device, "multiprocessors", 2)
    device.launched.clear()
    two_at_a_time = train_many(recipe, seeds=range(4))
    assert max(launches_of_blocks(device)) == 2
    for one, other in zip(four, two_at_a_time, strict=True):
        for name, array in weights_of(one).items():
            np.testing.assert_array_equal(array, weights_of(other)[name])


def test_one_that_diverges_ends_alone(device):
    good = recipe_of(SMALL)
    bad = recipe_of(SMALL, optimizer={"kind": "sgd", "lr": 1e30})
    ours = train_many([bad, good, good], seeds=(1,))
    assert [each.stopped for each in ours] == ["diverged", "completed", "completed"]
    assert_trained_alike(ours[1:], train_many([good, good], "numpy", seeds=(1,)))


def test_a_network_that_no_block_makes_is_trained_by_itself(device):
    recipes = [
        recipe_of(WITH_NORM),
        recipe_of(SMALL),
        recipe_of(WITH_NORM, seed=2),
        recipe_of(SMALL),
    ]
    ours = train_many(recipes)
    kernels = [kernel for _, kernel, _, _ in device.launched]
    assert max(launches_of_blocks(device)) == 2
    assert kernels.count("adam_update<float>") == 2 * 18
    assert_trained_alike(ours, train_many(recipes, "numpy"))


def test_where_graphs_would_be_sooner_no_block_is_asked_for(device, monkeypatch):
    monkeypatch.setattr(run, "pays_in_a_block", lambda plan, networks: False)
    train_many(recipe_of(SMALL, epochs=1), seeds=(1, 2))
    assert launches_of_blocks(device) == []


def test_trainings_that_were_stopped_go_on_to_the_same_bits(device, tmp_path):
    data, recipe = shades(), recipe_of(SMALL)
    wanted = [Wanted(dataclasses.replace(recipe, seed=n), tmp_path / f"seed-{n}") for n in range(3)]
    asked, made = Interruption(), run.run_together

    def ask_after_some(pieces):
        if pieces[0].first_step > 6:
            asked.ask()
        return made(pieces)

    options = RunOptions(ExecutionConfig("cupy"), probes=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_together", ask_after_some)
        ended = [each.stopped for _, each in train_wanted(wanted, options, asked, dataset=data)]
    assert "interrupted" in ended
    again = train_many(recipe, seeds=range(3), out=tmp_path)
    for one, other in zip(again, train_many(recipe, seeds=range(3)), strict=True):
        assert one.stopped == "completed"
        for name, array in weights_of(one).items():
            np.testing.assert_array_equal(array, weights_of(other)[name])


def test_the_samples_are_on_the_device_once(device, monkeypatch):
    brought, to_device = [], run.to_device

    def counted(array):
        brought.append(array.shape)
        return to_device(array)

    monkeypatch.setattr(run, "to_device", counted)
    data = shades()
    fastconv.train_many(recipe_of(SMALL), seeds=range(3), steps=2, dataset=data, backend="cupy")
    assert brought.count(data.training.images.shape) == 1


# Threads in lockstep.


def in_threads(calls, lockstep):
    """Make calls in threads that all begin before the first is made; results by number."""
    together = threading.Barrier(len(calls), timeout=20)

    def taking_part(call):
        together.wait()
        with lockstep.taking_part():
            return call()

    calls = [lambda call=call: taking_part(call) for call in calls]
    return sorted(side_by_side(calls, len(calls), Interruption()))


def test_all_steps_are_made_at_once_and_each_thread_has_its_own():
    batches = []

    def double(pieces):
        batches.append(len(pieces))
        return [2 * piece for piece in pieces]

    lockstep = Lockstep(double)
    with lockstep.taking_part():
        pass  # nobody waits for who has left

    def count(start):
        return [lockstep.run(start + n)[0] for n in range(4)]

    results = in_threads([lambda n=n: count(10 * n) for n in range(3)], lockstep)
    assert results == [(n, [2 * (10 * n + k) for k in range(4)]) for n in range(3)]
    assert sum(batches) == 12


def test_one_thread_is_at_work_at_a_time():
    lockstep, at_work, most = Lockstep(lambda pieces: pieces), [], []

    def work():
        for number in range(20):
            at_work.append(number)
            most.append(len(at_work))
            at_work.remove(number)
            lockstep.run(number)

    in_threads([work] * 4, lockstep)
    assert max(most) == 1


def test_who_leaves_is_not_waited_for():
    lockstep = Lockstep(lambda pieces: pieces)
    calls = [lambda n=n: [lockstep.run(n)[0] for _ in range(n)] for n in range(5)]
    assert in_threads(calls, lockstep) == [(n, [n] * n) for n in range(5)]


def test_a_fault_of_the_launch_is_raised_in_every_thread():
    def fail(pieces):
        raise MemoryError("planted")

    lockstep, raised = Lockstep(fail), []

    def work():
        try:
            lockstep.run(1)
        except MemoryError as fault:
            raised.append(str(fault))

    in_threads([work] * 3, lockstep)
    assert raised == ["planted"] * 3


def test_a_fault_of_one_thread_lets_the_others_go_on():
    lockstep, ended = Lockstep(lambda pieces: pieces), []

    def work():
        for _ in range(3):
            lockstep.run(0)
        ended.append(True)

    def fail():
        lockstep.run(0)
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        in_threads([work, fail, work], lockstep)
    assert ended == [True, True]


def test_a_config_with_another_field_is_of_a_training_by_itself(device):
    config = in_lockstep(ExecutionConfig("cupy", threads=2), 3)
    assert config.fields() == ExecutionConfig("cupy", threads=2).fields()
    other = dataclasses.replace(config, threads=1)
    assert isinstance(other, LockstepConfig)
    assert (other.threads, other.lockstep) == (1, None)
    with taking_part(other):
        assert config.uploads("float32") is config.uploads("float32")
    assert other.uploads("float32") is not other.uploads("float32")
