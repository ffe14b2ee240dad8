"""Training steps of recipes, from uint8 images to updated parameters."""

from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare

from .made_data import random_dataset

_STEPS = 16


class Steps:
    """Sixteen steps of a recipe at a batch size, which hide the call that asks for them."""

    params = (
        "mnist-strided, 1",
        "mnist-strided, 128",
        "lenet5, 32",
        "cifar10-deep, 1",
        "cifar10-deep, 32",
    )
    param_names = ("recipe, batch",)

    def setup(self, workload):
        """Make everything ready, with the first steps behind it."""
        name, batch = workload.split(", ")
        settings = [("batch_size", int(batch)), ("data.validation", 0)]
        recipe = load_recipe(name, settings)
        self.trainer = prepare(recipe, dataset=random_dataset(recipe.data.dataset)).trainer
        self.trainer.train(_STEPS)

    def time_16_steps(self, workload):
        """Every epoch has a whole number of sixteens."""
        self.trainer.train(_STEPS)
