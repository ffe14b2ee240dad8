"""Pooling in C (``kernels/cpu/pool.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

max_pool2d_forward = contract_kernel(engine, "pool.max_pool2d_forward", __name__)
max_pool2d_backward = contract_kernel(engine, "pool.max_pool2d_backward", __name__)
avg_pool2d_forward = contract_kernel(engine, "pool.avg_pool2d_forward", __name__)
avg_pool2d_backward = contract_kernel(engine, "pool.avg_pool2d_backward", __name__)
global_avg_pool2d_forward = contract_kernel(engine, "pool.global_avg_pool2d_forward", __name__)
global_avg_pool2d_backward = contract_kernel(engine, "pool.global_avg_pool2d_backward", __name__)
workspace_bytes = workspace_of_module(engine, "pool", __name__)
