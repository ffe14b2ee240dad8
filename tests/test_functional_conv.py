"""Convolution as a public function: padding, strides, transposition, and what is needed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv
from fastconv.backends.reference import conv as reference
from fastconv.backends.selection import NAMES, backend_state
from fastconv.spec import ConvSpec

BACKENDS = [name for name in NAMES if backend_state(name).works and name != "cupy"]


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


X, W, B = integers(2, 4, 7, 6), integers(6, 2, 3, 2, seed=1), integers(6, seed=2)
W_BACK = integers(4, 3, 3, 2, seed=3)
OPTIONS = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "groups": 2}


def expected_conv2d(x, w, b, **options):
    """NCHW in and out, by the reference."""
    spec = ConvSpec(  # type: ignore[call-arg]
        x.shape[0], x.shape[1], *x.shape[2:], w.shape[0], kernel=w.shape[2:], **options
    )  # fmt: skip
    y = np.empty(spec.y_shape)
    reference.conv2d_forward(spec, x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), b, y, None)
    return y.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("padding", "sides"),
    [
        (1, ((1, 1), (1, 1))),
        ((2, 1), ((2, 2), (1, 1))),
        (((0, 2), (1, 3)), ((0, 2), (1, 3))),
        ("valid", ((0, 0), (0, 0))),
        # ceil(7 / 2) = 4 rows need (4 - 1) * 2 + 3 = 9; ceil(6 / 1) = 6 columns need 7.
        ("same", ((1, 1), (0, 1))),
        ([np.int64(1), 2], ((1, 1), (2, 2))),
        (np.int32(2), ((2, 2), (2, 2))),
    ],
    ids=str,
)
def test_padding_in_all_its_forms_is_zeros_around_the_image(padding, sides):
    y = fastconv.conv2d(X, W, B, stride=(2, 1), padding=padding, groups=2)
    padded = np.pad(X, ((0, 0), (0, 0), *sides))
    assert_array_equal(y, expected_conv2d(padded, W, B, stride=(2, 1), groups=2))


@pytest.mark.parametrize("size", [1, 4, 5, 6, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_gives_the_size_over_the_stride_rounded_up(size, stride):
    x, w = np.ones((1, 1, size, size)), np.ones((1, 1, 3, 2))
    y = fastconv.conv2d(x, w, stride=stride, padding="same", dilation=2)
    assert y.shape[2:] == (-(-size // stride),) * 2


@pytest.mark.parametrize("pair", [(2, 1), [1, 2], (np.int64(2), 2)], ids=str)
def test_stride_and_dilation_take_pairs(pair):
    pair_of_ints = (int(pair[0]), int(pair[1]))
    for name in ("stride", "dilation"):
        y = fastconv.conv2d(X, W, **{name: pair}, groups=2)
        assert_array_equal(y, expected_conv2d(X, W, None, **{name: pair_of_ints}, groups=2))


def test_one_number_is_a_pair_of_it():
    both = fastconv.conv2d(X, W, stride=2, dilation=2, padding=2, groups=2)
    pairs = fastconv.conv2d(X, W, stride=(2, 2), dilation=(2, 2), padding=(2, 2), groups=2)
    assert_array_equal(both, pairs)


NEEDS = [(), ("x",), ("w",), ("b",), ("x", "b"), ("w", "b"), ("b", "w", "x"), ["x", "w"]]


@pytest.mark.parametrize("needs", NEEDS, ids=str)
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "dense"])
def test_only_the_gradients_needed_are_computed(name, needs):
    x, w = (integers(5, 6), integers(6, 3)) if name == "dense" else (X, integers(4, 4, 3, 2))
    dy = integers(*getattr(fastconv, name)(x, w).shape)
    backward = getattr(fastconv, f"{name}_backward")
    for key, result, full in zip("xwb", backward(dy, x, w, needs=needs), backward(dy, x, w),
                                 strict=True):  # fmt: skip
        if key in needs:
            assert_array_equal(result, full)
        else:
            assert result is None


def transposed_by_scatter(x, w, stride):
    """y[n, o, ih*s + kh, iw*s + kw] += x[n, c, ih, iw] * w[c, o, kh, kw]."""
    _, outputs, kh, kw = w.shape
    n, _, height, width = x.shape
    y = np.zeros((n, outputs, (height - 1) * stride[0] + kh, (width - 1) * stride[1] + kw))
    for ih in range(height):
        for iw in range(width):
            patch = np.einsum("nc,cokl->nokl", x[:, :, ih, iw], w)
            rows, columns = ih * stride[0], iw * stride[1]
            y[:, :, rows : rows + kh, columns : columns + kw] += patch
    return y


def test_transposed_convolution_scatters_its_input():
    b = integers(3, seed=7)
    full = transposed_by_scatter(X, W_BACK, (2, 3))
    y = fastconv.conv_transpose2d(X, W_BACK, b, stride=(2, 3))
    assert_array_equal(y, full + b[:, None, None])
    cropped = fastconv.conv_transpose2d(X, W_BACK, stride=(2, 3), padding=((1, 2), (0, 1)))
    assert_array_equal(cropped, full[:, :, 1:-2, :-1])
    # Output padding is a part of the result that the crop would else take off, or zeros.
    longer = fastconv.conv_transpose2d(X, W_BACK, stride=(2, 3), output_padding=(1, 2))
    assert_array_equal(longer, np.pad(full, ((0, 0), (0, 0), (0, 1), (0, 2))))


@pytest.mark.parametrize(
    "options",
    [{}, OPTIONS, {"stride": 3, "padding": 1}, {"dilation": (2, 1), "groups": 2}],
    ids=str,
)
def test_transposed_convolution_is_the_adjoint_of_convolution(options):
    # <conv(x), y> = <x, conv_transpose(y)> with the same weights, for any x and y.
    groups = options.get("groups", 1)
    w = integers(6, 4 // groups, 3, 2, seed=9)
    forward = fastconv.conv2d(X, w, **options)
    y = integers(*forward.shape, seed=8)
    smaller = fastconv.conv_transpose2d(y, w, **options)
    extra = tuple(n - m for n, m in zip(X.shape[2:], smaller.shape[2:], strict=True))
    back = fastconv.conv_transpose2d(y, w, **options, output_padding=extra)
    assert back.shape == X.shape
    assert np.sum(forward * y) == np.sum(X * back)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_filter_for_each_channel_gives_the_same_in_both_layouts(backend):
    rng = np.random.default_rng(3)
    x, w = rng.integers(-4, 5, (2, 3, 6, 7)) * 1.0, rng.integers(-4, 5, (3, 1, 3, 2)) * 1.0
    x = x[..., ::-1]  # not contiguous
    options = {"stride": (2, 1), "padding": 1, "groups": 3, "backend": backend}
    last = options | {"layout": "NHWC"}
    x_last, w_last = x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0)
    y_last = fastconv.conv2d(x_last, w_last, **last)
    out = np.zeros((*y_last.transpose(0, 3, 1, 2).shape[:3], 2 * y_last.shape[2]))[..., ::2]
    y = fastconv.conv2d(x, w, out=out, **options)
    assert y is out
    assert_array_equal(y, y_last.transpose(0, 3, 1, 2))
    dx, dw, db = fastconv.conv2d_backward(y, x, w, **options)
    dx_last, dw_last, db_last = fastconv.conv2d_backward(y_last, x_last, w_last, **last)
    assert_array_equal(dx, dx_last.transpose(0, 3, 1, 2))
    assert_array_equal(dw, dw_last.transpose(3, 2, 0, 1))
    assert_array_equal(db, db_last)
    gradients = fastconv.conv2d_backward(y, x, w, needs=("b",), **options)
    assert gradients[:2] == (None, None)
    assert_array_equal(gradients[2], db_last)
