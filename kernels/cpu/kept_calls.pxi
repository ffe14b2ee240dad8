# Public functions that are called again with arrays like those of an earlier call: the same shapes and
# numbers, the same options, the same choice of a backend. All that was checked and chosen then holds, so
# that the kernel is run at once. Arrays are NumPy's, or of a library with DLPack, in C's order.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.contextvars cimport get_value
from cpython.pycapsule cimport PyCapsule_IsValid
from libc.stdlib cimport getenv
from libc.stdint cimport uintptr_t

cdef enum:
    MOST_INPUTS = 6
    MOST_WORDS = MOST_INPUTS * (MOST_TENSOR_AXES + 2)
    MOST_CALLS = 512         # that are kept; then all are forgotten
    SMALL_WORKSPACE = 16384  # bytes of the stack

cdef struct Operand:  # an array, as long as somebody looks into it
    char *data
    int64_t itemsize
    int64_t axes
    int64_t shape[MOST_TENSOR_AXES]
    Py_buffer buffer
    ManagedTensor *managed
    bint is_lent  # the tensor is a capsule's, which deletes it


cdef bint take_array(object array, bint writable, Operand *operand) except -1:
    """Look into an array of NumPy, if it lies as kernels take it."""
    cdef int axis
    try:
        PyObject_GetBuffer(
            array, &operand.buffer,
            PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0),
        )
    except (BufferError, ValueError):
        return False
    operand.managed = NULL
    operand.data, operand.itemsize = <char *> operand.buffer.buf, operand.buffer.itemsize
    operand.axes = operand.buffer.ndim
    cdef const char *letter = operand.buffer.format
    if (
        operand.axes > MOST_TENSOR_AXES or letter[1] != 0 or (letter[0] != b"f" and letter[0] != b"d")
        or <uintptr_t> operand.data % <uintptr_t> operand.itemsize
    ):
        PyBuffer_Release(&operand.buffer)
        return False
    for axis in range(<int> operand.axes):
        operand.shape[axis] = operand.buffer.shape[axis]
    return True


cdef bint take_tensor(object tensor, bint writable, Operand *operand) except -1:
    """Look into an array of a library that exchanges structures, if it lies as kernels take it."""
    cdef ExchangeApi *api = exchange_api_of(type(tensor))
    cdef ManagedTensor *managed = NULL
    if api == NULL or getattr(tensor, "requires_grad", False):
        return False
    try:
        api.export(<PyObject *> tensor, &managed)
    except (BufferError, RuntimeError, TypeError, ValueError):
        return False
    if not fill_operand(managed, writable, operand):
        if managed.delete != NULL:
            managed.delete(managed)
        return False
    return True


cdef object take_capsule(object array, bint writable, Operand *operand):
    """Look into an array of the host by a capsule, which is returned; None if that is not possible."""
    cdef ManagedTensor *managed
    try:
        if int(array.__dlpack_device__()[0]) not in (HOST, PINNED_HOST):
            return None
        capsule = array.__dlpack__(max_version=(1, 0))
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return None  # what is wrong is said where it is taken the slower way
    if not PyCapsule_IsValid(capsule, "dltensor_versioned"):
        return None
    managed = <ManagedTensor *> PyCapsule_GetPointer(capsule, "dltensor_versioned")
    if managed.major != 1 or not fill_operand(managed, writable, operand):
        return None
    operand.is_lent = True
    return capsule


cdef bint fill_operand(ManagedTensor *managed, bint writable, Operand *operand) noexcept:
    """Whether a tensor lies as kernels take it."""
    cdef int64_t step = 1
    cdef int axis
    cdef Tensor *found = &managed.tensor
    cdef bint fits = (
        found.device_type in (HOST, PINNED_HOST) and found.axes <= MOST_TENSOR_AXES
        and found.data != NULL and found.code == 2 and found.lanes == 1
        and found.bits in (32, 64) and not (writable and managed.flags & READ_ONLY)
        and (found.axes == 0 or found.shape != NULL)
    )
    if fits:
        operand.managed, operand.axes = managed, found.axes
        operand.itemsize, operand.data = found.bits // 8, <char *> found.data + found.offset
        fits = <uintptr_t> operand.data % <uintptr_t> operand.itemsize == 0
        for axis in range(found.axes - 1, -1, -1):
            operand.shape[axis] = found.shape[axis]
            fits = fits and (found.strides == NULL or found.strides[axis] == step)
            step *= found.shape[axis]
    operand.is_lent = False
    return fits


cdef void let_go(Operand *operand) noexcept:
    if operand.managed == NULL:
        PyBuffer_Release(&operand.buffer)
    elif operand.is_lent:
        return
    elif operand.managed.delete != NULL:
        operand.managed.delete(operand.managed)


cdef int64_t bytes_of(const Operand *operand) noexcept:
    cdef int64_t size = operand.itemsize
    cdef int axis
    for axis in range(<int> operand.axes):
        size *= operand.shape[axis]
    return size


cdef bint is_plain(object value) noexcept:
    """Whether an option is made of ints, strings and tuples only: those that are equal are the same."""
    kind = type(value)
    if kind is tuple:
        for each in <tuple> value:
            if not is_plain(each):
                return False
        return True
    return kind is int or kind is str or value is None


cdef class KeptCall:
    """One of them: what runs it, and what its result is."""

    cdef CallStream stream
    cdef int64_t workspace_bytes
    cdef object shape, dtype


cdef class CallKey:
    """What a call is found by; ``dtype`` is the letter of its numbers."""

    cdef object parts
    cdef readonly str dtype


cdef class Operands:
    """The arrays of a call, and what it is found by: their sizes."""

    cdef Operand each[MOST_INPUTS + 1]
    cdef bint is_there[MOST_INPUTS + 1]
    cdef object sizes
    cdef object capsules  # of the arrays that have no other way, or None

    cdef bint take(self, tuple arguments, int inputs) except -1:
        """Look into arguments; whether all can be taken as they lie."""
        cdef int64_t words[MOST_WORDS]
        cdef int number, axis, count = 0
        cdef Operand *operand
        cdef Py_ssize_t given = len(arguments)
        if not 0 < given <= inputs or inputs > MOST_INPUTS:
            return False
        for number in range(<int> given):
            if not self.look(number, arguments[number], False):
                return False
            operand = &self.each[number]
            words[count] = operand.axes if self.is_there[number] else -1
            count += 1
            if self.is_there[number]:
                words[count] = operand.itemsize
                count += 1
                for axis in range(<int> operand.axes):
                    words[count] = operand.shape[axis]
                    count += 1
        self.sizes = PyBytes_FromStringAndSize(<char *> words, count * sizeof(int64_t))
        return True

    cdef bint look(self, int number, object array, bint writable) except -1:
        if array is None:
            return number > 0
        cdef Operand *operand = &self.each[number]
        if type(array) is _numpy_array:
            self.is_there[number] = take_array(array, writable, operand)
        elif hasattr(type(array), "__dlpack_c_exchange_api__"):
            self.is_there[number] = take_tensor(array, writable, operand)
        else:
            capsule = take_capsule(array, writable, operand)
            self.is_there[number] = capsule is not None
            self.capsules = (self.capsules, capsule)
        return self.is_there[number]

    cdef bint meets(self, int number) noexcept:
        """Whether an array has memory in common with one before it."""
        cdef char *first = self.each[number].data
        cdef char *last = first + bytes_of(&self.each[number])
        cdef int other
        for other in range(number):
            if self.is_there[other] and self.each[other].data < last:
                if first < self.each[other].data + bytes_of(&self.each[other]):
                    return True
        return False

    def __dealloc__(self):
        cdef int number
        for number in range(MOST_INPUTS + 1):
            if self.is_there[number]:
                let_go(&self.each[number])


cdef object _numpy_array = None


cdef class KeptCalls:
    """Calls of one public function that takes some arrays and plain options, and makes one array.

    Parameters
    ----------
    inputs
        How many arrays it takes, in the order of the kernel; all but the first may be None.
    chosen
        The context variable of the backend that was chosen.
    empty
        Makes an array of NumPy of a shape and a dtype.
    threads
        Gives the number of threads of a call.
    take, give_back
        Gives an array of bytes of a size, and takes it back.
    convert
        Makes an array of the library that another one is of, of one of NumPy's.
    """

    cdef int inputs
    cdef dict calls
    cdef object chosen, empty, threads, take, give_back, convert

    def __init__(self, int inputs, chosen, empty, threads, take, give_back, convert):
        global _numpy_array
        self.inputs, self.chosen, self.empty, self.threads = inputs, chosen, empty, threads
        self.take, self.give_back, self.convert = take, give_back, convert
        self.calls = {}
        _numpy_array = type(empty(0, "f"))

    cdef object parts(self, Operands operands, dict options):
        """What a call depends on; None where it depends on what may change."""
        cdef const char *variable
        items = []
        for name, value in options.items():
            if name == "out":
                continue
            if not is_plain(value):
                return None
            items.append((name, value))
        chosen = get_value(self.chosen, None)
        if chosen is None:
            variable = getenv("FASTCONV_BACKEND")
            chosen = b"" if variable == NULL else <bytes> variable
        return operands.sizes, tuple(items), chosen

    def key_of(self, tuple arguments, dict options):
        """Return what a call is found by; None where it is none that can be kept."""
        cdef Operands operands = Operands()
        cdef CallKey key = CallKey()
        if not operands.take(arguments, self.inputs):
            return None
        key.parts = self.parts(operands, options)
        key.dtype = "f" if operands.each[0].itemsize == 4 else "d"
        return None if key.parts is None else key

    def keep(self, CallKey key, CallStream stream, int64_t workspace_bytes, tuple shape):
        """Keep a call, which has been made once, for the next ones like it."""
        cdef KeptCall kept = KeptCall()
        if len(self.calls) >= MOST_CALLS:
            self.calls.clear()
        kept.stream, kept.workspace_bytes = stream, workspace_bytes
        kept.shape, kept.dtype = shape, key.dtype
        self.calls[key.parts] = kept

    def run(self, tuple arguments, dict options):
        """Make a call like one that is kept and return its result; None where there is none."""
        cdef void *address[MOST_CALL_ARRAYS]
        cdef Operands operands
        cdef KeptCall kept
        cdef Operand *result
        cdef int number, last = self.inputs
        cdef char workspace[SMALL_WORKSPACE]
        cdef Py_buffer buffer
        operands = Operands()
        if not operands.take(arguments, last):
            return None
        key = self.parts(operands, options)
        kept = None if key is None else self.calls.get(key)
        if kept is None:
            return None
        out = options.get("out") if options else None
        if out is not None and type(out) is not _numpy_array:
            return None  # which library's array the result is follows from the first argument
        made = self.empty(kept.shape, kept.dtype) if out is None else out
        if not operands.look(last, made, True):
            return None
        result = &operands.each[last]
        if out is not None and not self.fits(kept, result, operands.each[0].itemsize):
            return None
        if out is not None and operands.meets(last):
            return None
        for number in range(last + 1):
            address[number] = operands.each[number].data if operands.is_there[number] else NULL
        threads = self.threads() if kept.stream.most_threads > 1 else 1
        if kept.workspace_bytes <= SMALL_WORKSPACE:
            address[last + 1] = workspace
            kept.stream.run_at(address, last + 1, threads)
        else:
            memory = self.take(kept.workspace_bytes)
            PyObject_GetBuffer(memory, &buffer, PyBUF_SIMPLE)
            address[last + 1] = buffer.buf
            PyBuffer_Release(&buffer)  # the array outlives the call
            kept.stream.run_at(address, last + 1, threads)
            self.give_back(memory)
        if out is None and type(arguments[0]) is not _numpy_array:
            return self.convert(made, arguments[0])
        return made

    cdef bint fits(self, KeptCall kept, const Operand *result, int64_t itemsize) except -1:
        """Whether an array has the shape and the numbers of a result."""
        cdef int axis
        if result.itemsize != itemsize or result.axes != len(kept.shape):
            return False
        for axis in range(<int> result.axes):
            if result.shape[axis] != kept.shape[axis]:
                return False
        return True
