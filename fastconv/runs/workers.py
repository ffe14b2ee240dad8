"""Workers of a data-parallel training: starting them, and what each of them does."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv._errors import UserError
from fastconv.data import DataError, Dataset
from fastconv.data_parallel.group import Group
from fastconv.data_parallel.shared_memory import SharedMemoryGroup
from fastconv.execution.config import ExecutionConfig
from fastconv.recipe import Recipe
from fastconv.runs.experiment import load_dataset, prepare

_LEFT_TO_THE_FIRST = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that reach every process of a terminal or a job; the first worker answers them."""


@dataclass(frozen=True)
class Task:
    """From the first worker to the others: what is trained.

    Parameters
    ----------
    recipe
        The recipe, with shards.
    data_dir
        As for :func:`fastconv.runs.experiment.prepare`.
    config
        Fields of the :class:`fastconv.ExecutionConfig`.
    """

    recipe: Recipe
    data_dir: str | Path | None
    config: dict[str, Any]


@contextlib.contextmanager
def started_workers(size: int) -> Iterator[Group]:
    """Start the other workers of a training on this host, and end them behind the block.

    They load the data of their own accord, as soon as they are told what is trained.

    Parameters
    ----------
    size
        Number of workers, this process the first of them.
    """
    # Not forked: threads, and what a backend holds, do not survive it.
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    for rank in range(1, size):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(rank, size, theirs), daemon=True)
        process.start()
        theirs.close()
        connections.append(ours)
        processes.append(process)
    group = SharedMemoryGroup(0, size, connections, processes)
    try:
        yield group
    finally:
        group.close()


def begin(
    group: Group,
    recipe: Recipe,
    data_dir: str | Path | None,
    config: ExecutionConfig,
    dataset: Dataset | None = None,
) -> Dataset:
    """Tell the other workers what is trained, and return the data for the first one to train on.

    Parameters
    ----------
    group
        The workers.
    recipe, data_dir, config
        As for :class:`Task`.
    dataset
        Data that the recipe does not name; one worker alone can have such.

    Raises
    ------
    DataError
        If there are others, which would not find these.
    """
    if group.size > 1 and dataset is not None:
        raise DataError(
            f"dataset is {dataset.name} beside {group.size} workers, which each load what the "
            f"recipe names; leave one of the two out"
        )
    # What has to be downloaded is there before several look for it.
    dataset = load_dataset(recipe, data_dir) if dataset is None else dataset
    if group.size > 1:
        group.broadcast(Task(recipe, data_dir, config.fields()))
    return dataset


def serve(group: Group) -> None:
    """Make a worker's shards of every batch, until the first worker says no more.

    Parameters
    ----------
    group
        The workers, of which this is not the first.
    """
    for name in _LEFT_TO_THE_FIRST:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    task = group.broadcast()
    if task is None:
        return
    config = ExecutionConfig(**task.config)
    with (
        threadpool_limits(config.threads),
        # A training that diverges is the first worker's to speak of.
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
    ):
        experiment = prepare(task.recipe, data_dir=task.data_dir, config=config, group=group)
        experiment.trainer.runner.serve()


def _work(rank: int, size: int, connection: Connection[Any, Any]) -> None:
    """Work in a process that :func:`started_workers` started."""
    group = SharedMemoryGroup(rank, size, [connection])
    try:
        serve(group)
    except (EOFError, ConnectionError):
        pass  # the first worker is gone
    except UserError as fault:
        group.fail(str(fault))
    except Exception as fault:
        group.fail(f"{type(fault).__name__}: {' '.join(str(fault).split())}")
