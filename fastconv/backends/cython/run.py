"""Running a plan: one call of the compiled engine for many steps."""

from __future__ import annotations

from typing import ClassVar

from fastconv.backends.compiled.runner import Engine, StreamRunner
from fastconv.backends.cython import engine as compiled_engine
from fastconv.backends.host_arrays import IS_ON_HOST as IS_ON_HOST
from fastconv.backends.host_arrays import to_device as to_device
from fastconv.backends.host_arrays import to_host as to_host
from fastconv.backends.host_arrays import write as write

PRECISIONS = ("bf16",)
"""What factors of products can be rounded to, beside float32."""


def check_precision(precision: str, dtype: str = "float32") -> None:
    """Check that products of a dtype can be made in a precision.

    Raises
    ------
    ValueError
        If not.
    """
    if precision == "float32":
        return
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision is {precision!r} but the backend is 'cython'; expected 'float32' or 'bf16' "
            f"there; use the backend 'cupy', or leave the precision out"
        )
    if dtype != "float32":
        raise ValueError(
            f"precision is {precision}, which is for float32; the network is {dtype}: make it "
            f"float32, or use --precision float32"
        )


class Runner(StreamRunner):
    """A plan that is ready to run on the engine of C."""

    engine: ClassVar[Engine] = compiled_engine
