"""Convolutions of NCHW images that are transposed chunk by chunk."""

import threading

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_array_equal

import fastconv
from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.lowering import lowered_kernels
from fastconv.backends.compiled.rules import batch_blocked, chunks, transposed
from fastconv.backends.selection import backend_state, load_module
from fastconv.backends.workspace import WorkspaceTooSmall
from fastconv.functional import arrays as arrays_module
from fastconv.functional import memory
from fastconv.functional.kept_calls import forget_calls
from fastconv.spec import ConvSpec

BACKENDS = [name for name in ("cython", "numba") if backend_state(name).works]
BACKEND = pytest.mark.parametrize("backend", BACKENDS)
DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TARGET = Target("tests", vector_bytes=64, registers=32, masks=True)
CHANNELS, FILTERS, SIZE = 3, 4, (6, 5)
SAMPLE = (CHANNELS + FILTERS) * 6 * 5
"""Elements of one sample of x and of y."""


def integers(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def correlated(x, w):
    """Correlate with a border of one zero, from the definition; all strides are 1."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w)


def flipped(w):
    """Return the filters whose correlation is the gradient of one with a border of one zero."""
    return w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]


def weight_gradient(dy, x, size=(3, 3)):
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.einsum("nchwij,nohw->ocij", sliding_window_view(x, size, axis=(2, 3)), dy)


def arrays(batch, dtype=np.float32):
    x = integers(batch, CHANNELS, *SIZE, dtype=dtype)
    w = integers(FILTERS, CHANNELS, 3, 3, dtype=dtype, seed=1)
    dy = integers(batch, FILTERS, *SIZE, dtype=dtype, seed=2)
    return x, w, integers(FILTERS, dtype=dtype, seed=3), dy


def forget():
    """Forget the instructions and workspaces of calls, so that they are made again."""
    lowered_kernels.lower_kernel.cache_clear()
    arrays_module._workspace_bytes.cache_clear()
    for name in BACKENDS:
        load_module(name, "engine")._stream.cache_clear()
    forget_calls()


@pytest.fixture
def chunks_of(monkeypatch):
    """Make chunks of so many samples of the arrays above; return the sizes of all chunks."""
    sizes = []
    original = transposed._chunks

    def watch(builder, spec, *channels):
        parts = original(builder, spec, *channels)
        sizes[:] = [part.batch for _, part in parts]
        return parts

    def set_samples(samples, dtype=np.float32):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", samples * SAMPLE * np.dtype(dtype).itemsize)
        monkeypatch.setattr(transposed, "_chunks", watch)
        forget()
        return sizes

    yield set_samples
    forget()


@BACKEND
@DTYPE
@pytest.mark.parametrize(
    ("batch", "expected"),
    [(0, [0]), (1, [1]), (5, [5]), (7, [4, 3]), (11, [4, 4, 3]), (13, [5, 5, 3])],
)
def test_a_forward_pass_goes_through_every_chunk(backend, dtype, batch, expected, chunks_of):
    sizes = chunks_of(5, dtype)
    x, w, b, _ = arrays(batch, dtype)
    y = fastconv.conv2d(x, w, b, padding=1, backend=backend)
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert_array_equal(y, correlated(x, w) + b[:, None, None])
    assert sizes == expected


@BACKEND
@DTYPE
@pytest.mark.parametrize("batch", [0, 1, 5, 7, 11, 13])
@pytest.mark.parametrize("needs", ["xwb", "xw", "xb", "wb", "x", "w", "b", ""])
def test_gradients_sum_over_every_chunk(backend, dtype, batch, needs, chunks_of):
    chunks_of(5, dtype)
    x, w, _, dy = arrays(batch, dtype)
    dx, dw, db = fastconv.conv2d_backward(
        dy, x, w, padding=1, needs=tuple(needs), backend=backend
    )  # fmt: skip
    expected = correlated(dy, flipped(w)), weight_gradient(dy, x), dy.sum(axis=(0, 2, 3))
    for name, gradient, right in zip("xwb", (dx, dw, db), expected, strict=True):
        if name not in needs:
            assert gradient is None
            continue
        assert gradient.dtype == dtype
        assert gradient.flags.c_contiguous
        assert_array_equal(gradient, right)


@BACKEND
def test_samples_from_16_on_come_in_multiples_of_16(backend, chunks_of):
    sizes = chunks_of(20)
    x, w, b, dy = arrays(40)
    y = fastconv.conv2d(x, w, b, padding=1, backend=backend)
    assert_array_equal(y, correlated(x, w) + b[:, None, None])
    assert sizes == [16, 16, 8]
    dx, dw, db = fastconv.conv2d_backward(dy, x, w, padding=1, backend=backend)
    assert_array_equal(dx, correlated(dy, flipped(w)))
    assert_array_equal(dw, weight_gradient(dy, x))
    assert_array_equal(db, dy.sum(axis=(0, 2, 3)))


@BACKEND
def test_transposed_convolutions_go_through_chunks(backend, chunks_of):
    sizes = chunks_of(5)
    x, w, b, dy = arrays(13)
    # From dy's channels to those of x: its forward pass is the gradient of x, and the other way.
    y = fastconv.conv_transpose2d(dy, w, b[:CHANNELS], padding=1, backend=backend)
    assert_array_equal(y, correlated(dy, flipped(w)) + b[:CHANNELS, None, None])
    assert sizes == [5, 5, 3]
    ddy, dw, db = fastconv.conv_transpose2d_backward(x, dy, w, padding=1, backend=backend)
    assert_array_equal(ddy, correlated(x, w))
    assert_array_equal(dw, weight_gradient(dy, x))
    assert_array_equal(db, x.sum(axis=(0, 2, 3)))


@BACKEND
def test_chunks_are_written_into_out(backend, chunks_of):
    chunks_of(5)
    x, w, _, _ = arrays(13)
    expected = correlated(x, w)
    out = np.empty_like(expected)
    assert fastconv.conv2d(x, w, padding=1, out=out, backend=backend) is out
    assert_array_equal(out, expected)
    wide = np.full((13, 2 * FILTERS, *SIZE), 7, np.float32)
    fastconv.conv2d(x, w, padding=1, out=wide[:, ::2], backend=backend)
    assert_array_equal(wide[:, ::2], expected)
    assert_array_equal(wide[:, 1::2], 7)


@BACKEND
def test_inputs_may_have_gaps_or_be_read_only(backend, chunks_of):
    chunks_of(5)
    x, w, _, dy = arrays(13)
    y, gradients = correlated(x, w), (correlated(dy, flipped(w)), weight_gradient(dy, x))
    spread = np.zeros((13, CHANNELS, 6, 10), np.float32)[..., ::2]
    spread[...] = x
    backwards = np.ascontiguousarray(dy[::-1])[::-1]
    fixed = x.copy()
    fixed.flags.writeable = False
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for images in (spread, fixed, last):
        assert_array_equal(fastconv.conv2d(images, w, padding=1, backend=backend), y)
        for each in (dy, backwards):
            results = fastconv.conv2d_backward(each, images, w, padding=1, backend=backend)
            assert_array_equal(results[0], gradients[0])
            assert_array_equal(results[1], gradients[1])


@BACKEND
@pytest.mark.parametrize("shape", [(9, 1, 6, 5), (9, 3, 1, 1), (9, 1, 1, 1)])
@pytest.mark.parametrize("filters", [1, 4])
def test_results_are_not_in_memory_that_is_used_again(backend, shape, filters, chunks_of):
    """One channel or one pixel: NCHW is the same memory as NHWC, and nothing is moved."""
    chunks_of(1)
    x, w = integers(*shape), integers(filters, shape[1], 3, 3, seed=1)
    dy = integers(shape[0], filters, *shape[2:], seed=2)

    def results(x, w, dy):
        y = fastconv.conv2d(x, w, padding=1, backend=backend)
        return y, *fastconv.conv2d_backward(dy, x, w, padding=1, backend=backend)

    first = results(x, w, dy)
    results(x + 1, w - 1, dy + 2)
    assert_array_equal(first[0], correlated(x, w))
    assert_array_equal(first[1], correlated(dy, flipped(w)))
    assert_array_equal(first[2], weight_gradient(dy, x))
    assert_array_equal(first[3], dy.sum(axis=(0, 2, 3)))


@BACKEND
def test_results_do_not_depend_on_the_number_of_threads(backend, monkeypatch):
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((50, 24, 40, 40)), draw.standard_normal((24, 24, 3, 3))
    dy = draw.standard_normal(x.shape)
    x, w, dy = (array.astype(np.float32) for array in (x, w, dy))
    results = []
    for threads in "124":
        monkeypatch.setenv("FASTCONV_THREADS", threads)
        y = fastconv.conv2d(x, w, padding=1, backend=backend)
        results.append((y, *fastconv.conv2d_backward(dy, x, w, padding=1, backend=backend)))
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert_array_equal(one, other)


@BACKEND
def test_infinities_are_summed_without_a_warning(backend, chunks_of):
    chunks_of(5)
    x, w, _, dy = arrays(13)
    dy[0], dy[-1] = np.inf, -np.inf
    with np.errstate(all="raise"):
        _, _, db = fastconv.conv2d_backward(dy, x, w, padding=1, backend=backend)
        _, _, alone = fastconv.conv2d_backward(dy, x, w, padding=1, needs="b", backend=backend)
    assert np.isnan(db).all()
    assert np.isnan(alone).all()


@pytest.fixture
def samples(monkeypatch):
    """Return how many samples of a spec are in its first chunk."""

    def count(spec, dtype="float32", chunk_bytes=1 << 20):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
        together = batch_blocked.samples_together(
            spec, spec.out_channels, target=TARGET, dtype=dtype
        )
        return chunks.chunks_of_batch(spec, np.dtype(dtype).itemsize, together)[0][1].batch

    return count


def test_a_chunk_has_as_many_bytes_as_are_asked_for(samples):
    # 64 channels in and out, 32 * 32 pixels: 512 KiB of float32, so 2 in a MiB.
    spec = ConvSpec(8, 64, 32, 32, 64, (1, 1))
    assert samples(spec) == 2
    assert samples(spec, "float64") == 1
    assert samples(spec, chunk_bytes=1 << 30) == 8
    # 3 do not go into 8: 3 chunks of 3, 3 and 2.
    assert samples(spec, chunk_bytes=7 << 18) == 3


def test_images_of_a_chunk_are_larger_than_the_weights(samples):
    # 1 MiB of weights: 4 MiB of images, 400 KiB a sample: 10 of them, in 4 chunks of 32.
    assert samples(ConvSpec(32, 512, 10, 10, 512, (1, 1))) == 8
    # 9 MiB of weights: chunks do not pay.
    assert samples(ConvSpec(32, 512, 10, 10, 512, (3, 3))) == 32


def test_samples_that_may_fill_the_lanes_stay_together(samples):
    # 8 channels out leave half of a vector of 16 lanes, so 16 samples are batch_blocked.
    few = ConvSpec(64, 32, 32, 32, 8, (3, 3), padding=((1, 1), (1, 1)))
    assert samples(few) == 16
    # 32 channels leave none: 256 KiB each.
    assert samples(ConvSpec(64, 32, 32, 32, 32, (3, 3), padding=((1, 1), (1, 1)))) == 4
    # Colours fill no lanes, but no vector of a forward pass runs over them: 396 KiB each.
    assert samples(ConvSpec(64, 3, 56, 56, 32, (3, 3))) == 2
    # So large that 16 of them are in no cache: the batch stays whole.
    assert samples(ConvSpec(64, 3, 256, 256, 8, (3, 3))) == 64


CALLS = {
    "conv2d": lambda x, w, b, dy, how: fastconv.conv2d(x, w, **how),
    "conv2d with a bias": lambda x, w, b, dy, how: fastconv.conv2d(x, w, b, **how),
    "its gradients": lambda x, w, b, dy, how: fastconv.conv2d_backward(dy, x, w, **how),
    "dx": lambda x, w, b, dy, how: fastconv.conv2d_backward(dy, x, w, needs=("x",), **how),
    "dw": lambda x, w, b, dy, how: fastconv.conv2d_backward(dy, x, w, needs=("w",), **how),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", CALLS)
def test_a_first_call_is_lowered_once_and_a_second_not_at_all(backend, call):
    how = {"padding": 1, "backend": backend}
    given = arrays(4)
    forget()
    before = memory.kept_memory()  # as in a fresh thread
    CALLS[call](*given, how)  # type: ignore[call-arg]
    assert lowered_kernels.lower_kernel.cache_info().misses == 1
    CALLS[call](*given, how)  # type: ignore[call-arg]
    assert lowered_kernels.lower_kernel.cache_info().misses == 1
    if before is not None:
        memory.keep_memory(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kernel_with_too_little_workspace_is_not_called(backend):
    spec = ConvSpec(4, CHANNELS, *SIZE, FILTERS, (3, 3), padding=((1, 1), (1, 1)))
    x, w, b, dy = arrays(4)
    kernels = load_module(backend, "nchw")
    needed = kernels.workspace_bytes("conv2d_forward", spec, np.float32)
    assert needed > 64
    y = np.full_like(dy, 7)
    for few in (None, np.empty(needed // 2, np.uint8)):
        with pytest.raises(WorkspaceTooSmall, match=r"nchw.conv2d_forward: workspace has \d+ byt"):
            kernels.conv2d_forward(spec, x, w, b, y, few)
    assert (y == 7).all()
    # Wherever in memory the workspace begins.
    room = np.empty(needed + 64, np.uint8)
    results = []
    for start in (0, 1, 17, 63):
        kernels.conv2d_forward(spec, x, w, b, y, room[start : start + needed])
        results.append(y.copy())
    assert all((each == results[0]).all() for each in results)


def test_memory_is_kept_by_its_thread_until_it_is_taken():
    first = memory.take_memory(100)
    assert first.size >= 100
    second = memory.take_memory(100)
    assert not np.shares_memory(first, second)
    memory.keep_memory(first)
    other = []
    thread = threading.Thread(target=lambda: other.append(memory.take_memory(100)))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, other[0])
    assert memory.take_memory(100) is first
    memory.keep_memory(np.empty(1 << 30, np.uint8))
    assert memory.take_memory(100).size < 1 << 30
