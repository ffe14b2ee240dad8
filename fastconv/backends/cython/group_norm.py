"""Group, layer and instance normalisation in C (``kernels/cpu/group_norm.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

group_norm_forward = contract_kernel(engine, "group_norm.group_norm_forward", __name__)
group_norm_backward_data = contract_kernel(engine, "group_norm.group_norm_backward_data", __name__)
group_norm_backward_parameters = contract_kernel(
    engine, "group_norm.group_norm_backward_parameters", __name__
)
workspace_bytes = workspace_of_module(engine, "group_norm", __name__)
