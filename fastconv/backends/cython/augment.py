"""Crops and flips of images, and mixtures of one with another, in C (``kernels/cpu/augment.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

crop_images = contract_kernel(engine, "augment.crop_images", __name__)
mix_images = contract_kernel(engine, "augment.mix_images", __name__)
mix_rows = contract_kernel(engine, "augment.mix_rows", __name__)
workspace_bytes = workspace_of_module(engine, "augment", __name__)
