"""Convolutions of NCHW images in C, by the rules of ``compiled/rules/nchw.py``."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

conv2d_forward = contract_kernel(engine, "nchw.conv2d_forward", __name__)
conv2d_backward = contract_kernel(engine, "nchw.conv2d_backward", __name__)
conv_transpose2d_forward = contract_kernel(engine, "nchw.conv_transpose2d_forward", __name__)
conv_transpose2d_backward = contract_kernel(engine, "nchw.conv_transpose2d_backward", __name__)
workspace_bytes = workspace_of_module(engine, "nchw", __name__)
