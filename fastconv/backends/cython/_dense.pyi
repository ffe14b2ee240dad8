from typing import Any

from numpy.typing import NDArray

def forward(
    x: NDArray[Any], w: NDArray[Any], b: NDArray[Any] | None, y: NDArray[Any], /
) -> None: ...
def backward_data(dy: NDArray[Any], w: NDArray[Any], dx: NDArray[Any], /) -> None: ...
def backward_weight(
    dy: NDArray[Any], x: NDArray[Any], dw: NDArray[Any], db: NDArray[Any] | None, /
) -> None: ...
