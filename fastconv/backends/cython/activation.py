"""Activations, softmax and log-softmax in C (``kernels/cpu/activation.h``)."""

from __future__ import annotations

from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.cython import engine

activation_forward = contract_kernel(engine, "activation.activation_forward", __name__)
activation_backward = contract_kernel(engine, "activation.activation_backward", __name__)
softmax_forward = contract_kernel(engine, "activation.softmax_forward", __name__)
softmax_backward = contract_kernel(engine, "activation.softmax_backward", __name__)
log_softmax_forward = contract_kernel(engine, "activation.log_softmax_forward", __name__)
log_softmax_backward = contract_kernel(engine, "activation.log_softmax_backward", __name__)
workspace_bytes = workspace_of_module(engine, "activation", __name__)
