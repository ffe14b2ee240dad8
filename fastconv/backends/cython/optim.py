"""Updates of the parameters in C (``kernels/cpu/optim.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

sgd_update = contract_kernel(engine, "optim.sgd_update", __name__)
momentum_update = contract_kernel(engine, "optim.momentum_update", __name__)
adam_update = contract_kernel(engine, "optim.adam_update", __name__)
rmsprop_update = contract_kernel(engine, "optim.rmsprop_update", __name__)
adagrad_update = contract_kernel(engine, "optim.adagrad_update", __name__)
nadam_update = contract_kernel(engine, "optim.nadam_update", __name__)
lamb_update = contract_kernel(engine, "optim.lamb_update", __name__)
lookahead_update = contract_kernel(engine, "optim.lookahead_update", __name__)
workspace_bytes = workspace_of_module(engine, "optim", __name__)
