"""Is a backward pass right? ``python bench/tutorial_check.py``: the checks of docs/tutorial.md.

The student's convolution beside fastconv's, and beside differences of its own forward pass; and the
whole network of stage 5 with ``check_gradients``.
"""

import numpy as np
from tutorial_loops import Conv
from tutorial_stages import make_network

import fastconv


def beside_fastconv(Layer):
    """Largest difference of a layer's gradients from those of ``conv2d_backward``."""
    draw = np.random.default_rng(0)
    layer = Layer(draw.normal(size=(4, 3, 3, 3)), draw.normal(size=4))
    x = draw.normal(size=(2, 3, 8, 8))
    dy = draw.normal(size=layer.forward(x).shape)
    dx = layer.backward(dy)
    expected = fastconv.conv2d_backward(dy, x, layer.w)
    return [abs(a - b).max() for a, b in zip((dx, layer.dw, layer.db), expected, strict=True)]


def beside_differences(Layer, h=1e-5):
    """Largest difference of ``dw`` from what the loss does when a weight moves a little."""
    draw = np.random.default_rng(0)
    layer = Layer(draw.normal(size=(2, 3, 3, 3)), draw.normal(size=2))
    x = draw.normal(size=(1, 3, 5, 5))
    dy = draw.normal(size=layer.forward(x).shape)
    layer.backward(dy)  # of the loss sum(y * dy)
    worst = 0.0
    for index in np.ndindex(layer.w.shape):
        kept = layer.w[index]
        losses = []
        for moved in (kept + h, kept - h):
            layer.w[index] = moved
            losses.append(np.sum(layer.forward(x) * dy))
        layer.w[index] = kept
        worst = max(worst, abs((losses[0] - losses[1]) / (2 * h) - layer.dw[index]))
    return worst


def whole_network():
    """Every parameter of the network, made small, beside five-point differences."""
    network = make_network(20, (4, 4, 8, 8), 16)
    draw = np.random.default_rng(0)
    images, labels = draw.random((2, 20, 20, 3)), draw.integers(0, 10, 2)
    return fastconv.check_gradients(network, images, labels)


if __name__ == "__main__":
    for name, difference in zip(("dx", "dw", "db"), beside_fastconv(Conv), strict=True):
        print(f"{name} beside conv2d_backward: {difference:.0e}")
    print(f"dw beside differences: {beside_differences(Conv):.0e}")
    whole_network()
