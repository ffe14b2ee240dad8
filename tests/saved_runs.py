"""Small runs on disk, for tests of what reads them."""

import numpy as np

from fastconv.analysis.probe import Probe
from fastconv.data import Dataset, Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.recipe import Recipe
from fastconv.recipes.schema import read_dataclass
from fastconv.runs.experiment import prepare, summarize
from fastconv.runs.run_folder import RunFolder
from fastconv.training_loop import fit

CONVOLUTIONAL = [
    {"kind": "conv2d", "filters": 4, "kernel": 3, "padding": "same"},
    {"kind": "relu"},
    {"kind": "max_pool2d", "kernel": 2},
    {"kind": "conv2d", "filters": 6, "kernel": 3},
    {"kind": "batch_norm"},
    {"kind": "relu"},
    {"kind": "dropout", "probability": 0.2},
    {"kind": "flatten"},
    {"kind": "dense", "units": 3},
]
TINY_RECIPE = """
epochs = 2
batch_size = 100
[[layers]]
kind = "flatten"
[[layers]]
kind = "dense"
units = 10
[optimizer]
lr = 0.5
"""
"""One dense layer on the digits."""
NAMES = ("dark", "middle", "<bright> & so on")


def shades(channels=3, samples=120):
    """Images of three shades with some noise, which are easy to tell apart."""
    generator = np.random.default_rng(0)

    def part(count):
        labels = generator.integers(0, 3, count)
        noise = generator.integers(0, 60, (count, 8, 10, channels))
        images = (90 * labels[:, None, None, None] + noise).astype(np.uint8)
        return Samples(images, np.where(generator.random(count) < 0.1, (labels + 1) % 3, labels))

    return Dataset("shades", part(samples), part(60), NAMES, part(40))


def line():
    """A noisy line: a regression of one number on another."""
    generator = np.random.default_rng(0)

    def part(count):
        x = generator.uniform(-1, 1, (count, 1))
        y = 2 * x + 0.1 * generator.normal(size=(count, 1))
        return Samples(x.reshape(-1, 1, 1, 1).astype(np.float32), y.astype(np.float32))

    return Dataset("line", part(60), part(30), ())


def recipe_of(layers, **settings):
    table = {
        "name": "small", "description": "A small run.", "epochs": 3, "batch_size": 20,
        "layers": layers, "optimizer": {"kind": "adam", "lr": 0.01}, **settings,
    }  # fmt: skip
    return read_dataclass(Recipe, table, "")


def save_run(folder, recipe, dataset, *, with_probe=True):
    """Train and write what ``python -m fastconv.train`` writes; return the experiment."""
    experiment = prepare(recipe, dataset=dataset, config=ExecutionConfig("numpy"))
    trainer, files = experiment.trainer, RunFolder(folder)
    files.write_recipe(recipe)
    files.write_json("environment.json", {"backend": "numpy", "command": ["train", "--seed", "1"]})
    preprocessing = trainer.inference.preprocessing
    files.write_model(experiment.plain_dataset, preprocessing)
    probe = Probe(
        trainer.network, dataset.training, loss=recipe.loss, preprocessing=preprocessing,
        backend="numpy",
    )  # fmt: skip

    class Observer:
        def on_steps(self, step, epoch, score):
            pass

        def on_entry(self, entry):
            files.append_history(entry)
            if with_probe:
                files.append_probe(trainer.step, probe.measure())

    result = fit(trainer, experiment.steps, validation=dataset.validation, observer=Observer())
    test = trainer.evaluate(dataset.test)
    files.write_weights(trainer.network)
    summary = summarize(experiment, result, test=test, train_final=None)
    files.write_json("summary.json", summary)
    return experiment
