"""Arrays of other libraries of the host: taken without a copy, and given back as they came."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cupy_stand_in import HostExporter
from numpy.testing import assert_array_equal
from public_calls import CALLS, ROWS, W_DENSE

import fastconv

EXAMPLE = Path(fastconv.__file__).parents[1] / "examples" / "dlpack_arrays.py"
EVERY = pytest.mark.parametrize(
    ("name", "arguments", "options"), CALLS, ids=[name for name, *_ in CALLS]
)


class Namespace:
    """A library of arrays: what the Array API asks of one, as far as it is needed here."""

    class Array:
        """One of its arrays: memory, a device, and no way in but DLPack."""

        def __init__(self, memory, device=(1, 0)):
            self.memory, self.device = memory, device

        def __array_namespace__(self, api_version=None):
            return Namespace

        def __dlpack__(self, **options):
            return self.memory.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.device

    @classmethod
    def from_dlpack(cls, array):
        return cls.Array(np.from_dlpack(array))


Array = Namespace.Array


def memory_of(array):
    return array.memory


def results_of(name, arguments, options):
    results = getattr(fastconv, name)(*arguments, **options)
    return results if isinstance(results, tuple) else (results,)


@EVERY
def test_results_are_of_the_library_of_the_arguments(name, arguments, options):
    given = [_of_library(a) for a in arguments]
    wanted = results_of(name, arguments, options)
    for result, expected in zip(results_of(name, given, options), wanted, strict=True):
        assert type(result) is Array
        assert_array_equal(result.memory, expected)


def test_the_first_argument_says_which_library():
    assert type(fastconv.dense(ROWS, Array(W_DENSE))) is np.ndarray
    assert type(fastconv.dense(Array(ROWS), W_DENSE)) is Array
    assert type(fastconv.dense(x=Array(ROWS), w=W_DENSE)) is Array
    assert type(fastconv.dense(x=ROWS, w=Array(W_DENSE))) is np.ndarray


def test_gradients_that_are_not_needed_stay_none():
    dx, dw, db = fastconv.dense_backward(
        Array(np.ones((5, 3))), Array(ROWS), Array(W_DENSE), needs=("w",)
    )
    assert dx is db is None
    assert_array_equal(dw.memory, ROWS.T @ np.ones((5, 3)))


def test_out_is_written_in_place_and_returned_itself():
    out = Array(np.zeros((5, 3)))
    assert fastconv.dense(Array(ROWS), Array(W_DENSE), out=out) is out
    assert_array_equal(out.memory, ROWS @ W_DENSE)


def test_a_library_that_makes_no_arrays_gets_those_of_numpy():
    assert type(fastconv.relu(HostExporter(ROWS))) is np.ndarray


def test_results_can_go_into_the_next_function():
    scores = fastconv.dense(fastconv.relu(Array(ROWS)), Array(W_DENSE))
    y, where = fastconv.max_pool2d(Array(ROWS.reshape(1, 1, 5, 6)), 2)
    back = fastconv.max_pool2d_backward(y, where, (1, 1, 5, 6), 2)
    assert_array_equal(memory_of(scores), ROWS.clip(0) @ W_DENSE)
    assert_array_equal(memory_of(back).sum(), memory_of(y).sum())


# What cannot be taken


@pytest.mark.parametrize("device", [(4, 0), (8, 0), (10, 1)], ids=["OpenCL", "Metal", "ROCm"])
def test_devices_that_are_not_served_are_named(device):
    with pytest.raises(TypeError, match=rf"relu: x is a .*Array on a device .* type {device[0]}; "):
        fastconv.relu(Array(ROWS, device))


def test_dtypes_and_byte_orders_are_named_with_the_fix():
    with pytest.raises(TypeError, match="relu: x has dtype int64; expected float32 or float64"):
        fastconv.relu(Array(np.arange(3)))
    with pytest.raises(TypeError, match=r"relu: x has dtype >f4; .* \(x.astype\(numpy.float32\)\)"):
        fastconv.relu(ROWS.astype(">f4"))
    with pytest.raises(TypeError, match=r"relu: x is a .*Array that cannot be taken: "):
        fastconv.relu(Array(ROWS.astype(">f4")))


def test_memory_that_is_read_only_is_read_and_not_written():
    frozen = np.zeros((5, 3))
    frozen.flags.writeable = False
    assert_array_equal(memory_of(fastconv.relu(Array(frozen))), frozen)
    with pytest.raises(ValueError, match="dense: out is read-only; expected an array that can be"):
        fastconv.dense(Array(ROWS), Array(W_DENSE), out=Array(frozen))


# PyTorch


def test_tensors_come_back_as_tensors_of_the_same_memory():
    torch = pytest.importorskip("torch")
    x, w = torch.from_numpy(ROWS.copy()), torch.from_numpy(W_DENSE.copy())
    y = fastconv.dense(x, w)
    assert type(y) is torch.Tensor
    assert_array_equal(np.asarray(y), ROWS @ W_DENSE)
    images = torch.from_numpy(ROWS.reshape(1, 1, 5, 6).astype(np.float32))
    values, where = fastconv.max_pool2d(images, 2)
    expected, places = torch.nn.functional.max_pool2d(images, 2, return_indices=True)
    assert torch.equal(values, expected)
    assert_array_equal(np.asarray(where), places.numpy())
    y += 1  # it is the caller's own
    assert_array_equal(np.asarray(y), ROWS @ W_DENSE + 1)


def test_results_given_as_tensors_are_let_go_with_them():
    torch = pytest.importorskip("torch")
    x = torch.ones(64, 1024)
    kept = fastconv.relu(x)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            view = fastconv.relu(x)[1:, ::2]
        del view
        gc.collect()
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # NumPy's memory is traced: a result or two at a time, and none in the end.
    assert x.nbytes <= most < 4 * x.nbytes
    assert left < x.nbytes
    assert torch.equal(kept, x)


def test_results_of_a_batch_of_none_are_tensors_too():
    torch = pytest.importorskip("torch")
    y = fastconv.relu(torch.ones(0, 3))
    assert type(y) is torch.Tensor
    assert y.shape == (0, 3)


def test_slices_of_tensors_are_taken_with_their_strides():
    torch = pytest.importorskip("torch")
    x = torch.arange(24.0).reshape(4, 6)[1::2, ::3]
    assert torch.equal(fastconv.relu(x - 8), (x - 8).clamp(min=0))
    assert torch.equal(fastconv.dense(x, x), x @ x)


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="the example is not beside the tests")
def test_the_example_convolves_arrays_of_whichever_library_is_there(capsys):
    exec(compile(EXAMPLE.read_text("utf-8"), str(EXAMPLE), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.splitlines() == [
        "[[8.0, 12.0], [20.0, 24.0]]", "[[0.0, 2.0, 4.0], [6.0, 8.0, 10.0], [12.0, 14.0, 16.0]]"
    ]  # fmt: skip


def _of_library(argument):
    if isinstance(argument, (list, tuple)):
        return type(argument)(map(_of_library, argument))
    return Array(argument) if isinstance(argument, np.ndarray) else argument
