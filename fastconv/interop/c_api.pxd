# cython: language_level=3
"""The C interface for Cython: ``from fastconv.interop.c_api cimport *``, compiled with
``-I$(python -c "import fastconv; print(fastconv.get_include())")``. fastconv.h says what is what."""

from libc.stdint cimport int64_t, uint32_t

cdef extern from *:
    """
    #include <Python.h>
    #include <fastconv.h>
    """
    enum: FASTCONV_API_VERSION
    enum: FASTCONV_FLOAT32, FASTCONV_FLOAT64
    enum: FASTCONV_NCHW, FASTCONV_NHWC
    enum: FASTCONV_OK, FASTCONV_INVALID_ARGUMENT, FASTCONV_OUT_OF_MEMORY, FASTCONV_NULL_ARRAY
    enum: FASTCONV_WORKSPACE_TOO_SMALL, FASTCONV_INVALID_THREADS, FASTCONV_UNEXPECTED
    enum: FASTCONV_CONV2D, FASTCONV_CONV2D_BACKWARD
    enum: FASTCONV_CONV_TRANSPOSE2D, FASTCONV_CONV_TRANSPOSE2D_BACKWARD
    enum: FASTCONV_MAX_POOL2D, FASTCONV_MAX_POOL2D_BACKWARD
    enum: FASTCONV_AVG_POOL2D, FASTCONV_AVG_POOL2D_BACKWARD
    enum: FASTCONV_GLOBAL_AVG_POOL2D, FASTCONV_GLOBAL_AVG_POOL2D_BACKWARD
    enum: FASTCONV_DENSE, FASTCONV_DENSE_BACKWARD
    enum: FASTCONV_ACTIVATION, FASTCONV_ACTIVATION_BACKWARD
    enum: FASTCONV_SOFTMAX, FASTCONV_SOFTMAX_BACKWARD
    enum: FASTCONV_LOG_SOFTMAX, FASTCONV_LOG_SOFTMAX_BACKWARD
    enum: FASTCONV_SOFTMAX_CROSS_ENTROPY, FASTCONV_SOFTMAX_CROSS_ENTROPY_BACKWARD
    enum: FASTCONV_DX, FASTCONV_DW, FASTCONV_DB
    enum: FASTCONV_RELU, FASTCONV_LEAKY_RELU, FASTCONV_ELU, FASTCONV_SELU, FASTCONV_SIGMOID
    enum: FASTCONV_TANH, FASTCONV_SOFTPLUS, FASTCONV_GELU, FASTCONV_GELU_TANH, FASTCONV_SILU
    enum: FASTCONV_HARD_SIGMOID, FASTCONV_HARD_SWISH, FASTCONV_RELU6, FASTCONV_SOFTSIGN, FASTCONV_MISH

    struct fastconv_convolution:
        int64_t dtype, layout
        int64_t x[4]
        int64_t w[4]
        int64_t stride[2]
        int64_t padding[4]
        int64_t same
        int64_t dilation[2]
        int64_t groups
        int64_t output_padding[2]
        int64_t bias, gradients

    struct fastconv_pooling:
        int64_t dtype, layout
        int64_t x[4]
        int64_t kernel[2]
        int64_t stride[2]
        int64_t padding[4]
        int64_t same, ceil_mode, count_include_pad

    struct fastconv_matrix:
        int64_t dtype
        int64_t x[2]
        int64_t w[2]
        int64_t bias, gradients

    struct fastconv_elements:
        int64_t dtype, kind, size
        double alpha

    struct fastconv_rows:
        int64_t dtype, rows, classes

    struct fastconv_plan:
        pass

    struct fastconv_api:
        uint32_t version, size
        int (*plan)(
            int64_t function, const void *description, size_t size, const fastconv_plan **plan
        ) noexcept nogil
        size_t (*workspace_bytes)(const fastconv_plan *plan) noexcept nogil
        int (*shape)(const fastconv_plan *plan, int array, int64_t *sizes) noexcept nogil
        int (*run)(
            const fastconv_plan *plan, void *const *arrays, void *workspace, size_t workspace_bytes,
            int threads
        ) noexcept nogil
        const char *(*error_string)(int status) noexcept nogil
        const char *(*last_error)() noexcept nogil

    const fastconv_api *fastconv_import() except NULL
