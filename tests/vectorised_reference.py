"""The reference's kernels once more, a whole array at a time, for checks of very many networks.

Written from the formulas in fastconv/backends/reference, and apart from what the numpy backend
does; test_random_steps.py compares them with the reference's loops. All arrays of numbers are
float64.
"""

import importlib
import math

import numpy as np

from fastconv.backends.reference import random as reference_random
from fastconv.backends.reference.run import Runner
from fastconv.plans.activations import SELU_ALPHA, SELU_SCALE
from fastconv.step_check.rounding import RoundedRunner


def _windows(spec, x):
    """Every pixel under every tap: (n, oh, ow, kh, kw, c), of x with its padding."""
    padded = np.pad(x, ((0, 0), *spec.padding, (0, 0)))
    dilation = getattr(spec, "dilation", (1, 1))
    spans = [(k - 1) * d + 1 for k, d in zip(spec.kernel, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(1, 2))
    seen = seen[
        :, :: spec.stride[0], :: spec.stride[1], :, :: dilation[0], :: dilation[1]
    ].transpose(0, 1, 2, 4, 5, 3)
    return seen[:, : spec.out_height, : spec.out_width]


def _add_windows(spec, parts, x_shape):
    """Sum of what lies under every tap, back at its pixel: the transpose of ``_windows``."""
    (top, bottom), (left, right) = spec.padding
    n, h, w, c = x_shape
    dilation = getattr(spec, "dilation", (1, 1))
    total = np.zeros((n, h + top + bottom, w + left + right, c))
    for kh in range(spec.kernel[0]):
        for kw in range(spec.kernel[1]):
            rows = slice(
                kh * dilation[0], kh * dilation[0] + (spec.out_height - 1) * spec.stride[0] + 1,
                spec.stride[0],
            )  # fmt: skip
            columns = slice(
                kw * dilation[1], kw * dilation[1] + (spec.out_width - 1) * spec.stride[1] + 1,
                spec.stride[1],
            )  # fmt: skip
            total[:, rows, columns] += parts[:, :, :, kh, kw]
    return total[:, top : top + h, left : left + w]


def _by_group(spec, array):
    """The last axis as (groups, channels of a group)."""
    return array.reshape(*array.shape[:-1], spec.groups, -1)


def _conv(spec, x, w):
    """Products as matrices for each group: (g, pixels, taps) by (g, taps, outputs)."""
    taps, groups = spec.kernel[0] * spec.kernel[1] * spec.in_channels // spec.groups, spec.groups
    columns = _by_group(spec, _windows(spec, x))  # n oh ow kh kw g c
    columns = columns.transpose(5, 0, 1, 2, 3, 4, 6).reshape(groups, -1, taps)
    weights = w.reshape(taps, groups, -1).transpose(1, 0, 2)
    return (columns @ weights).transpose(1, 0, 2).reshape(spec.y_shape)


def _conv_data(spec, dy, w):
    groups, inputs = spec.groups, spec.in_channels // spec.groups
    taps = spec.kernel[0] * spec.kernel[1] * inputs
    gradients = dy.reshape(-1, groups, spec.out_channels // groups).transpose(1, 0, 2)
    weights = w.reshape(taps, groups, -1).transpose(1, 2, 0)
    parts = (gradients @ weights).reshape(
        groups, spec.batch, spec.out_height, spec.out_width, *spec.kernel, inputs
    )
    parts = parts.transpose(1, 2, 3, 4, 5, 0, 6)
    return _add_windows(spec, parts.reshape(*parts.shape[:5], spec.in_channels), spec.x_shape)


def _conv_weight(spec, dy, x):
    taps, groups = spec.kernel[0] * spec.kernel[1] * spec.in_channels // spec.groups, spec.groups
    columns = _by_group(spec, _windows(spec, x))
    columns = columns.transpose(5, 3, 4, 6, 0, 1, 2).reshape(groups, taps, -1)
    gradients = dy.reshape(-1, groups, spec.out_channels // groups).transpose(1, 0, 2)
    return (columns @ gradients).transpose(1, 0, 2).reshape(spec.w_shape)


def conv2d_forward(spec, x, w, b, y, workspace):
    y[...] = _conv(spec, x, w) + (0 if b is None else b)


def conv2d_backward_data(spec, dy, w, dx, workspace):
    dx[...] = _conv_data(spec, dy, w)


def conv2d_backward_weight(spec, dy, x, dw, db, workspace):
    dw[...] = _conv_weight(spec, dy, x)
    if db is not None:
        db[...] = dy.sum(axis=(0, 1, 2))


def conv_transpose2d_forward(spec, x, w, b, y, workspace):
    y[...] = _conv_data(spec, x, w) + (0 if b is None else b)


def conv_transpose2d_backward_data(spec, dy, w, dx, workspace):
    dx[...] = _conv(spec, dy, w)


def conv_transpose2d_backward_weight(spec, dy, x, dw, db, workspace):
    dw[...] = _conv_weight(spec, x, dy)
    if db is not None:
        db[...] = dy.sum(axis=(0, 1, 2))


def dense_forward(spec, x, w, b, y, workspace):
    y[...] = x @ w + (0 if b is None else b)


def dense_backward_data(spec, dy, w, dx, workspace):
    dx[...] = dy @ w.T


def dense_backward_weight(spec, dy, x, dw, db, workspace):
    dw[...] = x.T @ dy
    if db is not None:
        db[...] = dy.sum(axis=0)


def _pool_windows(spec, x, fill):
    """The pixels of every window, with ``fill`` where there is none."""
    tall, wide = (
        (outputs - 1) * stride + kernel
        for outputs, stride, kernel in zip(
            (spec.out_height, spec.out_width), spec.stride, spec.kernel, strict=True
        )
    )
    (top, _), (left, _) = spec.padding
    n, h, w, c = x.shape
    padded = np.full((n, max(tall, top + h), max(wide, left + w), c), fill)
    padded[:, top : top + h, left : left + w] = x
    seen = np.lib.stride_tricks.sliding_window_view(padded, spec.kernel, axis=(1, 2))
    seen = seen[:, :: spec.stride[0], :: spec.stride[1]].transpose(0, 1, 2, 4, 5, 3)
    return seen[:, : spec.out_height, : spec.out_width]


def max_pool2d_forward(spec, x, y, where, workspace):
    seen = _pool_windows(spec, x, -np.inf)
    seen = seen.reshape(*seen.shape[:3], -1, seen.shape[-1])
    places = np.arange(spec.height * spec.width, dtype=np.float64)
    places = np.broadcast_to(places.reshape(1, spec.height, spec.width, 1), (1, *x.shape[1:]))
    numbers = _pool_windows(spec, places, -1.0).reshape(1, *seen.shape[1:])
    chosen = seen.argmax(axis=3)[:, :, :, None]
    y[...] = np.take_along_axis(seen, chosen, axis=3)[:, :, :, 0]
    numbers = np.broadcast_to(numbers, seen.shape)
    where[...] = np.take_along_axis(numbers, chosen, axis=3)[:, :, :, 0]


def max_pool2d_backward(spec, dy, where, dx, workspace):
    n, h, w, c = spec.x_shape
    samples, channels = np.arange(n).reshape(-1, 1, 1, 1), np.arange(c)
    places = (samples * h * w + where) * c + channels
    sums = np.bincount(places.ravel(), dy.ravel(), minlength=n * h * w * c)
    dx[...] = sums.reshape(spec.x_shape)


def _divisors(spec):
    """Cells that each window's sum is divided by, (1, oh, ow, 1)."""
    inside = np.ones((1, spec.height, spec.width, 1))
    if not spec.count_include_pad:
        return _pool_windows(spec, inside, 0.0).sum(axis=(3, 4))
    sides = []
    for outputs, stride, kernel, size, (before, after) in zip(
        (spec.out_height, spec.out_width), spec.stride, spec.kernel, (spec.height, spec.width),
        spec.padding, strict=True,
    ):  # fmt: skip
        first = np.arange(outputs) * stride
        sides.append(np.minimum(first + kernel, size + before + after) - first)
    return np.multiply.outer(*sides).reshape(1, spec.out_height, spec.out_width, 1)


def avg_pool2d_forward(spec, x, y, workspace):
    y[...] = _pool_windows(spec, x, 0.0).sum(axis=(3, 4)) / _divisors(spec)


def avg_pool2d_backward(spec, dy, dx, workspace):
    each = dy / _divisors(spec)
    total = np.zeros(
        (spec.batch, spec.height + 2 * spec.kernel[0] * spec.stride[0] + sum(spec.padding[0]),
         spec.width + 2 * spec.kernel[1] * spec.stride[1] + sum(spec.padding[1]), spec.channels)
    )  # fmt: skip
    for kh in range(spec.kernel[0]):
        for kw in range(spec.kernel[1]):
            total[
                :, kh : kh + (spec.out_height - 1) * spec.stride[0] + 1 : spec.stride[0],
                kw : kw + (spec.out_width - 1) * spec.stride[1] + 1 : spec.stride[1],
            ] += each  # fmt: skip
    (top, _), (left, _) = spec.padding
    dx[...] = total[:, top : top + spec.height, left : left + spec.width]


def global_avg_pool2d_forward(spec, x, y, workspace):
    y[...] = x.mean(axis=(1, 2))


def global_avg_pool2d_backward(spec, dy, dx, workspace):
    dx[...] = dy[:, None, None, :] / (spec.height * spec.width)


def batch_norm_forward_training(
    spec, x, gamma, beta, running_mean, running_variance, y, mean, inverse_std, workspace
):
    rows = x.reshape(spec.rows, spec.channels)
    mean[...] = rows.mean(axis=0)
    squares = np.square(rows - mean).sum(axis=0)
    inverse_std[...] = 1 / np.sqrt(squares / spec.rows + spec.epsilon)
    y.reshape(rows.shape)[...] = gamma * (rows - mean) * inverse_std + beta
    for running, batch in (
        (running_mean, mean),
        (running_variance, squares / max(1, spec.rows - 1)),
    ):
        running[...] = (1 - spec.momentum) * running + spec.momentum * batch


def batch_norm_backward(
    spec, dy, x, gamma, mean, inverse_std, dx, dgamma, dbeta, workspace
):  # fmt: skip
    rows, gradients = (a.reshape(spec.rows, spec.channels) for a in (x, dy))
    standard = (rows - mean) * inverse_std
    dbeta[...], dgamma[...] = gradients.sum(axis=0), (gradients * standard).sum(axis=0)
    centred = gradients - dbeta / spec.rows - standard * dgamma / spec.rows
    dx.reshape(rows.shape)[...] = gamma * inverse_std * centred


_GELU_SCALE = np.sqrt(2 / np.pi)


def _normal_distribution(x):
    return np.vectorize(math.erfc, otypes=[float])(-x / np.sqrt(2)) / 2


def _mish_slope(x):
    hyperbolic = np.tanh(np.log1p(np.exp(x)))
    return hyperbolic + x * (1 - hyperbolic**2) / (1 + np.exp(-x))


def _gelu_tanh_slope(x):
    hyperbolic = np.tanh(_GELU_SCALE * (x + 0.044715 * x**3))
    inner = _GELU_SCALE * (1 + 3 * 0.044715 * x**2)
    return (1 + hyperbolic) / 2 + x / 2 * (1 - hyperbolic**2) * inner


def activation_forward(spec, x, y, workspace):
    negative = np.minimum(x, 0)
    values = {
        "relu": lambda: np.where(x > 0, x, 0),
        "leaky_relu": lambda: np.where(x > 0, x, spec.alpha * x),
        "elu": lambda: np.where(x > 0, x, spec.alpha * np.expm1(negative)),
        "selu": lambda: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(negative)),
        "sigmoid": lambda: np.where(x > 0, 1, np.exp(negative)) / (1 + np.exp(-np.abs(x))),
        "tanh": lambda: np.tanh(x),
        "softplus": lambda: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        "gelu": lambda: x * _normal_distribution(x),
        "gelu_tanh": lambda: x / 2 * (1 + np.tanh(_GELU_SCALE * (x + 0.044715 * x**3))),
        "silu": lambda: x / (1 + np.exp(-x)),
        "hard_sigmoid": lambda: np.clip(x + 3, 0, 6) / 6,
        "hard_swish": lambda: x * np.clip(x + 3, 0, 6) / 6,
        "relu6": lambda: np.clip(x, 0, 6),
        "softsign": lambda: x / (1 + np.abs(x)),
        "mish": lambda: x * np.tanh(np.log1p(np.exp(x))),
    }
    y[...] = values[spec.kind]()


def activation_backward(spec, dy, x, y, dx, workspace):
    slopes = {
        "relu": lambda: np.where(y > 0, 1.0, 0.0),
        "leaky_relu": lambda: np.where(y > 0, 1.0, spec.alpha),
        "elu": lambda: np.where(y > 0, 1.0, y + spec.alpha),
        "selu": lambda: np.where(y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA),
        "sigmoid": lambda: y * (1 - y),
        "tanh": lambda: 1 - y * y,
        "softplus": lambda: -np.expm1(-y),
        "gelu": lambda: _normal_distribution(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
        "gelu_tanh": lambda: _gelu_tanh_slope(x),
        "silu": lambda: (1 + np.exp(-x) * (1 + x)) / (1 + np.exp(-x)) ** 2,
        "hard_sigmoid": lambda: np.where((y > 0) & (y < 1), 1 / 6, 0),
        "hard_swish": lambda: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0),
        "relu6": lambda: np.where((y > 0) & (y < 6), 1.0, 0.0),
        "softsign": lambda: (1 - np.abs(y)) ** 2,
        "mish": lambda: _mish_slope(x),
    }
    dx[...] = dy * slopes[spec.kind]().reshape(dy.shape)


def prelu_forward(spec, x, slope, y, workspace):
    y[...] = np.where(x > 0, x, x * slope)


def prelu_backward(spec, dy, x, slope, dx, dslope, workspace):
    products = np.where(x > 0, 0, dy * x).reshape(-1, spec.channels).sum(axis=0)
    dslope[...] = products if spec.slopes > 1 else products.sum()
    dx[...] = dy * np.where(x > 0, 1, slope)


def _log_softmax(x):
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax_forward(spec, x, y, workspace):
    y[...] = np.exp(_log_softmax(x))


def softmax_backward(spec, dy, y, dx, workspace):
    dx[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True))


def log_softmax_forward(spec, x, y, workspace):
    y[...] = _log_softmax(x)


def log_softmax_backward(spec, dy, y, dx, workspace):
    dx[...] = dy - np.exp(y) * dy.sum(axis=1, keepdims=True)


def dropout_forward(spec, x, step, mask, y, workspace):
    words = _words(spec.random, int(step[0]), x.size)
    mask[...] = ((words >> 8) >= spec.threshold).reshape(x.shape)
    y[...] = np.where(mask == 1, x * spec.scale, 0)


def dropout_backward(spec, dy, mask, dx, workspace):
    dx[...] = np.where(mask.reshape(dy.shape) == 1, dy * spec.scale, 0)


def _partner(spec, x2):
    """What x2 is for every element of (batch, pixels, channels)."""
    whole = (spec.batch, 1 if spec.per_channel else spec.pixels, spec.channels)
    return np.broadcast_to(x2.reshape(whole), spec.x1_shape)


def add_forward(spec, x1, x2, y, workspace):
    y[...] = (x1.reshape(spec.x1_shape) + _partner(spec, x2)).reshape(y.shape)


def multiply_forward(spec, x1, x2, y, workspace):
    y[...] = (x1.reshape(spec.x1_shape) * _partner(spec, x2)).reshape(y.shape)


def multiply_backward(spec, dy, x1, x2, dx1, dx2, workspace):
    gradient = dy.reshape(spec.x1_shape)
    if dx2 is not None:
        terms = gradient * x1.reshape(spec.x1_shape)
        dx2[...] = (terms.sum(axis=1) if spec.per_channel else terms).reshape(dx2.shape)
    if dx1 is not None:
        dx1[...] = (gradient * _partner(spec, x2)).reshape(dx1.shape)


def concatenate_forward(spec, x1, x2, y, workspace):
    y[...] = np.concatenate([x1, x2], axis=-1)


def concatenate_backward(spec, dy, dx1, dx2, workspace):
    for dx, gradient in zip((dx1, dx2), np.split(dy, [spec.channels1], axis=-1), strict=True):
        if dx is not None:
            dx[...] = gradient


_KEPT_WORDS = {}


def _words(spec, step, count):
    """Words of a stream: those of the reference, which are drawn once for all runs of a step."""
    key = spec, step
    if key not in _KEPT_WORDS or _KEPT_WORDS[key].size < count:
        if len(_KEPT_WORDS) > 64:
            _KEPT_WORDS.clear()
        words = np.empty(count, np.uint32)
        reference_random.random_words(spec, np.array([step]), words, None)
        _KEPT_WORDS[key] = words
    return _KEPT_WORDS[key][:count]


def softmax_cross_entropy_forward(spec, scores, labels, losses, probabilities, workspace):
    logarithms = _log_softmax(scores)
    losses[...] = -logarithms[np.arange(spec.batch), labels]
    probabilities[...] = np.exp(logarithms)


def _one_hot(spec, labels):
    return (np.arange(spec.outputs) == labels[:, None]).astype(np.float64)


def softmax_cross_entropy_backward(spec, probabilities, labels, dscores, workspace):
    dscores[...] = (probabilities - _one_hot(spec, labels)) / spec.batch


def nll_forward(spec, log_probabilities, labels, losses, workspace):
    losses[...] = -log_probabilities[np.arange(spec.batch), labels]


def nll_backward(spec, labels, dlog_probabilities, workspace):
    dlog_probabilities[...] = -_one_hot(spec, labels) / spec.batch


def mean_squared_error_forward(spec, y, target, losses, workspace):
    losses[...] = np.square(y - target).mean(axis=1)


def mean_squared_error_backward(spec, y, target, dy, workspace):
    dy[...] = 2 * (y - target) / y.size


def sum_losses(spec, losses, statistics, workspace):
    statistics[0] += losses.sum()
    statistics[2] += spec.batch


def count_correct(spec, scores, labels, statistics, workspace):
    statistics[1] += np.count_nonzero(scores.argmax(axis=1) == labels)


def gather_images(spec, images, indices, x, workspace):
    x[...] = images[indices]


def gather_rows(spec, rows, indices, out, workspace):
    out[...] = rows[indices].reshape(out.shape)


def scale_images(spec, x, factor, y, workspace):
    y[...] = x * factor[0]


def standardize_images(spec, x, mean, std, y, workspace):
    if mean.size != spec.channels:
        mean, std = mean.reshape(x.shape[1:]), std.reshape(x.shape[1:])
    y[...] = (x - mean) / std


def min_max_images(spec, x, y, workspace):
    smallest, largest = x.min(axis=(1, 2, 3)), x.max(axis=(1, 2, 3))
    height = np.where(smallest == largest, 1, largest - smallest)
    y[...] = (x - smallest.reshape(-1, 1, 1, 1)) / height.reshape(-1, 1, 1, 1)


def _gradient(spec, w, dw):
    g = dw.copy()
    g[: spec.weights] += 2 * spec.l2 * w[: spec.weights]
    g[: spec.decayed] += spec.coupled_decay * w[: spec.decayed]
    return g


def _update(spec, w, u, rate):
    decay = rate * spec.decoupled_decay * w[: spec.decayed]
    w -= rate * u
    w[: spec.decayed] -= decay


def sgd_update(spec, w, dw, rate, workspace):
    _update(spec, w, _gradient(spec, w, dw), rate[0])


def momentum_update(spec, w, dw, m, rate, workspace):
    g = _gradient(spec, w, dw) * (1 - spec.momentum if spec.averaged else 1)
    m[...] = spec.momentum * m + g
    _update(spec, w, g + spec.momentum * m if spec.kind == "nesterov" else m, rate[0])


def adam_update(spec, w, dw, m, v, rate, step, workspace):
    g, t = _gradient(spec, w, dw), int(step[0]) + 1
    m[...] = spec.beta1 * m + (1 - spec.beta1) * g
    v[...] = spec.beta2 * v + (1 - spec.beta2) * g * g
    root = np.sqrt(v / (1 - spec.beta2**t)) + spec.epsilon
    _update(spec, w, m / (1 - spec.beta1**t) / root, rate[0])


def _kernel(kernel):
    """The one of this module, or where there is none that of the reference."""
    module, _, name = kernel.partition(".")
    return globals().get(name) or getattr(
        importlib.import_module(f"fastconv.backends.reference.{module}"), name
    )


class _Vectorised:
    """Takes the kernels of this module."""

    def kernels(self):
        return [_kernel(call.kernel) for call in self.plan.calls]  # type: ignore[attr-defined]


class VectorisedRunner(_Vectorised, Runner):
    """The reference's runner with these kernels."""


class VectorisedRoundedRunner(_Vectorised, RoundedRunner):
    """The same with drawn errors."""
