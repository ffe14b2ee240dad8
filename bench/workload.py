"""What is compared: a recipe's network and optimiser at a batch size, on random images.

Everything that a contender needs, without any framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.data import Dataset, Samples
from fastconv.network import Sequential
from fastconv.recipe import Recipe, load_recipe
from fastconv.recipes.schema import RecipeError

DATA_SETS = {"cifar10": ((32, 32, 3), 50000), "mnist": ((28, 28, 1), 60000)}
"""Image shape and number of training samples."""


def kind_and_settings(layer: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Kind and settings of a layer of a recipe, or of one in a block."""
    return layer["kind"], {key: value for key, value in layer.items() if key != "kind"}


@dataclass(frozen=True)
class Workload:
    """A recipe at a batch size."""

    name: str
    batch: int
    recipe: Recipe
    shape: tuple[int, int, int]
    samples: int

    @classmethod
    def of(cls, name: str, batch: int) -> Workload:
        """Load the recipe."""
        recipe = load_recipe(name, [("batch_size", batch), ("data.validation", 0)])
        if recipe.data.dataset not in DATA_SETS:
            raise RecipeError(
                f"recipe {name!r} is for the data set {recipe.data.dataset}; expected one for "
                f"{' or '.join(DATA_SETS)}"
            )
        shape, samples = DATA_SETS[recipe.data.dataset]
        if batch > samples:
            raise RecipeError(f"batch size is {batch}; {recipe.data.dataset} has {samples} images")
        return cls(name, batch, recipe, shape, samples)

    @property
    def layers(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and settings of each layer, as the recipe has them."""
        return [kind_and_settings(layer) for layer in self.recipe.layers]

    def network(self) -> Sequential:
        """The network with the weights that a training of the recipe begins with."""
        return Sequential(
            self.recipe.make_layers(),
            self.shape,
            initializer=self.recipe.initialization.initializer(),
            seed=self.recipe.seed,
        )

    def order(self, steps: int) -> np.ndarray:
        """Which images make the batch of each step, drawn at random: int64 (steps, batch)."""
        return np.random.default_rng(2).integers(0, self.samples, (steps, self.batch))

    def images(self) -> np.ndarray:
        """Random uint8 images, NHWC, as many as the real training set has."""
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (self.samples, *self.shape), dtype=np.uint8)

    def labels(self) -> np.ndarray:
        """Random class numbers, int64."""
        return np.random.default_rng(1).integers(0, 10, self.samples)

    def dataset(self) -> Dataset:
        """The same as a data set of fastconv."""
        images, labels = self.images(), self.labels()
        samples = Samples(images, labels)
        names = tuple(str(number) for number in range(10))
        return Dataset(self.recipe.data.dataset, samples, Samples(images[:10], labels[:10]), names)

    def batches(self, images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ready float32 batches in [0, 1], NHWC, with labels: for those who do not gather."""
        wanted = count * self.batch
        ready = images[:wanted].astype(np.float32) / 255
        return (
            ready.reshape(count, self.batch, *self.shape),
            self.labels()[:wanted].reshape(count, self.batch),
        )
