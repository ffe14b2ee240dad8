"""Batch normalisation in C (``kernels/cpu/norm.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

batch_norm_forward_training = contract_kernel(engine, "norm.batch_norm_forward_training", __name__)
batch_norm_forward_inference = contract_kernel(
    engine, "norm.batch_norm_forward_inference", __name__
)
batch_norm_backward = contract_kernel(engine, "norm.batch_norm_backward", __name__)
workspace_bytes = workspace_of_module(engine, "norm", __name__)
