"""Networks as functions: small ones of every kind, and what others make of them."""

import numpy as np
from optional_torch import torch
from torch_steps import TorchLayers, images_of_torch

from fastconv.backends.selection import backend_state
from fastconv.layers import (
    ELU,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    Residual,
    Sigmoid,
    Tanh,
)
from fastconv.network import Sequential

BACKENDS = [name for name in ("numpy", "cython") if backend_state(name).works]
N, CLASSES = 6, 3

NETWORKS = {
    "dense": ((5,), [Dense(4), Tanh(), Dense(CLASSES)]),
    "convolutions": (
        (8, 6, 2),
        [Conv2D(4, padding=1), ELU(), MaxPool2D(2), Conv2D(3, stride=2), Flatten(), Dense(CLASSES)],
    ),
    "normalised": (
        (6, 6, 2),
        [Conv2D(4), BatchNorm(), Tanh(), AvgPool2D(2), Flatten(), Dense(4), BatchNorm(),
         Dense(CLASSES)],
    ),
    "dropped": ((5,), [Dense(8), Sigmoid(), Dropout(0.4), Dense(CLASSES)]),
    "branches": (
        (5, 5, 2),
        [Concatenate([Conv2D(2, padding=1)], [BatchNorm()]), Residual([Tanh(), BatchNorm()]),
         GlobalAvgPool2D(), Dense(CLASSES)],
    ),
}  # fmt: skip
"""Input shapes and layers, all of them smooth but for the max pooling."""
CASES = [(name, backend) for name in NETWORKS for backend in BACKENDS]
if backend_state("numba").works:
    # Its streams are those of the C engine: these have a kernel of each family.
    CASES += [("convolutions", "numba"), ("normalised", "numba")]


def made_network(name, dtype="float64"):
    """A network with parameters and statistics unlike those that it begins with."""
    shape, layers = NETWORKS[name]
    network = Sequential(layers, shape, dtype=dtype, seed=3)
    generator = np.random.default_rng(5)
    for array, place in ((network[n], p) for n, p in network.places.items()):
        if place.parameter.kind == "state":
            array[...] = generator.uniform(0.5, 1.5, array.shape)
        else:
            array[...] += generator.normal(0, 0.2, array.shape)
    return network


def made_batch(network, count=N):
    """Images and labels."""
    generator = np.random.default_rng(11)
    images = generator.normal(size=(count, *network.input_shape))
    return images, generator.integers(0, network.output_shape[-1], count)


def outputs_of_torch(network, images, *, training, seed=0, step=0):
    """Outputs in fastconv's order, and PyTorch's arrays of parameters and state by name."""
    arrays = {
        name: torch.from_numpy(array.astype(np.float64))
        for name, array in network.named_arrays().items()
    }
    for name, place in network.places.items():
        arrays[name].requires_grad_(place.buffer == "parameters")
    x = images if torch.is_tensor(images) else torch.from_numpy(images)
    applied = [each for each in network.layers if training or not each.training_only]
    layers = TorchLayers(arrays, (seed, step), training)
    outputs = layers(applied, images_of_torch(x, network.input_shape))
    return outputs.permute(0, 2, 3, 1) if outputs.ndim == 4 else outputs, arrays


def flat_gradient_of_torch(network, arrays):
    """The gradients that PyTorch left, in the order of ``network.parameters``."""
    flat = np.zeros(network.parameters.shape)
    for name, view in network.gradient_views(flat).items():
        view[...] = arrays[name].grad.numpy()
    return flat
