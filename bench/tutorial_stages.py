"""Stages 2 to 6 of docs/tutorial.md: the student's layers, replaced one after the other.

``STAGES`` has a function for each stage that makes it ready to train. All begin with the same
parameters, in the student's layouts, and with uint8 images (N, H, W, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tutorial_loops as loops
from tutorial_loops import make_layers, min_max, training_step

import fastconv
from fastconv.data import Samples
from fastconv.layers import Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Constant

Parameters = list[tuple[np.ndarray, np.ndarray]]
"""(weights, bias) of four convolutions, OIHW, and of two dense layers, (inputs, outputs)."""


def draw_parameters(
    size: int = 32,
    filters: tuple[int, ...] = (32, 32, 64, 64),
    units: int = 256,
    std: float = 0.1,
) -> Parameters:
    """Weights of the network for images of size x size x 3, N(0, std); biases are 0."""
    after = ((size - 4) // 2 - 4) // 2
    shapes = [(o, i, 3, 3) for o, i in zip(filters, (3, *filters), strict=False)]
    shapes += [(filters[-1] * after**2, units), (units, 10)]
    outputs = [*filters, units, 10]
    draw = np.random.default_rng(0)
    return [(draw.normal(0, std, s), np.zeros(o)) for s, o in zip(shapes, outputs, strict=True)]


# Stage 2: the convolutions.


class FastConv(loops.Conv):
    def forward(self, x):
        self.x = x
        return fastconv.conv2d(x, self.w, self.b)

    def backward(self, dy):
        dx, self.dw, self.db = fastconv.conv2d_backward(dy, self.x, self.w)
        return dx


# Stage 3: everything else.


class FastMaxPool(loops.MaxPool):
    def forward(self, x):
        self.shape = x.shape
        y, self.where = fastconv.max_pool2d(x, 2)
        return y

    def backward(self, dy):
        return fastconv.max_pool2d_backward(dy, self.where, self.shape, 2)


class FastLeakyReLU(loops.LeakyReLU):
    def forward(self, x):
        self.y = fastconv.leaky_relu(x, 0.01)
        return self.y

    def backward(self, dy):
        return fastconv.leaky_relu_backward(dy, self.y, 0.01)


class FastDense(loops.Dense):
    def forward(self, x):
        self.x = x
        return fastconv.dense(x, self.w, self.b)

    def backward(self, dy):
        dx, self.dw, self.db = fastconv.dense_backward(dy, self.x, self.w)
        return dx


def fast_loss(scores, labels):
    losses, probabilities = fastconv.softmax_cross_entropy(scores, labels)
    return losses.mean(), fastconv.softmax_cross_entropy_backward(probabilities, labels)


# Stage 4: float32, channels last, arrays used again.


def min_max_nhwc(images):
    x = images.astype(np.float32)
    x -= x.min(axis=(1, 2, 3), keepdims=True)
    x /= x.max(axis=(1, 2, 3), keepdims=True)
    return x


class LeanWeighted(loops.Weighted):
    y = None  # of the step before: the next one writes into it

    def update(self, lr):
        for parameter, gradient in ((self.w, self.dw), (self.b, self.db)):
            gradient *= lr
            parameter -= gradient


class NhwcConv(LeanWeighted):
    needs = "x", "w", "b"

    def forward(self, x):
        self.x = x
        self.y = fastconv.conv2d(x, self.w, self.b, layout="NHWC", out=self.y)
        return self.y

    def backward(self, dy):
        dx, self.dw, self.db = fastconv.conv2d_backward(
            dy, self.x, self.w, layout="NHWC", needs=self.needs
        )
        return dx


class NhwcMaxPool(loops.MaxPool):
    def forward(self, x):
        self.shape = x.shape
        y, self.where = fastconv.max_pool2d(x, 2, layout="NHWC")
        return y

    def backward(self, dy):
        return fastconv.max_pool2d_backward(dy, self.where, self.shape, 2, layout="NHWC")


class LeanDense(LeanWeighted):
    def forward(self, x):
        self.x = x
        self.y = fastconv.dense(x, self.w, self.b, out=self.y)
        return self.y

    def backward(self, dy):
        dx, self.dw, self.db = fastconv.dense_backward(dy, self.x, self.w)
        return dx


def to_nhwc(parameters):
    """OIHW to HWIO; the rows of the first dense layer from (C, H, W) to (H, W, C); float32."""
    *convolutions, (w, b), last = parameters
    changed = [(w.transpose(2, 3, 1, 0), b) for w, b in convolutions]
    channels = len(convolutions[-1][1])
    size = round((len(w) / channels) ** 0.5)
    rows = w.reshape(channels, size, size, -1).transpose(1, 2, 0, 3).reshape(w.shape)
    return [
        (np.ascontiguousarray(w, np.float32), b.astype(np.float32))
        for w, b in (*changed, (rows, b), last)
    ]


def from_nhwc(parameters):
    """What :func:`to_nhwc` was made of, to compare."""
    *convolutions, (w, b), last = parameters
    channels = len(convolutions[-1][1])
    size = round((len(w) / channels) ** 0.5)
    rows = w.reshape(size, size, channels, -1).transpose(2, 0, 1, 3).reshape(w.shape)
    return [*((w.transpose(3, 2, 0, 1), b) for w, b in convolutions), (rows, b), last]


# Stages 5 and 6: the network as a whole.


def make_network(size, filters, units):
    first, second, third, fourth = filters
    return fastconv.Sequential(
        [
            Conv2D(first),
            LeakyReLU(0.01),
            Conv2D(second),
            LeakyReLU(0.01),
            MaxPool2D(2),
            Conv2D(third),
            LeakyReLU(0.01),
            Conv2D(fourth),
            LeakyReLU(0.01),
            MaxPool2D(2),
            Flatten(),
            Dense(units),
            LeakyReLU(0.01),
            Dense(10),
        ],
        input_shape=(size, size, 3),
    )


def make_trainer(network, images, labels, batch_size, lr):
    return fastconv.Trainer(
        network,
        Samples(images, labels),
        loss="softmax_cross_entropy",
        optimizer=Optimizer("sgd"),
        schedule=Constant(lr),
        batch_size=batch_size,
        preprocessing=Preprocessing("min_max"),
    )


# What the script and the tests ask of each stage.


@dataclass(frozen=True)
class Stage:
    """A stage in training: ``train(steps)`` returns the mean loss of these steps."""

    batch_size: int
    train: Callable[[int], float]
    parameters: Callable[[], Parameters]
    """The parameters as they are, in the student's layouts."""


def _of_layers(layers, prepare, images, labels, batch_size, lr, loss, restore=list) -> Stage:
    """Train layer by layer on the images in turn."""
    starts = range(0, len(images) - batch_size + 1, batch_size)
    done = 0

    def train(steps: int) -> float:
        nonlocal done
        losses = []
        for _ in range(steps):
            here = slice(starts[done % len(starts)], starts[done % len(starts)] + batch_size)
            losses.append(training_step(layers, prepare(images[here]), labels[here], lr, loss))
            done += 1
        return float(np.mean(losses))

    def parameters() -> Parameters:
        weighted = (layer for layer in layers if isinstance(layer, loops.Weighted))
        return restore([(layer.w.copy(), layer.b.copy()) for layer in weighted])

    return Stage(batch_size, train, parameters)


def student_loops(parameters, images, labels, batch_size, lr) -> Stage:
    """Stage 1."""
    layers = make_layers(parameters)
    return _of_layers(layers, min_max, images, labels, batch_size, lr, loops.softmax_cross_entropy)


def convolutions(parameters, images, labels, batch_size, lr) -> Stage:
    """Stage 2."""
    layers = make_layers(parameters, Conv=FastConv)
    return _of_layers(layers, min_max, images, labels, batch_size, lr, loops.softmax_cross_entropy)


def every_kernel(parameters, images, labels, batch_size, lr) -> Stage:
    """Stage 3."""
    layers = make_layers(parameters, FastConv, FastMaxPool, FastLeakyReLU, FastDense)
    return _of_layers(layers, min_max, images, labels, batch_size, lr, fast_loss)


def channels_last(parameters, images, labels, batch_size, lr) -> Stage:
    """Stage 4."""
    layers = make_layers(to_nhwc(parameters), NhwcConv, NhwcMaxPool, FastLeakyReLU, LeanDense)
    layers[0].needs = "w", "b"  # nobody wants the gradient of the images
    return _of_layers(layers, min_max_nhwc, images, labels, batch_size, lr, fast_loss, from_nhwc)


def plan(parameters, images, labels, batch_size, lr) -> Stage:
    """Stages 5 and 6."""
    biases = [len(b) for _, b in parameters]
    network = make_network(images.shape[1], biases[:4], biases[4])
    names = [f"conv2d_{n}" for n in (1, 2, 3, 4)] + ["dense_1", "dense_2"]
    for name, (w, b) in zip(names, to_nhwc(parameters), strict=True):
        network[f"{name}.weight"][...] = w
        network[f"{name}.bias"][...] = b
    trainer = make_trainer(network, images, labels, batch_size, lr)

    def train(steps: int) -> float:
        losses = []
        while steps > 0:
            now = min(steps, trainer.steps_left_in_epoch())
            losses += [trainer.train(now).loss] * now
            steps -= now
        return float(np.mean(losses))

    def trained() -> Parameters:
        trainer.update_network()
        return from_nhwc(
            [(network[f"{n}.weight"].copy(), network[f"{n}.bias"].copy()) for n in names]
        )

    return Stage(batch_size, train, trained)


STAGES = {
    "loops": student_loops,
    "conv2d": convolutions,
    "every kernel": every_kernel,
    "float32, NHWC": channels_last,
    "plan": plan,
}


def loss_and_gradients(make, parameters, images, labels) -> tuple[float, Parameters]:
    """Of one step on all images: what the step takes off the parameters, over the learning rate."""
    lr = 1024.0  # so large that float32 does not round the gradient away beside the parameter
    stage = make(parameters, images, labels, len(images), lr)
    before = stage.parameters()
    loss = stage.train(1)
    pairs = zip(before, stage.parameters(), strict=True)
    return loss, [((w - new_w) / lr, (b - new_b) / lr) for (w, b), (new_w, new_b) in pairs]
