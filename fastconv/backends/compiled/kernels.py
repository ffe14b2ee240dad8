"""The kernels of the contract as functions that run on a compiled engine.

Every backend has the same functions with the same parameters (``docs/kernels.md``); those of the
compiled backends differ in the engine alone. Their names, parameters and summaries are those of the
reference.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Protocol

SpecFor = Callable[..., Any]
"""Makes the spec that the rules want of a spec and the arrays of a call."""


class KernelEngine(Protocol):
    """The part of a backend's ``engine`` module that runs single kernels."""

    def execute(self, kernel: str, spec: Any, *arrays: Any) -> None:
        """Run one kernel of the contract; the workspace is the last array."""

    def workspace_bytes(self, kernel: str, spec: Any, dtype: Any) -> int:
        """Bytes of workspace that a kernel of the contract needs."""


def contract_kernel(
    engine: KernelEngine, kernel: str, module: str, spec_for: SpecFor | None = None
) -> Callable[..., None]:
    """Make one kernel of the contract.

    Parameters
    ----------
    engine
        Of the backend.
    kernel
        ``module.function`` of the contract, such as "conv.conv2d_forward".
    module
        Name of the module that the function is for.
    spec_for
        Makes the spec that the rules want, where it takes sizes of arrays.
    """
    family, _, name = kernel.partition(".")
    reference = getattr(importlib.import_module(f"fastconv.backends.reference.{family}"), name)
    signature = inspect.signature(reference)
    # A function with these very parameters, as `namedtuple` and `dataclass` make theirs: one that
    # takes any arguments and hands them on would cost every call a tenth of a microsecond.
    arguments = ", ".join(signature.parameters)
    spec = "spec" if spec_for is None else f"spec_for({arguments})"
    source = (
        f"def {name}({arguments}):\n"
        f"    engine.execute({kernel!r}, {spec}{arguments.removeprefix('spec')})\n"
    )
    namespace: dict[str, Any] = {"engine": engine, "spec_for": spec_for, "__name__": module}
    exec(source, namespace)
    made: Callable[..., None] = namespace[name]
    made.__annotations__ = dict(reference.__annotations__)
    made.__doc__ = (reference.__doc__ or "").partition("\n")[0]
    return made


def workspace_of_module(
    engine: KernelEngine, family: str, module: str
) -> Callable[[str, Any, Any], int]:
    """Make the function that gives the workspace of the kernels of one module.

    Parameters
    ----------
    engine
        Of the backend.
    family
        Name of the module in the contract, such as "conv".
    module
        Name of the module that the function is for.
    """

    def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
        """Bytes of workspace that a kernel of this module needs."""
        return engine.workspace_bytes(f"{family}.{kernel}", spec, dtype)

    workspace_bytes.__module__ = module
    return workspace_bytes
