"""No kernel takes more of a card than its budget, on any architecture that is compiled for."""

import pytest
from cuda_on_host import SOURCES
from cuda_resources import (
    ARCHITECTURES,
    Resources,
    by_kernel,
    code_bytes_of,
    instances_to_measure,
    read_budgets,
    resources_in,
    resources_of,
)
from test_cuda_compiler import Program

from fastconv.backends.cupy.sources import kernels_of

STATIC_SHARED_BYTES = 48 * 1024
"""Of a block, without asking for more: on every card."""
REGISTERS_OF_A_PROCESSOR = 65536
THREADS_OF_A_PRODUCT = 128
IN_EACH_RUN = ("dense.cu", "norm.cu", "optim.cu", "pool.cu")
"""Sources that are measured for one architecture in each run of the suite; all at night."""
EACH = [
    pytest.param(
        source, architecture,
        marks=[] if source in IN_EACH_RUN and architecture == "sm_90" else [pytest.mark.nightly],
    )
    for architecture in ARCHITECTURES
    for source in SOURCES
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("source", "architecture"), EACH)
def test_no_kernel_takes_more_than_its_budget(source, architecture):
    budgets = read_budgets()[0][architecture]
    found = by_kernel(resources_of(source, architecture, instances_to_measure(source)))
    over = {
        kernel: (taken, budgets[kernel])
        for kernel, taken in found.items()
        # Another version of the compiler may choose otherwise, within this.
        if taken.registers > budgets[kernel].registers + 8
        or taken.shared > budgets[kernel].shared
        or taken.stack > budgets[kernel].stack
        or taken.spilled > budgets[kernel].spilled
        or taken.code > 1.15 * budgets[kernel].code + 256
    }
    assert not over, "python -m tests.cuda_resources writes the budgets again"


def test_every_kernel_has_a_budget_on_every_architecture():
    budgets, _ = read_budgets()
    wanted = {kernel for source in SOURCES for kernel in kernels_of(source)}
    for architecture in ARCHITECTURES:
        assert {kernel.partition(" ")[0] for kernel in budgets[architecture]} == wanted


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loops_spill_nothing_and_shared_memory_needs_not_be_asked_for(architecture):
    for kernel, budget in read_budgets()[0][architecture].items():
        # A few numbers lie in memory while a division in double precision is called.
        of_float32 = kernel.endswith(" float")
        assert budget.spilled <= (0 if of_float32 else 32), kernel
        assert budget.shared <= STATIC_SHARED_BYTES, kernel


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_blocks_of_every_product_fit_a_processor(architecture):
    for kernel, budget in read_budgets()[0][architecture].items():
        if " " in kernel:
            # Registers are given to a warp by eights of a thread.
            of_a_block = THREADS_OF_A_PRODUCT * -(-budget.registers // 8) * 8
            assert 2 * of_a_block <= REGISTERS_OF_A_PROCESSOR, kernel


MESSAGES = """
ptxas info    : Compiling entry function '_Z3onev' for 'sm_90'
ptxas info    : Function properties for _Z3onev
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 16 bytes stack, 2048 bytes smem
ptxas info    : Compiling entry function '_Z3twov' for 'sm_90'
ptxas info    : Function properties for _Z3twov
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, used 0 barriers, 408 bytes cmem[0]
"""


def test_the_compilers_messages_are_read():
    assert resources_in(MESSAGES, {"_Z3onev": 640, "_Z3twov": 128}) == {
        "_Z3onev": Resources(40, 2048, 16, 12, 640),
        "_Z3twov": Resources(22, 0, 0, 0, 128),
    }


SPILLS = """
__global__ void small(float *x) { x[threadIdx.x] = 1.f; }
__global__ void __launch_bounds__(1024) large(float *x) {
    __shared__ float room[100];
    float kept[80];
    #pragma unroll
    for (int i = 0; i < 80; i++) kept[i] = x[i * 1024 + threadIdx.x];
    room[threadIdx.x % 100] = kept[3];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 80; i++) x[(i * i) * 1024 + threadIdx.x] = kept[i] * kept[79 - i] + room[i];
}
"""


def test_a_kernel_that_spills_is_seen():
    program = Program(SPILLS, "spills.cu")
    messages = program.compile(["small", "large"], "sm_80", "--ptxas-options=-v")
    code = code_bytes_of(program.code())
    found = resources_in(messages, code)
    small, large = (found[program.lowered_name(name)] for name in ("small", "large"))
    assert small.spilled == small.shared == 0
    assert large.spilled > 0
    assert large.shared == 400
    assert large.code > small.code >= 128
