"""What each kernel call of a plan reads and writes: the ground that rewritings stand on.

The contract of a kernel says of each of its arrays whether it is read (``r``), written whole
(``w``), or read and written (``u``, an update). With the buffers of a call, that gives the memory
that it touches. A plan's result does not change where two neighbours exchange their places that
do not conflict: neither writes what the other reads or writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fastconv.plans.plan import Call, Plan

_CONVOLUTION = {"forward": "rrrw", "backward_data": "rrw", "backward_weight": "rrww"}

ACCESS: dict[str, str] = {
    "input.gather_images": "rrw",
    "input.gather_rows": "rrw",
    "input.scale_images": "rrw",
    "input.standardize_images": "rrrw",
    "input.min_max_images": "rw",
    "input.augment_images": "rrw",
    **{
        f"{module}_{name}": access
        for module in (
            "conv.conv2d", "conv.conv_transpose2d", "dense.dense", "interleaved.conv2d",
        )
        for name, access in _CONVOLUTION.items()
    },
    "interleaved.transpose_images": "rw",
    "pool.max_pool2d_forward": "rww",
    "pool.max_pool2d_backward": "rrw",
    "pool.avg_pool2d_forward": "rw",
    "pool.avg_pool2d_backward": "rw",
    "pool.global_avg_pool2d_forward": "rw",
    "pool.global_avg_pool2d_backward": "rw",
    "activation.activation_forward": "rw",
    "activation.activation_backward": "rrw",
    "activation.softmax_forward": "rw",
    "activation.softmax_backward": "rrw",
    "activation.log_softmax_forward": "rw",
    "activation.log_softmax_backward": "rrw",
    "norm.batch_norm_forward_training": "rrruuwww",
    "norm.batch_norm_forward_inference": "rrrrrw",
    "norm.batch_norm_backward": "rrrrrwww",
    "dropout.dropout_forward": "rrww",
    "dropout.dropout_backward": "rrw",
    "loss.softmax_cross_entropy_forward": "rrww",
    "loss.softmax_cross_entropy_backward": "rrw",
    "loss.nll_forward": "rrw",
    "loss.nll_backward": "rw",
    "loss.mean_squared_error_forward": "rrw",
    "loss.mean_squared_error_backward": "rrw",
    "loss.sum_losses": "ru",
    "loss.count_correct": "rru",
    "optim.sgd_update": "urr",
    "optim.momentum_update": "urur",
    "optim.adam_update": "uruurr",
}  # fmt: skip
"""For each kernel of a plan, what it does with each of its arrays, in the order of a call."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of memory.

    Parameters
    ----------
    memory
        Number of the buffer that owns it.
    start, stop
        Elements of that buffer, half open.
    """

    memory: int
    start: int
    stop: int

    def overlaps(self, other: Span) -> bool:
        """Whether an element is in both."""
        same = self.memory == other.memory
        return same and max(self.start, other.start) < min(self.stop, other.stop)

    def covers(self, other: Span) -> bool:
        """Whether every element of the other is in this one."""
        same = self.memory == other.memory
        return same and self.start <= other.start and other.stop <= self.stop


@dataclass(frozen=True, slots=True)
class Effects:
    """What a call, or several together, read from outside and write.

    Parameters
    ----------
    reads, writes
        An array that is updated is in both.
    """

    reads: tuple[Span, ...]
    writes: tuple[Span, ...]

    def conflicts_with(self, other: Effects) -> bool:
        """Whether exchanging the two would change what either reads, or what remains."""
        return (
            overlap(self.writes, other.writes)
            or overlap(self.writes, other.reads)
            or overlap(self.reads, other.writes)
        )


def overlap(some: Iterable[Span], others: Iterable[Span]) -> bool:
    """Whether any span of the one overlaps any of the other."""
    others = tuple(others)
    return any(span.overlaps(other) for span in some for other in others)


def span_of(plan: Plan, number: int) -> Span:
    """Return the memory of a buffer."""
    memory, start = plan.memory_of(number) or (-1, 0)
    return Span(memory, start, start + math.prod(plan.buffers[number].shape))


def access_of(call: Call) -> str:
    """Return what a call does with each of its arrays, a letter for each.

    Raises
    ------
    KeyError
        If the kernel has not declared it: a new kernel of plans needs a line in ``ACCESS``.
    """
    access = ACCESS[call.kernel]
    if len(access) != len(call.arguments):
        raise ValueError(
            f"{call.kernel}: {len(call.arguments)} arrays; its declared access is {access!r}"
        )
    return access


def effects_of(plan: Plan, call: Call) -> Effects:
    """Return what a call of a plan reads and writes.

    Examples
    --------
    >>> from fastconv.plans.plan import Buffer
    >>> buffers = Buffer("x", (2, 3), "float32"), Buffer("tail", (2,), "float32", 0, 4)
    >>> plan = Plan(1, "float32", buffers, (Call("activation.softmax_forward", None, (0, 1)),))
    >>> effects = effects_of(plan, plan.calls[0])
    >>> effects.reads, effects.writes
    ((Span(memory=0, start=0, stop=6),), (Span(memory=0, start=4, stop=6),))
    """
    reads: list[Span] = []
    writes: list[Span] = []
    for number, access in zip(call.arguments, access_of(call), strict=True):
        if number is None:
            continue
        span = span_of(plan, number)
        if access in "ru":
            reads.append(span)
        if access in "wu":
            writes.append(span)
    return Effects(tuple(reads), tuple(writes))
