"""Whole steps through the CUDA sources, run on the host in place of a GPU."""

import contextlib
import functools
import os
import sys
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, Replayed, standing_in

from fastconv import train
from fastconv.backends.cupy import run
from fastconv.backends.cupy.device import CudaDevice
from fastconv.data import Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalMaxPool2D,
    GroupNorm,
    LayerNorm,
    MaxPool2D,
    Permute,
    ReflectPad2D,
    ReLU,
    SeparableConv2D,
    SpatialDropout,
    StochasticDepth,
    Upsample2D,
)
from fastconv.momentum_schedules import OneCycleMomentum
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.plans.loss import Loss
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare
from fastconv.schedules import Constant, Cosine
from fastconv.trainer import Trainer


@pytest.fixture
def device(monkeypatch):
    """A device in place of CuPy's, and a cupy backend that can train."""
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(HostDevice()) as made:
        yield made


def trainer_of(recipe, backend, *settings):
    loaded = load_recipe(recipe, settings)
    return prepare(
        loaded, dataset=synthetic_dataset(loaded), config=ExecutionConfig(backend)
    ).trainer


def losses_of(trainer, steps):
    return np.array([trainer.train(1).loss for _ in range(steps)])


@pytest.mark.parametrize(
    ("recipe", "settings", "steps"),
    [
        ("mnist-strided", (), 30),
        ("mnist-strided", (("batch_size", 16),), 4),
        ("lenet5", (("batch_size", 3),), 3),
        ("digits", (), 3),
    ],
)
def test_training_through_the_cuda_sources_has_the_losses_of_numpy(device, recipe, settings, steps):
    ours = losses_of(trainer_of(recipe, "cupy", *settings), steps)
    assert device.launched
    expected = losses_of(trainer_of(recipe, "numpy", *settings), steps)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def made_trainer(backend):
    """A network with every kind of layer that draws, normalises or pools."""
    samples = synthetic_dataset(load_recipe("mnist-strided")).training.take(range(40))
    network = Sequential(
        [Conv2D(4, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2), Conv2D(3, stride=2),
         Dropout(0.25), AvgPool2D(2), Flatten(), Dense(10)],
        (28, 28, 1), seed=1,
    )  # fmt: skip
    return Trainer(
        network, samples, loss="softmax_cross_entropy", schedule=Constant(0.01), batch_size=5,
        optimizer=Optimizer("momentum", l2=0.01), preprocessing=Preprocessing("scale"), seed=7,
        augmentation=Augmentation(flip=True, crop=2, rotation=10, cutout=3), backend=backend,
    )  # fmt: skip


def test_dropout_and_augmentation_draw_what_they_draw_elsewhere(device):
    ours, numpy = made_trainer("cupy"), made_trainer("numpy")
    np.testing.assert_allclose(losses_of(ours, 6), losses_of(numpy, 6), rtol=1e-4)
    assert ours.evaluate(ours.training).loss == pytest.approx(
        numpy.evaluate(numpy.training).loss, rel=1e-4
    )


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(alternating_flip=True, crop=3, crop_padding="reflect", mixup=0.4, cutmix=1.0),
        Augmentation(flip=True, resized_crop=0.3, cutmix=1.0),
    ],
    ids=["reflected", "resized"],
)
def test_crops_mixtures_momenta_and_slow_weights_are_those_of_numpy(device, augmentation):
    samples = synthetic_dataset(load_recipe("mnist-strided")).training.take(range(17))
    made = []
    for backend in ("cupy", "numpy"):
        network = Sequential(
            [Conv2D(3, stride=2), ReLU(), Flatten(), Dense(10)], (28, 28, 1), seed=1
        )
        trainer = Trainer(
            network, samples, loss="softmax_cross_entropy", schedule=Constant(0.01), batch_size=5,
            optimizer=Optimizer("nesterov", lookahead_steps=3), preprocessing="scale", seed=7,
            augmentation=augmentation, backend=backend, last_batch="keep",
            momentum_schedule=OneCycleMomentum(8),
        )  # fmt: skip
        losses = losses_of(trainer, 8)
        trainer.update_network()
        made.append((losses, network.parameters))
    np.testing.assert_allclose(made[0][0], made[1][0], rtol=1e-4)
    np.testing.assert_allclose(made[0][1], made[1][1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("momenta", [None, OneCycleMomentum(6, 0.5, 0.5, 0.9)])
def test_schedules_of_groups_and_what_is_frozen_are_those_of_numpy(device, momenta):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (24, 6, 6, 2), dtype=np.uint8)
    samples = Samples(images, generator.integers(0, 3, 24))
    groups = (
        ParameterGroup("conv2d_1.*", frozen=True),
        ParameterGroup("dense_2.*", schedule=Constant(0.2), rate_factor=0.5),
        ParameterGroup("*.bias", schedule=Cosine(0.3, 6)),
    )
    trained = []
    for backend in ("cupy", "numpy"):
        layers = [Conv2D(4), ReLU(), Flatten(), Dense(6), ReLU(), Dense(3)]
        trainer = Trainer(
            Sequential(layers, (6, 6, 2), seed=1), samples, loss="softmax_cross_entropy",
            optimizer=Optimizer("momentum", groups=groups), schedule=0.05, batch_size=8,
            momentum_schedule=momenta, preprocessing="scale", backend=backend,
        )  # fmt: skip
        for steps in (3, 1, 2):
            trainer.train(steps)
        trainer.update_network()
        kernels = [call.kernel for call in trainer.runner.plan.calls]
        assert "conv.conv2d_backward_weight" not in kernels
        trained.append(trainer.network.parameters)
    np.testing.assert_allclose(trained[0], trained[1], rtol=0, atol=2e-6)


def test_the_parameters_come_back(device):
    trainer = made_trainer("cupy")
    before = trainer.network.parameters.copy()
    trainer.train(2)
    trainer.update_network()
    assert not np.array_equal(trainer.network.parameters, before)


def test_a_training_goes_on_from_a_checkpoint_with_the_same_bits(device):
    whole, cut = made_trainer("cupy"), made_trainer("cupy")
    score = whole.train(3)
    whole.train(2, since=score)
    cut.train(3)
    checkpoint = cut.checkpoint()
    resumed = made_trainer("cupy")
    resumed.restore(checkpoint)
    resumed.train(2, since=score)  # the sums go on on the device too
    for trainer in (whole, resumed):
        trainer.update_network()
    np.testing.assert_array_equal(resumed.network.parameters, whole.network.parameters)
    np.testing.assert_array_equal(resumed.network.state, whole.network.state)
    assert resumed.score == whole.score
    assert resumed.score.samples == 25
    resumed.set_weights(checkpoint.arrays)
    assert resumed.evaluate(resumed.training) == cut.evaluate(cut.training)


# Recordings.


@functools.cache
def weights_without_recording(steps):
    trainer = trainer_of("mnist-strided", "cupy")
    trainer.train(steps)
    trainer.update_network()
    return trainer.network.parameters.copy()


@pytest.fixture
def recordings(device, monkeypatch):
    """The device records: all recordings that it made, in order."""
    made = []

    def record(launches):
        made.append(Replayed(device, launches))
        return made[-1]

    monkeypatch.setattr(device, "record", record)
    return made


@pytest.mark.parametrize("steps", [1, 16, 37])
def test_steps_that_are_replayed_train_as_single_launches_do(
    device, monkeypatch, recordings, steps
):
    monkeypatch.setenv("FASTCONV_CUDA_GRAPHS", "0")
    expected = weights_without_recording(steps)
    assert not recordings
    monkeypatch.delenv("FASTCONV_CUDA_GRAPHS")
    trainer = trainer_of("mnist-strided", "cupy")
    assert trainer.runner.launches == "CUDA graphs of 16 and 1 steps"
    device.launched.clear()
    trainer._pace.steps = steps  # in one run, slow as they are on the host
    trainer.train(steps)
    many, one = recordings[:2]  # those of the trainer's own runner
    assert (many.replays, one.replays) == divmod(steps, run.STEPS_OF_A_GRAPH)
    # Nothing is launched beside the recordings.
    assert len(device.launched) == steps * len(one.launches)
    trainer.update_network()
    np.testing.assert_array_equal(trainer.network.parameters, expected)


def test_steps_come_in_multiples_of_what_is_recorded(device):
    trainer = trainer_of("mnist-strided", "cupy")
    assert trainer._pace.steps == run.STEPS_OF_A_GRAPH
    trainer._pace.measure(16, 0.01)  # a twenty-fifth of a second would be 64
    assert trainer._pace.steps % run.STEPS_OF_A_GRAPH == 0


def test_kernels_are_timed_in_recordings_of_many_and_the_step_is_the_same(device, recordings):
    plain, timed = (trainer_of("mnist-strided", "cupy") for _ in range(2))
    order = np.zeros((1, 1), np.int64)
    plain.runner.run(order, np.full(1, 0.1))
    before = len(recordings)
    times = np.zeros(len(timed.runner.origins), np.int64)
    timed.runner.run(order, np.full(1, 0.1), 0, times)
    assert (times > 0).all()
    repeated = recordings[before:]
    assert len(repeated) == len(times)
    for each in repeated:
        assert each.replays == 1
        # Twenty times the same.
        assert len(each.launches) % 20 == 0
        assert len({launch[2] for launch in each.launches}) <= 2
    for trainer in (plain, timed):
        trainer.update_network()
    np.testing.assert_array_equal(timed.network.parameters, plain.network.parameters)


def test_without_graphs_the_runner_says_that_each_step_is_launched(device, monkeypatch):
    trainer = trainer_of("mnist-strided", "cupy")
    assert trainer.runner.steps_of_a_graph == 1
    assert trainer.runner.launches == "one by one: no CUDA graph could be recorded"
    monkeypatch.setenv("FASTCONV_CUDA_GRAPHS", "0")
    trainer = trainer_of("mnist-strided", "cupy")
    assert trainer.runner.launches == "one by one: FASTCONV_CUDA_GRAPHS is 0"
    monkeypatch.setenv("FASTCONV_CUDA_GRAPHS", "off")
    with pytest.raises(ValueError, match="FASTCONV_CUDA_GRAPHS is 'off'; expected 0 or 1"):
        trainer_of("mnist-strided", "cupy")


class RefusedCapture(RuntimeError):
    """In place of CuPy's CUDARuntimeError."""


class RefusedLaunch(RuntimeError):
    """In place of CuPy's CUDADriverError, which is no CUDARuntimeError."""


class Card(contextlib.nullcontext):
    """In place of CuPy's Device."""

    id = 0


class Module:
    """In place of CuPy's RawModule; knows when it was compiled, and in which thread."""

    compiled: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, code, options, name_expressions):
        self.name = name_expressions[0]

    def compile(self):
        time.sleep(0.05)
        self.compiled.append((self.name, threading.get_ident()))

    def get_function(self, name):
        return SimpleNamespace(compile=lambda: None)


def made_cupy(monkeypatch, stream):
    runtime = SimpleNamespace(CUDARuntimeError=RefusedCapture, getDevice=lambda: 0)
    cuda = SimpleNamespace(
        runtime=runtime, driver=SimpleNamespace(CUDADriverError=RefusedLaunch),
        get_current_stream=lambda: stream,
        Device=lambda *_: Card(),
    )  # fmt: skip
    cupy = SimpleNamespace(cuda=cuda, RawModule=Module)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return CudaDevice()


@pytest.mark.parametrize("refused", [RefusedCapture, RefusedLaunch])
def test_a_card_that_records_no_graph_is_warned_of(monkeypatch, refused):
    def refuse():
        raise refused("cudaErrorStreamCaptureUnsupported")

    made = made_cupy(monkeypatch, SimpleNamespace(begin_capture=refuse))
    launched = []
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph could be recorded \(cudaErrorStream"):
        assert made.record(lambda: launched.append(1)) is None
    # Once, to load the kernels: nothing was captured.
    assert launched == [1]


class Function:
    """In place of CuPy's RawKernel, which may ask for more shared memory than a launch may have."""

    def __init__(self):
        self._most, self.asked, self.launched = 48 * 1024, [], []

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._most

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        self._most = size
        self.asked.append(size)

    def compile(self):
        pass

    def __call__(self, grid, block, values, *, shared_mem=0):
        assert shared_mem <= self._most
        self.launched.append(shared_mem)


def test_more_shared_memory_than_usual_is_asked_for_before_the_launch(monkeypatch):
    made, function = made_cupy(monkeypatch, None), Function()
    monkeypatch.setattr(Module, "get_function", lambda self, name: function)
    for size in (0, 1024, 90_000, 60_000, 200_000):
        made.launch(
            "block_steps.cu", np.dtype("float32"), "block_steps<float>", (1, 1, 1), (512, 1, 1),
            [], size,
        )  # fmt: skip
    assert function.launched == [0, 1024, 90_000, 60_000, 200_000]
    assert function.asked == [90_000, 200_000]


def test_sources_are_compiled_side_by_side_and_nothing_runs_meanwhile(monkeypatch):
    made = made_cupy(monkeypatch, None)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    Module.compiled.clear()
    float32 = np.dtype("float32")

    def launches():
        for source, kernel in (("run.cu", "begin_step"), ("merge.cu", "add<float>")):
            made.launch(source, float32, kernel, (1, 1, 1), (1, 1, 1), [])

    made.load(launches)
    assert len(Module.compiled) == 2
    assert len({thread for _, thread in Module.compiled}) == 2


def test_the_list_of_a_steps_launches(device):
    trainer = trainer_of("mnist-strided", "cupy")
    device.launched.clear()
    trainer.train(1)
    names = [kernel.partition("<")[0] for _, kernel, _, _ in device.launched]
    assert names[0] == "begin_step"
    assert names[-1] == "sgd_update"
    assert names.count("conv2d_forward") == 2
    # The first layer's input needs no gradient.
    assert names.count("conv2d_backward_data") == 1
    assert names.count("conv2d_backward_weight") == 2


def test_another_device_can_be_asked_for_where_there_is_one(device, tmp_path, capsys):
    asked = ["--backend", "cupy", "--steps", "1", "--quiet", "--out"]
    assert train.main([*asked, str(tmp_path / "run"), "--device", "0"]) == 0
    assert device.launched
    assert train.main([*asked, str(tmp_path / "other"), "--device", "3"]) == 2
    told = capsys.readouterr().err
    assert told == "fastconv.train: device is 3; expected 0 to 0, one of the CUDA devices\n"


def test_a_device_is_for_the_cupy_backend_alone(capsys):
    assert train.main(["--backend", "numpy", "--device", "0"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "fastconv.train: device is 0 but the backend is 'numpy'; expected none there"
    )
    assert len(told.splitlines()) == 1


def test_a_device_without_room_is_an_error_that_names_the_batch_and_the_bytes(device, monkeypatch):
    class Full:
        zeros = staticmethod(lambda *_: (_ for _ in ()).throw(MemoryError("0 bytes free")))
        array = staticmethod(np.array)

    monkeypatch.setattr(device, "arrays", Full)
    with pytest.raises(MemoryError, match=r"batch size 1 needs \d+ bytes on the device.*smaller"):
        trainer_of("mnist-strided", "cupy")


def test_new_layers_and_losses_through_the_cuda_sources_are_those_of_numpy(device):
    layers = [
        SeparableConv2D(6, padding=1), GroupNorm(2), ReLU(), SpatialDropout(0.25),
        Upsample2D(2, "bilinear"), ReflectPad2D(1), Permute((1, 0, 2)), LayerNorm(6),
        StochasticDepth(0.25), GlobalMaxPool2D(), Dense(4),
    ]  # fmt: skip
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 24)
    labels[::5] = -100
    samples = Samples(generator.integers(0, 256, (24, 5, 4, 2)).astype(np.uint8), labels)
    loss = Loss(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5, 1.0), ignore_index=-100)
    made = {}
    for backend in ("numpy", "cupy"):
        trainer = Trainer(
            Sequential(layers, (5, 4, 2)), samples, loss=loss, optimizer=Optimizer("momentum"),
            schedule=Constant(0.05), batch_size=8, seed=1, backend=backend,
            sample_weights=np.linspace(0.5, 1.5, 24),
        )  # fmt: skip
        made[backend] = [trainer.train(1).loss for _ in range(3)]
        made[backend] += [trainer.evaluate(samples).loss, trainer.evaluate(samples).accuracy]
    assert device.launched
    np.testing.assert_allclose(made["cupy"], made["numpy"], rtol=1e-4)
