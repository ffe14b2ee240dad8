"""The pickled batches of CIFAR-10's Python version, read without trusting them.

A pickle is a program that may call anything it can import. The only names that a batch of arrays
needs stand here for objects of our own, which do no more than collect numbers; every other name
ends the reading before anything is called.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from fastconv.data.errors import DataError

_AGAIN = "delete it and download it again"


class _Name:
    """Stands for something that the pickle imports; the pickle cannot change it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> NoReturn:
        # Without this the BUILD instruction would set attributes on an object shared by all loads.
        raise pickle.UnpicklingError("it changes the state of an imported name")


class _ArrayType(_Name):
    """Stands for numpy.ndarray, which appears only as an argument of _reconstruct."""

    __slots__ = ()


class _ElementType:
    """Stands for one dtype: its code is kept; what the pickle says of its byte order is not."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Ignore the state: for uint8, the only type accepted, it says nothing."""


class _Array:
    """Stands for one array, from its shape, type and bytes."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: npt.NDArray[np.uint8] = np.empty(0, np.uint8)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("the state of an array is not a tuple of 5")
        _, shape, element, column_major, content = state
        self.fill(content, element, shape, "F" if column_major else "C")

    def fill(self, content: object, element: object, shape: object, order: object) -> None:
        """Take the array's bytes; every argument is whatever the pickle gave."""
        if not isinstance(element, _ElementType) or element.code not in ("u1", "uint8", "B"):
            code = element.code if isinstance(element, _ElementType) else type(element).__name__
            raise pickle.UnpicklingError(f"an array has type {code[:20]!r}, expected 'u1'")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("the shape of an array is not a tuple of integers")
        if not isinstance(content, (bytes, bytearray)) or len(content) != math.prod(shape):
            raise pickle.UnpicklingError("an array does not have the bytes that its shape asks for")
        values = np.frombuffer(content, np.uint8)
        self.values = values.reshape(shape, order="F" if order == "F" else "C")


class _MakeElementType(_Name):
    """Stands for numpy.dtype."""

    __slots__ = ()

    def __call__(self, code: object, *flags: object) -> _ElementType:
        text = code.decode("latin-1") if isinstance(code, bytes) else code
        if not isinstance(text, str):
            raise pickle.UnpicklingError("the type of an array is not a string")
        return _ElementType(text)


class _MakeArray(_Name):
    """Stands for numpy's _reconstruct, by which arrays were pickled up to protocol 4."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if not isinstance(kind, _ArrayType):
            raise pickle.UnpicklingError("it makes an array of a class that is not numpy.ndarray")
        return _Array()


class _MakeArrayFromBuffer(_Name):
    """Stands for numpy's _frombuffer, by which arrays are pickled from protocol 5 on."""

    __slots__ = ()

    def __call__(self, content: object, element: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.fill(content, element, shape, order)
        return array


class _Encode(_Name):
    """Stands for _codecs.encode, by which Python 3 writes bytes in protocols 0 to 2."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError("it encodes something other than text as latin1")
        return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _ArrayType(),
    ("numpy", "dtype"): _MakeElementType(),
    # The first is NumPy 1's name, the second NumPy 2's.
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy.core.numeric", "_frombuffer"): _MakeArrayFromBuffer(),
    ("numpy._core.numeric", "_frombuffer"): _MakeArrayFromBuffer(),
    ("_codecs", "encode"): _Encode(),
}


_Unpickler: Any = pickle._Unpickler
"""Python's own, of which type checkers know little."""


class _BatchUnpickler(_Unpickler):  # type: ignore[misc]  # it is of type Any
    """Reads with Python's own instructions, some of them replaced.

    Those in C hash whatever a pickle uses as a key: tuples so deep that the stack of the process
    ends, or that share their parts so that it takes for ever. They also allocate what a few bytes
    claim, such as a table of all objects up to the largest number.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(self, source: str, content: bytes) -> None:
        # Python 2 wrote the real files: its strings are bytes.
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._source, self._size = source, len(content)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        stand_in = _ALLOWED.get((module_name, global_name))
        if stand_in is None:
            name = f"{module_name}.{global_name}"
            raise DataError(
                f"{self._source}: the pickle asks for {name[:100]!r}, which no CIFAR-10 batch "
                f"needs; nothing was run; {_AGAIN} from a source that you trust"
            )
        return stand_in

    def _set_item(self) -> None:
        self._require_key(self.stack[-2])
        self.load_setitem()

    def _set_items(self) -> None:
        # The stack since the last mark: keys and values in turn.
        for key in self.stack[::2]:
            self._require_key(key)
        self.load_setitems()

    def _load_bytearray(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        content = self.read(size)
        if len(content) != size:
            raise pickle.UnpicklingError(f"it claims {size} bytes, but {len(content)} remain")
        self.append(bytearray(content))

    def _load_global(self) -> None:
        lines = [self.readline(), self.readline()]
        if not all(line.endswith(b"\n") for line in lines):
            raise pickle.UnpicklingError("it ends within a name")
        self.append(self.find_class(*(line[:-1].decode("utf-8") for line in lines)))

    def _put(self) -> None:
        self._remember(int(self.readline()[:-1]))

    def _put_long(self) -> None:
        self._remember(*struct.unpack("<I", self.read(4)))

    def _remember(self, number: int) -> None:
        if not 0 <= number <= self._size:
            raise pickle.UnpicklingError(f"it numbers an object {number}")
        self.memo[number] = self.stack[-1]

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it makes a set or takes a buffer")

    @staticmethod
    def _require_key(key: object) -> None:
        if not isinstance(key, (str, bytes, int)):
            raise pickle.UnpicklingError(f"a key is a {type(key).__name__}, expected text")


_BatchUnpickler.dispatch.update(
    {
        pickle.SETITEM[0]: _BatchUnpickler._set_item,
        pickle.SETITEMS[0]: _BatchUnpickler._set_items,
        pickle.BYTEARRAY8[0]: _BatchUnpickler._load_bytearray,
        pickle.GLOBAL[0]: _BatchUnpickler._load_global,
        pickle.PUT[0]: _BatchUnpickler._put,
        pickle.LONG_BINPUT[0]: _BatchUnpickler._put_long,
        pickle.EMPTY_SET[0]: _BatchUnpickler._refuse,
        pickle.ADDITEMS[0]: _BatchUnpickler._refuse,
        pickle.FROZENSET[0]: _BatchUnpickler._refuse,
        pickle.NEXT_BUFFER[0]: _BatchUnpickler._refuse,
        pickle.READONLY_BUFFER[0]: _BatchUnpickler._refuse,
    }
)


def load_batch_pickle(source: str, content: bytes) -> dict[str, object]:
    """Read a pickled dictionary of plain values and uint8 arrays.

    Parameters
    ----------
    source
        The file, for the error message.
    content
        All its bytes.

    Returns
    -------
    dict
        The keys as str; the values may be anything that a pickle can hold without importing,
        and arrays, which are read-only.

    Raises
    ------
    DataError
        If the pickle is damaged or truncated, is no dictionary with text keys, or asks for a name
        that an array does not need; nothing that it names is imported or called.
    """
    try:
        loaded = _BatchUnpickler(source, content).load()
    except DataError:
        raise
    except Exception as error:
        # Damage can make a pickle raise nearly anything, as the documentation of pickle says.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{source}: the pickle is truncated or damaged ({reason}); {_AGAIN}"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(
            f"{source}: the pickle holds a {type(loaded).__name__}; expected a dictionary; {_AGAIN}"
        )
    values: dict[str, object] = {}
    for key, value in loaded.items():
        text = key.decode("latin-1") if isinstance(key, bytes) else key
        if not isinstance(text, str):
            raise DataError(
                f"{source}: a key of the pickled dictionary is a {type(key).__name__}; expected "
                f"text; {_AGAIN}"
            )
        values[text] = value.values if isinstance(value, _Array) else value
    return values
