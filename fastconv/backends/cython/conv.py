"""Convolutions in C (``kernels/cpu/conv.h``, ``depthwise.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

conv2d_forward = contract_kernel(engine, "conv.conv2d_forward", __name__)
conv2d_backward_data = contract_kernel(engine, "conv.conv2d_backward_data", __name__)
conv2d_backward_weight = contract_kernel(engine, "conv.conv2d_backward_weight", __name__)
conv_transpose2d_forward = contract_kernel(engine, "conv.conv_transpose2d_forward", __name__)
conv_transpose2d_backward_data = contract_kernel(
    engine, "conv.conv_transpose2d_backward_data", __name__
)
conv_transpose2d_backward_weight = contract_kernel(
    engine, "conv.conv_transpose2d_backward_weight", __name__
)
workspace_bytes = workspace_of_module(engine, "conv", __name__)
