"""Estimators of scikit-learn: networks with ``fit`` and ``predict``, for pipelines and searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.data import DataError
from fastconv.functional.softmax import softmax
from fastconv.interop.network_estimator import NetworkEstimator
from fastconv.layers import Layer
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Schedule
from fastconv.spec import SpecError

# Behind the base, which says what to install where it is missing.
from sklearn.base import ClassifierMixin, RegressorMixin  # type: ignore[import-untyped]  # isort: skip
from sklearn.utils.class_weight import compute_sample_weight  # type: ignore[import-untyped]  # isort: skip
from sklearn.utils.multiclass import check_classification_targets  # type: ignore[import-untyped]  # isort: skip
from sklearn.utils.validation import validate_data  # type: ignore[import-untyped]  # isort: skip


class FastconvClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
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
        Weights of the classes, {label: weight}, by which their samples count, 1 where a label is
        not in it; "balanced" by their numbers.
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
        Of the network: "float32" or "float64". None for that of X where it holds features, as in
        scikit-learn, and for "float32" on images, which is faster.
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
        dtype: str | None = None,
        backend: str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(
            network,
            hidden_layer_sizes=hidden_layer_sizes,
            image_shape=image_shape,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            epochs=epochs,
            batch_size=batch_size,
            preprocessing=preprocessing,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            random_state=random_state,
            warm_start=warm_start,
            dtype=dtype,
            backend=backend,
            threads=threads,
        )
        self.class_weight = class_weight

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
        checked, given = validate_data(self, X, y, allow_nd=True, reset=not goes_on)
        check_classification_targets(given)
        classes = np.unique(given)
        if goes_on:
            classes = self._known_classes(classes)
        weights = self._all_weights(sample_weight, given, classes)
        left = np.unique(given if weights is None else given[weights > 0])
        if len(left) < 2:
            plural = "class" if len(left) == 1 else "classes"
            raise DataError(
                f"{type(self).__name__}: y has {len(left)} {plural} of samples that count; "
                f"expected 2 or more"
            )
        self.classes_ = classes
        labels = np.searchsorted(classes, given).astype(np.int64)
        self._fit(checked, labels, weights, len(classes), goes_on=goes_on)
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
            As for :meth:`fit`. Statistics of a preprocessing are those of the first call. A
            schedule goes over as many calls as there are ``epochs``.
        classes
            All labels that there will be; for the first call.

        Returns
        -------
        FastconvClassifier
            Itself.
        """
        goes_on = hasattr(self, "network_")
        checked, given = validate_data(self, X, y, allow_nd=True, reset=not goes_on)
        check_classification_targets(given)
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
        self._known_classes(np.unique(given))
        weights = self._all_weights(sample_weight, given, self.classes_)
        labels = np.searchsorted(self.classes_, given).astype(np.int64)
        self._fit(checked, labels, weights, len(self.classes_), epochs=1, goes_on=goes_on)
        return self

    def _known_classes(self, classes: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of before, if there are no others."""
        new = np.setdiff1d(classes, self.classes_)
        if new.size:
            raise DataError(
                f"{type(self).__name__}: y holds {new.tolist()[0]!r}; expected the classes of "
                f"before, {self.classes_.tolist()}; fit another estimator, or one without "
                f"warm_start"
            )
        known: NDArray[Any] = self.classes_
        return known

    def _all_weights(
        self, sample_weight: ArrayLike | None, y: NDArray[Any], classes: NDArray[Any]
    ) -> NDArray[np.float64] | None:
        """Return the weights of samples, times those of their classes."""
        weights = self._weights(sample_weight, len(y))
        if self.class_weight is None:
            return weights
        if isinstance(self.class_weight, str):
            of_class: NDArray[np.float64] = compute_sample_weight(self.class_weight, y)
        else:
            known = classes.tolist()
            if not set(self.class_weight) <= set(known):
                raise SpecError(
                    type(self).__name__, "class_weight", self.class_weight, f"weights of {known}"
                )
            each = np.array([float(self.class_weight.get(label, 1.0)) for label in known])
            of_class = each[np.searchsorted(classes, y)]
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


class FastconvRegressor(RegressorMixin, NetworkEstimator):  # type: ignore[misc]
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
        self._dtype_of_targets = np.float32 if targets.dtype == np.float32 else np.float64
        columns = np.ascontiguousarray(columns, self._dtype_of_targets)
        weights = self._weights(sample_weight, len(columns))
        self._fit(checked, columns, weights, outputs, epochs=epochs, goes_on=goes_on)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the numbers for X: (samples,), or (samples, targets) as y had.

        Returns
        -------
        ndarray
            Of float64, or float32 where y was.
        """
        scores = self._scores(X).astype(self._dtype_of_targets, copy=False)
        return scores.reshape(-1) if self._is_vector else scores
