"""Losses under the names and signatures of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fastconv.interop.pytorch import loss

Reduction = Literal["none", "mean", "sum"]


def _check_reduction(owner: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{owner}: reduction is {reduction!r}; expected 'none', 'mean' or 'sum'")


def _rows_of_classes(input: Tensor) -> Tensor:
    """Bring the classes of (N, C, ...) or (C,) to the end, all else into one axis."""
    if input.dim() == 2:
        return input
    if input.dim() == 1:
        return input.unsqueeze(0)
    return input.movedim(1, -1).reshape(-1, input.shape[1])


def _reduced_by_class(
    losses: Tensor, target: Tensor, valid: Tensor, weights: Tensor | None, reduction: str
) -> Tensor:
    losses = torch.where(valid, losses, losses.new_zeros(()))
    if reduction == "none":
        return losses.reshape(target.shape)
    if reduction == "sum":
        return losses.sum()
    counted = valid.to(losses.dtype) if weights is None else weights * valid
    return losses.sum() / counted.sum()


def _classes(owner: str, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return the flat classes, 0 for those that are ignored, and which are not."""
    if target.is_floating_point():
        raise NotImplementedError(
            f"{owner}: target has dtype {target.dtype}; expected classes as integers, or take "
            f"torch.nn.functional's"
        )
    labels = target.reshape(-1)
    valid = labels != ignore_index
    return torch.where(valid, labels, torch.zeros_like(labels)), valid


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of scores and classes, as ``torch.nn.functional.cross_entropy``.

    Parameters
    ----------
    input
        Scores (N, C), (N, C, ...) or (C,).
    target
        Classes, integers in the shape of input without C.
    weight
        (C,): what each class counts.
    ignore_index
        A class that counts for nothing.
    reduction
        "mean" by the weights, "sum", or "none".
    label_smoothing
        Share of each target that is spread over all classes.

    Examples
    --------
    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    tensor(1.3863)
    """
    owner = "cross_entropy"
    _check_reduction(owner, reduction)
    labels, valid = _classes(owner, target, ignore_index)
    rows = _rows_of_classes(input)
    losses, _ = loss.cross_entropy(rows, labels, weight, float(label_smoothing))
    weights = None if weight is None else weight[labels]
    return _reduced_by_class(losses, target, valid, weights, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood, as ``torch.nn.functional.nll_loss``; arguments as above.

    Examples
    --------
    >>> nll_loss(torch.full((1, 4), -2.0), torch.tensor([2]))
    tensor(2.)
    """
    _check_reduction("nll_loss", reduction)
    labels, valid = _classes("nll_loss", target, ignore_index)
    losses = loss.nll_loss(_rows_of_classes(input), labels)
    weights = None if weight is None else weight[labels]
    if weights is not None:
        losses = losses * weights
    return _reduced_by_class(losses, target, valid, weights, reduction)


def _reduced(
    operator: Any, owner: str, input: Tensor, target: Tensor, reduction: str, *options: float
) -> Tensor:
    _check_reduction(owner, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"{owner}: target is {tuple(target.shape)}; expected {tuple(input.shape)}, the shape "
            f"of input"
        )
    if reduction == "none":
        each = operator(input.reshape(-1, 1), target.reshape(-1, 1), *options)
        return each.reshape(input.shape)
    mean = operator(input.reshape(1, -1), target.reshape(1, -1), *options).reshape(())
    return mean * input.numel() if reduction == "sum" else mean


def mse_loss(input: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Squared error.

    Examples
    --------
    >>> mse_loss(torch.tensor([1.0, 3.0]), torch.zeros(2))
    tensor(5.)
    """
    return _reduced(loss.mse_loss, "mse_loss", input, target, reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Absolute error."""
    return _reduced(loss.l1_loss, "l1_loss", input, target, reduction)


def huber_loss(
    input: Tensor, target: Tensor, *, reduction: Reduction = "mean", delta: float = 1.0
) -> Tensor:
    """Huber's loss."""
    return _reduced(loss.huber_loss, "huber_loss", input, target, reduction, delta)


def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: Reduction = "mean", beta: float = 1.0
) -> Tensor:
    """Huber's loss over ``beta``."""
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    return huber_loss(input, target, reduction=reduction, delta=beta) / beta


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """Cross entropy of scores and numbers from 0 to 1.

    Examples
    --------
    >>> binary_cross_entropy_with_logits(torch.zeros(2), torch.tensor([1.0, 0.0]))
    tensor(0.6931)
    """
    operator, owner = loss.binary_cross_entropy_with_logits, "binary_cross_entropy_with_logits"
    return _reduced(operator, owner, input, target, reduction)
