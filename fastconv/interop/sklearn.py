"""Estimators of scikit-learn: networks with ``fit`` and ``predict``, for pipelines and searches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv._extras import missing_extra

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.interop.sklearn", fault, "sklearn") from None

from fastconv.data import DataError, Samples, training_statistics
from fastconv.early_stopping import EarlyStopping
from fastconv.execution.checkpoint import Checkpoint
from fastconv.execution.config import ExecutionConfig
from fastconv.functional.activation import softmax
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
from fastconv.spec import SpecError, require_int
from fastconv.trainer import Trainer
from fastconv.training_loop import Result, fit

_EPOCHS, _BATCH_SIZE, _LEARNING_RATE = 50, 32, 0.003
"""Of a network that is no recipe's."""
_LEAST_SIDE = 4
"""Of an image that is pooled."""


class _NetworkEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the estimators have in common: from arrays of X to scores."""

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
            images, targets, weights = (each[weights > 0] for each in (images, targets, weights))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        samples, weights, validation = self._divided(images, targets, weights, seed)
        recipe = self._recipe(outputs)
        if not goes_on:
            self.preprocessing_ = self._preprocessing(recipe, samples)
            self.network_ = self._network(recipe, images.shape[1:], outputs, seed)
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
            raise DataError(
                f"{type(self).__name__}: the training diverged in epoch {trainer.epoch + 1}: its "
                f"loss is not finite; use a smaller learning_rate, or scale X and y"
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
            X = X.astype(self.dtype)
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
        self, recipe: Recipe | None, shape: Sequence[int], outputs: int, seed: int
    ) -> Sequential:
        """Return the network with its first weights."""
        input_shape = tuple(shape[2:]) if tuple(shape[:2]) == (1, 1) else tuple(shape)
        initializer: Initializer | None = None
        if recipe is not None:
            layers: list[Layer] = list(recipe.make_layers())
            initializer = recipe.initialization.initializer()
        elif self.network is None:
            layers = _default_layers(input_shape, self.hidden_layer_sizes, outputs)
        else:
            layers = _with_output(self.network, input_shape, outputs)
        made = Sequential(layers, input_shape, initializer=initializer, seed=seed, dtype=self.dtype)
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
        optimizer: Optimizer | str = recipe.optimizer if recipe is not None else "adam"
        loss: Loss | str = self._default_loss if recipe is None else recipe.make_loss()
        trainer = Trainer(
            self.network_, samples, loss=self.loss or loss, optimizer=self.optimizer or optimizer,
            schedule=self._schedule(
                recipe, max(1, len(samples) // (batch_size * accumulate)), epochs
            ),
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


class FastconvClassifier(ClassifierMixin, _NetworkEstimator):  # type: ignore[misc]
    """A network that tells classes apart.

    Parameters
    ----------
    network
        The layers, first to last: a dense layer with a unit for each class is added behind them
        unless they end with one, or with a softmax. Or the name or the file of a recipe, whose
        optimiser, schedule, preprocessing and length are taken too where no parameter says another.
        None for dense layers on features, and two convolutions in front of them on images.
    hidden_layer_sizes
        Units of the dense layers with a ReLU where ``network`` is None.
    image_shape
        (height, width) or (height, width, channels) of what stands in a row of X; X may be
        (samples, height, width, channels) as well.
    loss
        The name of a loss of classes, or a :class:`fastconv.Loss`; None for the recipe's, or
        "softmax_cross_entropy".
    optimizer
        A name, or an :class:`fastconv.optimizers.Optimizer`; None for the recipe's, or "adam".
    learning_rate
        The largest; None for the recipe's, or 0.003.
    schedule
        A kind of schedule such as "cosine", over ``epochs``; or one of
        :mod:`fastconv.schedules`, or a number, in place of the learning rate. None for the
        recipe's, or a constant rate.
    epochs, batch_size
        None for the recipe's, or 50 and 32. Samples of an epoch that fill no batch are left out of
        it; others the next time.
    preprocessing
        What happens to X before the first layer. "auto": what the recipe says, or else features
        are brought to mean 0 and deviation 1, and bytes of images to [0, 1]. Or the kind of a
        preprocessing, or one itself; "none" in a pipeline that scales.
    class_weight
        Weights of the classes, {label: weight}, by which their samples count; "balanced" by their
        numbers.
    early_stopping
        Whether to hold out ``validation_fraction`` of the samples, stop after ``patience`` epochs
        without a smaller loss there, and keep the weights of the best.
    validation_fraction, patience
        See above. The held-out samples count alike.
    random_state
        Of weights, order, dropout and augmentation.
    warm_start
        Whether ``fit`` goes on from where it was.
    dtype
        "float32" or "float64".
    backend, threads
        As for :class:`fastconv.ExecutionConfig`: a worker of joblib has as many threads as joblib
        tells it.

    Attributes
    ----------
    classes_
        The labels, in the order of the columns of :meth:`predict_proba`.
    network_, preprocessing_
        The trained :class:`fastconv.Sequential`, and what comes in front of it.
    n_iter_, loss_curve_
        Epochs, and the mean loss of each.
    validation_loss_curve_, best_validation_loss_
        With early stopping.
    n_features_in_, feature_names_in_
        As in any estimator.

    Examples
    --------
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["low", "low", "high", "high"])
    >>> classifier = FastconvClassifier(random_state=0, backend="numpy").fit(X, y)
    >>> classifier.predict([[-1.0], [4.0]]).tolist()
    ['low', 'high']
    """

    _default_loss = "softmax_cross_entropy"

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
        class_weight: dict[Any, float] | str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        dtype: str = "float32",
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
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.warm_start = warm_start
        self.dtype = dtype
        self.backend = backend
        self.threads = threads

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FastconvClassifier:
        """Train the network.

        Parameters
        ----------
        X
            (samples, features), or images.
        y
            (samples,): labels of any kind.
        sample_weight
            (samples,), 0 or more: what each counts in the mean loss of its batch.

        Returns
        -------
        FastconvClassifier
            Itself.

        Raises
        ------
        DataError, NetworkError
            If X, y and the network do not fit together, or the training diverges.
        """
        goes_on = self.warm_start and hasattr(self, "network_")
        X, y = validate_data(self, X, y, allow_nd=True, reset=not goes_on)
        check_classification_targets(y)
        classes = np.unique(y)
        if goes_on:
            classes = self._known_classes(classes)
        weights = self._all_weights(sample_weight, y, self.class_weight)
        left = np.unique(y if weights is None else y[weights > 0])
        if len(left) < 2:
            plural = "class" if len(left) == 1 else "classes"
            raise DataError(
                f"{type(self).__name__}: y has {len(left)} {plural} of samples that count; "
                f"expected 2 or more"
            )
        self.classes_ = classes
        labels = np.searchsorted(classes, y).astype(np.int64)
        self._fit(X, labels, weights, len(classes), goes_on=goes_on)
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> FastconvClassifier:
        """Train for one epoch on more samples, with the optimiser as the last ones left it.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`. Statistics of a preprocessing are those of the first call.
        classes
            All labels that there will be; for the first call.

        Returns
        -------
        FastconvClassifier
            Itself.
        """
        goes_on = hasattr(self, "network_")
        X, y = validate_data(self, X, y, allow_nd=True, reset=not goes_on)
        check_classification_targets(y)
        if self.class_weight == "balanced":
            raise SpecError(
                type(self).__name__, "class_weight", "balanced",
                "a dictionary of weights for partial_fit, which does not see all samples",
            )  # fmt: skip
        if not goes_on:
            if classes is None:
                raise SpecError(
                    type(self).__name__, "classes", None,
                    "all labels that there will be, for the first partial_fit",
                )  # fmt: skip
            self.classes_ = np.unique(np.asarray(classes))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise SpecError(
                type(self).__name__, "classes", classes, f"those of before, {self.classes_}"
            )
        self._known_classes(np.unique(y))
        weights = self._all_weights(sample_weight, y, self.class_weight)
        labels = np.searchsorted(self.classes_, y).astype(np.int64)
        self._fit(X, labels, weights, len(self.classes_), epochs=1, goes_on=goes_on)
        return self

    def _known_classes(self, classes: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of before, if there are no others."""
        new = np.setdiff1d(classes, self.classes_)
        if new.size:
            raise DataError(
                f"{type(self).__name__}: y holds {new[0]!r}; expected the classes of before, "
                f"{self.classes_.tolist()}; fit another estimator, or one without warm_start"
            )
        known: NDArray[Any] = self.classes_
        return known

    def _all_weights(
        self, sample_weight: ArrayLike | None, y: NDArray[Any], class_weight: Any
    ) -> NDArray[np.float64] | None:
        weights = self._weights(sample_weight, len(y))
        if class_weight is None:
            return weights
        of_class: NDArray[np.float64] = compute_sample_weight(class_weight, y)
        return of_class if weights is None else weights * of_class

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Return the scores of X before the softmax.

        Returns
        -------
        ndarray
            (samples, classes); of two classes (samples,): by how much the second one's is larger.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities of the classes, (samples, classes)."""
        scores = self._scores(X).astype(np.float64)
        found: NDArray[np.float64] = softmax(scores, backend="numpy")
        return found

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithms of :meth:`predict_proba`."""
        scores = self._scores(X).astype(np.float64)
        shifted = scores - scores.max(axis=1, keepdims=True)
        found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return found

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the label of the largest score of each sample."""
        scores = self._scores(X)
        found: NDArray[Any] = self.classes_[scores.argmax(axis=1)]
        return found


class FastconvRegressor(RegressorMixin, _NetworkEstimator):  # type: ignore[misc]
    """A network that finds numbers, one or several for each sample.

    Targets are taken as they are: bring them to order one, for example by
    ``sklearn.compose.TransformedTargetRegressor``.

    Parameters
    ----------
    network, hidden_layer_sizes, image_shape
        As for :class:`FastconvClassifier`; the output has a unit for each number.
    loss
        The name of a loss of targets, or a :class:`fastconv.Loss`; None for the recipe's, or
        "mean_squared_error".
    optimizer, learning_rate, schedule, epochs, batch_size, preprocessing, early_stopping
        As for :class:`FastconvClassifier`.
    validation_fraction, patience, random_state, warm_start, dtype, backend, threads
        As for :class:`FastconvClassifier`.

    Attributes
    ----------
    network_, preprocessing_, n_iter_, loss_curve_, validation_loss_curve_, best_validation_loss_
        As of :class:`FastconvClassifier`.
    n_features_in_, feature_names_in_
        As in any estimator.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 20)[:, np.newaxis]
    >>> regressor = FastconvRegressor(
    ...     [], epochs=100, batch_size=5, learning_rate=0.05, random_state=0, backend="numpy"
    ... )
    >>> regressor.fit(X, 2 * X[:, 0] + 1).predict([[0.5]]).round(1).tolist()
    [2.0]
    """

    _default_loss = "mean_squared_error"

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
        dtype: str = "float32",
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

    def __sklearn_tags__(self) -> Any:
        """Say that a sample may have several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FastconvRegressor:
        """Train the network.

        Parameters
        ----------
        X
            (samples, features), or images.
        y
            (samples,) or (samples, targets).
        sample_weight
            (samples,), 0 or more: what each counts in the mean loss of its batch.

        Returns
        -------
        FastconvRegressor
            Itself.

        Raises
        ------
        DataError, NetworkError
            If X, y and the network do not fit together, or the training diverges.
        """
        goes_on = self.warm_start and hasattr(self, "network_")
        return self._fit_targets(X, y, sample_weight, None, goes_on)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FastconvRegressor:
        """Train for one epoch on more samples, with the optimiser as the last ones left it.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`. Statistics of a preprocessing are those of the first call.

        Returns
        -------
        FastconvRegressor
            Itself.
        """
        return self._fit_targets(X, y, sample_weight, 1, hasattr(self, "network_"))

    def _fit_targets(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, epochs: int | None,
        goes_on: bool,
    ) -> FastconvRegressor:  # fmt: skip
        checked, targets = validate_data(
            self, X, y, allow_nd=True, multi_output=True, y_numeric=True, reset=not goes_on
        )
        columns = targets.reshape(len(targets), -1)
        outputs = columns.shape[1]
        if goes_on and self.network_.output_shape != (outputs,):
            raise DataError(
                f"{type(self).__name__}: y has {outputs} targets; expected "
                f"{self.network_.output_shape[0]} as before; fit another estimator"
            )
        self._is_vector = targets.ndim == 1
        columns = np.ascontiguousarray(columns, self.dtype)
        weights = self._weights(sample_weight, len(columns))
        self._fit(checked, columns, weights, outputs, epochs=epochs, goes_on=goes_on)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the numbers for X: (samples,), or (samples, targets) as y had."""
        scores = self._scores(X)
        return scores.reshape(-1) if self._is_vector else scores


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
