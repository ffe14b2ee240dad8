"""Training steps as PyTorch makes them in float64, for a second opinion on the reference's."""

import itertools
import math
from collections import Counter

import numpy as np
from optional_torch import functional, torch

from fastconv.backends.reference.random import random_words
from fastconv.plans.operation import DropoutSpec, RandomSpec
from fastconv.spec import as_pair, resolve_padding

if torch is not None:
    torch.set_num_threads(1)  # products this small gain nothing from more


class NotComparable(Exception):
    """PyTorch has no such layer or update."""


def _sides(layer, shape, kernel, stride, dilation=(1, 1)):
    return resolve_padding("torch", layer.padding, shape[2:], kernel, stride, dilation)


def _convolution(layer, x, p):
    kernel, stride, dilation = (
        as_pair("torch", name, getattr(layer, name)) for name in ("kernel", "stride", "dilation")
    )
    (top, bottom), (left, right) = _sides(layer, x.shape, kernel, stride, dilation)
    weight, bias = p["weight"].permute(3, 2, 0, 1).contiguous(), p.get("bias")
    options = {"stride": stride, "dilation": dilation, "groups": layer.groups}
    if layer.kind == "conv2d":
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, weight, bias, **options)
    extra = as_pair("torch", "output_padding", layer.output_padding, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise NotComparable
    y = functional.conv_transpose2d(x, weight, bias, output_padding=extra, **options)
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def _pool(layer, x):
    kernel = as_pair("torch", "kernel", layer.kernel)
    stride = kernel if layer.stride is None else as_pair("torch", "stride", layer.stride)
    sides = _sides(layer, x.shape, kernel, stride)
    padding = tuple(before for before, _ in sides)
    if any(a != b or 2 * a > k for (a, b), k in zip(sides, kernel, strict=True)):
        raise NotComparable
    options = {"stride": stride, "padding": padding, "ceil_mode": layer.ceil_mode}
    if layer.kind == "max_pool2d":
        return functional.max_pool2d(x, kernel, **options)
    return functional.avg_pool2d(x, kernel, **options, count_include_pad=layer.count_include_pad)


def _norm(layer, x, p, training):
    rows = x.numel() // x.shape[1]
    if rows < 2:
        raise NotComparable
    return functional.batch_norm(
        x, p["running_mean"], p["running_variance"], p["gamma"], p["beta"], training,
        layer.momentum, layer.epsilon,
    )  # fmt: skip


_ACTIVATIONS = {
    "relu": lambda x, layer: functional.relu(x),
    "leaky_relu": lambda x, layer: functional.leaky_relu(x, layer.alpha),
    "elu": lambda x, layer: functional.elu(x, layer.alpha),
    "selu": lambda x, layer: functional.selu(x),
    "sigmoid": lambda x, layer: torch.sigmoid(x),
    "tanh": lambda x, layer: torch.tanh(x),
    "softplus": lambda x, layer: functional.softplus(x, threshold=1e9),
    "gelu": lambda x, layer: functional.gelu(x, approximate=layer.approximate),
    "silu": lambda x, layer: functional.silu(x),
    # Its own hardsigmoid has a slope of 1/6 in float32.
    "hard_sigmoid": lambda x, layer: functional.relu6(x + 3) / 6,
    "hard_swish": lambda x, layer: functional.hardswish(x),
    "relu6": lambda x, layer: functional.relu6(x),
    "softsign": lambda x, layer: functional.softsign(x),
    "mish": lambda x, layer: functional.mish(x),
    "softmax": lambda x, layer: torch.softmax(x, 1),
    "log_softmax": lambda x, layer: torch.log_softmax(x, 1),
}


def _dropout(layer, x, seed, step, stream):
    """Dropout by the mask that the steps draw, which is in the order of NHWC."""
    spec = DropoutSpec(x.numel(), layer.probability, RandomSpec(seed, stream))
    words = np.empty(spec.size, np.uint32)
    random_words(spec.random, np.array([step]), words, None)
    mask = torch.from_numpy((words >> 8) >= spec.threshold)
    if x.ndim == 4:
        n, c, h, w = x.shape
        mask = mask.reshape(n, h, w, c).permute(0, 3, 1, 2)
    return torch.where(mask.reshape(x.shape), x * spec.scale, 0.0)


_KNOWN = {
    "conv2d", "conv_transpose2d", "dense", "flatten", "global_avg_pool2d", "max_pool2d",
    "avg_pool2d", "batch_norm", "dropout", "prelu", "residual", "concatenate", "scale",
    *_ACTIVATIONS,
}  # fmt: skip


class TorchLayers:
    """Layers as PyTorch applies them, with parameters by their names in the network.

    ``dropout`` is (seed, step), for the masks that steps draw; ``training`` says which statistics
    batch normalisation takes.
    """

    def __init__(self, arrays, dropout=(0, 0), training=True):
        self.arrays, self.dropout, self.training = arrays, dropout, training
        self.streams = itertools.count(1)

    def __call__(self, layers, x, of=""):
        """Apply layers one after the other; their names begin with ``of``."""
        counts = Counter()
        for layer in layers:
            counts[layer.kind] += 1
            x = self._apply(layer, f"{of}{layer.kind}_{counts[layer.kind]}", x)
        return x

    def _apply(self, layer, name, x):
        own = {n.rpartition(".")[2]: a for n, a in self.arrays.items() if n.startswith(f"{name}.")}
        kind = layer.kind
        if kind not in _KNOWN:
            raise NotComparable  # tests of its own have PyTorch's
        if kind == "residual":
            return self(layer.layers, x, f"{name}.") + self(layer.shortcut, x, f"{name}.shortcut.")
        if kind == "concatenate":
            paths = enumerate(layer.paths, start=1)
            return torch.cat([self(path, x, f"{name}.branch_{n}.") for n, path in paths], 1)
        if kind == "scale":
            factors = self(layer.layers, x, f"{name}.")
            return x * factors.reshape(factors.shape + (1,) * (x.ndim - factors.ndim))
        if kind.startswith("conv"):
            return _convolution(layer, x, own)
        if kind == "dense":
            return x @ own["weight"] + own.get("bias", 0)
        if kind == "flatten":
            return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(len(x), -1)
        if kind == "global_avg_pool2d":
            return x.mean(dim=(2, 3))
        if kind.endswith("pool2d"):
            return _pool(layer, x)
        if kind == "prelu":
            return functional.prelu(x, own["slope"])
        if kind == "batch_norm":
            return _norm(layer, x, own, self.training)
        if kind == "dropout":
            seed, step = self.dropout
            return _dropout(layer, x, seed, step, next(self.streams))
        return _ACTIVATIONS[kind](x, layer)


def images_of_torch(x, input_shape):
    """NHWC images in PyTorch's order; feature vectors as they are."""
    return x.permute(0, 3, 1, 2) if len(input_shape) == 3 else x.reshape(len(x), -1)


def _scores(steps, x, arrays, step):
    layers = TorchLayers(arrays, (steps.seed, step))
    return layers(steps.network.layers, images_of_torch(x, steps.network.input_shape))


def _preprocessed(p, x):
    if p.kind == "scale":
        return x * p.factor
    if p.kind == "min_max":
        least, most = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return torch.where(
            least == most, 0.0, (x - least) / torch.where(least == most, 1, most - least)
        )
    if p.kind == "standardize":
        mean, std = torch.from_numpy(p.mean), torch.from_numpy(p.std)
        if mean.numel() != x.shape[3]:
            mean, std = mean.reshape(x.shape[1:]), std.reshape(x.shape[1:])
        return (x - mean) / std
    return x


def _make_optimizer(rule, weights, others):
    """PyTorch's own, with weights apart: the penalty, and perhaps the decay, are theirs alone."""
    if rule.averaged:
        raise NotComparable  # its first step is another one
    coupled = rule.decay_mode == "coupled" and rule.kind != "adamw"
    decay = rule.weight_decay
    if not coupled and decay and rule.l2:
        raise NotComparable
    groups = [
        {"params": weights, "weight_decay": decay + 2 * rule.l2 if coupled else decay},
        {"params": others, "weight_decay": decay if rule.decay_biases else 0.0},
    ]
    if rule.kind in ("adam", "adamw"):
        if not coupled and rule.l2:
            raise NotComparable
        make = torch.optim.Adam if coupled else torch.optim.AdamW
        return make(groups, betas=(rule.beta1, rule.beta2), eps=rule.epsilon)
    if not coupled and decay:
        raise NotComparable
    if not coupled:
        groups[0]["weight_decay"] = 2 * rule.l2
    momentum = 0.0 if rule.kind == "sgd" else rule.momentum
    nesterov = rule.kind == "nesterov" and momentum > 0
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=nesterov)


def steps_of_torch(steps):
    """Return what there is after each step: parameters, state and loss, as in a snapshot.

    Raises
    ------
    NotComparable
        If PyTorch has no such layer or update, or begins its count of steps elsewhere.
    """
    network = steps.network
    if steps.first_step and steps.optimizer.kind in ("adam", "adamw"):
        raise NotComparable
    arrays = {
        name: torch.from_numpy(array.astype(np.float64))
        for name, array in network.named_arrays().items()
    }
    kinds = {name: place.parameter.kind for name, place in network.places.items()}
    for name, kind in kinds.items():
        arrays[name].requires_grad_(kind != "state")
    weights = [arrays[name] for name, kind in kinds.items() if kind == "weight"]
    others = [arrays[name] for name, kind in kinds.items() if kind in ("bias", "scale")]
    if not weights and not others:
        raise NotComparable
    update = _make_optimizer(steps.optimizer, weights, others)
    images, labels = (
        torch.from_numpy(steps.images.astype(np.float64)),
        torch.from_numpy(steps.labels),
    )
    snapshots = []
    for number, order in enumerate(steps.order):
        x = _preprocessed(steps.preprocessing, images[order])
        scores = _scores(steps, x, arrays, steps.first_step + number)
        wanted = labels[order]
        if steps.loss == "mean_squared_error":
            loss = functional.mse_loss(scores, wanted.to(torch.float64))
        elif steps.loss == "nll":
            loss = functional.nll_loss(scores, wanted)
        elif steps.loss != "softmax_cross_entropy":
            raise NotComparable
        else:
            loss = functional.cross_entropy(scores, wanted)
        for group in update.param_groups:
            group["lr"] = float(steps.rates[number])
        update.zero_grad(set_to_none=False)
        if loss.requires_grad:
            loss.backward()
        for array in (*weights, *others):
            if array.grad is None:
                array.grad = torch.zeros_like(array)
        update.step()
        snapshots.append(_snapshot(network, arrays, float(loss.detach()) * len(order)))
    return snapshots


def _snapshot(network, arrays, loss):
    flat = {
        "parameters": np.zeros(network.parameters.size),
        "state": np.zeros(network.state.size),
    }
    for name, place in network.places.items():
        size = math.prod(place.parameter.shape)
        flat[place.buffer][place.offset : place.offset + size] = (
            arrays[name].detach().numpy().ravel()
        )
    return {**flat, "loss": np.array([loss])}
