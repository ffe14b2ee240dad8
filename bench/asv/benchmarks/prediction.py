"""Scores of images, by a network whose plans are kept."""

import numpy as np

import fastconv
from fastconv.recipe import load_recipe

from .made_data import SHAPES


class Prediction:
    """``lenet5`` on images of 28 x 28 pixels."""

    params = (1, 128)
    param_names = ("images",)

    def setup(self, count):
        """Build the network; the first call makes its plan."""
        recipe = load_recipe("lenet5")
        network = fastconv.Sequential(recipe.make_layers(), SHAPES["mnist"])
        self.predictor = fastconv.Predictor(network, preprocessing="scale")
        self.images = np.random.default_rng(0).integers(
            0, 256, (count, *SHAPES["mnist"]), dtype=np.uint8
        )
        self.predictor(self.images)

    def time_predict(self, count):
        """From uint8 images to scores."""
        self.predictor(self.images)
