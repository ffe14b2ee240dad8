"""Drawn specs: the NumPy backend equals the reference. Drawn nonsense: one line says what is wrong.

The draws are the same in every run.
"""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import KERNELS, calls_of
from public_calls import CALLS
from tolerances import assert_close
from watched import run

import fastconv
from fastconv.spec import ConvSpec, PoolSpec


def drawn(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def pairs(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def sizes(draw, kernel, dilation, padding):
    """Height and width that the window fits into, or just so."""
    return [
        max(1, (k - 1) * d + 1 - sum(sides)) + draw(st.integers(0, 3))
        for k, d, sides in zip(kernel, dilation, padding, strict=True)
    ]


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    kernel, dilation = draw(pairs(1, 3)), draw(pairs(1, 3))
    padding = draw(st.tuples(pairs(0, 3), pairs(0, 3)))
    height, width = draw(sizes(kernel, dilation, padding))
    return ConvSpec(
        draw(st.integers(0, 2)),
        groups * draw(st.integers(1, 3)),
        height,
        width,
        groups * draw(st.integers(1, 3)),
        kernel=kernel,
        stride=draw(pairs(1, 3)),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@st.composite
def pools(draw):
    kernel = draw(pairs(1, 4))
    padding = tuple(draw(pairs(0, k - 1)) for k in kernel)
    height, width = draw(sizes(kernel, (1, 1), padding))
    return PoolSpec(
        draw(st.integers(0, 2)),
        draw(st.integers(1, 3)),
        height,
        width,
        kernel=kernel,
        stride=draw(pairs(1, 4)),
        padding=padding,
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
    )


def assert_equals_reference(kernel, spec, exact):
    for call in calls_of(kernel, spec, np.float32, integers=True):
        expected = run("reference", call.in_float64())
        for name, actual in run("numpy", call).items():
            if exact:
                np.testing.assert_array_equal(actual, expected[name], err_msg=f"{call}: {name}")
            else:
                assert_close(
                    actual, expected[name], kernel, f"{call}: {name}", scale=call.scale_of(name)
                )


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k.startswith("conv.")])
@drawn(40)
@given(spec=convolutions())
def test_convolution_equals_the_reference(kernel, spec):
    assert_equals_reference(kernel, spec, exact=True)


POOL_KERNELS = [k for k in KERNELS if k.startswith(("pool.max", "pool.avg"))]


@pytest.mark.parametrize("kernel", POOL_KERNELS)
@drawn(60)
@given(spec=pools())
def test_pooling_equals_the_reference(kernel, spec):
    assert_equals_reference(kernel, spec, exact="max" in kernel)


@drawn(100)
@given(spec=convolutions())
def test_the_spec_of_a_transposed_convolution_maps_its_input_to_its_output(spec):
    extra = tuple(
        size + sum(sides) - (k - 1) * d - 1 - (out - 1) * s
        for size, sides, k, d, out, s in zip(
            (spec.height, spec.width), spec.padding, spec.kernel, spec.dilation,
            (spec.out_height, spec.out_width), spec.stride, strict=True,
        )
    )  # fmt: skip
    back = ConvSpec.of_transposed(
        spec.batch, spec.out_channels, spec.out_height, spec.out_width, spec.in_channels,
        spec.kernel, spec.stride, spec.padding, extra, spec.dilation, spec.groups,
    )  # fmt: skip
    assert back == spec


@drawn(100)
@given(spec=st.one_of(convolutions(), pools()))
def test_the_text_of_a_spec_is_read_back(spec):
    assert type(spec).parse(str(spec)) == spec


# Nonsense

SHAPES = st.one_of(
    st.lists(st.integers(0, 4), max_size=5), st.lists(st.integers(1, 7), min_size=4, max_size=4)
)
NUMBERS = st.one_of(st.integers(-1, 4), st.sampled_from([None, 0.5, "1", True, np.int64(2)]))
ANYTHING = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, max_size=4),
    st.tuples(pairs(-1, 2), pairs(0, 2)),
    st.sampled_from(["same", "valid", "full", "NHWC", "x"]),
)
ARRAYS = st.one_of(
    SHAPES.map(np.ones),
    SHAPES.map(lambda shape: np.ones(shape, np.float32)),
    SHAPES.map(lambda shape: np.ones(shape, np.int32)),
)
NAMES = sorted({name for name, *_ in CALLS})


def changes_of(value):
    """Anything; for an array another array, often of a similar shape."""
    if not isinstance(value, np.ndarray):
        return ANYTHING
    shapes = st.tuples(*(st.sampled_from([n, n, n, n + 1, 1, 0]) for n in value.shape))
    return st.one_of(shapes.map(lambda shape: np.ones(shape, value.dtype)), ARRAYS, ANYTHING)


@st.composite
def nearly_right_calls(draw, name):
    """A good call with up to two of its arguments or options changed."""
    call = draw(st.sampled_from([c for c in CALLS if c[0] == name]))
    arguments, options = list(call[1]), dict(call[2])
    possible = inspect.signature(getattr(fastconv, name)).parameters
    names = [key for key in possible if key != "backend"]
    for key in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        k = names.index(key)
        if k < len(arguments):
            arguments[k] = draw(changes_of(arguments[k]))
        elif possible[key].kind is inspect.Parameter.KEYWORD_ONLY:
            options[key] = draw(ARRAYS if key == "out" else ANYTHING)
    return [a.copy() if isinstance(a, np.ndarray) else a for a in arguments], options


@pytest.mark.parametrize("name", NAMES)
@drawn(100)
@given(data=st.data())
def test_wrong_arguments_are_a_type_or_value_error_of_one_line(name, data):
    arguments, options = data.draw(nearly_right_calls(name))
    try:
        with np.errstate(all="ignore"):
            getattr(fastconv, name)(*arguments, **options)
    except (TypeError, ValueError) as fault:
        message = str(fault)
        assert message.startswith(f"{name}: "), message
        assert "\n" not in message
        assert len(message) < 300


SMALL = st.lists(st.integers(0, 6), min_size=4, max_size=4)


@drawn(300)
@given(x=SMALL, w=SMALL, stride=pairs(0, 3), padding=pairs(0, 2), dilation=pairs(0, 2))
def test_a_convolution_of_any_two_shapes_has_the_size_of_the_formula_or_an_error(
    x, w, stride, padding, dilation
):
    w[1] = x[1]
    spans = [(k - 1) * d + 1 for k, d in zip(w[2:], dilation, strict=True)]
    rooms = [n + 2 * p - span for n, p, span in zip(x[2:], padding, spans, strict=True)]
    possible = (
        min(*x[1:], *w) > 0 and min(*stride, *dilation) > 0 and min(rooms) >= 0
    )  # fmt: skip
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    if not possible:
        with pytest.raises(ValueError, match=r"^conv2d: "):
            fastconv.conv2d(np.ones(x), np.ones(w), **options)
        return
    y = fastconv.conv2d(np.ones(x), np.ones(w), **options)
    heights = [room // s + 1 for room, s in zip(rooms, stride, strict=True)]
    assert y.shape == (x[0], w[0], *heights)
