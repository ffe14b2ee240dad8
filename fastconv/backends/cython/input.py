"""The beginning of a step in C (``kernels/cpu/input.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.compiled.rules.input import (
    spec_of_gathered_rows,
    spec_of_standardized_images,
)
from fastconv.backends.cython import engine

gather_images = contract_kernel(engine, "input.gather_images", __name__)
gather_rows = contract_kernel(engine, "input.gather_rows", __name__, spec_of_gathered_rows)
scale_images = contract_kernel(engine, "input.scale_images", __name__)
standardize_images = contract_kernel(
    engine, "input.standardize_images", __name__, spec_of_standardized_images
)
min_max_images = contract_kernel(engine, "input.min_max_images", __name__)
augment_images = contract_kernel(engine, "input.augment_images", __name__)
jitter_images = contract_kernel(engine, "input.jitter_images", __name__)
workspace_bytes = workspace_of_module(engine, "input", __name__)
