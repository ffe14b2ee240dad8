"""Specs without a geometry: their derived values, and that every error names its argument."""

import math
import re

import pytest

from fastconv.plans.activations import SELU_ALPHA, SELU_SCALE
from fastconv.plans.operation import (
    ActivationSpec,
    AugmentSpec,
    DropoutSpec,
    InputSpec,
    LossSpec,
    NormSpec,
    OptimizerSpec,
    RandomSpec,
    SoftmaxSpec,
)
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

RANDOM = RandomSpec(0, 0)
IMAGES = InputSpec(2, 4, 6, 1)


def test_selu_constants_keep_zero_mean_and_unit_variance():
    # Klambauer et al.: for a standard normal x, selu(x) has mean 0 and variance 1.
    points = [k / 1000 for k in range(-12_000, 12_001)]
    weights = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) / 1000 for x in points]
    values = [SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x)) for x in points]
    mean = sum(w * y for w, y in zip(weights, values, strict=True))
    variance = sum(w * y * y for w, y in zip(weights, values, strict=True))
    assert abs(mean) < 1e-6
    assert abs(variance - 1) < 1e-6


def test_dropout_threshold_and_scale():
    spec = DropoutSpec(10, 0.75, RANDOM)
    assert (spec.threshold, spec.scale) == (0.75 * 2**24, 4)
    assert (DropoutSpec(10, 0.0, RANDOM).threshold, DropoutSpec(10, 0.0, RANDOM).scale) == (0, 1)


def test_augmentation_tells_which_of_its_parts_are_on():
    def parts(**options):
        spec = AugmentSpec(IMAGES, RANDOM, **options)
        return spec.moves_pixels, spec.warps

    assert parts() == parts(cutout=3) == (False, False)
    assert parts(flip=True) == parts(crop=1) == (True, False)
    assert parts(rotation=1) == parts(shear=1) == parts(translation=0.1) == (False, True)


def test_affine_map_by_hand():
    # Middle draws change nothing.
    spec = AugmentSpec(IMAGES, RANDOM, rotation=180, shear=45, translation=0.5)
    assert spec.affine((0.5, 0.5, 0.5, 0.5)) == pytest.approx((0, 1, 0, 0, 0, 1))
    # Down by 0.5 * 0.5 * 4 = 1 pixel, right by 1.5: it samples as much above and to the left.
    assert spec.affine((0.5, 0.5, 0.75, 0.75)) == pytest.approx((-1, 1, 0, -1.5, 0, 1))
    # A quarter turn about (1.5, 2.5): row = 1.5 + (j - 2.5), column = 2.5 - (i - 1.5).
    assert spec.affine((0.75, 0.5, 0.5, 0.5)) == pytest.approx((-1, 0, 1, 4, -1, 0))
    # A shear of 45 degrees: column = 2.5 + (j - 2.5) - (i - 1.5).
    assert spec.affine((0.5, 1.0, 0.5, 0.5)) == pytest.approx((0, 1, 0, 1.5, -1, 1))


CONV = {"batch": 1, "in_channels": 4, "height": 5, "width": 5, "out_channels": 6, "kernel": (3, 3)}
POOL = {"batch": 1, "channels": 4, "height": 5, "width": 5, "kernel": (2, 2), "stride": (2, 2)}
UPDATE = {"kind": "adam", "size": 10, "weights": 8, "decayed": 8}
AUGMENT = {"input": IMAGES, "random": RANDOM}
GOOD = [
    (ConvSpec, CONV),
    (PoolSpec, POOL),
    (DenseSpec, {"batch": 1, "inputs": 2, "outputs": 3}),
    (NormSpec, {"rows": 4, "channels": 2}),
    (ActivationSpec, {"kind": "elu", "size": 3, "alpha": 1.0}),
    (SoftmaxSpec, {"rows": 2, "classes": 3}),
    (RandomSpec, {"seed": 2**64 - 1, "stream": 2**32 - 1}),
    (DropoutSpec, {"size": 3, "probability": 0.5, "random": RANDOM}),
    (LossSpec, {"batch": 2, "outputs": 3}),
    (OptimizerSpec, UPDATE),
    (InputSpec, {"batch": 2, "height": 4, "width": 6, "channels": 1}),
    (AugmentSpec, AUGMENT),
]
BAD = {
    ConvSpec: {
        "batch": [-1, 1.0, True],
        "in_channels": [0, "3"],
        "height": [0, None],
        "width": [0],
        "out_channels": [0],
        "kernel": [(0, 3), (3, 3, 3), (2.0, 2)],
        "stride": [(0, 1), "x"],
        "padding": [((-1, 0), (0, 0))],
        "dilation": [(1, 0)],
        "groups": [0, 3],
    },
    PoolSpec: {
        "batch": [-1],
        "channels": [0],
        "height": [0],
        "width": [0],
        "kernel": [(0, 2), (9, 2)],
        "stride": [(2, 0)],
        "padding": [((2, 0), (0, 0)), ((0, 0), (0, 2)), ((0, 0), (-1, 0))],
    },
    DenseSpec: {"batch": [-1], "inputs": [0], "outputs": [0]},
    NormSpec: {
        "rows": [-1],
        "channels": [0],
        "epsilon": [0.0, -1e-5, math.nan],
        "momentum": [-0.1, 1.1, math.nan],
    },
    ActivationSpec: {"kind": ["glu"], "size": [-1], "alpha": [-0.1, math.nan]},
    SoftmaxSpec: {"rows": [-1], "classes": [0]},
    RandomSpec: {"seed": [-1, 2**64], "stream": [-1, 2**32]},
    DropoutSpec: {"size": [-1], "probability": [-0.1, 1.0, math.nan]},
    LossSpec: {"batch": [-1], "outputs": [0]},
    OptimizerSpec: {
        "kind": ["adamw"],
        "size": [-1],
        "weights": [-1, 11],
        "decayed": [-1, 11],
        "l2": [-1.0, math.nan],
        "coupled_decay": [-1.0],
        "decoupled_decay": [-1.0],
        "momentum": [-0.1, 1.0],
        "beta1": [1.0],
        "beta2": [1.0],
        "epsilon": [0.0],
    },
    InputSpec: {"batch": [-1], "height": [0], "width": [0], "channels": [0]},
    AugmentSpec: {
        "crop": [-1, 1.5, 2**64],
        "cutout": [-1],
        "rotation": [-1.0, 181.0],
        "shear": [90.0],
        "translation": [1.5],
    },
}


@pytest.mark.parametrize(("cls", "arguments"), GOOD)
def test_the_arguments_that_the_bad_ones_replace_are_good(cls, arguments):
    assert cls(**arguments) == cls(**arguments)
    assert hash(cls(**arguments)) == hash(cls(**arguments))


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (cls, name, value)
        for cls, bad in BAD.items()
        for name, each in bad.items()  # type: ignore[attr-defined]
        for value in each
    ],
)
def test_an_error_names_the_spec_the_argument_and_what_was_expected(cls, name, value):
    arguments = dict(GOOD)[cls] | {name: value}
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: .*\b{name}\b") as caught:
        cls(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert re.search("expected|use a smaller", message)


def test_a_kernel_that_does_not_fit_is_told_the_sizes():
    with pytest.raises(
        ValueError, match=r"kernel spans 7 in width but .* only 6 \(5 \+ padding 1 \+ 0\)"
    ):
        ConvSpec(**CONV | {"kernel": (1, 4), "dilation": (1, 2), "padding": ((0, 0), (1, 0))})


def test_transposed_convolution_names_the_argument_that_is_too_large():
    with pytest.raises(ValueError, match=r"^ConvSpec: output_padding is 2 in width"):
        ConvSpec.of_transposed(1, 1, 3, 3, 1, (3, 3), (2, 2), output_padding=(0, 2))
    with pytest.raises(ValueError, match=r"^ConvSpec: padding is \(2, 1\) in height"):
        ConvSpec.of_transposed(1, 1, 1, 3, 1, (3, 3), padding=((2, 1), (0, 0)))
