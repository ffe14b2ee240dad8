"""Calls of every kernel with drawn data, one list for each spec of :mod:`cases`."""

import functools
import importlib
from dataclasses import replace

import cases
import numpy as np

from fastconv.plans.activations import activation_of
from fastconv.verify.kernel_calls import (
    Draw,
    calls_with,
    conv_calls,
    dense_calls,
    nchw_calls,
    pool_calls,
)

DTYPES = (np.float32, np.float64)
SAMPLES = 9
"""Of the data set that a batch is gathered from."""


def _reference(kernel, spec, *arrays, shape):
    """A result of the reference in the dtype of its first array: a valid input of another."""
    module, _, name = kernel.partition(".")
    function = getattr(importlib.import_module(f"fastconv.backends.reference.{module}"), name)
    outputs = [np.empty(size, dtype or arrays[0].dtype) for size, dtype in shape]
    function(spec, *arrays, *outputs, None)
    return outputs


def _images(spec, draw):
    x, y, s = spec.x_shape, (spec.batch, spec.channels), spec
    every = s.height * s.width * s.channels
    stored = (SAMPLES, *x[1:])
    batch, indices = draw(*x), draw.below(SAMPLES, spec.batch)
    batch[:1] = 3  # a constant image
    pixels = draw.below(256, *stored).astype(np.uint8)
    one = (s.channels,)
    standardize = {"mean": draw(*one), "std": draw.positive(*one)}
    by_feature = {"mean": draw(every), "std": draw.positive(every)}
    labels, targets = draw.below(10, SAMPLES), draw(SAMPLES, 2)
    other = np.float32 if draw.dtype == np.float64 else np.float64
    return {
        "pool.global_avg_pool2d_forward": ({"x": batch}, {"y": y}),
        "pool.global_avg_pool2d_backward": ({"dy": draw(*y)}, {"dx": x}),
        "input.gather_images": [
            ({"images": pixels, "indices": indices}, {"x": x}),
            ({"images": draw(*stored), "indices": indices}, {"x": x}),
            ({"images": draw(*stored).astype(other), "indices": indices}, {"x": x}),
        ],
        "input.gather_rows": [
            ({"rows": labels, "indices": indices}, {"out": ((spec.batch,), np.int64)}),
            ({"rows": targets, "indices": indices}, {"out": (spec.batch, 2)}),
            ({"rows": targets.astype(other), "indices": indices}, {"out": (spec.batch, 2)}),
        ],
        "input.scale_images": ({"x": batch, "factor": np.array([1 / 255])}, {"y": x}),
        "input.standardize_images": [
            ({"x": batch, **standardize}, {"y": x}),
            ({"x": batch, **by_feature}, {"y": x}),
        ],
        "input.min_max_images": ({"x": batch}, {"y": x}),
    }


def _layout(spec, draw):
    first, last = (spec.batch, spec.channels, spec.height, spec.width), spec.x_shape
    return {
        "layout.nchw_to_nhwc": ({"x": draw(*first)}, {"y": last}),
        "layout.nhwc_to_nchw": ({"x": draw(*last)}, {"y": first}),
    }


def _augment(spec, draw):
    x = spec.input.x_shape
    return {"input.augment_images": ({"x": draw(*x), "step": np.array([5])}, {"y": x})}


def _jitter(spec, draw):
    arrays = {"step": np.array([5])}, {}, {"x": draw(*spec.input.x_shape)}
    return {"input.jitter_images": arrays}


def _crop(spec, draw):
    x = spec.input.x_shape
    indices = np.arange(7, 7 + spec.input.batch)
    reads = {"x": draw(*x), "indices": indices}
    steps = (5, 12)  # of an even and of an odd epoch
    return {"augment.crop_images": [(reads | {"step": np.array([t])}, {"y": x}) for t in steps]}


def _mix(spec, draw):
    x, each = spec.input.x_shape, (spec.input.batch,)
    writes = {"y": x, "partners": (each, np.int64), "shares": each}
    return {"augment.mix_images": ({"x": draw(*x), "step": np.array([5])}, writes)}


def _mixed_rows(spec, draw):
    rows = spec.batch, spec.channels
    partners = np.arange(spec.batch)[::-1].copy()
    reads = {"rows": draw(*rows), "partners": partners, "shares": draw.positive(spec.batch)}
    return {"augment.mix_rows": (reads, {"y": rows})}


def _norm(spec, draw):
    x, c = (spec.rows, spec.channels), (spec.channels,)
    image, gamma, mean = draw(*x), draw(*c), draw(*c)
    variance = draw.positive(*c)
    per_channel = [(x, None), (c, None), (c, None)]
    _, batch_mean, inverse = _reference(
        "norm.batch_norm_forward_training", spec, image, gamma, mean, mean.copy(), variance.copy(),
        shape=per_channel,
    )  # fmt: skip
    given = {"x": image, "gamma": gamma, "beta": draw(*c)}
    running = {"running_mean": mean, "running_variance": variance}
    results = {"y": x, "mean": c, "inverse_std": c}
    return {
        "norm.batch_norm_forward_training": (given, results, running),
        "norm.batch_norm_forward_inference": (given | running, {"y": x}),
        "norm.batch_norm_backward": (
            {"dy": draw(*x), "x": image, "gamma": gamma, "mean": batch_mean}
            | {"inverse_std": inverse},
            {"dx": x, "dgamma": c, "dbeta": c},
        ),
    }


def _group_norm(spec, draw):
    x, c = (spec.batch, spec.pixels, spec.channels), (spec.channels,)
    groups = (spec.batch, spec.groups)
    image, dy, gamma, beta = draw(*x), draw(*x), draw(*c), draw(*c)
    _, mean, inverse = _reference(
        "group_norm.group_norm_forward", spec, image, gamma, beta,
        shape=[(x, None), (groups, None), (groups, None)],
    )  # fmt: skip
    statistics = {"mean": mean, "inverse_std": inverse}
    return {
        "group_norm.group_norm_forward": [
            ({"x": image, "gamma": g, "beta": b}, {"y": x, "mean": groups, "inverse_std": groups})
            for g, b in ((gamma, beta), (gamma, None), (None, None))
        ],
        "group_norm.group_norm_backward_data": [
            ({"dy": dy, "x": image, "gamma": g} | statistics, {"dx": x}) for g in (gamma, None)
        ],
        "group_norm.group_norm_backward_parameters": [
            ({"dy": dy, "x": image} | statistics, {"dgamma": c, "dbeta": b}) for b in (c, None)
        ],
    }


def _activation(spec, draw):
    x = draw(spec.size)
    # Large values of both signs, and both zeros.
    special = np.array([0.0, -0.0, 1e-4, -1e-4, 30, -30, 800, -800], draw.dtype)
    x[: len(special)] = special[: len(x)]
    (y,) = _reference("activation.activation_forward", spec, x, shape=[(x.shape, None)])
    # What the activation does not keep is not there to be looked at.
    kept = {"x": x, "y": None} if activation_of(spec.kind).keeps == "x" else {"x": None, "y": y}
    return {
        "activation.activation_forward": ({"x": x}, {"y": x.shape}),
        "activation.activation_backward": ({"dy": draw(spec.size), **kept}, {"dx": x.shape}),
    }


def _elementwise(spec, draw):
    x = draw(spec.size)
    return {
        "elementwise.elementwise_forward": ({"x": x}, {"y": x.shape}),
        "elementwise.elementwise_backward": ({"dy": draw(spec.size), "x": x}, {"dx": x.shape}),
    }


def _prelu(spec, draw):
    shape, slopes = (spec.rows, spec.channels), (spec.slopes,)
    given = {"x": draw(*shape), "slope": draw(*slopes)}
    return {
        "prelu.prelu_forward": (given, {"y": shape}),
        "prelu.prelu_backward": ({"dy": draw(*shape), **given}, {"dx": shape, "dslope": slopes}),
    }


def _softmax(spec, draw):
    shape = (spec.rows, spec.classes)
    x = 3 * draw(*shape)
    x[:1] += 1000  # overflows unless it is shifted
    calls = {}
    for name in ("softmax", "log_softmax"):
        (y,) = _reference(f"activation.{name}_forward", spec, x, shape=[(shape, None)])
        calls[f"activation.{name}_forward"] = ({"x": x}, {"y": shape})
        calls[f"activation.{name}_backward"] = ({"dy": draw(*shape), "y": y}, {"dx": shape})
    return calls


def _dropout(spec, draw):
    shape = (spec.size,)
    mask = draw.below(2, *shape).astype(np.uint8)
    return {
        "dropout.dropout_forward": [
            ({"x": draw(*shape), "step": np.array([step])}, {"mask": (shape, np.uint8), "y": shape})
            for step in (0, 2**40)
        ],
        "dropout.dropout_backward": ({"dy": draw(*shape), "mask": mask}, {"dx": shape}),
    }


def _channel_dropout(spec, draw):
    x = (spec.batch, spec.pixels, spec.channels)
    mask = draw.below(2, spec.batch, spec.channels).astype(np.uint8)
    return {"dropout.drop_channels": ({"x": draw(*x), "mask": mask}, {"y": x})}


def _resample(spec, draw):
    x, y = spec.x_shape, spec.y_shape
    return {
        "resample.resample_forward": ({"x": draw(*x)}, {"y": y}),
        "resample.resample_backward": ({"dy": draw(*y)}, {"dx": x}),
    }


def _broadcast(spec, draw):
    x1, x2 = spec.x1_shape, spec.x2_shape
    dy = draw(*x1)
    return {
        "merge.add_forward": ({"x1": draw(*x1), "x2": draw(*x2)}, {"y": x1}),
        "merge.add_backward": _gradients_of_two({"dy": dy}, x1, x2),
        "merge.multiply_forward": ({"x1": draw(*x1), "x2": draw(*x2)}, {"y": x1}),
        "merge.multiply_backward": _gradients_of_two(
            {"dy": dy, "x1": draw(*x1), "x2": draw(*x2)}, x1, x2
        ),
    }


def _gradients_of_two(reads, first, second):
    """Calls that need both gradients, and either alone."""
    needed = [(first, second), (first, None), (None, second)]
    return [(reads, {"dx1": dx1, "dx2": dx2}) for dx1, dx2 in needed]


def _concatenate(spec, draw):
    first, second = (spec.rows, spec.channels1), (spec.rows, spec.channels2)
    both = (spec.rows, spec.channels)
    return {
        "merge.concatenate_forward": ({"x1": draw(*first), "x2": draw(*second)}, {"y": both}),
        "merge.concatenate_backward": _gradients_of_two({"dy": draw(*both)}, first, second),
    }


def _loss(spec, draw):
    each, every = (spec.batch,), (spec.batch, spec.outputs)
    scores, labels = 3 * draw(*every), draw.below(spec.outputs, *each)
    scores[:, -1:] = scores[:, :1]  # ties: the first one counts
    totals = {"statistics": np.array([0.5, 2.0, 40.0])}
    probabilities = _softmax_of(scores)
    pair = {"y": scores, "target": draw(*every)}
    # Labels that are none of the classes, as near and as far as there are.
    outside = labels.copy()
    outside[::2] = np.resize([-1, spec.outputs, -(2**63), 2**63 - 1, 2**40], len(outside[::2]))
    return {
        "loss.softmax_cross_entropy_forward": [
            ({"scores": scores, "labels": some}, {"losses": each, "probabilities": every})
            for some in (labels, outside)
        ],
        "loss.softmax_cross_entropy_backward": [
            ({"probabilities": probabilities, "labels": some}, {"dscores": every})
            for some in (labels, outside)
        ],
        "loss.nll_forward": [
            ({"log_probabilities": scores, "labels": some}, {"losses": each})
            for some in (labels, outside)
        ],
        "loss.nll_backward": [
            ({"labels": some}, {"dlog_probabilities": every}) for some in (labels, outside)
        ],
        "loss.mean_squared_error_forward": (pair, {"losses": each}),
        "loss.mean_squared_error_backward": (pair, {"dy": every}),
        "loss.sum_losses": ({"losses": draw(*each)}, {}, totals),
        "loss.count_correct": [
            ({"scores": scores, "labels": some}, {}, totals) for some in (labels, outside)
        ],
    }


def _softmax_of(scores):
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


def _target_loss(spec, draw):
    labels = _loss(spec, draw)["loss.nll_forward"]
    return {
        "target_loss.one_hot": [
            ({"labels": reads["labels"]}, {"targets": (spec.batch, spec.outputs)})
            for reads, _ in labels
        ]
    }


def _soft_cross_entropy(spec, draw):
    each, every = (spec.batch,), (spec.batch, spec.outputs)
    scores, targets = 3 * draw(*every), _softmax_of(draw(*every))
    given = [
        {"targets": targets, "class_weights": weights}
        for weights in (None, draw.positive(spec.outputs))
    ]
    probabilities = _softmax_of(scores)
    return {
        "target_loss.soft_cross_entropy_forward": [
            ({"scores": scores} | more, {"losses": each, "probabilities": every}) for more in given
        ],
        "target_loss.soft_cross_entropy_backward": [
            ({"probabilities": probabilities} | more, {"dscores": every}) for more in given
        ],
    }


def _elementwise_loss(spec, draw):
    each, every = (spec.batch,), (spec.batch, spec.outputs)
    y = 2 * draw(*every)
    y[:1, :3] = [30, -30, 0][: spec.outputs]
    target = draw.below(2, *every).astype(y.dtype)
    target[1:2] += draw.dtype.type(0.5)
    return {
        "target_loss.elementwise_loss_forward": ({"y": y, "target": target}, {"losses": each}),
        "target_loss.elementwise_loss_backward": ({"y": y, "target": target}, {"dy": every}),
    }


def _label_weights(spec, draw):
    each = (spec.batch,)
    labels = draw.below(spec.outputs, *each)
    labels[1:3] = [spec.outputs, -100][: len(labels[1:3])]
    own = draw.positive(*each)
    own[4:5] = 0
    classes = draw.positive(spec.outputs)
    return {
        "loss_weights.label_weights": [
            (
                {"labels": labels, "class_weights": of_class, "sample_weights": of_sample},
                {"counted": (each, np.int64), "factors": each, "weights": each},
            )
            for of_class in (None, classes)
            for of_sample in (None, own)
        ]
    }


def _loss_weights(spec, draw):
    each = (spec.batch,)
    factors, weights, losses = draw.positive(*each), draw.positive(*each), draw(*each)
    factors[1:2] = weights[1:2] = 0
    losses[1:2] = np.nan  # of a label that is ignored
    gradient, totals = draw(spec.batch, spec.outputs), np.array([0.5, 2.0, 40.0, 7.0])
    gradient[1:2] = np.nan
    both = {"factors": factors, "weights": weights}
    nothing = {name: np.zeros_like(array) for name, array in both.items()}
    return {
        "loss_weights.weigh_losses": ({"factors": factors}, {}, {"losses": losses}),
        "loss_weights.weigh_gradients": [
            (some, {}, {"dscores": gradient}) for some in (both, nothing)
        ],
        "loss_weights.sum_weighted_losses": (
            both | {"losses": draw(*each)}, {}, {"statistics": totals},
        ),
    }  # fmt: skip


def _optim(spec, draw):
    w, m, v = draw(spec.size), draw(spec.size), draw.positive(spec.size)
    rate = [0.125, 0.75] if spec.scheduled_momentum else [0.125]
    reads = {"dw": draw(spec.size), "rate": np.array(rate)}
    if spec.kind == "sgd":
        return {"optim.sgd_update": (reads, {}, {"w": w})}
    if spec.kind in ("momentum", "nesterov"):
        return {"optim.momentum_update": (reads, {}, {"w": w, "m": m})}
    if spec.kind == "adagrad":
        return {"optim.adagrad_update": (reads, {}, {"w": w, "v": v})}
    if spec.kind == "rmsprop":
        # What is None is left out; v is no less than the square of the mean.
        state = {"w": w, "v": v, "mean": 0.5 * draw(spec.size) if spec.centered else None}
        state["v"] = v + (0 if state["mean"] is None else state["mean"] ** 2)
        state["m"] = m if spec.momentum else None
        return {"optim.rmsprop_update": (reads, {}, state)}
    state = {"w": w, "m": m, "v": v}
    steps = (0, 1, 999)
    return {
        f"optim.{spec.kind}_update": [(reads | {"step": np.array([t])}, {}, state) for t in steps]
    }


def _lookahead(spec, draw):
    steps = (spec.steps - 1, spec.steps)  # at one both meet, at the next nothing happens
    return {
        "optim.lookahead_update": [
            ({"step": np.array([t])}, {}, {"w": draw(spec.size), "slow": draw(spec.size)})
            for t in steps
        ]
    }


def _clip(spec, draw):
    kernel = (
        "gradient.clip_by_value" if spec.limit == cases.CLIPPED_VALUE else "gradient.clip_by_norm"
    )
    return {kernel: ({}, {}, {"x": draw(spec.size)})}


def _accumulate(spec, draw):
    arrays = {"dw": draw(spec.size)}, {}, {"total": draw(spec.size)}
    return {"gradient.accumulate": arrays}


def _muon(spec, draw):
    arrays = {"dw": draw(spec.size)}, {"direction": (spec.size,)}, {"m": draw(spec.size)}
    return {"gradient.muon_direction": arrays}


def _polynomial(spec, draw):
    matrix = (spec.rows, spec.rows)
    reads = {"gram": draw(*matrix), "square": draw(*matrix)}
    return {"gradient.newton_schulz_polynomial": (reads, {"polynomial": matrix})}


def _random(case, draw):
    _, step, count = case
    words = ((count,), np.uint32)
    return {"random.random_words": ({"step": np.array([step])}, {"words": words})}


_BUILDERS = (
    (conv_calls, cases.CONVOLUTIONS),
    (nchw_calls, cases.CONVOLUTIONS + cases.NCHW),
    (dense_calls, cases.DENSE),
    (pool_calls, cases.POOLS),
    (_images, cases.IMAGES),
    (_layout, cases.LAYOUTS),
    (_augment, cases.AUGMENTS),
    (_jitter, cases.JITTERS),
    (_crop, cases.CROPS),
    (_mix, cases.MIXES),
    (_mixed_rows, cases.MIXED_ROWS),
    (_norm, cases.NORMS),
    (_group_norm, cases.GROUP_NORMS),
    (_activation, cases.ACTIVATIONS),
    (_elementwise, cases.ELEMENTWISE),
    (_prelu, cases.PRELUS),
    (_softmax, cases.SOFTMAXES),
    (_dropout, cases.DROPOUTS),
    (_channel_dropout, cases.CHANNEL_DROPOUTS),
    (_resample, cases.RESAMPLES),
    (_broadcast, cases.BROADCASTS),
    (_concatenate, cases.CONCATENATIONS),
    (_loss, cases.LOSSES),
    (_target_loss, cases.LOSSES),
    (_soft_cross_entropy, cases.SOFT_CROSS_ENTROPIES),
    (_elementwise_loss, cases.ELEMENTWISE_LOSSES),
    (_label_weights, cases.LABEL_WEIGHTS),
    (_loss_weights, cases.LOSSES),
    *((_optim, [spec]) for spec in cases.OPTIMIZERS),
    (_lookahead, cases.LOOKAHEADS),
    *((_clip, [spec]) for spec in cases.CLIPS),
    (_accumulate, cases.ACCUMULATES),
    (_muon, cases.MUONS),
    (_polynomial, cases.POLYNOMIALS),
    (_random, cases.WORDS),
)


def _table():
    """Every kernel, ``module.function``, with its builder and its specs."""
    table = {}
    for builder, specs in _BUILDERS:
        for kernel in builder(specs[0], Draw(np.float64)):
            table.setdefault(kernel, (builder, []))[1].extend(specs)
    return table


_TABLE = _table()
KERNELS = sorted(_TABLE)


def specs_of(kernel):
    """The specs that a kernel is tested with."""
    return _TABLE[kernel][1]


def calls_of(kernel, spec, dtype, integers=False, seed=11):
    """All calls of a kernel for one spec; where there is a bias, with and without it.

    They are drawn once for the tests of all backends: the arrays cannot be written to.
    """
    return [
        replace(call, reads=dict(call.reads), updates=dict(call.updates))
        for call in _drawn(kernel, spec, np.dtype(dtype), integers, seed)
    ]


@functools.lru_cache(maxsize=512)
def _drawn(kernel, spec, dtype, integers, seed):
    made = _TABLE[kernel][0](spec, Draw(dtype, integers, seed))[kernel]
    own = spec[0] if isinstance(spec, tuple) else spec
    result = list(calls_with(kernel, own, dtype.type, made))
    for call in result:
        for array in (call.reads | call.updates).values():
            if array is not None:
                array.flags.writeable = False
    return result
