"""Stage 1 of docs/tutorial.md: a convolutional network by hand, as in a course.

NumPy alone: one class a layer, loops over images, filters and pixels. Images are (N, C, H, W),
filters (O, C, K, K), dense weights (inputs, outputs), all float64, as NumPy makes them.
"""

import numpy as np


def min_max(images):
    """Bring each image, uint8 (N, H, W, C), to [0, 1] and to (N, C, H, W)."""
    x = images.transpose(0, 3, 1, 2).astype(np.float64)
    smallest = x.min(axis=(1, 2, 3), keepdims=True)
    largest = x.max(axis=(1, 2, 3), keepdims=True)
    return (x - smallest) / (largest - smallest)


class Layer:
    """A layer without parameters has nothing to update."""

    def update(self, lr):
        pass


class Weighted(Layer):
    """A layer with weights and a bias: its backward pass sets dw and db."""

    def __init__(self, w, b):
        self.w, self.b = w.copy(), b.copy()

    def update(self, lr):
        self.w -= lr * self.dw
        self.b -= lr * self.db


class Conv(Weighted):
    def forward(self, x):
        self.x = x
        n, _, height, width = x.shape
        filters, _, k, _ = self.w.shape
        y = np.zeros((n, filters, height - k + 1, width - k + 1))
        for image in range(n):
            for f in range(filters):
                for i in range(y.shape[2]):
                    for j in range(y.shape[3]):
                        patch = x[image, :, i : i + k, j : j + k]
                        y[image, f, i, j] = np.sum(patch * self.w[f]) + self.b[f]
        return y

    def backward(self, dy):
        n, filters, height, width = dy.shape
        k = self.w.shape[2]
        dx = np.zeros_like(self.x)
        self.dw = np.zeros_like(self.w)
        self.db = np.zeros_like(self.b)
        for image in range(n):
            for f in range(filters):
                for i in range(height):
                    for j in range(width):
                        d = dy[image, f, i, j]
                        self.dw[f] += d * self.x[image, :, i : i + k, j : j + k]
                        self.db[f] += d
                        dx[image, :, i : i + k, j : j + k] += d * self.w[f]
        return dx


class MaxPool(Layer):
    def forward(self, x):
        self.x = x
        n, channels, height, width = x.shape
        y = np.zeros((n, channels, height // 2, width // 2))
        for image in range(n):
            for c in range(channels):
                for i in range(y.shape[2]):
                    for j in range(y.shape[3]):
                        window = x[image, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                        y[image, c, i, j] = np.max(window)
        return y

    def backward(self, dy):
        dx = np.zeros_like(self.x)
        n, channels, height, width = dy.shape
        for image in range(n):
            for c in range(channels):
                for i in range(height):
                    for j in range(width):
                        window = self.x[image, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                        row, column = np.unravel_index(np.argmax(window), window.shape)
                        dx[image, c, 2 * i + row, 2 * j + column] = dy[image, c, i, j]
        return dx


class LeakyReLU(Layer):
    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, 0.01 * x)

    def backward(self, dy):
        return np.where(self.x > 0, dy, 0.01 * dy)


class Flatten(Layer):
    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self.shape)


class Dense(Weighted):
    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, dy):
        self.dw = self.x.T @ dy
        self.db = dy.sum(axis=0)
        return dy @ self.w.T


def softmax_cross_entropy(scores, labels):
    """Mean loss of a batch, and its gradient with respect to the scores."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(probabilities[rows, labels]).mean()
    dscores = probabilities
    dscores[rows, labels] -= 1
    return loss, dscores / len(labels)


def make_layers(parameters, Conv=Conv, MaxPool=MaxPool, LeakyReLU=LeakyReLU, Dense=Dense):
    """The network; ``parameters`` has (weights, bias) of its four convolutions and two dense."""
    conv1, conv2, conv3, conv4, dense1, dense2 = parameters
    return [
        Conv(*conv1),
        LeakyReLU(),
        Conv(*conv2),
        LeakyReLU(),
        MaxPool(),
        Conv(*conv3),
        LeakyReLU(),
        Conv(*conv4),
        LeakyReLU(),
        MaxPool(),
        Flatten(),
        Dense(*dense1),
        LeakyReLU(),
        Dense(*dense2),
    ]


def training_step(layers, x, labels, lr, loss_and_gradient=softmax_cross_entropy):
    """One step of SGD; returns the loss before it."""
    for layer in layers:
        x = layer.forward(x)
    loss, gradient = loss_and_gradient(x, labels)
    for layer in reversed(layers):
        gradient = layer.backward(gradient)
    for layer in layers:
        layer.update(lr)
    return loss
