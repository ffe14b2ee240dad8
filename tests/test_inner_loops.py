"""What the compiler made of the inner loops of the C engine, read from the built library.

A tile is fast only if its sums stay in vector registers for as long as its loop runs.
"""

import importlib
import platform
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from inner_loops import cycles_of, fused_of, loops_of, tool_for

from fastconv.backends.selection import backend_state

SOURCES = Path(__file__).parent.parent / "kernels" / "cpu"
CROSS_COMPILER = shutil.which("aarch64-linux-gnu-gcc")
TYPES = ("float32", "float64")
TILE = re.compile(r"(deep|wide|product|moments|pooled)_(\d+)x(\d+)_float(32|64)$")

# With one more, the sums would not fit: rows and vectors of the tiles of gemm.h and pooled.h,
# outputs and pixels of those of batch_blocked.h.
LARGEST = {
    32: {
        "deep": [(28, 1), (14, 2), (9, 3), (6, 4), (3, 8)],
        "wide": [(28, 1), (14, 2), (9, 3), (6, 4), (3, 8)],
        "product": [(8, 3), (6, 4)],
        "moments": [(8, 3), (6, 4)],
        "pooled": [(2, 12), (3, 8)],
    },
    16: {
        "deep": [(12, 1), (6, 2), (4, 3), (3, 4), (1, 8)],
        "wide": [(12, 1), (6, 2), (4, 3), (3, 4), (1, 8)],
        "product": [(8, 1), (6, 2), (4, 3), (3, 4)],
        "moments": [(8, 1), (6, 2), (4, 3), (3, 4)],
        "pooled": [(1, 12), (2, 6), (3, 4)],
    },
}
REGISTERS = {"avx512": 32, "avx512vl": 32, "avx2": 16, "sse2": 16, "neon": 32}
# Instructions beside those that multiply, add and read: addresses, the count of steps, the jump.
OVERHEAD = {"avx512": 9, "avx512vl": 9, "avx2": 8, "sse2": 6, "neon": 24}
KERNELS = [
    "depthwise_tiles", "depthwise_weight_tiles", "max_pool2d_forward", "plane_products",
    "pooled_data_tiles", "row_products",
]  # fmt: skip
"""Kernels without tiles of their own, whose loops hold sums or maxima."""
OF_PLANES = [
    "three_moments", "three_moments_of_stride_2", "three_products", "three_products_of_stride_2"
]  # fmt: skip
"""Functions of their own where there are 16 registers."""


@pytest.fixture(scope="module")
def built():
    """The loops of the engine by instruction set."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        pytest.skip("reads the machine code of x86-64 on Linux")
    if tool_for("x86-64") is None:
        pytest.skip("objdump is missing (Debian: apt install binutils)")
    state = backend_state("cython")
    if not state.works:
        pytest.skip(state.reason)
    engine = importlib.import_module("fastconv.backends.cython._engine")
    found = by_set(loops_of(engine.__file__))
    if not found:
        pytest.skip("the engine was built without the names of its functions (stripped)")
    return found


@pytest.fixture(scope="module")
def neon(tmp_path_factory):
    """The loops of the kernels for NEON, compiled here as setup.py would on an aarch64."""
    if not SOURCES.is_dir():
        pytest.skip("no source tree around the tests")
    if CROSS_COMPILER is None or tool_for("aarch64") is None:
        pytest.skip("no compiler for aarch64 (Debian: apt install gcc-aarch64-linux-gnu)")
    made = tmp_path_factory.mktemp("neon") / "neon.o"
    subprocess.run(
        [CROSS_COMPILER, "-O3", "-g0", "-fPIC", "-ffp-contract=fast", "-fno-math-errno",
         "-fno-trapping-math", "-c", SOURCES / "neon.c", "-o", made],
        check=True,
    )  # fmt: skip
    return by_set(loops_of(made, "aarch64"))


def by_set(loops):
    found = defaultdict(list)
    for loop in loops:
        if (name := loop.file.removesuffix(".c")) in REGISTERS:
            found[name].append(loop)
    return found


def ways_of(kind, sums):
    """How many sums take turns for each element: gemm.h says why."""
    if kind not in ("deep", "wide"):
        return 1
    return 4 if sums <= 2 else 2 if sums <= 4 else 1


def check_tiles(loops, name):
    """Check the loop of every tile; gives the tiles that there are, by kind."""
    tiles, found = defaultdict(set), defaultdict(list)
    for loop in loops:
        if tile := TILE.match(loop.function):
            found[tile.groups()].append(loop)
    for (kind, rows, vectors, bits), made in found.items():
        rows, vectors = int(rows), int(vectors)
        sums = rows * vectors
        steps = {1, ways_of(kind, sums)}
        # A loop over steps of depth has as many products as there are sums, and no branch.
        inner = [
            loop
            for loop in made
            if not loop.branches and loop.products in {sums * step for step in steps}
        ]
        assert inner, f"{kind} {rows} x {vectors} of {name}: no loop of {sums} products"
        for loop in inner:
            step = loop.products // sums
            products = (1 if loop.fused else 3) * loop.products
            reads = (1 if loop.fused else 2) * step * (rows + vectors)
            assert not loop.calls, str(loop)
            assert not loop.vectors_on_the_stack, str(loop)
            assert len(loop.instructions) <= products + reads + OVERHEAD[name], str(loop)
        tiles[kind, bits].add((rows, vectors))
    return tiles


def check_largest(tiles, name):
    for kind, largest in LARGEST[REGISTERS[name]].items():
        for bits in ("32", "64"):
            assert set(largest) <= tiles[kind, bits]
            for rows, vectors in tiles[kind, bits]:
                assert any(rows <= r and vectors <= v for r, v in largest), (kind, rows, vectors)


def check_kernels(loops, name):
    """Check the loops of the other kernels, as far as nothing else is inside of them."""
    kernels, checked = KERNELS + OF_PLANES * (REGISTERS[name] == 16), set()
    for loop in loops:
        kernel = loop.function.removesuffix("_float32").removesuffix("_float64")
        assert not (loop.products and loop.calls), str(loop)
        # At the edge of an image, a depthwise tile asks for each of its 8 pixels.
        if loop.branches > (26 if kernel == "depthwise_tiles" else 3) or not loop.has_vectors:
            continue
        checked.add(loop.function)
        if kernel in kernels and (loop.products or kernel == "max_pool2d_forward"):
            assert not loop.calls, str(loop)
            assert not loop.passes_vectors_over_the_stack, str(loop)
    assert {f"{kernel}_{real}" for kernel in kernels for real in TYPES} - checked == set()


@pytest.mark.parametrize("name", ["avx512", "avx512vl", "avx2", "sse2"])
def test_other_kernels_call_nothing_and_keep_their_sums(built, name):
    check_kernels(built[name], name)


@pytest.mark.slow
def test_other_kernels_for_neon_call_nothing_and_keep_their_sums(neon):
    check_kernels(neon["neon"], "neon")


@pytest.mark.parametrize("name", ["avx512", "avx512vl", "avx2", "sse2"])
def test_the_sums_of_a_tile_stay_in_registers(built, name):
    check_largest(check_tiles(built[name], name), name)


@pytest.mark.slow
def test_the_sums_of_a_tile_stay_in_the_registers_of_neon(neon):
    check_largest(check_tiles(neon["neon"], "neon"), "neon")


# Cycles of a loop beside those of its multiplications alone, as llvm-mca simulates them. A Neoverse
# multiplies two vectors a cycle; Apple's cores four, and load three, so that what is loaded for a
# product counts: choose_tile prefers 6 x 4 there.
CYCLES = {
    "neoverse-n1": {
        ("deep", 14, 2): 1.15, ("deep", 9, 3): 1.15, ("deep", 6, 4): 1.15, ("deep", 3, 8): 1.15,
        ("wide", 14, 2): 1.15, ("product", 8, 3): 1.15, ("product", 6, 4): 1.15,
        ("moments", 6, 4): 1.15, ("pooled", 2, 12): 1.15, ("deep", 28, 1): 1.2,
    },
    "apple-a14": {
        ("deep", 6, 4): 1.15, ("deep", 3, 8): 1.15, ("wide", 14, 2): 1.15,
        ("product", 8, 3): 1.15, ("product", 6, 4): 1.15, ("moments", 6, 4): 1.15,
        ("deep", 14, 2): 1.3, ("deep", 9, 3): 1.3,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("llvm-mca") is None, reason="no llvm-mca (Debian: apt install llvm)"
)
@pytest.mark.parametrize("cpu", CYCLES)
def test_simulated_cycles_of_tiles_for_neon_are_those_of_their_multiplications(neon, cpu):
    measured = {}
    for loop in neon["neon"]:
        tile = TILE.match(loop.function)
        if tile is None or tile[4] != "32" or loop.branches:
            continue
        kind, rows, vectors = tile[1], int(tile[2]), int(tile[3])
        if (kind, rows, vectors) in CYCLES[cpu] and loop.fused == rows * vectors:
            measured[kind, rows, vectors] = cycles_of(loop.instructions, cpu) / cycles_of(
                fused_of(loop), cpu
            )
    assert measured.keys() == CYCLES[cpu].keys()
    too_long = {tile: r for tile, r in measured.items() if r > CYCLES[cpu][tile]}
    assert not too_long, too_long
