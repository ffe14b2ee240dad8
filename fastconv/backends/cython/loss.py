"""Losses and statistics in C (``kernels/cpu/loss.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

softmax_cross_entropy_forward = contract_kernel(
    engine, "loss.softmax_cross_entropy_forward", __name__
)
softmax_cross_entropy_backward = contract_kernel(
    engine, "loss.softmax_cross_entropy_backward", __name__
)
nll_forward = contract_kernel(engine, "loss.nll_forward", __name__)
nll_backward = contract_kernel(engine, "loss.nll_backward", __name__)
mean_squared_error_forward = contract_kernel(engine, "loss.mean_squared_error_forward", __name__)
mean_squared_error_backward = contract_kernel(engine, "loss.mean_squared_error_backward", __name__)
sum_losses = contract_kernel(engine, "loss.sum_losses", __name__)
count_correct = contract_kernel(engine, "loss.count_correct", __name__)
workspace_bytes = workspace_of_module(engine, "loss", __name__)
