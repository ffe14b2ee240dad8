"""An activation of one's own, by its compiled loop (``kernels/cpu/elementwise.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

elementwise_forward = contract_kernel(engine, "elementwise.elementwise_forward", __name__)
elementwise_backward = contract_kernel(engine, "elementwise.elementwise_backward", __name__)
workspace_bytes = workspace_of_module(engine, "elementwise", __name__)
