"""Sums, products and concatenations: NumPy's values, and gradients by the chain rule."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastconv
from fastconv.backends.selection import backend_state

BACKENDS = [name for name in ("numpy", "cython", "numba") if backend_state(name).works]
BACKEND = pytest.mark.parametrize("backend", BACKENDS)
SHAPES = [
    ("NCHW", (2, 3, 5, 4), (2, 3, 1, 1)),
    ("NHWC", (2, 5, 4, 3), (2, 1, 1, 3)),
    ("NCHW", (2, 3, 5, 4), (2, 3, 5, 4)),
    ("NHWC", (7,), (7,)),
    ("NCHW", (2, 3, 2, 1, 2), (2, 3, 2, 1, 2)),
    ("NCHW", (), ()),
]
"""Layout, shape of x1, shape of x2."""


def drawn(*shapes):
    rng = np.random.default_rng(4)
    return [rng.standard_normal(shape) for shape in shapes]


@BACKEND
@pytest.mark.parametrize(("layout", "shape", "other"), SHAPES)
def test_sums_and_products_are_those_of_numpy(layout, shape, other, backend):
    x1, x2 = drawn(shape, other)
    options = {"layout": layout, "backend": backend}
    assert_array_equal(fastconv.add(x1, x2, **options), x1 + x2)
    assert_array_equal(fastconv.multiply(x1, x2, **options), x1 * x2)


@BACKEND
@pytest.mark.parametrize(("layout", "shape", "other"), SHAPES)
def test_their_gradients_follow_the_chain_rule(layout, shape, other, backend):
    dy, x1, x2 = drawn(shape, shape, other)
    pixels = tuple(axis for axis in range(len(shape)) if shape[axis] != other[axis])
    options = {"layout": layout, "backend": backend}
    dx1, dx2 = fastconv.add_backward(dy, other, **options)
    assert_array_equal(dx1, dy)
    assert_allclose(dx2, dy.sum(pixels, keepdims=True) if pixels else dy, rtol=1e-12)
    dx1, dx2 = fastconv.multiply_backward(dy, x1, x2, **options)
    assert_array_equal(dx1, dy * x2)
    terms = dy * x1
    assert_allclose(dx2, terms.sum(pixels, keepdims=True) if pixels else terms, rtol=1e-12)


def test_gradients_that_are_not_needed_are_none():
    dy, x1, x2 = drawn((2, 3), (2, 3), (2, 3))
    for needs in (("x1",), ("x2",), ()):
        for found in (
            fastconv.add_backward(dy, needs=needs),
            fastconv.multiply_backward(dy, x1, x2, needs=needs),
        ):
            assert [each is not None for each in found] == ["x1" in needs, "x2" in needs]


@BACKEND
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_number_of_arrays_are_concatenated_along_any_axis(axis, backend):
    sizes = (2, 1, 0, 4, 3)
    shapes = [[3, 2, 5] for _ in sizes]
    for shape, size in zip(shapes, sizes, strict=True):
        shape[axis] = size
    arrays = drawn(*shapes)
    for count in (1, 2, 3, 5):
        whole = fastconv.concatenate(arrays[:count], axis=axis, backend=backend)
        assert_array_equal(whole, np.concatenate(arrays[:count], axis))
        parts = fastconv.concatenate_backward(whole, sizes[:count], axis=axis, backend=backend)
        for part, array in zip(parts, arrays, strict=False):
            assert_array_equal(part, array)
            assert not np.shares_memory(part, whole)


def test_the_result_for_one_array_is_a_copy():
    (x,) = drawn((2, 3))
    assert not np.shares_memory(fastconv.concatenate([x]), x)


def test_what_does_not_fit_says_what_would():
    x, short = np.ones((2, 3, 4, 5)), np.ones((2, 3))
    for wrong, message in (
        (
            lambda: fastconv.add(x, short),
            "add: x2 has shape (2, 3); expected (2, 3, 4, 5), the shape of x1, or (2, 3, 1, 1), "
            "one number for each channel (NCHW)",
        ),
        (
            lambda: fastconv.multiply(short, x, layout="NHWC"),
            "multiply: x2 has shape (2, 3, 4, 5); expected (2, 3), the shape of x1",
        ),
        (
            lambda: fastconv.concatenate([x, x[:1]]),
            "concatenate: arrays[1] has shape (1, 3, 4, 5); expected (2, 3, 4, 5): as arrays[0] "
            "but for axis 1",
        ),
        (
            lambda: fastconv.concatenate_backward(x, (1, 1)),
            "concatenate_backward: sizes is (1, 1); expected sizes of 0 or more that add up to 3, "
            "those of dy along axis 1",
        ),
        (
            lambda: fastconv.concatenate([short], axis=2),
            "concatenate: axis is 2; expected -2 to 1 for shape (2, 3)",
        ),
    ):
        with pytest.raises(ValueError, match="expected") as fault:
            wrong()
        assert str(fault.value) == message
    with pytest.raises(TypeError, match="concatenate: arrays is 'ndarray'; expected a list or"):
        fastconv.concatenate(x)
