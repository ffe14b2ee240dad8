"""Every check of the public functions: the error names the argument, its value and what to do."""

import threading

import numpy as np
import pytest
from backend_states import say_that

import fastconv
from fastconv import BackendError
from fastconv.backends.selection import NAMES, backend_state
from fastconv.functional.arrays import check_range

BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]

X, W, B = np.ones((1, 3, 32, 32)), np.ones((32, 3, 3, 3)), np.ones(32)
DY = np.ones((1, 32, 30, 30))
ROWS, LABELS = np.ones((2, 3)), np.array([0, 2])
F32 = np.float32


def arrays(name):
    """What was expected in place of a list."""
    kinds = "a NumPy or CuPy array, or one with DLPack or __cuda_array_interface__"
    return f"expected {kinds} (numpy.asarray({name}))"


FORMS = "expected an integer, (height, width), ((top, bottom), (left, right)), 'same' or 'valid'"
PAIR = "or a (height, width) pair of them"

TYPE_ERRORS = [
    (lambda: fastconv.conv2d([[1.0]], W), f"conv2d: x is a list; {arrays('x')}"),
    (lambda: fastconv.conv2d(X, None), f"conv2d: w is a NoneType; {arrays('w')}"),
    (lambda: fastconv.conv2d(X, W, [1.0]), f"conv2d: b is a list; {arrays('b')}"),
    (lambda: fastconv.conv2d(X, W, out=[1.0]), f"conv2d: out is a list; {arrays('out')}"),
    (lambda: fastconv.relu(1.0), f"relu: x is a float; {arrays('x')}"),
    (
        lambda: fastconv.batch_norm(X, np.ones(3), None),
        f"batch_norm: beta is a NoneType; {arrays('beta')}",
    ),
    (
        lambda: fastconv.conv2d(X.astype(int), W),
        "conv2d: x has dtype int64; expected float32 or float64 (x.astype(numpy.float32))",
    ),
    (
        lambda: fastconv.dense(ROWS, ROWS.T.astype(np.float16)),
        "dense: w has dtype float16; expected float32 or float64 (w.astype(numpy.float32))",
    ),
    (
        lambda: fastconv.relu(np.ones(2, ">f4")),
        "relu: x has dtype >f4; expected float32 or float64 (x.astype(numpy.float32))",
    ),
    (
        lambda: fastconv.conv2d(X, W.astype(F32)),
        "conv2d: w has dtype float32 but x has float64; convert one of them with astype",
    ),
    (
        lambda: fastconv.conv2d(X.astype(F32), W.astype(F32), B),
        "conv2d: b has dtype float64 but x has float32; convert one of them with astype",
    ),
    (
        lambda: fastconv.conv2d(X, W, out=DY.astype(F32)),
        "conv2d: out has dtype float32; expected float64, that of x",
    ),
    (
        lambda: fastconv.conv2d_backward(DY, X, W, needs=None),
        "conv2d_backward: needs is None; expected a tuple such as ('x', 'w', 'b')",
    ),
    (
        lambda: fastconv.nll(ROWS, [0, 2]),
        f"nll: labels is a list; {arrays('labels')}",
    ),
    (
        lambda: fastconv.softmax_cross_entropy(ROWS, LABELS * 1.0),
        "softmax_cross_entropy: labels is float64; expected an array of integers",
    ),
    (
        lambda: fastconv.max_pool2d_backward(X, X, X.shape, 1),
        "max_pool2d_backward: where must be the int32 array that max_pool2d returned",
    ),
    (
        lambda: fastconv.dropout_backward(ROWS, ROWS, 0.5),
        "dropout_backward: mask must be the uint8 array that dropout returned",
    ),
    (lambda: fastconv.elu(ROWS, "1"), "elu: alpha is '1'; expected a number"),
    (
        lambda: fastconv.dropout(ROWS, None, seed=0),
        "dropout: probability is None; expected a number",
    ),
    (lambda: fastconv.dropout(ROWS, 0.5, seed=1.5), "dropout: seed is 1.5; expected an integer"),
    (
        lambda: fastconv.dropout(ROWS, 0.5, seed=0, step="1"),
        "dropout: step is '1'; expected an integer",
    ),
]

VALUE_ERRORS = [
    # dimensions and shapes
    (
        lambda: fastconv.conv2d(X[0], W),
        "conv2d: x has 3 dimensions (3, 32, 32); expected 4 (N, C, H, W)",
    ),
    (
        lambda: fastconv.conv2d(X, W[0], layout="NHWC"),
        "conv2d: w has 3 dimensions (3, 3, 3); expected 4 (H, W, I, O)",
    ),
    (
        lambda: fastconv.dense(ROWS[0], ROWS.T),
        "dense: x has 1 dimensions (3,); expected 2 (N, I)",
    ),
    (
        lambda: fastconv.batch_norm(ROWS[0], np.ones(3), np.ones(3)),
        "batch_norm: x has 1 dimensions (3,); expected 2 (N, C) or 4 (NCHW)",
    ),
    (
        lambda: fastconv.conv2d(X, np.ones((32, 4, 3, 3))),
        "conv2d: w has 4 input channels (OIHW (32, 4, 3, 3)) but x has 3 (NCHW (1, 3, 32, 32))",
    ),
    (
        lambda: fastconv.conv2d(np.ones((1, 8, 8, 3)), np.ones((3, 3, 4, 32)), layout="NHWC"),
        "conv2d: w has 4 input channels (HWIO (3, 3, 4, 32)) but x has 3 (NHWC (1, 8, 8, 3))",
    ),
    (
        lambda: fastconv.conv2d(X, np.ones((4, 2, 3, 3)), groups=2),
        "conv2d: w has 2 input channels in each of 2 groups (OIHW (4, 2, 3, 3)) "
        "but x has 3 (NCHW (1, 3, 32, 32))",
    ),
    (
        lambda: fastconv.conv_transpose2d(X, np.ones((4, 8, 3, 3))),
        "conv_transpose2d: w has 4 input channels (IOHW (4, 8, 3, 3)) "
        "but x has 3 (NCHW (1, 3, 32, 32))",
    ),
    (
        lambda: fastconv.dense(ROWS, ROWS),
        "dense: w has 2 inputs (IO (2, 3)) but x has 3 (NI (2, 3)); "
        "a weight of shape (O, I) is passed as w.T",
    ),
    (
        lambda: fastconv.conv2d(X, W, np.ones(3)),
        "conv2d: b has shape (3,); expected (32,): one for each filter of w",
    ),
    (
        lambda: fastconv.conv2d(X, W, out=np.ones((1, 32, 32, 32))),
        "conv2d: out has shape (1, 32, 32, 32); expected (1, 32, 30, 30): the shape of the result",
    ),
    (
        lambda: fastconv.conv2d_backward(X, X, W),
        "conv2d_backward: dy has shape (1, 3, 32, 32); expected (1, 32, 30, 30): "
        "the shape of conv2d's result",
    ),
    (
        lambda: fastconv.avg_pool2d_backward(DY, X.shape, 2),
        "avg_pool2d_backward: dy has shape (1, 32, 30, 30); expected (1, 3, 16, 16): "
        "the shape of avg_pool2d's result",
    ),
    (
        lambda: fastconv.max_pool2d_backward(X, np.zeros((1, 3, 2, 2), np.int32), X.shape, 1),
        "max_pool2d_backward: where has shape (1, 3, 2, 2); expected (1, 3, 32, 32): "
        "the shape of dy",
    ),
    (
        lambda: fastconv.max_pool2d_backward(X, np.zeros(X.shape, np.int32) + 1024, X.shape, 1),
        "max_pool2d_backward: where holds 1024; expected 0 to 1023, pixels of x",
    ),
    (
        lambda: fastconv.max_pool2d_backward(X, np.zeros(X.shape, np.int32) - 1, X.shape, 1),
        "max_pool2d_backward: where holds -1; expected 0 to 1023, pixels of x",
    ),
    (
        lambda: fastconv.global_avg_pool2d_backward(ROWS, (2, 4, 5, 5)),
        "global_avg_pool2d_backward: dy has shape (2, 3); expected (2, 4): (N, C) of x_shape",
    ),
    (
        lambda: fastconv.relu_backward(ROWS, ROWS.T),
        "relu_backward: dy has shape (2, 3); expected (3, 2): the shape of y",
    ),
    (
        lambda: fastconv.batch_norm(X, np.ones(4), np.ones(3)),
        "batch_norm: gamma has shape (4,); expected (3,): one for each channel of x (1, 3, 32, 32)",
    ),
    (
        lambda: fastconv.mean_squared_error(ROWS, ROWS.T),
        "mean_squared_error: target has shape (3, 2); expected (2, 3): the shape of y",
    ),
    (
        lambda: fastconv.nll(ROWS, np.array([1])),
        "nll: labels has shape (1,); expected (2,): one integer for each sample",
    ),
    (
        lambda: fastconv.avg_pool2d_backward(X, (3, 8.5, 8), 2),
        "avg_pool2d_backward: the shape of x is (3, 8.5, 8); expected 4 sizes (NCHW)",
    ),
    (
        lambda: fastconv.global_avg_pool2d_backward(ROWS, 7, layout="NHWC"),
        "global_avg_pool2d_backward: x_shape is 7; expected 4 sizes (NHWC)",
    ),
    # nothing where something must be
    (
        lambda: fastconv.conv2d(X[:, :0], W[:, :0]),
        "conv2d: the number of channels of x is 0; expected an integer of 1 or more",
    ),
    (
        lambda: fastconv.max_pool2d(X[:, :, :0], 2),
        "max_pool2d: the height of x is 0; expected an integer of 1 or more",
    ),
    (
        lambda: fastconv.global_avg_pool2d(X[:, :, :, :0]),
        "global_avg_pool2d: the width of x is 0; expected an integer of 1 or more",
    ),
    (
        lambda: fastconv.dense(ROWS, np.ones((3, 0))),
        "dense: w has shape (3, 0); expected at least one input and output",
    ),
    (
        lambda: fastconv.batch_norm(ROWS[:, :0], np.ones(0), np.ones(0)),
        "batch_norm: x has no channels (2, 0); expected at least one",
    ),
    (
        lambda: fastconv.nll(ROWS[:, :0], LABELS),
        "nll: log_probabilities has no outputs (2, 0); expected at least one",
    ),
    (
        lambda: fastconv.softmax(ROWS[:, :0]),
        "softmax: x has no classes along axis -1: shape (2, 0)",
    ),
    # windows
    (
        lambda: fastconv.conv2d(X, np.ones((1, 3, 35, 3)), padding=1),
        "conv2d: the kernel spans 35 in height but the padded input has only 34 "
        "(32 + padding 1 + 1); use a smaller kernel or dilation, or more padding",
    ),
    (
        lambda: fastconv.conv2d(X, W, dilation=(1, 16)),
        "conv2d: the kernel spans 33 in width but the padded input has only 32 "
        "(32 + padding 0 + 0); use a smaller kernel or dilation, or more padding",
    ),
    (
        lambda: fastconv.avg_pool2d(X, (2, 3), padding=2),
        "avg_pool2d: padding is (2, 2) in height; expected less than the kernel's 2, "
        "or a window would hold no pixel",
    ),
    (
        lambda: fastconv.conv_transpose2d(X, W.transpose(1, 0, 2, 3), padding=17),
        "conv_transpose2d: padding is (17, 17) in height, which leaves 0 of the output; use less",
    ),
    (
        lambda: fastconv.conv_transpose2d(X, W.transpose(1, 0, 2, 3), stride=2, output_padding=2),
        "conv_transpose2d: output_padding is 2 in height; expected less than the stride (2) or "
        "less than the dilation (1)",
    ),
    # options
    (
        lambda: fastconv.conv2d(X, W, layout="CHWN"),
        "conv2d: layout is 'CHWN'; expected 'NCHW' or 'NHWC'",
    ),
    (
        lambda: fastconv.conv2d(X, W, groups=0),
        "conv2d: groups is 0; expected an integer of 1 or more",
    ),
    (
        lambda: fastconv.conv2d(X, W, groups=1.0),
        "conv2d: groups is 1.0; expected an integer of 1 or more",
    ),
    (
        lambda: fastconv.conv2d(X, np.ones((4, 1, 3, 3)), groups=3),
        "conv2d: groups is 3; expected a number that divides the input channels (3) and the output "
        "channels (4)",
    ),
    (
        lambda: fastconv.conv2d(X, W, padding=-1),
        f"conv2d: padding is -1; expected an integer of 0 or more, {PAIR}",
    ),
    (lambda: fastconv.conv2d(X, W, padding="full"), f"conv2d: padding is 'full'; {FORMS}"),
    (lambda: fastconv.conv2d(X, W, padding=(1, 2, 3)), f"conv2d: padding is (1, 2, 3); {FORMS}"),
    (lambda: fastconv.max_pool2d(X, 3, padding=0.5), f"max_pool2d: padding is 0.5; {FORMS}"),
    (
        lambda: fastconv.conv_transpose2d(X, W.transpose(1, 0, 2, 3), padding="same"),
        "conv_transpose2d: padding is 'same'; expected numbers",
    ),
    (
        lambda: fastconv.conv2d(X, W, stride=0),
        f"conv2d: stride is 0; expected an integer of 1 or more, {PAIR}",
    ),
    (
        lambda: fastconv.conv2d(X, W, dilation=(1, 2, 3)),
        f"conv2d: dilation is (1, 2, 3); expected an integer of 1 or more, {PAIR}",
    ),
    (
        lambda: fastconv.max_pool2d(X, None),
        f"max_pool2d: kernel is None; expected an integer of 1 or more, {PAIR}",
    ),
    (
        lambda: fastconv.conv2d_backward(DY, X, W, needs=("x", "c")),
        "conv2d_backward: needs holds 'c'; expected any of 'x', 'w', 'b'",
    ),
    (
        lambda: fastconv.softmax(ROWS, axis=2),
        "softmax: axis is 2; expected -2 to 1 for shape (2, 3)",
    ),
    (lambda: fastconv.leaky_relu(ROWS, -0.1), "leaky_relu: alpha is -0.1; expected 0 or more"),
    (
        lambda: fastconv.batch_norm(ROWS, np.ones(3), np.ones(3), epsilon=0),
        "batch_norm: epsilon is 0.0; expected more than 0",
    ),
    (
        lambda: fastconv.batch_norm(ROWS, np.ones(3), np.ones(3), momentum=1.5),
        "batch_norm: momentum is 1.5; expected 0 to 1",
    ),
    (
        lambda: fastconv.dropout(ROWS, 1, seed=0),
        "dropout: probability is 1.0; expected 0 or more, below 1",
    ),
    (
        lambda: fastconv.dropout(ROWS, 0.5, seed=-1),
        "dropout: seed is -1; expected 0 to 2**64 - 1",
    ),
    (
        lambda: fastconv.dropout(ROWS, 0.5, seed=0, stream=2**32),
        "dropout: stream is 4294967296; expected 0 to 2**32 - 1",
    ),
    (
        lambda: fastconv.dropout(ROWS, 0.5, seed=0, step=-1),
        "dropout: step is -1; expected 0 to 2**63 - 1",
    ),
    # labels
    (
        lambda: fastconv.softmax_cross_entropy(ROWS, np.array([0, 3])),
        "softmax_cross_entropy: labels holds 3; expected 0 to 2",
    ),
    (
        lambda: fastconv.softmax_cross_entropy_backward(ROWS, np.array([-1, 3])),
        "softmax_cross_entropy_backward: labels holds -1; expected 0 to 2",
    ),
    (
        lambda: fastconv.nll(ROWS, np.array([0, 255], np.uint8)),
        "nll: labels holds 255; expected 0 to 2",
    ),
]

BACKEND_ERRORS = [
    (
        lambda: fastconv.conv2d(X, W, backend="nunpy"),
        "backend is 'nunpy'; expected one of auto, numpy, numba, cython, cupy; "
        "did you mean 'numpy'?",
    ),
    (
        lambda: fastconv.relu(ROWS, backend="tpu"),
        "backend is 'tpu'; expected one of auto, numpy, numba, cython, cupy",
    ),
]


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        pytest.param(kind, *case, id=case[1][:60])
        for kind, cases in (
            (TypeError, TYPE_ERRORS),
            (ValueError, VALUE_ERRORS),
            (BackendError, BACKEND_ERRORS),
        )
        for case in cases
    ],
)
def test_message(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, kind)
    assert str(caught.value) == message


def test_a_backend_that_does_not_work_here_is_an_error_with_the_reason(monkeypatch):
    say_that(monkeypatch, "cupy", works=False, reason="no CUDA device was found")
    with pytest.raises(BackendError, match="backend 'cupy' is not there: no CUDA device was found"):
        fastconv.conv2d(X, W, backend="cupy")
    with (
        pytest.raises(BackendError, match="no CUDA device was found"),
        fastconv.use_backend("cupy"),
    ):
        pass


def test_nothing_is_changed_by_a_call_that_fails():
    mean = np.zeros(3)
    with pytest.raises(ValueError, match="momentum"):
        fastconv.batch_norm(ROWS, np.ones(3), np.ones(3), mean, np.ones(3), momentum=2)
    assert not mean.any()


def test_labels_that_change_while_they_are_checked_are_an_error_or_were_right():
    """The check looks twice, and another thread may have put right what it found at first."""
    right, wrong = np.zeros(3, np.int64), np.array([0, 10**13, 0])

    class Changing(np.ndarray):
        """Wrong as it is looked at for the first time, and right from then on."""

        def max(self, *arguments, **options):
            found = wrong.max()
            self[...] = right
            return found

    with pytest.raises(ValueError, match=f"labels holds {10**13}; expected 0 to 2"):
        check_range("softmax_cross_entropy", "labels", wrong.copy().view(Changing), 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_that_change_under_a_kernel_index_nothing_outside(backend):
    labels, scores = np.zeros(50000, np.int64), np.full((50000, 10), 0.1, np.float32)
    done, ends = threading.Event(), []

    def change():
        while not done.is_set():
            labels[:] = 10**13  # far beyond any memory of this process
            labels[:] = 0

    thread = threading.Thread(target=change)
    thread.start()
    try:
        while len(ends) < 60:
            try:
                fastconv.softmax_cross_entropy_backward(scores, labels, backend=backend)
                ends.append("computed")
            except ValueError as fault:
                ends.append(str(fault))
    finally:
        done.set()
        thread.join()
    assert {end.partition(":")[0] for end in ends} <= {
        "computed", "softmax_cross_entropy_backward"
    }  # fmt: skip
