"""Arrays of other libraries in host memory, and how those of a card are taken without waiting."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cupy_stand_in import DeviceExporter, DeviceInterface, HostExporter
from numpy.testing import assert_array_equal
from public_calls import CALLS, ROWS, W_DENSE, integers, with_each

import fastconv
from fastconv.backends.cupy.device import CudaDevice

EVERY = pytest.mark.parametrize(
    ("name", "arguments", "options"), CALLS, ids=[name for name, *_ in CALLS]
)


def results_of(name, arguments, options):
    results = getattr(fastconv, name)(*arguments, **options)
    return results if isinstance(results, tuple) else (results,)


@EVERY
def test_arrays_with_dlpack_give_what_numpy_arrays_give(name, arguments, options):
    given = with_each(lambda a: HostExporter(a) if isinstance(a, np.ndarray) else a, arguments)
    expected = results_of(name, arguments, options)
    for result, wanted in zip(results_of(name, given, options), expected, strict=True):
        assert type(result) is np.ndarray
        assert_array_equal(result, wanted)


def test_numpy_arrays_and_arrays_with_dlpack_go_together():
    for _ in range(2):  # the second call may be found among those that are kept
        out = np.zeros((5, 3))
        y = fastconv.dense(ROWS, HostExporter(W_DENSE), out=HostExporter(out))
        assert type(y) is np.ndarray
        assert np.shares_memory(y, out)
        assert_array_equal(out, ROWS @ W_DENSE)


def test_running_statistics_with_dlpack_are_updated():
    mean, variance = np.zeros(6), np.ones(6)
    fastconv.batch_norm(
        ROWS, np.ones(6), np.ones(6), HostExporter(mean), HostExporter(variance), momentum=1
    )
    np.testing.assert_allclose(mean, ROWS.mean(axis=0))
    np.testing.assert_allclose(variance, ROWS.var(axis=0, ddof=1))


def test_pinned_memory_is_the_hosts():
    assert_array_equal(fastconv.relu(HostExporter(ROWS, place=(3, 0))), ROWS.clip(0))


def test_subclasses_are_taken_as_plain_arrays():
    for subclass in (ROWS.view(np.matrix), np.ma.masked_array(ROWS)):
        result = fastconv.softmax_cross_entropy_backward(subclass, np.zeros(5, int))
        assert type(result) is np.ndarray
        assert_array_equal(result, fastconv.softmax_cross_entropy_backward(ROWS, np.zeros(5, int)))


# Read-only arrays


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("how", [lambda a: a, HostExporter])
def test_read_only_arrays_can_be_read_but_not_written_to(how):
    x, w = how(read_only(ROWS)), how(read_only(W_DENSE))
    assert_array_equal(fastconv.dense(x, w), ROWS @ W_DENSE)
    frozen = read_only(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="dense: out is read-only; expected an array that can be"):
        fastconv.dense(x, w, out=how(frozen))
    one = np.ones(6)
    with pytest.raises(ValueError, match="batch_norm: running_variance is read-only"):
        fastconv.batch_norm(ROWS, one, one, np.zeros(6), how(read_only(one)))
    assert not frozen.any()


# Errors


def test_what_cannot_be_taken_says_why():
    with pytest.raises(TypeError) as caught:
        fastconv.relu(HostExporter(np.array(["a"])))
    assert str(caught.value).startswith(
        "relu: x is a cupy_stand_in.HostExporter that cannot be taken: "
    )


@pytest.mark.parametrize("wrong", [np.ndarray, HostExporter, [1.0], "x", None, np.float64(1)])
def test_what_is_no_array_is_a_type_error(wrong):
    with pytest.raises(TypeError, match=r"relu: x is a \w+; expected a NumPy or CuPy array"):
        fastconv.relu(wrong)


def test_other_libraries_arrays_do_not_import_cupy(tmp_path):
    code = """if True:
        import sys, numpy, fastconv
        class Exporter:
            def __init__(self, array): self.array = array
            def __dlpack__(self, **options): return self.array.__dlpack__(**options)
            def __dlpack_device__(self): return (1, 0)
        assert fastconv.relu(Exporter(numpy.ones(3))).sum() == 3
        assert "cupy" not in sys.modules
        """
    subprocess.run([sys.executable, "-c", code], check=True)


# PyTorch and JAX


def test_torch_tensors_are_taken_without_a_copy():
    torch = pytest.importorskip("torch")
    x, w = torch.from_numpy(ROWS.copy()), torch.from_numpy(W_DENSE.copy())
    out = torch.zeros(5, 3, dtype=torch.float64)
    y = fastconv.dense(x, w, out=out)
    assert_array_equal(out.numpy(), ROWS @ W_DENSE)
    assert torch.from_dlpack(y).data_ptr() == out.data_ptr()
    labels = torch.tensor([0, 5, 2, 2, 1])
    assert_array_equal(fastconv.nll(x, labels), fastconv.nll(ROWS, labels.numpy()))


def test_torch_tensors_with_gradients_say_what_to_do():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"relu: x is a torch.Tensor that cannot .*detach"):
        fastconv.relu(torch.ones(3, requires_grad=True))
    with pytest.raises(TypeError, match=r"x has dtype float16; .* \(convert it\)"):
        fastconv.relu(torch.ones(3, dtype=torch.float16))


def test_jax_arrays_are_taken_but_never_written_to():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(ROWS, dtype="float32")
    assert_array_equal(fastconv.relu(x), ROWS.clip(0))
    w = W_DENSE.astype(np.float32)
    with pytest.raises(ValueError, match="dense: out is read-only"):
        fastconv.dense(x, w, out=jax.numpy.zeros((5, 3), dtype="float32"))


# What the real device asks of CuPy


class Cupy:
    """The part of CuPy that takes arrays of other libraries; writes down what it is asked."""

    def __init__(self):
        self.asked = []
        stream = SimpleNamespace(wait_event=lambda event: self.asked.append(("wait", event.ptr)))
        runtime = SimpleNamespace(
            eventRecord=lambda event, of: self.asked.append(("record", event, of)),
            getDevice=lambda: 3,
        )
        self.cuda = SimpleNamespace(
            Event=lambda disable_timing: SimpleNamespace(ptr=77, untimed=disable_timing),
            runtime=runtime, get_current_stream=lambda: stream,
        )  # fmt: skip

    def from_dlpack(self, array):
        self.asked.append("from_dlpack")
        return array

    def asarray(self, array):
        self.asked.append(("asarray", array.__cuda_array_interface__.get("stream")))
        return array


@pytest.fixture
def cupy(monkeypatch):
    made = Cupy()
    monkeypatch.setitem(sys.modules, "cupy", made)
    return made


def test_dlpack_is_left_to_cupy(cupy):
    array = DeviceExporter(integers(3))
    assert CudaDevice().view(array) is array
    assert cupy.asked == ["from_dlpack"]
    assert CudaDevice().current() == 3


def test_the_stream_that_fills_an_array_is_waited_for_by_an_event_alone(cupy):
    array = DeviceInterface(integers(3))
    assert CudaDevice().view(array) is array
    assert cupy.asked == [("asarray", None)]
    cupy.asked.clear()
    array.__cuda_array_interface__["stream"] = 5
    taken = CudaDevice().view(array)
    # CuPy lets the host wait for a stream that it is told of: it is not.
    assert cupy.asked == [("record", 77, 5), ("wait", 77), ("asarray", None)]
    given, seen = array.__cuda_array_interface__, taken.__cuda_array_interface__
    assert seen == given | {"stream": None}
    assert given["stream"] == 5
