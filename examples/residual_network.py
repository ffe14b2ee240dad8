"""A residual network: blocks that add what they make of an image to the image itself."""

import numpy as np

from fastconv import Sequential, Trainer, plots
from fastconv.data import load
from fastconv.layers import BatchNorm, Conv2D, Dense, GlobalAvgPool2D, ReLU, Residual
from fastconv.preprocessing import Augmentation
from fastconv.schedules import Cosine
from fastconv.training_loop import fit


def block(filters, stride=1):
    """Two convolutions, and a shortcut around them: of 1 x 1 where the shapes would differ."""
    around = [Conv2D(filters, 1, stride=stride), BatchNorm()] if stride > 1 else []
    through = [
        Conv2D(filters, stride=stride, padding=1),
        BatchNorm(),
        ReLU(),
        Conv2D(filters, padding=1),
        BatchNorm(),
    ]
    return [Residual(through, around), ReLU()]


layers = [Conv2D(16, padding=1), ReLU(), *block(16), *block(32, stride=2), *block(32)]
network = Sequential([*layers, GlobalAvgPool2D(), Dense(10)], input_shape=(8, 8, 1))
print(network)

# Each epoch sees every digit somewhere else and turned a little.
digits, steps = load("digits"), 400
augmentation = Augmentation(crop=1, rotation=8)
seen = plots.augmented_images(digits.training.images[:5], augmentation)
trainer = Trainer(
    network,
    digits.training,
    loss="softmax_cross_entropy",
    optimizer="adam",
    schedule=Cosine(0.01, steps),
    batch_size=32,
    preprocessing="scale",
    augmentation=augmentation,
)
fit(trainer, steps)
print(f"test accuracy {trainer.evaluate(digits.test).accuracy:.3f}")

matrix = np.zeros((10, 10), int)
np.add.at(matrix, (digits.test.labels, trainer.predict(digits.test.images).argmax(axis=1)), 1)
mistakes = plots.confusion_matrix(matrix, digits.class_names)  # plots.save(mistakes, "mistakes")
