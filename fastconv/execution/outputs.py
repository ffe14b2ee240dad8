"""Expectations of a loss of the end of a network."""

from __future__ import annotations

from fastconv.network import NetworkError, Sequential
from fastconv.plans.plan_builder import LOSSES


def check_output(network: Sequential, loss: str) -> None:
    """Check that a loss takes what the last layer gives: no kernel can see that.

    A softmax under a loss with its own still learns, but badly, and "nll" of scores is no
    likelihood. Log-softmax under cross entropy is sound: a second one changes nothing.

    Parameters
    ----------
    network
        The network.
    loss
        Its loss.

    Raises
    ------
    ValueError
        If there is no such loss.
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
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; expected one of {', '.join(LOSSES)}")
    kinds = [layer.kind for layer in network.layers if not layer.is_view]
    last = kinds[-1] if kinds else "no layer"
    if loss == "nll" and last != "log_softmax":
        raise NetworkError(
            f"the loss nll takes log-probabilities; end with log_softmax, not {last}, or use the "
            f"loss softmax_cross_entropy, which takes scores as they are"
        )
    computing = [
        layer.kind for layer in network.layers if not (layer.is_view or layer.training_only)
    ]
    if loss == "softmax_cross_entropy" and computing[-1:] == ["softmax"]:
        raise NetworkError(
            "the loss softmax_cross_entropy has its own softmax; leave the last softmax layer out"
        )
