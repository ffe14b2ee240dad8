"""Running a plan: one call of the compiled engine for many steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastconv.backends.compiled.runner import IS_ON_HOST as IS_ON_HOST
from fastconv.backends.compiled.runner import StreamRunner
from fastconv.backends.compiled.runner import to_device as to_device
from fastconv.backends.compiled.runner import to_host as to_host
from fastconv.backends.compiled.runner import write as write
from fastconv.backends.cython import engine
from fastconv.plans.plan import Plan


class Runner(StreamRunner):
    """A plan with its buffers allocated and its instruction stream made.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    threads
        How many threads may take part; None: FASTCONV_THREADS, else all cores of this process.
    """

    def __init__(
        self, plan: Plan, shared: Mapping[str, np.ndarray], threads: int | None = None
    ) -> None:
        super().__init__(plan, shared, threads, engine)
