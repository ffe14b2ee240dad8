"""Changing a plan by legal moves only.

Whoever wants the calls of a plan in another order, in smaller pieces or replaced by others asks a
:class:`Rewriting`. It looks at what calls read and write (:mod:`fastconv.plans.effects`) and
refuses what would change a value that is read later, so that no list of calls is permuted by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fastconv.plans.effects import Effects, Span, effects_of, overlap, span_of
from fastconv.plans.plan import Buffer, Call, Plan

RESULTS = ("scores", "losses", "statistics", "outputs", "input.gradient")
"""Buffers that are read from outside after a run, by name, beside those that are shared."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A plan that does what another one does.

    Parameters
    ----------
    plan
        The plan; its buffers begin with those of the other one, under the same numbers.
    origins
        For each of its calls, the numbers of the other plan's calls that it does, or a part of
        them; none for a copy into another layout.
    twins
        Buffers that hold what a buffer of the other plan holds there, in another layout.
    holds
        For some calls, by number: buffers that the other plan's calls do not read, each with the
        number of the call whose output it must hold.
    """

    plan: Plan
    origins: tuple[tuple[int, ...], ...]
    twins: Mapping[int, int] = field(default_factory=dict)
    holds: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    @classmethod
    def unchanged(cls, plan: Plan) -> Rewritten:
        """Return a plan as what it is itself."""
        return cls(plan, tuple((number,) for number in range(len(plan.calls))))


def results_of(plan: Plan) -> tuple[Span, ...]:
    """Return the memory that is read from outside after a run.

    Where an optimiser reads the gradients, nobody else does: a fused update need not store them.
    """
    updated = {call.arguments[1] for call in plan.calls if call.kernel.partition(".")[0] == "optim"}
    gradients = {memory[0] for memory in map(plan.memory_of, updated) if memory is not None}
    found = [
        span_of(plan, number)
        for number, buffer in enumerate(plan.buffers)
        if (buffer.shared or buffer.name in RESULTS) and number not in gradients
    ]
    return tuple(found)


class Rewriting:
    """The calls of a plan, while they are rewritten.

    Parameters
    ----------
    plan
        The plan to begin with.

    Examples
    --------
    A call cannot be moved in front of one that writes what it reads:

    >>> buffers = tuple(Buffer(name, (4,), "float32") for name in "xyz")
    >>> first = Call("activation.softmax_forward", None, (0, 1))
    >>> second = Call("activation.softmax_forward", None, (1, 2))
    >>> Rewriting(Plan(1, "float32", buffers, (first, second))).move(1, 0)
    False
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._buffers = list(plan.buffers)
        self._calls = list(plan.calls)
        self._origins: list[tuple[int, ...]] = [(number,) for number in range(len(plan.calls))]
        self._effects = [effects_of(plan, call) for call in plan.calls]
        self._holds: list[tuple[tuple[int, int], ...]] = [()] * len(plan.calls)
        self._results = results_of(plan)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls as they are now."""
        return tuple(self._calls)

    @property
    def plan(self) -> Plan:
        """The plan as it is now."""
        return replace(self._plan, buffers=tuple(self._buffers), calls=tuple(self._calls))

    @property
    def origins(self) -> tuple[tuple[int, ...], ...]:
        """For each call, the numbers of the first plan's calls that it does, or a part of them."""
        return tuple(self._origins)

    def finish(self) -> Rewritten:
        """Return the plan as it is now, with where its calls come from."""
        holds = {number: each for number, each in enumerate(self._holds) if each}
        return Rewritten(self.plan, self.origins, holds=holds)

    def copy(self) -> Rewriting:
        """Return another one as this one is now, for moves that are made all or not at all."""
        other = Rewriting.__new__(Rewriting)
        other._plan, other._results = self._plan, self._results
        other._buffers, other._calls = list(self._buffers), list(self._calls)
        other._origins, other._effects = list(self._origins), list(self._effects)
        other._holds = list(self._holds)
        return other

    def can_move(self, position: int, to: int) -> bool:
        """Whether a call may be taken to another position: it conflicts with none in between."""
        passed = (
            self._effects[to:position] if to < position else self._effects[position + 1 : to + 1]
        )
        return not any(self._effects[position].conflicts_with(other) for other in passed)

    def move(self, position: int, to: int) -> bool:
        """Take a call to another position, if that is legal.

        Parameters
        ----------
        position
            Where the call is.
        to
            Where it is to be when it has left its old place.

        Returns
        -------
        bool
            Whether it was legal; else nothing has changed.
        """
        if not self.can_move(position, to):
            return False
        self._calls.insert(to, self._calls.pop(position))
        self._origins.insert(to, self._origins.pop(position))
        self._effects.insert(to, self._effects.pop(position))
        self._holds.insert(to, self._holds.pop(position))
        return True

    def add_view(self, name: str, of: int, start: int, size: int) -> int:
        """Add a view of elements of a flat buffer, which is no view itself; return its number."""
        parent = self._buffers[of]
        if parent.parent is not None or not 0 <= start <= start + size <= parent.shape[0]:
            raise ValueError(f"{name}: elements {start} to {start + size} are not in {parent.name}")
        self._buffers.append(Buffer(name, (size,), parent.dtype, of, start))
        return len(self._buffers) - 1

    def split(self, position: int, parts: Sequence[Call]) -> None:
        """Put several calls in place of one that does all of their work.

        Raises
        ------
        ValueError
            If the parts write other memory than the call, read more, or conflict with each other.
        """
        whole = self._effects[position]
        effects = [effects_of(self.plan, part) for part in parts]
        for number, part in enumerate(effects):
            if any(part.conflicts_with(other) for other in effects[:number]):
                raise ValueError(f"{parts[number].kernel}: a part conflicts with another one")
        written = [span for part in effects for span in part.writes]
        read = [span for part in effects for span in part.reads]
        if not (
            _same_memory(written, whole.writes)
            and all(any(span.covers(each) for span in whole.reads) for each in read)
        ):
            raise ValueError(
                f"{self._calls[position].kernel}: its parts do not read and write what it does"
            )
        origin = self._origins[position]
        self._calls[position : position + 1] = parts
        self._effects[position : position + 1] = effects
        self._origins[position : position + 1] = [origin] * len(parts)
        self._holds[position : position + 1] = [self._holds[position]] * len(parts)

    def replace(
        self, position: int, count: int, calls: Sequence[Call], holds: Mapping[int, int]
    ) -> bool:
        """Put other calls in place of neighbours, if nobody can see the difference.

        That they compute the same is for the caller to know. What is checked: what they read from
        outside is what the old ones read, or what ``holds`` names; what only one of the two writes
        is not read before it is written again, by a later call or from outside.

        Parameters
        ----------
        position, count
            The calls to be replaced.
        calls
            The new ones.
        holds
            For each buffer that the old calls do not read, the position of the call whose output
            it must still be: the last one in front of the old ones that writes it.

        Returns
        -------
        bool
            Whether it was legal; else nothing has changed.
        """
        end = position + count
        old = together(self._effects[position:end])
        effects = [effects_of(self.plan, call) for call in calls]
        new = together(effects)
        for span in new.reads:
            if any(each.covers(span) for each in old.reads):
                continue
            promised = [
                writer
                for number, writer in holds.items()
                if span_of(self.plan, number).covers(span)
            ]
            if not promised or promised[0] != self._last_writer(span, position):
                return False
        only_one_writes = [
            span
            for ours, theirs in ((new.writes, old.writes), (old.writes, new.writes))
            for span in ours
            if not any(each.covers(span) for each in theirs)
        ]
        if any(self._is_read(span, end) for span in only_one_writes):
            return False
        origins = tuple(sorted({n for each in self._origins[position:end] for n in each}))
        held = tuple(
            (span_of(self.plan, number).memory, max(self._origins[writer]))
            for number, writer in holds.items()
        )
        self._holds[position:end] = [held] * len(calls)
        self._calls[position:end] = calls
        self._effects[position:end] = effects
        self._origins[position:end] = [origins] * len(calls)
        return True

    def reads_result(self, number: int, start: int) -> bool:
        """Whether calls from a position on read what a buffer holds in front of them."""
        span = span_of(self._plan, number)
        left = [(span.start, span.stop)]
        for effects in self._effects[start:]:
            if any(overlap(effects.reads, (Span(span.memory, *part),)) for part in left):
                return True
            for written in effects.writes:
                if written.memory == span.memory:
                    left = [part for each in left for part in _without(each, written)]
        return any(overlap(self._results, (Span(span.memory, *part),)) for part in left)

    def _last_writer(self, span: Span, before: int) -> int | None:
        for position in range(before - 1, -1, -1):
            if overlap(self._effects[position].writes, (span,)):
                return position
        return None

    def _is_read(self, span: Span, start: int) -> bool:
        """Whether memory may be read from a position on before all of it is written again."""
        for effects in self._effects[start:]:
            if overlap(effects.reads, (span,)):
                return True
            if any(each.covers(span) for each in effects.writes):
                return False
        return overlap(self._results, (span,))


def activation_gradients_behind_data_gradients(order: Rewriting) -> None:
    """Let the gradient of an activation come right behind the call whose result it changes.

    That call may end with it then; else a weight gradient stands between the two.
    """
    memory_of = order.plan.memory_of  # moves change no buffer
    for position, call in enumerate(order.calls):
        if call.kernel != "activation.activation_backward":
            continue
        dy, *_, dx = call.arguments
        memory = memory_of(dx)
        if memory != memory_of(dy):
            continue
        for before in range(position - 1, -1, -1):
            if memory_of(order.calls[before].arguments[-1]) == memory:
                order.move(position, before + 1)
                break
            if not order.can_move(position, before):
                break


def together(effects: Sequence[Effects]) -> Effects:
    """Return what some calls read from outside, one after the other, and all that they write."""
    reads: list[Span] = []
    writes: list[Span] = []
    for each in effects:
        reads += [span for span in each.reads if not any(w.covers(span) for w in writes)]
        writes += each.writes
    return Effects(tuple(reads), tuple(writes))


def _without(part: tuple[int, int], written: Span) -> list[tuple[int, int]]:
    """What is left of a run of elements when some of them are written."""
    (start, stop), first, last = part, written.start, written.stop
    ends = (start, min(stop, first)), (max(start, last), stop)
    return [(begin, end) for begin, end in ends if begin < end]


def _same_memory(some: Sequence[Span], others: Sequence[Span]) -> bool:
    """Whether spans that do not overlap are together the same memory as others."""

    def elements(spans: Sequence[Span]) -> dict[int, list[tuple[int, int]]]:
        found: dict[int, list[tuple[int, int]]] = {}
        for span in sorted(spans, key=lambda each: (each.memory, each.start)):
            runs = found.setdefault(span.memory, [])
            if runs and runs[-1][1] == span.start:
                runs[-1] = runs[-1][0], span.stop
            elif span.stop > span.start:
                runs.append((span.start, span.stop))
        return found

    return elements(some) == elements(others)
