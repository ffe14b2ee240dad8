# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Fully connected layers: typed entry points to the products of gemm.h.

Built by setup.py as fastconv.backends.cython._dense. Arrays are 2-D, C-contiguous and of one dtype;
nothing is checked and nothing is allocated.
"""

from libc.stddef cimport ptrdiff_t

cdef extern from "gemm.h" nogil:
    void gemm_float32(
        ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
        const float *a, ptrdiff_t a_row, ptrdiff_t a_step,
        const float *b, ptrdiff_t b_step,
        const float *start, float *c, ptrdiff_t c_row,
    )
    void gemm_float64(
        ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
        const double *a, ptrdiff_t a_row, ptrdiff_t a_step,
        const double *b, ptrdiff_t b_step,
        const double *start, double *c, ptrdiff_t c_row,
    )
    void gemm_dots_float32(
        ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
        const float *a, ptrdiff_t a_row, const float *b, ptrdiff_t b_row,
        float *c, ptrdiff_t c_row,
    )
    void gemm_dots_float64(
        ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
        const double *a, ptrdiff_t a_row, const double *b, ptrdiff_t b_row,
        double *c, ptrdiff_t c_row,
    )

ctypedef fused real:
    float
    double


def forward(const real[:, ::1] x, const real[:, ::1] w, const real[::1] b, real[:, ::1] y):
    """y = x w + b; b may be None."""
    cdef ptrdiff_t batch = x.shape[0], inputs = w.shape[0], outputs = w.shape[1]
    cdef const real *start = NULL
    if b is not None:
        start = &b[0]
    with nogil:
        if real is float:
            gemm_float32(batch, outputs, inputs, &x[0, 0], inputs, 1, &w[0, 0], outputs,
                         start, &y[0, 0], outputs)
        else:
            gemm_float64(batch, outputs, inputs, &x[0, 0], inputs, 1, &w[0, 0], outputs,
                         start, &y[0, 0], outputs)


def backward_data(const real[:, ::1] dy, const real[:, ::1] w, real[:, ::1] dx):
    """dx = dy w^T: rows of dy with rows of w, both contiguous."""
    cdef ptrdiff_t batch = dy.shape[0], inputs = w.shape[0], outputs = w.shape[1]
    with nogil:
        if real is float:
            gemm_dots_float32(batch, inputs, outputs, &dy[0, 0], outputs, &w[0, 0], outputs,
                              &dx[0, 0], inputs)
        else:
            gemm_dots_float64(batch, inputs, outputs, &dy[0, 0], outputs, &w[0, 0], outputs,
                              &dx[0, 0], inputs)


def backward_weight(
    const real[:, ::1] dy, const real[:, ::1] x, real[:, ::1] dw, real[::1] db
):
    """dw = x^T dy, the transpose by strides; db = sum of dy over the batch, or None."""
    cdef ptrdiff_t batch = dy.shape[0], inputs = dw.shape[0], outputs = dw.shape[1], n, j
    cdef real *sums = NULL
    cdef const real *row
    if db is not None:
        sums = &db[0]
    with nogil:
        if real is float:
            gemm_float32(inputs, outputs, batch, &x[0, 0], 1, inputs, &dy[0, 0], outputs,
                         NULL, &dw[0, 0], outputs)
        else:
            gemm_float64(inputs, outputs, batch, &x[0, 0], 1, inputs, &dy[0, 0], outputs,
                         NULL, &dw[0, 0], outputs)
        if sums != NULL:
            for j in range(outputs):
                sums[j] = 0
            for n in range(batch):
                row = &dy[n, 0]
                for j in range(outputs):
                    sums[j] += row[j]
