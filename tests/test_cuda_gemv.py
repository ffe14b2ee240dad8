"""Dense layers of few samples: kernels without tiles, which read each weight once."""

import numpy as np
import pytest
from cuda_on_host import HostDevice, standing_in
from kernel_calls import calls_of
from tolerances import assert_close
from watched import CUDA_ON_HOST, run

from fastconv.backends.cupy import fused_kernels, products
from fastconv.backends.cupy.products import CountedWorkspace, Product
from fastconv.plans.operation import ActivationSpec
from fastconv.spec import DenseSpec

KERNELS = ("dense.dense_forward", "dense.dense_backward_data")


@pytest.fixture
def device():
    with standing_in(HostDevice()) as made:
        yield made


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "spec",
    [DenseSpec(1, 300, 33), DenseSpec(5, 31, 70), DenseSpec(15, 130, 129), DenseSpec(4, 1, 1)],
    ids=str,
)
def test_few_rows_give_what_the_reference_gives(kernel, spec, dtype):
    for call in calls_of(kernel, spec, dtype):
        for name, expected in run("reference", call.in_float64()).items():
            ours = run(CUDA_ON_HOST, call)[name]
            assert_close(ours, expected, kernel, str(call), scale=call.scale_of(name))


@pytest.mark.parametrize(("rows", "suffix"), [(1, "_gemv"), (15, "_gemv"), (16, ""), (128, "")])
def test_the_kernel_for_few_rows_is_taken_below_sixteen(device, rows, suffix):
    spec = DenseSpec(rows, 20, 24)
    for kernel in KERNELS:
        run("cupy", calls_of(kernel, spec, np.float32)[0])
    names = [kernel.partition("<")[0] for _, kernel, _, _ in device.launched]
    assert names == [f"dense_forward{suffix}", f"dense_backward_data{suffix}"]


def test_weight_gradients_and_convolutions_have_no_such_kernel():
    assert Product(1, 64, 256, has_gemv=True).is_gemv
    assert not Product(1, 64, 256).is_gemv


@pytest.mark.parametrize("kind", [None, "relu", "tanh"])
def test_the_last_block_adds_parts_up_and_activates(device, kind):
    spec = DenseSpec(3, 1000, 40)
    rng = np.random.default_rng(2)
    x, w, b = (rng.standard_normal(n).astype(np.float32) for n in ((3, 1000), (1000, 40), 40))
    active = None if kind is None else ActivationSpec(kind, 120, 0.0)
    product = fused_kernels.forward_product(spec)
    (_, columns), parts = product.division("float32")
    assert (columns, parts) == (32, 15)
    results = []
    for has_counters in (True, False):
        memory = np.full(product.workspace_bytes("float32"), 0xFF, np.uint8)
        counters = np.zeros(products.ENOUGH_BLOCKS, np.int32)
        workspace = CountedWorkspace(memory, counters) if has_counters else memory
        y = np.full((3, 40), np.nan, np.float32)
        fused_kernels.dense_forward(spec, active, x, w, b, y, workspace)
        assert not counters.any()
        results.append(y)
    assert [len(grid) for _, _, grid, _ in device.launched] == [3, 3, 3]
    np.testing.assert_array_equal(*results)
    expected = x.astype(np.float64) @ w + b
    if kind is not None:
        expected = np.maximum(expected, 0) if kind == "relu" else np.tanh(expected)
    np.testing.assert_allclose(results[0], expected, rtol=2e-5, atol=2e-4)
