"""A network in training on one backend: its plans, its data, its step count."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.data import DataError, Samples, epoch_order
from fastconv.data.dataset import require_samples
from fastconv.execution.checkpoint import Checkpoint, CheckpointError
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.execution.pace import Pace
from fastconv.inference import Inference, Score
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer, as_optimizer
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose
from fastconv.predictor import Predictor
from fastconv.preprocessing import Augmentation, Preprocessing, as_preprocessing
from fastconv.schedules import Schedule, as_schedule, observations, restore_observations
from fastconv.spec import SpecError, as_plain, require_int

if TYPE_CHECKING:
    from fastconv.data_parallel.group import Group
    from fastconv.momentum_schedules import MomentumSchedule

_STATE = {
    "step": int, "seed": int, "batch_size": int, "samples_per_step": int, "samples": int,
    "rate_factor": int | float, "train_seconds": int | float, "schedule": str, "config": dict,
    "observations": dict | None,
}  # fmt: skip
"""Of a checkpoint: what it must say of the trainer, and the types."""
_MOMENTS = ("first_moment", "second_moment")
_SLOW = "slow_weights"
_OPTIMIZER = "optimizer/"
"""Before the names of the optimiser's arrays in a checkpoint."""
_AVERAGE = "average/"
"""Before the names of the averaged network's."""


class Trainer:
    """Runs steps of a network's training plan, and evaluates it.

    Other threads may evaluate and predict while one trains: they have their turn between steps,
    and training waits for them.

    Parameters
    ----------
    network
        The network; its parameters are updated in place.
    training
        Samples to train on. On the CPU each batch is read from their arrays when its step is made:
        what is written to them in between is learned. A CUDA device has a copy of its own.
    loss
        The name of a loss, or a :class:`fastconv.Loss` with options.
    optimizer, schedule
        Update rule and learning rates. The name of a rule stands for it as it is by default, and a
        number for a constant rate.
    batch_size
        Samples in a pass.
    last_batch
        "drop": what is left of an epoch behind its whole batches is not trained on in it; "keep":
        it is a step of its own, whose gradient is the mean over fewer samples.
    accumulate
        Passes whose gradients are averaged for one step: 4 of 32 samples have the mean gradient of
        128, in the memory of 32. Batch normalisation takes each by itself.
    momentum_schedule
        Gives the momentum of each step, or the beta1 of adam and adamw, in place of the
        optimiser's: see :mod:`fastconv.momentum_schedules`.
    average
        What is kept of an exponential moving average of the weights, and of running statistics, in
        each step, such as 0.999; it begins with the first weights. Then the averaged network is
        what is evaluated and predicts. None for none.
    preprocessing, augmentation
        What happens to a batch before the first layer; the kind of a preprocessing stands for it.
    seed
        Of shuffling, dropout and augmentation.
    sample_weights
        (N,), 0 or more: what each training sample counts in the mean of its batch; one of weight 0
        counts for nothing.
    shards
        Equal parts of a batch, each with gradients (and statistics of batch normalisation) of its
        own, whose mean is taken in a fixed order: what comes out has the same bits for any number
        of workers. None for the batch as a whole.
    group
        The workers that share the shards, from :mod:`fastconv.runs.workers`; None: one does.
    sync_batch_norm
        Of shards: batch normalisation by the statistics of the whole batch, which are gathered from
        all of them; slower.
    backend, threads, precision, device
        Where and how it computes: the fields of :class:`fastconv.ExecutionConfig`.
    config
        An :class:`fastconv.ExecutionConfig` in their place.

    Attributes
    ----------
    config
        Where and how it computes, as it was settled.
    optimizer
        The update rule.
    trained_network
        The network of averaged weights, or the network itself where there is no average.
    step
        Updates made so far.
    rate_factor
        The schedule's learning rates are multiplied by it.
    score
        Of what :meth:`train` counted last, as far as it came.
    shards
        Parts of a batch that are made apart, or None.
    samples_per_step, steps_per_epoch
        Samples that a step learns from, but for a short one that is kept, and updates in an epoch.
    runner
        What makes the training steps: the backend's ``Runner`` of the training plan.
    warmup_seconds, train_seconds
        Time spent on making the plan ready, and in training steps alone.

    Raises
    ------
    DataError
        If the samples do not fit the network, or the batch is larger than the data.
    NetworkError
        If the network ends with what the loss does not take.
    BackendError
        If the backend cannot work here, or not in this precision.
    """

    def __init__(
        self,
        network: Sequential,
        training: Samples,
        *,
        loss: str | Loss,
        optimizer: Optimizer | str,
        schedule: Schedule | float,
        batch_size: int,
        last_batch: Literal["drop", "keep"] = "drop",
        accumulate: int = 1,
        momentum_schedule: MomentumSchedule | None = None,
        average: float | None = None,
        preprocessing: Preprocessing | str | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        sample_weights: ArrayLike | None = None,
        shards: int | None = None,
        group: Group | None = None,
        sync_batch_norm: bool = False,
        backend: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        device: int | None = None,
        config: ExecutionConfig | None = None,
    ) -> None:
        self.config = settle(
            "Trainer", config, backend=backend, threads=threads, precision=precision, device=device
        )
        self._placed = NetworkOnBackend(
            network, as_preprocessing("Trainer", preprocessing), self.config
        )
        self.network = self.trained_network = network
        averages = self._place_average(average)
        self._inference = Inference.of(self._averaged or self._placed, loss)
        self.training = training
        self.loss = loss
        self.schedule = as_schedule("Trainer", schedule)
        self.seed = require_int("Trainer", "seed", seed, 0)
        self.step = 0
        self.rate_factor = 1.0
        self.batch_size = batch_size = self._checked_size(batch_size, accumulate)
        self.score = Score(0.0, 0.0, 0.0, training.has_classes)
        self.train_seconds = 0.0
        self.augmentation = augmentation or Augmentation()
        self.samples_per_step = batch_size * accumulate
        self.last_batch = last_batch
        self._short = self._samples_of_short_step(accumulate)
        self.steps_per_epoch = len(training) // self.samples_per_step + (self._short > 0)
        self.momentum_schedule = momentum_schedule
        self._order_of_epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._turns = threading.Lock()
        self._pace = Pace(self._placed.steps_together)
        started = time.perf_counter()
        self._uploaded = self._placed.upload(training)
        self.optimizer = optimizer = as_optimizer("Trainer", optimizer)
        flat = {
            name: self._placed.to_device(np.zeros(network.parameters.size, network.dtype))
            for name in ("gradients", *dict.fromkeys((*_MOMENTS, *optimizer.moments)))
        }
        if optimizer.lookahead_steps is not None:
            flat[_SLOW] = self._placed.to_device(network.parameters.copy())
        self._optimizer_arrays = {name: flat[name] for name in flat if name != "gradients"}
        weights = {}
        if sample_weights is not None:
            taken = _take_weights(sample_weights, len(training), network.dtype)
            weights["sample_weights"] = self._placed.to_device(taken)
        update = optimizer.update(
            network, average, scheduled_momentum=momentum_schedule is not None
        )
        purpose = Purpose(
            True, True, loss, update, sample_weights=sample_weights is not None,
            accumulate=accumulate, untrained=getattr(update, "frozen", ()),
        )  # fmt: skip
        arrays = {**self._uploaded, **flat, **weights, **averages}
        self.shards, self._sharded = shards, None
        self._runner: Any
        self._short_runner: Any = None
        if shards is None:
            if group is not None:
                raise SpecError("Trainer", "shards", shards, "a number, for a group to share them")
            self._runner, *short = (
                self._placed.make_runner(
                    samples, purpose, arrays, augmentation=augmentation, seed=seed,
                    steps_per_epoch=self.steps_per_epoch,
                )
                for samples in (batch_size, self._short)
                if samples
            )  # fmt: skip
            self._short_runner = short[0] if short else None
        else:
            from fastconv.data_parallel.sharded_runner import make_sharded_runner

            if self._short:
                raise SpecError("Trainer", "last_batch", last_batch, "'drop' beside shards")
            self._runner = self._sharded = make_sharded_runner(
                self._placed, require_int("Trainer", "shards", shards, 1), group, batch_size,
                purpose, arrays, augmentation=augmentation, seed=seed,
                steps_per_epoch=self.steps_per_epoch, sync_batch_norm=sync_batch_norm,
            )  # fmt: skip
        self.warmup_seconds = time.perf_counter() - started

    def _place_average(self, average: float | None) -> dict[str, Any]:
        """Place a copy of the network that averages are kept in; return its arrays for the plan."""
        self._averaged: NetworkOnBackend | None = None
        if average is None:
            return {}
        if not 0 < average < 1:
            raise SpecError("Trainer", "average", average, "between 0 and 1, such as 0.999")
        self.trained_network = copied = copy.copy(self.network)
        copied.parameters, copied.state = self.network.parameters.copy(), self.network.state.copy()
        placed = NetworkOnBackend(copied, self._placed.preprocessing, self.config)
        # Who evaluates the one must not see the other in the middle of a step.
        placed.access = self._placed.access
        self._averaged = placed
        return {f"average_{name}": array for name, array in placed.flat_arrays.items()}

    def _checked_size(self, given: int, accumulate: int) -> int:
        """Return the batch size, once it and the samples are what they may be."""
        samples = self.training
        require_samples("Trainer", "training", samples)
        batch_size = as_plain(given)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise DataError(f"batch size is {given!r}; expected an integer of 1 or more")
        if accumulate < 1:
            raise DataError(f"accumulate is {accumulate}; expected 1 or more")
        if accumulate > 1 and batch_size * accumulate > len(samples):
            raise DataError(
                f"batch size {batch_size} times accumulate {accumulate} is "
                f"{batch_size * accumulate} but there are {len(samples)} training samples; "
                f"expected no more than these"
            )
        if batch_size > len(samples):
            raise DataError(
                f"batch size is {batch_size} but there are {len(samples)} training samples; "
                f"expected 1 to {len(samples)}"
            )
        self._inference.check_samples(samples)
        return batch_size

    def _samples_of_short_step(self, accumulate: int) -> int:
        """Return how many samples are left for a short step, if it is to be made; else 0."""
        if self.last_batch not in ("drop", "keep"):
            raise SpecError("Trainer", "last_batch", self.last_batch, "'drop' or 'keep'")
        if self.last_batch == "drop":
            return 0
        if accumulate > 1:
            fix = f"'drop' beside accumulate {accumulate}; use one of the two"
            raise SpecError("Trainer", "last_batch", self.last_batch, fix)
        return len(self.training) % self.samples_per_step

    @property
    def plan_seconds(self) -> float:
        """The part of ``warmup_seconds`` that building plans took; the rest is the backend's."""
        return self._placed.plan_seconds

    @property
    def inference(self) -> Inference:
        """Scores samples with the network as it is."""
        return self._inference

    @property
    def predictor(self) -> Predictor:
        """Says what the network, as it is, makes of images."""
        return self._inference.predictor

    @property
    def runner(self) -> Any:
        """The backend's runner of the training plan."""
        return self._runner

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next step belongs to, from 0."""
        return self.step // self.steps_per_epoch

    def steps_left_in_epoch(self) -> int:
        """Steps until the next epoch begins."""
        return self.steps_per_epoch - self.step % self.steps_per_epoch

    def samples_of(self, steps: int, first: int = 0) -> int:
        """Return how many samples ``steps`` steps learn from, from step ``first`` on."""
        ends = [(first + each) // self.steps_per_epoch for each in (0, steps)]
        missing = self.samples_per_step - self._short if self._short else 0
        return steps * self.samples_per_step - (ends[1] - ends[0]) * missing

    @property
    def steps_at_a_time(self) -> int:
        """Steps that take some hundredths of a second, by those made so far.

        :meth:`train` looks for Ctrl-C after so many.
        """
        return self._pace.steps

    def rates(self, steps: NDArray[np.int64] | list[int]) -> NDArray[np.float64]:
        """Return the learning rate of each of ``steps``: the schedule's, times ``rate_factor``."""
        rates = self.schedule.rates(steps)
        return rates if self.rate_factor == 1.0 else rates * self.rate_factor

    def rates_and_momenta(self, steps: NDArray[np.int64] | list[int]) -> NDArray[np.float64]:
        """Return what the runner takes for each of ``steps``: its rate, and a scheduled momentum.

        Returns
        -------
        ndarray
            float64 (steps,), or (steps, 2) where the momentum is scheduled; (steps, schedules, 1 or
            2) where groups of parameters have schedules of their own, the trainer's first.
        """
        rates = self.rates(steps)
        if self.momentum_schedule is not None:
            rates = np.column_stack((rates, self.momentum_schedule.momenta(steps)))
        return self.optimizer.rates_of_steps(rates, steps, self.rate_factor)

    def train(self, steps: int, *, since: Score | None = None) -> Score:
        """Make ``steps`` updates, all within the current epoch.

        Ctrl-C is heard some hundredths of a second later, between steps: one that takes longer is
        finished, or on the numpy backend left as if it had not begun. Then ``step`` counts those
        that were made, and training may go on from there.

        Returns
        -------
        Score
            Over the samples of these steps, each batch counted before its update.

        Raises
        ------
        ValueError
            If the epoch has not so many steps left.
        DataError
            If labels were written to that are none of the network's outputs. They are looked at
            when an epoch begins, and when a loss is not finite: theirs is NaN.
        """
        with self._turns, DeferredInterrupts() as interrupts:
            self.config.select_device()
            if not 1 <= steps <= self.steps_left_in_epoch():
                raise ValueError(
                    f"steps is {steps}; expected 1 to {self.steps_left_in_epoch()}, "
                    f"the rest of the epoch"
                )
            started = time.perf_counter()
            try:
                score = self._train(steps, since, interrupts)
            finally:
                self.train_seconds += time.perf_counter() - started
        if not math.isfinite(score.loss_sum):
            self._inference.check_labels_again(self.training)
        return score

    def _train(self, steps: int, since: Score | None, interrupts: DeferredInterrupts) -> Score:
        epoch, order = self._order_of_epoch
        if epoch != self.epoch:
            self._inference.check_labels_again(self.training)
            order = epoch_order(len(self.training), self.seed, self.epoch)
            self._order_of_epoch = self.epoch, order
        size = self.samples_per_step
        first = self.step % self.steps_per_epoch * size
        samples = order[first : first + steps * size]
        whole = len(samples) // size
        batches = samples[: whole * size].reshape(whole, size)
        rates = self.rates_and_momenta(np.arange(self.step, self.step + steps))
        access, pace = self._placed.access, self._pace
        made = 0
        if since is not None and since is not self.score:
            self._write_statistics(self._runner, since.sums)
        while True:
            end = min(steps if made >= whole else whole, made + pace.steps)
            runner, rows = self._runner, batches[made:end]
            if made >= whole:  # the short step, which has a plan of its own
                assert self._short_runner is not None
                runner, rows = self._short_runner, samples[None, whole * size :]
                if (counted := self.score if made else since) is not None:
                    self._write_statistics(runner, counted.sums)
            access.begin_writing(interrupts.let_through)
            began = time.perf_counter()
            try:
                statistics = runner.run(
                    rows, rates[made:end], self.step,
                    continues=made > 0 or since is not None,
                    # Only a slow step is worth being left in its midst.
                    meanwhile=interrupts.let_through if pace.steps == 1 else None,
                )  # fmt: skip
            finally:
                access.end_writing()
            # Where steps wait for those of other networks, that is not what they take.
            pace.measure(end - made, getattr(runner, "seconds", time.perf_counter() - began))
            self.step += end - made
            self.score = self._inference.score_of(statistics)
            if runner is self._short_runner:  # what the score says, the other goes on from
                self._write_statistics(self._runner, self.score.sums)
            made = end
            if made == steps:
                return self.score
            interrupts.let_through()

    def _write_statistics(self, runner: Any, sums: tuple[float, ...]) -> None:
        self._placed.run_module.write(np.array(sums), runner.buffer("statistics"))

    def evaluate(self, samples: Samples, *, scores: NDArray[Any] | None = None) -> Score:
        """Score all samples, as :meth:`fastconv.inference.Inference.evaluate` does.

        While another thread trains, as it is after some step.
        """
        return self._inference.evaluate(samples, scores=scores)

    def prepare_evaluation(self, samples: Samples) -> None:
        """Make the plans that :meth:`evaluate` needs now, as a part of the warm-up."""
        started = time.perf_counter()
        self._inference.prepare(samples)
        self.warmup_seconds += time.perf_counter() - started

    def predict(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's scores for images; see :class:`fastconv.Predictor`."""
        return self.predictor(images)

    def update_network(self) -> None:
        """Bring parameters and state back into the network from where the backend has them."""
        self._placed.update_network()
        if self._averaged is not None:
            self._averaged.update_network()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return copies of the trained network's parameters and states by name, as they are."""
        with self._turns, self._placed.access.reading():
            (self._averaged or self._placed).update_network()
            return {name: np.array(a) for name, a in self.trained_network.named_arrays().items()}

    def set_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Give the trained network other values; the optimiser's arrays and the step stay.

        Parameters
        ----------
        weights
            All of them by name, as :meth:`weights` returns them.
        """
        with self._turns:
            self._placed.access.begin_writing(lambda: None)
            try:
                for name, view in self.trained_network.named_arrays().items():
                    view[...] = weights[name]
                (self._averaged or self._placed).write_network()
                self._tell_workers()
            finally:
                self._placed.access.end_writing()

    def _tell_workers(self) -> None:
        """Have other workers take over the arrays as they are now, before the next step."""
        if self._sharded is not None and self._sharded.workers > 1:
            self._sharded.is_current = False

    def checkpoint(self) -> Checkpoint:
        """Return what it takes to go on from here: copies of all arrays, the step, the seed.

        Learning rates, orders of the samples and random numbers are functions of the step and the
        seed, so that nothing else is to be kept of them.

        Examples
        --------
        >>> from fastconv.layers import Dense, Flatten
        >>> from fastconv.schedules import Constant
        >>> trainer = Trainer(
        ...     Sequential([Flatten(), Dense(2)], (2, 2, 1)),
        ...     Samples(np.ones((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1])),
        ...     loss="softmax_cross_entropy", optimizer=Optimizer(), schedule=Constant(0.1),
        ...     batch_size=2, backend="numpy",
        ... )
        >>> before = trainer.checkpoint()
        >>> first = trainer.train(1)
        >>> trainer.restore(before)
        >>> trainer.train(1) == first
        True
        """
        with self._turns, self._placed.access.reading():
            self._placed.update_network()
            arrays = {name: np.array(a) for name, a in self.network.named_arrays().items()}
            for name, there in self._optimizer_arrays.items():
                array = np.array(self._placed.run_module.to_host(there))
                # Plain gradient descent, and a new training, have no moments.
                if array.any() or name == _SLOW:
                    arrays[_OPTIMIZER + name] = array
            if self._averaged is not None:
                self._averaged.update_network()
                averages = self.trained_network.named_arrays()
                arrays |= {_AVERAGE + name: np.array(a) for name, a in averages.items()}
            state = {
                "step": self.step,
                "seed": self.seed,
                "batch_size": self.batch_size,
                "samples_per_step": self.samples_per_step,
                "shards": self.shards,
                "samples": len(self.training),
                "last_batch": self.last_batch,
                "rate_factor": self.rate_factor,
                "train_seconds": self.train_seconds,
                "schedule": repr(self.schedule),
                "momentum_schedule": repr(self.momentum_schedule),
                "group_schedules": [repr(each) for each in self.optimizer.schedules],
                "observations": observations(self.schedule),
                "config": self.config.fields(),
            }
        return Checkpoint(arrays, {"trainer": state})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same network on the same samples.

        Parameters
        ----------
        checkpoint
            As :meth:`checkpoint` returned it, of a trainer with any backend.

        Raises
        ------
        CheckpointError
            If it is of another network, number of samples, batch size or seed; then nothing is
            changed.
        """
        state = checkpoint.part("trainer", _STATE)
        for name, own in (
            ("seed", self.seed), ("batch_size", self.batch_size),
            ("samples_per_step", self.samples_per_step), ("samples", len(self.training)),
            ("last_batch", self.last_batch), ("shards", self.shards),
        ):  # fmt: skip
            there = state.get(name, own if name == "last_batch" else None)
            if there != own:
                raise CheckpointError(
                    f"checkpoint: {name} is {there}; the trainer's is {own}; make a trainer like "
                    f"the one that saved it"
                )
        if not 0 <= state["step"] < 2**62:
            raise CheckpointError(
                f"checkpoint: damaged (trainer.step is {state['step']:.3g}; expected 0 or more); "
                f"use another"
            )
        known = state["observations"]
        if known is not None:
            kinds = dict.fromkeys(("waited", "reductions", *known), int | float)
            known = Checkpoint({}, state).part("observations", kinds)
        own_arrays = self.network.named_arrays()
        of_optimizer = {_OPTIMIZER + name: there for name, there in self._optimizer_arrays.items()}
        stored = {
            name: array
            for name, array in checkpoint.arrays.items()
            # Others are not the trainer's.
            if "/" not in name or name.startswith((_OPTIMIZER, _AVERAGE))
        }
        if self._averaged is not None:
            averages = self.trained_network.named_arrays()
            own_arrays |= {_AVERAGE + name: array for name, array in averages.items()}
        slow = [name for name in of_optimizer if name == _OPTIMIZER + _SLOW]
        missing = [name for name in (*own_arrays, *slow) if name not in stored]
        shapes = {name: array.shape for name, array in {**own_arrays, **of_optimizer}.items()}
        other = [name for name in stored if stored[name].shape != shapes.get(name)]
        if missing or other:
            raise CheckpointError(
                f"checkpoint: {(missing or other)[0]!r} does not fit this network and optimizer; "
                f"make them like those that were saved"
            )
        with self._turns:
            self._placed.access.begin_writing(lambda: None)
            try:
                for name, view in own_arrays.items():
                    view[...] = stored[name]
                self._placed.write_network()
                if self._averaged is not None:
                    self._averaged.write_network()
                for name, there in of_optimizer.items():
                    values = stored.get(name)
                    zeros = np.zeros(there.shape, self.network.dtype)
                    self._placed.run_module.write(zeros if values is None else values, there)
                self._tell_workers()
            finally:
                self._placed.access.end_writing()
            self.step = state["step"]
            self.rate_factor = state["rate_factor"]
            restore_observations(self.schedule, known)
            self.train_seconds = state["train_seconds"]
            self.score = Score(0.0, 0.0, 0.0, self.training.has_classes)

    def save_checkpoint(self, path: str | Path) -> None:
        """Write a file from which :meth:`load_checkpoint` goes on, complete or not at all.

        Parameters
        ----------
        path
            The file, safetensors; its weights can be loaded by others too.
        """
        self.checkpoint().write(path)

    def load_checkpoint(self, path: str | Path) -> None:
        """Go on from a file of :meth:`save_checkpoint`, as if training had not stopped.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        CheckpointError
            If it is damaged, or does not fit this trainer; then nothing is changed.
        """
        self.restore(Checkpoint.read(path))

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        self.update_network()
        return bool(np.isfinite(self.network.parameters).all())


def _take_weights(weights: ArrayLike, samples: int, dtype: str) -> NDArray[np.floating]:
    """Return the weights of samples in the dtype of a network: a copy."""
    array = np.array(weights, dtype)
    if array.shape != (samples,):
        raise DataError(
            f"sample_weights has shape {array.shape}; expected {(samples,)}, one for each training "
            f"sample"
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise DataError("sample_weights holds a number below 0 or not finite; expected 0 or more")
    return array
