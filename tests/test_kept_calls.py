"""Calls like an earlier one: the same results and the same errors as the first of their kind."""

import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv
from fastconv.backends.reference import conv as reference
from fastconv.backends.selection import BackendError, backend_state
from fastconv.functional import conv
from fastconv.functional.kept_calls import forget_calls
from fastconv.spec import ConvSpec

pytestmark = pytest.mark.skipif(not backend_state("cython").works, reason="calls are kept in C")


@pytest.fixture(autouse=True)
def none_kept():
    """Nothing of other tests is known, and nothing stays."""
    forget_calls()
    with fastconv.use_backend("cython"):
        yield
    forget_calls()


@pytest.fixture
def usual(monkeypatch):
    """The calls that went the usual way."""
    made = []
    forward = conv.forward

    def counted(*arguments):
        made.append(arguments[1])
        return forward(*arguments)

    monkeypatch.setattr(conv, "forward", counted)
    return made


def drawn(dtype="float32", channels=3, filters=5, size=7, batch=2):
    generator = np.random.default_rng(0)
    shapes = (batch, channels, size, size), (filters, channels, 3, 3), (filters,)
    return [generator.integers(-4, 5, shape).astype(dtype) for shape in shapes]


def by_reference(x, w, b):
    n, c, height, width = x.shape
    spec = ConvSpec(n, c, height, width, len(w), kernel=w.shape[2:])
    x, w = (
        np.ascontiguousarray(a, np.float64)
        for a in (x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0))
    )
    y = np.empty(spec.y_shape)
    reference.conv2d_forward(spec, x, w, None if b is None else b.astype(np.float64), y, None)
    return y.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_later_calls_go_no_usual_way_and_are_of_the_arrays_that_they_are_given(
    dtype, has_bias, usual
):
    for number in range(4):
        x, w, b = (array + number for array in drawn(dtype))
        given = (x, w, b) if has_bias else (x, w)
        found = fastconv.conv2d(*given)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, by_reference(x, w, b if has_bias else None))
    assert len(usual) == 1


def test_calls_of_other_shapes_options_and_dtypes_are_others(usual):
    x, w, b = drawn()
    calls = [
        lambda: fastconv.conv2d(x, w, b),
        lambda: fastconv.conv2d(x, w),
        lambda: fastconv.conv2d(x, w, None),
        lambda: fastconv.conv2d(x, w, b, padding=1),
        lambda: fastconv.conv2d(x, w, b, padding=(1, 0)),
        lambda: fastconv.conv2d(x, w, b, stride=2, padding=1),
        lambda: fastconv.conv2d(x[:1].copy(), w, b),
        lambda: fastconv.conv2d(*(array.astype(float) for array in (x, w, b))),
    ]
    first = [call() for call in calls]
    assert len(usual) == len(calls)
    for call, expected in zip(calls, first, strict=True):
        np.testing.assert_array_equal(call(), expected)
    assert len(usual) == len(calls)


@pytest.mark.parametrize("wrong", [True, 1.0, np.float64(1)])
def test_what_equals_an_option_but_is_none_is_refused_as_ever(wrong):
    x, w, b = drawn()
    fastconv.conv2d(x, w, b, stride=1)
    with pytest.raises((TypeError, ValueError), match="stride"):
        fastconv.conv2d(x, w, b, stride=wrong)


def test_another_backend_is_asked_as_ever(monkeypatch, usual):
    x, w, b = drawn()
    expected = fastconv.conv2d(x, w, b)
    with fastconv.use_backend("numpy"):
        np.testing.assert_array_equal(fastconv.conv2d(x, w, b), expected)
        fastconv.conv2d(x, w, b)
    assert len(usual) == 3
    for _ in range(2):
        fastconv.conv2d(x, w, b, backend="numpy")
    assert len(usual) == 5


def test_the_environment_is_asked_where_nothing_was_chosen(monkeypatch):
    x, w, b = drawn()
    from fastconv.backends import selection

    token = selection.chosen_backend.set(None)
    try:
        monkeypatch.setenv("FASTCONV_BACKEND", "cython")
        for _ in range(2):
            fastconv.conv2d(x, w, b)
        monkeypatch.setenv("FASTCONV_BACKEND", "quick")
        with pytest.raises(BackendError, match="quick"):
            fastconv.conv2d(x, w, b)
    finally:
        selection.chosen_backend.reset(token)


def test_out_is_written_and_returned():
    x, w, b = drawn()
    expected = fastconv.conv2d(x, w, b)
    out = np.empty_like(expected)
    assert fastconv.conv2d(x, w, b, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda out: out[:, :, 1:], "shape of the result"),
        (lambda out: out.astype(np.float64), "out has dtype float64"),
        (lambda out: out.tolist(), "out is a list"),
    ],
)
def test_an_out_that_does_not_fit_is_refused_as_ever(spoil, told):
    x, w, b = drawn()
    out = fastconv.conv2d(x, w, b)
    fastconv.conv2d(x, w, b, out=out)
    with pytest.raises((TypeError, ValueError), match=told):
        fastconv.conv2d(x, w, b, out=spoil(out))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        fastconv.conv2d(x, w, b, out=out)


def test_an_out_that_overlaps_an_argument_is_written_at_the_end():
    w, b = np.full((1, 1, 1, 1), 3, np.float32), np.ones(1, np.float32)
    memory = np.arange(20, dtype=np.float32)
    x, out = (memory[n : n + 16].reshape(1, 1, 4, 4) for n in (0, 4))
    expected = 3 * x + 1
    fastconv.conv2d(x, w, b)
    found = fastconv.conv2d(x, w, b, out=out)
    assert found is out
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "changed",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=3)[..., ::2],
        lambda x: x.astype(x.dtype.newbyteorder()).view(x.dtype.newbyteorder()),
        lambda x: np.frombuffer(b" " + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    ],
    ids=["fortran", "gaps", "byte order", "unaligned"],
)
def test_arrays_that_lie_otherwise_go_the_usual_way(changed, usual):
    x, w, b = drawn()
    expected = fastconv.conv2d(x, w, b)
    other = changed(x)
    if other.dtype.isnative:
        np.testing.assert_array_equal(fastconv.conv2d(other, w, b), expected)
    else:
        with pytest.raises(TypeError, match="x has dtype"):
            fastconv.conv2d(other, w, b)
    assert len(usual) == 1 + other.dtype.isnative


def test_nothing_holds_on_to_the_arrays():
    arrays = drawn()
    before = [sys.getrefcount(each) for each in arrays]
    for _ in range(3):
        found = fastconv.conv2d(*arrays)
    assert [sys.getrefcount(each) for each in arrays] == before
    gone = weakref.ref(found)
    del found
    assert gone() is None


def test_many_threads_make_the_calls_of_one():
    sizes = range(4, 12)
    expected = {size: fastconv.conv2d(*drawn(size=size)) for size in sizes}

    def look(number):
        size = sizes[number % len(sizes)]
        np.testing.assert_array_equal(fastconv.conv2d(*drawn(size=size)), expected[size])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, range(400)))


def test_more_shapes_than_are_kept_are_as_right():
    w = np.ones((1, 1, 1, 1), np.float32)
    for _ in range(2):
        for width in range(1, 700):
            x = np.full((1, 1, 1, width), width, np.float32)
            np.testing.assert_array_equal(fastconv.conv2d(x, w), x)


def test_tensors_give_tensors_and_those_that_want_a_gradient_are_refused():
    torch = pytest.importorskip("torch")
    arrays = drawn()
    expected = fastconv.conv2d(*arrays)
    tensors = [torch.from_numpy(array) for array in arrays]
    for _ in range(3):
        found = fastconv.conv2d(*tensors)
        assert type(found) is torch.Tensor
        np.testing.assert_array_equal(np.asarray(found), expected)
    out = torch.empty_like(found)
    assert fastconv.conv2d(*tensors, out=out) is out
    np.testing.assert_array_equal(np.asarray(out), expected)
    last = tensors[0].contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(np.asarray(fastconv.conv2d(last, *tensors[1:])), expected)
    tensors[1].requires_grad_()
    with pytest.raises(TypeError, match=r"w is a torch\.Tensor"):
        fastconv.conv2d(*tensors)


class Exporter:
    """An array with DLPack alone."""

    def __init__(self, array, **changed):
        self.array, self.changed = array, changed

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**{**options, **self.changed})

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("changed", [{}, {"max_version": None}], ids=["versioned", "older"])
def test_arrays_with_dlpack_alone_give_arrays_of_numpy(changed, usual):
    arrays = drawn()
    expected = fastconv.conv2d(*arrays)
    before = [sys.getrefcount(each) for each in arrays]
    for _ in range(3):
        found = fastconv.conv2d(*(Exporter(array, **changed) for array in arrays))
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)
    assert [sys.getrefcount(each) for each in arrays] == before
    assert len(usual) == (4 if changed else 1)


def test_dlpack_that_fails_is_told_as_ever():
    x, w, b = drawn()
    fastconv.conv2d(x, w, b)
    wrong = Exporter(x)
    wrong.array = None
    with pytest.raises(TypeError, match=r"x is a .*Exporter that cannot be taken"):
        fastconv.conv2d(wrong, w, b)
