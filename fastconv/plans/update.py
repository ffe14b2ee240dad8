"""Updates of a step where one rule over the whole flat buffer does not say them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec
from fastconv.plans.operation import OptimizerSpec
from fastconv.spec import DenseSpec

if TYPE_CHECKING:
    from fastconv.plans.lookahead import LookaheadSpec
    from fastconv.plans.plan_builder import PlanBuilder

_LEAST_NORM = 1e-7


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the flat parameter buffer that one rule updates.

    Parameters
    ----------
    start
        Elements in front of it.
    spec
        Its update, ``spec.size`` elements.
    muon
        Of a matrix that Muon updates, else None: ``spec`` is plain gradient descent then, whose
        gradient is the orthogonal direction.
    rows
        Of that matrix.
    newton_schulz_steps
        Steps of the iteration that makes its direction orthogonal.
    weight_norm
        Norm that the matrix is brought to before its update; None for no change.
    schedule
        Number of the schedule that its learning rate is of: 0 for that of all which have no own.
    """

    start: int
    spec: OptimizerSpec
    muon: MuonSpec | None = None
    rows: int = 1
    newton_schulz_steps: int = 5
    weight_norm: float | None = None
    schedule: int = 0


@dataclass(frozen=True, slots=True)
class UpdateSpec:
    """The updates of a step, with what is done with the gradients before and the weights after.

    Parameters
    ----------
    stretches
        In the order of the buffer; what lies in none of them is frozen.
    frozen
        Start and size of the frozen stretches: they count for no norm.
    clip_norm, clip_value
        Limits of the gradients: of the norm of all together, of the magnitude of each; or None.
    average
        What is kept of the average of the weights in each step; None for no average.
    lookahead
        Of slow weights; None for none.
    schedules
        Schedules beside that of all parameters which have none of their own.
    """

    stretches: tuple[Stretch, ...]
    frozen: tuple[tuple[int, int], ...] = ()
    clip_norm: float | None = None
    clip_value: float | None = None
    average: float | None = None
    lookahead: LookaheadSpec | None = None
    schedules: int = 0

    @property
    def scheduled_momentum(self) -> bool:
        """Whether the rate of a step has a momentum behind it."""
        return any(stretch.spec.scheduled_momentum for stretch in self.stretches)


def add_updates(builder: PlanBuilder, updates: UpdateSpec, w: int, dw: int, state: int) -> None:
    """Add the calls of a step's updates to a plan.

    Parameters
    ----------
    builder
        Of the plan.
    updates
        The updates.
    w, dw, state
        The flat buffers of the parameters, their gradients and what is not trained.
    """
    (size,) = builder.shape_of(w)
    if updates.clip_value is not None:
        builder.call("gradient.clip_by_value", ClipSpec(size, updates.clip_value), dw)
    if updates.clip_norm is not None:
        for start, count in updates.frozen:
            frozen = builder.buffer(f"gradients.{start}", (count,), parent=dw, offset=start)
            builder.call("gradient.clip_by_value", ClipSpec(count, 0.0), frozen)
        builder.call("gradient.clip_by_norm", ClipSpec(size, updates.clip_norm), dw)
    for stretch in updates.stretches:
        _add_stretch(builder, stretch, w, dw)
    if updates.lookahead is not None:
        slow = builder.buffer("slow_weights", (size,), shared=True)
        builder.call("optim.lookahead_update", updates.lookahead, w, slow, builder.step)
    if updates.average is not None:
        for name, source in (("parameters", w), ("state", state)):
            (count,) = builder.shape_of(source)
            if count:
                average = builder.buffer(f"average_{name}", (count,), shared=True)
                spec = AccumulateSpec(count, 1 - updates.average, updates.average)
                builder.call("gradient.accumulate", spec, source, average)


def _add_stretch(builder: PlanBuilder, stretch: Stretch, w: int, dw: int) -> None:
    spec, start = stretch.spec, stretch.start
    whole = spec.size == builder.shape_of(w)[0]

    def part(flat: int) -> int:
        if whole:
            return flat
        name = f"{builder.name_of(flat)}.{start}"
        return builder.buffer(name, (spec.size,), parent=flat, offset=start)

    def moment(name: str) -> int:
        return part(builder.shared_buffer(name, builder.shape_of(w)))

    own, gradient = part(w), part(dw)
    if stretch.weight_norm is not None:
        normal = ClipSpec(spec.size, stretch.weight_norm, _LEAST_NORM, normalizes=True)
        builder.call("gradient.clip_by_norm", normal, own)
    if stretch.muon is not None:
        gradient = _add_orthogonal(builder, stretch, gradient, moment("first_moment"))
    builder.update(spec, own, gradient, moment, builder.rate_of(stretch.schedule))


def _add_orthogonal(builder: PlanBuilder, stretch: Stretch, dw: int, m: int) -> int:
    """Add Muon's direction and the Newton-Schulz iteration; return the orthogonal matrix.

    A matrix with more rows than columns is multiplied by its small Gram matrix from the right,
    another one from the left: the products are those of dense layers.
    """
    assert stretch.muon is not None
    size, rows = stretch.spec.size, stretch.rows
    columns = size // rows
    least, name = min(rows, columns), f"muon.{stretch.start}"
    direction = builder.buffer(f"{name}.direction", (size,))
    builder.call("gradient.muon_direction", stretch.muon, dw, m, direction)
    normal = ClipSpec(size, epsilon=_LEAST_NORM, normalizes=True)
    builder.call("gradient.clip_by_norm", normal, direction)
    x = builder.view(f"{name}.x0", direction, (rows, columns))
    other = builder.buffer(f"{name}.x1", (rows, columns))
    gram, square, polynomial = (
        builder.buffer(f"{name}.{each}", (least, least))
        for each in ("gram", "square", "polynomial")
    )
    for _ in range(stretch.newton_schulz_steps):
        if rows > columns:
            product = DenseSpec(rows, columns, columns)
            builder.call("dense.dense_backward_weight", product, x, x, gram, None)
        else:
            product = DenseSpec(rows, rows, columns)
            builder.call("dense.dense_backward_data", product, x, x, gram)
        squared = DenseSpec(least, least, least)
        builder.call("dense.dense_forward", squared, gram, gram, None, square)
        spec = PolynomialSpec(least)
        builder.call("gradient.newton_schulz_polynomial", spec, gram, square, polynomial)
        factors = (x, polynomial) if rows > columns else (polynomial, x)
        builder.call("dense.dense_forward", product, *factors, None, other)
        x, other = other, x
    return builder.view(f"{name}.orthogonal", x, (size,))
