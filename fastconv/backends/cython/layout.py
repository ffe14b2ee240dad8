"""Layouts in C (``kernels/cpu/layout.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

nchw_to_nhwc = contract_kernel(engine, "layout.nchw_to_nhwc", __name__)
nhwc_to_nchw = contract_kernel(engine, "layout.nhwc_to_nchw", __name__)
workspace_bytes = workspace_of_module(engine, "layout", __name__)
