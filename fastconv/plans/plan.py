"""Plans: plain data that any backend can walk.

A network and a batch shape give a plan: a flat list of kernel calls with every buffer named and
every argument fixed. It is made by :mod:`fastconv.plans.plan_builder`, and run by the ``run``
module of a backend.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array of a plan.

    Parameters
    ----------
    name
        For people, and to find a buffer by; unique within the plan.
    shape
        Its shape.
    dtype
        NumPy's name of its dtype.
    parent
        Number of the buffer that this one is a view of, or None. A view has its parent's dtype.
    offset
        Elements of the parent in front of the view.
    shared
        The array comes from outside and outlives the plan: parameters, the data set.
    constant
        It is shared, and nobody writes it while the plan is in use: what a backend makes of it
        alone may be made once.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    parent: int | None = None
    offset: int = 0
    shared: bool = False
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call.

    Parameters
    ----------
    kernel
        ``module.function`` within a backend's folder, such as ``conv.conv2d_forward``.
    spec
        The kernel's first argument.
    arguments
        Numbers of the buffers that follow, in the kernel's order, without the workspace; None
        passes None.
    """

    kernel: str
    spec: object
    arguments: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Kernel calls over numbered buffers.

    Every step first copies its row of the order into the buffer ``indices`` and its learning rate
    into ``rate``; then it makes the calls; then it adds one to ``step``.

    Parameters
    ----------
    batch
        Samples in a pass through the network; a step may have several passes.
    dtype
        NumPy's name of the dtype that the kernels compute in.
    buffers, calls
        The arrays, and what is done with them.
    """

    batch: int
    dtype: str
    buffers: tuple[Buffer, ...]
    calls: tuple[Call, ...]

    @property
    def samples_of_a_step(self) -> int:
        """Samples in a step: those of all its passes."""
        return self.buffers[self.number_of("indices")].shape[0]

    def check_order(self, order: NDArray[np.int64]) -> None:
        """Raise an IndexError unless the batches of an order are of samples that there are.

        Parameters
        ----------
        order
            int64, (steps, batch).
        """
        sizes = [buffer.shape[0] for buffer in self.buffers if buffer.name == "images"]
        if not sizes:  # a plan that only updates
            return
        stored = sizes[0]
        # One look at all of it: what is below 0 is very large without a sign.
        if order.size and order.view(np.uint64).max() >= stored:
            raise IndexError(
                f"order holds {order[(order < 0) | (order >= stored)][0]}; expected 0 to "
                f"{stored - 1}, numbers of the samples"
            )

    @property
    def backward_start(self) -> int:
        """Number of the first call behind a pause: it takes the gradient of the outputs in.

        Raises
        ------
        KeyError
            If the plan's backward pass begins with no gradient that is given.
        """
        given = self.number_of("output_gradient")
        return next(n for n, call in enumerate(self.calls) if given in call.arguments)

    def memory_of(self, number: int | None) -> tuple[int, int] | None:
        """Return the buffer that owns a buffer's memory, and elements into it; None for None."""
        if number is None:
            return None
        offset = 0
        while (parent := self.buffers[number].parent) is not None:
            offset += self.buffers[number].offset
            number = parent
        return number, offset

    @property
    def memory_bytes(self) -> int:
        """Bytes of the buffers, without the shared ones."""
        return sum(
            math.prod(buffer.shape) * np.dtype(buffer.dtype).itemsize
            for buffer in self.buffers
            if buffer.parent is None and not buffer.shared
        )

    def allocate(
        self, shared: Mapping[str, Any], zeros: Callable[[tuple[int, ...], str], Any]
    ) -> list[Any]:
        """Return the arrays of all buffers.

        Parameters
        ----------
        shared
            Arrays for the buffers that are marked as shared, by name.
        zeros
            Makes an array of zeros, contiguous, of a shape and a dtype.

        Raises
        ------
        ValueError
            If a shared array has another shape or dtype than its buffer.
        """
        arrays: list[Any] = []
        for buffer in self.buffers:
            if buffer.shared:
                array = shared[buffer.name]
                if array.shape != buffer.shape or array.dtype != np.dtype(buffer.dtype):
                    raise ValueError(
                        f"Runner: shared array {buffer.name!r} is {array.dtype} {array.shape}; "
                        f"the plan needs {buffer.dtype} {buffer.shape}"
                    )
            elif buffer.parent is None:
                array = zeros(buffer.shape, buffer.dtype)
            else:
                end = buffer.offset + math.prod(buffer.shape)
                flat = arrays[buffer.parent].reshape(-1)
                array = flat[buffer.offset : end].reshape(buffer.shape)
            arrays.append(array)
        return arrays

    def kernels_of(
        self, calls: Iterable[Call], package: str
    ) -> tuple[list[Callable[..., None]], int]:
        """Return the kernels of calls, and bytes of a workspace that is enough for each of them.

        Parameters
        ----------
        calls
            The plan's, or what a backend makes of them.
        package
            The backend's folder as Python imports it, such as ``fastconv.backends.numpy``.
        """
        kernels, size = [], 0
        for call in calls:
            module_name, _, name = call.kernel.partition(".")
            module = importlib.import_module(f"{package}.{module_name}")
            kernels.append(getattr(module, name))
            size = max(size, module.workspace_bytes(name, call.spec, self.dtype))
        return kernels, size

    def number_of(self, name: str) -> int:
        """Return the number of the buffer with this name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for number, buffer in enumerate(self.buffers):
            if buffer.name == name:
                return number
        raise KeyError(name)
