/* fastconv for C: kernels by shapes, without Python and without the GIL in a call.
 *
 * A *plan* is made once for each combination of function, shapes and options: Python chooses the
 * algorithm, the very one that the public function of the same name takes, so that results have the
 * same bits. It is then run any number of times, by any number of threads at once, on any arrays of
 * those shapes. A run allocates nothing: it works in memory that the caller hands in.
 *
 *     const struct fastconv_api *api = fastconv_import();         // with the GIL, once
 *     struct fastconv_convolution sizes = {
 *         .dtype = FASTCONV_FLOAT32, .layout = FASTCONV_NCHW, .x = {8, 3, 32, 32}, .w = {16, 3, 3, 3},
 *         .stride = {1, 1}, .padding = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1,
 *     };
 *     const struct fastconv_plan *plan;
 *     if (api->plan(FASTCONV_CONV2D, &sizes, sizeof sizes, &plan)) puts(api->last_error());
 *     size_t size = api->workspace_bytes(plan);
 *     void *const arrays[] = {x, w, NULL, y}, *workspace = malloc(size);
 *     int status = api->run(plan, arrays, workspace, size, 1);    // as often as one likes
 *
 * Arrays are C-contiguous and aligned for their elements. What is written must not overlap what is
 * read. Nothing is said of what stands in workspace between two runs.
 *
 * Structures are compared byte for byte: set them to 0 first, as the braces above do. All of their
 * fields have 8 bytes, so that there are no gaps. */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Number of the table below. A table with the same number may be longer than this header says, never
 * shorter: new functions are appended. */
#define FASTCONV_API_VERSION 1

enum fastconv_dtype { FASTCONV_FLOAT32 = 0, FASTCONV_FLOAT64 = 1 };

/* Images (N, C, H, W) with weights (O, I, H, W), or (N, H, W, C) with (H, W, I, O). Weights of a
 * transposed convolution: (I, O, H, W), or (H, W, O, I). */
enum fastconv_layout { FASTCONV_NCHW = 0, FASTCONV_NHWC = 1 };

enum fastconv_status {
    FASTCONV_OK = 0,
    FASTCONV_INVALID_ARGUMENT = 1,    /* a value that cannot be; last_error says which */
    FASTCONV_OUT_OF_MEMORY = 2,       /* no memory for a plan, or for what NumPy made on the way */
    FASTCONV_NULL_ARRAY = 3,          /* the plan reads or writes an array that is NULL */
    FASTCONV_WORKSPACE_TOO_SMALL = 4, /* fewer bytes than workspace_bytes says */
    FASTCONV_INVALID_THREADS = 5,     /* fewer than one thread */
    FASTCONV_UNEXPECTED = 6           /* anything else; last_error says what */
};

/* What a plan computes: the public function of that name, the structure that describes it, and its
 * arrays in order. Arrays of images, weights and rows have the dtype of the description; `where` is
 * int32, `labels` int64. What may be NULL stands in brackets. */
enum fastconv_function {
    FASTCONV_CONV2D = 1,                 /* fastconv_convolution: x, w, [b], y */
    FASTCONV_CONV2D_BACKWARD = 2,        /* fastconv_convolution: dy, x, w, [dx], [dw], [db] */
    FASTCONV_CONV_TRANSPOSE2D = 3,       /* fastconv_convolution: x, w, [b], y */
    FASTCONV_CONV_TRANSPOSE2D_BACKWARD = 4, /* fastconv_convolution: dy, x, w, [dx], [dw], [db] */
    FASTCONV_MAX_POOL2D = 5,             /* fastconv_pooling: x, y, where */
    FASTCONV_MAX_POOL2D_BACKWARD = 6,    /* fastconv_pooling: dy, where, dx */
    FASTCONV_AVG_POOL2D = 7,             /* fastconv_pooling: x, y */
    FASTCONV_AVG_POOL2D_BACKWARD = 8,    /* fastconv_pooling: dy, dx */
    FASTCONV_GLOBAL_AVG_POOL2D = 9,      /* fastconv_pooling: x, y */
    FASTCONV_GLOBAL_AVG_POOL2D_BACKWARD = 10, /* fastconv_pooling: dy, dx */
    FASTCONV_DENSE = 11,                 /* fastconv_matrix: x, w, [b], y */
    FASTCONV_DENSE_BACKWARD = 12,        /* fastconv_matrix: dy, x, w, [dx], [dw], [db] */
    FASTCONV_ACTIVATION = 13,            /* fastconv_elements: x, y */
    FASTCONV_ACTIVATION_BACKWARD = 14,   /* fastconv_elements: dy, [x], [y], dx: what it keeps */
    FASTCONV_SOFTMAX = 15,               /* fastconv_rows: x, y */
    FASTCONV_SOFTMAX_BACKWARD = 16,      /* fastconv_rows: dy, y, dx */
    FASTCONV_LOG_SOFTMAX = 17,           /* fastconv_rows: x, y */
    FASTCONV_LOG_SOFTMAX_BACKWARD = 18,  /* fastconv_rows: dy, y, dx */
    FASTCONV_SOFTMAX_CROSS_ENTROPY = 19, /* fastconv_rows: scores, labels, losses, probabilities */
    FASTCONV_SOFTMAX_CROSS_ENTROPY_BACKWARD = 20 /* fastconv_rows: probabilities, labels, dscores */
};

/* Gradients that a backward function makes; db comes with dw alone. */
enum fastconv_gradients { FASTCONV_DX = 1, FASTCONV_DW = 2, FASTCONV_DB = 4 };

/* `where` must lie within a plane of x, as max_pool2d leaves it. A label outside of the classes has a
 * loss of NaN, and its sample's gradient nothing taken from it. */

struct fastconv_convolution {
    int64_t dtype, layout;
    int64_t x[4], w[4];        /* shapes, in the layout */
    int64_t stride[2];         /* height, width */
    int64_t padding[4];        /* top, bottom, left, right */
    int64_t same;              /* 1: padding "same", whatever stands above */
    int64_t dilation[2];
    int64_t groups;
    int64_t output_padding[2]; /* of a transposed convolution; less than the stride */
    int64_t bias;              /* forward: elements of b; 0: there is none */
    int64_t gradients;         /* backward: any of fastconv_gradients */
};

struct fastconv_pooling {
    int64_t dtype, layout;
    int64_t x[4];              /* shape, in the layout; what follows is not for global pooling */
    int64_t kernel[2];
    int64_t stride[2];         /* 0, 0: the kernel's size */
    int64_t padding[4];        /* top, bottom, left, right */
    int64_t same;              /* 1: padding "same", whatever stands above */
    int64_t ceil_mode;         /* 1: round sizes up */
    int64_t count_include_pad; /* average: 1: divide by the window's size with its padding */
};

struct fastconv_matrix {
    int64_t dtype;
    int64_t x[2], w[2]; /* (N, I) and (I, O) */
    int64_t bias;       /* forward: elements of b; 0: there is none */
    int64_t gradients;  /* backward: any of fastconv_gradients */
};

/* Activations. Their backward functions take x, or y where the comment says so. */
enum fastconv_activation {
    FASTCONV_RELU = 0,         /* y */
    FASTCONV_LEAKY_RELU = 1,   /* y */
    FASTCONV_ELU = 2,          /* y */
    FASTCONV_SELU = 3,         /* y */
    FASTCONV_SIGMOID = 4,      /* y */
    FASTCONV_TANH = 5,         /* y */
    FASTCONV_SOFTPLUS = 6,     /* y */
    FASTCONV_GELU = 7,
    FASTCONV_GELU_TANH = 8,
    FASTCONV_SILU = 9,
    FASTCONV_HARD_SIGMOID = 10, /* y */
    FASTCONV_HARD_SWISH = 11,
    FASTCONV_RELU6 = 12,       /* y */
    FASTCONV_SOFTSIGN = 13,    /* y */
    FASTCONV_MISH = 14
};

struct fastconv_elements {
    int64_t dtype;
    int64_t kind;  /* of fastconv_activation */
    int64_t size;  /* elements */
    double alpha;  /* LeakyReLU's slope or ELU's scale, else 0 */
};

struct fastconv_rows {
    int64_t dtype;
    int64_t rows, classes;
};

struct fastconv_plan;

struct fastconv_api {
    uint32_t version; /* FASTCONV_API_VERSION of the library */
    uint32_t size;    /* bytes of its table */

    /* Find the plan of a function and a description, or make it, which takes some hundred
     * microseconds and the GIL; call it with the GIL or without. It is kept for as long as the process
     * lives, in some kilobytes: for shapes that do not recur, use the functions of Python. Returns a
     * status; *plan is NULL where that is not FASTCONV_OK. */
    int (*plan)(int64_t function, const void *description, size_t size,
                const struct fastconv_plan **plan);

    /* Bytes of memory that a run works in, wherever they begin. */
    size_t (*workspace_bytes)(const struct fastconv_plan *plan);

    /* Sizes of array number `array` of a plan; returns how many, -1 where there is no such array. */
    int (*shape)(const struct fastconv_plan *plan, int array, int64_t sizes[4]);

    /* Run a plan once, on up to `threads` threads; the caller is one of them. How many never changes a
     * result. Threads that run plans at once each need workspace of their own. Returns a status. */
    int (*run)(const struct fastconv_plan *plan, void *const *arrays, void *workspace,
               size_t workspace_bytes, int threads);

    /* What a status means, in some words. */
    const char *(*error_string)(int status);

    /* What was wrong in the last plan of this thread that could not be made, in one line; valid until
     * its next one. */
    const char *(*last_error)(void);
};

#ifdef __cplusplus
}
#endif

/* Where Python.h was included before this header: the table. With the GIL. NULL with a Python error
 * where fastconv or its C kernels are missing, or their table is another one. */
#ifdef PyObject_HEAD
static inline const struct fastconv_api *fastconv_import(void) {
    const struct fastconv_api *api = NULL;
    PyObject *const module = PyImport_ImportModule("fastconv.interop.c_api");
    PyObject *const capsule = module ? PyObject_GetAttrString(module, "_C_API") : NULL;
    if (capsule)
        api = (const struct fastconv_api *)PyCapsule_GetPointer(capsule,
                                                                 "fastconv.interop.c_api._C_API");
    if (api && (api->version != FASTCONV_API_VERSION || api->size < sizeof *api)) {
        PyErr_Format(PyExc_ImportError,
                     "fastconv.h is of version %d with a table of %d bytes, the installed fastconv of "
                     "%d with %d; compile against the header of fastconv.get_include()",
                     FASTCONV_API_VERSION, (int)sizeof *api, (int)api->version, (int)api->size);
        api = NULL;
    }
    Py_XDECREF(capsule); /* the module keeps it */
    Py_XDECREF(module);
    return api;
}
#endif

#endif
