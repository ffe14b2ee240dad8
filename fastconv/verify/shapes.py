"""Shapes that are verified where none are named: of known networks, and hard ones."""

from __future__ import annotations

from fastconv.spec import ConvSpec, DenseSpec, PoolSpec


def square_convolution(
    batch: int, channels: int, size: int, filters: int, kernel: int | tuple[int, int],
    stride: int = 1, padding: int | tuple[int, int] = 0, dilation: int = 1, groups: int = 1,
) -> ConvSpec:  # fmt: skip
    """Describe a convolution of square images with the same padding on opposite sides.

    Parameters
    ----------
    batch, channels, size
        Of the images.
    filters, kernel, stride, padding, dilation, groups
        Of the convolution.

    Examples
    --------
    >>> square_convolution(1, 3, 32, 16, 3, padding=1).y_shape
    (1, 32, 32, 16)
    """
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    down, across = (padding, padding) if isinstance(padding, int) else padding
    return ConvSpec(
        batch, channels, size, size, filters, (kh, kw), (stride, stride),
        ((down, down), (across, across)), (dilation, dilation), groups,
    )  # fmt: skip


LAYERS_OF_NETWORKS = (
    # name, channels, size, filters, kernel, stride, padding, groups
    ("AlexNet 11x11 stride 4, first", 3, 224, 64, 11, 4, 2, 1),
    ("AlexNet 5x5, 64 to 192 at 27", 64, 27, 192, 5, 1, 2, 1),
    ("AlexNet 3x3, 192 to 384 at 13", 192, 13, 384, 3, 1, 1, 1),
    ("VGG16 3x3, first", 3, 224, 64, 3, 1, 1, 1),
    ("VGG16 3x3, 128 at 112", 128, 112, 128, 3, 1, 1, 1),
    ("VGG16 3x3, 256 at 56", 256, 56, 256, 3, 1, 1, 1),
    ("VGG16 3x3, 512 at 28", 512, 28, 512, 3, 1, 1, 1),
    ("VGG16 3x3, 512 at 14", 512, 14, 512, 3, 1, 1, 1),
    ("ResNet 7x7 stride 2, first", 3, 224, 64, 7, 2, 3, 1),
    ("ResNet 3x3, 64 at 56", 64, 56, 64, 3, 1, 1, 1),
    ("ResNet 3x3 stride 2, 64 to 128", 64, 56, 128, 3, 2, 1, 1),
    ("ResNet 3x3, 128 at 28", 128, 28, 128, 3, 1, 1, 1),
    ("ResNet 3x3, 256 at 14", 256, 14, 256, 3, 1, 1, 1),
    ("ResNet 3x3, 512 at 7", 512, 7, 512, 3, 1, 1, 1),
    ("ResNet-50 1x1, 256 to 64 at 56", 256, 56, 64, 1, 1, 0, 1),
    ("ResNet-50 1x1, 64 to 256 at 56", 64, 56, 256, 1, 1, 0, 1),
    ("ResNet-50 1x1 stride 2, 256 to 512", 256, 56, 512, 1, 2, 0, 1),
    ("ResNet-50 1x1, 1024 to 256 at 14", 1024, 14, 256, 1, 1, 0, 1),
    ("MobileNet 3x3 stride 2, first", 3, 224, 32, 3, 2, 1, 1),
    ("MobileNet depthwise, 32 at 112", 32, 112, 32, 3, 1, 1, 32),
    ("MobileNet depthwise stride 2, 64 at 112", 64, 112, 64, 3, 2, 1, 64),
    ("MobileNet depthwise, 512 at 14", 512, 14, 512, 3, 1, 1, 512),
    ("MobileNet 1x1, 32 to 64 at 112", 32, 112, 64, 1, 1, 0, 1),
    ("MobileNet 1x1, 512 at 14", 512, 14, 512, 1, 1, 0, 1),
    ("GoogLeNet 1x1, 192 to 64 at 28", 192, 28, 64, 1, 1, 0, 1),
    ("GoogLeNet 5x5, 16 to 32 at 28", 16, 28, 32, 5, 1, 2, 1),
    ("Inception 1x7, 192 at 17", 192, 17, 192, (1, 7), 1, (0, 3), 1),
    ("DenseNet 3x3, 128 to 32 at 28", 128, 28, 32, 3, 1, 1, 1),
    ("SqueezeNet 1x1, 128 to 32 at 27", 128, 27, 32, 1, 1, 0, 1),
    ("SqueezeNet 3x3, 32 to 128 at 27", 32, 27, 128, 3, 1, 1, 1),
)
"""Convolutions of known networks: the first layers, and what most of the time goes to."""


def layer_of_network(row: int, batch: int) -> tuple[str, ConvSpec]:
    """Return the name and the convolution of a row of :data:`LAYERS_OF_NETWORKS`.

    Parameters
    ----------
    row
        Its number.
    batch
        Images at a time.
    """
    name, channels, size, filters, kernel, stride, padding, groups = LAYERS_OF_NETWORKS[row]
    return name, square_convolution(
        batch, channels, size, filters, kernel, stride, padding, 1, groups
    )


_HARD = """
    # beside vectors of 4, 8 and 16: channels one fewer, as many, one more
    g1mb2ic3ih7iw8oc15kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb2ic15ih6iw5oc16kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb2ic17ih6iw5oc33kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb3ic7ih5iw9oc9kh1kw1sh1sw1ph0pw0dh1dw1
    g1mb1ic65ih5iw5oc63kh3kw3sh1sw1ph1pw1dh1dw1
    # images in the lanes of vectors
    g1mb16ic3ih9iw7oc8kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb32ic6ih5iw4oc17kh5kw5sh1sw1ph4pw4dh1dw1
    g1mb17ic3ih5iw6oc5kh3kw3sh2sw1ph1pw2dh1dw1
    # fewer products than taps
    g1mb1ic32ih12iw16oc16kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb2ic33ih10iw10oc35kh3kw3sh1sw1ph1pw1dh1dw1
    # strides, dilation, padding on some sides and wider than the kernel
    g1mb2ic3ih10iw12oc17kh11kw11sh4sw4ph2pw2,5dh1dw1
    g1mb2ic17ih5iw6oc17kh2kw2sh2sw2ph3pw2dh1dw1
    g1mb2ic2ih7iw9oc3kh2kw5sh1sw3ph1pw0,4dh2dw1
    g1mb2ic3ih9iw9oc4kh2kw2sh3sw4ph0pw0dh1dw1
    g2mb2ic4ih9iw9oc6kh2kw3sh2sw1ph1,0pw0,2dh3dw2
    g1mb2ic2ih2iw2oc3kh5kw4sh2sw2ph2,3pw1dh1dw1
    g1mb2ic3ih5iw9oc4kh1kw4sh1sw3ph0pw1dh1dw1
    # groups, depthwise, several filters for each channel
    g2mb2ic34ih6iw5oc34kh3kw3sh2sw2ph1pw1dh1dw1
    g17mb2ic17ih6iw5oc17kh3kw3sh1sw1ph1pw1dh1dw1
    g4mb2ic4ih5iw5oc12kh3kw3sh1sw1ph1pw1dh1dw1
    g2mb2ic2ih9iw33oc2kh3kw3sh2sw2ph1pw1dh1dw1
    # one pixel, one window, one channel, no image
    g1mb3ic5ih1iw1oc4kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb3ic5ih5iw5oc4kh5kw5sh1sw1ph0pw0dh1dw1
    g1mb1ic1ih6iw6oc1kh3kw3sh1sw1ph0pw0dh1dw1
    g1mb0ic3ih6iw6oc5kh3kw3sh1sw1ph1pw1dh1dw1
    # wide enough for several threads
    g1mb2ic24ih40iw36oc40kh3kw3sh1sw1ph1pw1dh1dw1
    g1mb4ic48ih20iw20oc72kh1kw1sh1sw1ph0pw0dh1dw1
    g48mb2ic48ih24iw24oc48kh3kw3sh1sw1ph1pw1dh1dw1
"""
_POOLS = """
    mb2ic17ih6iw6kh2kw2sh2sw2ph0pw0cm0ip1
    mb2ic3ih7iw7kh3kw3sh2sw2ph1pw1cm0ip0
    mb2ic3ih7iw5kh2kw2sh2sw2ph0pw0cm1ip1
    mb2ic3ih5iw9kh2kw3sh1sw2ph0,1pw2,0cm1ip0
    mb2ic3ih9iw7kh4kw3sh4sw3ph0pw1cm1ip1
    mb4ic40ih20iw20kh3kw3sh1sw1ph1pw1cm0ip1
    mb0ic3ih6iw6kh2kw2sh2sw2ph0pw0cm0ip1
"""


def _lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


HARD_SHAPES: tuple[ConvSpec | PoolSpec | DenseSpec, ...] = (
    *map(ConvSpec.parse, _lines(_HARD)),
    *map(PoolSpec.parse, _lines(_POOLS)),
    DenseSpec(1, 40, 17),
    DenseSpec(17, 33, 65),
    DenseSpec(64, 100, 130),
    DenseSpec(0, 5, 7),
)
"""Where kernels are wrong when they are: remainders, edges, and work for several threads."""
