"""What the public functions promise beyond the kernels: layouts, memory, results, empty batches."""

import importlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from public_calls import (
    ACTIVATIONS,
    AXES,
    CALLS,
    IMAGE_CALLS,
    LABELS,
    PARAMETERS,
    ROWS,
    W_BACK,
    W,
    arrays_of,
    hwio,
    integers,
    nchw,
    nhwc,
    with_each,
)

import fastconv


def each_of(calls):
    names = ("name", "arguments", "options")
    return pytest.mark.parametrize(names, calls, ids=[name for name, *_ in calls])


EVERY = each_of(CALLS)


def call(name, arguments, options):
    """The results of a public function, always as a list."""
    results = getattr(fastconv, name)(*arguments, **options)
    return list(results) if isinstance(results, tuple) else [results]


def is_data(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def changed(arguments, change):
    """The arguments with all floating point arrays changed."""
    return with_each(lambda a: change(a) if is_data(a) else a, arguments)


def test_every_public_function_is_called():
    modules = [f"fastconv.functional.{m}" for m in
               ("activation", "conv", "dense", "dropout", "elementwise_loss", "global_pool",
                "group_norm", "loss", "merge", "norm", "one_dimensional", "pool", "prelu",
                "resample", "softmax")]  # fmt: skip
    public = {
        name
        for module in modules
        for name, thing in vars(importlib.import_module(module)).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module
        if not name.endswith("_spec")  # for the doors to other libraries
    }
    assert {name for name, *_ in CALLS} == public
    assert public <= set(dir(fastconv))


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_are_contiguous_and_of_the_dtype_that_came_in(name, arguments, options, dtype):
    for result in call(name, changed(arguments, lambda a: a.astype(dtype)), options):
        assert result.flags.c_contiguous
        assert result.dtype in (dtype, np.int32, np.uint8)
        assert result.flags.owndata or result.base.flags.owndata
        assert not any(np.shares_memory(a, result) for a in arrays_of(arguments) if is_data(a))


@EVERY
def test_arguments_are_not_changed(name, arguments, options):
    before = [np.copy(a) for a in arrays_of(arguments)]
    call(name, arguments, options)
    for argument, copy in zip(arrays_of(arguments), before, strict=True):
        assert_array_equal(argument, copy)


def strided(a):
    """The same numbers, every other element of a larger array along each axis."""
    room = np.full([2 * n for n in a.shape], np.nan)
    view = room[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


NOT_CONTIGUOUS = {
    "sliced": strided,
    "transposed": lambda a: np.copy(a.T, order="C").T,
    "backwards": lambda a: a[(slice(None, None, -1),) * a.ndim].copy()[
        (slice(None, None, -1),) * a.ndim
    ],
    "read only": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
}


@EVERY
@pytest.mark.parametrize("how", NOT_CONTIGUOUS)
def test_memory_order_of_the_arguments_does_not_matter(name, arguments, options, how):
    given = changed(arguments, NOT_CONTIGUOUS[how])
    assert all(map(np.array_equal, arrays_of(given), arrays_of(arguments)))
    for result, expected in zip(
        call(name, given, options), call(name, arguments, options), strict=True
    ):
        assert_array_equal(result, expected)


def in_nhwc(name, value):
    """An argument of an NCHW call as the NHWC call wants it."""
    if isinstance(value, tuple):
        return (value[0], value[2], value[3], value[1])
    if not isinstance(value, np.ndarray) or value.ndim != 4:
        return value
    return hwio(value) if value is W or value is W_BACK else nhwc(value)


@each_of(IMAGE_CALLS)
def test_both_layouts_give_the_same_numbers(name, arguments, options):
    expected = call(name, arguments, options)
    turned = [in_nhwc(name, a) for a in arguments]
    results = call(name, turned, options | {"layout": "NHWC"})
    for k, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        weights = k == 1 and name.startswith("conv") and wanted.ndim == 4
        back = result.transpose(3, 2, 0, 1) if weights else result
        back = nchw(result) if wanted.ndim == 4 and not weights else back
        assert_array_equal(back, wanted)


def emptied(value):
    """An argument with no samples: a shape, an array, or a parameter as it is."""
    if isinstance(value, tuple) and len(value) in (3, 4):
        return (0, *value[1:])
    is_parameter = any(value is parameter for parameter in PARAMETERS)
    return value[:0] if isinstance(value, np.ndarray) and not is_parameter else value


@EVERY
def test_an_empty_batch_gives_empty_results_and_zero_gradients(name, arguments, options):
    full = call(name, arguments, options)
    results = call(name, with_each(emptied, arguments), options)
    for result, expected in zip(results, full, strict=True):
        if expected.shape[0] == arrays_of(arguments)[0].shape[0]:
            assert result.shape == (0, *expected.shape[1:])
        else:  # of a parameter, or a statistic
            assert result.shape == expected.shape
            assert not result.any()


# out=

OUT_CALLS = [c for c in CALLS if c[0] in ("conv2d", "conv_transpose2d", "dense")]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("how", ["contiguous", *list(NOT_CONTIGUOUS)[:3]])
@each_of(OUT_CALLS)
def test_out_is_filled_and_returned(name, arguments, options, how, layout):
    if name != "dense":
        options = options | {"layout": layout}
        arguments = [in_nhwc(name, a) for a in arguments] if layout == "NHWC" else arguments
    (expected,) = call(name, arguments, options)
    out = np.full(expected.shape, np.nan)
    out = out if how == "contiguous" else NOT_CONTIGUOUS[how](out)
    result = getattr(fastconv, name)(*arguments, **options, out=out)
    assert result is out
    assert_array_equal(out, expected)


# The other functions


def test_running_statistics_are_updated_in_place_whatever_their_memory():
    x = np.array([[1.0, 0.0], [3.0, 4.0]])
    mean, variance = strided(np.array([10.0, 0.0])), np.ones(2)
    fastconv.batch_norm(x, np.ones(2), np.zeros(2), mean, variance, momentum=0.5)
    # Means 2 and 2, unbiased variances 2 and 8.
    assert mean.tolist() == [6, 1]
    assert variance.tolist() == [1.5, 4.5]


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_softmax_along_any_axis_is_that_of_the_formula(name, axis):
    x = integers(3, 4, 5)
    powers = np.exp(x)
    expected = powers / powers.sum(axis=axis, keepdims=True)
    expected = np.log(expected) if name == "log_softmax" else expected
    assert_allclose(getattr(fastconv, name)(x, axis=axis), expected, rtol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_take_any_shape(name):
    function = getattr(fastconv, name)
    x = integers(2, 3, 1, 2, 2)
    flat = function(x.ravel())
    assert_array_equal(function(x), flat.reshape(x.shape))
    assert function(np.array(1.5)).shape == ()
    assert function(np.empty((0, 3))).shape == (0, 3)


def test_dropout_keeps_memory_order_out_of_its_draws():
    x = np.ones((8, 9))
    y, mask = fastconv.dropout(x, 0.5, seed=4)
    turned, _ = fastconv.dropout(np.asfortranarray(x), 0.5, seed=4)
    assert_array_equal(turned, y)
    assert_array_equal(y, 2.0 * mask)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_may_be_of_any_integer_dtype(kind):
    expected = fastconv.nll(ROWS, LABELS)
    assert_array_equal(fastconv.nll(ROWS, LABELS.astype(kind)), expected)
    assert_array_equal(expected, [-ROWS[n, label] for n, label in enumerate(LABELS)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_come_through(bad):
    x = np.zeros((2, 1, 4, 4))
    x[1, 0, 3, 2] = bad
    w, rows = np.ones((1, 1, 2, 2)), np.array([[1.0, bad], [1.0, 2.0]])
    with np.errstate(all="ignore"):
        # Two windows of three see it, in the last row.
        expected = np.zeros((2, 1, 3, 3))
        expected[1, 0, 2, 1:] = bad
        assert_array_equal(fastconv.conv2d(x, w), expected)
        assert_array_equal(fastconv.avg_pool2d(x, 2, stride=1), expected)
        spread = np.zeros((2, 1, 5, 5))
        spread[1, 0, 3:, 2:4] = bad
        assert_array_equal(fastconv.conv_transpose2d(x, w), spread)
        assert_array_equal(fastconv.dense(rows, np.ones((2, 1))), [[1 + bad], [3.0]])
        losses, _ = fastconv.softmax_cross_entropy(rows, np.array([1, 0]))
        assert not np.isfinite(losses[0])
        assert np.isfinite(losses[1])
