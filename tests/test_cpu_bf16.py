"""Products of the C kernels with factors that are rounded to bf16, and sums in float32."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from guarded_memory import GuardedMemory, Processor
from kernel_calls import calls_of
from tolerances import assert_close
from watched import parameters_of, run

import fastconv
from fastconv.backends.compiled.instructions.instruction import Target, choose_bf16, encode
from fastconv.backends.compiled.instructions.kernels import BF16_KERNELS
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.backends.compiled.rules import bf16
from fastconv.backends.selection import BackendError, backend_state
from fastconv.execution.config import ExecutionConfig
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare
from fastconv.spec import ConvSpec, DenseSpec
from fastconv.training_loop import fit

if not backend_state("cython").works:
    pytest.skip(backend_state("cython").reason, allow_module_level=True)

from fastconv.backends.cython import _engine

SPECS = [
    ConvSpec.parse(line)
    for line in (
        "g1mb2ic17ih6iw5oc17kh3kw3sh1sw1ph1pw1dh1dw1",  # 17 channels, odd sizes
        "g1mb2ic17ih6iw5oc19kh3kw3sh2sw2ph1pw1dh1dw1",
        "g1mb2ic3ih9iw10oc32kh3kw3sh1sw1ph0pw0dh1dw1",  # images of three channels
        "g1mb3ic32ih9iw7oc48kh3kw3sh1sw1ph1pw1dh1dw1",  # whole steps: by bands
        "g1mb1ic32ih9iw7oc32kh3kw3sh2sw2ph1pw0dh1dw1",
        "g1mb2ic32ih9iw8oc32kh2kw2sh3sw3ph0pw0dh1dw1",  # pixels that no output sees
        "g2mb2ic64ih6iw5oc64kh3kw3sh1sw1ph1pw1dh1dw1",
        "g2mb2ic34ih6iw5oc34kh3kw3sh1sw1ph1pw1dh1dw1",
        "g1mb2ic32ih9iw9oc40kh3kw2sh1sw1ph2pw1dh2dw3",
        "g1mb1ic32ih5iw5oc32kh3kw3sh1sw1ph3pw3dh1dw1",  # padding as wide as the kernel
        "g1mb2ic64ih11iw13oc66kh1kw1sh1sw1ph0pw0dh1dw1",  # the last row of pixels is shorter
    )
]
DENSE = [DenseSpec(17, 33, 65), DenseSpec(70, 96, 40), DenseSpec(33, 640, 10)]
CONV_KERNELS = [
    f"conv.{name}_{end}"
    for name in ("conv2d", "conv_transpose2d")
    for end in ("forward", "backward_data", "backward_weight")
]
DENSE_KERNELS = ["dense.dense_forward", "dense.dense_backward_data", "dense.dense_backward_weight"]
CASES = [
    (kernel, spec)
    for kernels, specs in ((CONV_KERNELS, SPECS), (DENSE_KERNELS, DENSE))
    for kernel in kernels
    for spec in specs
    if bf16.is_profitable(kernel.partition(".")[2], spec)
]
cases = pytest.mark.parametrize(
    ("kernel", "spec"), CASES, ids=[f"{kernel}-{spec}" for kernel, spec in CASES]
)


class Way(NamedTuple):
    """What multiplies factors of bf16: a target, and what gives the addresses of its kernels."""

    target: Target
    address_of: Callable[..., int]


def ways():
    """Yield all that this processor has."""
    for each in _engine.instruction_sets():
        addresses = _engine.kernel_addresses(each["name"])
        more = _engine.bf16_sets() if each["name"] == "avx512" else []
        for name in (*more, "float32"):
            found = addresses | _engine.kernel_addresses(name)
            target = Target(**each, bf16=name)
            yield Way(target, lambda *key, found=found: found[key])


WAYS = list(ways())
way = pytest.mark.parametrize(
    "way", WAYS, ids=lambda each: f"{each.target.name}-{each.target.bf16}"
)
WITH_AMX_BITS = [each for each in WAYS if each.target.bf16 != "avx512_bf16"]
WITH_OTHER_SUMS = [WITH_AMX_BITS[0], *(each for each in WAYS if each not in WITH_AMX_BITS)]


def lowered_of(call, way):
    arrays = {**call.reads, **{name: np.zeros(*size) for name, size in call.outputs.items()}}
    ordered = [arrays.get(name) for name in parameters_of(call.kernel)]
    types = tuple(None if each is None else each.dtype.name for each in ordered)
    name = f"bf16.{call.kernel.partition('.')[2]}"
    return arrays, ordered, lower_kernel(name, call.spec, types, way.target)


def results_of(call, way, threads=2):
    """The results of the kernel with rounded factors, in memory that was full of NaN."""
    arrays, ordered, lowered = lowered_of(call, way)
    stream, relocations = encode(lowered.instructions, way.address_of)
    for name in call.outputs:
        if arrays[name] is not None:
            arrays[name].fill(np.nan)
    workspace = np.full(lowered.workspace_bytes + 64, 0xFF, np.uint8)
    _engine.run_call(stream, relocations, (*ordered, workspace), threads)
    return {name: arrays[name] for name in call.outputs}


def rounded(array):
    """To 8 bits, ties to even."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8).astype(array.dtype)


def with_rounded_factors(call):
    """The call with rounded arrays in place of its factors; a bias is none."""
    reads = {
        name: array if name == "b" or array is None else rounded(array)
        for name, array in call.reads.items()
    }
    return replace(call, reads=reads)


def test_most_cases_fill_tiles():
    assert len(CASES) > 50


@cases
def test_results_are_those_of_rounded_factors(kernel, spec):
    for call in calls_of(kernel, spec, np.float32):
        expected = run("reference", with_rounded_factors(call).in_float64())
        if "db" in expected:  # a sum, no product: of dy as it is
            expected["db"] = run("reference", call.in_float64())["db"]
        for way in WITH_OTHER_SUMS:
            ours = results_of(call, way)
            for name, array in expected.items():
                assert_close(ours[name], array, kernel, str(call), scale=call.scale_of(name))


@cases
def test_every_instruction_set_and_number_of_threads_gives_the_bits_of_amx(kernel, spec):
    call = calls_of(kernel, spec, np.float32)[0]
    results = [results_of(call, WITH_AMX_BITS[0], threads) for threads in (1, 2, 5)]
    results += [results_of(call, way) for way in WITH_AMX_BITS[1:]]
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(other[name].view(np.uint32), array.view(np.uint32))


EPSILON = 2.0**-7
"""From 1 to the next bf16."""
ROUNDED = {
    1 + EPSILON / 2: 1.0,  # a tie, to the even one
    1 + 3 * EPSILON / 2: 1 + 2 * EPSILON,
    1 + EPSILON / 2 + 2.0**-20: 1 + EPSILON,
    -1 - EPSILON / 2: -1.0,
    3.4e38: np.inf,  # nearer to the next power of two than to the largest number
    1e-39: 0.0,  # denormal
    -np.inf: -np.inf,
    np.nan: np.nan,
}


@way
def test_factors_are_rounded_to_the_nearest_even(way):
    spec = DenseSpec(32, 32, 32)
    call = calls_of("dense.dense_forward", spec, np.float32)[0]
    x, weights = np.zeros((32, 32), np.float32), np.eye(32, dtype=np.float32)
    values = np.array(list(ROUNDED), np.float32)
    x[np.arange(len(values)), np.arange(len(values))] = values
    call = replace(call, reads={"x": x, "w": weights, "b": None})
    y = results_of(call, way)["y"]
    np.testing.assert_array_equal(np.diag(y)[: len(values)], np.array([*ROUNDED.values()]))


@pytest.mark.parametrize("way", [WAYS[0], WAYS[-1]])
@pytest.mark.parametrize("spec", [SPECS[1], SPECS[6], SPECS[10]], ids=str)
def test_instructions_read_and_write_what_they_declare(spec, way):
    processor = Processor(way.address_of, way.target)
    rng = np.random.default_rng(0)
    for kernel in CONV_KERNELS[:3]:
        call = calls_of(kernel, spec, np.float32)[0]
        _, ordered, lowered = lowered_of(call, way)
        there = {n: a for n, a in enumerate(ordered) if a is not None}
        sizes = {n: a.nbytes for n, a in there.items()} | {-1: lowered.workspace_bytes}
        memory = GuardedMemory(sizes, there)
        for instruction in lowered.instructions:
            fault = processor.watch(instruction, memory, rng)
            assert fault is None, f"{instruction}: {fault}"


def deep_network():
    layers = (
        Conv2D(32), ReLU(), Conv2D(32), ReLU(), MaxPool2D(2), Conv2D(64, stride=2, padding=1),
        ReLU(), Flatten(), Dense(48), ReLU(), Dense(10),
    )  # fmt: skip
    return Sequential(layers, input_shape=(8, 8, 3))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_are_as_near_to_exact_ones_as_rounded_factors_allow(optimizer):
    rng = np.random.default_rng(0)
    batch = rng.random((16, 8, 8, 3)), rng.integers(0, 10, 16)
    check = fastconv.check_step(
        deep_network(), batch, Optimizer(optimizer), steps=2, backend="cython", precision="bf16",
        threads=2, verbose=False,
    )  # fmt: skip
    # Rounded factors leave the small elements undecided, of a sum of few losses all.
    assert all(row.difference <= row.tolerance for row in check.rows), str(check)
    weights = [row for row in check.rows if row.name.endswith(".weight")]
    assert len(weights) == 5
    assert min(row.compared for row in weights) > 20


def plan_of(network, batch):
    purpose = Purpose(True, True, "softmax_cross_entropy", Optimizer("sgd").spec(network))
    source = Source(64, "uint8", Preprocessing("min_max"), Augmentation())
    return build_plan(network, batch, purpose, source, 3)


def test_a_plan_in_bf16_has_all_products_that_fill_tiles():
    plan = plan_of(deep_network(), 32)
    names = [each.kernel for each in lower(plan, WAYS[0].target, "bf16").instructions]
    tiles, sums = names.count("bf16_tiles"), names.count("bf16_weight_sums")
    # Three convolutions and two dense layers; the first has no data gradient, the sub-pixel phases
    # of the strided one are four, and sums over ten classes are left to float32.
    assert (tiles, sums) == (5 + 1 + 4 + 1, 5)
    assert "pooled_data_tiles" not in names


def test_a_plan_in_float32_is_the_same_on_every_processor():
    plan, target = plan_of(deep_network(), 32), WAYS[0].target
    made = lower(plan, target).instructions
    assert made == lower(plan, replace(target, bf16="float32")).instructions
    assert not BF16_KERNELS & {each.kernel for each in made}


def parameters_behind(precision, threads, steps=20):
    recipe = load_recipe("digits")
    config = ExecutionConfig("cython", threads=threads, precision=precision)
    trainer = prepare(recipe, dataset=synthetic_dataset(recipe, 256), config=config).trainer
    trainer.train(min(steps, trainer.steps_left_in_epoch()))
    return trainer.network.parameters.copy()


def test_training_has_the_same_bits_on_any_number_of_threads():
    alone, together = parameters_behind("bf16", 1), parameters_behind("bf16", 2)
    np.testing.assert_array_equal(alone, together)
    plain = parameters_behind("float32", 2)
    assert 0 < np.linalg.norm(alone - plain) < 0.02 * np.linalg.norm(plain)


@pytest.mark.slow
def test_digits_are_learned_as_well_as_in_float32():
    found = {}
    for precision in ("float32", "bf16"):
        experiment = prepare(
            load_recipe("digits"), config=ExecutionConfig("cython", precision=precision)
        )
        trainer = experiment.trainer
        fit(trainer, steps=10 * trainer.steps_per_epoch)
        found[precision] = trainer.evaluate(experiment.dataset.test).accuracy
    assert found["float32"] > 0.95
    assert abs(found["bf16"] - found["float32"]) <= 0.01


# What is refused.


def test_other_backends_say_which_have_bf16():
    for backend in ("numpy", "numba"):
        if backend_state(backend).works:
            with pytest.raises(BackendError, match="use the backend 'cython' or 'cupy'"):
                ExecutionConfig(backend, precision="bf16")


def test_tf32_is_not_for_this_backend():
    with pytest.raises(BackendError, match=r"'tf32' but the backend is 'cython'; expected 'float"):
        ExecutionConfig("cython", precision="tf32")


def test_networks_of_float64_are_refused():
    network = Sequential((Flatten(), Dense(10)), input_shape=(8, 8, 1), dtype="float64")
    with pytest.raises(BackendError, match="precision is bf16, which is for float32"):
        fastconv.Predictor(network, backend="cython", precision="bf16")


def test_the_environment_chooses_what_multiplies(monkeypatch):
    target = Target("avx512", 64, 32, masks=True)
    monkeypatch.delenv("FASTCONV_BF16", raising=False)
    assert choose_bf16(target, ["amx", "avx512_bf16"]) == "amx"
    assert choose_bf16(Target("avx2", 32, 16), ["amx", "avx512_bf16"]) == "float32"
    monkeypatch.setenv("FASTCONV_BF16", "float32")
    assert choose_bf16(target, ["amx"]) == "float32"
    monkeypatch.setenv("FASTCONV_BF16", "amx")
    with pytest.raises(ValueError, match="FASTCONV_BF16 is 'amx'; expected one of float32, which"):
        choose_bf16(target, [])
