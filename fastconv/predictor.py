"""Applying a network to images again and again: plans that are kept, ready to run."""

from __future__ import annotations

import copy
import functools
import threading
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data import DataError
from fastconv.data.dataset import require_unmasked
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.network import Sequential
from fastconv.plans.plan_builder import Purpose
from fastconv.preprocessing import Preprocessing, warn_of_range

_BATCH = 256
"""Images that are taken together at most: more of them go through the network in turns."""
_MOST_PLANS = 8
"""Plans that are kept: of the batches that were predicted last."""
_BYTES = np.dtype(np.uint8)
_IMAGE_TYPES = (_BYTES, np.dtype(np.float32), np.dtype(np.float64))
LITTLE_WORK = 2_000_000
"""Floating point operations that one thread is done with before others would be awake to help."""
_SCORES = Purpose(training=False, backward=False, loss=None)
_FROZEN_SCORES = replace(_SCORES, frozen=True)


class Predictor:
    """Says what a network makes of images: ``predictor(images)``.

    The first prediction of a batch size makes a plan for it, which is kept: another one of that
    size builds nothing, and allocates its result alone. The plans of the batch sizes that were
    used last are kept, eight at most.

    The network's parameters are read as they are at each call: training and ``load_weights`` are
    seen. On a CUDA device they are those of when the predictor was made; a trainer's own
    predictor sees its training there too. Batch normalisation uses its running statistics, and
    dropout does nothing.

    A network that is trained no more is applied faster when it is ``frozen``: the predictor takes a
    copy of the parameters, and the compiled backends pack or transform them once, not at each call.
    What becomes of the network afterwards is not seen until :meth:`parameters_changed` is called.
    The scores have the same bits either way.

    Several threads may use one: predictions run side by side, and none sees a network in the
    midst of a step of the trainer that the predictor is of, or half of changed parameters.

    Parameters
    ----------
    network
        The network.
    config
        Where and how it computes, as an :class:`fastconv.ExecutionConfig`.
    backend, threads, precision, device
        The fields of one, in its place.
    preprocessing
        What happens to images before the first layer, as in training.
    frozen
        Take the parameters once, as they are now, for a network that is trained no more.

    Raises
    ------
    DataError
        If the preprocessing does not fit the network.
    BackendError
        If the backend cannot work here, or not in this precision.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> from fastconv.layers import Conv2D, Dense, Flatten, ReLU
    >>> layers = [Conv2D(4), ReLU(), Flatten(), Dense(10)]
    >>> network = fastconv.Sequential(layers, input_shape=(28, 28, 1))
    >>> predictor = fastconv.Predictor(network, backend="numpy")
    >>> predictor(np.zeros((3, 28, 28, 1), np.uint8)).shape
    (3, 10)

    Frozen, it keeps to the parameters that it has taken:

    >>> frozen = fastconv.Predictor(network, backend="numpy", frozen=True)
    >>> network["dense_1.bias"][...] = 7
    >>> frozen(np.zeros((1, 28, 28, 1), np.uint8))[0, 0].item()
    0.0
    >>> frozen.parameters_changed()
    >>> frozen(np.zeros((1, 28, 28, 1), np.uint8))[0, 0].item()
    7.0
    """

    def __init__(
        self,
        network: Sequential,
        config: ExecutionConfig | None = None,
        *,
        preprocessing: Preprocessing | None = None,
        backend: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        device: int | None = None,
        frozen: bool = False,
    ) -> None:
        settled = settle(
            "Predictor", config,
            backend=backend, threads=threads, precision=precision, device=device,
        )  # fmt: skip
        self._use(_place(network, preprocessing, settled, frozen))
        self.network, self.frozen = network, frozen

    @classmethod
    def of(cls, placed: NetworkOnBackend) -> Predictor:
        """Return a predictor of a network that others use too, such as one in training.

        Parameters
        ----------
        placed
            The network where a backend computes.
        """
        made = cls.__new__(cls)
        made._use(placed)
        made._shares_arrays = True
        return made

    def _use(self, placed: NetworkOnBackend) -> None:
        self._placed = placed
        self.config = placed.config
        self.network = placed.network
        self.frozen = self._shares_arrays = False
        self.preprocessing = placed.preprocessing
        self._image_shape = placed.image_shape
        self._dtype = np.dtype(placed.network.dtype)
        self._has_looked = False
        self._lock = threading.Lock()
        # Those in use are taken out. The last one was used last.
        self._idle: list[_PlanOfBatch] = []

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's scores for images.

        Parameters
        ----------
        images
            (N, height, width, channels), or (N, features) for a network of feature vectors: uint8,
            float32 or float64, as they come from a data set; preprocessed as in training. None of
            it is kept.

        Returns
        -------
        ndarray
            (N, outputs): scores before any softmax that the loss holds, of the network's dtype.

        Raises
        ------
        DataError
            If the images are not such as the network takes.
        """
        if type(images) is not np.ndarray or images.shape[1:] != self._image_shape:
            images = shaped_images("Predictor", images, self.network)
        kept_dtype = images.dtype
        if kept_dtype is not self._dtype and kept_dtype is not _BYTES:
            kept_dtype = dtype_of_images("Predictor", images, self._dtype)
        if not self._has_looked and kept_dtype is not _BYTES:
            # Once: to look at every batch would take its time.
            self._has_looked = True
            warn_of_range("Predictor", self.preprocessing, images)
        count = len(images)
        if not 0 < count <= _BATCH:
            return self._in_turns(images, kept_dtype)
        plan = self._take(self._placed, count, kept_dtype)
        try:
            if plan.may_be_interrupted:
                return plan.run(images).copy()
            with DeferredInterrupts():
                return plan.run(images).copy()
        finally:
            self._put_back(plan)

    predict = __call__

    def parameters_changed(self) -> None:
        """Take the network's parameters as they are now.

        For a predictor that is frozen, or one on a CUDA device; predictions that other threads are
        at end with the parameters that they began with. Any other predictor reads the parameters at
        each call anyway, and that of a trainer or of an ``Inference`` has theirs.
        """
        taken = self.frozen or not self._placed.run_module.IS_ON_HOST
        if self._shares_arrays or not taken:
            return
        placed = _place(self.network, self.preprocessing, self.config, self.frozen)
        with self._lock:
            self._placed = placed
            self._idle.clear()

    def _in_turns(self, images: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the scores of more images than are taken together, or of none."""
        scores = np.empty((len(images), *self.network.output_shape), self._dtype)
        placed = self._placed  # for all turns
        with DeferredInterrupts() as interrupts:
            for start in range(0, len(images), _BATCH):
                part = images[start : start + _BATCH]
                plan = self._take(placed, len(part), dtype)
                try:
                    scores[start : start + _BATCH] = plan.run(part)
                finally:
                    self._put_back(plan)
                interrupts.let_through()
        return scores

    def _take(self, placed: NetworkOnBackend, batch: int, dtype: np.dtype[Any]) -> _PlanOfBatch:
        """Return a plan that is nobody else's until it is put back."""
        with self._lock:
            idle = self._idle
            for number in range(len(idle) - 1, -1, -1):
                plan = idle[number]
                if plan.batch == batch and plan.dtype is dtype and plan.placed is placed:
                    return idle.pop(number)
        return _PlanOfBatch(placed, batch, dtype, _FROZEN_SCORES if self.frozen else _SCORES)

    def _put_back(self, plan: _PlanOfBatch) -> None:
        with self._lock:
            if plan.placed is not self._placed:
                return  # it has other parameters
            self._idle.append(plan)
            if len(self._idle) > _MOST_PLANS:
                del self._idle[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is made of: in another process it makes plans of its own."""
        self._placed.update_network()
        make = functools.partial(Predictor, preprocessing=self.preprocessing, frozen=self.frozen)
        return make, (self._placed.network, self.config)


def _place(
    network: Sequential, preprocessing: Preprocessing | None, config: ExecutionConfig, frozen: bool
) -> NetworkOnBackend:
    """Return the network where a backend computes, or where it is frozen, a copy of it."""
    return NetworkOnBackend(copy.deepcopy(network) if frozen else network, preprocessing, config)


def shaped_images(owner: str, images: Any, network: Sequential) -> NDArray[Any]:
    """Return images of the shape that plans take, (N, height, width, channels).

    Parameters
    ----------
    owner
        Whose argument they are, for error messages.
    images
        Such images, or of a network of feature vectors (N, features).
    network
        The network that they are for.

    Raises
    ------
    DataError
        If they are none.

    Examples
    --------
    >>> from fastconv.layers import Dense
    >>> network = Sequential([Dense(3)], input_shape=(5,))
    >>> shaped_images("Predictor", np.zeros((2, 5)), network).shape
    (2, 1, 1, 5)
    """
    if not isinstance(images, np.ndarray):
        raise DataError(
            f"{owner}: images is a {type(images).__name__}; expected a NumPy array; use "
            f"numpy.asarray(images)"
        )
    require_unmasked(owner, "images", images)
    array: NDArray[Any] = np.asarray(images)
    own = network.input_shape
    plain = own if len(own) == 3 else (1, 1, *own)
    if array.shape[1:] == plain:
        return array
    if array.ndim and array.shape[1:] == own:
        return array.reshape(len(array), *plain)
    one = array.shape in (own, plain)
    fix = "use images[numpy.newaxis] for one image" if one else "use images.reshape(...)"
    raise DataError(
        f"{owner}: images has shape {array.shape}; expected "
        f"({', '.join(['N', *map(str, own)])}), as the network takes them; {fix}"
    )


def dtype_of_images(
    owner: str, images: NDArray[Any], network_dtype: np.dtype[Any]
) -> np.dtype[Any]:
    """Return the dtype in which plans read images.

    Bytes stay bytes. Other numbers become those of the network, as they would in its first kernel,
    when they are written where the plan reads them.

    Parameters
    ----------
    owner, images
        As for :func:`shaped_images`.
    network_dtype
        Of the network.

    Raises
    ------
    DataError
        If the images are of another type than plans take.
    """
    dtype = images.dtype
    if dtype not in _IMAGE_TYPES:
        raise DataError(
            f"{owner}: images has dtype {dtype.str}; expected native uint8, float32 or "
            f"float64; use images.astype(...)"
        )
    return _BYTES if dtype is _BYTES or dtype == _BYTES else network_dtype


class _PlanOfBatch:
    """A plan for batches of one size, with the array that it reads its images from."""

    def __init__(
        self, placed: NetworkOnBackend, batch: int, dtype: np.dtype[Any], purpose: Purpose
    ) -> None:
        self.placed, self.batch, self.dtype = placed, batch, dtype
        self._config, self._access = placed.config, placed.access
        self._is_frozen = purpose.frozen  # nobody writes its parameters
        self._run_module = placed.run_module
        # It holds nothing that others wait for, and what it leaves half done is made anew.
        self.may_be_interrupted = self._is_frozen and self._run_module.IS_ON_HOST
        placed.config.select_device()
        self._images = placed.to_device(np.zeros((batch, *placed.image_shape), dtype))
        config = placed.config
        if batch * placed.network.flops < LITTLE_WORK:
            config = replace(config, threads=1)
        self._runner = placed.make_runner(batch, purpose, {"images": self._images}, config=config)
        self._scores = self._runner.buffer("scores")
        self._order = np.arange(batch, dtype=np.int64)[None]
        self._order.flags.writeable = False  # it is looked at once

    def run(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the scores, which the next run overwrites."""
        self._config.select_device()
        self._run_module.write(images, self._images)
        if self._is_frozen:
            return self._scores_of_run()
        self._access.begin_reading()
        try:
            return self._scores_of_run()
        finally:
            self._access.end_reading()

    def _scores_of_run(self) -> NDArray[Any]:
        self._runner.run(self._order)
        scores: NDArray[Any] = self._run_module.to_host(self._scores)
        return scores
