"""Reads and writes of each kernel call of a plan: the ground that rewritings stand on.

The contract of a kernel says of each of its arrays whether it is read (``r``), written whole
(``w``), or read and written (``u``, an update). With the buffers of a call, that gives the memory
that it touches. A plan's result does not change where two neighbours exchange their places that
do not conflict: neither writes what the other reads or writes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from fastconv.plans.plan import Call, Plan

_DECLARED: dict[str, str] = {
    "input.gather_images": "images:r indices:r x:w",
    "input.gather_rows": "rows:r indices:r out:w",
    "input.scale_images": "x:r factor:r y:w",
    "input.standardize_images": "x:r mean:r std:r y:w",
    "input.min_max_images": "x:r y:w",
    "input.augment_images": "x:r step:r y:w",
    "input.jitter_images": "x:u step:r",
    "augment.crop_images": "x:r indices:r step:r y:w",
    "augment.mix_images": "x:r step:r y:w partners:w shares:w",
    "augment.mix_rows": "rows:r partners:r shares:r y:w",
    "conv.conv2d_forward": "x:r w:r b:r y:w",
    "conv.conv2d_backward_data": "dy:r w:r dx:w",
    "conv.conv2d_backward_weight": "dy:r x:r dw:w db:w",
    "conv.conv_transpose2d_forward": "x:r w:r b:r y:w",
    "conv.conv_transpose2d_backward_data": "dy:r w:r dx:w",
    "conv.conv_transpose2d_backward_weight": "dy:r x:r dw:w db:w",
    "dense.dense_forward": "x:r w:r b:r y:w",
    "dense.dense_backward_data": "dy:r w:r dx:w",
    "dense.dense_backward_weight": "dy:r x:r dw:w db:w",
    "batch_blocked.conv2d_forward": "x:r w:r b:r y:w",
    "batch_blocked.conv2d_backward_data": "dy:r w:r dx:w",
    "batch_blocked.conv2d_backward_weight": "dy:r x:r dw:w db:w",
    "batch_blocked.transpose_images": "x:r y:w",
    "pool.max_pool2d_forward": "x:r y:w argmax:w",
    "pool.max_pool2d_backward": "dy:r argmax:r dx:w",
    "pool.avg_pool2d_forward": "x:r y:w",
    "pool.avg_pool2d_backward": "dy:r dx:w",
    "pool.global_avg_pool2d_forward": "x:r y:w",
    "pool.global_avg_pool2d_backward": "dy:r dx:w",
    "activation.activation_forward": "x:r y:w",
    "activation.activation_backward": "dy:r x:r y:r dx:w",
    "elementwise.elementwise_forward": "x:r y:w",
    "elementwise.elementwise_backward": "dy:r x:r dx:w",
    "prelu.prelu_forward": "x:r slope:r y:w",
    "prelu.prelu_backward": "dy:r x:r slope:r dx:w dslope:w",
    "activation.softmax_forward": "x:r y:w",
    "activation.softmax_backward": "dy:r y:r dx:w",
    "activation.log_softmax_forward": "x:r y:w",
    "activation.log_softmax_backward": "dy:r y:r dx:w",
    "layout.nhwc_to_nchw": "x:r y:w",
    "norm.batch_norm_forward_training": (
        "x:r gamma:r beta:r running_mean:u running_variance:u y:w mean:w inverse_std:w"
    ),
    "norm.batch_norm_forward_inference": "x:r gamma:r beta:r running_mean:r running_variance:r y:w",
    "norm.batch_norm_backward": "dy:r x:r gamma:r mean:r inverse_std:r dx:w dgamma:w dbeta:w",
    "group_norm.group_norm_forward": "x:r gamma:r beta:r y:w mean:w inverse_std:w",
    "group_norm.group_norm_backward_data": "dy:r x:r gamma:r mean:r inverse_std:r dx:w",
    "group_norm.group_norm_backward_parameters": ("dy:r x:r mean:r inverse_std:r dgamma:w dbeta:w"),
    "dropout.dropout_forward": "x:r step:r mask:w y:w",
    "dropout.dropout_backward": "dy:r mask:r dx:w",
    "dropout.drop_channels": "x:r mask:r y:w",
    "resample.resample_forward": "x:r y:w",
    "resample.resample_backward": "dy:r dx:w",
    "merge.add_forward": "x1:r x2:r y:w",
    "merge.add_backward": "dy:r dx1:w dx2:w",
    "merge.multiply_forward": "x1:r x2:r y:w",
    "merge.multiply_backward": "dy:r x1:r x2:r dx1:w dx2:w",
    "merge.concatenate_forward": "x1:r x2:r y:w",
    "merge.concatenate_backward": "dy:r dx1:w dx2:w",
    "loss.softmax_cross_entropy_forward": "scores:r labels:r losses:w probabilities:w",
    "loss.softmax_cross_entropy_backward": "probabilities:r labels:r dscores:w",
    "loss.nll_forward": "log_probabilities:r labels:r losses:w",
    "loss.nll_backward": "labels:r dlog_probabilities:w",
    "loss.mean_squared_error_forward": "y:r target:r losses:w",
    "loss.mean_squared_error_backward": "y:r target:r dy:w",
    "loss.sum_losses": "losses:r statistics:u",
    "loss.count_correct": "scores:r labels:r statistics:u",
    "target_loss.one_hot": "labels:r targets:w",
    "target_loss.soft_cross_entropy_forward": (
        "scores:r targets:r class_weights:r losses:w probabilities:w"
    ),
    "target_loss.soft_cross_entropy_backward": (
        "probabilities:r targets:r class_weights:r dscores:w"
    ),
    "target_loss.elementwise_loss_forward": "y:r target:r losses:w",
    "target_loss.elementwise_loss_backward": "y:r target:r dy:w",
    "loss_weights.label_weights": (
        "labels:r class_weights:r sample_weights:r counted:w factors:w weights:w"
    ),
    "loss_weights.weigh_losses": "factors:r losses:u",
    "loss_weights.weigh_gradients": "factors:r weights:r dscores:u",
    "loss_weights.sum_weighted_losses": "losses:r factors:r weights:r statistics:u",
    "optim.sgd_update": "w:u dw:r rate:r",
    "optim.momentum_update": "w:u dw:r m:u rate:r",
    "optim.adam_update": "w:u dw:r m:u v:u rate:r step:r",
    "optim.rmsprop_update": "w:u dw:r v:u mean:u m:u rate:r",
    "optim.adagrad_update": "w:u dw:r v:u rate:r",
    "optim.nadam_update": "w:u dw:r m:u v:u rate:r step:r",
    "optim.lamb_update": "w:u dw:r m:u v:u rate:r step:r",
    "optim.lookahead_update": "w:u slow:u step:r",
    "gradient.clip_by_norm": "x:u",
    "gradient.clip_by_value": "x:u",
    "gradient.accumulate": "dw:r total:u",
    "gradient.muon_direction": "dw:r m:u direction:w",
    "gradient.newton_schulz_polynomial": "gram:r square:r polynomial:w",
}

ACCESS: dict[str, dict[str, str]] = {
    kernel: dict(array.split(":") for array in arrays.split())
    for kernel, arrays in _DECLARED.items()
}
"""For each kernel of a plan, its arrays in the order of a call, and what it does with each."""


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
    """Reads from outside and writes of a call, or of several together.

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
    access = "".join(ACCESS[call.kernel].values())
    if len(access) != len(call.arguments):
        raise ValueError(
            f"{call.kernel}: {len(call.arguments)} arrays; its declared access is {access!r}"
        )
    return access


@functools.cache
def _places(kernel: str) -> dict[str, int]:
    return {name: place for place, name in enumerate(ACCESS[kernel])}


def argument_of(call: Call, name: str) -> int | None:
    """Return the number of the buffer that a call passes for an array, by its name.

    Raises
    ------
    KeyError
        If the kernel has no array of this name.

    Examples
    --------
    >>> argument_of(Call("activation.softmax_forward", None, (7, 8)), "y")
    8
    """
    return call.arguments[_places(call.kernel)[name]]


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
