"""Execution of a network, where and how: one value for everything that runs plans."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any

from fastconv.backends.configuration import available_cores, configured_threads
from fastconv.backends.selection import (
    NAMES,
    PRECISIONS,
    BackendError,
    choose_backend,
    load_module,
)
from fastconv.execution.uploads import Uploads
from fastconv.plans.plan import Plan


@dataclass(frozen=True, init=False)
class ExecutionConfig:
    """Backend, threads, precision and device, checked once.

    What is left open is settled when it is made: the fields say what was chosen. To change a
    field, use :func:`dataclasses.replace`, which checks again.

    Parameters
    ----------
    backend
        "numpy", "numba", "cython", "cupy" or "auto" (the fastest that works here); None: what
        :func:`fastconv.use_backend` set, else FASTCONV_BACKEND, else "auto".
    threads
        How many threads a step may use; None: FASTCONV_THREADS, else the cores of this process.
        The numpy backend has no threads of its own: see ``fastconv.backends.numpy.run``.
    precision
        "float32"; with the backends cupy and cython also "bf16", with cupy "tf32": what the factors
        of products are rounded to. Parameters, activations and sums stay float32.
    device
        Number of the CUDA device, for the cupy backend; None: CuPy's current one.

    Attributes
    ----------
    why
        Why this backend was chosen.

    Raises
    ------
    BackendError
        If a field is not what it may be, or the backend cannot work here.

    Examples
    --------
    >>> ExecutionConfig("numpy", threads=2)
    ExecutionConfig(backend='numpy', threads=2, precision='float32', device=None)
    >>> ExecutionConfig("numpy", threads=0)
    Traceback (most recent call last):
    fastconv.backends.selection.BackendError: threads is 0; expected an integer of 1 or more; ...
    """

    backend: str
    threads: int
    precision: str
    device: int | None
    why: str = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        backend: str | None = None,
        threads: int | None = None,
        precision: str = "float32",
        device: int | None = None,
    ) -> None:
        if not (backend is None or isinstance(backend, str)):
            raise BackendError(
                f"backend is {backend!r}; expected a name, one of auto, {', '.join(NAMES)}"
            )
        choice = choose_backend(backend)
        self._set(backend=choice.name, why=choice.why, threads=_take_threads(threads))
        self._set(device=_take_device(device, self.backend))
        self.select_device()  # what precisions there are is a matter of the device
        self._set(precision=_take_precision(precision, self.backend))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def fields(self) -> dict[str, str | int | None]:
        """Return what makes the same config elsewhere: in JSON, in another process.

        Examples
        --------
        >>> config = ExecutionConfig("numpy", threads=2)
        >>> ExecutionConfig(**config.fields()) == config
        True
        """
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    @property
    def run_module(self) -> ModuleType:
        """The backend's module that runs plans."""
        return load_module(self.backend, "run")

    def select_device(self) -> None:
        """Make the device the current one of this thread; nothing where none was named.

        Raises
        ------
        BackendError
            If there is no such device.
        """
        if self.device is None:
            return
        try:
            self.run_module.use_device(self.device)
        except ValueError as fault:
            raise BackendError(str(fault)) from None

    def check_dtype(self, dtype: str) -> None:
        """Raise a BackendError unless a network of this dtype can be computed in the precision.

        Parameters
        ----------
        dtype
            Of the network.
        """
        if self.precision == "float32":
            return
        try:
            self.run_module.check_precision(self.precision, dtype)
        except ValueError as fault:
            raise BackendError(str(fault)) from None

    def make_runner(self, plan: Plan, arrays: Mapping[str, Any]) -> Any:
        """Return the backend's runner of a plan.

        Parameters
        ----------
        plan
            What to run.
        arrays
            For the buffers that the plan marks as shared, by name.
        """
        # Not every backend has more than one precision.
        more = {} if self.precision == "float32" else {"precision": self.precision}
        run_module = self.run_module
        make = getattr(run_module, "make_runner", run_module.Runner)
        return make(plan, arrays, self.threads, **more)

    def uploads(self, dtype: str) -> Uploads:
        """Return what brings samples to where the backend computes.

        Parameters
        ----------
        dtype
            Of the network.
        """
        return Uploads(self.run_module, dtype)


def settle(
    owner: str,
    config: ExecutionConfig | None,
    *,
    backend: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    device: int | None = None,
) -> ExecutionConfig:
    """Return the config that was given, or else make one of the fields that were.

    Parameters
    ----------
    owner
        Who was given them, for the message.
    config
        The config, or None.
    backend, threads, precision, device
        As for :class:`ExecutionConfig`; None for what was not given.

    Raises
    ------
    BackendError
        If a field is not what it may be, or if it comes beside a config.
    """
    given = {
        name: value
        for name, value in (
            ("backend", backend),
            ("threads", threads),
            ("precision", precision),
            ("device", device),
        )
        if value is not None
    }
    if config is None:
        return ExecutionConfig(**given)  # type: ignore[arg-type]
    if not isinstance(config, ExecutionConfig):
        raise BackendError(
            f"{owner}: config is {config!r}; expected an ExecutionConfig; use "
            f"config=fastconv.ExecutionConfig(...)"
        )
    for name, value in given.items():
        raise BackendError(
            f"{owner}: {name} is {value!r} beside a config; expected one of the two; use "
            f"dataclasses.replace(config, {name}={value!r})"
        )
    return config


def _take_threads(threads: object) -> int:
    if threads is None:
        return configured_threads()
    try:
        number = 0 if isinstance(threads, bool) else operator.index(threads)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise BackendError(
            f"threads is {threads!r}; expected an integer of 1 or more; leave it out for all "
            f"{available_cores()} cores"
        )
    return number


def _take_precision(precision: object, backend: str) -> str:
    if precision not in PRECISIONS:
        raise BackendError(
            f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}; leave it out "
            f"for float32"
        )
    if precision == "float32":
        return "float32"
    if backend not in ("cupy", "cython"):
        others = "'cython' or 'cupy'" if precision == "bf16" else "'cupy'"
        raise BackendError(
            f"precision is {precision!r} but the backend is {backend!r}; expected 'float32' there; "
            f"use the backend {others}, or leave the precision out"
        )
    try:
        load_module(backend, "run").check_precision(precision)
    except ValueError as fault:
        raise BackendError(str(fault)) from None
    return str(precision)


def _take_device(device: object, backend: str) -> int | None:
    if device is None:
        return None
    try:
        number = -1 if isinstance(device, bool) else operator.index(device)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0:
        raise BackendError(
            f"device is {device!r}; expected an integer of 0 or more, the number of a CUDA device; "
            f"leave it out for the current one"
        )
    if backend != "cupy":
        raise BackendError(
            f"device is {device!r} but the backend is {backend!r}; expected none there; use the "
            f"backend 'cupy', or leave the device out"
        )
    return number
