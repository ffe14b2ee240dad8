"""Early stopping: the best weights by a metric, and the end when nothing gets better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastconv.spec import SpecError, require_int

if TYPE_CHECKING:
    from fastconv.trainer import Trainer
    from fastconv.training_loop import HistoryRecord


class EarlyStopping:
    """Remembers the weights of the best validation, for :func:`fastconv.training_loop.fit`.

    Parameters
    ----------
    metric
        "loss", "accuracy", or one of the metrics that ``fit`` measures. The less the better of
        losses and errors, the more of all others.
    patience
        Validations without a better one after which the training stops; None: it does not.
    least_change
        A metric must change by more than this to be better.
    restore_best
        Whether the network has the best weights in the end.

    Attributes
    ----------
    best_value, best_step
        Of the best validation so far; None before the first.
    waited
        Validations since then.

    Raises
    ------
    SpecError
        If a number is out of range.

    Examples
    --------
    >>> EarlyStopping("accuracy", patience=5).best_step is None
    True
    """

    def __init__(
        self,
        metric: str = "loss",
        *,
        patience: int | None = None,
        least_change: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if patience is not None:
            require_int("EarlyStopping", "patience", patience, 1)
        if not least_change >= 0:
            raise SpecError("EarlyStopping", "least_change", least_change, "0 or more")
        self.metric, self.patience = metric, patience
        self.least_change, self.restore_best = least_change, restore_best
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.waited = 0
        self.weights: dict[str, NDArray[Any]] = {}

    @property
    def stops(self) -> bool:
        """Whether there was no better validation for as long as the patience lasts."""
        return self.patience is not None and self.waited >= self.patience

    def observe(self, trainer: Trainer, record: HistoryRecord) -> None:
        """Take a validation into account.

        Parameters
        ----------
        trainer
            With the weights that were validated.
        record
            The line of the history; nothing happens if it has no validation.

        Raises
        ------
        SpecError
            If the metric is none of those that were measured.
        """
        if record.validation is None:
            return
        value = self._value(record)
        if self._is_better(value):
            self.best_value, self.best_step, self.waited = value, record.step, 0
            self.weights = trainer.weights()
        else:
            self.waited += 1

    def _value(self, record: HistoryRecord) -> float:
        assert record.validation is not None
        measured = {
            "loss": record.validation.loss,
            "accuracy": record.validation.accuracy,
            **record.metrics,
        }
        value = measured.get(self.metric)
        if value is None:
            known = [name for name, found in measured.items() if found is not None]
            raise SpecError("EarlyStopping", "metric", self.metric, f"one of {', '.join(known)}")
        return value

    def _is_better(self, value: float) -> bool:
        if self.best_value is None or math.isnan(self.best_value):
            return True
        change = value - self.best_value
        if self.metric == "loss" or self.metric.endswith("_error"):
            change = -change
        return change > self.least_change

    def finish(self, trainer: Trainer) -> None:
        """Put the best weights back, if that is wanted and there are any."""
        if self.restore_best and self.weights:
            trainer.set_weights(self.weights)

    def state(self) -> dict[str, Any]:
        """Return all but the weights, as JSON has it."""
        return {
            "best_value": self.best_value, "best_step": self.best_step, "waited": self.waited
        }  # fmt: skip

    def load(self, state: dict[str, Any], weights: dict[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`state` returned, and the weights of then."""
        self.best_value, self.best_step = state["best_value"], state["best_step"]
        self.waited = state["waited"]
        self.weights = {name: np.array(array) for name, array in weights.items()}
