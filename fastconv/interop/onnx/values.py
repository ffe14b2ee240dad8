"""Values of an ONNX graph as fastconv has them: the same numbers, their axes in another order.

ONNX has images as (batch, channels, height, width), fastconv as (batch, height, width, channels).
A value keeps in mind which axes of memory each of its axes is made of. So reshapes and
transpositions compute nothing until somebody needs another order: a channel shuffle, or flattened
images in front of a dense layer whose weights can be put in order instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from fastconv.spec import Shape


@dataclass(frozen=True)
class Value:
    """What a step gives, with its axes as ONNX counts them; the batch is none of them.

    Parameters
    ----------
    step
        Name of the step.
    shape
        Of one output sample of the step.
    factors
        Sizes of the axes of memory, outermost first: as many elements as ``shape`` has.
    axes
        For each axis of ONNX's, the numbers of those that it is made of, outermost first.
    is_shared
        Whether other nodes read the same.

    Examples
    --------
    >>> image = Value.of_axes("input", (4, 5, 3), (4, 5, 3), (1, 2, 0))
    >>> image.sizes
    (3, 4, 5)
    >>> image.reshaped((60,)).axes
    ((1, 0),)
    """

    step: str
    shape: Shape
    factors: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    is_shared: bool = False

    @classmethod
    def of_axes(cls, step: str, shape: Shape, sizes: Sequence[int], order: Sequence[int]) -> Value:
        """Return a value whose axes lie in memory one by one.

        Parameters
        ----------
        step, shape
            As for the class.
        sizes
            Of the axes, as they lie in memory.
        order
            Which axis of ONNX's each of them is.
        """
        axes = tuple((order.index(axis),) for axis in range(len(sizes)))
        return cls(step, shape, tuple(sizes), axes)._normal()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the axes as ONNX counts them."""
        return tuple(math.prod(self.factors[f] for f in group) for group in self.axes)

    @property
    def elements(self) -> int:
        """Elements of a sample."""
        return math.prod(self.factors)

    def _normal(self) -> Value:
        """Return it without axes of size 1, and with those as one that are never apart."""
        follows = {
            before: after
            for group in ([f for f in axis if self.factors[f] != 1] for axis in self.axes)
            for before, after in pairwise(group)
        }
        number = {}
        factors: list[int] = []
        previous = None
        for f, size in enumerate(self.factors):
            if size == 1:
                continue
            if previous is not None and follows.get(previous) == f:
                factors[-1] *= size
            else:
                factors.append(size)
            number[f] = len(factors) - 1
            previous = f
        axes = tuple(
            tuple(dict.fromkeys(number[f] for f in axis if f in number)) for axis in self.axes
        )
        return replace(self, factors=tuple(factors), axes=axes)

    def transposed(self, order: Sequence[int]) -> Value:
        """Return it with its axes in another order; ``order`` counts without the batch."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def reshaped(self, sizes: Sequence[int]) -> Value | None:
        """Return it with other axes; None if that takes another order in memory."""
        parts: dict[int, list[int]] = {f: [] for f in range(len(self.factors))}
        groups: list[list[tuple[int, int]]] = []
        left = [[f, self.factors[f]] for axis in self.axes for f in axis]
        left.reverse()
        for size in sizes:
            group: list[tuple[int, int]] = []
            needed = size
            while needed > 1:
                f, rest = left[-1]
                if needed % rest == 0:
                    taken = rest
                elif rest % needed == 0:
                    taken = needed
                else:
                    return None
                group.append((f, len(parts[f])))
                parts[f].append(taken)
                needed //= taken
                left[-1][1] = rest // taken
                if left[-1][1] == 1:
                    left.pop()
            groups.append(group)
        begins: dict[int, int] = {}
        factors: list[int] = []
        for f in range(len(self.factors)):
            begins[f] = len(factors)
            factors += parts[f]
        axes = tuple(tuple(begins[f] + part for f, part in group) for group in groups)
        return replace(self, factors=tuple(factors), axes=axes)._normal()

    def memory_order(self, axis_order: Sequence[int]) -> tuple[int, ...]:
        """Axes of memory in the order in which axes of ONNX's name them."""
        return tuple(f for axis in axis_order for f in self.axes[axis])

    @property
    def usual_order(self) -> tuple[int, ...]:
        """The order of the axes in memory, or where they are mixed, of images or ONNX's own."""
        count = len(self.axes)
        if all(len(axis) <= 1 for axis in self.axes):
            return tuple(sorted(range(count), key=lambda axis: (*self.axes[axis], -1)[0]))
        return (1, 2, 0) if count == 3 else tuple(range(count))


def plain_shape(sizes: Sequence[int]) -> Shape:
    """Shape of a sample with these sizes, of three axes at most.

    Examples
    --------
    >>> plain_shape((2, 3, 4, 5)), plain_shape(())
    ((24, 5), (1,))
    """
    if not sizes:
        return (1,)
    return tuple(sizes) if len(sizes) <= 3 else (math.prod(sizes[:-1]), sizes[-1])


def transpositions(
    factors: Sequence[int], order: Sequence[int]
) -> list[tuple[Shape, tuple[int, ...]]]:
    """Say how axes get into another order by transpositions of samples of two or three axes.

    Parameters
    ----------
    factors
        Sizes of the axes.
    order
        Which of them each axis of the result is.

    Returns
    -------
    list
        One after the other: the shape to see a sample as, and the order of its axes.

    Examples
    --------
    >>> transpositions((2, 3, 4), (2, 0, 1))
    [((6, 4), (1, 0))]
    """
    left = [[f] for f in order]
    memory = list(range(len(factors)))
    found: list[tuple[Shape, tuple[int, ...]]] = []
    placed: list[int] = []
    while True:
        blocks = _joined(memory[len(placed) :], [f for group in left for f in group])
        size = [math.prod(factors[f] for f in block) for block in blocks]
        target = [f for group in left for f in group]
        begins = [block[0] for block in blocks]
        wanted = [begins.index(f) for f in target if f in begins]
        if wanted == list(range(len(blocks))):
            return found
        before = math.prod(factors[f] for f in placed)
        if before == 1 and len(blocks) <= 3:
            found.append((tuple(size), tuple(wanted)))
            return found
        # Bring the block that is wanted first behind what is in place; the others follow in a
        # circle: (placed, x, y) becomes (placed, y, x).
        first = wanted[0]
        if first:
            x, y = math.prod(size[:first]), math.prod(size[first:])
            shape, dims = ((before, x, y), (0, 2, 1)) if before > 1 else ((x, y), (1, 0))
            found.append((shape, dims))
            blocks = blocks[first:] + blocks[:first]
        memory[len(placed) :] = [f for block in blocks for f in block]
        placed += blocks[0]
        left = left[len(blocks[0]) :]


def _joined(memory: Sequence[int], target: Sequence[int]) -> list[list[int]]:
    """Join axes of memory that follow one another in the target too."""
    after = dict(pairwise(target))
    blocks: list[list[int]] = []
    for f in memory:
        if blocks and after.get(blocks[-1][-1]) == f:
            blocks[-1].append(f)
        else:
            blocks.append([f])
    return blocks
