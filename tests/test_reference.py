"""The oracle's signatures, random words, convolution, dense and pooling.

Expected values are worked out by hand, from the literature, or by another formula.
"""

import importlib
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastconv.backends.reference import conv, dense, pool, random
from fastconv.plans.operation import InputSpec, RandomSpec
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

CONTRACT = Path(__file__).parent.parent / "docs" / "kernels.md"
NAN, INF = math.nan, math.inf


def array(*values, shape=None, dtype=np.float64):
    return np.array(values, dtype).reshape(shape if shape is not None else (len(values),))


def apply(kernel, spec, *inputs, shape, dtype=np.float64):
    """The output of a kernel that writes one array."""
    out = np.full(shape, 77, dtype)
    kernel(spec, *inputs, out, None)
    return out


# The contract


def contract_rows():
    """(file, kernel, parameters) of every kernel named in docs/kernels.md."""
    rows, file = [], ""
    if not CONTRACT.exists():
        return rows
    for line in CONTRACT.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            continue
        cells = line.split("|")
        file = re.sub(r"[ `]|\.py", "", cells[1]) or file
        for kernel, parameters in re.findall(r"`(\w+)\(([^)]*)\)`", cells[2]):
            rows.append((file, kernel, parameters.split(", ")))
    return rows


@pytest.mark.skipif(not CONTRACT.exists(), reason="docs/kernels.md is not beside the tests")
def test_the_contract_is_read():
    assert len(contract_rows()) >= 44


@pytest.mark.parametrize(("file", "kernel", "parameters"), contract_rows())
def test_every_kernel_has_the_documented_parameters(file, kernel, parameters):
    module = importlib.import_module(f"fastconv.backends.reference.{file}")
    assert list(inspect.signature(getattr(module, kernel)).parameters) == parameters
    assert module.workspace_bytes(kernel, None, np.float32) == 0


# Random words: the known-answer vectors of Random123 for philox4x32_10


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_blocks(counter, key, block):
    assert random._philox_block(counter, key) == block


def test_words_take_their_counter_from_position_stream_and_step():
    spec = RandomSpec(seed=0x1111111122222222, stream=3)
    words = apply(
        random.random_words, spec, array(0x44444444_5, dtype=np.int64), shape=7, dtype=np.uint32
    )
    key, rest = (0x22222222, 0x11111111), (3, 0x44444445, 0x4)
    expected = random._philox_block((0, *rest), key) + random._philox_block((1, *rest), key)
    assert tuple(words) == expected[:7]


# Convolution

HARD_CONVOLUTIONS = [
    ConvSpec(2, 3, 6, 5, 4, kernel=(3, 3)),
    ConvSpec(2, 5, 4, 4, 3, kernel=(1, 1), stride=(2, 2)),
    ConvSpec(1, 2, 3, 4, 3, kernel=(2, 1), padding=((3, 2), (1, 4))),
    ConvSpec(2, 4, 7, 6, 6, kernel=(3, 2), stride=(2, 3), padding=((1, 0), (0, 2)), groups=2),
    ConvSpec(2, 3, 5, 5, 6, kernel=(3, 3), padding=((1, 1), (1, 1)), groups=3),
    ConvSpec(
        1, 2, 9, 8, 2, kernel=(3, 2), stride=(2, 1), padding=((2, 1), (3, 0)), dilation=(2, 3)
    ),
    ConvSpec(1, 2, 1, 1, 2, kernel=(3, 3), padding=((1, 1), (1, 1))),
    ConvSpec(0, 2, 4, 4, 3, kernel=(3, 3)),
]


def random_convolution(spec, seed=0):
    """Small integers, so that every sum is exact."""
    draw = np.random.default_rng(seed).integers
    return (
        draw(-4, 5, spec.x_shape) * 1.0,
        draw(-4, 5, spec.w_shape) * 1.0,
        draw(-4, 5, spec.y_shape) * 1.0,
    )


def test_convolution_and_its_gradients_by_hand():
    spec = ConvSpec(1, 1, 3, 3, 1, kernel=(2, 2))
    x, w = np.arange(1.0, 10).reshape(spec.x_shape), np.arange(1.0, 5).reshape(spec.w_shape)
    y = apply(conv.conv2d_forward, spec, x, w, array(0.5), shape=spec.y_shape)
    # 1*1 + 2*2 + 4*3 + 5*4 = 37, and so on.
    assert_array_equal(y[0, :, :, 0], [[37.5, 47.5], [67.5, 77.5]])
    dy = np.ones(spec.y_shape)
    dx = apply(conv.conv2d_backward_data, spec, dy, w, shape=spec.x_shape)
    assert_array_equal(dx[0, :, :, 0], [[1, 3, 2], [4, 10, 6], [3, 7, 4]])
    dw, db = np.empty(spec.w_shape), np.empty(1)
    conv.conv2d_backward_weight(spec, dy, x, dw, db, None)
    assert_array_equal(dw[:, :, 0, 0], [[12, 16], [24, 28]])
    assert db[0] == 4


def test_convolution_with_stride_dilation_and_uneven_padding_by_hand():
    spec = ConvSpec(
        1, 1, 1, 4, 1, kernel=(1, 2), stride=(1, 2), padding=((0, 0), (1, 2)), dilation=(1, 2)
    )
    x, w = array(1, 2, 3, 4, shape=spec.x_shape), array(1, 10, shape=spec.w_shape)
    # Padded: 0 1 2 3 4 0 0; windows begin at 0, 2 and 4 and take every other pixel.
    assert apply(conv.conv2d_forward, spec, x, w, None, shape=spec.y_shape).ravel().tolist() == [
        0 + 20,
        2 + 40,
        4 + 0,
    ]


def test_groups_see_only_their_own_channels():
    spec = ConvSpec(1, 4, 1, 1, 2, kernel=(1, 1), groups=2)
    x, w = array(1, 2, 3, 4, shape=spec.x_shape), array(1, 100, 10, 1000, shape=spec.w_shape)
    y = apply(conv.conv2d_forward, spec, x, w, None, shape=spec.y_shape)
    assert y.ravel().tolist() == [1 + 20, 300 + 4000]


@pytest.mark.parametrize("spec", HARD_CONVOLUTIONS, ids=str)
def test_convolution_equals_a_sum_over_sliding_windows(spec):
    x, w, _ = random_convolution(spec)
    padded = np.pad(x, ((0, 0), *spec.padding, (0, 0)))
    span = [(k - 1) * d + 1 for k, d in zip(spec.kernel, spec.dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    windows = windows[:, :: spec.stride[0], :: spec.stride[1], :, :: spec.dilation[0]]
    windows = windows[..., :: spec.dilation[1]]
    # A grouped convolution is a full one with zeros where the groups do not meet.
    full = np.zeros((*spec.kernel, spec.in_channels, spec.out_channels))
    for o in range(spec.out_channels):
        first = o // (spec.out_channels // spec.groups) * (spec.in_channels // spec.groups)
        full[:, :, first : first + w.shape[2], o] = w[..., o]
    y = apply(conv.conv2d_forward, spec, x, w, None, shape=spec.y_shape)
    assert_array_equal(y, np.einsum("nhwcij,ijco->nhwo", windows, full))


@pytest.mark.parametrize("spec", HARD_CONVOLUTIONS, ids=str)
def test_gradients_of_convolution_are_its_adjoints(spec):
    x, w, dy = random_convolution(spec)
    y = apply(conv.conv2d_forward, spec, x, w, None, shape=spec.y_shape)
    dx = apply(conv.conv2d_backward_data, spec, dy, w, shape=spec.x_shape)
    dw, db = np.empty(spec.w_shape), np.empty(spec.out_channels)
    conv.conv2d_backward_weight(spec, dy, x, dw, db, None)
    assert np.vdot(y, dy) == np.vdot(x, dx) == np.vdot(w, dw)
    assert np.any(dw) == (spec.batch > 0)
    assert_array_equal(db, dy.reshape(-1, spec.out_channels).sum(axis=0))


def test_transposed_convolution_by_hand():
    spec = ConvSpec.of_transposed(1, 1, 1, 2, 1, kernel=(1, 3), stride=(1, 2))
    x, w = array(1, 2, shape=spec.y_shape), array(1, 10, 100, shape=spec.w_shape)
    y = apply(conv.conv_transpose2d_forward, spec, x, w, array(1000), shape=spec.x_shape)
    assert y.ravel().tolist() == [1001, 1010, 1102, 1020, 1200]


@pytest.mark.parametrize("spec", HARD_CONVOLUTIONS, ids=str)
def test_gradients_of_transposed_convolution_are_its_adjoints(spec):
    dy, w, x = random_convolution(spec)
    y = apply(conv.conv_transpose2d_forward, spec, x, w, None, shape=spec.x_shape)
    dx = apply(conv.conv_transpose2d_backward_data, spec, dy, w, shape=spec.y_shape)
    dw, db = np.empty(spec.w_shape), np.empty(spec.in_channels)
    conv.conv_transpose2d_backward_weight(spec, dy, x, dw, db, None)
    assert np.vdot(y, dy) == np.vdot(x, dx) == np.vdot(w, dw)
    assert_array_equal(db, dy.reshape(-1, spec.in_channels).sum(axis=0))


def test_sums_are_in_float64_whatever_the_dtype():
    # In float32, 2**24 + 1 is 2**24.
    big = 2.0**24
    spec = ConvSpec(1, 3, 1, 1, 1, kernel=(1, 1))
    x = array(big, 1, -big, shape=spec.x_shape, dtype=np.float32)
    w = np.ones(spec.w_shape, np.float32)
    assert apply(conv.conv2d_forward, spec, x, w, None, shape=spec.y_shape).item() == 1
    y = apply(dense.dense_forward, DenseSpec(1, 3, 1), x[0, 0], w[0, 0], None, shape=(1, 1))
    assert y.item() == 1


def test_nan_and_inf_pass_through_convolution_and_dense_without_a_warning():
    spec = ConvSpec(1, 1, 1, 4, 1, kernel=(1, 1))
    x, w = array(NAN, INF, 0, -INF, shape=spec.x_shape), np.zeros(spec.w_shape)
    y = apply(conv.conv2d_forward, spec, x, w + 2, None, shape=spec.y_shape)
    assert_array_equal(y.ravel(), [NAN, INF, 0, -INF])
    y = apply(conv.conv2d_forward, spec, x, w, None, shape=spec.y_shape)
    assert_array_equal(y.ravel(), [NAN, NAN, 0, NAN])
    y = apply(dense.dense_forward, DenseSpec(4, 1, 1), x[0, 0], w[0, 0], None, shape=(4, 1))
    assert_array_equal(y.ravel(), [NAN, NAN, 0, NAN])


# Dense


def test_dense_and_its_gradients_by_hand():
    spec = DenseSpec(2, 2, 3)
    x, w = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0, 2], [0, 1, 10]])
    dy = np.array([[1.0, 10, 0], [0, 1, 1]])
    assert_array_equal(
        apply(dense.dense_forward, spec, x, w, array(0, 0, 0.5), shape=(2, 3)),
        [[1, 2, 22.5], [3, 4, 46.5]],
    )
    assert_array_equal(
        apply(dense.dense_backward_data, spec, dy, w, shape=(2, 2)), [[1, 10], [2, 11]]
    )
    dw, db = np.empty((2, 3)), np.empty(3)
    dense.dense_backward_weight(spec, dy, x, dw, db, None)
    assert_array_equal(dw, [[1, 13, 3], [2, 24, 4]])
    assert_array_equal(db, [1, 11, 1])


def test_dense_of_no_samples_has_zero_weight_gradients():
    empty, dw, db = np.empty((0, 2)), np.full((2, 2), NAN), np.full(2, NAN)
    dense.dense_backward_weight(DenseSpec(0, 2, 2), empty, empty, dw, db, None)
    assert not dw.any()
    assert not db.any()


# Pooling


def row_pool(width, kernel, stride, padding=(0, 0), **options):
    """A pooling of one row of pixels."""
    return PoolSpec(
        1, 1, 1, width, kernel=(1, kernel), stride=(1, stride), padding=((0, 0), padding), **options
    )


def max_pool(spec, *values):
    x, y, where = array(*values, shape=spec.x_shape), np.empty(spec.y_shape), np.empty(spec.y_shape)
    pool.max_pool2d_forward(spec, x, y, where, None)
    return y.ravel().tolist(), where.ravel().tolist()


def avg_pool(spec, *values):
    x = array(*values, shape=spec.x_shape)
    return apply(pool.avg_pool2d_forward, spec, x, shape=spec.y_shape).ravel().tolist()


def test_pooling_in_ceil_mode_keeps_the_incomplete_windows():
    spec = PoolSpec(1, 1, 3, 3, kernel=(2, 2), stride=(2, 2), ceil_mode=True)
    assert max_pool(spec, *range(1, 10)) == ([5, 6, 8, 9], [4, 5, 7, 8])
    assert avg_pool(spec, *range(1, 10)) == [3, 4.5, 7.5, 9]


def test_average_counts_padding_only_where_asked_and_ceil_mode_cells_never():
    # Windows: (pad, 1, 2), (2, 3, 4), (4, pad, beyond).
    spec = {
        include: row_pool(4, 3, 2, (1, 1), ceil_mode=True, count_include_pad=include)
        for include in (True, False)
    }
    assert avg_pool(spec[True], 1, 2, 3, 4) == [3 / 3, 9 / 3, 4 / 2]
    assert avg_pool(spec[False], 1, 2, 3, 4) == [3 / 2, 9 / 3, 4 / 1]


def test_max_pool_never_takes_its_padding():
    assert max_pool(row_pool(2, 2, 2, (1, 1)), -5, -6) == ([-5, -6], [0, 1])
    assert max_pool(row_pool(2, 2, 2, (1, 1)), -INF, -INF) == ([-INF, -INF], [0, 1])


def test_max_pool_takes_the_first_of_equal_pixels_and_a_nan_before_all():
    assert max_pool(row_pool(3, 3, 1), 2, 2, 2)[1] == [0]
    y, where = max_pool(row_pool(4, 4, 1), 1, NAN, INF, NAN)
    assert math.isnan(y[0])
    assert where == [1]


def test_max_pool_sends_the_gradient_to_the_winners():
    spec = row_pool(3, 2, 1)
    where = array(1, 1, shape=spec.y_shape, dtype=np.int32)
    dy = array(10, 5, shape=spec.y_shape)
    dx = apply(pool.max_pool2d_backward, spec, dy, where, shape=spec.x_shape)
    assert dx.ravel().tolist() == [0, 15, 0]


def test_max_pool_index_is_flat_in_the_unpadded_plane():
    spec = PoolSpec(1, 2, 2, 3, kernel=(2, 3), stride=(2, 3), padding=((1, 1), (0, 0)))
    x = np.zeros(spec.x_shape)
    x[0, 0, 2, 0] = x[0, 1, 1, 1] = 1
    y, where = np.empty(spec.y_shape), np.empty(spec.y_shape, np.int32)
    pool.max_pool2d_forward(spec, x, y, where, None)
    assert where[0, :, 0, :].tolist() == [[2, 0], [3, 4]]


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("batch", [0, 2])
def test_gradient_of_average_pooling_is_its_adjoint(batch, include):
    spec = PoolSpec(
        batch, 3, 6, 5, kernel=(3, 2), stride=(2, 2), padding=((1, 2), (0, 1)),
        ceil_mode=True, count_include_pad=include,
    )  # fmt: skip
    generator = np.random.default_rng(0)
    x, dy = generator.normal(size=spec.x_shape), generator.normal(size=spec.y_shape)
    y = apply(pool.avg_pool2d_forward, spec, x, shape=spec.y_shape)
    dx = apply(pool.avg_pool2d_backward, spec, dy, shape=spec.x_shape)
    assert_allclose(np.vdot(y, dy), np.vdot(x, dx), rtol=1e-13)


def test_global_average_by_hand():
    spec = InputSpec(1, 2, 2, 2)
    x = array(1, 10, 2, 20, 3, 30, 6, 60, shape=spec.x_shape)
    y = apply(pool.global_avg_pool2d_forward, spec, x, shape=(1, 2))
    assert y.tolist() == [[3, 30]]
    dx = apply(pool.global_avg_pool2d_backward, spec, array(4, 8, shape=(1, 2)), shape=spec.x_shape)
    assert_array_equal(dx, np.broadcast_to([1.0, 2], spec.x_shape))
