"""Specs: output sizes against windows counted one by one, text form, FLOPs, error messages."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.plans.operation import (
    InputSpec,
    SoftmaxSpec,
)
from fastconv.spec import (
    ConvSpec,
    DenseSpec,
    PoolSpec,
    as_pair,
    describe,
    resolve_padding,
    tap_range,
)

NONE = ((0, 0), (0, 0))


def conv_size(size, kernel, stride=1, padding=(0, 0), dilation=1):
    """Rows and columns that a convolution makes of ``size`` rows (the columns are fixed: 1)."""
    spec = ConvSpec(
        1, 1, size, 1, 1, kernel=(kernel, 1), stride=(stride, 1), padding=(padding, (0, 0)),
        dilation=(dilation, 1),
    )  # fmt: skip
    assert spec.out_width == 1
    return spec.out_height


# Output sizes


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # AlexNet's first layer; a ResNet stem; 3x3 "same"; LeNet-5's C1; remainders are dropped.
        ({"size": 227, "kernel": 11, "stride": 4}, 55),
        ({"size": 224, "kernel": 7, "stride": 2, "padding": (3, 3)}, 112),
        ({"size": 32, "kernel": 3, "padding": (1, 1)}, 32),
        ({"size": 32, "kernel": 5}, 28),
        ({"size": 8, "kernel": 3, "stride": 2}, 3),
        ({"size": 7, "kernel": 3, "dilation": 3}, 1),
        ({"size": 1, "kernel": 1, "padding": (3, 4)}, 8),
    ],
)
def test_convolution_sizes_known_by_hand(arguments, expected):
    assert conv_size(**arguments) == expected


SMALL = st.integers(1, 4)
SIDES = st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(size=st.integers(1, 12), kernel=SMALL, stride=SMALL, padding=SIDES, dilation=SMALL)
def test_convolution_size_counts_the_windows_that_fit(size, kernel, stride, padding, dilation):
    padded = size + sum(padding)
    fitting = [
        start
        for start in range(0, padded, stride)
        if all(start + tap * dilation < padded for tap in range(kernel))
    ]
    if fitting:
        assert conv_size(size, kernel, stride, padding, dilation) == len(fitting)
    else:
        with pytest.raises(ValueError, match="the kernel spans"):
            conv_size(size, kernel, stride, padding, dilation)


def pool_size(size, kernel, stride, padding=(0, 0), ceil_mode=False):
    spec = PoolSpec(
        1, 1, 1, size, kernel=(1, kernel), stride=(1, stride), padding=((0, 0), padding),
        ceil_mode=ceil_mode,
    )  # fmt: skip
    assert spec.out_height == 1
    return spec.out_width


@pytest.mark.parametrize(
    ("arguments", "floor", "ceil"),
    [
        ((7, 2, 2), 3, 4),
        ((8, 2, 2), 4, 4),
        ((112, 3, 2, (1, 1)), 56, 57),
        ((13, 3, 2), 6, 6),
        # With ceil_mode a fourth window would begin at 4, on the right padding: not counted.
        ((2, 2, 2, (1, 1)), 2, 2),
        ((1, 1, 3), 1, 1),
    ],
)
def test_pooling_sizes_known_by_hand(arguments, floor, ceil):
    assert pool_size(*arguments) == floor
    assert pool_size(*arguments, ceil_mode=True) == ceil


@given(data=st.data(), size=st.integers(1, 12), kernel=SMALL, stride=st.integers(1, 6))
def test_pooling_size_counts_the_windows(data, size, kernel, stride):
    before, after = data.draw(st.tuples(*[st.integers(0, kernel - 1)] * 2))
    padded = size + before + after
    if padded < kernel:
        with pytest.raises(ValueError, match="the kernel spans"):
            pool_size(size, kernel, stride, (before, after))
        return
    starts = range(0, padded, stride)
    whole = [start for start in starts if start + kernel <= padded]
    assert pool_size(size, kernel, stride, (before, after)) == len(whole)
    # One more window where the whole ones leave cells uncovered and it begins before the end of
    # the image.
    left_over = whole[-1] + kernel < padded
    extra = int(left_over and whole[-1] + stride < size + before)
    assert pool_size(size, kernel, stride, (before, after), ceil_mode=True) == len(whole) + extra


def test_shapes_are_nhwc_and_hwio():
    spec = ConvSpec(2, 6, 9, 8, 4, kernel=(3, 2), stride=(2, 3), groups=2)
    assert spec.x_shape == (2, 9, 8, 6)
    assert spec.w_shape == (3, 2, 3, 4)
    assert spec.y_shape == (2, 4, 3, 4)
    pool = PoolSpec(0, 5, 9, 8, kernel=(3, 2), stride=(2, 3))
    assert (pool.x_shape, pool.y_shape) == ((0, 9, 8, 5), (0, 4, 3, 5))
    assert InputSpec(7, 4, 3, 2).x_shape == (7, 4, 3, 2)


# Transposed convolution


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "extra", "expected"),
    [
        (5, 3, 2, (0, 0), 0, 11),
        (16, 4, 2, (1, 1), 0, 32),  # DCGAN's layers double the size
        (8, 3, 2, (1, 1), 1, 16),
        (3, 2, 1, (0, 1), 0, 3),
    ],
)
def test_transposed_convolution_sizes_known_by_hand(size, kernel, stride, padding, extra, expected):
    spec = ConvSpec.of_transposed(
        2, 8, size, 1, 4, (kernel, 1), (stride, 1), (padding, (0, 0)), (extra, 0), groups=2
    )
    assert spec.x_shape == (2, expected, 1, 4)
    assert spec.y_shape == (2, size, 1, 8)
    assert spec.w_shape == (kernel, 1, 2, 8)


@given(data=st.data(), size=st.integers(1, 8), kernel=SMALL, stride=SMALL, dilation=SMALL)
def test_transposed_convolution_gives_back_its_input_size(data, size, kernel, stride, dilation):
    extra = data.draw(st.integers(0, stride - 1))
    spec = ConvSpec.of_transposed(
        1, 1, size, 1, 1, (kernel, 1), (stride, 1), NONE, (extra, 0), (dilation, 1)
    )
    assert spec.out_height == size


# Padding


def test_every_form_of_padding_is_resolved():
    def resolved(padding):
        return resolve_padding("f", padding, (5, 8), (3, 3), (1, 1))

    assert resolved(2) == ((2, 2), (2, 2))
    assert resolved((1, 2)) == ((1, 1), (2, 2))
    assert resolved(((1, 2), [3, 4])) == ((1, 2), (3, 4))
    assert resolved("valid") == NONE
    assert resolved("same") == ((1, 1), (1, 1))


def test_the_odd_rest_of_same_goes_to_the_bottom_and_right():
    assert resolve_padding("f", "same", (4, 4), (2, 4), (1, 1)) == ((0, 1), (1, 2))
    # TensorFlow's rule: 224 -> 112 with a 7x7 kernel needs (112 - 1) * 2 + 7 - 224 = 5.
    assert resolve_padding("f", "same", (224, 224), (7, 7), (2, 2)) == ((2, 3), (2, 3))
    assert resolve_padding("f", "same", (5, 5), (1, 1), (3, 3)) == NONE


@given(size=st.integers(1, 12), kernel=SMALL, stride=SMALL, dilation=SMALL)
def test_same_gives_the_size_over_the_stride_rounded_up(size, kernel, stride, dilation):
    sides, _ = resolve_padding("f", "same", (size, 1), (kernel, 1), (stride, 1), (dilation, 1))
    assert conv_size(size, kernel, stride, sides, dilation) == math.ceil(size / stride)
    assert 0 <= sides[1] - sides[0] <= 1


@pytest.mark.parametrize("padding", ["full", True, 1.5, (1, 2, 3), -1, ((1, 2), 3), (1, -1), None])
def test_other_padding_is_refused_by_name(padding):
    with pytest.raises(ValueError, match=r"^conv2d: padding is "):
        resolve_padding("conv2d", padding, (5, 5), (3, 3), (1, 1))


def test_pairs():
    assert as_pair("f", "stride", 3) == (3, 3)
    assert as_pair("f", "stride", [2, 1]) == (2, 1)
    for bad in (0, (1, 0), (1, 2, 3), "2", 2.0, True, None):
        with pytest.raises(ValueError, match=r"^conv2d: stride is "):
            as_pair("conv2d", "stride", bad)


@given(
    size=st.integers(1, 9),
    stride=SMALL,
    before=st.integers(0, 6),
    offset=st.integers(0, 9),
    outputs=st.integers(1, 9),
)
def test_tap_range_is_where_the_tap_meets_the_input(size, stride, before, offset, outputs):
    met = [o for o in range(outputs) if 0 <= o * stride - before + offset < size]
    assert list(range(*tap_range(outputs, size, stride, before, offset))) == met


# Text form


def pairs(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def conv_specs(draw):
    groups = draw(st.integers(1, 3))
    kernel, dilation = draw(pairs(1, 3)), draw(pairs(1, 3))
    return ConvSpec(
        draw(st.integers(0, 130)),
        groups * draw(st.integers(1, 20)),
        draw(st.integers(7, 300)),
        draw(st.integers(7, 300)),
        groups * draw(st.integers(1, 20)),
        kernel=kernel,
        stride=draw(pairs(1, 12)),
        padding=draw(st.tuples(pairs(0, 12), pairs(0, 12))),
        dilation=dilation,
        groups=groups,
    )


@given(conv_specs())
def test_text_of_a_convolution_reads_back(spec):
    assert ConvSpec.parse(str(spec)) == spec


@given(
    st.integers(0, 99), st.integers(1, 99), pairs(3, 99), pairs(1, 12),
    st.tuples(pairs(0, 2), pairs(0, 2)), st.booleans(), st.booleans(),
)  # fmt: skip
def test_text_of_a_pooling_reads_back(batch, channels, size, stride, padding, ceil, include):
    spec = PoolSpec(batch, channels, *size, (3, 3), stride, padding, ceil, include)  # type: ignore[call-arg]
    assert PoolSpec.parse(str(spec)) == spec


def test_text_by_hand():
    text = "g2mb1ic4ih5iw6oc8kh3kw2sh1sw2ph1,2pw3dh1dw2"
    spec = ConvSpec(1, 4, 5, 6, 8, (3, 2), (1, 2), ((1, 2), (3, 3)), (1, 2), 2)
    assert str(spec) == describe(spec) == text
    assert ConvSpec.parse(f" {text}\n") == spec
    pool = PoolSpec(1, 8, 28, 27, (2, 3), (2, 1), ((0, 1), (1, 1)), True, False)
    assert str(pool) == describe(pool) == "mb1ic8ih28iw27kh2kw3sh2sw1ph0,1pw1cm1ip0"
    assert describe(SoftmaxSpec(2, 10)) == "rows=2 classes=10"


@pytest.mark.parametrize("cls", [ConvSpec, PoolSpec])
@pytest.mark.parametrize("text", ["", "g1mb2", "mb1ic8ih28iw28kh2kw2sh2sw2ph0pw0cm2ip1"])
def test_other_text_is_refused_with_an_example(cls, text):
    with pytest.raises(ValueError, match=rf"^{cls.__name__}.parse: '{text}' is not .*such as"):
        cls.parse(text)


# FLOPs


@pytest.mark.parametrize(
    ("channels", "size", "filters", "flops"),
    # 2 * 30 * 30 * 32 * 27, 2 * 28 * 28 * 32 * 288, 2 * 12 * 12 * 64 * 288, 2 * 10 * 10 * 64 * 576
    [(3, 32, 32, 1_555_200), (32, 30, 32, 14_450_688), (32, 14, 64, 5_308_416),
     (64, 12, 64, 7_372_800)],
)  # fmt: skip
def test_flops_of_the_convolutions_of_cifar10_deep(channels, size, filters, flops):
    assert ConvSpec(1, channels, size, size, filters, kernel=(3, 3)).flops == flops


def test_flops_by_hand():
    assert ConvSpec(2, 4, 5, 5, 6, kernel=(3, 3), groups=2).flops == 2 * 2 * 9 * 6 * (9 * 2)
    assert PoolSpec(3, 8, 4, 4, kernel=(2, 2), stride=(2, 2)).flops == 3 * 8 * 4 * 4
    assert DenseSpec(2, 1600, 256).flops == 2 * 2 * 1600 * 256
