"""Losses on plain arrays.

Forward functions give one loss for each sample; backward functions give the gradient of their
*mean*.
"""

from __future__ import annotations

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_dimensions,
    check_shape,
    dense,
    launch,
    take_floats,
    take_integers,
)
from fastconv.plans.operation import LossSpec


def _loss_spec(owner: str, name: str, scores: Array) -> LossSpec:
    check_dimensions(owner, name, scores, "NC")
    if scores.shape[1] == 0:
        raise ValueError(f"{owner}: {name} has no outputs {scores.shape}; expected at least one")
    return LossSpec(*scores.shape)


def _has_options(labels: object, label_smoothing: object, *others: object) -> bool:
    """Whether the plain kernel is not enough; labels may be distributions over the classes."""
    is_soft = getattr(getattr(labels, "dtype", None), "kind", "") == "f" and (
        getattr(labels, "ndim", 0) == 2
    )
    is_smoothed = not (type(label_smoothing) in (int, float) and label_smoothing == 0)
    return is_soft or is_smoothed or any(other is not None for other in others)


@results_like_arguments
def softmax_cross_entropy(
    scores: Array,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    ignore_index: int | None = None,
    sample_weights: Array | None = None,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """Cross entropy between the labels and the softmax of the scores.

    Parameters
    ----------
    scores
        (N, C), float32 or float64: the last layer's output, before any softmax.
    labels
        (N,), integers from 0 to C - 1. On a CUDA device nobody looks at them: one outside the
        classes gives a loss of NaN, and nothing is taken from its sample's gradient. Or a
        distribution over the classes for each sample: (N, C), of the dtype of the scores.
    label_smoothing
        Share of each target that is spread over all classes (Szegedy et al., arXiv:1512.00567).
    class_weights
        (C,): what the targets of each class count.
    ignore_index
        Samples with this label count for nothing; it need not be one of the classes.
    sample_weights
        (N,): what each sample counts.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    losses
        (N,): ``log(sum(e^scores)) - scores[label]``, times the weights. Their mean is the loss;
        with class or sample weights or an ignored label, their sum over the sum of the weights of
        the samples, as in PyTorch.
    probabilities
        (N, C), the softmax: what :func:`softmax_cross_entropy_backward` needs.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or a label of the host is outside the classes.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> losses, probabilities = fastconv.softmax_cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> losses.round(4), probabilities
    (array([1.3863]), array([[0.25, 0.25, 0.25, 0.25]]))
    """
    owner = "softmax_cross_entropy"
    options = label_smoothing, class_weights, ignore_index, sample_weights
    if _has_options(labels, *options):
        from fastconv.functional.weighted_loss import CrossEntropy

        return CrossEntropy(owner, scores, labels, *options, backend).forward()
    (scores,) = take_floats(owner, scores=scores)
    spec = _loss_spec(owner, "scores", scores)
    labels_in = take_integers(
        owner, "labels", labels, (spec.batch,), spec.outputs, "scores", scores
    )
    xp = module_of(scores)
    scores_in = dense(scores)
    losses, probabilities = xp.empty(spec.batch, scores.dtype), xp.empty_like(scores_in)
    launch(
        backend, "loss.softmax_cross_entropy_forward", spec, scores.dtype,
        scores_in, labels_in, losses, probabilities,
    )  # fmt: skip
    return losses, probabilities


@results_like_arguments
def softmax_cross_entropy_backward(
    probabilities: Array,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    ignore_index: int | None = None,
    sample_weights: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Gradient of the mean of :func:`softmax_cross_entropy`: ``(softmax - one hot) / N``.

    Parameters
    ----------
    probabilities
        (N, C), as :func:`softmax_cross_entropy` returned them.
    labels, label_smoothing, class_weights, ignore_index, sample_weights
        As they were given to :func:`softmax_cross_entropy`.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N, C): gradient with respect to the scores.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softmax_cross_entropy_backward(np.array([[0.25, 0.75]]), np.array([1]))
    array([[ 0.25, -0.25]])
    """
    owner = "softmax_cross_entropy_backward"
    options = label_smoothing, class_weights, ignore_index, sample_weights
    if _has_options(labels, *options):
        from fastconv.functional.weighted_loss import CrossEntropy

        return CrossEntropy(owner, probabilities, labels, *options, backend).backward()
    (probabilities,) = take_floats(owner, probabilities=probabilities)
    spec = _loss_spec(owner, "probabilities", probabilities)
    labels_in = take_integers(
        owner, "labels", labels, (spec.batch,), spec.outputs, "probabilities", probabilities
    )
    xp = module_of(probabilities)
    given = dense(probabilities)
    dscores: Array = xp.empty_like(given)
    launch(
        backend, "loss.softmax_cross_entropy_backward", spec, given.dtype, given, labels_in, dscores
    )
    return dscores


@results_like_arguments
def nll(log_probabilities: Array, labels: Array, *, backend: str | None = None) -> Array:
    """Negative log-likelihood: ``-log_probabilities[label]`` of each sample.

    Parameters
    ----------
    log_probabilities
        (N, C), float32 or float64, as from :func:`fastconv.log_softmax`.
    labels
        (N,), integers from 0 to C - 1; as for :func:`softmax_cross_entropy` on a CUDA device.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N,).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nll(np.log(np.array([[0.25, 0.75]])), np.array([0])).round(4)
    array([1.3863])
    """
    (log_probabilities,) = take_floats("nll", log_probabilities=log_probabilities)
    spec = _loss_spec("nll", "log_probabilities", log_probabilities)
    labels_in = take_integers(
        "nll", "labels", labels, (spec.batch,), spec.outputs, "log_probabilities", log_probabilities
    )
    xp = module_of(log_probabilities)
    given = dense(log_probabilities)
    losses: Array = xp.empty(spec.batch, given.dtype)
    launch(backend, "loss.nll_forward", spec, given.dtype, given, labels_in, losses)
    return losses


@results_like_arguments
def nll_backward(log_probabilities: Array, labels: Array, *, backend: str | None = None) -> Array:
    """Gradient of the mean of :func:`nll`: ``-1 / N`` at the labels.

    Parameters
    ----------
    log_probabilities, labels, backend
        As they were given to :func:`nll`; of the first only shape and dtype matter.

    Returns
    -------
    ndarray
        (N, C).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.nll_backward(np.zeros((2, 2)), np.array([0, 1]))
    array([[-0.5,  0. ],
           [ 0. , -0.5]])
    """
    owner = "nll_backward"
    (log_probabilities,) = take_floats(owner, log_probabilities=log_probabilities)
    spec = _loss_spec(owner, "log_probabilities", log_probabilities)
    labels_in = take_integers(
        owner, "labels", labels, (spec.batch,), spec.outputs, "log_probabilities", log_probabilities
    )
    xp = module_of(log_probabilities)
    gradient: Array = xp.empty(log_probabilities.shape, log_probabilities.dtype)
    launch(backend, "loss.nll_backward", spec, gradient.dtype, labels_in, gradient)
    return gradient


@results_like_arguments
def mean_squared_error(y: Array, target: Array, *, backend: str | None = None) -> Array:
    """Mean over the outputs of ``(y - target)^2``, for each sample.

    Parameters
    ----------
    y, target
        (N, K), float32 or float64.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N,).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mean_squared_error(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]]))
    array([5.])
    """
    owner = "mean_squared_error"
    y, target = take_floats(owner, y=y, target=target)
    spec = _loss_spec(owner, "y", y)
    check_shape(owner, "target", target, y.shape, "the shape of y")
    xp = module_of(y)
    losses: Array = xp.empty(spec.batch, y.dtype)
    launch(
        backend, "loss.mean_squared_error_forward", spec, y.dtype,
        dense(y), dense(target), losses,
    )  # fmt: skip
    return losses


@results_like_arguments
def mean_squared_error_backward(y: Array, target: Array, *, backend: str | None = None) -> Array:
    """Gradient of the mean of :func:`mean_squared_error`: ``2 (y - target) / (N K)``.

    Parameters
    ----------
    y, target, backend
        As they were given to :func:`mean_squared_error`.

    Returns
    -------
    ndarray
        (N, K): gradient with respect to y.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mean_squared_error_backward(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]]))
    array([[1., 3.]])
    """
    owner = "mean_squared_error_backward"
    y, target = take_floats(owner, y=y, target=target)
    spec = _loss_spec(owner, "y", y)
    check_shape(owner, "target", target, y.shape, "the shape of y")
    xp = module_of(y)
    dy: Array = xp.empty(y.shape, y.dtype)
    launch(
        backend, "loss.mean_squared_error_backward", spec, y.dtype,
        dense(y), dense(target), dy,
    )  # fmt: skip
    return dy
