"""A plan run kernel by kernel, so that every buffer can be looked at."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.selection import choose_backend
from fastconv.plans.plan import Plan

_HOST_BACKENDS = ("numpy", "numba", "cython")


def host_backend(backend: str | None) -> str:
    """Return the backend, or where its arrays are not on the host, the best of those whose are."""
    name = choose_backend(backend).name
    return name if name in _HOST_BACKENDS else choose_backend("auto").name


class StepwisePlan:
    """Makes the calls of a plan one by one, none of them fused.

    A backend's own runner may leave buffers unwritten that nothing reads later, or lay them out in
    its own way.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    backend
        Whose kernels; one of those that compute on the host.
    """

    def __init__(self, plan: Plan, shared: Mapping[str, NDArray[Any]], backend: str) -> None:
        self.plan = plan
        self._arrays: list[NDArray[Any]] = plan.allocate(shared, np.zeros)
        kernels, size = plan.kernels_of(plan.calls, f"fastconv.backends.{backend}")
        workspace = np.zeros(size, np.uint8)
        self._calls = []
        for kernel, call in zip(kernels, plan.calls, strict=True):
            arrays = [None if n is None else self._arrays[n] for n in call.arguments]
            self._calls.append(functools.partial(kernel, call.spec, *arrays, workspace))

    def buffer(self, name: str) -> NDArray[Any]:
        """Return the array of the buffer with this name."""
        return self._arrays[self.plan.number_of(name)]

    def run(self, start: int = 0, end: int | None = None) -> None:
        """Make the calls from ``start`` to before ``end``."""
        with np.errstate(all="ignore"):
            for call in self._calls[start:end]:
                call()
