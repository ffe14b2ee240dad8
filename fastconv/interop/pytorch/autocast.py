"""Within ``torch.autocast``, operators compute in float32: there are no kernels of fewer bits."""

from __future__ import annotations

import torch

from fastconv.interop.pytorch import activation, convolution, linear, loss, normalization, pooling

OPERATORS = (
    convolution.conv2d,
    convolution.conv_transpose2d,
    linear.linear,
    pooling.max_pool2d,
    pooling.avg_pool2d,
    pooling.global_avg_pool2d,
    normalization.batch_norm,
    normalization.batch_norm_inference,
    normalization.layer_norm,
    normalization.group_norm,
    activation.prelu_operator,
    activation.softmax,
    activation.log_softmax,
    *activation.ELEMENTWISE.values(),
    loss.cross_entropy,
    loss.nll_loss,
    loss.mse_loss,
    loss.l1_loss,
    loss.huber_loss,
    loss.binary_cross_entropy_with_logits,
)
"""All that have an input of a model's among their arguments."""


def register() -> None:
    """Have arguments of fewer bits become float32 where autocast is on."""
    for operator in OPERATORS:
        operator.register_autocast("cpu", torch.float32)
