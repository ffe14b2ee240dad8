"""Records of the losses and of the statistics."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Record, Target
from fastconv.backends.compiled.rules.activation import COST_OF_EXPONENTIAL, rows_at_once
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import LossSpec

_Types = tuple[str | None, ...]


def _of_rows(kernel: str, spec: LossSpec, dtype: str | None, arrays: int, cost: int = 1) -> Launch:
    """Split by samples, in chunks of as many as are done together."""
    together = rows_at_once(spec.outputs)
    record = Record(
        kernel,
        str(dtype),
        tuple(Pointer(number) for number in range(arrays)),
        (spec.batch, spec.outputs, together),
        parts=min(-(-spec.batch // together), parts_of(spec.batch * spec.outputs, cost)),
    )
    return Launch((record,))


def softmax_cross_entropy_forward(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """Chunks of samples."""
    return _of_rows("softmax_cross_entropy_forward", spec, types[0], 4, COST_OF_EXPONENTIAL)


def softmax_cross_entropy_backward(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """Chunks of samples."""
    return _of_rows("softmax_cross_entropy_backward", spec, types[0], 3)


def nll_forward(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """One number for each sample."""
    return _of_rows("nll_forward", spec, types[0], 3)


def nll_backward(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """Zeros, and one number for each sample."""
    return _of_rows("nll_backward", spec, types[1], 2)


def mean_squared_error_forward(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """One sum for each sample."""
    return _of_rows("mean_squared_error_forward", spec, types[0], 3)


def mean_squared_error_backward(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """One pass."""
    size = spec.batch * spec.outputs
    record = Record(
        "mean_squared_error_backward",
        str(types[0]),
        (Pointer(0), Pointer(1), Pointer(2)),
        (size,),
        parts=parts_of(size),
    )
    return Launch((record,))


def sum_losses(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """One thread: it is one sum."""
    pointers = Pointer(0), Pointer(1)
    return Launch((Record("sum_losses", str(types[0]), pointers, (spec.batch,)),))


def count_correct(spec: LossSpec, types: _Types, target: Target) -> Launch:
    """One thread: it is one sum."""
    pointers = Pointer(0), Pointer(1), Pointer(2)
    integers = spec.batch, spec.outputs
    return Launch((Record("count_correct", str(types[0]), pointers, integers),))
