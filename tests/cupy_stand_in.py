"""CuPy's arrays without CuPy: memory that kernels alone can read, and a device that holds it."""

from types import SimpleNamespace

import numpy as np
from cuda_on_host import HostDevice


class DeviceArray:
    """What the public functions may ask of a CuPy array; all that would copy it to the host fails.

    ``memory`` is for kernels, and for tests.
    """

    def __init__(self, memory, card=0):
        assert type(memory) is np.ndarray
        self.memory, self.card = memory, card

    shape = property(lambda self: self.memory.shape)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)
    dtype = property(lambda self: self.memory.dtype)
    itemsize = property(lambda self: self.memory.itemsize)
    data = property(lambda self: SimpleNamespace(device_id=self.card))

    @property
    def flags(self):
        flags = self.memory.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    def _like(self, memory):
        return DeviceArray(memory, self.card)

    def __getitem__(self, index):
        return self._like(self.memory[index])

    def __setitem__(self, index, value):
        self.memory[index] = value.memory

    def __iter__(self):
        return map(self._like, self.memory)

    def copy(self):
        return self._like(self.memory.copy())

    def fill(self, value):
        self.memory.fill(value)

    def reshape(self, *shape):
        return self._like(self.memory.reshape(*shape))

    def sum(self, axis):
        return self._like(self.memory.sum(axis=axis))

    def transpose(self, axes):
        return self._like(self.memory.transpose(axes))

    def view(self, dtype):
        return self._like(self.memory.view(dtype))

    def __array__(self, *arguments, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def _waits(self, *arguments):
        raise AssertionError("this would wait for the device")

    __bool__ = __float__ = __index__ = __int__ = __lt__ = __ge__ = get = item = tolist = _waits
    any = all = max = min = _waits


def empty(shape, dtype=float):
    memory = np.empty(shape, dtype)
    memory.view(np.uint8).reshape(-1)[:] = 0xA5 if memory.size else 0
    return DeviceArray(memory)


def ascontiguousarray(array, dtype=None):
    made = np.ascontiguousarray(array.memory, dtype)
    return array if made is array.memory else DeviceArray(made, array.card)


def copyto(destination, source):
    np.copyto(destination.memory, source.memory)


CUPY = SimpleNamespace(
    ndarray=DeviceArray, empty=empty, ascontiguousarray=ascontiguousarray, copyto=copyto,
    empty_like=lambda array: empty(array.shape, array.dtype),
    zeros=lambda shape, dtype=float: DeviceArray(np.zeros(shape, dtype)),
    may_share_memory=lambda *arrays: np.may_share_memory(*(each.memory for each in arrays)),
    moveaxis=lambda array, *axes: DeviceArray(np.moveaxis(array.memory, *axes), array.card),
)  # fmt: skip
"""What the public functions may ask of the module cupy."""


class StandInDevice(HostDevice):
    """Runs kernels on arrays that the host cannot read; waiting for it is an error."""

    arrays = CUPY
    card = 0

    def __init__(self):
        super().__init__()
        self.viewed = []

    def launch(self, source, dtype, kernel, grid, block, arguments, shared_bytes=0):
        assert not any(isinstance(each, np.ndarray) for each in arguments), kernel
        values = [each.memory if isinstance(each, DeviceArray) else each for each in arguments]
        super().launch(source, dtype, kernel, grid, block, values, shared_bytes)

    def current(self):
        return self.card

    def card_of(self, array):
        return array.card

    def address_of(self, array):
        return array.memory.ctypes.data

    def view(self, array):
        self.viewed.append(array)
        return DeviceArray(array.memory, array.card)

    def synchronize(self):
        raise AssertionError("the host waited for the device")

    def to_host(self, array):
        raise AssertionError("an array was copied to the host")


class HostExporter:
    """An array of the host that has nothing but DLPack."""

    def __init__(self, memory, place=(1, 0)):
        self.memory, self.place = memory, place

    def __dlpack__(self, **options):
        return self.memory.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.place


class DeviceExporter:
    """Another library's array on a card, with DLPack; the device knows how to take it."""

    def __init__(self, memory, card=0, kind=2):
        self.memory, self.card, self.kind = memory, card, kind

    def __dlpack__(self, **options):
        raise AssertionError("only the device takes it")

    def __dlpack_device__(self):
        return self.kind, self.card


class DeviceInterface:
    """Another library's array on a card, with ``__cuda_array_interface__`` alone."""

    def __init__(self, memory, card=0, read_only=False):
        self.memory, self.card = memory, card
        self.__cuda_array_interface__ = {
            "shape": memory.shape, "typestr": memory.dtype.str, "version": 3,
            "data": (memory.ctypes.data, read_only),
        }  # fmt: skip
