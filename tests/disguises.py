"""The same numbers in other memory, and memory that lies: arrays as hostile callers make them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np


class Subclass(np.ndarray):
    """An array class of somebody else's."""


class OfOtherLibrary:
    """What another library's array looks like: DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        """The capsule."""
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The host."""
        return self._array.__dlpack_device__()


def _strided(array: np.ndarray, choose: random.Random) -> np.ndarray:
    steps = [choose.choice((1, 2, 3, -1, -2)) for _ in array.shape]
    room = np.full([n * abs(step) + 1 for n, step in zip(array.shape, steps, strict=True)], 77,
                   array.dtype)  # fmt: skip
    view = room[tuple(
        slice(0, n * step, step) if step > 0 else slice(n * -step, None, step)
        for n, step in zip(array.shape, steps, strict=True)
    )]  # fmt: skip
    view = view[tuple(slice(0, n) for n in array.shape)]
    view[...] = array
    return view


def _misaligned(array: np.ndarray, choose: random.Random) -> np.ndarray:
    room = np.zeros(array.nbytes + 16, np.uint8)
    start = choose.randint(1, 7)
    view = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array: np.ndarray, choose: random.Random) -> np.ndarray:
    view = array.copy()
    view.flags.writeable = False
    return view


def _permuted(array: np.ndarray, choose: random.Random) -> np.ndarray:
    axes = list(range(array.ndim))
    choose.shuffle(axes)
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))


SAME: dict[str, Callable[[np.ndarray, random.Random], Any]] = {
    "strided": _strided,
    "misaligned": _misaligned,
    "read only": _read_only,
    "axes in another order": _permuted,
    "subclass": lambda array, choose: array.copy().view(Subclass),
    "of another library": lambda array, choose: OfOtherLibrary(array.copy()),
    "within other memory": lambda array, choose: np.stack([array] * 3)[1],
}
"""Ways to hold the same numbers."""


def _other_dtype(array: np.ndarray, choose: random.Random) -> Any:
    dtype = choose.choice(
        ("?", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "g", ">f4", ">i8", "c8", "U1", "O",
         "M8[s]", [("a", "f4")])
    )  # fmt: skip
    try:
        with np.errstate(all="ignore"):
            return array.astype(dtype)
    except (TypeError, ValueError):
        return np.zeros(array.shape, dtype)


def _other_shape(array: np.ndarray, choose: random.Random) -> Any:
    shape = list(array.shape)
    kind = choose.randrange(5)
    if kind == 0 and shape:
        del shape[choose.randrange(len(shape))]
    elif kind == 1:
        shape.insert(choose.randint(0, len(shape)), choose.choice((0, 1, 2)))
    elif kind == 2 and shape:
        shape[choose.randrange(len(shape))] = choose.choice((0, 1, 2, 9))
    elif kind == 3:
        choose.shuffle(shape)
    else:
        shape = shape[::-1]
    return np.resize(array, shape) if array.size else np.zeros(shape, array.dtype)


def _claims_much(array: np.ndarray, choose: random.Random) -> Any:
    """One number that claims to be very many."""
    if not array.size:
        return array
    shape = [choose.choice((n, n, 2**16, 2**33)) for n in array.shape]
    while np.prod(shape, dtype=float) * array.itemsize >= 2.0**62:
        shape[int(np.argmax(shape))] = 3
    return np.broadcast_to(array.reshape(-1)[:1].reshape((1,) * array.ndim), shape)


def _other_values(array: np.ndarray, choose: random.Random) -> Any:
    made = np.array(array)
    flat = made.reshape(-1)
    for _ in range(choose.choice((1, 3, flat.size))):
        if not flat.size:
            break
        place = choose.randrange(flat.size)
        if made.dtype.kind in "iu":
            about = np.iinfo(made.dtype)
            flat[place] = choose.choice((-1, 99, about.min, about.max)) if about.min else 255
        elif made.dtype.kind == "f":
            flat[place] = choose.choice((np.nan, np.inf, -np.inf, 1e30, -0.0, 1e-40))
    return made


OTHER: dict[str, Callable[[np.ndarray, random.Random], Any]] = {
    "other dtype": _other_dtype,
    "other shape": _other_shape,
    "claims much": _claims_much,
    "other values": _other_values,
    "no array": lambda array, choose: choose.choice(
        (None, 1, "x", [1, 2], object(), np.float32(3), array.tolist(), np.ma.masked_array(array))
    ),
}
"""Ways to hold something else."""

OPTIONS = (0, 1, 2, 3, -1, None, True, False, 0.5, float("nan"), float("inf"), 2**31, 2**63,
           10**400, "same", "valid", "full", "NHWC", "NCHW", "x\n", (1, 2), (0, 0), (2**31, 1),
           ((1, 0), (2, 1)), (1, 2, 3), [], {}, np.int64(2), np.array([1, 1]), b"same")  # fmt: skip
"""Values of options, of which most are none that may be."""
