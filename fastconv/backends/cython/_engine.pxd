# cython: language_level=3
"""What compiled code may cimport from the engine: kernels without Python and without the GIL.

A kernel call is some rows of 64 int64 and a list of the places where addresses belong in them.
Python makes both, once for each spec, with ``fastconv.backends.cython.engine.rows_of_kernel``; what
is here fills in the addresses and runs the rows. ``docs/cimport.md`` has an example.
"""

from libc.stdint cimport int64_t

# Fill in addresses, and run the rows of one kernel once; the number of threads that it ran on.
#
# `rows` and `places` are those of `rows_of_kernel`, `count` and `number_of_places` their lengths.
# `arrays` holds the addresses of the kernel's arrays in the order of the contract (docs/kernels.md),
# NULL where the kernel was made for None. `workspace` has at least `workspace_bytes` bytes; it may be
# NULL where that is 0. The rows are written to: each thread that calls kernels needs a copy of its own.
cdef int run_kernel(
    int64_t *rows,
    int64_t count,
    const int64_t *places,
    int64_t number_of_places,
    void *const *arrays,
    void *workspace,
    int threads,
) noexcept nogil

# Fill in addresses only. They stay, so that rows may be run many times, or be put together: rows of
# several kernels, one behind the other, are a program.
cdef void place_addresses(
    int64_t *rows,
    const int64_t *places,
    int64_t number_of_places,
    void *const *arrays,
    void *workspace,
) noexcept nogil

# Run rows with all addresses filled in, `steps` times over, on up to `threads` threads; the caller is
# one of them. The number of threads that it ran on.
cdef int run_rows(const int64_t *rows, int64_t count, int64_t steps, int threads) noexcept nogil
