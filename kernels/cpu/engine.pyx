# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled engine: kernels of every instruction set, and the threads that run instruction streams.

Built by setup.py as fastconv.backends.cython._engine. What a stream is:
kernels/cpu/instruction.h and fastconv.backends.compiled.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, intptr_t
from libc.string cimport memcpy

cdef extern from "instruction.h" nogil:
    enum: WORDS
    ctypedef void kernel_function(const int64_t *, int64_t, int64_t, int64_t)
    struct kernel_entry:
        const char *name
        kernel_function *float32
        kernel_function *float64
    struct relocation:
        int64_t instruction
        int64_t word
        int64_t argument
        int64_t offset

cdef extern from "thread_pool.h" nogil:
    int fastconv_run(
        const int64_t *stream, int64_t instructions, int64_t steps, int threads, int64_t *nanoseconds
    )
    double fastconv_barrier_nanoseconds(int threads, int64_t count)

cdef extern from "xla_ffi.h" nogil:
    enum: FASTCONV_XLA_NONE
    int fastconv_xla_register(
        int64_t key, const int64_t *stream, int64_t instructions, const int64_t *relocations,
        int64_t number_of_relocations, const int64_t *places, int64_t arrays,
        int64_t workspace_bytes, int threads
    )
    void *fastconv_xla_handler(void *frame)

cdef extern from "kernels.h" nogil:
    struct instruction_set "instruction_set":
        const char *name
        int vector_bytes
        int registers
        int masks
        const kernel_entry *kernels
        int (*works)()
    const instruction_set **fastconv_instruction_sets


def instruction_sets():
    """Return those that this processor has, best first: dicts of what a Target is made of."""
    cdef const instruction_set *found
    cdef int i = 0
    names = []
    while fastconv_instruction_sets[i] != NULL:
        found = fastconv_instruction_sets[i]
        if found.works():
            names.append({
                "name": found.name.decode(),
                "vector_bytes": found.vector_bytes,
                "registers": found.registers,
                "masks": bool(found.masks),
            })
        i += 1
    return names


def kernel_addresses(str name):
    """Return the addresses of one instruction set's kernels: {(kernel, dtype): address}."""
    cdef const kernel_entry *entry
    cdef int i = 0
    addresses = {}
    while fastconv_instruction_sets[i] != NULL:
        if fastconv_instruction_sets[i].name.decode() == name:
            entry = fastconv_instruction_sets[i].kernels
            while entry.name != NULL:
                kernel = entry.name.decode()
                addresses[kernel, "float32"] = <intptr_t> entry.float32
                addresses[kernel, "float64"] = <intptr_t> entry.float64
                entry += 1
        i += 1
    return addresses


def run_stream(const int64_t[:, ::1] stream, int64_t steps, int threads, nanoseconds=None):
    """Run a stream of whole addresses ``steps`` times; return the number of threads it ran on."""
    cdef int64_t *times = NULL
    cdef int64_t[::1] view
    cdef int ran
    if stream.shape[0] == 0:
        return 1
    if nanoseconds is not None:
        view = nanoseconds
        times = &view[0]
    with nogil:
        ran = fastconv_run(&stream[0, 0], stream.shape[0], steps, threads, times)
    return ran


# What other compiled code may cimport; _engine.pxd says how.


cdef int run_instructions(
    const int64_t *stream, int64_t count, int64_t steps, int threads
) noexcept nogil:
    return fastconv_run(stream, count, steps, threads, NULL)


cdef void relocate(
    int64_t *stream,
    const int64_t *relocations,
    int64_t number_of_relocations,
    void *const *arrays,
    void *workspace,
) noexcept nogil:
    cdef const relocation *each = <const relocation *> relocations
    cdef intptr_t address
    cdef int64_t i
    for i in range(number_of_relocations):
        if each.argument >= 0:
            address = <intptr_t> arrays[each.argument]
        else:
            address = (<intptr_t> workspace + 63) // 64 * 64  # it begins at a cache line
        stream[each.instruction * WORDS + each.word] = address + each.offset if address else 0
        each += 1


cdef int run_kernel(
    int64_t *stream,
    int64_t count,
    const int64_t *relocations,
    int64_t number_of_relocations,
    void *const *arrays,
    void *workspace,
    int threads,
) noexcept nogil:
    relocate(stream, relocations, number_of_relocations, arrays, workspace)
    return fastconv_run(stream, count, 1, threads, NULL)


def run_call(
    const int64_t[:, ::1] stream, const int64_t[:, ::1] relocations, tuple arrays, int threads
):
    """Run a stream once, with the addresses of ``arrays`` filled in.

    ``relocations`` has (instruction, word, argument, byte offset) for each address; argument -1 is the
    workspace, the last array.
    """
    cdef Py_ssize_t count = stream.shape[0], last = len(arrays) - 1, argument
    cdef void *address[16]
    cdef int64_t *copy
    cdef Py_buffer buffer
    if count == 0:
        return
    if not 0 <= last < 16:
        raise ValueError(f"run_call: {len(arrays)} arrays; expected 1 to 16")
    for argument in range(last + 1):
        array = arrays[argument]
        if array is None:
            address[argument] = NULL
            continue
        # The caller holds the arrays, so the address outlives the buffer.
        PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
        address[argument] = buffer.buf
        PyBuffer_Release(&buffer)
    copy = <int64_t *> PyMem_Malloc(count * WORDS * sizeof(int64_t))
    if copy == NULL:
        raise MemoryError
    try:
        memcpy(copy, &stream[0, 0], count * WORDS * sizeof(int64_t))
        if relocations.shape[0]:
            relocate(copy, &relocations[0, 0], relocations.shape[0], address, address[last])
        with nogil:
            fastconv_run(copy, count, 1, threads, NULL)
    finally:
        PyMem_Free(copy)


def barrier_nanoseconds(int threads, int64_t count):
    """Return the mean time of one barrier of a pool, in nanoseconds."""
    cdef double result
    with nogil:
        result = fastconv_barrier_nanoseconds(threads, count)
    return result


XLA_NONE = FASTCONV_XLA_NONE


def xla_handler():
    """Return the address of the handler that XLA calls; see kernels/cpu/xla_ffi.h."""
    return <intptr_t> &fastconv_xla_handler


def register_xla_call(
    int64_t key, const int64_t[:, ::1] stream, const int64_t[:, ::1] relocations,
    const int64_t[::1] places, int64_t workspace_bytes, int threads
):
    """Remember a kernel call for the handler, under a key and for the rest of the process."""
    cdef const int64_t *first = &relocations[0, 0] if relocations.shape[0] else NULL
    if stream.shape[0] == 0 or places.shape[0] == 0:
        raise ValueError("register_xla_call: the call has no instructions or no arrays")
    if not fastconv_xla_register(
        key, &stream[0, 0], stream.shape[0], first, relocations.shape[0], &places[0],
        places.shape[0], workspace_bytes, threads
    ):
        raise MemoryError
