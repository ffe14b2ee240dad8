"""The NumPy backend's im2col stays within a budget of bytes, and cuts images without a seam."""

import numpy as np
import pytest
from cases import CONVOLUTIONS
from kernel_calls import KERNELS
from watched import calls_and_expected, run

from fastconv.backends.numpy import conv
from fastconv.spec import ConvSpec

CONV_KERNELS = [kernel for kernel in KERNELS if kernel.startswith("conv.")]
MIB = 2**20


# One byte: single rows of the output, each beyond the budget. 2000: a few rows or images.
@pytest.mark.parametrize("budget", [1, 2000])
@pytest.mark.parametrize("spec", CONVOLUTIONS, ids=str)
def test_results_do_not_depend_on_the_budget(spec, budget, monkeypatch):
    monkeypatch.setattr(conv, "COLUMNS_BUDGET", budget)
    monkeypatch.setattr(conv, "TAP_BUDGET", budget)
    for kernel in CONV_KERNELS:
        for call, expected in calls_and_expected(kernel, spec, np.float32, integers=True):
            for name, actual in run("numpy", call).items():
                np.testing.assert_array_equal(actual, expected[name], err_msg=f"{call}: {name}")


def chunks(spec, row_bytes, budget):
    return [tuple(chunk) for chunk in conv._chunks(spec, row_bytes, budget)]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10, [(n, n + 1, r, r + 1) for n in range(3) for r in range(4)]),
        (100, [(n, n + 1, r, r + 1) for n in range(3) for r in range(4)]),
        (250, [(n, n + 1, r, r + 2) for n in range(3) for r in (0, 2)]),
        (399, [(n, n + 1, *rows) for n in range(3) for rows in ((0, 3), (3, 4))]),
        (400, [(0, 1, 0, 4), (1, 2, 0, 4), (2, 3, 0, 4)]),
        (800, [(0, 2, 0, 4), (2, 3, 0, 4)]),
        (10**9, [(0, 3, 0, 4)]),
    ],
)
def test_chunks_are_rows_or_whole_images(budget, expected):
    # Three images of four output rows, of 100 bytes each.
    spec = ConvSpec(3, 1, 4, 4, 1, kernel=(1, 1))
    assert chunks(spec, 100, budget) == expected


LARGE = ConvSpec.parse("g1mb1ic16ih512iw512oc16kh3kw3sh1sw1ph1pw1dh1dw1")


def test_workspace_of_a_large_image_is_the_budget_and_a_few_padded_rows():
    # An im2col row of the output is 512 pixels * 144 * 4 bytes = 288 KiB, so 14 fit into 4 MiB;
    # they read 16 rows of 514 padded pixels of 16 channels of 4 bytes. All columns: 144 MiB.
    columns, block = 4 * MIB, 16 * 514 * 16 * 4
    weights = 9 * 16 * 16 * 4 + 16 * 4
    for kernel, bound in (
        ("conv2d_forward", columns + block),
        ("conv_transpose2d_backward_data", columns + block),
        ("conv2d_backward_weight", columns + block + weights),
        ("conv_transpose2d_backward_weight", columns + block + weights),
        ("conv2d_backward_data", MIB // 2),
        ("conv_transpose2d_forward", MIB // 2),
    ):
        assert MIB // 4 < conv.workspace_bytes(kernel, LARGE, np.float32) <= bound, kernel


def test_a_larger_batch_takes_no_larger_workspace():
    few, many = (
        ConvSpec(batch, 16, 32, 32, 16, kernel=(3, 3), padding=((1, 1), (1, 1)))
        for batch in (100, 10000)
    )
    for kernel in CONV_KERNELS:
        name = kernel.partition(".")[2]
        expected = conv.workspace_bytes(name, few, np.float32)
        assert conv.workspace_bytes(name, many, np.float32) == expected


def test_a_pointwise_convolution_takes_its_input_as_columns():
    spec = ConvSpec(8, 64, 64, 64, 64, kernel=(1, 1))
    assert conv.workspace_bytes("conv2d_forward", spec, np.float32) == 0
    assert conv.workspace_bytes("conv2d_backward_data", spec, np.float32) == 0
