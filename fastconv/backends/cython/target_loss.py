"""Losses of targets that are numbers, in C (``kernels/cpu/target_loss.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

one_hot = contract_kernel(engine, "target_loss.one_hot", __name__)
soft_cross_entropy_forward = contract_kernel(
    engine, "target_loss.soft_cross_entropy_forward", __name__
)
soft_cross_entropy_backward = contract_kernel(
    engine, "target_loss.soft_cross_entropy_backward", __name__
)
elementwise_loss_forward = contract_kernel(engine, "target_loss.elementwise_loss_forward", __name__)
elementwise_loss_backward = contract_kernel(
    engine, "target_loss.elementwise_loss_backward", __name__
)
workspace_bytes = workspace_of_module(engine, "target_loss", __name__)
