"""Specs of every family of kernels, drawn by anything that can choose (``random_networks.py``)."""

import cases

from fastconv.plans.augmentation import FLIPS, CropSpec, MixSpec
from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec
from fastconv.plans.jitter import JitterSpec
from fastconv.plans.lookahead import LookaheadSpec
from fastconv.plans.loss_operation import (
    ELEMENTWISE_LOSS_KINDS,
    ElementwiseLossSpec,
    LabelWeightSpec,
    SoftCrossEntropySpec,
)
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec
from fastconv.plans.norm_operation import GroupNormSpec
from fastconv.plans.operation import (
    ACTIVATION_KINDS,
    ActivationSpec,
    AugmentSpec,
    DropoutSpec,
    InputSpec,
    LossSpec,
    NormSpec,
    OptimizerSpec,
    PReLUSpec,
    RandomSpec,
    SoftmaxSpec,
)
from fastconv.plans.resample_operation import ChannelDropoutSpec, ResampleSpec
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

_COUNTS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 64, 65, 70, 128, 130)
"""Of channels: around the lanes of vectors."""
_MOST_PRODUCTS = 60_000
"""Of a convolution for one sample, which the oracle makes tap by tap."""
_MOST_PAIRS = 3000
"""Of an output pixel and a tap: a call of NumPy's each."""


def _pair(choose, least, most):
    first = choose.integer(least, most)
    return (first, first if choose.integer(0, 2) else choose.integer(least, most))


def _sides(choose, most):
    if choose.integer(0, 2) == 0:
        return ((0, 0), (0, 0))
    if choose.integer(0, 1):
        both = choose.integer(0, most)
        return ((both, both), (both, both))
    return tuple((choose.integer(0, most), choose.integer(0, most)) for _ in range(2))


def _size(choose, kernel, dilation, sides, most):
    return max(1, (kernel - 1) * dilation + 1 - sum(sides)) + choose.integer(0, most)


def draw_convolution(choose):
    """A convolution of any geometry."""
    while True:
        groups = choose.one_of((1, 1, 1, 1, 2, 3, 4, 8, 17))
        kernel = _pair(choose, 1, choose.one_of((1, 2, 3, 3, 5, 7)))
        dilation = _pair(choose, 1, choose.one_of((1, 1, 1, 2, 3)))
        padding = _sides(choose, choose.one_of((1, 2, 3, 6)))
        if groups > 1 and choose.integer(0, 1):
            channels, outputs = groups, groups * choose.integer(1, 2)  # depthwise
        else:
            channels, outputs = (groups * max(1, choose.one_of(_COUNTS) // groups) for _ in "io")
        most = choose.one_of((1, 3, 8, 20, 40))
        height, width = (
            _size(choose, k, d, p, most) for k, d, p in zip(kernel, dilation, padding, strict=True)
        )
        batch = choose.one_of((1, 1, 2, 3, 16, 0, 32, 5))
        spec = ConvSpec(
            batch, channels, height, width, outputs, kernel, _pair(choose, 1, 4), padding,
            dilation, groups,
        )  # fmt: skip
        pairs = spec.out_height * spec.out_width * kernel[0] * kernel[1]
        products = pairs * channels * outputs // groups
        if pairs * groups <= _MOST_PAIRS and products * max(1, batch) <= 16 * _MOST_PRODUCTS:
            return spec


def draw_pool(choose):
    """A pooling of any geometry."""
    kernel = _pair(choose, 1, choose.one_of((2, 3, 5)))
    padding = tuple((choose.integer(0, k - 1), choose.integer(0, k - 1)) for k in kernel)
    most = choose.one_of((1, 4, 9))
    height, width = (
        _size(choose, k, 1, p, most) for k, p in zip(kernel, padding, strict=True)
    )  # fmt: skip
    return PoolSpec(
        choose.integer(0, 3), choose.one_of(_COUNTS), height, width, kernel, _pair(choose, 1, 4),
        padding, choose.one_of((False, True)), choose.one_of((False, True)),
    )  # fmt: skip


def _dense(choose):
    return DenseSpec(choose.integer(0, 20), choose.one_of(_COUNTS), choose.one_of(_COUNTS))


def _images(choose):
    sides = choose.integer(1, 9), choose.integer(1, 9)
    return InputSpec(choose.integer(0, 4), *sides, choose.one_of(_COUNTS[:12]))


def _random(choose):
    return RandomSpec(choose.integer(0, 2**40), choose.integer(0, 9))


def _augment(choose):
    images = InputSpec(choose.integer(0, 5), choose.integer(4, 9), choose.integer(4, 9), 3)
    return AugmentSpec(
        images, _random(choose), choose.one_of((False, True)), choose.integer(0, 3),
        choose.one_of((0.0, 15.0, 180.0)), choose.one_of((0.0, 20.0)),
        choose.one_of((0.0, 0.2)), choose.integer(0, 4),
    )  # fmt: skip


def _crop(choose):
    images = _images(choose)
    most = min(images.height, images.width) - 1
    return CropSpec(
        images, _random(choose), choose.one_of(FLIPS), choose.integer(0, most),
        steps_per_epoch=choose.integer(1, 9),
    )  # fmt: skip


def _mix(choose):
    return MixSpec(_images(choose), _random(choose), mixup=choose.one_of((0.2, 0.5, 1.0, 2.0)))


def _lookahead(choose):
    size = choose.one_of((0, 1, 7, 33, 1030))
    return LookaheadSpec(size, choose.integer(1, 9), choose.one_of((0.25, 0.5, 1.0)))


def _jitter(choose):
    shares = (0.0, 0.25, 0.5, 1.0)
    images = InputSpec(choose.integer(0, 5), choose.integer(1, 9), choose.integer(1, 9), 3)
    names = ("brightness", "contrast", "saturation", "erase")
    options = {name: choose.one_of(shares) for name in names}
    return JitterSpec(images, _random(choose), **options, erase_area=choose.one_of((0.1, 0.9)))


def _norm(choose):
    return NormSpec(
        choose.one_of((0, 1, 2, 5, 40, 300)), choose.one_of(_COUNTS),
        choose.one_of((1e-5, 1e-3, 1.0)), choose.one_of((0.1, 0.5, 1.0)),
    )  # fmt: skip


def _group_norm(choose):
    groups = choose.one_of((1, 1, 2, 3, 8))
    channels = groups * choose.one_of((1, 2, 3, 5, 16, 17))
    return GroupNormSpec(
        choose.integer(0, 4), choose.one_of((1, 2, 9, 50)), channels, groups,
        choose.one_of((1e-5, 1e-2)),
    )  # fmt: skip


def _activation(choose):
    alpha = choose.one_of((0.1, 0.5, 1.0))
    kind = choose.one_of(ACTIVATION_KINDS)
    return ActivationSpec(
        kind, choose.integer(0, 200), alpha if kind in ("leaky_relu", "elu") else 0.0
    )


def _prelu(choose):
    channels = choose.one_of(_COUNTS)
    return PReLUSpec(choose.integer(0, 300), channels, choose.one_of((1, channels)))


def _resample(choose):
    kind = choose.one_of(("zeros", "reflect", "nearest", "bilinear"))
    batch, height, width = choose.integer(0, 2), choose.integer(1, 7), choose.integer(1, 7)
    channels = choose.one_of(_COUNTS[:12])
    if kind in ("nearest", "bilinear"):
        corners = kind == "bilinear" and choose.one_of((False, True))
        out = choose.integer(1, 14), choose.integer(1, 14)
        return ResampleSpec(kind, batch, height, width, channels, *out, align_corners=corners)
    (top, bottom), (left, right) = (
        (choose.integer(0, n - 1), choose.integer(0, n - 1)) for n in (height, width)
    )
    if kind == "zeros" and choose.integer(0, 1) and min(height, width) > 2:
        return ResampleSpec(kind, batch, height, width, channels, height - 1, width - 2, -1, -2)
    sizes = height + top + bottom, width + left + right
    return ResampleSpec(kind, batch, height, width, channels, *sizes, top, left)


def _optimizer(choose):
    given = choose.one_of([s for s in cases.OPTIMIZERS if s.size])
    size = choose.one_of((1, 7, 16, 33, 200, 1030))
    weights = choose.integer(0, size)
    return OptimizerSpec(
        **{
            **{name: getattr(given, name) for name in given.__dataclass_fields__},
            "size": size, "weights": weights, "decayed": choose.integer(0, size),
        }
    )  # fmt: skip


def _loss(choose):
    return LossSpec(choose.integer(0, 20), choose.one_of(_COUNTS[:14]))


FAMILIES = (
    (6, draw_convolution, "conv."),
    (6, draw_convolution, "nchw."),
    (3, draw_pool, "pool.max pool.avg"),
    (2, _dense, "dense."),
    (1, _images, "pool.global input.gather input.scale input.standardize input.min"),
    (1, _images, "layout."),
    (1, _augment, "input.augment"),
    (1, _jitter, "input.jitter"),
    (1, _crop, "augment.crop"),
    (1, _mix, "augment.mix_images"),
    (1, lambda c: InputSpec(c.integer(0, 9), 1, 1, c.one_of(_COUNTS[:14])), "augment.mix_rows"),
    (1, _lookahead, "optim.lookahead"),
    (2, _norm, "norm."),
    (2, _group_norm, "group_norm."),
    (2, _activation, "activation.activation"),
    (1, _prelu, "prelu."),
    (1, lambda c: SoftmaxSpec(c.integer(0, 9), c.one_of(_COUNTS)), "activation.softmax "
     "activation.log"),
    (1, lambda c: DropoutSpec(c.integer(0, 300), c.one_of((0.0, 0.3, 0.5, 0.99)), _random(c)),
     "dropout.dropout"),
    (1, lambda c: ChannelDropoutSpec(c.integer(0, 3), c.integer(1, 20), c.one_of(_COUNTS), 0.5),
     "dropout.drop_channels"),
    (2, _resample, "resample."),
    (1, lambda c: BroadcastSpec(c.integer(0, 3), c.integer(1, 30), c.one_of(_COUNTS),
                                c.one_of((False, True))), "merge.add merge.multiply"),
    (1, lambda c: ConcatenateSpec(c.integer(0, 9), c.one_of(_COUNTS), c.one_of(_COUNTS)),
     "merge.concatenate"),
    (1, _loss, "loss. target_loss.one_hot"),
    (1, lambda c: SoftCrossEntropySpec(c.integer(0, 9), c.one_of(_COUNTS[:14]),
                                       c.one_of((0.0, 0.1, 1.0))), "target_loss.soft"),
    (1, lambda c: ElementwiseLossSpec(c.one_of(ELEMENTWISE_LOSS_KINDS), c.integer(0, 9),
                                      c.one_of(_COUNTS[:14]), c.one_of((0.5, 1.0, 2.0))),
     "target_loss.elementwise"),
    (1, lambda c: LabelWeightSpec(c.integer(0, 9), c.integer(1, 12), c.one_of((None, 0, -100))),
     "loss_weights.label"),
    (1, _loss, "loss_weights.weigh loss_weights.sum"),
    (3, _optimizer, "optim."),
    (1, lambda c: ClipSpec(c.one_of((0, 1, 23, 1025, 2600)), c.one_of((0.5, 100.0)), 1e-6,
                           c.one_of((False, True))), "gradient.clip_by_norm"),
    (1, lambda c: AccumulateSpec(c.one_of((0, 1, 23, 2600)), 0.25, c.one_of((0.0, 0.75, 1.0))),
     "gradient.accumulate"),
    (1, lambda c: MuonSpec(c.one_of((0, 1, 23, 2600)), 0.5, c.one_of((False, True))),
     "gradient.muon"),
    (1, lambda c: PolynomialSpec(c.one_of((1, 5, 16, 33))), "gradient.newton"),
)  # fmt: skip
"""Shares, functions that draw a spec, and the beginnings of the names of its kernels."""


def draw_case(choose, kernels):
    """A kernel, of those that there are, and a spec that it takes."""
    _, draw, starts = choose.one_of([each for each in FAMILIES for _ in range(each[0])])
    spec = draw(choose)
    possible = [k for k in kernels if k.startswith(tuple(starts.split()))]
    if isinstance(spec, OptimizerSpec):
        name = "momentum" if spec.kind == "nesterov" else spec.kind
        possible = [f"optim.{name}_update"]
    return choose.one_of(possible), spec
