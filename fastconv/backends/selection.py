"""Selection of a backend: asking for one, choosing one, and saying why."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from fastconv._errors import UserError

NAMES = ("numpy", "numba", "cython", "cupy")
PRECISIONS = ("float32", "tf32", "bf16")
"""Precisions that factors of products are rounded to: cupy has all, cython float32 and bf16."""
_PREFERRED = ("cython", "numba", "numpy")
"""Backends that ``auto`` tries, fastest first. CUDA is used for arrays of its own, and by name."""

_AUTO = "auto: the fastest that works here"

chosen_backend: ContextVar[str | None] = ContextVar("fastconv_backend", default=None)
"""What :func:`use_backend` set, of this thread or task."""


class BackendError(UserError, RuntimeError):
    """A backend that cannot do what was asked, with the reason and the fix in one line."""


@dataclass(frozen=True, slots=True)
class BackendState:
    """Whether a backend works on this machine.

    Parameters
    ----------
    name
        Its name.
    works
        Whether its kernels can be called.
    reason
        Why not, or what it runs on; one line.
    misconfigured
        Whether it does not work because an environment variable is wrong. That is an error of its
        own: no other backend takes its place.
    """

    name: str
    works: bool
    reason: str
    misconfigured: bool = False


@functools.cache
def backend_state(name: str) -> BackendState:
    """Say whether a backend works here, and why not.

    Raises
    ------
    BackendError
        If no backend has this name.
    """
    _check_name(name)
    backend = importlib.import_module(f"fastconv.backends.{name}")
    fault: str | None = backend.unavailable_because()
    if fault is not None:
        return BackendState(name, False, fault)
    try:
        return BackendState(name, True, backend.description())
    except ValueError as wrong:  # FASTCONV_ISA, FASTCONV_THREADS
        return BackendState(name, False, str(wrong), misconfigured=True)


def _check_name(name: str, origin: str = "") -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name, (*NAMES, "auto"), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BackendError(
            f"backend is {name!r}{origin}; expected one of auto, {', '.join(NAMES)}{hint}"
        )


def _of_environment() -> str:
    # Asked first, for a name that is not there costs an exception, a microsecond, within `get`.
    if "FASTCONV_BACKEND" not in os.environ:
        return "auto"
    return os.environ.get("FASTCONV_BACKEND") or "auto"


class Choice(NamedTuple):
    """The backend that was chosen, and why: a tuple, which every call makes again."""

    name: str
    why: str


@functools.cache
def _choice(name: str, why: str) -> Choice:
    return Choice(name, why)


def choose_backend(name: str | None = None) -> Choice:
    """Choose the backend for training, or for a call without a preference of its own.

    Parameters
    ----------
    name
        A backend's name, "auto" (the fastest that works here), or None: what :func:`use_backend`
        set, else the environment variable FASTCONV_BACKEND, else "auto".

    Raises
    ------
    BackendError
        If the backend asked for cannot work here.
    """
    source, origin = "asked for", ""
    if name is None and (name := chosen_backend.get()) is None:
        name = _of_environment()
        source, origin = "FASTCONV_BACKEND", " (from FASTCONV_BACKEND)"
    if name != "auto":
        _check_name(name, origin)
        state = backend_state(name)
        if state.misconfigured:
            raise BackendError(state.reason)
        if not state.works:
            raise BackendError(
                f"backend {name!r} is not there: {state.reason}; "
                f"use --backend numpy, or see fastconv.show_config()"
            )
        return Choice(name, source)
    passed_over: list[str] = []
    for candidate in _PREFERRED:
        state = backend_state(candidate)
        if state.misconfigured:
            raise BackendError(state.reason)
        if state.works:
            why = f"{_AUTO} ({'; '.join(passed_over)})" if passed_over else _AUTO
            return _choice(candidate, why)
        passed_over.append(f"{candidate}: {state.reason}")
    raise AssertionError("the numpy backend always works")


def choose_backend_of_device(name: str | None = None) -> Choice:
    """Choose the backend for a call with CuPy arrays: cupy, unless another one is asked for.

    Parameters
    ----------
    name
        As for :func:`choose_backend`.

    Raises
    ------
    BackendError
        If a backend of the host is asked for, or cupy cannot work here.
    """
    asked = name
    if asked is None:
        asked = chosen_backend.get() or _of_environment()
    if asked not in ("auto", "cupy"):
        choice = choose_backend(name)  # an error of its own where there is no such backend
        raise BackendError(
            f"backend {choice.name!r} ({choice.why}) takes NumPy arrays, but the arguments are "
            f"CuPy arrays; use backend='cupy' or 'auto', or copy them to the host "
            f"(cupy.asnumpy(x))"
        )
    return choose_backend("cupy")


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use a backend for every call inside the ``with`` block (of this thread or task).

    Parameters
    ----------
    name
        "numpy", "numba", "cython", "cupy" or "auto".

    Raises
    ------
    BackendError
        If that backend cannot work here.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> with fastconv.use_backend("numpy"):
    ...     fastconv.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    choose_backend(name)
    token = chosen_backend.set(name)
    try:
        yield
    finally:
        chosen_backend.reset(token)


def load_module(backend: str, module: str) -> ModuleType:
    """Import ``module`` (conv, pool, run, ...) of a backend."""
    return importlib.import_module(f"fastconv.backends.{backend}.{module}")


@functools.cache
def load_kernel(backend: str, kernel: str) -> tuple[Callable[..., None], Callable[..., int]]:
    """Return a kernel, named ``module.function``, and its module's ``workspace_bytes``."""
    module_name, _, function = kernel.partition(".")
    module: Any = load_module(backend, module_name)
    return getattr(module, function), module.workspace_bytes
