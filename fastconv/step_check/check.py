"""Checking whole training steps of a backend against those of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv._errors import UserError
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.outputs import take_labels
from fastconv.functional.arrays import check_shape
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import LOSSES, Loss
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.step_check.step_comparison import StepCheck, compare
from fastconv.step_check.training_steps import ReferenceSteps, TrainingSteps

_LANES = 16
"""Most samples that a backend takes together."""
_EPSILON_OF_PRODUCTS = {"float32": None, "tf32": 2.0**-10, "bf16": 2.0**-7}


class StepCheckError(UserError, RuntimeError):
    """Training steps of a backend that are not those of the reference."""


def check_step(
    network: Sequential,
    batch: ArrayLike | tuple[ArrayLike, ArrayLike],
    optimizer: Optimizer,
    labels: ArrayLike | None = None,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    rate: float | Sequence[float] | NDArray[np.float64] = 0.01,
    steps: int = 3,
    batch_size: int | None = None,
    most_samples: int = 32,
    preprocessing: Preprocessing | None = None,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
    seed: int = 0,
    backend: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    device: int | None = None,
    config: ExecutionConfig | None = None,
    verbose: bool = True,
) -> StepCheck:
    """Compare whole training steps of a backend with those of the reference in float64.

    The backend makes the steps as :class:`fastconv.Trainer` lets it: one by one, and all in one
    call. All parameters, moments of the optimiser, running statistics and the loss are compared
    after every step with what slow loops in float64 come to.

    Parameters
    ----------
    network
        The network; it is not changed.
    batch
        A pair (images, labels), or the images alone with ``labels`` given beside them. Images are
        (N, height, width, channels), or (N, features); bytes stay bytes.
    optimizer
        The update rule.
    labels
        (N,) integers, or (N, K) targets for a loss that takes such.
    loss
        The name of a loss, or a :class:`fastconv.Loss`.
    rate
        Learning rate, or one for each step; (steps, 2) with the momentum of each step behind it.
    steps
        Number of steps.
    batch_size
        Samples in a step, taken in turn; None: all in each.
    most_samples
        A larger batch than this is checked in part, because the reference is slow: with 16 samples
        and what the batch size has left over from a multiple of 16. Backends take up to 16 samples
        together where they go into the batch, and do so then too.
    preprocessing, augmentation
        What happens to a batch before the first layer.
    first_step
        Updates made before: the bias correction of Adam and random numbers depend on it. Moments
        begin at zero all the same.
    seed
        Of dropout and augmentation.
    backend, threads, precision, device, config
        As for :class:`fastconv.Trainer`.
    verbose
        Whether to print the table.

    Returns
    -------
    StepCheck

    Notes
    -----
    How close is close enough follows from the network. The reference's steps are made again with
    drawn errors in everything that is read and written, of the square root of the length of each
    sum in units in the last place of the network's dtype, and opposite errors (Monte Carlo
    arithmetic). A backend may differ 24 times as much, element by element. Where nearly equal
    numbers of a max pooling or a ReLU near zero make those steps differ by much of what the
    training does, an element is undecided, and counted as such; float64 decides more.

    The reference takes its time: seconds for a network of a hundred thousand parameters, minutes
    for millions, or for large images.

    Raises
    ------
    ValueError
        If the batch does not fit the network.
    BackendError
        If the backend cannot work here, or not in this precision.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> from fastconv.layers import Dense, Tanh
    >>> from fastconv.optimizers import Optimizer
    >>> network = fastconv.Sequential([Dense(4), Tanh(), Dense(3)], input_shape=(5,))
    >>> x = np.random.default_rng(0).normal(size=(2, 5))
    >>> batch = x, np.array([0, 2])
    >>> fastconv.check_step(network, batch, Optimizer("adam"), verbose=False).passed
    True
    """
    config = settle(
        "check_step", config, backend=backend, threads=threads, precision=precision, device=device
    )
    config.check_dtype(network.dtype)
    images, labels = _take_batch(network, batch, labels, loss)
    asked = len(images) if batch_size is None else batch_size
    rates = _take_rates(rate, steps)
    if asked < 1:
        raise ValueError(f"check_step: batch_size is {asked}; expected 1 or more")
    if most_samples < 2 * _LANES:
        raise ValueError(
            f"check_step: most_samples is {most_samples}; expected {2 * _LANES} or more"
        )
    checked = asked if asked <= most_samples else _LANES + asked % _LANES
    made = TrainingSteps(
        network, images, labels, loss, optimizer, checked, rates,
        preprocessing or Preprocessing(), augmentation or Augmentation(), seed, first_step,
    )  # fmt: skip
    run = config.run_module
    each, at_once = (
        made.made_by(
            config.make_runner,
            to_device=run.to_device,
            to_host=run.to_host,
            at_once=at_once,
        )
        for at_once in (False, True)
    )
    reference = ReferenceSteps(made, _EPSILON_OF_PRODUCTS[config.precision])
    rows = compare(reference, each, at_once[0])
    check = StepCheck(rows, config.backend, len(rates), checked, asked)
    if verbose:
        print(check)
    return check


def _take_batch(
    network: Sequential, batch: object, labels: object, loss: str | Loss
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return images and labels as a plan takes them."""
    owner = "check_step"
    if not isinstance(loss, Loss) and loss not in LOSSES:
        raise ValueError(f"{owner}: loss is {loss!r}; expected one of {', '.join(LOSSES)}")
    loss = Loss.of(loss)
    if len(network.output_shape) != 1:
        raise ValueError(
            f"{owner}: the network's output is {network.output_shape}; expected a vector (end it "
            f"with flatten and dense)"
        )
    if labels is None:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(f"{owner}: batch must be a pair (images, labels), or give labels too")
        batch, labels = batch
    x = np.asarray(batch)
    x = np.ascontiguousarray(x, x.dtype if x.dtype == np.uint8 else network.dtype)
    shape = network.input_shape
    as_image = shape if len(shape) == 3 else (1, 1, *shape)
    if not len(x) or x.shape[1:] not in (shape, as_image):
        raise ValueError(
            f"{owner}: images has shape {x.shape}; expected (N, {', '.join(map(str, shape))})"
        )
    x = x.reshape(len(x), *as_image)
    outputs = network.output_shape[0]
    if not loss.takes_labels:
        targets = np.ascontiguousarray(cast(ArrayLike, labels), network.dtype)
        check_shape(owner, "labels", targets, (len(x), outputs), "(N, outputs) targets")
        return x, targets
    return x, take_labels(owner, loss, cast(ArrayLike, labels), len(x), network, x)


def _take_rates(rate: object, steps: int) -> NDArray[np.float64]:
    """Return the learning rate of each step."""
    if steps < 1:
        raise ValueError(f"check_step: steps is {steps}; expected 1 or more")
    rates = np.asarray(rate, np.float64)
    if rates.shape == (steps, 2) or (rates.ndim == 3 and len(rates) == steps):
        return rates.copy()
    if rates.ndim > 1 or rates.size not in (1, steps):
        raise ValueError(
            f"check_step: rate has shape {rates.shape}; expected a number, or {steps} of them, one "
            f"for each step"
        )
    return np.broadcast_to(rates.reshape(-1), (steps,)).copy()
