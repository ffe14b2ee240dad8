"""Running a plan: one call of the compiled engine for many steps."""

from __future__ import annotations

from typing import ClassVar

from fastconv.backends.compiled.runner import Engine, StreamRunner
from fastconv.backends.cython import engine as compiled_engine
from fastconv.backends.host_arrays import IS_ON_HOST as IS_ON_HOST
from fastconv.backends.host_arrays import to_device as to_device
from fastconv.backends.host_arrays import to_host as to_host
from fastconv.backends.host_arrays import write as write


class Runner(StreamRunner):
    """A plan that is ready to run on the engine of C."""

    engine: ClassVar[Engine] = compiled_engine
