"""Expectations of a loss of the end of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.network import NetworkError, Sequential
from fastconv.plans.loss import Loss


def check_output(network: Sequential, loss: str | Loss) -> None:
    """Check that a loss takes what the last layer gives: no kernel can see that.

    A softmax under a loss with its own still learns, but badly, and "nll" of scores is no
    likelihood. Log-softmax under cross entropy is sound: a second one changes nothing.

    Parameters
    ----------
    network
        The network.
    loss
        Its loss, or the name of one.

    Raises
    ------
    ValueError
        If there is no such loss, or it has not a weight for each class.
    NetworkError
        If the loss is not for such scores.

    Examples
    --------
    >>> from fastconv.layers import Dense, Softmax
    >>> network = Sequential([Dense(3), Softmax()], input_shape=(5,))
    >>> check_output(network, "mean_squared_error")
    >>> check_output(network, "softmax_cross_entropy")
    Traceback (most recent call last):
    fastconv.network.NetworkError: the loss softmax_cross_entropy has its own softmax; ...
    """
    loss = Loss.of(loss)
    loss.check_outputs("Loss", network.output_shape[-1])
    # Of a graph, its last step: the layers within, then.
    layers = [vertex.layer for vertex in network.vertices]
    kinds = [layer.kind for layer in layers if not layer.is_view]
    last = kinds[-1] if kinds else "no layer"
    if loss.kind == "nll" and last != "log_softmax":
        raise NetworkError(
            f"the loss nll takes log-probabilities; end with log_softmax, not {last}, or use the "
            f"loss softmax_cross_entropy, which takes scores as they are"
        )
    computing = [layer.kind for layer in layers if not (layer.is_view or layer.training_only)]
    own = {"softmax_cross_entropy": "softmax", "binary_cross_entropy_with_logits": "sigmoid"}
    if computing[-1:] == [own.get(loss.kind)]:
        name = own[loss.kind]
        raise NetworkError(
            f"the loss {loss.kind} has its own {name}; leave the last {name} layer out"
        )


def take_labels(
    owner: str, loss: Loss, labels: ArrayLike, samples: int, network: Sequential, x: NDArray[Any]
) -> NDArray[np.int64]:
    """Return labels as a plan takes them, one for each sample.

    Parameters
    ----------
    owner
        Whose argument they are, for error messages.
    loss
        The loss; labels that it ignores need not be outputs of the network.
    labels
        The labels.
    samples, x
        How many there are to be, and the images beside them.
    network
        The network.

    Raises
    ------
    TypeError, ValueError
        If they are no integers, or one is none of the network's outputs.
    """
    from fastconv.functional.arrays import take_integers

    given, classes = np.asarray(labels), network.output_shape[0]
    looked_at = given
    if loss.ignore_index is not None and given.dtype.kind in "iu":
        looked_at = np.where(given == loss.ignore_index, 0, given)
    take_integers(owner, "labels", looked_at, (samples,), classes, "x", x)
    return np.ascontiguousarray(given, np.int64)
