"""A dense layer of one sample and few outputs: what becomes of it."""

import numpy as np
import pytest

from fastconv.backends.compiled.instructions.choices import LEAKY_GRADIENT
from fastconv.backends.compiled.instructions.instruction import Instruction, Target, arrays, encode
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.dense import dense_forward
from fastconv.backends.selection import backend_state
from fastconv.spec import DenseSpec

AVX512, AVX2, SSE2 = (
    Target("avx512", 64, 32, masks=True), Target("avx2", 32, 16), Target("sse2", 16, 16),
)  # fmt: skip
TYPES = ("float32",) * 4


@pytest.mark.parametrize(
    ("target", "batch", "outputs", "packs"),
    [
        (AVX512, 1, 10, False),
        (AVX2, 1, 10, False),
        (AVX2, 1, 5, False),
        (AVX2, 2, 5, False),  # two vectors of sums
        (AVX2, 2, 10, True),  # four
        (AVX2, 1, 20, True),  # three
        (SSE2, 1, 10, True),  # no masked loads
    ],
)
def test_few_sums_read_weights_as_they_lie(target, batch, outputs, packs):
    instructions = dense_forward(DenseSpec(batch, 288, outputs), TYPES, target).instructions
    assert (Kernel.PACK_WEIGHTS in [instruction.kernel for instruction in instructions]) is packs


@pytest.mark.skipif(not backend_state("cython").works, reason="needs the C engine")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 3, 5, 7, 9, 10, 15, 17, 30])
def test_a_step_over_narrow_weights_is_that_of_its_formula(outputs, dtype, threads):
    from fastconv.backends.cython import _engine

    inputs, rate, decay, bias_decay, slope = 53, 0.25, 0.5, 0.125, 0.1
    draw = np.random.default_rng(outputs)
    dy, x, b, other = (draw.standard_normal(n) for n in (outputs, inputs, outputs, inputs))
    w = draw.standard_normal((inputs, outputs))
    given = [each.astype(dtype) for each in (dy, x, w, b, np.zeros(inputs), other)]
    dy, x, w, b, other = (given[n].astype(np.float64) for n in (0, 1, 2, 3, 5))
    instruction = Instruction.of(
        Kernel.DENSE_BACKWARD_UPDATE, dtype,
        **arrays("dy", "x", "w", "b", "dx", "other", "rate"),
        inputs=inputs, outputs=outputs, epilogue=LEAKY_GRADIENT,
        decay=decay, bias_decay=bias_decay, slope=slope, max_threads=threads,
    )  # fmt: skip
    for each in _engine.instruction_sets():
        addresses = _engine.kernel_addresses(each["name"])
        stream, relocations = encode([instruction], lambda *key, found=addresses: found[key])
        own = [array.copy() for array in given]
        _engine.run_call(stream, relocations, (*own, np.array([rate])), threads)
        close = {"rtol": 0, "atol": 30 * np.finfo(dtype).eps * max(1, outputs**0.5)}
        gradient = w @ dy * np.where(other > 0, 1, slope)
        np.testing.assert_allclose(own[4], gradient, **close, err_msg=each["name"])
        updated = (1 - rate * decay) * w - rate * np.outer(x, dy)
        np.testing.assert_allclose(own[2], updated, **close, err_msg=each["name"])
        np.testing.assert_allclose(
            own[3], (1 - rate * bias_decay) * b - rate * dy, **close, err_msg=each["name"]
        )
