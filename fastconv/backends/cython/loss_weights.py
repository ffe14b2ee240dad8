"""Weights of samples in a loss, in C (``kernels/cpu/loss_weights.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

label_weights = contract_kernel(engine, "loss_weights.label_weights", __name__)
weigh_losses = contract_kernel(engine, "loss_weights.weigh_losses", __name__)
weigh_gradients = contract_kernel(engine, "loss_weights.weigh_gradients", __name__)
sum_weighted_losses = contract_kernel(engine, "loss_weights.sum_weighted_losses", __name__)
workspace_bytes = workspace_of_module(engine, "loss_weights", __name__)
