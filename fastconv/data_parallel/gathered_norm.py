"""Shards of a batch that are normalised by the statistics of the whole batch.

The pass through a shard is cut at each batch normalisation, where all shards' sums are gathered. So
it is made call by call, none of them fused: slower than shards that have statistics of their own,
and the same as one batch but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.analysis.stepwise_plan import StepwisePlan
from fastconv.data_parallel.group import Group
from fastconv.plans.operation import NormSpec
from fastconv.plans.plan import Call, Plan

_FORWARD, _BACKWARD = "norm.batch_norm_forward_training", "norm.batch_norm_backward"


def most_sums(plan: Plan) -> int:
    """Return how many sums are gathered at once, at most.

    Parameters
    ----------
    plan
        Of a shard.
    """
    channels = [call.spec.channels for call in plan.calls if isinstance(call.spec, NormSpec)]
    return 2 * max(channels, default=0)


class GatheredNormPasses:
    """Passes of one worker's shards side by side, each with buffers of its own.

    Parameters
    ----------
    plan
        Of a shard, which leaves its gradients.
    shared
        Arrays that the plan shares; gradients and state are each shard's own.
    backend
        Whose kernels compute.
    group
        The workers, with room for the sums.
    shards
        How many make a batch.
    """

    def __init__(
        self, plan: Plan, shared: Mapping[str, NDArray[Any]], backend: str, group: Group,
        shards: int,
    ) -> None:  # fmt: skip
        self._group, self._shards, self._shared = group, shards, shared
        self._calls = plan.calls
        self._cuts = [
            n for n, call in enumerate(plan.calls) if call.kernel in (_FORWARD, _BACKWARD)
        ]
        self._names = [buffer.name for buffer in plan.buffers]
        own = ("gradients", "state")
        self._plans = {
            shard: StepwisePlan(
                plan, {**shared, **{name: np.zeros_like(shared[name]) for name in own}}, backend
            )
            for shard in group.own
        }

    def run(self, batch: NDArray[np.int64], step: int) -> None:
        """Make them; parameters as for :class:`fastconv.data_parallel.sharded_runner.Passes`."""
        for shard, plan in self._plans.items():
            plan.buffer("indices")[...] = batch[shard]
            plan.buffer("step")[...] = step * self._shards + shard
            plan.buffer("statistics")[...] = 0
            plan.buffer("state")[...] = self._shared["state"]
        done = 0
        for cut in self._cuts:
            for plan in self._plans.values():
                plan.run(done, cut)
            call = self._calls[cut]
            (self._forward if call.kernel == _FORWARD else self._backward)(call)
            done = cut + 1
        for shard, plan in self._plans.items():
            plan.run(done)
            written = (plan.buffer(name) for name in ("gradients", "state", "statistics"))
            self._group.write(shard, *written)

    def _arrays(self, call: Call) -> list[list[NDArray[Any]]]:
        """The arrays of a call, for each shard."""
        names = [self._names[argument] for argument in call.arguments if argument is not None]
        return [[plan.buffer(name) for name in names] for plan in self._plans.values()]

    def _gathered(self, sums: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The sum of all shards' sums, of which this worker gives its own."""
        size = 0
        for shard, own in zip(self._plans, sums, strict=True):
            size = own.size
            self._group.counts(shard)[:size] = own
        return self._group.sum_of_counts()[:size]

    def _forward(self, call: Call) -> None:
        spec, arrays = call.spec, self._arrays(call)
        assert isinstance(spec, NormSpec)  # of this kernel
        rows = spec.rows * self._shards
        images = [each[0].reshape(-1, spec.channels).astype(np.float64) for each in arrays]
        mean = self._gathered([x.sum(axis=0) for x in images]) / rows
        squares = self._gathered([np.square(x - mean).sum(axis=0) for x in images])
        variance, unbiased = squares / rows, squares / max(1, rows - 1)
        inverse = 1 / np.sqrt(variance + spec.epsilon)
        for x, (_, gamma, beta, running_mean, running_variance, y, of_batch, inverse_std) in zip(
            images, arrays, strict=True
        ):
            normal = (x - mean) * inverse
            y[...] = (gamma.astype(np.float64) * normal + beta.astype(np.float64)).reshape(y.shape)
            of_batch[...], inverse_std[...] = mean, inverse
            for running, new in ((running_mean, mean), (running_variance, unbiased)):
                kept = (1 - spec.momentum) * running.astype(np.float64)
                running[...] = kept + spec.momentum * new

    def _backward(self, call: Call) -> None:
        spec, arrays = call.spec, self._arrays(call)
        assert isinstance(spec, NormSpec)  # of this kernel
        rows, shape = spec.rows * self._shards, (-1, spec.channels)
        pairs, sums = [], []
        for dy, x, _, mean, inverse_std, _, dgamma, dbeta in arrays:
            given = dy.reshape(shape).astype(np.float64)
            normal = (x.reshape(shape).astype(np.float64) - mean) * inverse_std
            of_gamma, of_beta = (given * normal).sum(axis=0), given.sum(axis=0)
            dgamma[...], dbeta[...] = of_gamma, of_beta
            pairs.append((given, normal))
            sums.append(np.concatenate([of_gamma, of_beta]))
        of_gamma, of_beta = self._gathered(sums).reshape(2, -1) / rows
        for (given, normal), (_, _, gamma, _, inverse_std, dx, _, _) in zip(
            pairs, arrays, strict=True
        ):
            factor = gamma.astype(np.float64) * inverse_std
            dx[...] = (factor * (given - of_beta - normal * of_gamma)).reshape(dx.shape)
