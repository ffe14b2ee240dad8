# Arrays of other libraries by DLPack's exchange of C structures (DLPack 1.3): no Python is run, no
# capsule made. The structures are those of the standard, and so are their words in brackets.

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
)
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free

cdef enum:
    MOST_TENSOR_AXES = 8
    HOST = 1          # kDLCPU
    PINNED_HOST = 3   # kDLCUDAHost
    READ_ONLY = 1     # DLPACK_FLAG_BITMASK_READ_ONLY

cdef struct Tensor:  # DLTensor
    void *data
    int32_t device_type
    int32_t device
    int32_t axes
    uint8_t code
    uint8_t bits
    uint16_t lanes
    int64_t *shape
    int64_t *strides  # in elements
    uint64_t offset   # in bytes

cdef struct ManagedTensor:  # DLManagedTensorVersioned
    uint32_t major
    uint32_t minor
    void *context
    void (*delete)(ManagedTensor *) noexcept
    uint64_t flags
    Tensor tensor

cdef struct ExchangeApi:  # DLPackExchangeAPI
    uint32_t major
    uint32_t minor
    void *older
    void *allocate
    int (*export)(PyObject *, ManagedTensor **) except -1  # managed_tensor_from_py_object_no_sync
    int (*make)(ManagedTensor *, void **) except -1  # managed_tensor_to_py_object_no_sync

cdef struct LentArray:  # one of NumPy, that an array of another library looks into
    ManagedTensor managed
    int64_t shape[MOST_TENSOR_AXES]
    int64_t strides[MOST_TENSOR_AXES]
    Py_buffer buffer


cdef const char *format_of(const Tensor *tensor) noexcept:
    """The letter of struct for the elements of a tensor; NULL where there is none here."""
    if tensor.lanes == 1:
        if tensor.code == 2 and tensor.bits == 32:  # kDLFloat
            return "f"
        if tensor.code == 2 and tensor.bits == 64:
            return "d"
        if tensor.code == 0 and tensor.bits == 32:  # kDLInt
            return "i"
        if tensor.code == 0 and tensor.bits == 64:
            return "q"
        if tensor.code == 1 and tensor.bits == 8:  # kDLUInt
            return "B"
    return NULL


cdef class HostTensor:
    """Memory of another library's array, as long as somebody looks into it."""

    cdef ManagedTensor *managed
    cdef Py_ssize_t shape[MOST_TENSOR_AXES]
    cdef Py_ssize_t strides[MOST_TENSOR_AXES]

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef Tensor *tensor = &self.managed.tensor
        cdef Py_ssize_t size = tensor.bits // 8
        cdef int axis
        if flags & PyBUF_WRITABLE and self.managed.flags & READ_ONLY:
            raise BufferError("the array is read-only")
        buffer.len = buffer.itemsize = size
        for axis in range(tensor.axes):
            self.shape[axis] = tensor.shape[axis]
            self.strides[axis] = tensor.strides[axis] * size
            buffer.len *= self.shape[axis]
        buffer.buf = <char *> tensor.data + tensor.offset
        buffer.format = <char *> format_of(tensor)
        buffer.ndim = tensor.axes
        buffer.shape, buffer.strides, buffer.suboffsets = self.shape, self.strides, NULL
        buffer.readonly = self.managed.flags & READ_ONLY
        buffer.internal = NULL
        buffer.obj = self

    def __dealloc__(self):
        if self.managed != NULL and self.managed.delete != NULL:
            self.managed.delete(self.managed)


cdef ExchangeApi *exchange_api_of(kind) except? NULL:
    """What a library exchanges arrays of a type by; NULL where it does not."""
    cdef ExchangeApi *api
    capsule = getattr(kind, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return NULL
    api = <ExchangeApi *> PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
    return api if api.major == 1 else NULL


def host_tensor(value):
    """Return memory of the host that another library's array lies in, for ``numpy.asarray``.

    None where the library does not exchange structures, or the array is none that can be looked into:
    on another device, of another kind of numbers, empty, or one that wants a gradient.
    """
    cdef Tensor *tensor
    cdef ExchangeApi *api = exchange_api_of(type(value))
    if api == NULL or getattr(value, "requires_grad", False):
        return None
    cdef HostTensor host = HostTensor.__new__(HostTensor)
    api.export(<PyObject *> value, &host.managed)
    tensor = &host.managed.tensor
    if tensor.device_type not in (HOST, PINNED_HOST) or tensor.axes > MOST_TENSOR_AXES:
        return None
    if tensor.data == NULL or format_of(tensor) == NULL:
        return None
    if tensor.axes > 0 and (tensor.shape == NULL or tensor.strides == NULL):
        return None
    return host


cdef void give_back(ManagedTensor *managed) noexcept with gil:
    """Let go of an array that nobody looks into any more."""
    cdef LentArray *lent = <LentArray *> managed.context
    PyBuffer_Release(&lent.buffer)
    free(lent)


cdef bint set_number_type(Tensor *tensor, const char *letter) noexcept:
    """Set the kind of numbers by struct's letter; whether there is one."""
    if letter[0] == b"f" or letter[0] == b"d":
        tensor.code = 2  # kDLFloat
    elif letter[0] == b"i" or letter[0] == b"l" or letter[0] == b"q":
        tensor.code = 0  # kDLInt
    elif letter[0] == b"B":
        tensor.code = 1  # kDLUInt
    else:
        return False
    return letter[1] == 0


def tensor_of(array, kind):
    """Return an array of the host as one of another library's type, a view of it.

    None where the library does not exchange structures, or has no such kind of numbers.

    Parameters
    ----------
    array
        NumPy's, in C's order, and writable.
    kind
        The type.
    """
    cdef ExchangeApi *api = exchange_api_of(kind)
    cdef LentArray *lent
    cdef Tensor *tensor
    cdef void *made = NULL
    cdef int axis
    if api == NULL or api.make == NULL or array.ndim > MOST_TENSOR_AXES:
        return None
    lent = <LentArray *> calloc(1, sizeof(LentArray))
    if lent == NULL:
        raise MemoryError
    try:
        PyObject_GetBuffer(
            array, &lent.buffer, PyBUF_FORMAT | PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS
        )
    except:
        free(lent)
        raise
    lent.managed.major, lent.managed.context, lent.managed.delete = 1, lent, give_back
    tensor = &lent.managed.tensor
    if not set_number_type(tensor, lent.buffer.format):
        give_back(&lent.managed)
        return None
    tensor.bits, tensor.lanes = 8 * lent.buffer.itemsize, 1
    tensor.data, tensor.device_type, tensor.axes = lent.buffer.buf, HOST, lent.buffer.ndim
    tensor.shape, tensor.strides = lent.shape, lent.strides
    for axis in range(lent.buffer.ndim):
        lent.shape[axis] = lent.buffer.shape[axis]
        lent.strides[axis] = lent.buffer.strides[axis] // lent.buffer.itemsize
    # From here on the structure is the library's. Should it fail, a little memory is lost: the
    # standard does not say whose it is then.
    api.make(&lent.managed, &made)
    result = <object> <PyObject *> made
    Py_DECREF(result)  # it came with a reference
    return result
