"""Dropout in C (``kernels/cpu/dropout.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

dropout_forward = contract_kernel(engine, "dropout.dropout_forward", __name__)
dropout_backward = contract_kernel(engine, "dropout.dropout_backward", __name__)
drop_channels = contract_kernel(engine, "dropout.drop_channels", __name__)
workspace_bytes = workspace_of_module(engine, "dropout", __name__)
