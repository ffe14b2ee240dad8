"""Kernel calls as records and rows: what fastconv/backends/compiled makes for the compiled backends."""

import numpy as np
import pytest
from kernel_calls import KERNELS, calls_of, specs_of
from watched import parameters_of

from fastconv.backends.compiled.instructions.record import (
    MOST_POINTERS,
    WORKSPACE,
    Pointer,
    Record,
    Target,
    rows_of,
)
from fastconv.backends.compiled.lowering.launches import launch_of, workspace_of
from fastconv.backends.compiled.lowering.lowering import _without_idle_barriers
from fastconv.backends.compiled.rules.tiles import choose_tile, most_rows, pieces_of
from fastconv.backends.compiled.threads import default_threads

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


def launches(target):
    """(call, its types, its launch) of every case that has a launch of its own."""
    for kernel in KERNELS:
        if kernel.startswith(("random.", "input.")):
            continue  # their modules add numbers of elements to the spec
        for spec in specs_of(kernel):
            for call in calls_of(kernel, spec, np.float32):
                types = types_of(call)
                yield call, types, launch_of(kernel, call.spec, types, target)


def test_a_row_has_everything_at_its_place():
    record = Record(
        "add", "float64", (Pointer(2, 24), None, Pointer(WORKSPACE, 64)), (7, -8), (0.5, -2.0),
        parts=5, barrier=False,
    )  # fmt: skip
    addresses = {("add", "float64"): 1000, ("end", "float32"): 2000}
    rows, places = rows_of([record, Record("end", "float32", ())], lambda *key: addresses[key])
    expected = np.zeros((2, 64), np.int64)
    expected[0, [0, 1, 2, 16, 17]] = 1000, 5, 0, 7, -8
    # 0.5 and -2.0 as IEEE 754 double precision has them.
    expected[0, [48, 49]] = np.array([0x3FE0000000000000, 0xC000000000000000], np.uint64).view(
        np.int64
    )
    expected[1, :3] = 2000, 1, 1
    np.testing.assert_array_equal(rows, expected)
    assert places.tolist() == [[0, 4, 2, 24], [0, 6, -1, 64]]


@pytest.mark.parametrize(
    ("what", "arguments", "limit"),
    [
        ("pointers", {"pointers": (None,) * 13}, 12),
        ("integers", {"pointers": (), "integers": (0,) * 33}, 32),
        ("reals", {"pointers": (), "reals": (0.0,) * 17}, 16),
    ],
)
def test_a_record_that_does_not_fit_a_row_is_an_error(what, arguments, limit):
    with pytest.raises(ValueError, match=rf"long: {limit + 1} {what}; a record holds {limit}"):
        Record("long", "float32", **arguments)


@TARGET
def test_records_point_at_arrays_that_are_there_and_stay_in_the_workspace(target):
    seen = 0
    for call, types, launch in launches(target):
        for record in launch.records:
            for pointer in filter(None, record.pointers):
                seen += 1
                if pointer.argument == WORKSPACE:
                    assert 0 <= pointer.offset <= launch.workspace_bytes, call
                else:
                    assert types[pointer.argument] is not None, f"{call}: {record}"
    assert seen > 500


@TARGET
def test_the_workspace_is_large_enough_whatever_is_left_out(target):
    without = 0
    for call, types, launch in launches(target):
        without += None in types
        asked = workspace_of(call.kernel, call.spec, "float32", target)
        # The engine moves its beginning by up to 63 bytes, to a cache line.
        assert asked >= launch.workspace_bytes + (63 if launch.workspace_bytes else 0), call
    assert without > 50


def test_records_do_not_depend_on_the_number_of_threads(monkeypatch):
    made = []
    for threads in ("1", "7"):
        monkeypatch.setenv("FASTCONV_THREADS", threads)
        launch_of.cache_clear()
        made.append([launch for _, _, launch in launches(TARGETS[0])])
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


def test_no_kernel_has_more_arrays_than_a_row():
    assert max(len(parameters_of(kernel)) for kernel in KERNELS) <= MOST_POINTERS


def test_a_barrier_stays_where_a_later_record_of_several_threads_needs_it():
    def record(parts, barrier):
        return Record("add", "float32", (), parts=parts, barrier=barrier)

    # One thread packs and begins to multiply; the second product, without a barrier between, is
    # for two threads, and reads what was packed.
    records = [record(1, True), record(1, True), record(1, False), record(2, True), record(1, True)]
    kept = [each.barrier for each in _without_idle_barriers(records)]
    assert kept == [False, True, False, True, True]
