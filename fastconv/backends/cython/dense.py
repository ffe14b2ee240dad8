"""Dense layers in C (``kernels/cpu/conv.h``, ``dense.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

dense_forward = contract_kernel(engine, "dense.dense_forward", __name__)
dense_backward_data = contract_kernel(engine, "dense.dense_backward_data", __name__)
dense_backward_weight = contract_kernel(engine, "dense.dense_backward_weight", __name__)
workspace_bytes = workspace_of_module(engine, "dense", __name__)
