"""The engine on processors that are not this one, emulated by QEMU."""

import platform
import shutil

import pytest
from share_of_cases import share_of_cases, start

from fastconv.backends.selection import backend_state

QEMU = shutil.which("qemu-x86_64")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="runs this x86-64 Python on other x86-64 processors"
    ),
    pytest.mark.skipif(
        QEMU is None, reason="qemu-x86_64 is missing (Debian: apt install qemu-user)"
    ),
    pytest.mark.skipif(not backend_state("cython").works, reason=backend_state("cython").reason),
]


@pytest.mark.parametrize(
    ("processor", "isa"),
    [
        # SSE4.2, no AVX at all.
        ("Nehalem", "sse2"),
        # AVX, but neither AVX2 nor FMA.
        ("SandyBridge", "sse2"),
        # AVX2 and FMA, no AVX-512.
        ("Haswell", "avx2"),
    ],
)
def test_the_best_set_of_the_processor_is_chosen_and_is_right(processor, isa, tmp_path_factory):
    # The BLAS of NumPy may pick kernels that the emulated processor does not have.
    done = start(
        share_of_cases(tmp_path_factory, 29), under=[QEMU, "-cpu", processor],
        OPENBLAS_CORETYPE="Nehalem", OPENBLAS_NUM_THREADS="1",
    )  # fmt: skip
    if done.returncode and "NumPy was built with baseline optimizations" in done.stderr:
        pytest.skip(f"this NumPy does not run on a {processor}")
    assert done.returncode == 0, done.stderr[-3000:]
    _, name, calls, kernels = done.stdout.splitlines()
    assert name == isa
    assert int(calls) > 30
    assert int(kernels) > 15


def test_a_set_that_the_processor_does_not_have_is_an_error(tmp_path_factory):
    done = start(
        share_of_cases(tmp_path_factory, 29), under=[QEMU, "-cpu", "Nehalem"], FASTCONV_ISA="avx2",
        OPENBLAS_CORETYPE="Nehalem", OPENBLAS_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode != 0
    assert "FASTCONV_ISA is 'avx2'; expected one of sse2, plain" in done.stderr
