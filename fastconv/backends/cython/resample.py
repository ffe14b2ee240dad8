"""Images of another size, in C (``kernels/cpu/resample.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

resample_forward = contract_kernel(engine, "resample.resample_forward", __name__)
resample_backward = contract_kernel(engine, "resample.resample_backward", __name__)
workspace_bytes = workspace_of_module(engine, "resample", __name__)
