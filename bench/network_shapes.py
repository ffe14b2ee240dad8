"""Convolutions of known networks: the first layers, and what most of the time goes to."""

from __future__ import annotations

from fastconv.spec import ConvSpec


def shape(
    batch: int, channels: int, size: int, filters: int, kernel: int | tuple[int, int],
    stride: int = 1, padding: int | tuple[int, int] = 0, dilation: int = 1, groups: int = 1,
) -> ConvSpec:  # fmt: skip
    """Describe a convolution of square images with the same padding on opposite sides."""
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    down, across = (padding, padding) if isinstance(padding, int) else padding
    return ConvSpec(
        batch, channels, size, size, filters, (kh, kw), (stride, stride),
        ((down, down), (across, across)), (dilation, dilation), groups,
    )  # fmt: skip


_LAYERS = (
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

NETWORK_SHAPES = tuple(
    (name, shape(batch, channels, size, filters, kernel, stride, padding, 1, groups))
    for name, channels, size, filters, kernel, stride, padding, groups in _LAYERS
    for batch in (1, 16)
)
"""30 layers with one and with 16 images."""
