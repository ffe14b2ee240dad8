"""The cases that every backend is tested with, as specs; ``str(spec)`` is the test id."""

from fastconv.plans.augmentation import CropSpec, MixSpec
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
    ElementwiseSpec,
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


def _parse(kind, text):
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [kind.parse(line) for line in lines if line]


CONVOLUTIONS = _parse(
    ConvSpec,
    """
    # {first layer, 1x1, 3x3, kernel smaller than padding, grouped, depthwise}
    # x {plain, 17 channels, 17 channels and stride 2}
    g1mb2ic3ih7iw8oc4kh5kw5sh1sw1ph2pw2dh1dw1
    g1mb2ic3ih7iw8oc17kh5kw5sh1sw1ph2pw2dh1dw1
    g1mb2ic3ih7iw8oc17kh5kw5sh2sw2ph2pw2dh1dw1
    g1mb2ic4ih5iw6oc3kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb2ic17ih5iw6oc17kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb2ic17ih5iw6oc17kh1kw1sh2sw2ph0pw0dh1dw1
    g1mb2ic4ih6iw5oc5kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb2ic17ih6iw5oc17kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb2ic17ih6iw5oc17kh3kw3sh2sw2ph1pw1dh1dw1
    g1mb2ic4ih5iw6oc3kh2kw2sh1sw1ph3pw2dh1dw1
    g1mb2ic17ih5iw6oc17kh2kw2sh1sw1ph3pw2dh1dw1
    g1mb2ic17ih5iw6oc17kh2kw2sh2sw2ph3pw2dh1dw1
    g2mb2ic4ih6iw5oc6kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb2ic34ih6iw5oc34kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb2ic34ih6iw5oc34kh3kw3sh2sw2ph1pw1dh1dw1
    g4mb2ic4ih6iw5oc4kh3kw3sh1sw1ph1pw1dh1dw1
    g17mb2ic17ih6iw5oc17kh3kw3sh1sw1ph1pw1dh1dw1
    g17mb2ic17ih6iw5oc17kh3kw3sh2sw2ph1pw1dh1dw1
    # several filters for each channel, and groups of uneven sizes
    g4mb2ic4ih5iw5oc12kh3kw3sh1sw1ph1pw1dh1dw1
    g3mb2ic6ih5iw5oc3kh2kw2sh1sw1ph0pw0dh1dw1
    # dilation, alone and with all else
    g1mb2ic3ih9iw8oc4kh3kw2sh1sw1ph2pw1dh2dw3
    g2mb2ic4ih9iw9oc6kh2kw3sh2sw1ph1,0pw0,2dh3dw2
    # height and width that differ in everything
    g1mb2ic3ih5iw9oc4kh1kw4sh1sw3ph0pw1dh1dw1
    g1mb2ic3ih9iw5oc4kh4kw1sh3sw1ph1pw0dh1dw1
    # asymmetric padding, and padding on an image that no window would fit
    g1mb2ic3ih6iw5oc4kh3kw3sh1sw1ph0,2pw3,1dh1dw1
    g1mb2ic3ih6iw5oc4kh1kw1sh1sw1ph1,0pw0,2dh1dw1
    g1mb2ic2ih2iw2oc3kh5kw4sh2sw1ph2,3pw1dh1dw1
    # few channels of many samples: samples may lie in the lanes of vectors
    g1mb16ic3ih5iw6oc5kh3kw3sh2sw1ph1pw2dh1dw1
    g1mb32ic6ih5iw4oc17kh5kw5sh1sw1ph4pw4dh1dw1
    g1mb16ic9ih4iw5oc10kh2kw3sh1sw2ph0,1pw2,0dh1dw2
    g2mb48ic6ih6iw5oc10kh3kw2sh1sw2ph0,1pw1,0dh2dw1
    g1mb16ic2ih2iw3oc3kh3kw2sh2sw1ph3pw2dh1dw1
    # few channels and strides: phases of the data gradient side by side, some taps for some of them
    g1mb2ic3ih9iw8oc4kh7kw7sh2sw2ph3pw3dh1dw1
    g1mb2ic3ih10iw12oc17kh11kw11sh4sw4ph2pw2,5dh1dw1
    g1mb2ic2ih7iw9oc3kh2kw5sh1sw3ph1pw0,4dh2dw1
    # strides beyond the kernel, and rows at the end that nothing reads
    g1mb2ic3ih9iw9oc4kh2kw2sh3sw4ph0pw0dh1dw1
    g1mb2ic3ih8iw6oc4kh3kw3sh2sw2ph0pw0dh1dw1
    # one pixel, and one window
    g1mb3ic5ih1iw1oc4kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb3ic5ih1iw1oc4kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb3ic5ih5iw5oc4kh5kw5sh1sw1ph0pw0dh1dw1
    # batch 1 and 0, one channel
    g1mb1ic3ih6iw6oc5kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb1ic1ih6iw6oc1kh3kw3sh1sw1ph0pw0dh1dw1
    g1mb0ic3ih6iw6oc5kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb0ic3ih6iw6oc5kh1kw1sh1sw1ph0pw0dh1dw1
    g3mb0ic3ih6iw6oc3kh3kw3sh2sw2ph0pw0dh1dw1
    """,
)

NCHW = _parse(
    ConvSpec,
    """
    # 1x1 over pixels that fill vectors, and over others
    g1mb2ic4ih4iw4oc3kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb3ic17ih8iw8oc16kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb2ic16ih6iw5oc33kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb1ic35ih7iw9oc5kh1kw1sh1sw1ph0pw0dh1dw1
    g2mb2ic4ih4iw4oc4kh1kw1sh1sw1ph0pw0dh1dw1
    # weights in and between blocks of vectors
    g1mb1ic17ih4iw3oc33kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb1ic34ih6iw3oc70kh5kw2sh1sw1ph0pw0dh1dw1
    g1mb1ic70ih3iw4oc64kh1kw2sh1sw1ph0pw1dh1dw1
    g19mb1ic19ih4iw4oc38kh3kw3sh1sw1ph0pw0dh1dw1
    # fewer products, checked: as one instruction, as three with odd sizes, all dy in the padding
    g1mb1ic32ih12iw16oc16kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb1ic144ih13iw15oc16kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb1ic32ih9iw9oc32kh3kw3sh1sw1ph3pw3dh1dw1
    # few products of an output: the im2col matrix, with strides, dilation and wide padding
    g1mb2ic3ih11iw13oc32kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb1ic3ih11iw37oc32kh3kw3sh2sw2ph1pw1dh1dw1
    g2mb1ic4ih9iw35oc40kh2kw3sh1sw4ph3pw5dh2dw1
    g1mb1ic9ih7iw9oc32kh1kw1sh3sw3ph0pw0dh1dw1
    # a filter for each channel:
    # widths around those of vectors, and rows around those of a tile
    g3mb2ic3ih5iw5oc3kh3kw3sh1sw1ph1pw1dh1dw1
    g3mb2ic3ih14iw14oc3kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb2ic2ih7iw16oc2kh3kw3sh1sw1ph0pw0dh1dw1
    g2mb2ic2ih6iw17oc2kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb1ic2ih4iw33oc2kh3kw3sh1sw1ph1pw2dh1dw1
    g1mb2ic1ih3iw34oc1kh3kw3sh1sw1ph1pw0dh1dw1
    # strides, alone and with dilation
    g3mb2ic3ih14iw14oc3kh3kw3sh2sw2ph1pw1dh1dw1
    g2mb2ic2ih9iw33oc2kh3kw3sh2sw2ph1pw1dh1dw1
    g2mb2ic2ih8iw17oc2kh3kw3sh2sw2ph0pw0dh1dw1
    g2mb2ic2ih9iw16oc2kh3kw3sh1sw2ph1pw0,1dh1dw1
    g2mb2ic2ih9iw17oc2kh5kw5sh2sw2ph2pw2dh1dw1
    g2mb2ic2ih11iw20oc2kh3kw4sh3sw3ph1pw2dh1dw1
    g2mb2ic2ih11iw20oc2kh3kw3sh2sw2ph2pw2dh2dw2
    g2mb2ic2ih11iw21oc2kh3kw3sh2sw3ph2pw2dh3dw2
    g2mb2ic2ih9iw19oc2kh2kw2sh3sw4ph0pw0dh1dw1
    # dilation, other kernels, padding as large as the kernel and larger
    g2mb2ic2ih9iw18oc2kh3kw3sh1sw1ph2pw3dh2dw3
    g2mb2ic2ih8iw14oc2kh5kw7sh1sw1ph2pw3dh1dw1
    g2mb2ic2ih4iw19oc2kh1kw11sh1sw1ph0pw5dh1dw1
    g2mb2ic2ih3iw5oc2kh2kw2sh1sw1ph4,3pw2,18dh1dw1
    g2mb2ic2ih3iw5oc2kh2kw3sh2sw2ph3pw20,4dh1dw1
    g2mb0ic2ih5iw5oc2kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb2ic1ih1iw1oc1kh1kw1sh1sw1ph0pw0dh1dw1
    # more columns, rows, taps and samples than are done at once
    g1mb2ic1ih4iw530oc1kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb1ic2ih40iw140oc2kh3kw3sh2sw2ph1pw1dh1dw1
    g1mb1ic1ih3iw90oc1kh1kw70sh1sw1ph0pw10dh1dw1
    g1mb1ic1ih16iw14oc1kh15kw15sh2sw2ph7pw7dh1dw1
    g1mb1ic1ih9iw4003oc1kh3kw3sh1sw2ph4pw1dh4dw2000
    g2mb1ic2ih60iw30oc2kh3kw3sh1sw1ph1pw1dh27dw2
    g5mb40ic5ih6iw5oc5kh3kw3sh1sw1ph1pw1dh1dw1
    """,
)

POOLS = _parse(
    PoolSpec,
    """
    mb2ic3ih6iw8kh2kw2sh2sw2ph0pw0cm0ip1
    mb2ic17ih6iw6kh2kw2sh2sw2ph0pw0cm0ip1
    mb2ic3ih7iw7kh3kw3sh1sw1ph0pw0cm0ip1    # overlapping
    mb2ic3ih7iw7kh3kw3sh2sw2ph1pw1cm0ip1
    mb2ic3ih7iw7kh3kw3sh2sw2ph1pw1cm0ip0
    mb2ic3ih7iw5kh2kw2sh2sw2ph0pw0cm0ip1    # a row and a column left out
    mb2ic3ih7iw5kh2kw2sh2sw2ph0pw0cm1ip1    # and kept
    mb2ic3ih7iw5kh2kw2sh2sw2ph0pw0cm1ip0
    mb2ic3ih6iw8kh3kw3sh2sw2ph1pw1cm1ip1
    mb2ic3ih6iw8kh3kw3sh2sw2ph1pw1cm1ip0
    mb2ic3ih5iw9kh2kw3sh1sw2ph0,1pw2,0cm0ip1
    mb2ic3ih5iw9kh2kw3sh1sw2ph0,1pw2,0cm1ip0
    mb2ic3ih9iw9kh2kw2sh3sw4ph0pw0cm0ip1    # windows apart
    mb2ic3ih9iw7kh2kw2sh4sw3ph0pw1cm1ip1    # a last window that would start outside
    mb2ic3ih1iw1kh1kw1sh1sw1ph0pw0cm0ip1
    mb2ic3ih1iw1kh3kw3sh1sw1ph1pw1cm0ip0
    mb2ic3ih5iw4kh5kw4sh1sw1ph0pw0cm0ip1    # the whole image
    mb1ic1ih5iw5kh2kw2sh1sw1ph0pw0cm0ip1
    mb0ic3ih6iw6kh2kw2sh2sw2ph0pw0cm0ip1
    mb0ic3ih6iw6kh3kw3sh2sw2ph1pw1cm1ip0
    """,
)

DENSE = [
    DenseSpec(2, 3, 4),
    DenseSpec(1, 1, 1),
    DenseSpec(1, 40, 17),
    DenseSpec(17, 33, 65),
    DenseSpec(0, 5, 7),
]
IMAGES = [
    InputSpec(2, 5, 4, 3),
    InputSpec(1, 1, 1, 17),
    InputSpec(3, 2, 2, 1),
    InputSpec(0, 5, 4, 3),
]
LAYOUTS = [
    InputSpec(0, 5, 4, 3),
    InputSpec(1, 1, 1, 17),
    InputSpec(2, 3, 5, 1),
    InputSpec(2, 7, 5, 17),
    InputSpec(1, 9, 8, 130),
    InputSpec(2, 29, 31, 3),
    InputSpec(1, 8, 8, 64),
]
NORMS = [
    NormSpec(40, 3),
    NormSpec(50, 17, epsilon=1e-3, momentum=0.5),
    NormSpec(7, 1, momentum=1.0),
    NormSpec(2, 5, epsilon=1.0),
    NormSpec(1, 4),
    NormSpec(0, 4),
]
GROUP_NORMS = [
    GroupNormSpec(3, 4, 6, 3),
    GroupNormSpec(2, 5, 38, 2, 1e-3),
    GroupNormSpec(4, 1, 37),
    GroupNormSpec(2, 9, 5, 5),
    GroupNormSpec(2, 2, 3, 3, 1.0),
    GroupNormSpec(0, 4, 6, 2),
]
_ALPHAS = {"leaky_relu": (0.1, 1.0, 2.0, 0.0), "elu": (1.0, 0.5, 2.0)}
ACTIVATIONS = [
    ActivationSpec(kind, size, alpha)
    for kind in ACTIVATION_KINDS
    for alpha in _ALPHAS.get(kind, (0.0,))
    for size in (37, 0)
]


def _bent(x, alpha):
    return x * x * x + alpha * x if x > 0 else alpha * x


def _slope_of_bent(x, alpha):
    return 3 * x * x + alpha if x > 0 else alpha


_BENT_IN_CUDA = (
    "x > 0 ? x * x * x + constants[0] * x : constants[0] * x",
    "x > 0 ? 3 * x * x + constants[0] : constants[0]",
)
ELEMENTWISE = [
    ElementwiseSpec(size, _bent, _slope_of_bent, (0.25,), _BENT_IN_CUDA) for size in (37, 0)
]
"""Of functions that are compiled for it."""
PRELUS = [
    PReLUSpec(7, 5, 5),
    PReLUSpec(600, 3),
    PReLUSpec(300, 70, 70),
    PReLUSpec(4, 1),
    PReLUSpec(0, 3, 3),
]
SOFTMAXES = [SoftmaxSpec(5, 10), SoftmaxSpec(1, 17), SoftmaxSpec(3, 1), SoftmaxSpec(0, 4)]
RANDOM = RandomSpec(seed=2**40 + 17, stream=3)
WORDS = [
    (RANDOM, 0, 1),
    (RANDOM, 1, 7),
    (RANDOM, 2**33 + 5, 8),
    (RandomSpec(2**64 - 1, 2**32 - 1), 2**62, 9),
    (RandomSpec(0, 0), 0, 4 * 4096 + 3),
    (RandomSpec(0, 0), 3, 0),
]
"""Spec, step, number of words."""
DROPOUTS = [
    DropoutSpec(101, 0.5, RANDOM),
    DropoutSpec(102, 0.3, RANDOM),
    DropoutSpec(5, 0.0, RANDOM),
    DropoutSpec(64, 0.99, RANDOM),
    # The first word of this stream is 0x6627e8d5, at the threshold itself, and so it is kept.
    DropoutSpec(6, 0x6627E8 / 2**24, RandomSpec(0, 0)),
    DropoutSpec(0, 0.5, RANDOM),
]
CHANNEL_DROPOUTS = [
    ChannelDropoutSpec(3, 5, 19, 0.5),
    ChannelDropoutSpec(4, 7, 1, 0.25),
    ChannelDropoutSpec(0, 2, 3, 0.0),
]
RESAMPLES = [
    ResampleSpec("zeros", 2, 3, 4, 17, 6, 5, 2, 1),
    ResampleSpec("zeros", 2, 5, 6, 3, 3, 7, -1, 2),
    ResampleSpec("reflect", 2, 4, 5, 3, 8, 8, 3, 2),
    ResampleSpec("nearest", 2, 3, 4, 17, 6, 12),
    ResampleSpec("nearest", 1, 3, 5, 2, 7, 4),
    ResampleSpec("bilinear", 2, 3, 4, 17, 6, 8),
    ResampleSpec("bilinear", 1, 4, 3, 2, 7, 7, align_corners=True),
    ResampleSpec("bilinear", 1, 5, 1, 3, 3, 1),
    ResampleSpec("nearest", 0, 3, 3, 2, 6, 6),
]
BROADCASTS = [
    BroadcastSpec(2, 6, 5),
    BroadcastSpec(2, 6, 5, per_channel=True),
    BroadcastSpec(3, 1, 17),
    BroadcastSpec(1, 35, 130, per_channel=True),
    BroadcastSpec(0, 4, 3, per_channel=True),
    BroadcastSpec(0, 4, 3),
]
CONCATENATIONS = [
    ConcatenateSpec(12, 3, 5),
    ConcatenateSpec(1, 17, 1),
    ConcatenateSpec(5, 1, 33),
    ConcatenateSpec(0, 3, 4),
]
LOSSES = [LossSpec(6, 10), LossSpec(1, 3), LossSpec(4, 1), LossSpec(0, 3)]
SOFT_CROSS_ENTROPIES = [
    SoftCrossEntropySpec(6, 10, 0.1),
    SoftCrossEntropySpec(5, 33),
    SoftCrossEntropySpec(1, 1, 1.0),
    SoftCrossEntropySpec(0, 3, 0.5),
]
ELEMENTWISE_LOSSES = [
    ElementwiseLossSpec(kind, batch, outputs, delta)
    for kind in ELEMENTWISE_LOSS_KINDS
    for batch, outputs, delta in ((5, 19, 0.75), (3, 1, 2.0), (0, 4, 1.0))
]
LABEL_WEIGHTS = [
    LabelWeightSpec(7, 4, 2),
    LabelWeightSpec(7, 4, -100),
    LabelWeightSpec(3, 1),
    LabelWeightSpec(0, 3, 0),
]
OPTIMIZERS = [
    OptimizerSpec(kind, 23, 17, 19, l2=l2, coupled_decay=coupled, decoupled_decay=decoupled, **more)
    for kind, more in (
        ("sgd", {}),
        ("momentum", {}),
        ("momentum", {"averaged": True, "momentum": 0.5}),
        ("nesterov", {}),
        ("nesterov", {"averaged": True}),
        ("adam", {}),
        ("adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}),
        ("rmsprop", {"momentum": 0.0}),
        ("rmsprop", {"centered": True, "rate_factor": 0.5}),
        ("adagrad", {"rate_factor": 0.5}),
        ("nadam", {}),
        ("nadam", {"beta1": 0.0, "momentum_decay": 0.0, "rate_factor": 0.5}),
        ("lamb", {"rate_factor": 0.5}),
    )
    for l2, coupled, decoupled in (
        (0.0, 0.0, 0.0),
        (0.25, 0.0, 0.0),
        (0.0, 0.5, 0.0),
        (0.0, 0.0, 0.125),
        (0.25, 0.5, 0.125),
    )
] + [
    OptimizerSpec("sgd", 0, 0, 0, l2=0.5, coupled_decay=0.5, decoupled_decay=0.5),
    OptimizerSpec("momentum", 5, 0, 5, l2=0.5, coupled_decay=0.5),
    OptimizerSpec("adam", 5, 5, 0, l2=0.5, coupled_decay=0.5, decoupled_decay=0.5),
    OptimizerSpec("rmsprop", 23, 17, 19, centered=True, momentum=0.0),
    *(OptimizerSpec(kind, 23, 17, 19, rate_factor=0.5) for kind in ("sgd", "momentum", "adam")),
    OptimizerSpec("momentum", 23, 17, 19, scheduled_momentum=True),
    OptimizerSpec("momentum", 23, 17, 19, averaged=True, scheduled_momentum=True),
    OptimizerSpec("nesterov", 23, 17, 19, l2=0.5, scheduled_momentum=True),
    OptimizerSpec("adam", 23, 17, 19, decoupled_decay=0.5, scheduled_momentum=True),
    # Blocks of 1024 elements have sums of their own.
    OptimizerSpec("lamb", 2600, 2100, 1500, decoupled_decay=0.5),
]
CLIPPED_VALUE = 0.75
CLIPS = [
    ClipSpec(23, limit=0.5),
    ClipSpec(23, limit=100.0),
    ClipSpec(2600, limit=0.5),
    ClipSpec(0),
    ClipSpec(23, limit=1.0, epsilon=1e-7, normalizes=True),
    ClipSpec(2600, limit=2.0, epsilon=1e3, normalizes=True),
    ClipSpec(23, limit=CLIPPED_VALUE),
    ClipSpec(2600, limit=CLIPPED_VALUE),
]
ACCUMULATES = [
    AccumulateSpec(23, share=0.25, keep=0.0),
    AccumulateSpec(23, share=0.25),
    AccumulateSpec(2600, share=0.5, keep=0.75),
    AccumulateSpec(0),
]
MUONS = [MuonSpec(23), MuonSpec(2600, momentum=0.5, nesterov=False), MuonSpec(0)]
POLYNOMIALS = [PolynomialSpec(5), PolynomialSpec(33, 2.0, -1.5, 0.5), PolynomialSpec(1)]
_BATCH = InputSpec(6, 7, 8, 3)
JITTERS = [
    JitterSpec(_BATCH, RANDOM),
    JitterSpec(_BATCH, RANDOM, brightness=0.5),
    JitterSpec(_BATCH, RANDOM, contrast=0.5),
    JitterSpec(_BATCH, RANDOM, saturation=1.0),
    JitterSpec(_BATCH, RANDOM, erase=0.5),
    JitterSpec(_BATCH, RANDOM, 0.5, 0.25, 0.75, 1.0, 0.9),
    JitterSpec(InputSpec(5, 6, 5, 2), RANDOM, 0.5, 0.25, 0.75, 1.0, 0.1),
    JitterSpec(InputSpec(2, 1, 1, 1), RANDOM, 0.5, 0.25, 0.75, 0.5),
    JitterSpec(InputSpec(0, 7, 8, 3), RANDOM, 0.5, 0.25, 0.75, 0.5),
]
CROPS = [
    CropSpec(_BATCH, RANDOM),
    CropSpec(_BATCH, RANDOM, "random", crop=3),
    CropSpec(_BATCH, RANDOM, "alternating", steps_per_epoch=5),
    CropSpec(_BATCH, RANDOM, "alternating", crop=6, steps_per_epoch=7),
    CropSpec(_BATCH, RANDOM, "random", least_area=0.1),
    CropSpec(InputSpec(5, 9, 4, 2), RANDOM, least_area=0.5),
    CropSpec(InputSpec(2, 1, 1, 1), RANDOM, "random", least_area=0.5),
    CropSpec(InputSpec(0, 7, 8, 3), RANDOM, "alternating", crop=2),
]
MIXES = [
    MixSpec(_BATCH, RANDOM, mixup=0.2),
    MixSpec(_BATCH, RANDOM, cutmix=1.0),
    MixSpec(InputSpec(9, 6, 5, 2), RANDOM, mixup=1.0, cutmix=0.5),
    MixSpec(InputSpec(1, 3, 2, 1), RANDOM, mixup=0.3, cutmix=2.0),
    MixSpec(InputSpec(0, 7, 8, 3), RANDOM, mixup=1.0),
]
MIXED_ROWS = [InputSpec(6, 1, 1, 5), InputSpec(1, 1, 1, 3), InputSpec(0, 1, 1, 4)]
LOOKAHEADS = [LookaheadSpec(23, 3, 0.25), LookaheadSpec(2600, 4), LookaheadSpec(0, 2)]
AUGMENTS = [
    AugmentSpec(_BATCH, RANDOM),
    AugmentSpec(_BATCH, RANDOM, flip=True),
    AugmentSpec(_BATCH, RANDOM, crop=3),
    AugmentSpec(_BATCH, RANDOM, flip=True, crop=2),
    AugmentSpec(_BATCH, RANDOM, cutout=3),
    AugmentSpec(_BATCH, RANDOM, cutout=4),
    AugmentSpec(_BATCH, RANDOM, rotation=30.0),
    AugmentSpec(_BATCH, RANDOM, shear=20.0),
    AugmentSpec(_BATCH, RANDOM, translation=0.3),
    AugmentSpec(_BATCH, RANDOM, True, 2, 180.0, 45.0, 0.5, 5),
    AugmentSpec(InputSpec(1, 1, 1, 5), RANDOM, True, 1, 10.0, 10.0, 0.1, 1),
    AugmentSpec(InputSpec(0, 7, 8, 3), RANDOM, True, 2, 10.0, 10.0, 0.1, 2),
]
