"""Reach of rounding in the steps of a plan: the reference's steps with errors drawn for it.

A backend rounds every number that it computes, sums in an order of its own, and where a ReLU or a
max pooling is nearly undecided it may decide otherwise. How much of that reaches a parameter some
steps later depends on the network and its data, and no factor is right for all. So it is measured:
the steps are made again, and every call reads its arrays, and writes its results, with relative
errors of the size that a backend's may have. This is Monte Carlo arithmetic (Parker, "Monte Carlo
Arithmetic: exploiting randomness in floating-point arithmetic", UCLA CSD-970002, 1997). What a step
decides by less than such errors is decided one way and the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.reference.run import Runner
from fastconv.plans.effects import ACCESS
from fastconv.plans.loss_operation import ElementwiseLossSpec, SoftCrossEntropySpec
from fastconv.plans.norm_operation import GroupNormSpec
from fastconv.plans.operation import ActivationSpec, InputSpec, LossSpec, NormSpec, SoftmaxSpec
from fastconv.plans.plan import Call, Plan
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

_EXACT = (
    "input.gather_images", "input.gather_rows", "dropout.dropout_backward", "target_loss.one_hot",
    "layout.nhwc_to_nchw", "dropout.drop_channels",
)  # fmt: skip
"""Kernels that compute nothing, or only what rounding leaves as it is."""
_PRODUCTS = ("conv", "dense")
_LOGARITHMS = (
    "loss.softmax_cross_entropy_forward",
    "target_loss.soft_cross_entropy_forward",
    "target_loss.elementwise_loss_forward",
    "activation.log_softmax_forward",
)


def longest_sum(call: Call) -> int:
    """Number of terms in the longest sum of a call.

    Examples
    --------
    >>> longest_sum(Call("dense.dense_backward_weight", DenseSpec(2, 3, 4), ()))
    2
    """
    spec = call.spec
    if isinstance(spec, ConvSpec):
        weights = math.prod(spec.w_shape)
        products = spec.batch * spec.out_height * spec.out_width * weights
        if call.kernel.endswith("_weight"):
            # A bias sums as many pixels as a transposed convolution's output has.
            return max(products // weights, spec.batch * spec.height * spec.width)
        taps = spec.kernel[0] * spec.kernel[1]
        return taps * max(spec.in_channels, spec.out_channels) // spec.groups
    if isinstance(spec, DenseSpec):
        by_pass = {"forward": spec.inputs, "data": spec.outputs, "weight": spec.batch}
        return by_pass[call.kernel.rpartition("_")[2]]
    if isinstance(spec, PoolSpec):
        return spec.kernel[0] * spec.kernel[1]
    if isinstance(spec, InputSpec) and call.kernel.startswith("pool."):
        return spec.height * spec.width
    if isinstance(spec, NormSpec):
        return spec.rows
    if isinstance(spec, GroupNormSpec):
        return spec.pixels * max(spec.width, spec.batch)
    if isinstance(spec, SoftmaxSpec):
        return spec.classes
    if isinstance(spec, (LossSpec, SoftCrossEntropySpec, ElementwiseLossSpec)):
        return max(spec.outputs, spec.batch)
    return 1


class RoundedRunner(Runner):
    """Steps of the reference with drawn errors.

    A sum of K terms, which a backend may add in any order, has an error of about sqrt(K) units in
    the last place, so that is what a call reads and writes with. An error is between half of that
    and all of it, up or down. Two runners with the same seed and opposite signs draw opposite
    errors: of two numbers that are nearly equal, either is the larger in one of them. Errors are
    independent of each other, or with an odd seed the same for all rows of a channel: so is that of
    a mean which is subtracted from all of them.

    Parameters
    ----------
    plan, shared
        As for the reference's runner.
    seed
        Of the errors.
    sign
        1 or -1.
    epsilon
        Of the backend's dtype.
    epsilon_of_products
        What the factors of convolutions and dense layers are rounded to.
    """

    def __init__(
        self,
        plan: Plan,
        shared: Mapping[str, NDArray[Any]],
        *,
        seed: int,
        sign: int,
        epsilon: float,
        epsilon_of_products: float | None = None,
    ) -> None:
        super().__init__(plan, shared)
        self._generator = np.random.default_rng([seed, 0xE])
        self._is_common = seed % 2 == 1
        self._sign = sign
        self._epsilon = epsilon
        self._epsilon_of_products = epsilon_of_products or epsilon

    def make_call(self, kernel: Callable[..., None], call: Call, arrays: list[Any]) -> None:
        """Make one call with errors in what it reads and what it writes."""
        if call.kernel in _EXACT:
            super().make_call(kernel, call, arrays)
            return
        is_product = call.kernel.partition(".")[0] in _PRODUCTS
        error = self._epsilon_of_products if is_product else self._epsilon
        error *= math.sqrt(longest_sum(call))
        # In and out may be the same memory.
        floats = {a.ctypes.data: a for a in arrays if a is not None and a.dtype.kind == "f"}
        kept = [(a, a.copy()) for a in floats.values()]
        for array in floats.values():
            array *= 1 + self._draw(array, error)
        read = [array.copy() for array in floats.values()]
        super().make_call(kernel, call, arrays)
        beside = self._beside(call, arrays, error)
        for (array, before), seen in zip(kept, read, strict=True):
            written = array != seen
            if not written.any():
                array[...] = before
                continue
            rounded = array * (1 + self._draw(array, error))
            if array.ctypes.data == beside.address:
                rounded += np.asarray(beside.size) * self._draw(array, 1.0)
                if call.kernel == "activation.log_softmax_forward":
                    # One logarithm is subtracted from a whole row: so is its error.
                    rows = self._errors(array[..., :1].shape, 1.0)
                    rounded += np.asarray(beside.size) * rows
            array[...] = np.where(written, rounded, before)

    def _beside(self, call: Call, arrays: list[Any], error: float) -> _Beside:
        """Errors that are not in proportion to a result: those of what it is the small rest of."""
        if call.kernel == "norm.batch_norm_backward":
            # A mean is subtracted, and what is left may be nothing: its error stays.
            dy, _, gamma, _, inverse_std, dx = arrays[:6]
            rows = np.abs(dy.reshape(-1, gamma.size)).max(axis=0, initial=0.0)
            size = error * rows * np.abs(gamma * inverse_std)
            per_row = np.broadcast_to(size, (dx.size // gamma.size, gamma.size))
            return _Beside(dx.ctypes.data, per_row.reshape(dx.shape))
        if call.kernel == "group_norm.group_norm_backward_data":
            dy, _, gamma, _, inverse_std, dx = arrays
            size = error * _largest(dy) * (1.0 if gamma is None else _largest(gamma))
            return _Beside(dx.ctypes.data, size * _largest(inverse_std))
        if call.kernel in _LOGARITHMS:
            # The logarithm of a number near 1.
            names = list(ACCESS[call.kernel])
            losses = arrays[names.index("losses" if "losses" in names else "y")]
            return _Beside(losses.ctypes.data, self._epsilon * max(1.0, _largest(losses)))
        if _is_curved(call.spec):
            result = arrays[-1]
            return _Beside(result.ctypes.data, self._epsilon * _largest(result))
        return _Beside(0, 0.0)

    def _draw(self, array: NDArray[Any], size: float) -> NDArray[np.float64]:
        """Errors between half of ``size`` and all of it, up or down."""
        # Every other seed: one for all that has the same place in the last axis.
        shape = array.shape[-1:] if self._is_common else array.shape
        return self._errors(shape, size)

    def _errors(self, shape: tuple[int, ...], size: float) -> NDArray[np.float64]:
        drawn = self._generator.random(shape)
        drawn -= 0.5
        drawn += np.copysign(0.5, drawn)
        drawn *= self._sign * size
        return drawn


class _Beside(NamedTuple):
    """The address of a result, and the size of its errors beside those in proportion to it."""

    address: int
    size: float | NDArray[np.float64]


def _largest(array: NDArray[np.float64]) -> float:
    """The largest magnitude of what is finite."""
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))


def _is_curved(spec: object) -> bool:
    """Whether small results of an activation are only as exact as its largest."""
    if isinstance(spec, ActivationSpec):
        return spec.kind not in ("relu", "leaky_relu")
    return isinstance(spec, SoftmaxSpec)
