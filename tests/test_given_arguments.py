"""Arguments as people give them: taken where the meaning is plain, else named with the fix."""

import io
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from optional_torch import needs_torch, torch

import fastconv
from fastconv import Sequential, Trainer, metrics
from fastconv.backends.configuration import configured_threads
from fastconv.data import DataError, Dataset, Samples, k_folds, split
from fastconv.inference import Inference
from fastconv.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D
from fastconv.network import NetworkError
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Constant
from fastconv.spec import ConvSpec, SpecError

RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(0, 256, (40, 4, 4, 1), np.uint8)
CLASSES = np.arange(40) % 3
SAMPLES = Samples(PIXELS, CLASSES)


def network(**changed):
    return Sequential([Flatten(), Dense(3)], **{"input_shape": (4, 4, 1), **changed})


def trainer(samples=SAMPLES, **changed):
    arguments = {
        "loss": "softmax_cross_entropy", "optimizer": Optimizer("sgd"), "schedule": Constant(0.1),
        "batch_size": 8, "preprocessing": Preprocessing("scale"), "backend": "numpy",
    }  # fmt: skip
    return Trainer(network(), samples, **{**arguments, **changed})


# Numbers that NumPy computed


def test_layers_take_numbers_that_numpy_computed_as_plain_ones():
    layers = [
        Conv2D(np.int32(4), kernel=np.int64(3), stride=np.array([1, 1]), padding=np.array([1, 1])),
        MaxPool2D(np.int64(2)), Dropout(np.float32(0.5)), Flatten(), Dense(CLASSES.max() + 1),
    ]  # fmt: skip
    made = Sequential(layers, np.array([4, 4, 1]), seed=np.int64(3))
    assert made.shapes == ((4, 4, 1), (4, 4, 4), (2, 2, 4), (2, 2, 4), (16,), (3,))
    assert layers[0] == Conv2D(4, kernel=3, stride=(1, 1), padding=(1, 1))
    assert all(type(size) is int for shape in made.shapes for size in shape)


def test_a_trainer_takes_numbers_that_numpy_computed():
    plain, computed = trainer(seed=3), trainer(seed=np.int64(3), batch_size=np.int64(8))
    assert computed.train(np.int64(2)) == plain.train(2)
    assert type(computed.batch_size) is type(computed.seed) is int


def test_metrics_and_folds_take_numbers_that_numpy_computed():
    matrix = metrics.confusion_matrix(CLASSES, CLASSES, CLASSES.max() + 1)
    assert_array_equal(matrix, np.diag([14, 13, 13]))
    assert [len(part) for part in split(SAMPLES, np.int64(10), np.int64(1))] == [30, 10]
    assert len(list(k_folds(np.int64(9), np.int64(3), np.int64(0)))) == 3


@needs_torch
@pytest.mark.parametrize("name", ["stride", "dilation", "padding"])
def test_an_array_of_integers_is_a_pair(name):
    x, w = RANDOM.normal(size=(1, 1, 6, 6)), RANDOM.normal(size=(1, 1, 2, 2))
    options: Any = {name: (2, 1)}
    expected = torch.conv2d(torch.tensor(x), torch.tensor(w), **options)
    y = fastconv.conv2d(x, w, **{name: np.array([2, 1])}, backend="numpy")
    assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("value", [np.array([1.5, 1]), np.array([1, 2, 3]), np.array(True)])
def test_other_arrays_are_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^conv2d: stride is "):
        fastconv.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2)), stride=value)


def test_specs_of_numpy_integers_equal_those_of_plain_ones():
    sizes = 2, 3, 8, 8, 4
    made = ConvSpec(*map(np.int64, sizes), kernel=np.array([3, 3]))
    assert made == ConvSpec(*sizes, kernel=(3, 3))
    assert type(made.batch) is type(made.kernel[0]) is int


@pytest.mark.parametrize("stride", [2**31, 2**63, 10**400])
@pytest.mark.parametrize("backend", ["numpy", "numba", "cython"])
def test_numbers_beyond_what_kernels_count_are_refused_in_one_short_line(stride, backend):
    x, w = np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2))
    for call in (
        lambda: fastconv.conv2d(x, w, stride=stride, backend=backend),
        lambda: fastconv.max_pool2d(x, 2, stride=stride, backend=backend),
        lambda: fastconv.avg_pool2d(x, 2, stride=stride, backend=backend),
    ):
        with pytest.raises(
            ValueError, match=r"stride is beyond 2\*\*31 - 1; expected 1 to"
        ) as fault:
            call()
        assert len(str(fault.value)) < 100


def test_numbers_that_are_not_finite_are_refused():
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"^leaky_relu: alpha is inf; expected a finite number"):
        fastconv.leaky_relu(x, np.inf)
    with pytest.raises(ValueError, match=r"^elu: alpha is too large; expected a finite number"):
        fastconv.elu(x, 10**400)


def test_a_result_too_large_for_memory_names_the_function():
    x, w = np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2))
    with pytest.raises(MemoryError, match=r"^conv2d: the result has shape \(1, 1, 2000000003, "):
        fastconv.conv2d(x, w, padding=10**9, backend="numpy")
    with pytest.raises(MemoryError, match=r"^avg_pool2d: the result has shape"):
        fastconv.avg_pool2d(x, 10**9, stride=1, padding=10**9 - 1, backend="numpy")
    with pytest.raises(MemoryError, match=r"^upsample2d: the result has shape \(1, 1, 4194304, "):
        fastconv.upsample2d(x, 2**20, backend="numpy")
    with pytest.raises(MemoryError, match=r"^pad2d: the result has shape"):
        fastconv.pad2d(x, 2**28, backend="numpy")


@needs_torch
@pytest.mark.parametrize("backend", ["numpy", "numba", "cython"])
@pytest.mark.parametrize(
    ("stride", "dilation", "extra"), [(1, 3, 1), (1, 3, 2), (2, 5, (3, 1)), ((1, 2), (2, 3), 1)]
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_output_padding_may_be_below_the_dilation(backend, stride, dilation, extra, layout):
    x, w = RANDOM.normal(size=(2, 3, 4, 5)), RANDOM.normal(size=(3, 2, 2, 2))
    given, weight, bias = (
        torch.tensor(a, requires_grad=True) for a in (x, w, RANDOM.normal(size=2))
    )
    options = {"stride": stride, "dilation": dilation, "output_padding": extra}
    expected = torch.nn.functional.conv_transpose2d(given, weight, bias, **options)
    dy = RANDOM.normal(size=expected.shape)
    expected.backward(torch.tensor(dy))
    axes, kernel_axes = ((0, 2, 3, 1), (2, 3, 1, 0)) if layout == "NHWC" else ((0, 1, 2, 3),) * 2
    back, kernel_back = np.argsort(axes), np.argsort(kernel_axes)
    arrays = x.transpose(axes), w.transpose(kernel_axes)
    options |= {"layout": layout, "backend": backend}
    y = fastconv.conv_transpose2d(*arrays, bias.detach().numpy(), **options)
    dx, dw, db = fastconv.conv_transpose2d_backward(dy.transpose(axes), *arrays, **options)
    assert_allclose(y.transpose(back), expected.detach(), atol=1e-12)
    assert_allclose(dx.transpose(back), given.grad, atol=1e-12)
    assert_allclose(dw.transpose(kernel_back), weight.grad, atol=1e-12)
    assert_allclose(db, bias.grad, atol=1e-12)


# Arrays that are not aligned


def shifted(array):
    """The same array where its numbers are not at multiples of their size."""
    memory = np.zeros(array.nbytes + 16, np.uint8)
    out = np.ndarray(array.shape, array.dtype, memory, offset=1 + -memory.ctypes.data % 8)
    out[...] = array
    assert not out.flags.aligned
    return out


ROWS = RANDOM.normal(size=(4, 5)).astype(np.float32)
WEIGHTS, CHANNELS = RANDOM.normal(size=(5, 6)).astype(np.float32), np.ones(5, np.float32)
TARGETS, NUMBERS = RANDOM.normal(size=(4, 5)).astype(np.float32), np.array([0, 4, 2, 1])
IMAGES = RANDOM.normal(size=(2, 4, 4, 3)).astype(np.float32)
FUNCTIONS = {
    "dense": (fastconv.dense, ROWS, WEIGHTS, np.ones(6, np.float32)),
    "dense_backward": (fastconv.dense_backward, RANDOM.normal(size=(4, 6)).astype("f4"), ROWS,
                       WEIGHTS),
    "relu": (fastconv.relu, ROWS),
    "relu_backward": (fastconv.relu_backward, TARGETS, ROWS),
    "softmax": (fastconv.softmax, ROWS),
    "log_softmax_backward": (fastconv.log_softmax_backward, TARGETS, ROWS),
    "batch_norm": (fastconv.batch_norm, ROWS, CHANNELS, CHANNELS),
    "softmax_cross_entropy": (fastconv.softmax_cross_entropy, ROWS, NUMBERS),
    "softmax_cross_entropy_backward": (fastconv.softmax_cross_entropy_backward, ROWS, NUMBERS),
    "nll": (fastconv.nll, ROWS, NUMBERS),
    "mean_squared_error": (fastconv.mean_squared_error, ROWS, TARGETS),
    "mean_squared_error_backward": (fastconv.mean_squared_error_backward, ROWS, TARGETS),
    "dropout": (lambda x, **options: fastconv.dropout(x, 0.5, seed=1, **options), ROWS),
    "max_pool2d": (lambda x, **o: fastconv.max_pool2d(x, 2, layout="NHWC", **o), IMAGES),
    "global_avg_pool2d": (lambda x, **o: fastconv.global_avg_pool2d(x, layout="NHWC", **o), IMAGES),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_kernel_gets_an_array_that_is_not_aligned_and_results_are_the_same(name, monkeypatch):
    engine = pytest.importorskip("fastconv.backends.cython.engine")
    function, *arrays = FUNCTIONS[name]
    expected = function(*arrays, backend="cython")
    execute, seen = engine.execute, []

    def watch(kernel, spec, *given):
        seen.extend(array.flags.aligned for array in given if array is not None)
        execute(kernel, spec, *given)

    monkeypatch.setattr(engine, "execute", watch)
    found = function(*map(shifted, arrays), backend="cython")
    assert set(seen) == {True}
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


def test_samples_that_are_not_aligned_are_refused_with_the_fix():
    with pytest.raises(DataError, match=r"images of shape .* use images\.copy\(\)"):
        Samples(shifted(PIXELS.astype(np.float32)), CLASSES)
    with pytest.raises(DataError, match=r"labels of shape .* use labels\.copy\(\)"):
        Samples(PIXELS, shifted(CLASSES))


# Words for objects


def test_names_and_numbers_stand_for_plain_objects():
    said = trainer(optimizer="adam", schedule=0.1, preprocessing="scale")
    made = trainer(optimizer=Optimizer("adam"))
    assert said.train(3) == made.train(3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: trainer(optimizer=0.1), "Trainer: optimizer is 0.1; expected an Optimizer"),
        (lambda: trainer(optimizer="adma"), "Optimizer: kind is 'adma'; expected one of sgd"),
        (lambda: trainer(schedule="step"), "Trainer: schedule is 'step'; expected a Schedule"),
        (lambda: trainer(preprocessing=255), "Trainer: preprocessing is 255; expected a Prepro"),
        (lambda: trainer(batch_size="8"), "batch size is '8'; expected an integer of 1 or more"),
        (lambda: trainer(seed=None), "Trainer: seed is None; expected an integer of 0 or more"),
        (lambda: trainer(Dataset("mine", SAMPLES, SAMPLES, ("a", "b", "c"))),
         "Trainer: training is a Dataset; expected Samples; .* dataset.training"),
        (lambda: trainer((PIXELS, CLASSES)), "training is a tuple; expected Samples; .*from_arr"),
        (lambda: trainer().evaluate(PIXELS), "evaluate: samples is a ndarray; expected Samples"),
        (lambda: network(seed=None), "Sequential: seed is None; expected an integer of 0 or more"),
        (lambda: network(seed=-1), "Sequential: seed is -1; expected an integer of 0 or more"),
        (lambda: network(input_shape=64), "input_shape is 64; expected .height, width, channels"),
        (lambda: Sequential(Dense(3), (5,)), "layers is a Dense; expected a list of layers"),
        (lambda: Sequential([Dense], (5,)), r"layer 1 is the class Dense; expected .*Dense\(\)"),
        (lambda: Sequential(["relu"], (5,)), "layer 1 is 'relu'; expected one of fastconv.layers"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_named_with_the_fix(make, told):
    with pytest.raises((DataError, NetworkError, SpecError, ValueError), match=told):
        make()


def test_floating_labels_are_told_to_become_class_numbers():
    with pytest.raises(
        DataError, match=r"int64 class numbers \(use labels.astype\(numpy.int64\)\)"
    ):
        Samples(PIXELS, CLASSES.astype(np.float64))
    rows = Samples(PIXELS, np.eye(3)[CLASSES])
    with pytest.raises(DataError, match=r"float64 one-hot rows; use .*labels.argmax\(axis=1\)"):
        trainer(rows)
    assert trainer(rows, loss="mean_squared_error").train(1).samples == 8  # a regression is free


def test_a_mean_that_counts_from_0_to_1_over_bytes_is_a_warning():
    small = Preprocessing("standardize", mean=np.array([0.13]), std=np.array([0.31]))
    with pytest.warns(UserWarning, match=r"images are bytes up to 2\d\d; .* use 255 \* mean"):
        Inference(network(), preprocessing=small, backend="numpy").evaluate(SAMPLES)


def test_a_mean_of_raw_pixels_is_no_warning(recwarn):
    raw = Preprocessing("standardize", mean=np.array([33.0]), std=np.array([79.0]))
    Inference(network(), preprocessing=raw, backend="numpy").evaluate(SAMPLES)
    assert not recwarn.list


# Files


def test_weights_are_saved_into_memory_as_into_a_file(tmp_path):
    made, memory = network(), io.BytesIO()
    made.save_weights(memory)
    made.save_weights(tmp_path / "w.safetensors")
    assert memory.getvalue() == (tmp_path / "w.safetensors").read_bytes()


def test_paths_of_weights_that_cannot_be_are_named_as_they_were_given(tmp_path):
    for target, told in (
        (tmp_path / "none" / "w", r"save_weights: .*none/w: there is no folder .*none; make it"),
        (tmp_path, "save_weights: .* is a folder; expected a file in it, such as"),
        (3, "save_weights: path is a int; expected a path or a binary file"),
    ):
        with pytest.raises(NetworkError, match=told):
            network().save_weights(target)
    assert not list(tmp_path.iterdir())
    with pytest.raises(NetworkError, match=r"load_weights: none.safetensors: there is no"):
        network().load_weights("none.safetensors")


# Threads


def test_set_threads_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("FASTCONV_THREADS", "3")
    try:
        fastconv.set_threads(np.int64(1))
        assert configured_threads() == fastconv.ExecutionConfig(backend="numpy").threads == 1
    finally:
        fastconv.set_threads(None)
    assert configured_threads() == 3
    for wrong in (0, True, "2"):
        with pytest.raises(ValueError, match=r"^set_threads: threads is .*; expected an integer"):
            fastconv.set_threads(wrong)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"OMP_NUM_THREADS": "1,4"}, 1), ({"OMP_NUM_THREADS": "1", "FASTCONV_THREADS": "2"}, 2)],
)
def test_a_worker_of_joblib_has_as_many_threads_as_it_is_told(variables, expected):
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    code = "import fastconv; print(fastconv.ExecutionConfig(backend='numpy').threads)"
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **variables}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert int(ran.stdout) == expected
