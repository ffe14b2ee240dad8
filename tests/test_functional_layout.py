"""Public functions on arrays so large that a backend's own kernels turn their layouts around."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from public_calls import integers

import fastconv
from fastconv.backends.selection import NAMES, backend_state
from fastconv.functional import images as images_module

BACKENDS = [name for name in NAMES if backend_state(name).works and name != "cupy"]
BACKEND = pytest.mark.parametrize("backend", BACKENDS)
DTYPE = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
SHAPES = [(2, 17, 33, 121), (1, 3, 219, 211), (3, 257, 13, 14), (40, 1600, 2, 1), (1, 1, 400, 400)]


@pytest.fixture
def launched(monkeypatch):
    """Names of the kernels that are called from here on."""
    names = []
    original = images_module.launch

    def watch(backend, kernel, *rest):
        names.append(kernel)
        original(backend, kernel, *rest)

    monkeypatch.setattr(images_module, "launch", watch)
    return names


@BACKEND
@DTYPE
@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_the_transposed_ones(backend, dtype, shape, launched):
    x = integers(*shape).astype(dtype)
    turned = images_module.to_nhwc(x, backend)
    assert turned.flags.c_contiguous
    assert turned.dtype == dtype
    assert_array_equal(turned, x.transpose(0, 2, 3, 1))
    back = np.zeros_like(x)
    images_module.to_nchw(turned, back, backend)
    assert_array_equal(back, x)
    if backend == "cython":
        same = x.transpose(0, 2, 3, 1).flags.c_contiguous  # of one channel
        assert launched == ["layout.nchw_to_nhwc"] * (not same) + ["layout.nhwc_to_nchw"]


@BACKEND
@pytest.mark.parametrize("step", [slice(None), slice(None, None, 2), slice(None, None, -1)])
def test_the_memory_order_of_large_arrays_does_not_matter(backend, step):
    x = integers(2, 17, 99, 122)[:, :, :, step]
    assert_array_equal(images_module.to_nhwc(x, backend), x.transpose(0, 2, 3, 1))
    back = np.zeros(x.shape, x.dtype)
    images_module.to_nchw(x.transpose(0, 2, 3, 1), back, backend)
    assert_array_equal(back, x)


@BACKEND
def test_both_layouts_of_a_large_convolution_give_the_same_numbers(backend):
    x, w, dy = integers(2, 40, 41, 53), integers(48, 40, 3, 3, seed=1), integers(2, 48, 41, 53)
    options = {"padding": 1, "backend": backend}
    y = fastconv.conv2d(x, w, **options)
    dx, dw, db = fastconv.conv2d_backward(dy, x, w, **options)
    images = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (dy, x)]
    packed = np.ascontiguousarray(w.transpose(2, 3, 1, 0))
    options["layout"] = "NHWC"
    # Those of NCHW may be made in tiles of 4x4 outputs, whose sums of integers are rounded ones.
    assert_array_equal(
        fastconv.conv2d(images[1], packed, **options), y.round().transpose(0, 2, 3, 1)
    )
    np.testing.assert_allclose(y, y.round(), rtol=0, atol=1e-11)
    results = fastconv.conv2d_backward(*images, packed, **options)
    assert_array_equal(results[0], dx.round().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(dx, dx.round(), rtol=0, atol=1e-11)
    assert_array_equal(results[1], dw.transpose(2, 3, 1, 0))
    assert_array_equal(results[2], db)


@BACKEND
def test_images_that_lie_in_nhwc_already_are_not_copied(backend, launched):
    x = integers(2, 6, 8, 3)
    nchw = x.transpose(0, 3, 1, 2)  # a view, as of a picture with its channels last
    assert np.shares_memory(images_module.to_nhwc(nchw, backend), x)
    one = integers(2, 1, 8, 6)  # of one channel, both layouts are the same memory
    assert np.shares_memory(images_module.to_nhwc(one, backend), one)
    y, where = fastconv.max_pool2d(one, 2, backend=backend)
    expected = one.reshape(2, 1, 4, 2, 3, 2).max(axis=(3, 5))
    assert_array_equal(y, expected)
    assert_array_equal(one.reshape(2, 1, -1)[np.arange(2)[:, None], 0, where[:, 0].reshape(2, -1)],
                       expected.reshape(2, -1))  # fmt: skip
    assert launched == ["pool.max_pool2d_forward"]


@BACKEND
@pytest.mark.parametrize(
    ("call", "kernels"),
    [
        (lambda x, w, how: fastconv.conv2d(x, w, **how), ["nchw.conv2d_forward"]),
        (lambda x, w, how: fastconv.avg_pool2d(x, 2, **how), ["pool.avg_pool2d_forward"]),
        (lambda x, w, how: fastconv.batch_norm(x, *np.ones((2, 4)), **how),
         ["norm.batch_norm_forward_training"]),
    ],
)  # fmt: skip
def test_one_launch_computes_whatever_the_layout(backend, launched, call, kernels):
    """Small images are turned around by NumPy; nothing but the kernel itself is launched."""
    x, w = integers(2, 4, 6, 6).astype(float), integers(5, 4, 3, 3).astype(float)
    call(x, w, {"backend": backend})
    assert launched == kernels
    launched.clear()
    call(
        np.ascontiguousarray(x.transpose(0, 2, 3, 1)),
        np.ascontiguousarray(w.transpose(2, 3, 1, 0)),
        {"backend": backend, "layout": "NHWC"},
    )
    assert launched == [kernels[0].replace("nchw.", "conv.")]  # fmt: skip


# Specs that are kept


X, KERNEL = np.ones((1, 2, 5, 5)), np.ones((2, 2, 1, 1))


@pytest.mark.parametrize("wrong", [True, 1.0, (1, True), (1, 1.0), ((0, 0), (0, False))])
@pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
def test_what_equals_a_good_argument_of_an_earlier_call_is_still_wrong(name, wrong):
    good = ((0, 0), (0, 0)) if isinstance(wrong, tuple) and isinstance(wrong[0], tuple) else 1
    if isinstance(good, tuple) and name != "padding":
        good = (1, 1)
    fastconv.conv2d(X, KERNEL, **{name: good})
    fastconv.conv2d(X, KERNEL, **{name: (1, 1)})
    with pytest.raises(ValueError, match=f"conv2d: {name} is "):
        fastconv.conv2d(X, KERNEL, **{name: wrong})


def test_groups_that_equal_one_are_still_wrong():
    fastconv.conv2d(X, KERNEL, groups=1)
    with pytest.raises(ValueError, match="conv2d: groups is True"):
        fastconv.conv2d(X, KERNEL, groups=True)


@pytest.mark.parametrize("stride", [[2, 1], np.array([2, 1]).tolist(), (np.int64(2), np.int8(1))])
def test_arguments_that_cannot_be_kept_work_all_the_same(stride):
    expected = fastconv.conv2d(X, KERNEL, stride=(2, 1))
    assert expected.shape == (1, 2, 3, 5)
    assert_array_equal(fastconv.conv2d(X, KERNEL, stride=stride), expected)


# Threads


@BACKEND
def test_threads_that_convolve_at_once_do_not_disturb_each_other(backend):
    x, w = integers(2, 16, 20, 20), integers(24, 16, 3, 3, seed=1)
    expected = [fastconv.conv2d(x + k, w, backend=backend) for k in range(4)]
    wrong = []

    def convolve(k):
        for _ in range(10):
            if not np.array_equal(fastconv.conv2d(x + k, w, backend=backend), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=convolve, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
