"""Convolutions of known networks: the first layers, and what most of the time goes to."""

from __future__ import annotations

from fastconv.verify.shapes import LAYERS_OF_NETWORKS, layer_of_network
from fastconv.verify.shapes import square_convolution as shape

__all__ = ["NETWORK_SHAPES", "shape"]

NETWORK_SHAPES = tuple(
    layer_of_network(row, batch) for row in range(len(LAYERS_OF_NETWORKS)) for batch in (1, 16)
)
"""30 layers with one and with 16 images."""
