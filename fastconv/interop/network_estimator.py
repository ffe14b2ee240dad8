"""What estimators of scikit-learn share: from arrays of X to a trained network and its scores."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv._extras import missing_extra

try:
    from sklearn.base import BaseEstimator  # type: ignore[import-untyped]
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
    from sklearn.utils import check_random_state  # type: ignore[import-untyped]
    from sklearn.utils.validation import (  # type: ignore[import-untyped]
        check_is_fitted,
        validate_data,
    )
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.interop.sklearn", fault, "sklearn") from None

from fastconv.data import DataError, Samples, training_statistics
from fastconv.early_stopping import EarlyStopping
from fastconv.execution.checkpoint import Checkpoint
from fastconv.execution.config import ExecutionConfig
from fastconv.initializers import Initializer
from fastconv.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from fastconv.network import NetworkError, Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.predictor import Predictor
from fastconv.preprocessing import Preprocessing, as_preprocessing
from fastconv.recipe import Recipe, load_recipe
from fastconv.recipes.recipe_sections import ScheduleSection
from fastconv.runs.experiment import preprocessing_of
from fastconv.schedules import Schedule, as_schedule
from fastconv.spec import require_int
from fastconv.trainer import Trainer
from fastconv.training_loop import Result, fit

_EPOCHS, _BATCH_SIZE, _LEARNING_RATE = 50, 32, 0.003
"""Of a network that is no recipe's."""
_LEAST_SIDE = 4
"""Of an image that is pooled."""


class NetworkEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the estimators have in common: from arrays of X to scores.

    Parameters
    ----------
    network, hidden_layer_sizes, image_shape, loss, optimizer, learning_rate, schedule, epochs
        As for :class:`fastconv.interop.sklearn.FastconvClassifier`.
    batch_size, preprocessing, early_stopping, validation_fraction, patience, random_state
        As for :class:`fastconv.interop.sklearn.FastconvClassifier`.
    warm_start, dtype, backend, threads
        As for :class:`fastconv.interop.sklearn.FastconvClassifier`.
    """

    _default_loss = ""

    def __init__(
        self,
        network: str | Sequence[Layer] | None = None,
        *,
        hidden_layer_sizes: Sequence[int] = (64, 32),
        image_shape: Sequence[int] | None = None,
        loss: str | Loss | None = None,
        optimizer: str | Optimizer | None = None,
        learning_rate: float | None = None,
        schedule: str | float | Schedule | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        preprocessing: str | Preprocessing = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        dtype: str | None = None,
        backend: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.image_shape = image_shape
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.preprocessing = preprocessing
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.warm_start = warm_start
        self.dtype = dtype
        self.backend = backend
        self.threads = threads

    def _fit(
        self, X: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None,
        outputs: int, *, epochs: int | None = None, goes_on: bool = False,
    ) -> None:  # fmt: skip
        """Train on images and what is to be learned about each.

        Parameters
        ----------
        X, targets, weights
            As they were checked; class numbers, or targets (samples, outputs).
        outputs
            Of the network.
        epochs
            Of a partial fit; None for those of a whole one.
        goes_on
            Whether to begin where the last one ended.
        """
        images = self._images(X)
        if weights is not None and not weights.all():
            if not weights.any():
                raise DataError(
                    f"{type(self).__name__}: class_weight is zero for all of these samples; "
                    f"expected one above 0 among their classes"
                )
            images, targets, weights = (each[weights > 0] for each in (images, targets, weights))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        samples, weights, validation = self._divided(images, targets, weights, seed)
        recipe = self._recipe(outputs)
        if not goes_on:
            self.preprocessing_ = self._preprocessing(recipe, samples)
            self.network_ = self._network(recipe, images, self.preprocessing_, outputs, seed)
            self.loss_curve_: list[float] = []
            self.validation_loss_curve_: list[float] = []
            self._checkpoint: Checkpoint | None = None
        is_remembered = epochs is not None or self.warm_start
        if epochs is None:
            epochs = self._epochs(recipe, len(samples))
        trainer = self._trainer(recipe, samples, weights, epochs, seed)
        stopping = EarlyStopping(patience=self.patience) if validation is not None else None
        end = trainer.step + epochs * trainer.steps_per_epoch
        result = fit(trainer, end, validation=validation, early_stopping=stopping)
        trainer.update_network()
        self.network_ = trainer.trained_network
        self._keep(result, stopping, trainer)
        if is_remembered:
            self._checkpoint = trainer.checkpoint()

    def _keep(self, result: Result, stopping: EarlyStopping | None, trainer: Trainer) -> None:
        """Remember what a training came to."""
        if result.stopped == "diverged":
            epoch = (trainer.step - 1) // trainer.steps_per_epoch + 1
            raise DataError(
                f"{type(self).__name__}: the training diverged in epoch {epoch}: its loss is not "
                f"finite; use a smaller learning_rate, or scale X and y"
            )
        self.loss_curve_ += [record.training.loss for record in result.history]
        validated = [record.validation for record in result.history if record.validation]
        self.validation_loss_curve_ += [score.loss for score in validated]
        self.n_iter_ = len(self.loss_curve_)
        self.best_validation_loss_ = None if stopping is None else stopping.best_value
        self._make_predictor()

    def _divided(
        self, images: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None,
        seed: int,
    ) -> tuple[Samples, NDArray[np.float64] | None, Samples | None]:  # fmt: skip
        """Hold samples out where early stopping needs some."""
        if not self.early_stopping:
            return Samples(images, targets), weights, None
        kept, held_out = train_test_split(
            np.arange(len(images)), test_size=self.validation_fraction, random_state=seed,
            stratify=targets if targets.ndim == 1 else None,
        )  # fmt: skip
        training = Samples(images[kept], targets[kept])
        validation = Samples(images[held_out], targets[held_out])
        return training, None if weights is None else weights[kept], validation

    def _images(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return X as networks take it: (samples, height, width, channels)."""
        shape = X.shape[1:]
        if X.ndim == 2:
            shape = (1, 1, *shape)
            if self.image_shape is not None:
                shape = (*self.image_shape, 1)[:3]
                if math.prod(shape) != X.shape[1]:
                    raise DataError(
                        f"{type(self).__name__}: X has {X.shape[1]} values in a row; expected "
                        f"{math.prod(shape)}, for image_shape {tuple(self.image_shape)}; correct "
                        f"one of the two"
                    )
        elif X.ndim == 3:
            shape = (*shape, 1)
        elif X.ndim != 4:
            raise DataError(
                f"{type(self).__name__}: X has {X.ndim} dimensions; expected (samples, features), "
                f"(samples, height, width) or (samples, height, width, channels)"
            )
        is_image = shape[:2] != (1, 1)
        if X.dtype not in (np.float32, np.float64, *([np.uint8] if is_image else [])):
            X = X.astype(self.dtype or ("float32" if is_image else "float64"))
        return np.ascontiguousarray(X).reshape(len(X), *shape)

    def _recipe(self, outputs: int) -> Recipe | None:
        """Return the recipe that the network is named after, if it is."""
        if not isinstance(self.network, str):
            return None
        return load_recipe(self.network).for_outputs(outputs)

    def _preprocessing(self, recipe: Recipe | None, training: Samples) -> Preprocessing:
        images = training.images
        if self.preprocessing != "auto":
            if self.preprocessing == "standardize":
                per = "channel" if images.shape[1:3] != (1, 1) else "feature"
                mean, std = training_statistics(images, per)  # type: ignore[arg-type]
                return Preprocessing("standardize", mean=mean, std=std)
            return as_preprocessing(type(self).__name__, self.preprocessing)
        if recipe is not None:
            return preprocessing_of(recipe, training)
        if images.shape[1:3] != (1, 1):
            return Preprocessing("scale" if images.dtype == np.uint8 else "none")
        mean, std = training_statistics(images)
        return Preprocessing("standardize", mean=mean, std=std)

    def _network(
        self,
        recipe: Recipe | None,
        images: NDArray[Any],
        preprocessing: Preprocessing,
        outputs: int,
        seed: int,
    ) -> Sequential:
        """Return the network with its first weights."""
        has_features = images.shape[1:3] == (1, 1)
        input_shape = images.shape[3:] if has_features else images.shape[1:]
        dtype = self.dtype or (images.dtype.name if has_features else "float32")
        initializer: Initializer | dict[str, Initializer] | None = None
        if recipe is not None:
            layers: list[Layer] = list(recipe.make_layers())
            initializer = recipe.initialization.initializer(images, preprocessing)
        elif self.network is None:
            layers = _default_layers(input_shape, self.hidden_layer_sizes, outputs)
        else:
            layers = _with_output(self.network, input_shape, outputs)
        made = Sequential(layers, input_shape, initializer=initializer, seed=seed, dtype=dtype)
        if made.output_shape != (outputs,):
            raise NetworkError(
                f"{type(self).__name__}: the network {self.network!r} gives {made.output_shape}; "
                f"expected ({outputs},) for this y; end it with a dense layer of {outputs} units"
            )
        return made

    def _epochs(self, recipe: Recipe | None, count: int) -> int:
        if self.epochs is not None:
            return require_int(type(self).__name__, "epochs", self.epochs, 1)
        if recipe is None:
            return _EPOCHS
        steps = max(1, count // min(recipe.batch_size * recipe.accumulate, count))
        return recipe.epochs or math.ceil((recipe.steps or 1) / steps)

    def _trainer(
        self, recipe: Recipe | None, samples: Samples, weights: NDArray[np.float64] | None,
        epochs: int, seed: int,
    ) -> Trainer:  # fmt: skip
        """Return what trains the network, at the step that was come to before."""
        batch_size = _BATCH_SIZE if recipe is None else recipe.batch_size
        if self.batch_size is not None:
            batch_size = require_int(type(self).__name__, "batch_size", self.batch_size, 1)
        batch_size = min(batch_size, len(samples))
        accumulate = 1 if recipe is None else recipe.accumulate
        # A schedule spans all epochs that are meant, of many partial fits too.
        whole = max(self._epochs(recipe, len(samples)), len(self.loss_curve_) + epochs)
        of_epoch = max(1, len(samples) // (batch_size * accumulate))
        optimizer: Optimizer | str = "adam"
        if recipe is not None:
            optimizer = recipe.make_optimizer(of_epoch, whole * of_epoch)
        loss: Loss | str = self._default_loss if recipe is None else recipe.make_loss()
        trainer = Trainer(
            self.network_, samples, loss=self.loss or loss, optimizer=self.optimizer or optimizer,
            schedule=self._schedule(recipe, of_epoch, whole),
            batch_size=batch_size, accumulate=accumulate,
            average=None if recipe is None else recipe.average_weights,
            preprocessing=self.preprocessing_,
            augmentation=None if recipe is None else recipe.augmentation.augmentation(),
            seed=seed, sample_weights=weights, config=self._config(),
        )  # fmt: skip
        if self._checkpoint is not None:
            # The optimiser's arrays and the count of steps go on, over other samples: by whole
            # epochs of theirs.
            state = self._checkpoint.state["trainer"]
            of_epoch = trainer.steps_per_epoch
            step = -(-state["step"] // of_epoch) * of_epoch
            own = trainer.checkpoint().state["trainer"]
            kept = {**own, "step": step, "observations": state["observations"]}
            trainer.restore(Checkpoint(self._checkpoint.arrays, {"trainer": kept}))
        return trainer

    def _schedule(self, recipe: Recipe | None, of_epoch: int, epochs: int) -> Schedule:
        rate, section = _LEARNING_RATE, ScheduleSection()
        if recipe is not None:
            rate, section = recipe.optimizer.lr, recipe.schedule
        rate = rate if self.learning_rate is None else self.learning_rate
        if isinstance(self.schedule, str):
            section = ScheduleSection(self.schedule)  # type: ignore[arg-type]  # which, it checks
        elif self.schedule is not None:
            # One that learns from validations is no parameter any more.
            return as_schedule(type(self).__name__, copy.deepcopy(self.schedule))
        return section.schedule(rate, of_epoch, epochs * of_epoch)

    def _config(self) -> ExecutionConfig:
        return ExecutionConfig(self.backend, self.threads)

    def _make_predictor(self) -> None:
        self._predictor = Predictor(
            self.network_, self._config(), preprocessing=self.preprocessing_
        )

    def _scores(self, X: ArrayLike) -> NDArray[Any]:
        """Return the network's outputs for X, (samples, outputs)."""
        check_is_fitted(self)
        return self._predictor(self._images(validate_data(self, X, reset=False, allow_nd=True)))

    def _weights(self, sample_weight: ArrayLike | None, count: int) -> NDArray[np.float64] | None:
        """Return weights of samples, checked."""
        if sample_weight is None:
            return None
        weights = np.array(sample_weight, np.float64)
        owner = type(self).__name__
        if weights.shape != (count,):
            raise DataError(
                f"{owner}: sample_weight has shape {weights.shape}; expected ({count},), one "
                f"number for each sample"
            )
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise DataError(
                f"{owner}: sample_weight holds a number below 0 or not finite; expected 0 or more"
            )
        if not weights.any():
            raise DataError(
                f"{owner}: every sample_weight is zero; expected one above 0, so that there is "
                f"something to learn"
            )
        return weights

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the plans: another process makes its own, with threads of its own."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_predictor", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, and make plans anew."""
        super().__setstate__(state)
        if hasattr(self, "network_"):
            self._make_predictor()


def _default_layers(
    input_shape: tuple[int, ...], units: Sequence[int], outputs: int
) -> list[Layer]:
    """Return dense layers with a ReLU, on images behind two convolutions, and the output."""
    layers: list[Layer] = []
    if len(input_shape) == 3:
        side = min(input_shape[:2])
        for filters in (16, 32):
            layers += [Conv2D(filters, padding=1), ReLU()]
            if side >= _LEAST_SIDE:
                layers.append(MaxPool2D(2))
                side //= 2
        layers.append(Flatten())
    for each in units:
        layers += [Dense(each), ReLU()]
    return [*layers, Dense(outputs)]


def _with_output(given: object, input_shape: tuple[int, ...], outputs: int) -> list[Layer]:
    """Return layers with the output behind them."""
    layers: list[Layer] = list(given) if isinstance(given, (list, tuple)) else []
    if not layers and given not in ([], ()):
        raise NetworkError(
            f"network is a {type(given).__name__}; expected a list of layers, such as "
            f"[Dense(64), ReLU()], or the name of a recipe"
        )
    last = layers[-1] if layers else None
    if (isinstance(last, Dense) and last.units == outputs) or (
        last is not None and getattr(last, "kind", "").endswith("softmax")
    ):
        return layers
    shape = Sequential(layers, input_shape).output_shape if layers else input_shape
    return [*layers, *([Flatten()] if len(shape) == 3 else []), Dense(outputs)]
