"""A training loop of one's own: momentum and a learning rate that falls, on a flat vector."""

import numpy as np

import fastconv
from fastconv.data import load
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

digits = load("digits")
x, y = digits.training.images / np.float32(255), digits.training.labels
layers = [Conv2D(8, padding=1), ReLU(), MaxPool2D(2), Flatten(), Dense(10)]
network = fastconv.Sequential(layers, input_shape=(8, 8, 1))
gradient, velocity = np.empty_like(network.parameters), np.zeros_like(network.parameters)
order = np.random.default_rng(0)
for epoch in range(6):
    for batch in np.array_split(order.permutation(len(x)), len(x) // 32):
        loss, _ = network.value_and_gradient(None, x[batch], y[batch], out=gradient)
        velocity = 0.9 * velocity + gradient
        network.parameters -= 0.1 * 0.7**epoch * velocity
right = network(digits.test.images / np.float32(255)).argmax(axis=1) == digits.test.labels
print(f"test accuracy {right.mean():.3f}")
