"""Explanations of what a backend does: the numbers of the instructions, worked out by hand."""

import pytest

import fastconv
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.selection import BackendError, backend_state, load_module
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

SPEC = "g1mb2ic3ih10iw12oc32kh3kw3sh1sw1ph1pw1dh1dw1"
COMPILED = ("cython", "numba")


@pytest.fixture
def target(request):
    """The instruction set of a compiled backend."""
    backend = request.param
    try:
        engine = load_module(backend, "engine")
    except ImportError as fault:
        pytest.skip(f"{backend}: {fault}")
    if not backend_state(backend).works:
        pytest.skip(f"{backend}: {backend_state(backend).reason}")
    return backend, engine.target()


compiled = pytest.mark.parametrize("target", COMPILED, indirect=True)


def lanes_for(outputs, lanes):
    return -(-outputs // lanes) * lanes


@compiled
def test_a_convolution_is_explained_by_the_instructions_that_run(target):
    backend, instruction_set = target
    told = fastconv.explain(SPEC, backend)
    assert (told.backend, told.instruction_set) == (backend, instruction_set.name)
    spec = ConvSpec.parse(SPEC)
    for one, (kernel, arrays) in zip(
        told.passes,
        [("conv2d_forward", 4), ("conv2d_backward_data", 3), ("conv2d_backward_weight", 4)],
        strict=True,
    ):
        lowered = lower_kernel(f"conv.{kernel}", spec, ("float32",) * arrays, instruction_set)
        assert [stage.kernel for stage in one.stages] == [
            each.kernel for each in lowered.instructions
        ]
        assert one.workspace_bytes == lowered.workspace_bytes
        assert [stage.threads for stage in one.stages] == [
            max(1, r.max_threads) for r in lowered.instructions
        ]


@compiled
def test_copies_are_counted_in_bytes(target):
    backend, instruction_set = target
    forward, data, weight = fastconv.explain(SPEC, backend, dtype="float64").passes
    # Three outputs take narrow vectors where the processor halves wide ones.
    lanes = instruction_set.fitting(3, "float64").lanes("float64")
    padded = 2 * 12 * 14 * 3 * 8
    assert forward.stages[0].kernel == weight.stages[0].kernel == "pad_images"
    assert forward.stages[0].copied_bytes == weight.stages[0].copied_bytes == padded
    # The data gradient pads dy, and packs the transposed weights: 3 outputs in whole vectors.
    packed = 3 * 3 * 32 * lanes_for(3, lanes) * 8
    assert [s.copied_bytes for s in data.stages] == [2 * 12 * 14 * 32 * 8, packed, 0]
    assert data.copied_bytes == 2 * 12 * 14 * 32 * 8 + packed
    for one in (forward, data, weight):
        assert one.workspace_bytes >= one.copied_bytes


@compiled
def test_a_group_with_few_outputs_wastes_lanes_and_it_is_said(target):
    backend, instruction_set = target
    lanes = instruction_set.fitting(4, "float32").lanes("float32")
    if lanes < 8:
        pytest.skip(f"vectors of {lanes} lanes")
    spec = ConvSpec(1, 32, 16, 16, 32, (3, 3), groups=8)
    told = fastconv.explain(spec, backend)
    for one in told.passes:
        products = [stage for stage in one.stages if stage.tile is not None]
        assert products
        assert {(stage.outputs, stage.lanes) for stage in products} == {(4, lanes)}
    assert f"outputs of a group fill 4 of {lanes} lanes" in str(told)


@compiled
def test_a_strided_data_gradient_has_a_product_for_each_phase(target):
    backend, _ = target
    spec = ConvSpec(1, 16, 16, 16, 32, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
    data = fastconv.explain(spec, backend).passes[1]
    assert [stage.kernel for stage in data.stages].count("conv_tiles") == 4


@compiled
def test_pointwise_convolutions_copy_no_image(target):
    backend, _ = target
    told = fastconv.explain(ConvSpec(4, 64, 8, 8, 64, (1, 1)), backend)
    for one in told.passes:
        assert "pad_images" not in [stage.kernel for stage in one.stages]


@pytest.mark.parametrize("backend", ["numpy", *COMPILED])
def test_operations_are_counted_once_for_each_pass(backend):
    if not backend_state(backend).works:
        pytest.skip(f"{backend}: {backend_state(backend).reason}")
    for spec, flops, names in (
        (SPEC, 2 * 2 * 10 * 12 * 32 * 27, ["forward", "data gradient", "weight gradient"]),
        (DenseSpec(5, 7, 3), 2 * 5 * 7 * 3, ["forward", "data gradient", "weight gradient"]),
        (
            "mb1ic8ih28iw28kh2kw2sh2sw2ph0pw0cm0ip1", 14 * 14 * 8 * 4,
            ["max, forward", "max, gradient", "average, forward", "average, gradient"],
        ),
    ):  # fmt: skip
        told = fastconv.explain(spec, backend)
        assert [one.name for one in told.passes] == names
        assert {one.flops for one in told.passes} == {flops}
        for one in told.passes:
            assert f"{one.name}: {flops / 1e6:,.3f} MFLOP" in str(told)
            assert one.stages


@pytest.mark.parametrize(
    ("spec", "number", "words"),
    [
        (SPEC, 0, "im2col in chunks of about 4 MiB, one BLAS product each"),
        (SPEC, 1, "one BLAS product for each tap, added to its pixels"),
        (SPEC, 2, "im2col in chunks of about 4 MiB, one BLAS product each, added up"),
        (ConvSpec(1, 8, 4, 4, 8, (3, 3), groups=4), 0, "4 BLAS products, by group, each"),
        (ConvSpec(1, 8, 4, 4, 8, (1, 1)), 0, "the input as it lies"),
        (ConvSpec(1, 8, 4, 4, 8, (1, 1)), 1, "one BLAS product"),
        (DenseSpec(1, 8, 4), 2, "one outer product"),
        (DenseSpec(2, 8, 4), 2, "one BLAS product"),
        (PoolSpec(1, 8, 4, 4, (2, 2), (2, 2)), 0, "NumPy loops, one for each cell of the window"),
    ],
    ids=str,
)
def test_numpy_says_im2col_and_blas(spec, number, words):
    told = fastconv.explain(spec, "numpy")
    assert told.instruction_set is None
    (stage,) = told.passes[number].stages
    assert words in stage.kernel
    assert stage.threads is None


def test_numpy_gives_the_workspace_that_its_kernels_ask_for():
    module = load_module("numpy", "conv")
    told = fastconv.explain(SPEC, "numpy")
    wanted = module.workspace_bytes("conv2d_forward", ConvSpec.parse(SPEC), "float32")
    # Two images: patches of 27 values for each of 10 x 12 pixels, and the padded images.
    assert told.passes[0].workspace_bytes == wanted >= 4 * 2 * (10 * 12 * 27 + 12 * 14 * 3)


def test_an_explanation_begins_with_the_spec_and_the_backend():
    lines = str(fastconv.explain(DenseSpec(2, 3, 4), "numpy", dtype="float64")).splitlines()
    assert lines[0] == "batch=2 inputs=3 outputs=4"
    assert lines[1] == "backend numpy, float64"
    assert lines[2].startswith("forward: 0.000 MFLOP, workspace 0 bytes")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("g1mb1",), "ConvSpec.parse: 'g1mb1' is not a convolution"),
        (("conv",), "PoolSpec.parse: 'conv' is not a pooling"),
        (
            (3,),
            "explain: spec is of type int; expected a ConvSpec, a PoolSpec, a DenseSpec or a line",
        ),
        ((SPEC, "numby"), "did you mean 'numpy'"),
    ],
)
def test_what_cannot_be_explained_is_named(arguments, told):
    with pytest.raises((ValueError, BackendError), match=told):
        fastconv.explain(*arguments)


def test_a_wrong_dtype_is_named():
    with pytest.raises(ValueError, match="dtype is 'float16'; expected 'float32' or 'float64'"):
        fastconv.explain(SPEC, "numpy", dtype="float16")


@compiled
def test_few_channels_of_many_samples_are_said_to_be_batch_blocked(target):
    backend, instruction_set = target
    if instruction_set.lanes("float32") == 1:
        pytest.skip(f"{instruction_set.name} has no lanes")
    text = str(fastconv.explain("g1mb32ic1ih28iw28oc6kh5kw5sh1sw1ph0pw0dh1dw1", backend))
    assert "batch_blocked_tiles" in text
    assert "samples fill the lanes" in text
