"""Callbacks that show a training in TensorBoard, MLflow or Weights & Biases, each an extra.

    fit(trainer, steps, callbacks=[TensorBoard("logs/first")])

or ``python -m fastconv.train --log tensorboard``. Each writes a number for each column of the
history, at its step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._extras import missing_extra
from fastconv.training_loop import Callback

if TYPE_CHECKING:
    from fastconv.trainer import Trainer
    from fastconv.training_loop import HistoryRecord, Result

LOGGERS = ("tensorboard", "mlflow", "wandb")
"""What ``--log`` takes."""


def numbers_of(record: HistoryRecord) -> dict[str, float]:
    """Return what a line of the history has of finite numbers, by the names of its columns.

    Parameters
    ----------
    record
        The line.
    """
    return {
        name: float(value)
        for name, value in record.row().items()
        if name != "step" and value is not None and math.isfinite(value)
    }


class TensorBoard(Callback):
    """Writes event files, which ``tensorboard --logdir FOLDER`` shows.

    Parameters
    ----------
    folder
        For the files; it is made.

    Raises
    ------
    MissingExtra
        If tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event  # type: ignore
            from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore
            from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore
        except ModuleNotFoundError as fault:
            raise missing_extra("TensorBoard", fault) from None
        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))

    def on_history(self, trainer: Trainer, record: HistoryRecord) -> None:
        """Write the numbers of a line."""
        import time

        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in numbers_of(record).items()
        ]
        self._writer.add_event(
            self._event(
                wall_time=time.time(), step=record.step, summary=self._summary(value=values)
            )
        )
        self._writer.flush()

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """Close the file."""
        self._writer.close()


class MLflow(Callback):
    """Writes a run of MLflow, to where MLFLOW_TRACKING_URI says.

    Parameters
    ----------
    name
        Of the run.
    parameters
        Shown beside it, such as the keys of a recipe.
    experiment
        Of MLflow, which the run belongs to; None for the current one.

    Raises
    ------
    MissingExtra
        If mlflow is not installed.
    """

    def __init__(
        self,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        experiment: str | None = None,
    ) -> None:
        try:
            import mlflow  # type: ignore
        except ModuleNotFoundError as fault:
            raise missing_extra("MLflow", fault) from None
        self._client = mlflow.MlflowClient()
        if experiment is not None:
            mlflow.set_experiment(experiment)
        active = mlflow.start_run(run_name=name)
        self.run_id: str = active.info.run_id
        mlflow.end_run()  # what is written below names the run
        self._client.update_run(self.run_id, status="RUNNING")
        for key, value in (parameters or {}).items():
            self._client.log_param(self.run_id, key, value)

    def on_history(self, trainer: Trainer, record: HistoryRecord) -> None:
        """Write the numbers of a line."""
        for name, value in numbers_of(record).items():
            self._client.log_metric(self.run_id, name, value, step=record.step)

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """End the run: finished, killed or failed."""
        status = {"interrupted": "KILLED", "diverged": "FAILED"}.get(result.stopped, "FINISHED")
        self._client.set_terminated(self.run_id, status)


class WeightsAndBiases(Callback):
    """Writes a run of Weights & Biases; WANDB_MODE=offline keeps it on this machine.

    Parameters
    ----------
    name
        Of the run.
    parameters
        Shown beside it, such as the keys of a recipe.
    **options
        Of ``wandb.init``, such as ``project``.

    Raises
    ------
    MissingExtra
        If wandb is not installed.
    """

    def __init__(
        self, name: str | None = None, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        try:
            import wandb  # type: ignore
        except ModuleNotFoundError as fault:
            raise missing_extra("WeightsAndBiases", fault) from None
        self._run = wandb.init(name=name, config=dict(parameters or {}), **options)

    def on_history(self, trainer: Trainer, record: HistoryRecord) -> None:
        """Write the numbers of a line."""
        self._run.log(numbers_of(record), step=record.step)

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """End the run."""
        self._run.summary["stopped"] = result.stopped
        self._run.finish()


def make_logger(kind: str, name: str, parameters: Mapping[str, Any], folder: Path) -> Callback:
    """Return what ``--log`` asks for.

    Parameters
    ----------
    kind
        One of ``LOGGERS``.
    name
        Of the run.
    parameters
        The recipe's keys.
    folder
        Of the run; TensorBoard's files are in it.
    """
    if kind == "tensorboard":
        return TensorBoard(folder / "tensorboard")
    return MLflow(name, parameters) if kind == "mlflow" else WeightsAndBiases(name, parameters)
