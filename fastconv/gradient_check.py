"""Checking a network's gradients against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.backends.selection import choose_backend, load_module
from fastconv.execution.outputs import take_labels
from fastconv.functional.arrays import check_shape
from fastconv.network import Sequential
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose, Source, build_plan

_SPREAD = 0.1
_MOVED = (
    f"with biases of 0, each ReLU over an even ground is on its kink: they were compared at biases "
    f"drawn from a normal distribution of std {_SPREAD} instead"
)
_STEPS = tuple(1e-2 * 0.25**k for k in range(5))
"""Values of h, largest first."""
_SMALL_STEPS = tuple(1e-5 * 0.25**k for k in range(6))
"""Those within which even a weight that moves 100,000 units may find none on its kink."""
_FOUR_DIGITS = 1e-4
"""What a loss in float64 leaves of a difference over so small a step."""


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """Comparison of one parameter's gradient.

    Parameters
    ----------
    name
        The parameter.
    checked
        Elements compared.
    kinks
        Elements left out because the loss has a kink there: a ReLU or a max pooling changes sides
        within every step tried.
    error
        Largest ``|a - n| / max(eps, |a| + |n|)`` of analytic a and numerical n.
    analytic, numerical
        The two values where the error is largest.
    coarse
        Elements of those compared that were compared to four digits: a ReLU or a max pooling
        changes sides within all but very small steps. Their error is what lies beyond.
    """

    name: str
    checked: int
    kinks: int
    error: float
    analytic: float
    numerical: float
    coarse: int = 0


@dataclass(frozen=True)
class GradientCheck:
    """The comparison of all parameters; ``str()`` is a table.

    Parameters
    ----------
    rows
        One for each parameter.
    tolerance
        The largest error that passes.
    remark
        What was changed for the comparison, and why.
    """

    rows: tuple[ParameterCheck, ...]
    tolerance: float
    remark: str = ""

    @property
    def error(self) -> float:
        """The largest error of all."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether every parameter was compared and is within the tolerance."""
        return all(row.checked > 0 and row.error <= self.tolerance for row in self.rows)

    def __str__(self) -> str:
        width = max([len("parameter"), *(len(row.name) for row in self.rows)])
        lines = [
            f"{'parameter':<{width}}  {'checked':>7}  {'kinks':>5}  {'error':>8}  "
            f"{'analytic':>12}  {'numerical':>12}"
        ]
        lines.append("-" * len(lines[0]))
        for row in self.rows:
            mark = "" if row.error <= self.tolerance else "  <-- differs"
            if not row.checked:
                mark = "  <-- not compared"
            lines.append(
                f"{row.name:<{width}}  {row.checked:>7}  {row.kinks:>5}  {row.error:>8.1e}  "
                f"{row.analytic:>12.5e}  {row.numerical:>12.5e}{mark}"
            )
        differs = any(row.error > self.tolerance for row in self.rows)
        verdict = "passed" if self.passed else "FAILED" if differs else "NOT PROVEN"
        if verdict == "NOT PROVEN":
            lines.append(
                "nothing differs, but some parameters have a kink within every step: check fewer "
                "images, or smooth activations (elu, tanh) in place of relu"
            )
        if coarse := sum(row.coarse for row in self.rows):
            every = sum(row.checked for row in self.rows)
            lines.append(
                f"{coarse} of {every} elements were compared to four digits: within larger steps "
                f"than {_SMALL_STEPS[0]:.0e} a unit changes sides"
            )
        if self.remark:
            lines.append(self.remark)
        lines.append(f"{verdict}: largest error {self.error:.1e}, tolerance {self.tolerance:.0e}")
        return "\n".join(lines)


def check_gradients(
    network: Sequential,
    batch: ArrayLike | tuple[ArrayLike, ArrayLike],
    labels: ArrayLike | None = None,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    samples: int = 20,
    tolerance: float = 1e-7,
    eps: float = 1e-6,
    seed: int = 0,
    backend: str | None = None,
    verbose: bool = True,
) -> GradientCheck:
    """Compare a network's gradients with five-point differences in float64.

    Parameters
    ----------
    network
        The network; it is not changed.
    batch
        A pair (images, labels), or the images alone with ``labels`` given beside them. Images are
        (N, height, width, channels), or (N, features).
    labels
        (N,) integers, or (N, K) targets for a loss that takes such.
    loss
        The name of a loss, or a :class:`fastconv.Loss`.
    samples
        Elements to check of each parameter, drawn at random; all if it has no more.
    tolerance
        Largest error that passes.
    eps
        In the error ``|a - n| / max(eps, |a| + |n|)``: gradients far below it are compared in
        absolute terms, because a difference of losses of order one cannot tell them from 0.
    seed
        Of the choice of elements, and of dropout.
    backend
        As for :func:`fastconv.conv2d`.
    verbose
        Whether to print the table.

    Returns
    -------
    GradientCheck

    Notes
    -----
    The numerical gradient is ``(f(w-2h) - 8 f(w-h) + 8 f(w+h) - f(w+2h)) / 12h``. A large h
    suffers from curvature, a small one from rounding, so five are tried for each element and the
    two neighbours that agree best are taken; where no two agree, the loss has a kink. The analytic
    gradient plays no part in that.

    In a network of many units, such as a residual one, some unit is on its kink within each of
    these steps. Steps from 1e-5 down to 1e-8 are then tried, which leave four digits of a gradient;
    at these, the slopes on both sides must agree too, or the element itself lies on a kink.

    Where a parameter has kinks alone, and biases of a layer are all 0, as they are drawn, all is
    compared once more at biases drawn for it; the table says so. Even ground, such as the black one
    of MNIST's digits, has each ReLU behind it exactly on its kink then.

    Raises
    ------
    ValueError
        If the batch does not fit the network.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> from fastconv.layers import Dense, Tanh
    >>> network = fastconv.Sequential([Dense(4), Tanh(), Dense(3)], input_shape=(5,))
    >>> x = np.random.default_rng(0).normal(size=(2, 5))
    >>> fastconv.check_gradients(network, (x, np.array([0, 2])), verbose=False).passed
    True
    """
    images, labels = _pair(batch) if labels is None else (cast(ArrayLike, batch), labels)
    double = Sequential(network.layers, network.input_shape, dtype="float64")
    for name, view in double.named_arrays().items():
        view[...] = network[name]

    def check_all() -> tuple[ParameterCheck, ...]:
        evaluate, gradients = _loss_and_gradients(double, images, labels, loss, seed, backend)
        generator = np.random.default_rng(seed)
        return tuple(
            _check_parameter(
                name, double[name].reshape(-1), gradient.reshape(-1), evaluate, samples, eps,
                generator,
            )
            for name, gradient in double.gradient_views(gradients).items()
        )  # fmt: skip

    check = GradientCheck(check_all(), tolerance)
    if check.error <= tolerance and not check.passed and _move_biases(double, seed):
        check = GradientCheck(check_all(), tolerance, _MOVED)
    if verbose:
        print(check)
    return check


def _move_biases(network: Sequential, seed: int) -> bool:
    """Draw biases where all of a layer are 0, and say whether there were any."""
    generator = np.random.default_rng([seed, 0xB1A5])
    is_moved = False
    for name, place in network.places.items():
        if place.parameter.kind == "bias" and not network[name].any():
            network[name][...] = generator.normal(0, _SPREAD, place.parameter.shape)
            is_moved = True
    return is_moved


def _pair(batch: object) -> tuple[ArrayLike, ArrayLike]:
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    raise ValueError("check_gradients: batch must be a pair (images, labels), or give labels too")


def _loss_and_gradients(
    network: Sequential,
    images: ArrayLike,
    labels: ArrayLike,
    loss: str | Loss,
    seed: int,
    backend: str | None,
) -> tuple[Callable[[], float], NDArray[np.float64]]:
    """Return a function that gives the loss as the parameters are now, and the gradients."""
    choice = choose_backend(backend)
    run = load_module(choice.name, "run")
    x = np.ascontiguousarray(images, np.float64)
    if x.ndim < 2 or x.shape[1:] != network.input_shape:
        raise ValueError(
            f"check_gradients: images has shape {x.shape}; expected (N, "
            f"{', '.join(map(str, network.input_shape))})"
        )
    x = x.reshape(len(x), *((1, 1) if x.ndim == 2 else ()), *x.shape[1:])
    arrays: dict[str, NDArray[Any]] = {
        "images": x,
        "parameters": network.parameters,
        "state": network.state,
    }
    loss = Loss.of(loss)
    arrays |= loss.constants("float64")
    if not loss.takes_labels:
        targets = np.ascontiguousarray(labels, np.float64)
        shape = (len(x), *network.output_shape)
        check_shape("check_gradients", "labels", targets, shape, "(N, outputs) targets")
        arrays["targets"] = targets
    else:
        arrays["labels"] = take_labels("check_gradients", loss, labels, len(x), network, x)
    gradients = np.zeros(network.parameters.size)
    shared = {name: run.to_device(array) for name, array in arrays.items()}
    on_device = run.to_device(gradients)
    source = Source(len(x), "float64")
    order = np.arange(len(x), dtype=np.int64)[None]

    def runner_for(backward: bool) -> Any:
        plan = build_plan(network, len(x), Purpose(True, backward, loss), source, seed)
        return run.Runner(plan, {**shared, "gradients": on_device} if backward else shared)

    runner_for(True).run(order)
    forward = runner_for(False)

    def evaluate() -> float:
        if shared["parameters"] is not network.parameters:
            shared["parameters"][...] = run.to_device(network.parameters)
        # Step 0 every time: the same dropout masks.
        loss_sum, _, samples, *weight = forward.run(order).tolist()
        return float(loss_sum / (weight[0] if weight else samples))

    return evaluate, run.to_host(on_device)


def _check_parameter(
    name: str,
    values: NDArray[np.floating],
    analytic: NDArray[np.floating],
    evaluate: Callable[[], float],
    samples: int,
    eps: float,
    generator: np.random.Generator,
) -> ParameterCheck:
    """Compare some elements of one parameter."""
    chosen = np.arange(values.size)
    if values.size > samples:
        chosen = generator.choice(values.size, samples, replace=False)
    checked = kinks = coarse = 0
    worst = (-1.0, 0.0, 0.0)
    for index in chosen:
        a, unsure = float(analytic[index]), 0.0
        numerical = _differentiate(values, int(index), evaluate, eps)
        if numerical is None:
            numerical = _differentiate_in_small_steps(values, int(index), evaluate, eps)
            if numerical is None:
                kinks += 1
                continue
            coarse += 1
            unsure = _FOUR_DIGITS * max(1e3 * eps, abs(numerical))
        checked += 1
        error = max(0.0, abs(a - numerical) - unsure) / max(eps, abs(a) + abs(numerical))
        worst = max(worst, (error, a, numerical))
    return ParameterCheck(name, checked, kinks, max(worst[0], 0.0), worst[1], worst[2], coarse)


def _losses_around(
    values: NDArray[np.floating], index: int, evaluate: Callable[[], float], h: float
) -> tuple[float, ...]:
    """The loss at two steps below an element's value and two above, in order."""
    original, losses = values[index], []
    for shift in (-2, -1, 1, 2):
        values[index] = original + shift * h
        losses.append(evaluate())
    values[index] = original
    return tuple(losses)


def _five_point(losses: tuple[float, ...], h: float) -> float:
    return (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * h)


def _differentiate(
    values: NDArray[np.floating], index: int, evaluate: Callable[[], float], eps: float
) -> float | None:
    """Five-point difference by the step size that is most reliable, or None at a kink."""
    estimates = [_five_point(_losses_around(values, index, evaluate, h), h) for h in _STEPS]
    gaps = [abs(a - b) for a, b in itertools.pairwise(estimates)]
    best = int(np.argmin(gaps))
    numerical = 0.5 * (estimates[best] + estimates[best + 1])
    # Smooth losses agree to 1e-10 or so; on a kink the estimates move with h.
    return None if gaps[best] > 1e-6 * max(1e3 * eps, abs(numerical)) else numerical


def _differentiate_in_small_steps(
    values: NDArray[np.floating], index: int, evaluate: Callable[[], float], eps: float
) -> float | None:
    """The same to four digits, or None where the slopes on both sides differ at every step."""
    before: float | None = None
    for h in _SMALL_STEPS:
        losses = _losses_around(values, index, evaluate, h)
        numerical = _five_point(losses, h)
        allowed = _FOUR_DIGITS * max(1e3 * eps, abs(numerical))
        below, above = (losses[1] - losses[0]) / h, (losses[3] - losses[2]) / h
        # On the kink itself, five points agree on the mean of both slopes at every step.
        is_smooth = abs(above - below) <= allowed
        if is_smooth and before is not None and abs(numerical - before) <= allowed:
            return numerical
        before = numerical if is_smooth else None
    return None
