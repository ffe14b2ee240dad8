# cython: language_level=3
"""What compiled code may cimport from the engine: kernels without Python and without the GIL.

A kernel call is a stream of some instructions of 64 int64, and relocations: where addresses belong in it.
Python makes both, once for each spec, with ``fastconv.backends.cython.engine.stream_of_kernel``; what
is here fills in the addresses and runs the stream. ``docs/cimport.md`` has an example.
"""

from libc.stdint cimport int64_t

# Fill in addresses, and run the stream of one kernel once; the number of threads that it ran on.
#
# `stream` and `relocations` are those of `stream_of_kernel`, `count` and `number_of_relocations` their
# lengths.
# `arrays` holds the addresses of the kernel's arrays in the order of the contract (docs/kernels.md),
# NULL where the kernel was made for None. `workspace` has at least `workspace_bytes` bytes; it may be
# NULL where that is 0. The stream is written to: each thread that calls kernels needs a copy of its own.
cdef int run_kernel(
    int64_t *stream,
    int64_t count,
    const int64_t *relocations,
    int64_t number_of_relocations,
    void *const *arrays,
    void *workspace,
    int threads,
) noexcept nogil

# Fill in addresses only. They stay, so that a stream may be run many times; the instructions of several
# kernels, one behind the other, are a stream too.
cdef void relocate(
    int64_t *stream,
    const int64_t *relocations,
    int64_t number_of_relocations,
    void *const *arrays,
    void *workspace,
) noexcept nogil

# Run a stream with all addresses filled in, `steps` times over, on up to `threads` threads; the caller is
# one of them. The number of threads that it ran on.
cdef int run_instructions(const int64_t *stream, int64_t count, int64_t steps, int threads) noexcept nogil
