"""Every public function on good arguments: (name, positional arguments, keyword arguments)."""

import numpy as np

from fastconv.backends.reference import pool
from fastconv.spec import PoolSpec


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


def nhwc(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def hwio(w):
    return np.ascontiguousarray(w.transpose(2, 3, 1, 0))


def nchw(x):
    return x.transpose(0, 3, 1, 2)


def _winners():
    """Where the largest pixels of X are in windows of 2 x 2."""
    spec = PoolSpec(2, 4, 7, 6, kernel=(2, 2), stride=(2, 2))
    y, where = np.empty(spec.y_shape), np.empty(spec.y_shape, np.int32)
    pool.max_pool2d_forward(spec, nhwc(X), y, where, None)
    return nchw(where)


X, ROWS = integers(2, 4, 7, 6), integers(5, 6, seed=5)
W, B = integers(6, 2, 3, 2, seed=1), integers(6, seed=2)
W_BACK, B_BACK = integers(4, 3, 3, 2, seed=3), integers(6, seed=4)
W_DENSE, B_DENSE = integers(6, 3), integers(3)
LINES, W1 = integers(5, 4, 8, seed=6), integers(6, 4, 3, seed=7)
PIXELS = np.arange(8, dtype=np.int32).reshape(2, 4)
PLACES = np.broadcast_to(np.array([0, 2, 4, 6], np.int32), (5, 4, 4)).copy()
SCALES = integers(2, 4, 1, 1, seed=8)
FOUR, SIX = np.array([1.0, 2.0, 0.5, 3.0]), np.array([1.0, 2.0, 0.5, 3.0, 1.0, 2.0])
PARAMETERS = (W1, W, B, W_BACK, B_BACK, W_DENSE, B_DENSE, FOUR, SIX)
"""All other arrays below hold one item for each sample."""
OPTIONS = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "groups": 2}
# Rows: (7 + 1 - 3) // 2 + 1, and 6 * 2 - 1 + 3; columns: 6 + 3 - 2 + 1, and 5 - 3 + 2.
Y, Y_BACK = integers(2, 6, 3, 8), integers(2, 6, 14, 4)
LABELS = np.array([0, 5, 2, 2, 1])
MASK = (ROWS > 0).astype(np.uint8)
WHERE = _winners()
ACTIVATIONS = (
    "relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus",
    "gelu", "silu", "hard_sigmoid", "hard_swish", "relu6", "softsign", "mish",
)  # fmt: skip
AXES = ("softmax", "log_softmax")

IMAGE_CALLS = [
    ("conv2d", (X, W, B), OPTIONS),
    ("conv2d_backward", (Y, X, W), OPTIONS),
    ("conv_transpose2d", (X, W_BACK, B_BACK), OPTIONS),
    ("conv_transpose2d_backward", (Y_BACK, X, W_BACK), OPTIONS),
    ("max_pool2d", (X, 2), {}),
    ("max_pool2d_backward", (WHERE * 1.0, WHERE, X.shape, 2), {}),
    ("avg_pool2d", (X, 3), {"padding": 1}),
    ("avg_pool2d_backward", (X, X.shape, 3), {"padding": 1, "stride": 1}),
    ("global_avg_pool2d", (X,), {}),
    ("global_avg_pool2d_backward", (integers(2, 4), X.shape), {}),
    ("global_max_pool2d", (X,), {}),
    (
        "global_max_pool2d_backward",
        (integers(2, 4), PIXELS, X.shape),
        {},
    ),
    ("upsample2d", (X,), {"mode": "bilinear"}),
    ("upsample2d_backward", (integers(2, 4, 14, 12), X.shape), {}),
    ("pad2d", (X, 2), {"mode": "reflect"}),
    ("pad2d_backward", (integers(2, 4, 9, 8), X.shape, 1), {}),
    ("group_norm", (X, 2, FOUR, FOUR), {}),
    ("group_norm_backward", (X, X, 2, FOUR, integers(2, 2), integers(2, 2)), {}),
    ("batch_norm", (X, FOUR, FOUR), {}),
    ("prelu", (X, FOUR), {}),
    ("prelu_backward", (X, X, FOUR), {}),
    ("add", (X, SCALES), {}),
    ("add_backward", (X, SCALES.shape), {}),
    ("multiply", (X, SCALES), {}),
    ("multiply_backward", (X, X, SCALES), {}),
    ("batch_norm_inference", (X, FOUR, FOUR, FOUR, FOUR), {}),
    ("batch_norm_backward", (X, X, FOUR, FOUR, FOUR), {}),
]
ROW_CALLS = [
    ("dense", (ROWS, W_DENSE, B_DENSE), {}),
    ("dense_backward", (integers(5, 3), ROWS, W_DENSE), {}),
    ("batch_norm", (ROWS, SIX, SIX), {}),
    *((name, (ROWS,), {}) for name in ACTIVATIONS + AXES),
    *((f"{name}_backward", (ROWS, ROWS), {}) for name in ACTIVATIONS + AXES),
    ("softmax", (X,), {"axis": 1}),
    ("prelu", (ROWS, SIX), {}),
    ("prelu_backward", (ROWS, ROWS, SIX), {}),
    ("dropout", (ROWS, 0.5), {"seed": 1}),
    ("dropout_backward", (ROWS, MASK, 0.5), {}),
    ("softmax_cross_entropy", (ROWS, LABELS), {}),
    ("softmax_cross_entropy_backward", (ROWS, LABELS), {}),
    ("nll", (ROWS, LABELS), {}),
    ("nll_backward", (ROWS, LABELS), {}),
    ("mean_squared_error", (ROWS, ROWS + 1), {}),
    ("mean_squared_error_backward", (ROWS, ROWS + 1), {}),
    ("binary_cross_entropy_with_logits", (ROWS, MASK * 1.0), {}),
    ("binary_cross_entropy_with_logits_backward", (ROWS, MASK * 1.0), {}),
    ("huber", (ROWS, ROWS + 1), {"delta": 0.5}),
    ("huber_backward", (ROWS, ROWS + 1), {"delta": 0.5}),
    ("mean_absolute_error", (ROWS, ROWS + 1), {}),
    ("mean_absolute_error_backward", (ROWS, ROWS + 1), {}),
    ("conv1d", (LINES, W1), {"stride": 2, "padding": 1}),
    ("conv1d_backward", (integers(5, 6, 4), LINES, W1), {"stride": 2, "padding": 1}),
    ("max_pool1d", (LINES, 2), {}),
    ("max_pool1d_backward", (integers(5, 4, 4), PLACES, LINES.shape, 2), {}),
    ("avg_pool1d", (LINES, 2), {"stride": 1}),
    ("avg_pool1d_backward", (integers(5, 4, 4), LINES.shape, 2), {}),
    ("add", (ROWS, ROWS + 1), {}),
    ("add_backward", (ROWS,), {}),
    ("multiply", (ROWS, ROWS + 1), {}),
    ("multiply_backward", (ROWS, ROWS, ROWS + 1), {}),
    ("concatenate", ([ROWS, integers(5, 2, seed=9), ROWS + 1],), {}),
    ("concatenate_backward", (ROWS, (2, 4)), {}),
    ("layer_norm", (ROWS, 6, SIX, SIX), {}),
    ("layer_norm_backward", (ROWS, ROWS, 6, SIX, integers(5), integers(5)), {}),
]
CALLS = IMAGE_CALLS + ROW_CALLS


def with_each(change, arguments):
    """The arguments, changed one by one; those within a list too."""
    return [with_each(change, a) if isinstance(a, list) else change(a) for a in arguments]


def arrays_of(arguments):
    """The arrays among the arguments, those within a list too."""
    found = []
    with_each(lambda a: found.append(a) if isinstance(a, np.ndarray) else None, arguments)
    return found
