"""The handler that compiled programs of XLA call, called here as XLA's C interface says."""

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

import numpy as np
import pytest

from fastconv.spec import DenseSpec

engine = pytest.importorskip("fastconv.backends.cython.engine", exc_type=ImportError)
from fastconv.backends.cython import _engine  # noqa: E402

handler = ctypes.CFUNCTYPE(c_void_p, c_void_p)(_engine.xla_handler())


def structure(name, *fields):
    """A structure of the interface: each begins with its size and a list of extensions."""
    head = [("size", c_size_t), ("extensions", c_void_p)]
    return type(name, (ctypes.Structure,), {"_fields_": [*head, *fields]})


Version = structure("Version", ("major", c_int), ("minor", c_int))
ErrorArguments = structure("ErrorArguments", ("message", c_char_p), ("code", c_int))
CreateError = ctypes.CFUNCTYPE(c_void_p, POINTER(ErrorArguments))
Interface = structure(
    "Interface", ("version", Version), ("internal", c_void_p), ("create_error", CreateError)
)
Buffer = structure(
    "Buffer", ("dtype", c_int), ("data", c_void_p), ("rank", c_int64), ("sizes", c_void_p)
)
Values = structure("Values", ("count", c_int64), ("kinds", c_void_p), ("values", c_void_p))
Attributes = structure(
    "Attributes", ("count", c_int64), ("kinds", c_void_p), ("names", c_void_p), ("values", c_void_p)
)
CallFrame = structure(
    "CallFrame", ("interface", POINTER(Interface)), ("context", c_void_p), ("stage", c_int),
    ("arguments", Values), ("results", Values), ("attributes", Attributes),
)  # fmt: skip


class Scalar(ctypes.Structure):
    _fields_ = [("dtype", c_int), ("value", c_void_p)]


class Metadata(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t), ("version", Version), ("traits", c_uint32), ("state", c_int64)
    ]  # fmt: skip


class MetadataExtension(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t), ("kind", c_int), ("next", c_void_p), ("metadata", POINTER(Metadata))
    ]  # fmt: skip


class Program:
    """What a compiled program hands to the handler."""

    def __init__(self, key, arguments=(), results=(), minor=3):
        self.errors = []

        @CreateError
        def create_error(given):
            self.errors.append((given[0].code, given[0].message.decode()))
            return 1

        self.interface = Interface(version=Version(major=0, minor=minor), create_error=create_error)
        self.kept = [create_error]
        key, scalar = c_int64(key), Scalar()
        scalar.value = ctypes.addressof(key)
        self.kept += [key, scalar]
        self.frame = CallFrame(
            interface=ctypes.pointer(self.interface), stage=3, arguments=self.values(arguments),
            results=self.values(results),
            attributes=Attributes(count=1, values=self.pointers([scalar])),
        )  # fmt: skip

    def pointers(self, each):
        array = (c_void_p * len(each))(*(ctypes.addressof(one) for one in each))
        self.kept.append(array)
        return ctypes.addressof(array)

    def values(self, arrays):
        buffers = [Buffer(data=array.ctypes.data) for array in arrays]
        self.kept += buffers
        return Values(count=len(buffers), values=self.pointers(buffers))

    def run(self):
        return handler(ctypes.addressof(self.frame))


def test_a_call_computes_what_it_was_registered_for():
    spec, generator = DenseSpec(3, 5, 4), np.random.default_rng(0)
    x, w = generator.normal(size=(3, 5)), generator.normal(size=(5, 4))
    stream = engine.stream_of_kernel(
        "dense.dense_forward", spec, "float64", "float64", None, "float64"
    )
    places = np.array([1, 0, _engine.XLA_NONE, -1])  # the weights come first in this program
    for _ in range(2):  # the second time it is known already
        _engine.register_xla_call(
            77, stream.stream, stream.relocations, places, stream.workspace_bytes, 2
        )
    y = np.empty((3, 4))
    program = Program(77, (w, x), (y,))
    assert program.run() is None
    np.testing.assert_allclose(y, x @ w, 1e-12)


def test_a_key_that_nobody_registered_is_an_error():
    program = Program(78)
    assert program.run() == 1
    (code, told), = program.errors  # fmt: skip
    assert code == 5  # not found
    assert "clear JAX's compilation cache" in told


@pytest.mark.parametrize(("minor", "state"), [(1, 9), (3, 0)])
def test_it_says_which_interface_it_has(minor, state):
    program = Program(78, minor=minor)
    metadata = Metadata(size=ctypes.sizeof(Metadata), traits=9, state=9)
    extension = MetadataExtension(kind=1, metadata=ctypes.pointer(metadata))
    program.frame.extensions = ctypes.addressof(extension)
    assert program.run() is None
    assert (metadata.version.major, metadata.version.minor) == (0, minor)
    assert (metadata.traits, metadata.state) == (0, state)  # older ones have no state


def test_a_call_without_arrays_is_refused():
    stream = engine.stream_of_kernel("dense.dense_forward", DenseSpec(1, 1, 1), *["float32"] * 4)
    with pytest.raises(ValueError, match="register_xla_call: the call has no instructions or no"):
        _engine.register_xla_call(
            79, stream.stream, stream.relocations, np.empty(0, np.int64), 0, 1
        )
