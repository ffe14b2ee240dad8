"""A little of each long run of tests/soak*.py; ``python -m tests.soak KIND`` is the whole."""

import platform
import shutil
import sys
from collections import Counter

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("limits and counts of processes are Linux's", allow_module_level=True)

import soak_allocations
import soak_faults
import soak_threads

FAULTS = ("file size 9000", "address space 60", "deleted folder", "jumping clock")
"""Of those that tests of checkpoints and resumed runs do not have."""


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return soak_faults.soak_case(tmp_path_factory.mktemp("faults"), 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_the_run_goes_on_with_the_same_bits(case, fault):
    not_possible = soak_faults.meet(case, fault)
    if not_possible:
        pytest.skip(not_possible)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="wraps the allocator of glibc")
@pytest.mark.skipif(shutil.which(soak_allocations.compiler()[0]) is None, reason="no C compiler")
def test_an_allocation_that_fails_is_a_memory_error_and_nothing_is_lost(tmp_path):
    done = soak_allocations.run_process(tmp_path, 7)
    assert done.returncode == 0, done.stderr[-3000:]
    kinds = {line.partition(" ")[2].partition(":")[0] for line in done.stdout.splitlines()}
    assert {"plan, numpy", "threads that could not begin"} <= kinds
    assert "MemoryError" in done.stdout


def test_threads_that_train_predict_and_call_at_once_get_what_they_get_alone():
    # Without what Numba would compile first.
    backends = tuple(name for name in soak_threads.BACKENDS if name != "numba")
    done, wrong = soak_threads.soak_one_process(1.0, 0, backends)
    assert not wrong
    assert done.total() > soak_threads.THREADS


def looks(**changes):
    """A hundred looks at a process in which nothing grows but what is said."""
    same = {"memory": 100_000, "threads": 7, "files": 12, "maps": 300}
    return [
        {name: value + changes.get(name, 0) * n for name, value in same.items()} for n in range(100)
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [({}, None), ({"memory": 50}, "memory"), ({"files": 0.1}, "files"), ({"threads": 1}, "threads"),
     ({"memory": 5}, None)],
)  # fmt: skip
def test_what_grows_is_a_leak(change, found):
    told = Counter(each.partition(":")[0] for each in soak_threads.leaks(looks(**change)))
    assert told == Counter([found] if found else [])
