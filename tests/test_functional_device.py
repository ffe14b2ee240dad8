"""Public functions on CuPy arrays, with the host in place of CuPy and the card."""

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import standing_in
from cupy_stand_in import DeviceArray, DeviceExporter, DeviceInterface, StandInDevice
from numpy.testing import assert_allclose, assert_array_equal
from public_calls import (
    CALLS,
    IMAGE_CALLS,
    LABELS,
    OPTIONS,
    PARAMETERS,
    ROWS,
    W_BACK,
    W_DENSE,
    B,
    W,
    X,
    Y,
    hwio,
    integers,
    nhwc,
    with_each,
)

import fastconv
from fastconv import BackendError


@pytest.fixture(autouse=True)
def device(monkeypatch):
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(StandInDevice()) as made:
        yield made


def each_of(calls):
    names = ("name", "arguments", "options")
    return pytest.mark.parametrize(names, calls, ids=[name for name, *_ in calls])


def on_device(value, how=DeviceArray):
    if isinstance(value, list):
        return [on_device(each, how) for each in value]
    return how(value) if isinstance(value, np.ndarray) else value


def call(name, arguments, options, **more):
    results = getattr(fastconv, name)(*arguments, **options, **more)
    return list(results) if isinstance(results, tuple) else [results]


def host_results(name, arguments, options):
    return call(name, arguments, options, backend="numpy")


def check(results, expected, rtol=1e-13):
    for result, wanted in zip(results, expected, strict=True):
        if wanted is None:
            assert result is None
            continue
        assert type(result) is DeviceArray
        assert result.flags.c_contiguous
        assert result.dtype == wanted.dtype
        assert_allclose(result.memory, wanted, rtol=rtol, atol=rtol)


def test_the_stand_in_cannot_be_read_by_the_host(device):
    array = DeviceArray(np.ones(2))
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.ascontiguousarray(array)
    with pytest.raises(AssertionError, match="wait for the device"):
        bool(array)
    with pytest.raises(AssertionError, match="copied to the host"):
        device.to_host(array)


# What goes in comes out


@each_of(CALLS)
@pytest.mark.parametrize("backend", [None, "auto", "cupy"])
def test_cupy_arrays_go_through_the_kernels_to_cupy_arrays(
    name, arguments, options, backend, device
):
    results = call(name, map(on_device, arguments), options, backend=backend)
    check(results, host_results(name, arguments, options))
    assert device.launched


@each_of(CALLS)
def test_float32_stays_float32(name, arguments, options):
    def narrowed(a):
        is_wide = isinstance(a, np.ndarray) and a.dtype == np.float64
        return a.astype(np.float32) if is_wide else a

    single = with_each(narrowed, arguments)
    results = call(name, map(on_device, single), options)
    check(results, host_results(name, single, options), rtol=2e-5)


@each_of(IMAGE_CALLS)
def test_images_may_be_nhwc(name, arguments, options):
    def turned(value):
        if isinstance(value, tuple):
            return (value[0], value[2], value[3], value[1])
        if not isinstance(value, np.ndarray) or value.ndim != 4:
            return value
        return hwio(value) if value is W or value is W_BACK else nhwc(value)

    options = options | {"layout": "NHWC"}
    arguments = [turned(a) for a in arguments]
    results = call(name, map(on_device, arguments), options)
    check(results, host_results(name, arguments, options))


@each_of(CALLS)
def test_arrays_that_are_not_contiguous_are_copied(name, arguments, options):
    def strided(a):
        if not isinstance(a, np.ndarray):
            return a
        room = np.zeros([2 * n for n in a.shape], a.dtype)
        view = room[(slice(None, None, 2),) * a.ndim]
        view[...] = a
        return view

    given = with_each(strided, arguments)
    results = call(name, map(on_device, given), options)
    check(results, host_results(name, arguments, options))


@each_of(CALLS)
def test_an_empty_batch_is_no_error(name, arguments, options):
    def emptied(value):
        if isinstance(value, tuple) and len(value) in (3, 4):
            return (0, *value[1:])
        is_parameter = any(value is parameter for parameter in PARAMETERS)
        return value[:0] if isinstance(value, np.ndarray) and not is_parameter else value

    given = with_each(emptied, arguments)
    results = call(name, map(on_device, given), options)
    expected = host_results(name, given, options)
    assert [r.shape for r in results] == [e.shape for e in expected]
    if name != "batch_norm":  # the spread of nothing is arbitrary
        check(results, expected)


@pytest.mark.parametrize("needs", [("x",), ("w",), ("b",), ("w", "b"), ()])
@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [("conv2d_backward", (Y, X, W), OPTIONS),
     ("dense_backward", (integers(5, 3), ROWS, W_DENSE), {})],
)  # fmt: skip
def test_gradients_that_are_not_needed_are_none(name, arguments, options, needs):
    options = options | {"needs": needs}
    results = call(name, map(on_device, arguments), options)
    check(results, host_results(name, arguments, options))


def test_a_bias_may_be_left_out():
    options = OPTIONS | {"dilation": (1, 2)}
    check(call("conv2d", map(on_device, (X, W)), options), host_results("conv2d", (X, W), options))
    y = fastconv.dense(DeviceArray(ROWS), DeviceArray(W_DENSE))
    assert_array_equal(y.memory, ROWS @ W_DENSE)  # type: ignore[attr-defined]


def test_an_array_without_dimensions_stays_one():
    assert fastconv.relu(DeviceArray(np.array(1.5))).shape == ()


@pytest.mark.parametrize("how", [DeviceExporter, DeviceInterface])
@each_of(CALLS)
def test_arrays_of_other_libraries_are_taken_as_they_lie(name, arguments, options, how, device):
    given = [on_device(a, how) for a in arguments]
    check(call(name, given, options), host_results(name, arguments, options))
    arrays = []
    with_each(lambda each: arrays.append(each) if isinstance(each, how) else None, given)
    assert sorted(map(id, device.viewed)) == sorted(map(id, arrays))


# What is written to


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_out_is_filled_and_returned(layout):
    x, w = (X, W) if layout == "NCHW" else (nhwc(X), hwio(W))
    options = OPTIONS | {"layout": layout}
    (expected,) = host_results("conv2d", (x, w, B), options)
    arguments = [on_device(a) for a in (x, w, B)]
    for room in (np.zeros(expected.shape), np.zeros((*expected.shape[:3], 2 * expected.shape[3]))):
        out = DeviceArray(room[..., :: room.shape[3] // expected.shape[3]])
        assert fastconv.conv2d(*arguments, **options, out=out) is out
        assert_array_equal(out.memory, expected)


def test_out_of_another_library_is_filled():
    x, w = integers(2, 3), integers(3, 4)
    out = np.zeros((2, 4))
    result = fastconv.dense(DeviceArray(x), DeviceExporter(w), out=DeviceInterface(out))
    assert type(result) is DeviceArray
    assert np.shares_memory(result.memory, out)
    assert_array_equal(out, x @ w)


def test_running_statistics_are_updated_in_place():
    x = np.array([[1.0, 0.0], [3.0, 4.0]])
    mean, variance = DeviceArray(np.array([10.0, 9, 0, 9])[::2]), DeviceExporter(np.ones(2))
    one, zero = DeviceArray(np.ones(2)), DeviceArray(np.zeros(2))
    fastconv.batch_norm(DeviceArray(x), one, zero, mean, variance, momentum=0.5)
    # Means 2 and 2, unbiased variances 2 and 8.
    assert mean.memory.tolist() == [6, 1]
    assert variance.memory.tolist() == [1.5, 4.5]


# Numbers that nobody looks at


@pytest.mark.parametrize("wrong", [-1, 6, 2**40, -(2**63)])
def test_a_label_that_is_no_class_gives_a_loss_of_nan_and_no_gradient_of_its_own(wrong):
    labels = LABELS.copy()
    labels[1] = wrong
    scores = DeviceArray(ROWS)
    expected = fastconv.nll(ROWS, LABELS, backend="numpy")
    expected[1] = np.nan
    assert_array_equal(fastconv.nll(scores, DeviceArray(labels)).memory, expected)  # type: ignore[attr-defined]
    losses, probabilities = fastconv.softmax_cross_entropy(scores, DeviceArray(labels))
    assert np.isnan(losses.memory).tolist() == [False, True, False, False, False]  # type: ignore[attr-defined]
    gradient = fastconv.softmax_cross_entropy_backward(probabilities, DeviceArray(labels))
    assert_allclose(gradient.memory[1], probabilities.memory[1] / 5, rtol=1e-15)  # type: ignore[attr-defined]
    gradient = fastconv.nll_backward(scores, DeviceArray(labels)).memory  # type: ignore[attr-defined]
    assert not gradient[1].any()
    assert (gradient != 0).sum() == 4


def test_a_place_that_is_no_pixel_takes_no_gradient():
    where = np.array([-1, 4, 2**30, 0], np.int32).reshape(1, 1, 2, 2)
    dy = DeviceArray(np.arange(1.0, 5).reshape(1, 1, 2, 2))
    dx = fastconv.max_pool2d_backward(dy, DeviceArray(where), (1, 1, 3, 3), 2, stride=1)
    # Only pixel 4, the centre, is in a window that names it; pixel 0 is not in the last window.
    assert dx.memory.ravel().tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_labels_may_be_of_any_integer_dtype(kind):
    losses = fastconv.nll(DeviceArray(ROWS), DeviceArray(LABELS.astype(kind)))
    assert losses.memory.tolist() == [-ROWS[n, label] for n, label in enumerate(LABELS)]  # type: ignore[attr-defined]


# Errors

ON, ROW = DeviceArray, np.ones((2, 3))
CONVERT = "convert one of them: cupy.asarray copies to the device, cupy.asnumpy to the host"
ERRORS = [
    (TypeError, lambda: fastconv.conv2d(ON(X), W),
     f"conv2d: w is a NumPy array but x is a CuPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.conv2d(X, W, ON(B)),
     f"conv2d: b is a CuPy array but x is a NumPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.conv2d(X, DeviceExporter(W)),
     f"conv2d: w is a CuPy array but x is a NumPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.dense(ON(ROW), ON(ROW.T.copy()), out=np.ones((2, 2))),
     f"dense: out is a NumPy array but x is a CuPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.nll(ON(ROW), np.array([0, 1])),
     f"nll: labels is a NumPy array but log_probabilities is a CuPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.nll(ROW, ON(np.array([0, 1]))),
     f"nll: labels is a CuPy array but log_probabilities is a NumPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.dropout_backward(ON(ROW), np.ones((2, 3), np.uint8), 0.5),
     f"dropout_backward: mask is a NumPy array but dy is a CuPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.batch_norm(ON(ROW), ON(np.ones(3)), ON(np.ones(3)), np.ones(3)),
     f"batch_norm: running_mean is a NumPy array but x is a CuPy array; {CONVERT}"),
    (TypeError, lambda: fastconv.nll(ON(ROW), ON(np.ones(2))),
     "nll: labels is float64; expected an array of integers"),
    (ValueError, lambda: fastconv.nll(ON(ROW), ON(np.ones(3, int))),
     "nll: labels has shape (3,); expected (2,): one integer for each sample"),
    (TypeError, lambda: fastconv.relu(ON(np.ones(2, np.float16))),
     "relu: x has dtype float16; expected float32 or float64 (convert it)"),
    (TypeError, lambda: fastconv.conv2d(ON(X), ON(W.astype(np.float32))),
     "conv2d: w has dtype float32 but x has float64; convert one of them with astype"),
    (ValueError, lambda: fastconv.relu(DeviceArray(ROW, card=1)),
     "relu: x lies on CUDA device 1 but the current one is 0; bring all arrays to one device, "
     "and call within `with cupy.cuda.Device(1):`"),
    (ValueError, lambda: fastconv.mean_squared_error(ON(ROW), DeviceExporter(ROW, card=2)),
     "mean_squared_error: target lies on CUDA device 2 but the current one is 0; bring all arrays "
     "to one device, and call within `with cupy.cuda.Device(2):`"),
    (TypeError, lambda: fastconv.relu(DeviceExporter(ROW, kind=8)),
     "relu: x is a cupy_stand_in.DeviceExporter on a device of DLPack's type 8; "
     "expected an array of the host or of a CUDA device"),
    (ValueError, lambda: fastconv.dense(
        ON(ROW), ON(np.ones((3, 2))), out=DeviceInterface(np.ones((2, 2)), read_only=True)),
     "dense: out is read-only; expected an array that can be written to"),
    (BackendError, lambda: fastconv.relu(ON(ROW), backend="numpy"),
     "backend 'numpy' (asked for) takes NumPy arrays, but the arguments are CuPy arrays; "
     "use backend='cupy' or 'auto', or copy them to the host (cupy.asnumpy(x))"),
    (BackendError, lambda: fastconv.relu(ON(ROW), backend="copy"),
     "backend is 'copy'; expected one of auto, numpy, numba, cython, cupy; "
     "did you mean 'cupy'?"),
    (BackendError, lambda: fastconv.relu(ROW, backend="cupy"),
     "backend 'cupy' takes CuPy arrays, but the arguments are NumPy arrays, and nothing is copied "
     "to the device unasked; convert them (cupy.asarray(x)), or use backend='numpy' or 'auto'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "wrong", "message"), ERRORS, ids=[e[2][:60] for e in ERRORS])
def test_message(kind, wrong, message, device):
    with pytest.raises(kind) as caught:
        wrong()
    assert str(caught.value) == message
    assert device.launched == []


@each_of(CALLS)
def test_a_backend_of_the_host_is_refused_before_anything_is_launched(
    name, arguments, options, device
):
    with pytest.raises(BackendError, match="takes NumPy arrays"):
        call(name, map(on_device, arguments), options, backend="numpy")
    assert device.launched == []


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [("conv2d_backward", (Y, X, W), OPTIONS),
     ("dense_backward", (integers(5, 3), ROWS, W_DENSE), {})],
)  # fmt: skip
def test_the_wrong_backend_is_refused_for_the_gradient_of_a_bias_alone(name, arguments, options):
    with pytest.raises(BackendError, match="takes NumPy arrays"):
        call(name, map(on_device, arguments), options, needs=("b",), backend="numpy")
    with pytest.raises(BackendError, match="takes CuPy arrays"):
        call(name, arguments, options, needs=("b",), backend="cupy")


def test_the_current_choice_counts_for_cupy_arrays_too(monkeypatch):
    x = DeviceArray(ROWS)
    with fastconv.use_backend("numpy"), pytest.raises(BackendError, match=r"'numpy' \(asked for"):
        fastconv.relu(x)
    with fastconv.use_backend("numpy"):
        assert type(fastconv.relu(x, backend="auto")) is DeviceArray
    with fastconv.use_backend("cupy"):
        assert type(fastconv.relu(x)) is DeviceArray
        with pytest.raises(BackendError, match=r"convert them \(cupy.asarray\(x\)\)"):
            fastconv.relu(ROWS)
    monkeypatch.setenv("FASTCONV_BACKEND", "numpy")
    with pytest.raises(BackendError, match=r"'numpy' \(FASTCONV_BACKEND\) takes NumPy arrays"):
        fastconv.relu(x)


def test_another_current_device_is_used(device):
    device.card = 1
    assert fastconv.relu(DeviceArray(ROWS, card=1)).shape == ROWS.shape
    with pytest.raises(ValueError, match="x lies on CUDA device 0 but the current one is 1"):
        fastconv.relu(DeviceArray(ROWS))


def test_nothing_lies_on_any_device():
    nothing = DeviceArray(np.ones((0, 3)), card=1)  # where its memory would be does not matter
    assert fastconv.dense(nothing, DeviceArray(np.ones((3, 2)))).shape == (0, 2)


def test_arrays_of_a_card_without_cupy_say_what_is_missing(monkeypatch):
    say_that(monkeypatch, "cupy", works=False, reason="CuPy is not installed; pip install it")
    with pytest.raises(BackendError, match="'cupy' is not there: CuPy is not installed; pip"):
        fastconv.relu(DeviceExporter(ROWS))
