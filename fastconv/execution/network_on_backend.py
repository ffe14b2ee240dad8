"""A network where a backend computes: its arrays, and runners of plans over them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data import DataError, Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.network_access import NetworkAccess
from fastconv.execution.uploads import Arrays
from fastconv.network import Sequential
from fastconv.plans.loss import Loss
from fastconv.plans.plan import Plan
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import (
    Augmentation,
    Preprocessing,
    as_preprocessing,
    warn_of_range,
)

_MIDDLE_OF_BYTES = 127


class NetworkOnBackend:
    """Holds a network's arrays where a backend computes, for all who train it or apply it.

    On the CPU these are the network's own; on a CUDA device they are copies.

    Parameters
    ----------
    network
        The network.
    preprocessing
        What happens to a batch before the first layer.
    config
        Where and how it computes.

    Attributes
    ----------
    access
        To the network's arrays: whoever reads or writes them takes turns there.
    plan_seconds
        Time that building plans took.

    Raises
    ------
    DataError
        If the preprocessing does not fit the network.
    BackendError
        If the precision is not for the network's dtype.
    """

    def __init__(
        self, network: Sequential, preprocessing: Preprocessing | None, config: ExecutionConfig
    ) -> None:
        config.check_dtype(str(network.dtype))
        self.network = network
        self.preprocessing = as_preprocessing("Preprocessing", preprocessing)
        self.config = config
        self.plan_seconds = 0.0
        _check_preprocessing(self.preprocessing, network)
        self.run_module = config.run_module
        self._uploads = config.uploads(str(network.dtype))
        self.access = NetworkAccess()
        arrays = {
            "parameters": network.parameters,
            "state": network.state,
            **self.preprocessing.constants(network.dtype),
        }
        self._arrays = {name: self.to_device(array) for name, array in arrays.items()}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image; a vector of features is an image of one pixel."""
        shape = self.network.input_shape
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, math.prod(shape))

    @property
    def flat_arrays(self) -> dict[str, Any]:
        """Parameters and state, where the backend has them."""
        return {name: self._arrays[name] for name in ("parameters", "state")}

    @property
    def steps_together(self) -> int:
        """Steps that the backend runs faster together: those of a graph on a CUDA device, or 1."""
        return int(getattr(self.run_module, "STEPS_OF_A_GRAPH", 1))

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return an array where the backend computes: itself, or a copy."""
        return self.run_module.to_device(array)

    def upload(self, samples: Samples) -> Arrays:
        """Bring samples to the backend: see :meth:`Uploads.arrays_of`."""
        _check_range(self.preprocessing, samples)
        return self._uploads.arrays_of(samples)

    def make_plan(
        self,
        batch: int,
        purpose: Purpose,
        arrays: Mapping[str, Any],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        steps_per_epoch: int = 1,
    ) -> Plan:
        """Build a plan over samples; parameters as for :meth:`make_runner`."""
        started = time.perf_counter()
        images, targets = arrays["images"], arrays.get("targets")
        source = Source(
            len(images),
            images.dtype.name,
            self.preprocessing,
            augmentation or Augmentation(),
            None if targets is None else targets.dtype.name,
            steps_per_epoch,
        )
        plan = build_plan(self.network, batch, purpose, source, seed)
        self.plan_seconds += time.perf_counter() - started
        return plan

    def shared_arrays(self, purpose: Purpose, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arrays that a plan shares: the network's, the loss's, and those given."""
        dtype = str(self.network.dtype)
        constants = {} if purpose.loss is None else Loss.of(purpose.loss).constants(dtype)
        of_loss = {name: self.to_device(array) for name, array in constants.items()}
        return {**self._arrays, **of_loss, **arrays}

    def make_runner(
        self,
        batch: int,
        purpose: Purpose,
        arrays: Mapping[str, Any],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        config: ExecutionConfig | None = None,
        steps_per_epoch: int = 1,
    ) -> Any:
        """Build a plan over samples, and make it ready to run.

        Parameters
        ----------
        batch
            Samples in a step.
        purpose
            What the plan is for.
        arrays
            The samples as :meth:`upload` returns them, and what else the plan shares.
        augmentation, seed
            Of training.
        config
            In place of the network's own: for fewer threads.
        steps_per_epoch
            Of training.

        Returns
        -------
        Runner
            The backend's.
        """
        plan = self.make_plan(
            batch, purpose, arrays, augmentation=augmentation, seed=seed,
            steps_per_epoch=steps_per_epoch,
        )  # fmt: skip
        ones = {
            buffer.name: self.to_device(np.ones(buffer.shape, buffer.dtype))
            for buffer in plan.buffers
            if buffer.shared and buffer.name.startswith("ones.")
        }
        shared = ones | self.shared_arrays(purpose, arrays)
        return (config or self.config).make_runner(plan, shared)

    def update_network(self) -> None:
        """Bring parameters and state back into the network from where the backend has them."""
        for name in ("parameters", "state"):
            host, device = getattr(self.network, name), self._arrays[name]
            if device is not host:
                host[...] = self.run_module.to_host(device)

    def write_network(self) -> None:
        """Bring parameters and state of the network to where the backend has them."""
        for name in ("parameters", "state"):
            host, device = getattr(self.network, name), self._arrays[name]
            if device is not host:
                self.run_module.write(host, device)


def _check_range(preprocessing: Preprocessing, samples: Samples) -> None:
    """Warn of a mean and a deviation that count from 0 to 1 where pixels count from 0 to 255."""
    p, images = preprocessing, samples.images
    warn_of_range("Samples", p, images)
    if p.kind != "standardize" or images.dtype != np.uint8 or not images.size:
        return
    largest = max(float(np.max(np.abs(array))) for array in (p.mean, p.std) if array is not None)
    if largest <= 1 and int(images.max()) > _MIDDLE_OF_BYTES:
        warnings.warn(
            f"preprocessing mean and std are at most {largest:.4g} but the images are bytes up to "
            f"{images.max()}; expected both in raw pixel values; use 255 * mean and 255 * std",
            stacklevel=4,
        )


def _check_preprocessing(preprocessing: Preprocessing, network: Sequential) -> None:
    p = preprocessing
    if p.mean is None or p.std is None:
        return
    channels, features = network.input_shape[-1], math.prod(network.input_shape)
    for name, array in (("mean", p.mean), ("std", p.std)):
        if np.size(array) not in (channels, features) or np.size(p.mean) != np.size(array):
            raise DataError(
                f"preprocessing {name} has {np.size(array)} values; expected {channels} (one "
                f"for each channel) or {features} (one for each feature)"
            )
    if not np.all(np.asarray(p.std) > 0):
        raise DataError("preprocessing std holds a value that is not above 0; use 1 there")
