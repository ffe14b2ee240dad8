"""Checkpoints of a trainer and its loop: what goes on from one is what would have been."""

import contextlib
import json
import os
import signal
import threading

import numpy as np
import pytest

import fastconv
from fastconv.backends.selection import NAMES, backend_state
from fastconv.data import Samples
from fastconv.execution.checkpoint import Checkpoint, CheckpointError
from fastconv.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.runs.checkpoints import CheckpointInterval, RunCheckpoints, newest_checkpoint
from fastconv.schedules import Cosine, Plateau, Warmup
from fastconv.training_loop import Progress, fit

BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]
BATCH, STEPS_OF_EPOCH, EVERY, STEPS = 4, 9, 4, 30
"""Lines end within epochs, and epochs within lines."""


def samples(count, seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 6, 5, 2), np.uint8)
    return Samples(images, generator.integers(0, 3, count))


def made_trainer(backend="numpy", optimizer="adam", **options):
    network = fastconv.Sequential(
        [Conv2D(4), BatchNorm(), ReLU(), Dropout(0.2), Flatten(), Dense(3)], input_shape=(6, 5, 2)
    )
    defaults = {
        "loss": "softmax_cross_entropy",
        "optimizer": Optimizer(optimizer),
        "schedule": Cosine(0.02, STEPS),
        "batch_size": BATCH,
        "preprocessing": Preprocessing("scale"),
        "augmentation": Augmentation(flip=True, crop=1),
        "seed": 3,
        "backend": backend,
        "threads": 1,
    }
    return fastconv.Trainer(
        network, samples(BATCH * STEPS_OF_EPOCH + 1, 0), **{**defaults, **options}
    )


def weights_of(trainer):
    trainer.update_network()
    return np.concatenate([trainer.network.parameters, trainer.network.state])


def lines_of(result):
    """The lines of a history, all their bits, without the times."""
    return [(r.step, r.epoch, r.learning_rate, r.training, r.validation) for r in result.history]


class EveryStep:
    """Keeps the state behind each step and each line, as a file's text and arrays."""

    def __init__(self, trainer):
        self.trainer, self.kept = trainer, []

    def steps_left(self, step):
        return 1

    def offer(self, progress, *, at_line, must):
        checkpoint = self.trainer.checkpoint()
        checkpoint.state["progress"] = progress.table()
        self.kept.append(Checkpoint(checkpoint.arrays, json.loads(json.dumps(checkpoint.state))))


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_goes_on_from_every_step_with_the_same_bits(backend, optimizer):
    validation = samples(11, 1)
    whole = made_trainer(backend, optimizer)
    result = fit(whole, STEPS, validation=validation, record_every=EVERY)

    cut = made_trainer(backend, optimizer)
    keeper = EveryStep(cut)
    in_steps = fit(cut, STEPS, validation=validation, record_every=EVERY, checkpoints=keeper)
    # However the steps are cut, and however often somebody looks.
    assert lines_of(in_steps) == lines_of(result)
    np.testing.assert_array_equal(weights_of(cut), weights_of(whole))
    assert {each.state["trainer"]["step"] for each in keeper.kept} == set(range(1, STEPS + 1))

    other = made_trainer(backend, optimizer)
    for checkpoint in keeper.kept[:: 1 if backend == "cython" else 5]:
        other.restore(checkpoint)
        assert other.step == checkpoint.state["trainer"]["step"]
        resumed = fit(
            other, STEPS, validation=validation, record_every=EVERY,
            progress=Progress.from_table(checkpoint.state["progress"]),
        )  # fmt: skip
        np.testing.assert_array_equal(weights_of(other), weights_of(whole))
        assert lines_of(resumed) == lines_of(result)
        assert resumed.training == result.training
        assert resumed.validation == result.validation


def test_a_shorter_training_goes_on_to_be_the_longer_one():
    """The last line of the shorter one, which ends early, is none of the longer one."""
    longer = made_trainer()
    expected = fit(longer, STEPS, record_every=EVERY)
    trainer = made_trainer()
    keeper = EveryStep(trainer)
    shorter = fit(trainer, 10, record_every=EVERY, checkpoints=keeper)
    assert [record.step for record in shorter.history] == [4, 8, 10]
    last = keeper.kept[-1]
    resumed_trainer = made_trainer()
    resumed_trainer.restore(last)
    progress = Progress.from_table(last.state["progress"])
    resumed = fit(resumed_trainer, STEPS, record_every=EVERY, progress=progress)
    assert lines_of(resumed) == lines_of(expected)
    np.testing.assert_array_equal(weights_of(resumed_trainer), weights_of(longer))


def test_ctrl_c_keeps_the_state_of_that_moment_and_its_line_is_no_line_of_the_whole():
    whole = made_trainer()
    expected = fit(whole, STEPS, record_every=EVERY)
    trainer = made_trainer()
    keeper = EveryStep(trainer)
    stopped = fit(
        trainer, STEPS, record_every=EVERY, checkpoints=keeper,
        is_interrupted=lambda: trainer.step == 6,
    )  # fmt: skip
    assert stopped.stopped == "interrupted"
    assert [record.step for record in stopped.history] == [4, 6]
    resumed_trainer = made_trainer()
    resumed_trainer.restore(keeper.kept[-1])
    progress = Progress.from_table(keeper.kept[-1].state["progress"])
    assert lines_of(fit(resumed_trainer, STEPS, record_every=EVERY, progress=progress)) == lines_of(
        expected
    )


def test_a_validation_that_is_interrupted_is_made_when_the_training_goes_on():
    validation = samples(11, 1)
    expected = fit(made_trainer(), STEPS, validation=validation, record_every=EVERY)
    trainer = made_trainer()
    keeper, evaluate = EveryStep(trainer), trainer.evaluate

    def pressed(samples, **options):
        if trainer.step == 8:
            raise KeyboardInterrupt
        return evaluate(samples, **options)

    trainer.evaluate = pressed
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, STEPS, validation=validation, record_every=EVERY, checkpoints=keeper)
    last = keeper.kept[-1]
    assert (last.state["trainer"]["step"], len(last.state["progress"]["history"])) == (8, 1)
    resumed = made_trainer()
    resumed.restore(last)
    progress = Progress.from_table(last.state["progress"])
    result = fit(resumed, STEPS, validation=validation, record_every=EVERY, progress=progress)
    assert lines_of(result) == lines_of(expected)


@pytest.mark.parametrize("other", [name for name in BACKENDS if name != "numpy"])
def test_a_checkpoint_of_one_backend_goes_on_with_another(other, tmp_path):
    trainer = made_trainer("numpy", "nesterov")
    trainer.train(5)
    trainer.save_checkpoint(tmp_path / "five.safetensors")
    elsewhere = made_trainer(other, "nesterov")
    elsewhere.load_checkpoint(tmp_path / "five.safetensors")
    np.testing.assert_array_equal(weights_of(elsewhere), weights_of(trainer))
    for each in (trainer, elsewhere):
        each.train(4)
    np.testing.assert_allclose(weights_of(elsewhere), weights_of(trainer), rtol=1e-3, atol=1e-5)


def test_a_file_goes_on_as_if_training_had_not_stopped(tmp_path):
    whole = made_trainer()
    whole.train(9)
    trainer = made_trainer()
    trainer.train(4)
    trainer.save_checkpoint(tmp_path / "four.safetensors")
    again = made_trainer()
    again.load_checkpoint(tmp_path / "four.safetensors")
    again.train(5)
    np.testing.assert_array_equal(weights_of(again), weights_of(whole))


# Files.


@pytest.fixture
def saved(tmp_path):
    trainer = made_trainer()
    trainer.train(3)
    trainer.save_checkpoint(tmp_path / "kept.safetensors")
    return tmp_path / "kept.safetensors"


def test_equal_states_give_equal_files(saved, tmp_path):
    trainer = made_trainer()
    trainer.load_checkpoint(saved)
    trainer.save_checkpoint(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_every_damage_is_found(saved):
    content = saved.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(content), 60).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.integers(8)
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"kept\.safetensors"):
            Checkpoint.read(saved)
    for length in (0, 7, 100, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            Checkpoint.read(saved)


def test_a_checkpoint_that_does_not_fit_changes_nothing(saved):
    for options, told in (
        ({"seed": 4}, "seed is 3; the trainer's is 4"),
        ({"batch_size": 5}, "batch_size is 4; the trainer's is 5"),
    ):
        trainer = made_trainer(**options)
        before = weights_of(trainer)
        with pytest.raises(CheckpointError, match=told):
            trainer.load_checkpoint(saved)
        np.testing.assert_array_equal(weights_of(trainer), before)
        assert trainer.step == 0


def test_files_that_are_no_checkpoints_are_told_apart(saved, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        Checkpoint.read(tmp_path / "none.safetensors")
    made_trainer().network.save_weights(saved)
    with pytest.raises(CheckpointError, match=r"holds weights alone.*--init-from"):
        Checkpoint.read(saved)


SPOILED = [
    {"step": -1}, {"step": 2**70}, {"step": "3"}, {"step": True}, {"rate_factor": None},
    {"train_seconds": []}, {"observations": []}, {"observations": {"waited": 1}}, {"config": 7},
]  # fmt: skip


@pytest.mark.parametrize("change", SPOILED, ids=str)
def test_a_state_that_no_trainer_has_changes_nothing(saved, change):
    """Whoever changes a file may make its digest fit."""
    checkpoint = Checkpoint.read(saved)
    checkpoint.state["trainer"].update(change)
    checkpoint.write(saved)
    trainer = made_trainer(schedule=Plateau(0.02))
    before = weights_of(trainer)
    with pytest.raises(CheckpointError, match="checkpoint: damaged") as refused:
        trainer.load_checkpoint(saved)
    assert next(iter(change)) in str(refused.value)
    np.testing.assert_array_equal(weights_of(trainer), before)
    assert trainer.step == 0


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", "\ud800"])
def test_a_state_that_is_no_table_is_damage(saved, text, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda value, dumps=json.dumps: (
        text if "trainer" in value else dumps(value)
    ))  # fmt: skip
    with contextlib.suppress(UnicodeEncodeError):
        Checkpoint.read(saved).write(saved)
        with pytest.raises(CheckpointError, match=r"damaged \(its content"):
            Checkpoint.read(saved)


# When they are made, and which are kept.


def keep(folder, interval, steps=STEPS, **options):
    trainer = made_trainer()
    said = []
    checkpoints = RunCheckpoints(folder, trainer, interval, dict, said.append)
    fit(trainer, steps, record_every=EVERY, checkpoints=checkpoints, **options)
    return sorted(file.name for file in folder.glob("checkpoints/*")), said


def test_the_last_two_are_kept(tmp_path):
    names, said = keep(tmp_path, CheckpointInterval(steps=7))
    assert names == ["step-000000028.safetensors", "step-000000030.safetensors"]
    assert said == []


def test_in_a_short_training_there_is_one_at_the_end(tmp_path):
    assert keep(tmp_path, CheckpointInterval())[0] == ["step-000000030.safetensors"]


def test_where_there_are_never_any_the_training_is_the_same(tmp_path):
    assert keep(tmp_path, CheckpointInterval(never=True)) == ([], [])


def test_of_a_damaged_newest_one_the_one_before_is_taken_and_said(tmp_path):
    keep(tmp_path, CheckpointInterval(steps=7))
    newest = tmp_path / "checkpoints" / "step-000000030.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    checkpoint, wrong = newest_checkpoint(tmp_path)
    assert checkpoint.state["trainer"]["step"] == 28
    assert len(wrong) == 1
    assert "step-000000030.safetensors: damaged" in wrong[0]
    (tmp_path / "checkpoints" / "step-000000028.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no other one of the run is whole"):
        newest_checkpoint(tmp_path)


def test_a_full_disk_ends_no_training(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoint, "write", full)
    names, said = keep(tmp_path, CheckpointInterval(steps=15))
    assert names == []
    assert "no checkpoint was written at step 15 (No space left on device)" in said[0]


def test_a_ruined_network_is_not_kept(tmp_path):
    trainer = made_trainer()
    checkpoints = RunCheckpoints(tmp_path, trainer, CheckpointInterval(steps=1), dict, print)
    trainer.train(2)
    checkpoints.save(Progress())
    trainer.network.parameters[3] = np.nan
    trainer.step = 3
    checkpoints.save(Progress())
    assert [p.name for p in tmp_path.glob("checkpoints/*")] == ["step-000000002.safetensors"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, CheckpointInterval()),
        ("500", CheckpointInterval(steps=500)),
        ("500 steps", CheckpointInterval(steps=500)),
        ("30s", CheckpointInterval(seconds=30.0)),
        ("1.5min", CheckpointInterval(seconds=90.0)),
        ("2 hours", CheckpointInterval(seconds=7200.0)),
        ("never", CheckpointInterval(never=True)),
    ],
)
def test_what_intervals_may_be(text, expected):
    assert CheckpointInterval.parse(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "5 apples", "min", "0s", "nan"])
def test_what_intervals_may_not_be(text):
    with pytest.raises(CheckpointError, match="--checkpoint-every is"):
        CheckpointInterval.parse(text)


def test_saving_beside_a_training_in_another_thread_is_between_two_steps():
    trainer = made_trainer("cython" if "cython" in BACKENDS else "numpy")
    trainer.config.run_module  # noqa: B018  # loaded here
    kept, done = [], threading.Event()

    def save():
        while not done.is_set():
            kept.append(trainer.checkpoint())

    saver = threading.Thread(target=save)
    saver.start()
    try:
        fit(trainer, 400)
    finally:
        done.set()
        saver.join()
    steps = {each.state["trainer"]["step"] for each in kept}
    assert steps
    again = made_trainer(trainer.config.backend)
    for checkpoint in kept[:: max(1, len(kept) // 5)]:
        again.restore(checkpoint)
        fit(again, 400)
        np.testing.assert_array_equal(weights_of(again), weights_of(trainer))


def test_sigterm_is_heard_between_steps():
    from fastconv.execution.ending import interruption

    trainer = made_trainer()
    with interruption() as is_interrupted:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        result = fit(trainer, 10**9, is_interrupted=is_interrupted)
        timer.join()
    assert result.stopped == "interrupted"
    assert is_interrupted.signal == signal.SIGTERM
    assert result.history[-1].step == trainer.step


@pytest.mark.parametrize("kind", ["rmsprop", "nadam", "lamb", "muon"])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "numba"])
def test_averages_moments_and_what_a_schedule_has_seen_go_on_with_the_same_bits(backend, kind):
    def trainer():
        return made_trainer(
            backend, optimizer=kind, average=0.75, accumulate=2,
            schedule=Warmup(Plateau(0.02, patience=0, threshold=0.5), 3),
            loss=fastconv.Loss("softmax_cross_entropy", class_weights=(1.0, 0.5, 2.0)),
        )  # fmt: skip

    validation, steps = samples(11, 1), 14
    whole = trainer()
    result = fit(whole, steps, validation=validation, record_every=EVERY)
    assert len({record.learning_rate for record in result.history}) > 2  # the plateau was seen

    cut = trainer()
    keeper = EveryStep(cut)
    fit(cut, steps, validation=validation, record_every=EVERY, checkpoints=keeper)
    for checkpoint in keeper.kept[::3]:
        other = trainer()
        other.restore(checkpoint)
        resumed = fit(
            other, steps, validation=validation, record_every=EVERY,
            progress=Progress.from_table(checkpoint.state["progress"]),
        )  # fmt: skip
        np.testing.assert_array_equal(weights_of(other), weights_of(whole))
        for name, array in whole.trained_network.named_arrays().items():
            np.testing.assert_array_equal(other.trained_network.named_arrays()[name], array)
        assert lines_of(resumed) == lines_of(result)
