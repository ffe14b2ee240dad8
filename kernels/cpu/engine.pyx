# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled engine: kernels of every instruction set, and the threads that run programs of them.

Built by setup.py as fastconv.backends.cython._engine. What a program is: kernels/cpu/record.h and
fastconv.backends.compiled.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, intptr_t
from libc.string cimport memcpy

cdef extern from "record.h" nogil:
    enum: WORDS
    ctypedef void kernel_function(const int64_t *, int64_t, int64_t, int64_t)
    struct kernel_entry:
        const char *name
        kernel_function *float32
        kernel_function *float64

cdef extern from "program.h" nogil:
    int fastconv_run(
        const int64_t *program, int64_t rows, int64_t steps, int threads, int64_t *nanoseconds
    )
    double fastconv_barrier_nanoseconds(int threads, int64_t count)

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


def run_program(const int64_t[:, ::1] program, int64_t steps, int threads, nanoseconds=None):
    """Run a program of whole addresses ``steps`` times; return the number of threads it ran on."""
    cdef int64_t *times = NULL
    cdef int64_t[::1] view
    cdef int ran
    if program.shape[0] == 0:
        return 1
    if nanoseconds is not None:
        view = nanoseconds
        times = &view[0]
    with nogil:
        ran = fastconv_run(&program[0, 0], program.shape[0], steps, threads, times)
    return ran


# What other compiled code may cimport; _engine.pxd says how.


cdef int run_rows(
    const int64_t *rows, int64_t count, int64_t steps, int threads
) noexcept nogil:
    return fastconv_run(rows, count, steps, threads, NULL)


cdef void place_addresses(
    int64_t *rows,
    const int64_t *places,
    int64_t number_of_places,
    void *const *arrays,
    void *workspace,
) noexcept nogil:
    cdef const int64_t *place = places
    cdef intptr_t address
    cdef int64_t i
    for i in range(number_of_places):
        if place[2] >= 0:
            address = <intptr_t> arrays[place[2]]
        else:
            address = (<intptr_t> workspace + 63) // 64 * 64  # it begins at a cache line
        rows[place[0] * WORDS + place[1]] = address + place[3] if address else 0
        place += 4


cdef int run_kernel(
    int64_t *rows,
    int64_t count,
    const int64_t *places,
    int64_t number_of_places,
    void *const *arrays,
    void *workspace,
    int threads,
) noexcept nogil:
    place_addresses(rows, places, number_of_places, arrays, workspace)
    return fastconv_run(rows, count, 1, threads, NULL)


def run_call(
    const int64_t[:, ::1] rows, const int64_t[:, ::1] places, tuple arrays, int threads
):
    """Run rows once, with the addresses of ``arrays`` filled in.

    ``places`` has (row, word, argument, byte offset) for each address; argument -1 is the
    workspace, the last array.
    """
    cdef Py_ssize_t count = rows.shape[0], last = len(arrays) - 1, argument
    cdef void *address[16]
    cdef int64_t *program
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
    program = <int64_t *> PyMem_Malloc(count * WORDS * sizeof(int64_t))
    if program == NULL:
        raise MemoryError
    try:
        memcpy(program, &rows[0, 0], count * WORDS * sizeof(int64_t))
        if places.shape[0]:
            place_addresses(program, &places[0, 0], places.shape[0], address, address[last])
        with nogil:
            fastconv_run(program, count, 1, threads, NULL)
    finally:
        PyMem_Free(program)


def barrier_nanoseconds(int threads, int64_t count):
    """Return the mean time of one barrier of a team, in nanoseconds."""
    cdef double result
    with nogil:
        result = fastconv_barrier_nanoseconds(threads, count)
    return result
