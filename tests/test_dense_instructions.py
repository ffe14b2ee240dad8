"""A dense layer of one sample and few outputs, or of thousands: what becomes of it."""

import numpy as np
import pytest

import fastconv
from fastconv.backends.compiled.instructions.choices import LEAKY_GRADIENT
from fastconv.backends.compiled.instructions.instruction import Instruction, Target, arrays, encode
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.dense import dense_backward_weight, dense_forward
from fastconv.backends.selection import backend_state
from fastconv.spec import DenseSpec

AVX512, AVX2, SSE2 = (
    Target("avx512", 64, 32, masks=True), Target("avx2", 32, 16), Target("sse2", 16, 16),
)  # fmt: skip
TYPES = ("float32",) * 4
COMPILED = [name for name in ("numba", "cython") if backend_state(name).works]


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


@pytest.mark.parametrize(
    ("target", "batch", "inputs", "outputs", "parts"),
    [
        (AVX512, 10000, 4, 32, 4),
        (AVX512, 4096, 4, 10, 4),
        (AVX512, 4092, 4, 32, 1),  # too few samples
        (AVX512, 10001, 4, 32, 1),  # of which no four parts can be made
        (AVX512, 10000, 256, 32, 1),  # tiles enough
        (SSE2, 10000, 4, 8, 4),
        (SSE2, 10000, 4, 7, 1),  # no masked loads
    ],
)
def test_weight_gradients_of_few_tiles_are_cut_by_samples(target, batch, inputs, outputs, parts):
    spec = DenseSpec(batch, inputs, outputs)
    instructions = dense_backward_weight(spec, TYPES, target).instructions
    (tiles,) = (each for each in instructions if each.kernel == Kernel.CONV_WEIGHT_TILES)
    assert tiles.integers.groups == parts
    sums = [each for each in instructions if each.kernel == Kernel.ADD_PARTS]
    assert len(sums) == (2 if parts > 1 else 0)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 32), (3, 5), (17, 10), (32, 16)])
def test_their_sums_are_exact_on_integers_on_any_number_of_threads(inputs, outputs, dtype, backend):
    draw = np.random.default_rng(inputs)
    x, dy = (draw.integers(-4, 5, (8192, n)).astype(dtype) for n in (inputs, outputs))
    w = np.zeros((inputs, outputs), dtype)
    try:
        for threads in (1, 2, 3):
            fastconv.set_threads(threads)
            _, dw, db = fastconv.dense_backward(dy, x, w, needs=("w", "b"), backend=backend)
            np.testing.assert_array_equal(dw, x.T @ dy)
            np.testing.assert_array_equal(db, dy.sum(axis=0))
            _, dw, db = fastconv.dense_backward(dy, x, w, needs=("w",), backend=backend)
            np.testing.assert_array_equal(dw, x.T @ dy)
            assert db is None
    finally:
        fastconv.set_threads(None)


@pytest.mark.parametrize("backend", COMPILED)
def test_they_have_the_same_bits_on_any_number_of_threads(backend):
    draw = np.random.default_rng(0)
    x, dy = (draw.normal(size=(8192, n)).astype("float32") for n in (4, 32))
    found = []
    try:
        for threads in (1, 2, 3):
            fastconv.set_threads(threads)
            _, dw, db = fastconv.dense_backward(dy, x, np.zeros((4, 32), "f"), backend=backend)
            found.append((dw, db))
    finally:
        fastconv.set_threads(None)
    for dw, db in found[1:]:
        np.testing.assert_array_equal(dw, found[0][0])
        np.testing.assert_array_equal(db, found[0][1])
    exact = x.T.astype("float64") @ dy.astype("float64")
    np.testing.assert_allclose(found[0][0], exact, rtol=0, atol=1e-3)
