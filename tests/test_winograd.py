"""Convolutions with fewer products beside the reference in float64."""

import importlib

import numpy as np
import pytest
from tolerances import assert_close

from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.backends.compiled.rules import winograd, winograd_gradient
from fastconv.backends.reference import conv as reference
from fastconv.backends.selection import backend_state
from fastconv.layers import Conv2D, Dense, Flatten, ReLU
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing
from fastconv.spec import ConvSpec

ENGINES = [name for name in ("cython", "numba") if backend_state(name).works]
FORWARD, DATA = "winograd.conv2d_forward", "winograd.conv2d_backward_data"
WEIGHT = "winograd_gradient.conv2d_backward_weight"
EDGE = ((1, 1), (1, 1))
SPECS = {
    "one sample": ConvSpec(1, 32, 14, 14, 64, (3, 3)),
    "tiles of several samples together, the last ones fewer": ConvSpec(
        7, 32, 8, 12, 32, (3, 3), padding=EDGE
    ),
    "samples that parts do not divide": ConvSpec(6, 64, 6, 6, 32, (3, 3), padding=EDGE),
    "rows and columns of unequal padding": ConvSpec(
        2, 32, 9, 11, 96, (3, 3), padding=((2, 1), (0, 1))
    ),
    "many channels": ConvSpec(2, 128, 10, 8, 64, (3, 3)),
    "sums in blocks of inputs and outputs": ConvSpec(5, 96, 6, 8, 192, (3, 3), padding=EDGE),
    "more padding than the kernel has": ConvSpec(1, 32, 8, 8, 32, (3, 3), padding=((3, 3), (3, 3))),
    "4x4 outputs of a tile, of which some are beyond the image": ConvSpec(
        4, 32, 15, 18, 32, (3, 3), padding=EDGE
    ),
    "weight gradients in tiles of 4x4 outputs, whose sums are in blocks": ConvSpec(
        9, 96, 16, 18, 96, (3, 3), padding=EDGE
    ),
    "2x2 outputs of a tile, of which some are beyond the image": ConvSpec(1, 32, 9, 9, 64, (3, 3)),
}


def engine_of(name):
    return importlib.import_module(f"fastconv.backends.{name}.engine")


def arrays_of(spec, dtype):
    draw = np.random.default_rng(3)
    shapes = {"x": spec.x_shape, "w": spec.w_shape, "b": (spec.out_channels,), "y": spec.y_shape}
    return {name: draw.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def execute(backend, kernel, spec, arrays, results):
    """Run a kernel on an engine, with room of its own; dtypes are those of the arrays."""
    engine = engine_of(backend)
    size = engine.workspace_bytes(kernel, spec, results[0].dtype)
    engine.execute(kernel, spec, *arrays, *results, np.empty(size, np.uint8))
    return results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("backend", ENGINES)
def test_results_are_those_of_the_reference(backend, name, dtype):
    spec = SPECS[name]
    arrays = arrays_of(spec, dtype)
    x, w, b, dy = (arrays[key] for key in "xwby")
    exact = [array.astype(np.float64) for array in (x, w, b, dy)]

    (y,) = execute(backend, FORWARD, spec, (x, w, b), (np.empty_like(dy),))
    expected = np.empty(spec.y_shape)
    reference.conv2d_forward(spec, exact[0], exact[1], exact[2], expected, None)
    assert_close(y, expected, FORWARD)

    (dx,) = execute(backend, DATA, spec, (dy, w), (np.empty_like(x),))
    expected = np.empty(spec.x_shape)
    reference.conv2d_backward_data(spec, exact[3], exact[1], expected, None)
    assert_close(dx, expected, DATA)

    dw, db = execute(backend, WEIGHT, spec, (dy, x), (np.empty_like(w), np.empty_like(b)))
    expected = np.empty(spec.w_shape), np.empty(spec.out_channels)
    reference.conv2d_backward_weight(spec, exact[3], exact[0], *expected, None)  # type: ignore[call-arg]
    assert_close(dw, expected[0], WEIGHT)
    assert_close(db, expected[1], WEIGHT)


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("backend", ENGINES)
def test_the_number_of_threads_changes_no_bit(backend, name, threads, monkeypatch):
    spec = SPECS[name]
    x, w, b, dy = (arrays_of(spec, "float32")[key] for key in "xwby")
    results = []
    for count in (1, threads):
        monkeypatch.setenv("FASTCONV_THREADS", str(count))
        results.append(execute(backend, FORWARD, spec, (x, w, b), (np.empty_like(dy),)))
        gradients = np.empty_like(w), np.empty_like(b)
        results[-1] += execute(backend, WEIGHT, spec, (dy, x), gradients)
    for alone, together in zip(*results, strict=True):
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("backend", ENGINES)
def test_a_weight_gradient_without_a_bias(backend):
    spec = SPECS["one sample"]
    x, w, b, dy = (arrays_of(spec, "float32")[key] for key in "xwby")
    with_bias, _ = execute(backend, WEIGHT, spec, (dy, x), (np.empty_like(w), np.empty_like(b)))
    engine = engine_of(backend)
    room = np.empty(engine.workspace_bytes(WEIGHT, spec, w.dtype), np.uint8)
    without = np.empty_like(w)
    engine.execute(WEIGHT, spec, dy, x, without, None, room)
    np.testing.assert_array_equal(without, with_bias)


AVX2 = Target("avx2", 32, 16)


@pytest.mark.parametrize(
    ("spec", "forward", "weight"),
    [
        (ConvSpec(1, 32, 14, 14, 64, (3, 3)), True, True),
        (ConvSpec(1, 32, 14, 14, 64, (3, 3), stride=(2, 2)), False, False),
        (ConvSpec(1, 32, 16, 16, 64, (3, 3), dilation=(2, 2)), False, False),
        (ConvSpec(1, 32, 14, 14, 64, (3, 3), groups=2), False, False),
        (ConvSpec(1, 32, 15, 14, 64, (3, 3)), True, True),
        # Of the outputs of a tile, three of four would be outside of the image.
        (ConvSpec(16, 32, 3, 3, 64, (3, 3)), False, False),
        (ConvSpec(1, 32, 14, 14, 64, (1, 3)), False, False),
        (ConvSpec(1, 36, 14, 14, 64, (3, 3)), False, False),
        (ConvSpec(1, 32, 14, 14, 60, (3, 3)), False, False),
        # 4 tiles of 2x2 outputs are enough for a group of them, and too few for a long sum.
        (ConvSpec(1, 32, 6, 6, 64, (3, 3)), True, False),
        (ConvSpec(4, 32, 6, 6, 64, (3, 3)), True, True),
        # 16 sums for each weight do not fit in L2: they are made in blocks, for 256 tiles or more.
        (ConvSpec(4, 128, 14, 14, 256, (3, 3)), True, False),
        (ConvSpec(8, 128, 14, 14, 256, (3, 3)), True, True),
        # 1040 outputs are too many, and half of them no whole number of pairs of vectors.
        (ConvSpec(8, 256, 14, 14, 1040, (3, 3)), True, False),
    ],
)
def test_where_fewer_products_are_profitable(spec, forward, weight):
    assert winograd.is_profitable(spec, AVX2, "float32") is forward
    assert winograd_gradient.is_profitable(spec, AVX2, "float32") is weight
    assert not winograd.is_profitable(spec, Target("plain", 0, 0), "float32")
    assert not winograd_gradient.is_profitable(spec, Target("plain", 0, 0), "float32")


def test_groups_of_an_image_are_of_nearly_the_same_size():
    # 4 times 16 tiles, at most 6 in registers: 11 groups of 5 or 6, in 2 blocks of 16 outputs.
    spec = ConvSpec(4, 32, 16, 16, 32, (3, 3))
    (instruction,) = (
        r
        for r in lower_kernel(FORWARD, spec, ("float32",) * 4, AVX2).instructions
        if r.kernel == Kernel.WINOGRAD_TILES
    )
    assert instruction.integers.together == 6
    assert instruction.max_threads == 11 * 2


@pytest.mark.parametrize(
    ("spec", "side", "backwards"),
    [
        (ConvSpec(4, 32, 18, 18, 32, (3, 3)), 4, 4),
        # 60 tiles are too few, 64 are not.
        (ConvSpec(15, 32, 8, 8, 32, (3, 3), padding=EDGE), 2, 2),
        (ConvSpec(16, 32, 8, 8, 32, (3, 3), padding=EDGE), 4, 4),
        # Sums of more than 128 channels would lose more digits.
        (ConvSpec(4, 144, 18, 18, 32, (3, 3)), 2, 4),
        (ConvSpec(4, 32, 18, 18, 144, (3, 3)), 4, 2),
        # 10x10 outputs are 9 tiles and 324 products, or 25 and 400.
        (ConvSpec(8, 32, 12, 12, 32, (3, 3)), 2, 4),
    ],
)
def test_the_tiles_with_the_fewer_products_are_chosen(spec, side, backwards):
    chosen = [
        instruction.integers.side
        for kernel in (FORWARD, DATA)
        for instruction in lower_kernel(kernel, spec, ("float32",) * 4, AVX2).instructions
        if instruction.kernel == Kernel.WINOGRAD_TILES
    ]
    assert chosen == [side, backwards]


@pytest.mark.parametrize(
    ("spec", "side", "block"),
    [
        (ConvSpec(4, 32, 18, 18, 32, (3, 3)), 4, (32, 32)),
        # 60 tiles are too few, 64 are not.
        (ConvSpec(15, 32, 8, 8, 32, (3, 3), padding=EDGE), 2, (32, 32)),
        (ConvSpec(16, 32, 8, 8, 32, (3, 3), padding=EDGE), 4, (32, 32)),
        # 36 sums for each weight are 1.3 MiB; in blocks, for 256 tiles or more.
        (ConvSpec(16, 96, 16, 16, 96, (3, 3), padding=EDGE), 4, (48, 48)),
        (ConvSpec(15, 96, 16, 16, 96, (3, 3), padding=EDGE), 2, (48, 96)),
        # 10x10 outputs are 9 tiles and 324 products, or 25 and 400.
        (ConvSpec(8, 32, 12, 12, 32, (3, 3)), 2, (32, 32)),
    ],
)
def test_the_tiles_of_a_weight_gradient(spec, side, block):
    sums = [
        instruction.integers
        for instruction in lower_kernel(WEIGHT, spec, ("float32",) * 4, AVX2).instructions
        if instruction.kernel == Kernel.WINOGRAD_WEIGHT_SUMS
    ]
    assert {(each.side, each.inputs, each.outputs) for each in sums} == {(side, *block)}
    assert len(sums) == spec.in_channels * spec.out_channels // (block[0] * block[1])


def kernels_of(optimizer):
    """Native kernels of a step of a network whose second convolution could do with less."""
    network = Sequential(
        (Conv2D(32), ReLU(), Conv2D(32), ReLU(), Flatten(), Dense(4)), (12, 12, 3), seed=0
    )
    rule = Optimizer(optimizer).spec(network)
    plan = build_plan(
        network, 4, Purpose(True, True, "softmax_cross_entropy", rule),
        Source(8, "uint8", Preprocessing("min_max")), seed=0,
    )  # fmt: skip
    return [instruction.kernel for instruction in lower(plan, AVX2).instructions]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_plans_make_weight_gradients_of_fewer_products(optimizer):
    kernels = kernels_of(optimizer)
    assert kernels.count("winograd_weight_sums") == 1
    assert kernels.count("winograd_weight_gradient") == 1


def test_adam_divides_gradients_and_gets_direct_sums():
    kernels = kernels_of("adam")
    assert "winograd_tiles" in kernels
    assert "winograd_weight_sums" not in kernels


# Public convolutions of NCHW images: the sums are checked, and made again where one is not finite.

PUBLIC = {
    "as one instruction": ConvSpec(2, 32, 10, 12, 32, (3, 3), padding=EDGE),
    "transforms and products apart": ConvSpec(1, 144, 13, 15, 32, (3, 3), padding=EDGE),
    "the same for 4x4 outputs, whose sums have three parts or one": ConvSpec(
        2, 272, 17, 19, 96, (3, 3), padding=EDGE
    ),
}


def expected_of(spec, x, w, b, dy):
    """The direct sums of the reference, in NCHW."""
    nhwc = [each.astype(np.float64).transpose(0, 2, 3, 1) for each in (x, dy)]
    hwio = w.astype(np.float64).transpose(2, 3, 1, 0)
    y, dx = np.empty(spec.y_shape), np.empty(spec.x_shape)
    with np.errstate(invalid="ignore"):
        reference.conv2d_forward(spec, nhwc[0], hwio, b.astype(np.float64), y, None)
        reference.conv2d_backward_data(spec, nhwc[1], hwio, dx, None)
    return y.transpose(0, 3, 1, 2), dx.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("place", [None, (0, 0, 0, 0), (-1, 5, 4, 7), (-1, -1, -1, -1)])
@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("backend", ENGINES)
def test_an_infinity_reaches_no_output_beside_those_of_the_formula(backend, name, place):
    spec = PUBLIC[name]
    draw = np.random.default_rng(4)
    x = draw.standard_normal((spec.batch, spec.in_channels, spec.height, spec.width))
    dy = draw.standard_normal((spec.batch, spec.out_channels, spec.out_height, spec.out_width))
    w = draw.standard_normal((spec.out_channels, spec.in_channels, 3, 3))
    b = draw.standard_normal(spec.out_channels)
    x, dy, w, b = (each.astype(np.float32) for each in (x, dy, w, b))
    if place is not None:
        x[place], dy[place] = np.inf, np.nan
    y, dx = np.empty_like(dy), np.empty_like(x)
    execute(backend, "nchw.conv2d_forward", spec, (x, w, b), (y,))
    room = np.empty(
        engine_of(backend).workspace_bytes("nchw.conv2d_backward", spec, x.dtype), np.uint8
    )
    engine_of(backend).execute("nchw.conv2d_backward", spec, dy, x, w, dx, None, None, room)
    expected_y, expected_dx = expected_of(spec, x, w, b, dy)
    assert np.isfinite(expected_y).any()  # most of them, whatever the place
    assert_close(y, expected_y, "nchw.conv2d_forward")
    assert_close(dx, expected_dx, "nchw.conv2d_backward")


def test_direct_sums_wait_for_an_output_that_is_not_finite():
    for spec in PUBLIC.values():
        types = ("float32",) * 4
        instructions = lower_kernel("nchw.conv2d_forward", spec, types, AVX2).instructions
        kernels = [each.kernel for each in instructions]
        found = instructions[kernels.index(Kernel.FIND_NOT_FINITE)]
        waiting = [each.kernel for each in instructions if each.condition is not None]
        assert waiting == [Kernel.PAD_IMAGES, Kernel.PACK_WEIGHTS, Kernel.CONV_TILES]
        assert {each.condition for each in instructions} == {None, found.pointers.found}


@pytest.mark.parametrize(
    ("spec", "forward", "backward"),
    [
        (ConvSpec(1, 64, 56, 56, 64, (3, 3), padding=EDGE), True, True),
        (ConvSpec(1, 64, 13, 13, 64, (3, 3), padding=EDGE), True, True),
        # The weights would be transformed for 16 tiles.
        (ConvSpec(1, 512, 7, 7, 512, (3, 3), padding=EDGE), False, False),
        (ConvSpec(16, 512, 7, 7, 512, (3, 3), padding=EDGE), True, True),
        (ConvSpec(1, 8, 56, 56, 64, (3, 3), padding=EDGE), False, True),
        (ConvSpec(1, 64, 56, 56, 64, (3, 3), (2, 2), EDGE), False, False),
        (ConvSpec(1, 64, 56, 56, 60, (3, 3), padding=EDGE), False, False),
    ],
)
def test_where_weights_are_transformed_for_one_call(spec, forward, backward):
    assert winograd.is_profitable_once(spec, AVX2, "float32") is forward
    assert winograd.is_profitable_once(spec, AVX2, "float32", backwards=True) is backward
