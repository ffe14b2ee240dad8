from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

class _InstructionSet(TypedDict):
    name: str
    vector_bytes: int
    registers: int
    masks: bool

def instruction_sets() -> list[_InstructionSet]: ...
def halves_wide_vectors() -> bool: ...
def bf16_sets() -> list[str]: ...
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
    def __init__(
        self,
        stream: NDArray[np.int64],
        relocations: NDArray[np.int64],
        memory: NDArray[np.uint8] | None = None,
    ) -> None: ...
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
def tensor_of(array: NDArray[Any], kind: type) -> Any: ...

class CallKey:
    @property
    def dtype(self) -> str: ...

class KeptCalls:
    def __init__(
        self,
        inputs: int,
        chosen: ContextVar[str | None],
        empty: Callable[[Any, Any], NDArray[Any]],
        threads: Callable[[], int],
        take: Callable[[int], NDArray[np.uint8]],
        give_back: Callable[[NDArray[np.uint8]], None],
        convert: Callable[[NDArray[Any], Any], Any],
    ) -> None: ...
    def key_of(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> CallKey | None: ...
    def keep(
        self, key: CallKey, stream: CallStream, workspace_bytes: int, shape: tuple[int, ...]
    ) -> None: ...
    def run(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any: ...
