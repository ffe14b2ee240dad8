"""What is done with gradients before the update, in C (``kernels/cpu/gradient.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

clip_by_norm = contract_kernel(engine, "gradient.clip_by_norm", __name__)
clip_by_value = contract_kernel(engine, "gradient.clip_by_value", __name__)
accumulate = contract_kernel(engine, "gradient.accumulate", __name__)
muon_direction = contract_kernel(engine, "gradient.muon_direction", __name__)
newton_schulz_polynomial = contract_kernel(engine, "gradient.newton_schulz_polynomial", __name__)
workspace_bytes = workspace_of_module(engine, "gradient", __name__)
