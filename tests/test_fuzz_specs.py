"""Some kernels with drawn specs against the oracle; ``python -m tests.fuzz_specs`` draws many."""

import numpy as np
import pytest
from fuzz_specs import _ONE_BY_ONE, check_chunk, runner_names
from random_networks import Seeded
from random_specs import draw_case

CASES = 150
RUNNERS = [name for name in runner_names() if name != "numba"]


def test_drawn_kernels_agree_with_the_oracle_on_every_instruction_set():
    # Numba compiles for many of them, which takes its time: test_backends.py has it.
    kernels, calls, wrong = check_chunk((0, range(CASES), RUNNERS, 1))
    assert not wrong, "\n".join(wrong.values())
    assert kernels.total() == CASES
    assert calls >= CASES * len(RUNNERS)


def test_the_draws_reach_every_kernel():
    drawn = {draw_case(Seeded(0, number), _ONE_BY_ONE)[0] for number in range(2500)}
    # Clipping by value is a matter of each element alone.
    assert drawn >= set(_ONE_BY_ONE) - {"gradient.clip_by_value"}


@pytest.mark.parametrize("number", [0, 17])
def test_a_wrong_number_is_found(number, monkeypatch):
    import fuzz_specs

    right = fuzz_specs.run

    def wrong(backend, call):
        results = right(backend, call)
        if backend == "numpy":
            for array in results.values():
                if array.size and array.dtype.kind == "f":
                    array.reshape(-1)[0] += np.float32(1000)
        return results

    monkeypatch.setattr(fuzz_specs, "run", wrong)
    numbers = range(number, number + 10)
    assert any(fuzz_specs.check_case(0, each, ["numpy"])[2] for each in numbers)
