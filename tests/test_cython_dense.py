"""The C kernels of fully connected layers against the reference."""

import inspect
import os

import numpy as np
import pytest

from fastconv.backends.reference import dense as reference
from fastconv.spec import DenseSpec

try:
    from fastconv.backends.cython import dense
except ImportError as fault:
    if os.environ.get("FASTCONV_REQUIRE_CYTHON") == "1":
        raise
    pytest.skip(str(fault), allow_module_level=True)

DTYPES = [np.float32, np.float64]
SPECS = [
    DenseSpec(1, 1600, 256),
    DenseSpec(17, 33, 65),
    DenseSpec(0, 5, 7),
    DenseSpec(1, 1, 1),
    DenseSpec(32, 64, 10),
    DenseSpec(6, 20, 300),
]
# One batch for every number of rows left over by a tile, and outputs around every width of a tile.
EDGES = [
    DenseSpec(batch, 5, outputs)
    for batch in range(1, 9)
    for outputs in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
]
BIAS = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])


@pytest.fixture
def draw():
    """Arrays of small integers: every sum of their products is exact in float32."""
    rng = np.random.default_rng(7)

    def integers(*shape, dtype):
        array = rng.integers(-4, 5, shape).astype(dtype)
        array.flags.writeable = False
        return array

    return integers


def guarded(*shape, dtype):
    """An output full of NaN, with a margin in memory that a kernel must not touch."""
    size = int(np.prod(shape))
    memory = np.full(size + 128, np.nan, dtype)
    memory[:64] = memory[64 + size :] = 123.0
    return memory[64 : 64 + size].reshape(shape), memory


def assert_margin_untouched(memory):
    assert (memory[:64] == 123.0).all()
    assert (memory[-64:] == 123.0).all()


def assert_forward_equals_reference(spec, dtype, bias, draw):
    x, w = draw(spec.batch, spec.inputs, dtype=dtype), draw(spec.inputs, spec.outputs, dtype=dtype)
    b = draw(spec.outputs, dtype=dtype) if bias else None
    y, memory = guarded(spec.batch, spec.outputs, dtype=dtype)
    expected = np.empty_like(y)
    dense.dense_forward(spec, x, w, b, y, None)
    reference.dense_forward(spec, x, w, b, expected, None)
    np.testing.assert_array_equal(y, expected)
    assert_margin_untouched(memory)


def assert_backward_data_equals_reference(spec, dtype, draw):
    dy, w = (
        draw(spec.batch, spec.outputs, dtype=dtype),
        draw(spec.inputs, spec.outputs, dtype=dtype),
    )
    dx, memory = guarded(spec.batch, spec.inputs, dtype=dtype)
    expected = np.empty_like(dx)
    dense.dense_backward_data(spec, dy, w, dx, None)
    reference.dense_backward_data(spec, dy, w, expected, None)
    np.testing.assert_array_equal(dx, expected)
    assert_margin_untouched(memory)


def assert_backward_weight_equals_reference(spec, dtype, bias, draw):
    dy, x = draw(spec.batch, spec.outputs, dtype=dtype), draw(spec.batch, spec.inputs, dtype=dtype)
    dw, memory = guarded(spec.inputs, spec.outputs, dtype=dtype)
    db, bias_memory = guarded(spec.outputs, dtype=dtype) if bias else (None, None)
    expected, expected_bias = np.empty_like(dw), np.empty_like(db) if bias else None
    dense.dense_backward_weight(spec, dy, x, dw, db, None)
    reference.dense_backward_weight(spec, dy, x, expected, expected_bias, None)
    np.testing.assert_array_equal(dw, expected)
    assert_margin_untouched(memory)
    if bias:
        np.testing.assert_array_equal(db, expected_bias)
        assert_margin_untouched(bias_memory)


@BIAS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_forward_equals_the_reference_on_integers(spec, dtype, bias, draw):
    assert_forward_equals_reference(spec, dtype, bias, draw)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_backward_data_equals_the_reference_on_integers(spec, dtype, draw):
    assert_backward_data_equals_reference(spec, dtype, draw)


@BIAS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_backward_weight_equals_the_reference_on_integers(spec, dtype, bias, draw):
    assert_backward_weight_equals_reference(spec, dtype, bias, draw)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_size_around_a_tile_is_right(dtype, draw):
    for spec in EDGES:
        assert_forward_equals_reference(spec, dtype, True, draw)
        # The same widths as inputs, where the data gradient has its columns.
        turned = DenseSpec(spec.batch, spec.outputs, spec.inputs)
        assert_backward_data_equals_reference(turned, dtype, draw)
        # The batch as inputs, where the weight gradient has its rows.
        assert_backward_weight_equals_reference(
            DenseSpec(3, spec.batch, spec.outputs), dtype, True, draw
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", [DenseSpec(1, 1600, 256), DenseSpec(17, 33, 65)], ids=str)
def test_random_data_stays_within_the_rounding_of_a_sum(spec, dtype):
    rng = np.random.default_rng(3)
    x, w, b, dy = (
        rng.standard_normal(shape).astype(dtype)
        for shape in (
            (spec.batch, spec.inputs),
            (spec.inputs, spec.outputs),
            (spec.outputs,),
            (spec.batch, spec.outputs),
        )
    )
    y, dx, dw, db = np.empty_like(dy), np.empty_like(x), np.empty_like(w), np.empty_like(b)
    dense.dense_forward(spec, x, w, b, y, None)
    dense.dense_backward_data(spec, dy, w, dx, None)
    dense.dense_backward_weight(spec, dy, x, dw, db, None)

    exact = [a.astype(np.longdouble) for a in (x, w, b, dy)]
    size = [abs(a) for a in exact]
    for name, got, expected, terms, magnitude in (
        ("y", y, exact[0] @ exact[1] + exact[2], spec.inputs + 1, size[0] @ size[1] + size[2]),
        ("dx", dx, exact[3] @ exact[1].T, spec.outputs, size[3] @ size[1].T),
        ("dw", dw, exact[0].T @ exact[3], spec.batch, size[0].T @ size[3]),
        ("db", db, exact[3].sum(0), spec.batch, size[3].sum(0)),
    ):
        # Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1: n products added in
        # any order are off by at most n u / (1 - n u) times the sum of their magnitudes.
        rounding = terms * np.finfo(dtype).eps / 2
        bound = rounding / (1 - rounding) * magnitude
        assert (abs(got - expected) <= bound).all(), name


def test_dx_by_hand():
    w = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    dy = np.array([[1, 10]], np.float32)
    dx = np.empty((1, 3), np.float32)
    dense.dense_backward_data(DenseSpec(1, 3, 2), dy, w, dx, None)
    assert dx.tolist() == [[21, 43, 65]]


def test_an_empty_batch_gives_zero_weight_gradients():
    dw, db = np.full((3, 5), np.nan), np.full(5, np.nan)
    dense.dense_backward_weight(
        DenseSpec(0, 3, 5), np.empty((0, 5)), np.empty((0, 3)), dw, db, None
    )
    assert not dw.any()
    assert not db.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_reach_their_own_sample_and_no_other(dtype):
    spec = DenseSpec(9, 11, 13)
    x, w = np.ones((9, 11), dtype), np.zeros((11, 13), dtype)
    x[4, 10], x[7, 2] = np.nan, np.inf
    y = np.empty((9, 13), dtype)
    dense.dense_forward(spec, x, w, None, y, None)
    # A weight of 0 hides neither: 0 * nan and 0 * inf are nan.
    assert np.isnan(y[[4, 7]]).all()
    assert not np.delete(y, [4, 7], axis=0).any()

    dx = np.empty((9, 11), dtype)
    dense.dense_backward_data(spec, y, w, dx, None)
    assert np.isnan(dx[[4, 7]]).all()
    assert not np.delete(dx, [4, 7], axis=0).any()

    dw, db = np.empty((11, 13), dtype), np.empty(13, dtype)
    dense.dense_backward_weight(spec, y, x, dw, db, None)
    assert np.isnan(dw).all()
    assert np.isnan(db).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_gets_the_same_bits_alone_and_in_a_batch(dtype):
    rng = np.random.default_rng(5)
    x, w = (
        rng.standard_normal((17, 100)).astype(dtype),
        rng.standard_normal((100, 37)).astype(dtype),
    )
    b = rng.standard_normal(37).astype(dtype)
    y, alone = np.empty((17, 37), dtype), np.empty((1, 37), dtype)
    dense.dense_forward(DenseSpec(17, 100, 37), x, w, b, y, None)
    for sample in range(17):
        dense.dense_forward(DenseSpec(1, 100, 37), x[sample : sample + 1], w, b, alone, None)
        np.testing.assert_array_equal(alone[0], y[sample])


@pytest.mark.parametrize(
    "kernel",
    ["dense_forward", "dense_backward_data", "dense_backward_weight", "workspace_bytes"],
)
def test_the_parameters_are_those_of_the_reference(kernel):
    ours, theirs = (inspect.signature(getattr(m, kernel)).parameters for m in (dense, reference))
    assert list(ours) == list(theirs)
