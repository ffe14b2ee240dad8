"""Is a second convolution worth its time? One training says little, ten pairs say more."""

import numpy as np

from fastconv import Sequential, Trainer, plots
from fastconv.data import load
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

SEEDS = range(10, 20)  # others than those that were looked at to choose what is compared

digits = load("digits")
few = digits.training.take(range(400))
convolution = [Conv2D(16, padding=1), ReLU()]


def accuracy(convolutions, seed):
    """Percent of the validation part, by a network that is drawn and trained by a seed."""
    layers = [*convolution * convolutions, MaxPool2D(2), Flatten(), Dense(10)]
    trainer = Trainer(
        Sequential(layers, (8, 8, 1), seed=seed),
        few,
        loss="softmax_cross_entropy",
        optimizer="adam",
        schedule=0.003,
        batch_size=20,
        preprocessing="scale",
        seed=seed,
    )
    for _ in range(30):
        trainer.train(trainer.steps_per_epoch)
    return 100 * trainer.evaluate(digits.validation).accuracy


found = {}
for convolutions in (1, 2):
    each = found[convolutions] = np.array([accuracy(convolutions, seed) for seed in SEEDS])
    print(f"{convolutions}: {each.mean():.1f} ± {each.std(ddof=1):.1f} %, ", end="")
    print(f"from {each.min()} to {each.max()} %")

# Both trainings of a seed take the same batches, so that luck with them is in neither's favour.
gains = found[2] - found[1]
error = gains.std(ddof=1) / len(gains) ** 0.5
print(f"gain {gains.mean():.2f} points, standard error {error:.2f}")

names = "one convolution", "two"
picture = plots.histograms(
    found[1], found[2], bins=12, xlabel="validation accuracy, %", names=names
)
