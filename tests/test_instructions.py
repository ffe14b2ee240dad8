"""Kernel calls as instructions, and encoded: what the compiled backends run."""

from dataclasses import replace

import numpy as np
import pytest
from kernel_calls import KERNELS, calls_of, specs_of
from watched import parameters_of

from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    Pointer,
    Target,
    arrays,
    encode,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import MOST_POINTERS, Layout
from fastconv.backends.compiled.instructions.layouts import LAYOUTS
from fastconv.backends.compiled.lowering.lowered_kernels import (
    cached_by_bytes,
    lower_kernel,
    workspace_of,
)
from fastconv.backends.compiled.lowering.lowering import _without_idle_barriers
from fastconv.backends.compiled.rules.tiles import choose_tile, most_rows, pieces_of
from fastconv.backends.compiled.threads import default_threads
from fastconv.spec import ConvSpec

TARGETS = [
    Target("avx512", 64, 32, masks=True),
    Target("avx2", 32, 16),
    Target("sse2", 16, 16),
    Target("neon", 16, 32),
    Target("plain", 0, 8),
]
TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def types_of(call):
    """Names of the dtypes of the call's arrays, as the engine sees them."""
    there = {
        key: value.dtype for key, value in (call.reads | call.updates).items() if value is not None
    }
    there |= {key: np.dtype(dtype) for key, (_, dtype) in call.outputs.items()}
    return tuple(there[k].name if k in there else None for k in parameters_of(call.kernel))


def lowered_kernels(target):
    """(call, its types, its lowered) of every case that has a lowered of its own."""
    for kernel in KERNELS:
        if kernel.startswith(("random.", "input.")):
            continue  # their modules add numbers of elements to the spec
        for spec in specs_of(kernel):
            for call in calls_of(kernel, spec, np.float32):
                types = types_of(call)
                yield call, types, lower_kernel(kernel, call.spec, types, target)


UPDATE_OF_DENSE = {
    "dy": Pointer(2, 24), "x": Pointer(5), "w": Pointer(0), "dx": Pointer(WORKSPACE, 64),
    "rate": Pointer(3), "inputs": 7, "outputs": 8, "epilogue": 0,
    "decay": 0.5, "bias_decay": -2.0, "slope": 0.0,
}  # fmt: skip
"""Every field of ``dense_backward_update`` but the two pointers that may be null."""


def test_an_encoded_instruction_has_everything_at_its_place():
    update = Instruction.of(
        Kernel.DENSE_BACKWARD_UPDATE, "float64", **UPDATE_OF_DENSE, max_threads=5, barrier=False
    )
    correct = Instruction.of(
        Kernel.COUNT_CORRECT, "float32", **arrays("scores", "labels", "statistics"), batch=3,
        outputs=9,
    )  # fmt: skip
    addresses = {("dense_backward_update", "float64"): 1000, ("count_correct", "float32"): 2000}
    correct = replace(correct, condition=Pointer(-1, 128))
    stream, relocations = encode([update, correct], lambda *key: addresses[key])
    expected = np.zeros((2, 64), np.int64)
    expected[0, [0, 1, 2, 16, 17]] = 1000, 5, 0, 7, 8
    # 0.5 and -2.0 as IEEE 754 double precision has them.
    expected[0, [48, 49]] = np.array([0x3FE0000000000000, 0xC000000000000000], np.uint64).view(
        np.int64
    )
    expected[1, [0, 1, 2, 16, 17]] = 2000, 1, 1, 3, 9
    np.testing.assert_array_equal(stream, expected)
    # The bias would stand in word 7, the output of the activation in word 9.
    assert relocations.tolist() == [
        [0, 4, 2, 24], [0, 5, 5, 0], [0, 6, 0, 0], [0, 8, -1, 64], [0, 10, 3, 0],
        [1, 4, 0, 0], [1, 5, 1, 0], [1, 6, 2, 0], [1, 63, -1, 128],
    ]  # fmt: skip


def test_fields_are_read_and_changed_by_name():
    made = Instruction.of(Kernel.DENSE_BACKWARD_UPDATE, "float32", **UPDATE_OF_DENSE)
    changed = made.with_fields(outputs=40, b=Pointer(9), slope=0.25)
    assert (made.integers.outputs, made.pointers.b, made.reals.slope) == (8, None, 0.0)
    assert (changed.integers.outputs, changed.pointers.b, changed.reals.slope) == (
        40, Pointer(9), 0.25,
    )  # fmt: skip
    assert changed.with_fields(outputs=8, b=None, slope=0.0) == made


@pytest.mark.parametrize(
    ("fault", "change", "message"),
    [
        (TypeError, {"input": 3}, "has no field 'input'; did you mean 'inputs'\\? its fields are"),
        (TypeError, {"rows": 3}, "has no field 'rows'; "),
        (ValueError, {"inputs": -1}, "inputs is -1; expected 0 or more: elements of x"),
        (ValueError, {"rate": None}, "rate is None; give rate=..., float64: the learning rate"),
    ],
)
def test_a_wrong_field_is_named(fault, change, message):
    with pytest.raises(fault, match=f"dense_backward_update:? {message}"):
        Instruction.of(Kernel.DENSE_BACKWARD_UPDATE, "float32", **UPDATE_OF_DENSE | change)


@pytest.mark.parametrize("name", sorted(UPDATE_OF_DENSE))
def test_a_field_that_is_left_out_is_named(name):
    rest = {key: value for key, value in UPDATE_OF_DENSE.items() if key != name}
    with pytest.raises(TypeError, match=f"dense_backward_update: '{name}' is left out; give"):
        Instruction.of(Kernel.DENSE_BACKWARD_UPDATE, "float32", **rest)


def test_strides_may_go_backwards():
    sizes = dict.fromkeys(LAYOUTS[Kernel.WINOGRAD_WEIGHTS].integers, 1)
    made = Instruction.of(
        Kernel.WINOGRAD_WEIGHTS, "float32", **arrays("w", "transformed"), **sizes | {"w_down": -9}
    )
    assert made.integers.w_down == -9


@pytest.mark.parametrize(
    ("what", "place", "limit"), [("pointers", 0, 12), ("integers", 1, 32), ("reals", 2, 15)]
)
def test_a_layout_that_does_not_fit_an_instruction_is_an_error(what, place, limit):
    names = tuple(f"a{n}" for n in range(limit + 1))
    fields = [names if kind == place else () for kind in range(3)]
    message = f"transpose: {limit + 1} {what}; an instruction holds {limit}"
    with pytest.raises(ValueError, match=message):
        Layout(Kernel.TRANSPOSE, "y = x", *fields, dict.fromkeys(names, "anything"))  # type: ignore[call-arg]


def test_a_layout_names_each_field_once_and_says_what_it_is():
    with pytest.raises(ValueError, match="transpose: two fields are called 'rows'"):
        Layout(Kernel.TRANSPOSE, "y = x", ("rows",), ("rows",), (), {"rows": "of x"})
    with pytest.raises(ValueError, match="transpose: the field 'rows' has no meaning"):
        Layout(Kernel.TRANSPOSE, "y = x", (), ("rows",), (), {})
    assert set(LAYOUTS) == set(Kernel)


@TARGET
def test_instructions_point_at_arrays_that_are_there_and_stay_in_the_workspace(target):
    seen = 0
    for call, types, lowered in lowered_kernels(target):
        for instruction in lowered.instructions:
            for pointer in filter(None, instruction.pointers):
                seen += 1
                if pointer.argument == WORKSPACE:
                    assert 0 <= pointer.offset <= lowered.workspace_bytes, call
                else:
                    assert types[pointer.argument] is not None, f"{call}: {instruction}"
    assert seen > 500


@TARGET
def test_the_workspace_is_large_enough_whatever_is_left_out(target):
    without = 0
    for call, types, lowered in lowered_kernels(target):
        without += None in types
        asked = workspace_of(call.kernel, call.spec, "float32", target)
        # The engine moves its beginning by up to 63 bytes, to a cache line.
        assert asked >= lowered.workspace_bytes + (63 if lowered.workspace_bytes else 0), call
    assert without > 50


def test_instructions_do_not_depend_on_the_number_of_threads(monkeypatch):
    made = []
    for threads in ("1", "7"):
        monkeypatch.setenv("FASTCONV_THREADS", threads)
        lower_kernel.cache_clear()
        made.append([lowered for _, _, lowered in lowered_kernels(TARGETS[0])])
    assert made[0] == made[1]


@TARGET
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tile_is_no_larger_than_the_registers(target, dtype):
    for rows in (0, 1, 2, 5, 27, 28, 29, 100, 1600):
        for columns in (*range(1, 70), 100, 208, 224, 240, 300, 333, 336):
            for even in (True, False):
                tile = choose_tile(rows, columns, target, dtype, even=even)
                assert 1 <= tile.rows <= most_rows(target, tile.vectors)
                # What is left for the last block has a tile too, of as many rows.
                rest = -(-columns // target.lanes(dtype)) % tile.vectors
                assert rest == 0 or tile.rows <= most_rows(target, rest)
                # Sums, one value of A, and the vectors of B.
                if target.registers >= 16:
                    assert tile.rows * tile.vectors + 1 + 1 <= target.registers


@TARGET
def test_rows_that_share_a_set_of_the_cache_are_fewer_than_its_lines(target):
    for columns in range(1, 200, 7):
        assert choose_tile(256, columns, target, "float32", distance=4 * 1024).rows <= 6
        free = choose_tile(256, columns, target, "float32")
        assert choose_tile(256, columns, target, "float32", distance=4 * 1024 + 64) == free


@pytest.mark.parametrize(
    ("kernel", "outputs", "packs"),
    [((5, 5), 192, False), ((3, 3), 320, False), ((5, 5), 200, True)],
)
def test_one_transposition_packs_weights_of_images_nchw_that_fill_vectors(kernel, outputs, packs):
    spec = ConvSpec(1, 64, 40, 40, outputs, kernel=kernel, stride=(2, 2))
    lowered = lower_kernel("nchw.conv2d_forward", spec, ("float32",) * 4, TARGETS[0])
    kinds = [each.kernel for each in lowered.instructions]
    of_weights = [each for each in lowered.instructions if each.points_to(1)]
    assert [each.kernel for each in of_weights] == [Kernel.TRANSPOSE]
    assert (Kernel.PACK_WEIGHTS in kinds) is packs


def test_pieces_are_all_there():
    assert list(pieces_of(10, 4)) == [(2, 4), (1, 2)]
    assert list(pieces_of(8, 4)) == [(2, 4)]
    assert list(pieces_of(3, 4)) == [(1, 3)]
    assert list(pieces_of(0, 4)) == []


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", " 2"])
def test_a_wrong_number_of_threads_is_named(monkeypatch, wrong):
    monkeypatch.setenv("FASTCONV_THREADS", wrong)
    with pytest.raises(ValueError, match=f"FASTCONV_THREADS is '{wrong}'; expected a number of 1"):
        default_threads()


def test_no_kernel_has_more_arrays_than_an_instruction():
    assert max(len(parameters_of(kernel)) for kernel in KERNELS) <= MOST_POINTERS


def test_a_barrier_stays_where_a_later_instruction_of_several_threads_needs_it():
    made = Instruction.of(Kernel.SUM_LOSSES, "float32", **arrays("losses", "statistics"), batch=1)
    # One thread packs and begins to multiply; the second product, without a barrier between, is
    # for two threads, and reads what was packed.
    instructions = [
        replace(made, max_threads=max_threads, barrier=barrier)
        for max_threads, barrier in ((1, True), (1, True), (1, False), (2, True), (1, True))
    ]
    kept = [each.barrier for each in _without_idle_barriers(instructions)]
    assert kept == [False, True, False, True, True]


def test_what_calls_became_is_dropped_by_its_bytes_and_not_by_its_number():
    made = []

    @cached_by_bytes(lambda size: size)
    def make(size):
        made.append(size)
        return size

    large = 2**26 - 10
    for size in (large, 4, large, 4, 7, 4):  # the 7 is one byte too many
        make(size)
    assert made == [large, 4, 7, 4]


NARROW = Target("avx512vl", 32, 32, masks=True, is_narrow=True)
HALVES_WIDE_VECTORS = Target("avx512", 64, 32, masks=True, narrow=NARROW)


@pytest.mark.parametrize(
    ("dtype", "channels", "is_narrow"),
    [
        ("float32", 3, True), ("float32", 8, True), ("float32", 9, False), ("float32", 16, False),
        ("float32", 24, True), ("float32", 32, False), ("float64", 4, True), ("float64", 8, False),
    ],
)  # fmt: skip
def test_channels_that_leave_half_of_a_vector_unused_go_into_narrow_ones(
    dtype, channels, is_narrow
):
    spec = ConvSpec(1, 16, 9, 9, channels, kernel=(3, 3))
    lowered = lower_kernel("conv.conv2d_forward", spec, (dtype,) * 4, HALVES_WIDE_VECTORS)
    assert {each.is_narrow for each in lowered.instructions} == {is_narrow}
    lanes = (32 if is_narrow else 64) // np.dtype(dtype).itemsize
    assert {each.lanes(HALVES_WIDE_VECTORS) for each in lowered.instructions} == {lanes}
    # The data gradient has the inputs for columns.
    backwards = lower_kernel("conv.conv2d_backward_data", spec, (dtype,) * 3, HALVES_WIDE_VECTORS)
    assert not any(each.is_narrow for each in backwards.instructions)


def test_a_batch_that_fills_wide_vectors_with_samples_stays_in_them():
    spec = ConvSpec(16, 16, 9, 9, 8, kernel=(3, 3))
    lowered = lower_kernel("conv.conv2d_forward", spec, ("float32",) * 4, HALVES_WIDE_VECTORS)
    assert not any(each.is_narrow for each in lowered.instructions)


def test_a_narrow_instruction_is_encoded_with_the_kernel_of_narrow_vectors():
    spec = ConvSpec(1, 16, 9, 9, 8, kernel=(3, 3))
    lowered = lower_kernel("conv.conv2d_forward", spec, ("float32",) * 4, HALVES_WIDE_VECTORS)
    stream, _ = encode(lowered.instructions, lambda kernel, dtype, is_narrow=False: 7 + is_narrow)
    assert set(stream[:, 0]) == {8}
