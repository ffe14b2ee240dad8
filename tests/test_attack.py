"""Some attacks on public functions and trainings; ``python -m tests.attack`` makes very many."""

import collections
import itertools
import random
import subprocess
import sys
from pathlib import Path

import attack
import numpy as np
import pytest
from disguises import SAME

import fastconv

if not sys.platform.startswith("linux"):
    pytest.skip("limits of memory are Linux's", allow_module_level=True)
ATTACKS = 160
BACKENDS = [name for name in attack.BACKENDS if name != "numba"]
"""Numba compiles for most calls, which takes its time."""


def test_attacks_are_computed_or_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, attack.__file__, "--child", "0", "0", str(ATTACKS), ",".join(BACKENDS)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**attack.os.environ, "PYTHONPATH": str(Path(fastconv.__file__).parent.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = {
        line.partition(" ")[2]: int(line.partition(" ")[0]) for line in done.stdout.splitlines()
    }
    assert sum(seen.values()) == ATTACKS
    assert seen["other memory: computed"] > ATTACKS / 4
    assert seen["other arguments: refused"] > ATTACKS / 8


@pytest.mark.parametrize("kind", SAME)
def test_a_disguise_holds_the_same_numbers(kind):
    array = np.arange(24.0).reshape(2, 3, 4)
    made = SAME[kind](array, random.Random(0))
    np.testing.assert_array_equal(np.from_dlpack(made) if kind[:2] == "of" else made, array)


@pytest.mark.parametrize("kind", ["misaligned", "strided", "axes in another order"])
def test_only_aligned_arrays_in_order_reach_a_kernel(kind, monkeypatch):
    """What does not is undefined in C, though this processor may well bear it."""
    from fastconv.functional import arrays

    wrong = set()

    def watched(backend, kernel):
        function, size = load_kernel(backend, kernel)

        def run(spec, *given):
            for array in given:
                flags = None if array is None else array.flags
                if flags is not None and not (flags.aligned and flags.c_contiguous):
                    wrong.add(kernel)
            return function(spec, *given)

        return run, size

    load_kernel = arrays.load_kernel
    monkeypatch.setattr(arrays, "load_kernel", watched)
    for name, arguments, options in attack.CALLS:
        given = [
            SAME[kind](a, random.Random(0)) if isinstance(a, np.ndarray) else a for a in arguments
        ]
        getattr(fastconv, name)(*given, **options, backend="numpy")
    assert not wrong


# What the attacks are to find, they find.


def conv2d(*arguments, **options):
    """One that changes what it may only read."""
    found = right(*arguments, **options)
    if isinstance(arguments[0], np.ndarray) and arguments[0].flags.writeable:
        arguments[0][...] += 1
    return found


def relu(*arguments, **options):
    """One that is wrong every second time."""
    return right_relu(*arguments, **options) + next(TIMES) % 2


def tanh(*arguments, **options):
    """One whose error has two lines."""
    raise ValueError("tanh: one\ntwo")


TIMES = itertools.count()
right, right_relu = fastconv.conv2d, fastconv.relu


@pytest.mark.parametrize(
    ("wrong", "told"),
    [(conv2d, "an argument changed"), (relu, "relu"), (tanh, "tanh")],
    ids=["conv2d", "relu", "tanh"],
)
def test_a_fault_is_found(wrong, told, monkeypatch):
    monkeypatch.setattr(fastconv, wrong.__name__, wrong)
    monkeypatch.setattr(attack, "CALLS", [c for c in attack.CALLS if c[0] == wrong.__name__])
    attacks = attack.Attack(random.Random(0), BACKENDS[-1])
    with pytest.raises((AssertionError, ValueError), match=told):
        collections.Counter(attacks.call() for _ in range(40))
