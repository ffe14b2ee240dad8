"""What holds for every test."""

import gc
import os

import pytest

# Plans are checked before they run, here and in every process that a test starts: whatever rewrote
# them, each read finds the value that the plan's own order gives it.
os.environ.setdefault("FASTCONV_CHECK", "1")
# Products this small gain nothing from threads, and lose much where several processes have them.
# The command lines set how many they take themselves.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

OF_KERNELS = frozenset({
    "test_backends", "test_cpu_bf16", "test_cuda_compiler", "test_cuda_fusion",
    "test_cuda_host_shim", "test_cuda_instructions", "test_cuda_pooling", "test_cuda_precision",
    "test_cuda_resources", "test_cuda_training", "test_cython_engine", "test_elementary_functions",
    "test_emulated_processors", "test_gpu_bench", "test_gradient_check", "test_gradients",
    "test_graphs", "test_instruction_effects", "test_instructions", "test_lowering",
    "test_numba_engine", "test_plan_check", "test_properties", "test_random_steps",
    "test_step_check", "test_winograd",
})  # fmt: skip
"""Modules whose tests are all of the mark ``kernels``."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Let the slowest tests begin: processes that share the rest then end together."""
    modules = {item.getparent(pytest.Module) for item in items}
    for module in modules:
        if module is not None and module.path.stem in OF_KERNELS:
            module.add_marker("kernels")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish(session):
    """Keep the garbage collector from looking at the tests themselves, again and again."""
    gc.collect()
    gc.freeze()
