"""The host's stand-in for a GPU is one that mistakes show on: barriers and shuffles are real."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_on_host import DTYPES, SOURCES, HostDevice, standing_in

from fastconv.backends.cupy import dropout, launches, norm, sources
from fastconv.backends.cupy.kernel_sources import kernel_folder, kernel_source
from fastconv.backends.cupy.products import ENOUGH_BLOCKS, Product
from fastconv.backends.cupy.sources import instances_of, kernels_of
from fastconv.plans.operation import DropoutSpec, NormSpec, RandomSpec

KERNELS = r"""
#include <cuda_host_shim.h>
#include "async_copy.cuh"
#include "tensor_tiles.cuh"

// y[i] is what the thread across the block had.
__global__ void across_block(int barrier, const int *x, int *y) {
    __shared__ int room[64];
    room[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    if (barrier) __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = room[63 - threadIdx.x];
}

__global__ void across_warp(const double *x, double *y) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 31) + threadIdx.x;
}

// Every thread in its own place of a grid and a block of three dimensions.
__global__ void places(int *y) {
    const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    y[block * blockDim.x * blockDim.y * blockDim.z + thread]++;
}

// Threads that have ended are not waited for.
__global__ void half_ends(int *y) {
    if (threadIdx.x >= 32) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

// One half waits for the block, the other for its warp and then for the block again.
__global__ void parted(int *y) {
    if (threadIdx.x == 0) return;
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}

// A warp multiplies fragments that lie lane by lane.
__global__ void multiply_fragments(int bf16, const unsigned *a, const unsigned *b, float *sums) {
    const unsigned lane = threadIdx.x;
    if (bf16) fastconv::mma_bf16(sums + 4 * lane, a + 4 * lane, b + 2 * lane);
    else fastconv::mma_tf32(sums + 4 * lane, a + 4 * lane, b + 2 * lane);
}

__global__ void round_numbers(const float *x, unsigned *tf32, unsigned *bf16) {
    tf32[threadIdx.x] = fastconv::to_tf32(x[threadIdx.x]);
    bf16[threadIdx.x] = fastconv::to_bf16(x[threadIdx.x], -x[threadIdx.x]);
}

// Where an element of a line lies in shared memory.
template <fastconv::Precision PRECISION, int SIDE, bool ALONG_K>
__global__ void lay_out(int *y) {
    using Tile = fastconv::Tiles<PRECISION, SIDE, SIDE, ALONG_K, ALONG_K, float>;
    using Layout = typename Tile::A;
    const int element = blockIdx.x * blockDim.x + threadIdx.x;
    y[element] = Layout::place(blockIdx.x, threadIdx.x) * sizeof(typename Tile::Element);
    y[gridDim.x * blockDim.x] = Layout::SIZE * sizeof(typename Tile::Element);
}

// A warp reads four matrices, a row of each lane, as they are and transposed.
__global__ void read_matrices(const unsigned short *rows, unsigned *words, unsigned *transposed) {
    unsigned four[4];
    fastconv::load_matrices(four, rows + 8 * threadIdx.x);
    for (int e = 0; e < 4; e++) words[4 * threadIdx.x + e] = four[e];
    fastconv::load_transposed(four, rows + 8 * threadIdx.x);
    for (int e = 0; e < 4; e++) transposed[4 * threadIdx.x + e] = four[e];
}

// Copies of two groups, and what is there when only the first one was waited for.
__global__ void copy_in_groups(const float *x, float *y) {
    __shared__ fastconv::Pack<float, 4> room[3];
    float *const first = room[0].of;
    for (int i = 0; i < 12; i++) first[i] = 7;
    fastconv::copy_async<4>(first, x, true);
    fastconv::commit_copies();
    fastconv::copy_async<1>(first + 4, x + 4, true);
    fastconv::copy_async<4>(first + 8, x, false);
    fastconv::commit_copies();
    fastconv::wait_for_copies<1>();
    for (int i = 0; i < 12; i++) y[i] = first[i];
    fastconv::wait_for_copies<0>();
    for (int i = 0; i < 12; i++) y[12 + i] = first[i];
}

HOST_LAUNCH(launch_lay_out_TF32_32_0, lay_out<fastconv::TF32, 32, false>)
HOST_LAUNCH(launch_lay_out_TF32_32_1, lay_out<fastconv::TF32, 32, true>)
HOST_LAUNCH(launch_lay_out_TF32_64_0, lay_out<fastconv::TF32, 64, false>)
HOST_LAUNCH(launch_lay_out_TF32_64_1, lay_out<fastconv::TF32, 64, true>)
HOST_LAUNCH(launch_lay_out_BF16_32_0, lay_out<fastconv::BF16, 32, false>)
HOST_LAUNCH(launch_lay_out_BF16_32_1, lay_out<fastconv::BF16, 32, true>)
HOST_LAUNCH(launch_lay_out_BF16_64_0, lay_out<fastconv::BF16, 64, false>)
HOST_LAUNCH(launch_lay_out_BF16_64_1, lay_out<fastconv::BF16, 64, true>)
HOST_LAUNCH(launch_lay_out_FULL_32_1, lay_out<fastconv::FULL, 32, true>)
HOST_LAUNCH(launch_read_matrices, read_matrices)
HOST_LAUNCH(launch_copy_in_groups, copy_in_groups)
HOST_LAUNCH(launch_multiply_fragments, multiply_fragments)
HOST_LAUNCH(launch_round_numbers, round_numbers)
HOST_LAUNCH(launch_across_block, across_block)
HOST_LAUNCH(launch_across_warp, across_warp)
HOST_LAUNCH(launch_places, places)
HOST_LAUNCH(launch_half_ends, half_ends)
HOST_LAUNCH(launch_parted, parted)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    HostDevice()  # skips where there is no compiler
    folder = tmp_path_factory.mktemp("shim")
    (folder / "kernels.cpp").write_text(KERNELS, encoding="utf-8")
    command = ["g++", "-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-I",
               str(Path(__file__).parent), "-I", str(kernel_folder()),
               str(folder / "kernels.cpp"), "-o", str(folder / "kernels.so")]  # fmt: skip
    subprocess.run(command, check=True)
    return folder / "kernels.so"


def launched(library, name, grid, block, *values):
    sizes = [(ctypes.c_uint * 3)(*(*each, 1, 1)[:3]) for each in (grid, block)]
    boxes = [
        ctypes.c_int(v) if isinstance(v, int) else ctypes.c_void_p(v.ctypes.data) for v in values
    ]
    pointers = (ctypes.c_void_p * len(boxes))(*(ctypes.addressof(box) for box in boxes))
    getattr(ctypes.CDLL(str(library)), f"launch_{name}")(*sizes, pointers)


def test_a_barrier_lets_all_threads_see_what_the_others_wrote(library):
    x = np.arange(192, dtype=np.int32)
    y = np.zeros_like(x)
    launched(library, "across_block", (3,), (64,), 1, x, y)
    np.testing.assert_array_equal(y.reshape(3, 64), x.reshape(3, 64)[:, ::-1])


def test_a_missing_barrier_shows(library):
    x = np.arange(1, 65, dtype=np.int32)
    y = np.zeros_like(x)
    launched(library, "across_block", (1,), (64,), 0, x, y)
    assert not np.array_equal(y, x[::-1])


def test_a_shuffle_takes_the_value_of_another_lane(library):
    x, y = np.random.default_rng(1).standard_normal(64), np.zeros(64)
    launched(library, "across_warp", (1,), (64,), x, y)
    np.testing.assert_array_equal(y, x.reshape(2, 32)[:, ::-1].ravel() + np.arange(64))


def test_every_thread_of_every_block_runs_once(library):
    y = np.zeros(2 * 3 * 2 * 5 * 3 * 2, np.int32)
    launched(library, "places", (2, 3, 2), (5, 3, 2), y)
    np.testing.assert_array_equal(y, 1)


def test_threads_that_have_ended_are_not_waited_for(library):
    y = np.zeros(32, np.int32)
    launched(library, "half_ends", (1,), (64,), y)
    np.testing.assert_array_equal(y, 1)


def test_a_shuffle_that_not_all_lanes_take_part_in_is_an_error(library):
    call = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import numpy as np\nfrom test_cuda_host_shim import launched\n"
        f"launched({str(library)!r}, 'parted', (1,), (32,), np.zeros(32, np.int32))"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "a shuffle of part of a warp" in done.stderr


# Tensor cores.


def bits(*numbers):
    return np.array(numbers, np.float32).view(np.uint32)


ROUNDED = [
    # A number, and what the rules of PTX for cvt.rna.tf32 and cvt.rn.bf16 make of it.
    (1.0, 1.0, 1.0),
    (1 + 2**-11, 1 + 2**-10, 1.0),  # half way for tf32: away from 0
    (-1 - 2**-11, -1 - 2**-10, -1.0),
    (1 + 2**-11 - 2**-23, 1.0, 1.0),
    (1 + 2**-8, 1 + 2**-8, 1.0),  # half way for bf16: to the even one, below
    (1 + 3 * 2**-8, 1 + 3 * 2**-8, 1 + 2**-6),  # and above
    (1 + 2**-8 + 2**-23, 1 + 2**-8, 1 + 2**-7),
    (2 - 2**-23, 2.0, 2.0),
    (3 * 2.0**-128, 3 * 2.0**-128, 3 * 2.0**-128),  # subnormal
    (2.0**-149, 0.0, 0.0),
    (2.0**127 * (2 - 2**-10), 2.0**127 * (2 - 2**-10), np.inf),  # the largest of tf32
    (np.inf, np.inf, np.inf),
    (-np.inf, -np.inf, -np.inf),
    (-0.0, -0.0, -0.0),
]


@pytest.mark.parametrize(("number", "tf32", "bf16"), ROUNDED)
def test_numbers_are_rounded_as_ptx_says(library, number, tf32, bf16):
    x, words, pairs = np.array([number], np.float32), *np.zeros((2, 1), np.uint32)
    launched(library, "round_numbers", (1,), (1,), x, words, pairs)
    assert words == bits(tf32)
    assert pairs << 16 == bits(bf16)
    assert pairs & 0xFFFF0000 == bits(-bf16)  # the second number lies in the upper half


def test_a_nan_stays_one_when_it_is_rounded(library):
    x = np.array([0x7F800001, 0x7FFFFFFF, 0xFFC00000], np.uint32).view(np.float32)
    words, pairs = np.zeros((2, 3), np.uint32)
    launched(library, "round_numbers", (1,), (3,), x, words, pairs)
    for each in (words, pairs << 16, pairs & 0xFFFF0000):
        assert np.isnan(each.astype(np.uint32).view(np.float32)).all()


# Rows and columns of the elements of fragments: PTX ISA, "Matrix Fragments for mma.m16n8k8" (.tf32)
# and "for mma.m16n8k16 with floating point type" (.bf16).
GROUP, MEMBER = np.arange(32)[:, None] >> 2, np.arange(32)[:, None] % 4


def fragments_of_tf32(a, b):
    i, j = np.arange(4), np.arange(2)
    left = a[GROUP + 8 * ((i == 1) | (i == 3)), MEMBER + 4 * (i >= 2)]
    right = b[MEMBER + 4 * j, GROUP]
    return left.view(np.uint32).copy(), right.view(np.uint32).copy()


def fragments_of_bf16(a, b):
    i, j = np.arange(8), np.arange(4)
    first = (i < 2) | ((i >= 4) & (i < 6))
    left = a[np.where(first, GROUP, GROUP + 8), 2 * MEMBER + (i & 1) + 8 * (i >= 4)]
    right = b[2 * MEMBER + (j & 1) + 8 * (j >= 2), GROUP]
    halves = [(each.view(np.uint32) >> 16).astype("<u2") for each in (left, right)]
    return tuple(np.ascontiguousarray(each).view("<u4") for each in halves)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_warp_multiplies_matrices(library, precision):
    rng = np.random.default_rng(5)
    depth, bits_kept = (8, 11) if precision == "tf32" else (16, 8)
    # Integers of as many bits as the precision has: nothing is rounded.
    a = rng.integers(-(2**bits_kept), 2**bits_kept, (16, depth)).astype(np.float32)
    b = rng.integers(-(2**bits_kept), 2**bits_kept, (depth, 8)).astype(np.float32)
    before = rng.integers(-9, 9, (16, 8)).astype(np.float32)
    i = np.arange(4)
    places = GROUP + 8 * (i >= 2), 2 * MEMBER + (i & 1)
    sums = before[places]
    assert np.unique(16 * places[1] + places[0]).size == 128
    fragments = fragments_of_tf32 if precision == "tf32" else fragments_of_bf16
    launched(
        library, "multiply_fragments", (1,), (32,), int(precision == "bf16"), *fragments(a, b), sums
    )
    expected = a.astype(np.float64) @ b + before
    np.testing.assert_array_equal(sums, expected[places].astype(np.float32))


def test_tensor_cores_do_not_read_the_low_bits_of_tf32(library):
    a, b = np.full((16, 8), 1 + 2**-11, np.float32), np.ones((8, 8), np.float32)
    sums = np.zeros((32, 4), np.float32)
    launched(library, "multiply_fragments", (1,), (32,), 0, *fragments_of_tf32(a, b), sums)
    np.testing.assert_array_equal(sums, 8)


def laid_out(library, name, side, depth):
    y = np.zeros(side * depth + 1, np.int32)
    launched(library, f"lay_out_{name}", (side,), (depth,), y)
    places, size = y[:-1], y[-1]
    assert np.unique(places).size == places.size
    assert 0 <= places.min() <= places.max() < size
    return places.reshape(side, depth)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("name", ["TF32_{}_1", "BF16_{}_1", "BF16_{}_0", "FULL_32_1"])
def test_eight_rows_of_16_bytes_lie_in_32_different_banks(library, name, side):
    if "{}" not in name and side != 32:
        pytest.skip("one size of these is laid out")
    halves = name.startswith("BF16")
    places = laid_out(library, name.format(side), side, 32 if halves else 16)
    if name.endswith("_0"):
        places = places.T  # rows are terms, of neighbouring lines
    first = places[:, :: 8 if halves else 4]
    assert not (first % 16).any()
    # What a quarter of a warp reads at once, wherever it begins.
    for eight in first.reshape(-1, 8, first.shape[1]).transpose(0, 2, 1).reshape(-1, 8):
        assert sorted(eight // 16 % 8) == list(range(8))


@pytest.mark.parametrize("side", [32, 64])
def test_fragments_across_lines_lie_in_32_different_banks(library, side):
    places = laid_out(library, f"TF32_{side}_0", side, 16)
    # 8 lines and 4 terms that all lanes read at once.
    together = places.reshape(side // 8, 8, 4, 4).transpose(0, 2, 1, 3).reshape(-1, 32)
    for each in together // 4 % 32:
        assert np.unique(each).size == 32


def test_four_matrices_are_read_as_ptx_says(library):
    # PTX ISA, "Warp-level matrix load instruction: ldmatrix".
    rows = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    words, turned = np.zeros((2, 32, 4), np.uint32)
    launched(library, "read_matrices", (1,), (32,), rows, words, turned)
    for lane in range(32):
        i, j = lane // 4, lane % 4
        np.testing.assert_array_equal(words[lane].view("<u2").reshape(4, 2),
                                      rows[:, i, 2 * j : 2 * j + 2])  # fmt: skip
        np.testing.assert_array_equal(turned[lane].view("<u2").reshape(4, 2),
                                      rows[:, 2 * j : 2 * j + 2, i])  # fmt: skip


def test_a_copy_is_there_when_it_was_waited_for_and_no_earlier(library):
    x, y = np.arange(1, 9, dtype=np.float32), np.zeros(24, np.float32)
    storage = np.zeros(12, np.float32)
    start = -storage.ctypes.data % 16 // 4
    aligned = storage[start : start + 8]
    aligned[:] = x
    launched(library, "copy_in_groups", (1,), (1,), aligned, y)
    np.testing.assert_array_equal(y[:4], x[:4])
    assert np.isnan(y[[4, 8, 9, 10, 11]]).all()  # on their way
    np.testing.assert_array_equal(y[12:], [1, 2, 3, 4, 5, 7, 7, 7, 0, 0, 0, 0])


# Launches.


@pytest.fixture
def device():
    with standing_in(HostDevice()) as made:
        yield made


def test_every_kernel_of_every_source_is_found():
    for source in SOURCES:
        text = Path(launches.__file__).parents[3] / "kernels" / "cuda" / source
        if text.is_file():
            assert len(kernels_of(source)) == text.read_text("utf-8").count("__global__ void")
        assert len(set(instances_of(source, DTYPES[0]))) >= len(kernels_of(source)) > 0


def test_code_is_another_where_a_header_is(tmp_path, monkeypatch):
    code = sources.code_of("conv.cu")
    assert kernel_source("conv.cu") in code
    assert sources.code_of("conv.cu") == code
    for header in kernel_folder().glob("*.cuh"):
        (tmp_path / header.name).write_bytes(header.read_bytes())
    monkeypatch.setattr(sources, "kernel_folder", lambda: tmp_path)
    assert sources.code_of("conv.cu") == code
    with (tmp_path / "product.cuh").open("a", encoding="utf-8") as file:
        file.write("// changed")
    assert sources.code_of("conv.cu") != code


@pytest.mark.parametrize(
    ("count", "blocks"), [(1, 1), (256, 1), (257, 2), (10**9, 4096)]
)  # fmt: skip
def test_a_grid_has_a_block_for_each_256_elements_up_to_a_limit(count, blocks):
    assert launches.blocks_for(count) == blocks


def test_nothing_is_launched_for_no_elements(device):
    launches.launch_elements("dropout.dropout_backward", 0, dtype="float32")
    launches.launch_rows("activation.softmax_forward", 0, dtype="float32")
    assert device.launched == []


def test_more_elements_than_32_bits_reach_are_refused():
    # A whole grid less: an index steps that far behind the last element.
    most = 2**31 - 1 - 4096 * 256
    launches.check_size("conv2d_forward", x=most)
    with pytest.raises(ValueError, match=rf"x is {most + 1} elements.*up to {most}.*batch"):
        launches.check_size("conv2d_forward", x=most + 1)


def test_numbers_have_the_width_of_the_kernels_parameters(device):
    x, y = np.ones(4, np.float32), np.zeros(4, np.float32)
    mean = np.zeros(2, np.float32)
    # An int where a double is expected would be half of one.
    spec = NormSpec(2, 2, epsilon=1, momentum=1)
    norm.batch_norm_forward_inference(spec, x, mean + 1, mean, mean, mean + 3, y, None)
    np.testing.assert_allclose(y, 0.5)
    dropped = DropoutSpec(4, np.float32(0.5), RandomSpec(0, 1))
    dropout.dropout_backward(dropped, x, np.ones(4, np.uint8), y, None)
    np.testing.assert_array_equal(y, 2)


@pytest.mark.parametrize(
    "product",
    [Product(1024, 32, 288), Product(5, 7, 100000), Product(1, 10, 160), Product(9, 9, 0)],
)
def test_parts_of_a_product_cover_its_sums(product):
    (rows, columns), parts = product.division("float32")
    tiles = -(-product.rows // rows) * -(-product.columns // columns)
    assert parts >= 1
    assert parts == 1 or tiles * parts <= ENOUGH_BLOCKS
    assert product.workspace_bytes("float32") == (
        4 * parts * product.rows * product.columns if parts > 1 else 0
    )


def test_large_products_take_large_tiles_and_one_part():
    pixels = 128 * 32 * 32
    assert Product(pixels, 64, 288).division("float32") == ((128, 64), 1)
    assert Product(pixels, 32, 288).division("float32") == ((128, 32), 1)
    assert Product(pixels, 64, 288).division("float64") == ((64, 32), 1)


def test_long_sums_of_few_results_fill_the_card():
    # The weight gradient of 32 channels: three tiles of 128 x 32.
    tile, parts = Product(289, 32, 128 * 32 * 32).division("float32")
    assert tile == (128, 32)
    assert 132 <= 3 * parts <= ENOUGH_BLOCKS


def test_more_groups_than_rows_of_a_grid_are_refused():
    with pytest.raises(ValueError, match=r"groups is 70000; .* up to 65535 .*fewer groups"):
        Product(4, 9, 9, groups=70000).run("conv.conv2d_forward", (), (), (), None, "float32")
