# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
"""The compiled engine: kernels of every instruction set, and the threads that run instruction streams.

Nothing here is shared between threads but what C keeps behind atomic words (plans.c, xla_ffi.c) or a
mutex (thread_pool.c), dictionaries of kept calls, which lock themselves, and what c_api and KeptCalls
set, the same each time: the GIL is not relied on.

Built by setup.py as fastconv.backends.cython._engine. What a stream is:
kernels/cpu/instruction.h and fastconv.backends.compiled.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_SetInterrupt
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, intptr_t
from libc.string cimport memcpy

cdef extern from "instruction.h" nogil:
    enum: WORDS
    ctypedef void kernel_function(const int64_t *, int64_t, int64_t, int64_t)
    struct kernel_entry:
        const char *name
        kernel_function *float32
        kernel_function *float64
    struct instruction_head:
        int64_t max_threads
    struct relocation:
        int64_t instruction
        int64_t word
        int64_t argument
        int64_t offset

cdef extern from "plans.h" nogil:
    enum: FASTCONV_OK, FASTCONV_INVALID_ARGUMENT, FASTCONV_OUT_OF_MEMORY, FASTCONV_UNEXPECTED
    enum: MOST_ARRAYS, MOST_AXES
    struct fastconv_plan:
        pass
    struct fastconv_api:
        pass
    struct plan_array:
        const char *name
        const char *why
        int64_t is_needed
        int64_t axes
        int64_t *sizes
    const fastconv_api fastconv_c_api
    int (*fastconv_plan_maker)(int64_t, const int64_t *, int64_t, const fastconv_plan **) noexcept
    const fastconv_plan *fastconv_keep_plan(
        int64_t function, const int64_t *words, int64_t count, const char *owner,
        const plan_array *arrays, int64_t number_of_arrays,
        const int64_t *stream, int64_t instructions,
        const relocation *relocations, int64_t number_of_relocations, int64_t workspace_bytes
    )
    void fastconv_say(const char *message)
    void fastconv_relocate(
        int64_t *stream, const relocation *relocations, int64_t count, void *const *arrays, void *workspace
    )
    int64_t fastconv_plan_of(int64_t function, const int64_t *words, int64_t count)
    int64_t fastconv_plan_size(int64_t plan, int64_t array, int64_t axis)
    int64_t fastconv_run_plan(int64_t plan, void *const *arrays)
    void fastconv_set_plan_threads(int64_t threads)
    int64_t fastconv_check_shape(
        int64_t plan, int64_t array, const int64_t *sizes, int64_t axes, const int64_t *wanted,
        int64_t wanted_axes
    )
    int64_t fastconv_check_range(
        int64_t plan, int64_t array, const void *integers, int64_t bytes_of_each, int64_t end
    )
    int64_t fastconv_error_length()
    int64_t fastconv_copy_error(char *to)

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
    const instruction_set **fastconv_bf16_sets
    int fastconv_halves_wide_vectors()


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


def halves_wide_vectors():
    """Return whether this processor does a vector of 64 bytes as two halves, one after the other."""
    return bool(fastconv_halves_wide_vectors())


def bf16_sets():
    """Return names of what multiplies factors of bf16 on this processor, best first.

    They go with AVX-512; "amx" is there only where the system lets the process use the tiles.
    """
    cdef int i = 0
    names = []
    while fastconv_bf16_sets[i] != NULL:
        if fastconv_bf16_sets[i].works():
            names.append(fastconv_bf16_sets[i].name.decode())
        i += 1
    return names


def kernel_addresses(str name):
    """Return the addresses of one set's kernels: {(kernel, dtype): address}.

    Kernels of bf16, which are for float32 arrays alone, have no others.
    """
    addresses = {}
    add_addresses(<const instruction_set **> fastconv_instruction_sets, name, addresses)
    add_addresses(<const instruction_set **> fastconv_bf16_sets, name, addresses)
    return addresses


cdef add_addresses(const instruction_set **sets, str name, dict addresses):
    while sets[0] != NULL and sets[0].name.decode() != name:
        sets += 1
    if sets[0] == NULL:
        return
    cdef const kernel_entry *entry = sets[0].kernels
    while entry.name != NULL:
        kernel = entry.name.decode()
        for dtype, address in (
            ("float32", <intptr_t> entry.float32), ("float64", <intptr_t> entry.float64)
        ):
            if address:
                addresses[kernel, dtype] = address
        entry += 1


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
    fastconv_relocate(
        stream, <const relocation *> relocations, number_of_relocations, arrays, workspace
    )


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


cdef enum:
    MOST_CALL_ARRAYS = 16


cdef inline int64_t max_threads_of(const int64_t *instruction) noexcept:
    return (<const instruction_head *> instruction).max_threads


cdef class CallStream:
    """The instruction stream of a kernel call, without the addresses of its arrays.

    ``relocations`` has (instruction, word, argument, byte offset) for each address; argument -1 is the
    workspace, the last array. ``memory`` is what the stream has addresses of, kept as long as it.
    """

    # Looked into once: that takes longer than a small kernel.
    cdef const int64_t[:, ::1] stream
    cdef const int64_t[:, ::1] relocations
    cdef readonly int64_t most_threads  # that find work in any instruction
    cdef object memory

    def __init__(
        self, const int64_t[:, ::1] stream, const int64_t[:, ::1] relocations, memory=None
    ):
        cdef Py_ssize_t i
        self.memory = memory
        self.stream, self.relocations, self.most_threads = stream, relocations, 1
        for i in range(stream.shape[0]):
            self.most_threads = max(self.most_threads, max_threads_of(&stream[i, 0]))

    def run(self, tuple arrays, int threads):
        """Run it once, with the addresses of ``arrays`` filled in."""
        cdef Py_ssize_t last = len(arrays) - 1, argument
        cdef void *address[MOST_CALL_ARRAYS]
        cdef Py_buffer buffer
        if self.stream.shape[0] == 0:
            return
        if not 0 <= last < MOST_CALL_ARRAYS:
            raise ValueError(f"run_call: {len(arrays)} arrays; expected 1 to {MOST_CALL_ARRAYS}")
        for argument in range(last + 1):
            array = arrays[argument]
            if array is None:
                address[argument] = NULL
                continue
            # The caller holds the arrays, so the address outlives the buffer.
            PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
            address[argument] = buffer.buf
            PyBuffer_Release(&buffer)
        self.run_at(address, last, threads)

    cdef int run_at(self, void *const *address, Py_ssize_t last, int threads) except -1:
        """Run it with arrays at some addresses; number ``last`` is the workspace."""
        cdef Py_ssize_t count = self.stream.shape[0]
        cdef int64_t *copy
        if count == 0:
            return 0
        copy = <int64_t *> PyMem_Malloc(count * WORDS * sizeof(int64_t))
        if copy == NULL:
            raise MemoryError
        try:
            memcpy(copy, &self.stream[0, 0], count * WORDS * sizeof(int64_t))
            if self.relocations.shape[0]:
                relocate(
                    copy, &self.relocations[0, 0], self.relocations.shape[0], address, address[last]
                )
            with nogil:
                fastconv_run(copy, count, 1, threads, NULL)
        finally:
            PyMem_Free(copy)
        return 0


def run_call(
    const int64_t[:, ::1] stream, const int64_t[:, ::1] relocations, tuple arrays, int threads
):
    """Run a stream once, with the addresses of ``arrays`` filled in: see :class:`CallStream`."""
    CallStream(stream, relocations).run(arrays, threads)


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
# The C interface of fastconv/include/fastconv.h.

cdef object _make_plan = None
cdef list _capsule_names = []  # a capsule keeps the address of its name


cdef int make_plan(
    int64_t function, const int64_t *words, int64_t count, const fastconv_plan **plan
) noexcept with gil:
    """Let Python make the plan of a description, on whichever thread asks for it."""
    cdef int64_t i
    try:
        plan[0] = keep_plan(
            function, words, count, _make_plan(function, tuple([words[i] for i in range(count)]))
        )
        return FASTCONV_OK
    except MemoryError as fault:
        say(fault)
        return FASTCONV_OUT_OF_MEMORY
    except (OverflowError, TypeError, ValueError) as fault:
        say(fault)
        return FASTCONV_INVALID_ARGUMENT
    except KeyboardInterrupt as fault:
        PyErr_SetInterrupt()  # it is for whoever runs Python next
        say(fault)
    except BaseException as fault:
        say(fault)
    return FASTCONV_UNEXPECTED


cdef void say(fault) noexcept:
    text = " ".join(str(fault).split()) or type(fault).__name__
    fastconv_say(text.encode("ascii", "backslashreplace"))


cdef const fastconv_plan *keep_plan(
    int64_t function, const int64_t *words, int64_t count, made
) except NULL:
    """Copy what Python made into memory that C owns."""
    cdef plan_array arrays[MOST_ARRAYS]
    cdef const int64_t[:, ::1] stream = made.stream
    cdef const int64_t[:, ::1] relocations = made.relocations
    cdef const fastconv_plan *kept
    cdef int64_t number = 0, axis
    texts = [(each.name.encode(), each.why.encode()) for each in made.arrays]
    for each, (name, why) in zip(made.arrays, texts, strict=True):
        if number >= MOST_ARRAYS or len(each.shape) > MOST_AXES:
            raise ValueError(f"{made.owner}: too many arrays, or too many axes in {each.name}")
        arrays[number].name = <const char *> name
        arrays[number].why = <const char *> why
        arrays[number].is_needed = each.is_needed
        arrays[number].axes = len(each.shape)
        for axis in range(MOST_AXES):
            arrays[number].sizes[axis] = each.shape[axis] if axis < len(each.shape) else 0
        number += 1
    owner = made.owner.encode()
    kept = fastconv_keep_plan(
        function, words, count, owner, arrays, number,
        &stream[0, 0] if stream.shape[0] else NULL, stream.shape[0],
        <const relocation *> (&relocations[0, 0] if relocations.shape[0] else NULL),
        relocations.shape[0], made.workspace_bytes,
    )
    if kept == NULL:
        raise MemoryError(f"{made.owner}: no memory for a plan")
    return kept


def c_api(make, str name):
    """Return the table of the C interface in a capsule of a name; ``make`` makes its plans.

    ``make`` takes the number of a function and the words of a description. What it returns has
    ``owner``, ``arrays``, ``stream``, ``relocations`` and ``workspace_bytes``; an array has ``name``,
    ``why``, ``is_needed`` and ``shape``.
    """
    global _make_plan, fastconv_plan_maker
    cdef bytes encoded = name.encode()
    _capsule_names.append(encoded)
    _make_plan = make
    fastconv_plan_maker = make_plan
    return PyCapsule_New(<void *> &fastconv_c_api, <const char *> encoded, NULL)


def set_plan_threads(int64_t threads):
    """Set on how many threads ``fastconv_run_plan`` runs."""
    fastconv_set_plan_threads(threads)


def plan_functions():
    """Return the addresses of the functions that compiled Python code calls, by their names."""
    return {
        "fastconv_plan_of": <intptr_t> &fastconv_plan_of,
        "fastconv_plan_size": <intptr_t> &fastconv_plan_size,
        "fastconv_run_plan": <intptr_t> &fastconv_run_plan,
        "fastconv_check_shape": <intptr_t> &fastconv_check_shape,
        "fastconv_check_range": <intptr_t> &fastconv_check_range,
        "fastconv_error_length": <intptr_t> &fastconv_error_length,
        "fastconv_copy_error": <intptr_t> &fastconv_copy_error,
    }


include "dlpack.pxi"
include "kept_calls.pxi"
