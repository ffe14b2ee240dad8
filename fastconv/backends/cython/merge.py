"""Two arrays that become one, in C (``kernels/cpu/merge.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

add_forward = contract_kernel(engine, "merge.add_forward", __name__)
add_backward = contract_kernel(engine, "merge.add_backward", __name__)
multiply_forward = contract_kernel(engine, "merge.multiply_forward", __name__)
multiply_backward = contract_kernel(engine, "merge.multiply_backward", __name__)
concatenate_forward = contract_kernel(engine, "merge.concatenate_forward", __name__)
concatenate_backward = contract_kernel(engine, "merge.concatenate_backward", __name__)
workspace_bytes = workspace_of_module(engine, "merge", __name__)
