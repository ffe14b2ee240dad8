from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

class _InstructionSet(TypedDict):
    name: str
    vector_bytes: int
    registers: int
    masks: bool

def instruction_sets() -> list[_InstructionSet]: ...
def kernel_addresses(name: str) -> dict[tuple[str, str], int]: ...
def run_stream(
    stream: NDArray[np.int64],
    steps: int,
    threads: int,
    nanoseconds: NDArray[np.int64] | None = None,
) -> int: ...

class CallStream:
    @property
    def most_threads(self) -> int: ...
    def __init__(self, stream: NDArray[np.int64], relocations: NDArray[np.int64]) -> None: ...
    def run(self, arrays: tuple[np.ndarray | None, ...], threads: int) -> None: ...

def run_call(
    stream: NDArray[np.int64],
    relocations: NDArray[np.int64],
    arrays: tuple[np.ndarray | None, ...],
    threads: int,
) -> None: ...
def barrier_nanoseconds(threads: int, count: int) -> float: ...

XLA_NONE: int

def xla_handler() -> int: ...
def register_xla_call(
    key: int,
    stream: NDArray[np.int64],
    relocations: NDArray[np.int64],
    places: NDArray[np.int64],
    workspace_bytes: int,
    threads: int,
) -> None: ...
def c_api(make: Callable[[int, tuple[int, ...]], Any], name: str) -> object: ...
def set_plan_threads(threads: int) -> None: ...
def plan_functions() -> dict[str, int]: ...
def host_tensor(value: object) -> Any: ...
