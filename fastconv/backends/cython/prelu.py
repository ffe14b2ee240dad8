"""A ReLU with learned slopes in C (``kernels/cpu/prelu.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

prelu_forward = contract_kernel(engine, "prelu.prelu_forward", __name__)
prelu_backward = contract_kernel(engine, "prelu.prelu_backward", __name__)
workspace_bytes = workspace_of_module(engine, "prelu", __name__)
