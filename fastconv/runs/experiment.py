"""A recipe made real: data loaded, network built, trainer ready, results summed up."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.data import (
    DataError,
    Dataset,
    Samples,
    load,
    split,
    training_statistics,
)
from fastconv.data.names import OWN
from fastconv.execution.config import ExecutionConfig
from fastconv.inference import Score
from fastconv.network import NetworkError, Sequential
from fastconv.plans.operation import AugmentSpec, InputSpec, RandomSpec
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.recipe import Recipe
from fastconv.recipes.schema import RecipeError
from fastconv.trainer import Trainer
from fastconv.training_loop import Result

if TYPE_CHECKING:
    from fastconv.data_parallel.group import Group

_APPEND_STREAM = 2**32 - 1
"""Random stream of the appended copy, apart from those of the plan."""
_APPEND_BATCH = 1000


@dataclass(frozen=True)
class Experiment:
    """Everything that a recipe names, loaded.

    Parameters
    ----------
    recipe
        The recipe.
    dataset
        Training part (with its appended copy, if any), validation and test parts.
    plain_training
        The training part without the appended copy.
    trainer
        Ready to train.
    steps
        Length of the recipe in updates.
    left_out
        What was not taken of the weights that it begins from, each with the reason.
    """

    recipe: Recipe
    dataset: Dataset
    plain_training: Samples
    trainer: Trainer
    steps: int
    left_out: tuple[str, ...] = ()

    @property
    def plain_dataset(self) -> Dataset:
        """The data set without the appended copy: what the recipe names, or what was given."""
        made = self.dataset
        return dataclasses.replace(made, training=self.plain_training)


def prepare(
    recipe: Recipe,
    *,
    data_dir: str | Path | None = None,
    config: ExecutionConfig | None = None,
    dataset: Dataset | None = None,
    init_from: str | Path | None = None,
    group: Group | None = None,
    preprocessing: Preprocessing | None = None,
) -> Experiment:
    """Load the data, build the network and the trainer.

    Parameters
    ----------
    recipe
        What to train.
    data_dir
        As for :func:`fastconv.data.load`.
    config
        Where and how it computes; None for what is chosen here.
    dataset
        Used instead of the recipe's data set, as it is.
    init_from
        A run's folder or a file of weights to begin from, where names and shapes are the same.
    group
        As for :class:`fastconv.Trainer`.
    preprocessing
        The recipe's, of these data, where it is known already: statistics take a pass over them.

    Raises
    ------
    DataError, NetworkError, RecipeError, BackendError
        If something named in the recipe is not there or does not fit.
    """
    if dataset is None:
        dataset = load_dataset(recipe, data_dir)
    if "f" in (dataset.training.images.dtype.kind, dataset.training.labels.dtype.kind):
        from fastconv.data.finite import require_finite

        require_finite(dataset)
    recipe = recipe.for_outputs(len(dataset.class_names) or dataset.training.labels.shape[1])
    plain_training = dataset.training
    if preprocessing is None:
        preprocessing = preprocessing_of(recipe, dataset.training)
    recipe.augmentation.check_images(dataset.image_shape)
    augmentation = recipe.augmentation.augmentation()
    if recipe.augmentation.mode == "append" and augmentation.is_active:
        training = _with_copy(dataset.training, augmentation, recipe.seed)
        dataset = dataclasses.replace(dataset, training=training)
        augmentation = Augmentation()
    _check_form(recipe, dataset)
    network = recipe.make_network(dataset.image_shape, plain_training.images, preprocessing)
    _check_outputs(recipe, network, dataset)
    left_out = [] if init_from is None else network.load_matching_weights(_weights_of(init_from))
    steps_per_epoch = recipe.steps_per_epoch(len(dataset.training))
    steps = recipe.steps or (recipe.epochs or 0) * steps_per_epoch
    if recipe.schedule.kind == "plateau" and dataset.validation is None:
        raise RecipeError(
            "schedule.kind is 'plateau', which goes by the validation, but there is no validation "
            "part; hold one out with data.validation"
        )
    trainer = Trainer(
        network,
        dataset.training,
        loss=recipe.make_loss(),
        optimizer=recipe.make_optimizer(steps_per_epoch, steps),
        schedule=recipe.schedule.schedule(recipe.optimizer.lr, steps_per_epoch, steps),
        batch_size=recipe.batch_size,
        last_batch=recipe.last_batch,
        accumulate=recipe.accumulate,
        momentum_schedule=recipe.make_momentum_schedule(steps_per_epoch, steps),
        average=recipe.average_weights,
        preprocessing=preprocessing,
        augmentation=augmentation,
        seed=recipe.seed,
        shards=recipe.shards,
        group=group,
        sync_batch_norm=recipe.sync_batch_norm,
        config=config,
    )
    return Experiment(recipe, dataset, plain_training, trainer, steps, tuple(left_out))


def _weights_of(path: str | Path) -> Path:
    """Return the file of weights that a run's folder or a path means."""
    given = Path(path)
    if not given.is_dir():
        return given
    for name in ("weights.safetensors", "best.safetensors"):
        if (given / name).is_file():
            return given / name
    checkpoints = sorted(given.glob("checkpoints/step-*.safetensors"))
    if not checkpoints:
        raise NetworkError(
            f"{given}: holds no weights.safetensors and no checkpoints; give the folder of a run, "
            f"or a file of weights"
        )
    return checkpoints[-1]


def load_dataset(recipe: Recipe, data_dir: str | Path | None) -> Dataset:
    """Load a recipe's data set and hold out the validation part.

    Parameters
    ----------
    recipe, data_dir
        As for :func:`prepare`.

    Raises
    ------
    DataError, RecipeError
        If the data are not there, or there are none of what the recipe asks for.
    """
    section = recipe.data
    try:
        options = section.options()
        if section.dataset == OWN and data_dir is None:
            data_dir = section.path
        dataset = load(section.dataset, data_dir, **options)
    except (DataError, RecipeError):
        raise
    except ValueError as fault:  # such as batches that there are not
        raise RecipeError(f"[data]: {fault}") from None
    training, validation = dataset.training, dataset.validation
    if section.validation is not None:
        if section.validation >= len(training):
            raise DataError(
                f"data.validation is {section.validation} but there are {len(training)} training "
                f"samples; expected less, so that some are left to train on"
            )
        validation = None
        if section.validation > 0:
            training, validation = split(training, section.validation, section.validation_seed)
    if section.training_samples is not None:
        if section.training_samples > len(training):
            raise DataError(
                f"data.training_samples is {section.training_samples} but there are "
                f"{len(training)} training samples; expected 1 to {len(training)}"
            )
        first = section.training_samples
        training = Samples(training.images[:first], training.labels[:first])
    return dataclasses.replace(dataset, training=training, validation=validation)


def preprocessing_of(recipe: Recipe, training: Samples) -> Preprocessing:
    """Return a recipe's preprocessing, with the statistics of the training samples.

    Parameters
    ----------
    recipe
        The recipe.
    training
        What it trains on.
    """
    section = recipe.preprocessing
    if section.kind != "standardize":
        return Preprocessing(section.kind)
    if section.mean is not None and section.std is not None:
        # Given for pixels in [0, 1], as is usual; raw pixels go to 255.
        mean, std = 255 * np.array(section.mean), 255 * np.array(section.std)
        return Preprocessing("standardize", mean=mean, std=std)
    mean, std = training_statistics(training.images, section.per)
    return Preprocessing("standardize", mean=mean, std=std)


def _with_copy(training: Samples, augmentation: Augmentation, seed: int) -> Samples:
    from fastconv.data import append_transformed_copy  # few recipes ask for it

    height, width, channels = training.images.shape[1:]
    a = augmentation
    spec = AugmentSpec(
        InputSpec(_APPEND_BATCH, height, width, channels),
        RandomSpec(seed, _APPEND_STREAM),
        a.flip,
        a.crop,
        a.rotation,
        a.shear,
        a.translation,
        a.cutout,
    )

    return append_transformed_copy(training, spec)


def _check_form(recipe: Recipe, dataset: Dataset) -> None:
    """Raise where features are given to convolutions, with what to use instead."""
    if recipe.data.dataset != OWN or dataset.image_shape[:2] != (1, 1):
        return
    if recipe.layers and recipe.layers[0].get("kind") in ("conv2d", "max_pool2d", "avg_pool2d"):
        raise NetworkError(
            f"{dataset.name} has {dataset.image_shape[2]} features for each sample but recipe "
            f"{recipe.name} begins with {recipe.layers[0]['kind']}, which takes pictures; use "
            f"--recipe own-features, or say their form by --set data.image_shape=[HEIGHT,WIDTH]"
        )


def _check_outputs(recipe: Recipe, network: Sequential, dataset: Dataset) -> None:
    classes = len(dataset.class_names)
    if classes and network.output_shape != (classes,):
        raise NetworkError(
            f"the network's output is {network.output_shape} but {dataset.name} has {classes} "
            f"classes; end it with a dense layer of {classes} units"
        )


def summarize(
    experiment: Experiment,
    result: Result,
    *,
    test: Score | None,
    train_final: Score | None,
) -> dict[str, Any]:
    """Return the numbers of a run, as in summary.json; None where a field does not apply."""
    recipe, trainer = experiment.recipe, experiment.trainer
    steps = trainer.step
    seconds = trainer.train_seconds
    validation = result.validation
    return {
        "recipe": recipe.name,
        "dataset": experiment.dataset.name,
        "backend": trainer.config.backend,
        "threads": trainer.config.threads,
        "precision": trainer.config.precision,
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
        "steps": steps,
        "epochs": steps / trainer.steps_per_epoch,
        "parameters": trainer.network.parameter_count,
        "warmup_seconds": trainer.warmup_seconds,
        "train_seconds": seconds,
        "step_ms": 1000 * seconds / steps if steps else None,
        "samples_per_second": trainer.samples_of(steps) / seconds if seconds else None,
        "train_loss": result.training.loss if steps else None,
        "train_accuracy": result.training.accuracy,
        "train_loss_final": train_final.loss if train_final else None,
        "train_accuracy_final": train_final.accuracy if train_final else None,
        "penalty": trainer.network.penalty(recipe.optimizer.l2),
        "validation_loss": validation.loss if validation else None,
        "validation_accuracy": validation.accuracy if validation else None,
        "test_loss": test.loss if test else None,
        "test_accuracy": test.accuracy if test else None,
        "peak_rss_mib": peak_rss_mib(),
        "launches": getattr(trainer.runner, "launches", None),
        "stopped": result.stopped,
    }


def peak_rss_mib() -> float | None:
    """Largest resident memory of this process so far in MiB; None where the system is silent."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
