"""A network as a function: its outputs, its loss, and their gradients, for loops of one's own."""

from __future__ import annotations

import functools
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.data import DataError
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.execution.outputs import check_output, take_labels
from fastconv.functional.arrays import check_shape
from fastconv.network import NetworkError, Sequential
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose
from fastconv.predictor import LITTLE_WORK, Predictor, dtype_of_images, shaped_images
from fastconv.preprocessing import Preprocessing, as_preprocessing
from fastconv.spec import require_int

_MOST_PLANS = 8
"""Plans that are kept: of the batches that were asked for last."""
_PASSES = 3
"""A forward and a backward pass are as much work as so many forward passes."""


class NetworkFunction:
    """A network as a function of its images and of its flat vector of parameters.

    ``network(images)``, ``network.value_and_gradient(...)`` and ``network.vjp(...)`` are one of
    these that the network keeps. It is for whoever writes the loop of a training, or has another
    library's optimiser: nothing is updated but by the caller.

    The first call for a batch size makes a plan, which is kept with its arrays: those that images
    and labels are copied to, all that the layers give, and the gradient. They are used again by the
    next call of the same kind and batch size, eight plans at most. What is returned is the
    caller's own, or ``out``, so that what an optimiser remembers stays what it was.

    In training mode, dropout draws the masks of ``seed`` and ``step``, the same ones each time, and
    batch normalisation takes the statistics of the batch and brings those that it keeps,
    ``network.state``, on by them. In inference mode dropout does nothing, and the statistics that
    were kept are constants.

    Several threads may use one. They take turns, but for outputs in inference mode.

    Parameters
    ----------
    network
        The network. Its parameters are read as they are at each call.
    config
        Where and how it computes, as an :class:`fastconv.ExecutionConfig`.
    preprocessing
        What happens to images before the first layer; the kind of a preprocessing stands for it.
    backend, threads, precision, device
        The fields of a config, in its place.

    Raises
    ------
    DataError
        If the preprocessing does not fit the network.
    BackendError
        If the backend cannot work here, or not in this precision.

    Examples
    --------
    >>> from fastconv.layers import Dense
    >>> network = Sequential([Dense(3)], input_shape=(2,))
    >>> function = NetworkFunction(network, backend="numpy", preprocessing="scale")
    >>> function(np.zeros((4, 2), np.uint8)).shape
    (4, 3)
    """

    def __init__(
        self,
        network: Sequential,
        config: ExecutionConfig | None = None,
        *,
        preprocessing: Preprocessing | str | None = None,
        backend: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        device: int | None = None,
    ) -> None:
        self.config = settle(
            "NetworkFunction", config,
            backend=backend, threads=threads, precision=precision, device=device,
        )  # fmt: skip
        self.network = network
        taken = as_preprocessing("NetworkFunction", preprocessing)
        self._placed = NetworkOnBackend(network, taken, self.config)
        self._predictor = Predictor.of(self._placed)
        self._of_arrays = network.parameters, network.state
        self._lock = threading.Lock()
        self._idle: list[_PlanOfBatch] = []
        # Whoever is done with a plan leaves it here, a finaliser too, which must not wait.
        self._returned: deque[_PlanOfBatch] = deque()

    @property
    def is_current(self) -> bool:
        """Whether the network still has the arrays that it had when this was made."""
        return self._of_arrays[0] is self.network.parameters and (
            self._of_arrays[1] is self.network.state
        )

    def __call__(
        self, images: NDArray[Any], *, training: bool = False, seed: int = 0, step: int = 0
    ) -> NDArray[Any]:
        """Return the network's outputs for images.

        Parameters
        ----------
        images
            (N, height, width, channels), or (N, features) for a network of feature vectors: uint8,
            float32 or float64.
        training
            Whether layers behave as in training.
        seed, step
            Of dropout.

        Returns
        -------
        ndarray
            (N, outputs), or (N, height, width, channels) where the network ends with images: a new
            array of the network's dtype.

        Raises
        ------
        DataError
            If the images are not such as the network takes.
        """
        images = shaped_images("network", images, self.network)
        if not training:
            self._bring_network()
            return self._predictor(images)
        made = self._take("network", images, Purpose(True, False, None), seed)
        try:
            with DeferredInterrupts(), _Writing(self._placed):
                made.write("images", images)
                made.runner.run(made.order, None, _counted("network", step))
                outputs = made.read("scores").copy()
                self._bring_state()
        finally:
            self._returned.append(made)
        return outputs

    def value_and_gradient(
        self,
        theta: ArrayLike | None,
        images: NDArray[Any],
        labels: ArrayLike,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        sample_weights: ArrayLike | None = None,
        batch_size: int | None = None,
        training: bool = True,
        seed: int = 0,
        step: int = 0,
        out: NDArray[np.floating] | None = None,
    ) -> tuple[float, NDArray[np.floating]]:
        """Return the mean loss of a batch at ``theta``, and its gradient by ``theta``.

        Made for ``scipy.optimize.minimize(network.value_and_gradient, theta, args=(images, labels),
        jac=True)``. The loss is the term of the data alone: add a penalty and its gradient outside.

        Parameters
        ----------
        theta
            The parameters, in the order and with the gaps of ``network.parameters``; the gradient
            of a gap is 0. They are written to ``network.parameters`` and stay there. None for the
            parameters as they are.
        images
            As for a call.
        labels
            (N,) integers, or (N, outputs) targets for a loss that takes such.
        loss
            The name of a loss, or a :class:`fastconv.Loss`.
        sample_weights
            (N,), 0 or more: what each sample counts in the mean.
        batch_size
            Samples that go through the network at a time, in the memory of so many; the loss and
            the gradient are the means over all. None for all at once. Batch normalisation takes
            each part by itself.
        training, seed, step
            As for a call; layers behave as in training unless it is False.
        out
            Takes the gradient: a floating array of the shape of ``network.parameters``. With it, a
            second call for a batch size allocates nothing of size.

        Returns
        -------
        value : float
        gradient : ndarray
            ``out``, or a new array of the dtype of ``theta``: optimisers keep the one before.

        Raises
        ------
        DataError, NetworkError, TypeError, ValueError
            If an argument does not fit the network or the loss.

        Examples
        --------
        A loss of ``-log(1/2)`` with equal scores, which fall together:

        >>> from fastconv.layers import Dense
        >>> network = Sequential([Dense(2)], input_shape=(1,), dtype="float64")
        >>> theta = np.zeros_like(network.parameters)
        >>> value, gradient = network.value_and_gradient(theta, np.array([[3.0]]), [1])
        >>> round(value, 4), network.gradient_views(gradient)["dense_1.weight"].tolist()
        (0.6931, [[1.5, -1.5]])
        """
        owner = "value_and_gradient"
        images = shaped_images(owner, images, self.network)
        loss, weighs = Loss.of(loss), sample_weights is not None
        taken = _labels_of(owner, loss, labels, images, self.network)
        weights = _weights_of(owner, sample_weights, images) if weighs else None
        values = None if theta is None else _theta_of(owner, theta, self.network)
        dtype = self.network.dtype if values is None else values.dtype
        gradient = _take_out(owner, out, self.network.parameters.size, dtype)
        purpose = Purpose(training, True, loss, sample_weights=weighs)
        step, size = _counted(owner, step), max(1, len(images))
        if batch_size is not None:
            size = min(size, require_int(owner, "batch_size", batch_size, 1))
        parts = [slice(start, start + size) for start in range(0, max(1, len(images)), size)]
        loss_sum = total = 0.0
        with DeferredInterrupts() as interrupts, _Writing(self._placed):
            if values is not None:
                with np.errstate(over="ignore"):
                    np.copyto(self.network.parameters, values, casting="same_kind")
            self._bring_network()
            for number, part in enumerate(parts):
                made = self._take(owner, images[part], purpose, seed)
                try:
                    made.write("images", images[part])
                    made.write("labels" if loss.takes_labels else "targets", taken[part])
                    if weights is not None:
                        made.write("sample_weights", weights[part])
                    statistics = made.runner.run(made.order, None, step * len(parts) + number)
                    of_part, _, samples, *weight = statistics.tolist()
                    divisor = weight[0] if weight else samples
                    _add_part(gradient, made.read("gradients"), divisor, total, len(parts))
                finally:
                    self._returned.append(made)
                loss_sum, total = loss_sum + of_part, total + divisor
                interrupts.let_through()
            if training:
                self._bring_state()
        return (loss_sum / total if total else float("nan")), gradient

    def vjp(
        self,
        images: NDArray[Any],
        *,
        input_gradient: bool = False,
        training: bool = True,
        seed: int = 0,
        step: int = 0,
    ) -> tuple[NDArray[Any], Pullback]:
        """Return the outputs for images, and the function that makes gradients of theirs.

        The vector-Jacobian product of reverse-mode differentiation: what lies between the outputs
        and the number that is to fall is the caller's, and so is its gradient by the outputs.

        Parameters
        ----------
        images
            As for a call.
        input_gradient
            Whether the gradient by the images is wanted too.
        training, seed, step
            As for :meth:`value_and_gradient`.

        Returns
        -------
        outputs : ndarray
            As from a call.
        pullback : Pullback
            ``pullback(dy)`` returns the gradient of ``sum(dy * outputs)`` by the parameters, as
            often as one likes. Call it before the parameters change. It keeps the plan of its call
            as long as it is there.

        Raises
        ------
        DataError
            If the images are not such as the network takes.

        Examples
        --------
        The gradient of a sum of outputs by the weights is the sum of the inputs:

        >>> from fastconv.layers import Dense
        >>> network = Sequential([Dense(1)], input_shape=(2,))
        >>> outputs, pullback = network.vjp(np.array([[1.0, 2.0], [3.0, 5.0]]))
        >>> network.gradient_views(pullback(np.ones_like(outputs)))["dense_1.weight"].tolist()
        [[4.0], [7.0]]
        """
        images = shaped_images("vjp", images, self.network)
        purpose = Purpose(training, True, None, input_gradient=input_gradient, given_gradient=True)
        made = self._take("vjp", images, purpose, seed)
        pullback = Pullback(self, made, input_gradient)
        with DeferredInterrupts(), _Writing(self._placed):
            self._bring_network()
            made.write("images", images)
            made.runner.forward(made.order, _counted("vjp", step))
            outputs = made.read("outputs").copy()
            if training:
                self._bring_state()
        return outputs, pullback

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is made of: in another process it makes plans of its own."""
        make = functools.partial(NetworkFunction, preprocessing=self._placed.preprocessing)
        return make, (self.network, self.config)

    def _bring_network(self) -> None:
        """Let a device have the parameters as they are; on the host it has them."""
        if not self._placed.run_module.IS_ON_HOST:
            self._placed.write_network()

    def _bring_state(self) -> None:
        """Let the network have the statistics that a device has brought on."""
        if self.network.state.size:
            self._placed.update_network()

    def _take(self, owner: str, images: NDArray[Any], purpose: Purpose, seed: int) -> _PlanOfBatch:
        """Return a plan that is nobody else's until it is left among those returned."""
        if not len(images):
            raise DataError(f"{owner}: images is empty; expected one image or more")
        dtype = dtype_of_images(owner, images, np.dtype(self.network.dtype))
        seed = require_int(owner, "seed", seed, 0)
        form = _Form(len(images), dtype.name, purpose, seed)
        with self._lock:
            idle = self._idle
            while self._returned:
                idle.append(self._returned.popleft())
            del idle[:-_MOST_PLANS]
            for number in range(len(idle) - 1, -1, -1):
                if idle[number].form == form:
                    return idle.pop(number)
        if purpose.loss is not None:
            if len(self.network.output_shape) != 1:
                raise NetworkError(
                    f"{owner}: the network's output is {self.network.output_shape}; expected a "
                    f"vector for a loss; end the network with flatten and dense, or use vjp"
                )
            check_output(self.network, purpose.loss)
        return _PlanOfBatch(self._placed, form)


class Pullback:
    """The backward pass of one call of :meth:`NetworkFunction.vjp`: ``pullback(dy)``.

    Parameters
    ----------
    function
        Whose call it was.
    plan
        The plan that made the forward pass.
    input_gradient
        Whether the gradient by the images is returned too.
    """

    def __init__(self, function: NetworkFunction, plan: _PlanOfBatch, input_gradient: bool) -> None:
        self._function, self._plan, self._input_gradient = function, plan, input_gradient

    def __call__(self, dy: ArrayLike, *, out: NDArray[np.floating] | None = None) -> Any:
        """Return the gradient of ``sum(dy * outputs)``.

        Parameters
        ----------
        dy
            The gradient of the outputs, of their shape.
        out
            Takes the gradient by the parameters.

        Returns
        -------
        ndarray
            By the parameters, in the order of ``network.parameters``: ``out``, or a new array. With
            ``input_gradient`` a pair of it and the gradient by the preprocessed images, (N,
            *network.input_shape).

        Raises
        ------
        ValueError
            If ``dy`` has another shape than the outputs.
        """
        function, made = self._function, self._plan
        network = function.network
        given = np.asarray(dy)
        shape = (made.form.batch, *network.output_shape)
        check_shape("pullback", "dy", given, shape, "the shape of the outputs")
        gradient = _take_out("pullback", out, network.parameters.size, network.dtype)
        with DeferredInterrupts(), _Writing(function._placed):
            made.write("output_gradient", given)
            made.runner.backward()
            np.copyto(gradient, made.read("gradients"), casting="same_kind")
            if not self._input_gradient:
                return gradient
            return gradient, made.read("input.gradient").copy()

    def __del__(self) -> None:
        """Leave the plan to the next call."""
        self._function._returned.append(self._plan)


@dataclass(frozen=True)
class _Form:
    """What two calls have in common that may use the same plan."""

    batch: int
    image_dtype: str
    purpose: Purpose
    seed: int


class _PlanOfBatch:
    """A plan for batches of one size, with the arrays that it reads and writes."""

    def __init__(self, placed: NetworkOnBackend, form: _Form) -> None:
        self.form = form
        self._placed = placed
        network, batch, dtype = placed.network, form.batch, placed.network.dtype
        outputs = (batch, *network.output_shape)
        purpose = form.purpose
        loss = None if purpose.loss is None else Loss.of(purpose.loss)
        kinds: dict[str, tuple[tuple[int, ...], str]] = {
            "images": ((batch, *placed.image_shape), form.image_dtype)
        }
        if purpose.backward:
            kinds["gradients"] = network.parameters.shape, dtype
        if purpose.given_gradient:
            kinds["output_gradient"] = outputs, dtype
        if loss is not None:
            kinds |= {"labels": ((batch,), "int64")} if loss.takes_labels else {}
            kinds |= {} if loss.takes_labels else {"targets": (outputs, dtype)}
        if purpose.sample_weights:
            kinds["sample_weights"] = (batch,), dtype
        placed.config.select_device()
        self._arrays = {
            name: placed.to_device(np.zeros(shape, kind)) for name, (shape, kind) in kinds.items()
        }
        config = placed.config
        if _PASSES * batch * network.flops < LITTLE_WORK:
            config = replace(config, threads=1)
        self.runner = placed.make_runner(
            batch, purpose, self._arrays, seed=form.seed, config=config
        )
        self.order = np.arange(batch, dtype=np.int64)[None]

    def write(self, name: str, values: NDArray[Any]) -> None:
        """Bring values to where the plan reads them."""
        self._placed.run_module.write(values, self._arrays[name])

    def read(self, name: str) -> NDArray[Any]:
        """Return an array of the plan on the host: its own there, which the next run overwrites."""
        array = self._arrays[name] if name in self._arrays else self.runner.buffer(name)
        found: NDArray[Any] = self._placed.run_module.to_host(array)
        return found


class _Writing:
    """Within it nobody else reads or writes the network's arrays."""

    __slots__ = ("_placed",)

    def __init__(self, placed: NetworkOnBackend) -> None:
        self._placed = placed

    def __enter__(self) -> None:
        self._placed.config.select_device()
        self._placed.access.begin_writing(_wait)

    def __exit__(self, *fault: object) -> None:
        self._placed.access.end_writing()


def _wait() -> None:
    """What is done while others compute: nothing."""


def _counted(owner: str, step: int) -> int:
    return require_int(owner, "step", step, 0)


def _add_part(
    gradient: NDArray[np.floating], part: NDArray[Any], weight: float, before: float, parts: int
) -> None:
    """Let the mean gradient of some samples become that of others too, which are a part of all.

    ``before`` is the weight of those that are in it, ``weight`` that of the part.
    """
    if parts == 1:
        np.copyto(gradient, part, casting="same_kind")
        return
    if not before:
        gradient.fill(0)
    if weight:
        share = weight / (before + weight)
        gradient *= 1 - share
        part *= share  # the plan's own array, which the next part's takes the place of
        np.add(gradient, part, out=gradient, casting="same_kind")


def _labels_of(
    owner: str, loss: Loss, labels: ArrayLike, images: NDArray[Any], network: Sequential
) -> NDArray[Any]:
    """Return labels or targets as the plan takes them, one for each image."""
    if loss.takes_labels:
        return take_labels(owner, loss, labels, len(images), network, images)
    targets = np.asarray(labels)
    shape = (len(images), *network.output_shape)
    check_shape(owner, "labels", targets, shape, f"targets of the loss {loss.kind}, (N, outputs)")
    return targets


def _weights_of(
    owner: str, weights: ArrayLike | None, images: NDArray[Any]
) -> NDArray[np.floating]:
    taken = np.asarray(weights)
    check_shape(owner, "sample_weights", taken, (len(images),), "one number for each image")
    if taken.dtype.kind not in "iuf" or not (np.isfinite(taken) & (taken >= 0)).all():
        raise DataError(
            f"{owner}: sample_weights holds a value that is no finite number of 0 or more; correct "
            f"it, or leave sample_weights out"
        )
    return taken


def _theta_of(owner: str, theta: ArrayLike, network: Sequential) -> NDArray[Any]:
    """Return a vector of parameters as a floating array."""
    values = np.asarray(theta)
    if values.dtype.kind not in "f":
        values = values.astype(network.dtype)
    if values.shape != network.parameters.shape:
        raise NetworkError(
            f"{owner}: theta has shape {values.shape}; expected {network.parameters.shape}, the "
            f"shape of network.parameters; begin with network.parameters.copy()"
        )
    return values


def _take_out(
    owner: str, out: NDArray[np.floating] | None, size: int, dtype: Any
) -> NDArray[np.floating]:
    """Return the array for a gradient: the one that was given, once it is clear that it fits."""
    if out is None:
        made: NDArray[np.floating] = np.empty(size, dtype)
        return made
    kind = f"a {type(out).__name__}"
    if isinstance(out, np.ndarray):
        if out.shape == (size,) and out.dtype.kind == "f" and out.flags.writeable:
            return out
        kind = f"{'' if out.flags.writeable else 'read-only '}{out.dtype} of shape {out.shape}"
    raise NetworkError(
        f"{owner}: out is {kind}; expected a writable floating array of shape ({size},); use "
        f"numpy.empty_like(network.parameters)"
    )
