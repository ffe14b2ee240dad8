"""PyTorch's losses on fastconv's kernels."""

from __future__ import annotations

from torch import Tensor, nn

from fastconv.interop.pytorch import functional


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """``torch.nn.CrossEntropyLoss`` of classes."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare scores with classes."""
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(nn.NLLLoss):
    """``torch.nn.NLLLoss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare log-probabilities with classes."""
        return functional.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class MSELoss(nn.MSELoss):
    """``torch.nn.MSELoss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare numbers, here and below."""
        return functional.mse_loss(input, target, reduction=self.reduction)


class L1Loss(nn.L1Loss):
    """``torch.nn.L1Loss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.l1_loss(input, target, reduction=self.reduction)


class HuberLoss(nn.HuberLoss):
    """``torch.nn.HuberLoss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(nn.SmoothL1Loss):
    """``torch.nn.SmoothL1Loss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """``torch.nn.BCEWithLogitsLoss`` without weights."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.binary_cross_entropy_with_logits(input, target, reduction=self.reduction)
