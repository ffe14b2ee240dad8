"""Networks, data and updates drawn at random.

A network comes from anything that can choose: hypothesis, whose choices shrink, or a generator of
random numbers with a seed.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from fastconv.layers import (
    ELU,
    GELU,
    SELU,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv1D,
    Conv2D,
    ConvTranspose2D,
    Crop2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Graph,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    LogSoftmax2D,
    MaxPool1D,
    MaxPool2D,
    Mish,
    Permute,
    PReLU,
    ReflectPad2D,
    ReLU,
    ReLU6,
    Reshape,
    Residual,
    Scale,
    ScaleAndShift,
    SeparableConv2D,
    Sigmoid,
    SiLU,
    Softmax,
    Softmax2D,
    Softplus,
    Softsign,
    SpatialDropout,
    StochasticDepth,
    Tanh,
    Upsample2D,
    ZeroPad2D,
)
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.plans.loss_operation import ELEMENTWISE_LOSS_KINDS
from fastconv.preprocessing import Preprocessing
from fastconv.step_check.training_steps import TrainingSteps

STEPS = 3
_MOST_LAYERS = 8
_MOST_ELEMENTS = 40_000
"""Of any array of a batch."""
_MOST_FLOPS = {False: 2e6, True: 3e7}
"""Of the forward pass of a step, usually and in a large network."""


@dataclass(frozen=True)
class Case:
    """Some training steps, but for arrays, which follow from the seed."""

    layers: tuple
    input_shape: tuple
    batch: int = 1
    loss: str | Loss = "softmax_cross_entropy"
    optimizer: Optimizer = Optimizer("sgd")  # noqa: RUF009, frozen
    rate: float = 0.01
    preprocessing: str = "none"
    images: str = "float"
    dtype: str = "float32"
    first_step: int = 0
    seed: int = 0

    def __repr__(self):
        """As Python source, without what is the default."""
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("layers", "input_shape") or value != field.default:
                parts.append(f"{field.name}={_source(value)}")
        return f"Case({', '.join(parts)})"

    def as_test(self, runner, number=None):
        """Source of a test that fails as this case does."""
        name = "some_steps" if number is None else f"network_{number}"
        return (
            f"def test_steps_of_{name}():\n"
            f"    case = {self!r}\n"
            f"    assert_steps_agree(case, {runner!r})\n"
        )

    def network(self):
        """The network, with nothing at its start value."""
        network = Sequential(self.layers, self.input_shape, seed=self.seed, dtype=self.dtype)
        generator = np.random.default_rng([self.seed, 1])
        for name, place in network.places.items():
            if place.parameter.kind != "weight":
                drawn = generator.uniform(0.2, 1.2, place.parameter.shape)
                if place.parameter.kind == "bias" or name.endswith("mean"):
                    drawn -= 0.7
                network[name][...] = drawn
        return network

    def steps(self):
        """The steps, with their data."""
        network, generator = self.network(), np.random.default_rng([self.seed, 2])
        shape = self.input_shape if len(self.input_shape) == 3 else (1, 1, *self.input_shape)
        count = self.batch + 3
        if self.images == "uint8":
            end = 4 if self.preprocessing == "none" else 256
            images = generator.integers(0, end, (count, *shape)).astype(np.uint8)
        else:
            images = generator.normal(size=(count, *shape)).astype(self.dtype)
        (outputs,) = network.output_shape
        if not Loss.of(self.loss).takes_labels:
            labels = generator.normal(size=(count, outputs)).astype(self.dtype)
        else:
            labels = generator.integers(0, outputs, count)
        return TrainingSteps(
            network, images, labels, self.loss, self.optimizer, self.batch,
            self.rate * 0.5 ** np.arange(STEPS), self._preprocessing(shape, generator),
            seed=self.seed, first_step=self.first_step,
        )  # fmt: skip

    def _preprocessing(self, shape, generator):
        kind, _, per = self.preprocessing.partition(" by ")
        if kind == "scale":
            return Preprocessing("scale", factor=0.01 if self.images == "uint8" else 0.7)
        if kind != "standardize":
            return Preprocessing(kind)
        size = {"channel": shape[-1], "feature": math.prod(shape)}[per]
        mean, std = generator.uniform(0.2, 0.8, size), generator.uniform(0.5, 1.5, size)
        unit = 120.0 if self.images == "uint8" else 1.0
        return Preprocessing("standardize", mean=unit * mean, std=unit * std)


def _source(value):
    """A value as Python source, without the defaults of layers and optimisers."""
    if isinstance(value, tuple):
        inner = ", ".join(map(_source, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Concatenate):
        return f"Concatenate({', '.join(map(_source, value.paths))})"
    if hasattr(value, "__dataclass_fields__"):
        parts = [
            f"{field.name}={_source(getattr(value, field.name))}"
            for field in fields(value)
            if getattr(value, field.name) != field.default
        ]
        return f"{type(value).__name__}({', '.join(parts)})"
    return repr(value)


class Seeded:
    """Chooses by random numbers."""

    def __init__(self, *seed):
        self._generator = np.random.default_rng(seed)

    def integer(self, least, most):
        return int(self._generator.integers(least, most + 1))

    def one_of(self, options):
        return options[self.integer(0, len(options) - 1)]


class Hypothesis:
    """Chooses as hypothesis draws: what stands first is the simplest."""

    def __init__(self, draw):
        from hypothesis import strategies

        self._draw, self._strategies = draw, strategies

    def integer(self, least, most):
        return self._draw(self._strategies.integers(least, most))

    def one_of(self, options):
        return self._draw(self._strategies.sampled_from(options))


ACTIVATIONS = (
    ReLU, LeakyReLU, ELU, SELU, Sigmoid, Tanh, Softplus,
    GELU, SiLU, HardSigmoid, HardSwish, ReLU6, Softsign, Mish, PReLU,
)  # fmt: skip
_UPDATES = ("sgd", "sgd", "momentum", "nesterov", "adam", "adamw")
_COUNTS = (1, 2, 3, 4, 5, 8, 16, 17, 32, 1, 2, 3, 4, 5, 8, 16, 17, 32, 6, 7, 10, 20, 33)
"""Of channels and units."""
_BATCHES = (1, 2, 3, 4, 5, 8, 16, 17, 32, 1, 2, 3, 4, 8, 8, 16, 16, 16, 32, 6, 7, 24, 48, 64)


def draw_case(choose, dtypes=("float32", "float64")):
    """Draw a network with its data and its updates."""
    # Every fourth: whole vectors of samples, convolutions of which some keep samples side by side
    # and others do not, and updates that are a part of what comes before them.
    mixes_orders = choose.integer(0, 3) == 3
    batch = choose.one_of((16, 8, 32, 4) if mixes_orders else _BATCHES)
    is_large = choose.integer(0, 7) == 7
    layers, shape = _draw_layers(choose, batch, _MOST_FLOPS[is_large], mixes_orders)
    loss = choose.one_of(("softmax_cross_entropy", "nll", "mean_squared_error"))
    last = {"nll": (LogSoftmax(),), "mean_squared_error": choose.one_of(((), (Softmax(),)))}
    images = choose.one_of(("float", "uint8"))
    kinds = ("none", "scale", "min_max", "standardize by channel", "standardize by feature")
    optimizer, rate = _draw_optimizer(choose, ("sgd",) if mixes_orders else _UPDATES)
    case = Case(
        (*layers, *last.get(loss, ())), shape, batch, loss, optimizer, rate,
        choose.one_of(kinds), images, choose.one_of(dtypes), choose.one_of((0, 0, 1, 40, 70_000)),
        choose.integer(0, 999),
    )  # fmt: skip
    return _with_more(choose, case, most_flops=_MOST_FLOPS[is_large])


def _with_more(choose, case, most_flops):
    """Some cases with layers in between, and with a loss that has options."""
    if choose.integer(0, 3) < 3:
        return case
    layers = case.layers
    for _ in range(choose.integer(1, 3)):
        place = choose.integer(0, len(layers) - 1)
        shape = _shape_behind(layers[:place], case.input_shape)
        more = (*layers[:place], *_draw_between(choose, shape), *layers[place:])
        if _fits(more, case, most_flops):
            layers = more
    loss = case.loss
    if loss == "mean_squared_error":
        loss = choose.one_of(ELEMENTWISE_LOSS_KINDS)
    elif loss == "softmax_cross_entropy":
        (outputs,) = _shape_behind(layers, case.input_shape)
        weights = choose.one_of((None, tuple(1.0 + k % 3 for k in range(outputs))))
        loss = Loss(loss, choose.one_of((0.0, 0.2)), weights, choose.one_of((None, 0, -100)))
    return replace(case, layers=layers, loss=loss)


def _shape_behind(layers, shape):
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def _fits(layers, case, most_flops):
    shape, flops = case.input_shape, 0.0
    try:
        for layer in layers:
            flops += 2 * case.batch * layer.flops(shape)
            shape = layer.output_shape(shape)
            if case.batch * math.prod(shape) > _MOST_ELEMENTS or flops > most_flops:
                return False
    except ValueError:
        return False
    return len(shape) == 1


def _draw_between(choose, shape):
    """A layer that leaves images images and vectors vectors, or a few."""
    channels = shape[-1]
    norms = (
        LayerNorm(), LayerNorm(channels, bias=False), StochasticDepth(0.3), ScaleAndShift(1.5, 0.5)
    )  # fmt: skip
    if len(shape) != 3:
        return [choose.one_of((*norms, _crossed(Dense(channels))))]
    groups = choose.one_of([g for g in range(1, channels + 1) if channels % g == 0])
    row = Reshape((1, shape[0] * shape[1], channels))
    pad, filters = choose.one_of((1, (0, 1))), choose.integer(1, 9)
    return choose.one_of((
        [norms[0]], [norms[1]], [norms[2]], [GroupNorm(groups)], [InstanceNorm(affine=True)],
        [SpatialDropout(0.3)], [ZeroPad2D(pad)], [ReflectPad2D(pad)], [Crop2D(pad)],
        [Upsample2D(2)], [Upsample2D((1, 2), "bilinear")], [Permute((1, 0, 2))],
        [Permute((2, 0, 1))], [SeparableConv2D(filters, padding=1)], [GlobalMaxPool2D()],
        [row, Conv1D(filters)], [row, MaxPool1D(2)], [row, AvgPool1D(2)],
        [GlobalMaxPool2D()], [LogSoftmax2D()], [Softmax2D()], [norms[3]], [GlobalMaxPool2D()],
        [_crossed(Conv2D(channels, 1))],
    ))  # fmt: skip


def _crossed(layer):
    """Two sums, each of which reads what the other one's summand is made of: no nesting."""
    return Graph((
        ("first", layer, ("input",)), ("bent", Tanh(), ("first",)),
        ("second", layer, ("bent",)), ("sum", Residual(()), ("first", "second")),
        ("product", Scale(()), ("sum", "bent")), ("both", Residual(()), ("product", "input")),
    ))  # fmt: skip


def _draw_optimizer(choose, kinds):
    kind = choose.one_of(kinds)
    options = {
        "l2": choose.one_of((0.0, 0.0, 0.02)),
        "weight_decay": choose.one_of((0.0, 0.0, 0.05)),
        "decay_mode": choose.one_of(("coupled", "decoupled")),
        "decay_biases": choose.one_of((False, True)),
    }
    if kind in ("momentum", "nesterov"):
        options["momentum"] = choose.one_of((0.9, 0.5, 0.0))
        options["averaged"] = choose.one_of((False, True))
    if kind.startswith("adam"):
        options["epsilon"] = choose.one_of((1e-3, 1e-8, 0.1))
        options["beta1"] = choose.one_of((0.9, 0.5, 0.0))
        options["beta2"] = choose.one_of((0.999, 0.8))
    return Optimizer(kind, **options), choose.one_of((0.01, 0.05, 0.002))


def _draw_layers(choose, batch, most_flops, mixes_orders):
    """Layers that fit one another and end in a vector, and the shape of an input."""
    if choose.integer(0, 7) == 7 and not mixes_orders:
        shape = (choose.integer(1, 40),)
    else:
        shape = (choose.integer(1, 14), choose.integer(1, 14), choose.one_of(_COUNTS[:12]))
    first, layers, flops = shape, [], 0.0
    for number in range(choose.integer(1, _MOST_LAYERS)):
        is_chain = mixes_orders and number < 2 and len(shape) == 3
        for layer in _draw_chain(choose) if is_chain else _draw_group(choose, shape):
            try:
                after = layer.output_shape(shape)
            except ValueError:
                continue  # does not fit: the network goes on without it
            more = 2 * batch * layer.flops(shape)
            if batch * math.prod(after) > _MOST_ELEMENTS or flops + more > most_flops:
                continue
            layers.append(layer)
            shape, flops = after, flops + more
        if len(layers) >= _MOST_LAYERS:
            break
    if len(shape) == 3:
        layers.append(choose.one_of((Flatten(), Flatten(), GlobalAvgPool2D())))
        shape = layers[-1].output_shape(shape)
        if 2 * batch * shape[0] * 4 > most_flops or choose.integer(0, 2) < 2:
            layers.append(Dense(choose.integer(1, 5)))
    elif shape[0] > 40 or not layers:
        layers.append(Dense(choose.integer(1, 5)))
    return tuple(layers), first


def _draw_group(choose, shape):
    """A layer, or a few that often stand together."""
    if len(shape) == 1:
        kind = choose.one_of(
            ("dense", "dense", "activation", "dropout", "norm", "softmax", "branches")
        )
        if kind == "dense":
            return [Dense(choose.one_of(_COUNTS), choose.one_of((True, True, False)))]
        if kind == "branches":
            return [_draw_branches_of_vectors(choose, shape)]
        if kind == "softmax":
            return [choose.one_of((Softmax(), LogSoftmax(), Flatten()))]
        return [_draw_elementwise(choose, kind)]
    kind = choose.one_of(
        ("conv", "conv", "chain", "chain", "block", "special", "transpose", "max", "average",
         "activation", "activation", "norm", "dropout", "flatten", "global", "branches")
    )  # fmt: skip
    if kind == "conv":
        return [_draw_convolution(choose, shape)]
    if kind == "chain":
        return _draw_chain(choose)
    if kind == "special":
        return choose.one_of((_draw_pooled, _draw_filtered, _draw_strided))(choose, shape)
    if kind == "block":
        return _draw_block(choose, shape)
    if kind == "transpose":
        return [_draw_transposed(choose, shape)]
    if kind == "max":
        return [MaxPool2D(*_draw_pool(choose), choose.one_of((False, True)))]  # type: ignore[call-arg]
    if kind == "average":
        ceil, include = choose.one_of((False, True)), choose.one_of((True, False))
        return [AvgPool2D(*_draw_pool(choose), ceil, include)]  # type: ignore[call-arg]
    if kind == "flatten":
        return [Flatten()]
    if kind == "global":
        return [GlobalAvgPool2D()]
    if kind == "branches":
        return [_draw_branches(choose, shape)]
    return [_draw_elementwise(choose, kind)]


def _draw_elementwise(choose, kind):
    if kind == "norm":
        return BatchNorm(choose.one_of((0.1, 0.5, 1.0)), choose.one_of((1e-5, 1e-2)))
    if kind == "dropout":
        return Dropout(choose.one_of((0.5, 0.1, 0.9, 0.0)))
    layer = choose.one_of((ReLU, *ACTIVATIONS))
    if layer in (LeakyReLU, ELU):
        return layer(choose.one_of((0.1, 0.01, 1.0, 0.0, 1.5)))
    if layer is PReLU:
        return layer(choose.one_of((True, False)), choose.one_of((0.25, -0.5)))
    if layer is GELU:
        return layer(choose.one_of(("none", "tanh")))
    return layer()


def _draw_pair(choose, least, most):
    """A number, or one for each side."""
    if choose.one_of((True, True, False)):
        return choose.integer(least, most)
    return (choose.integer(least, most), choose.integer(least, most))


def _draw_padding(choose, most):
    kind = choose.one_of(("number", "none", "same", "sides"))
    if kind == "number":
        return _draw_pair(choose, 0, most)
    if kind == "sides":
        return tuple((choose.integer(0, most), choose.integer(0, most)) for _ in range(2))
    return "same" if kind == "same" else 0


def _draw_groups(choose, channels):
    """Groups and filters that fit the channels."""
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    groups = choose.one_of((1, 1, 1, divisors[-1], choose.one_of(divisors)))
    if groups == 1:
        return 1, choose.one_of(_COUNTS)
    return groups, groups * choose.integer(1, max(1, 34 // groups))


def _draw_convolution(choose, shape):
    kernel = _draw_pair(choose, 1, choose.one_of((3, 3, 1, 2, 5, 7)))
    groups, filters = _draw_groups(choose, shape[2])
    return Conv2D(
        filters, kernel, _draw_pair(choose, 1, choose.one_of((1, 1, 2, 3))),
        _draw_padding(choose, choose.one_of((1, 2, 4))),
        _draw_pair(choose, 1, choose.one_of((1, 1, 1, 2, 3))), groups,
        choose.one_of((True, True, False)),
    )  # fmt: skip


def _draw_transposed(choose, shape):
    stride = _draw_pair(choose, 1, choose.one_of((1, 2, 3)))
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    groups, filters = _draw_groups(choose, shape[2])
    padding = _draw_padding(choose, 2)
    return ConvTranspose2D(
        filters, _draw_pair(choose, 1, choose.one_of((3, 2, 5))), stride,
        0 if isinstance(padding, str) else padding,
        tuple(choose.integer(0, s - 1) for s in strides),
        _draw_pair(choose, 1, choose.one_of((1, 1, 2))), groups,
        choose.one_of((True, True, False)),
    )  # fmt: skip


def _draw_pool(choose):
    """Kernel, stride and padding."""
    kernel = choose.one_of((2, 2, 3, (1, 2), (3, 2), 4))
    stride = choose.one_of((None, None, 1, 2, (2, 1), 3))
    return kernel, stride, choose.one_of((0, 0, 0, "same", 1))


def _draw_block(choose, shape):
    """Layers that are computed together: convolutions, activations and pools behind them."""
    layers = []
    for _ in range(choose.integer(1, 2)):
        plain = Conv2D(
            choose.one_of((16, 32, 8, 1, 3, 6, 4)), choose.one_of((3, 3, 1, 2)),
            padding=choose.one_of((0, 0, 1)), bias=choose.one_of((True, True, False)),
        )  # fmt: skip
        layers.append(plain)
        activation = choose.one_of((None, ReLU(), LeakyReLU(0.2), LeakyReLU(0.1), Tanh()))
        layers += [] if activation is None else [activation]
    if choose.one_of((True, True, False)):
        layers.append(choose.one_of((MaxPool2D(2), MaxPool2D(2), AvgPool2D(2))))
    return layers


def _draw_chain(choose):
    """Convolutions in a row, of which one may keep its images in another order than the next."""
    layers = []
    for _ in range(choose.integer(2, 4)):
        filters, kernel = choose.one_of((1, 2, 3, 4, 5, 8, 16, 32)), choose.one_of((1, 1, 2, 3))
        layers.append(Conv2D(filters, kernel, bias=choose.one_of((True, False))))
        activation = choose.one_of((None, None, ReLU(), LeakyReLU(0.2)))
        layers += [] if activation is None else [activation]
    return layers


def _draw_branches(choose, shape):
    """A layer of layers over images, whose branches keep the size of the images."""
    channels = shape[2]
    kind = choose.one_of(("residual", "residual", "concatenate", "scale", "gate"))
    if kind == "scale":
        squeezed = [Dense(choose.integer(1, 8)), *_draw_sign_activation(choose)]
        return Scale([GlobalAvgPool2D(), *squeezed, Dense(channels), Sigmoid()])
    if kind == "gate":
        return Scale([Conv2D(channels, 1), choose.one_of((Sigmoid(), Tanh()))])
    inner = [
        Conv2D(choose.one_of((1, 3, 8, 16)), 3, padding=1),
        *choose.one_of(([], [BatchNorm()])),
        *_draw_sign_activation(choose),
    ]
    if kind == "concatenate":
        pooled = [MaxPool2D(3, 1, 1), Conv2D(choose.one_of((1, 4, 8)), 1)]
        others = choose.one_of(([pooled], [[]], [pooled, []], [[Conv2D(2, 1)], pooled]))
        return Concatenate(inner, *others)
    inner.append(Conv2D(channels, choose.one_of((1, 3)), padding="same"))
    return Residual(inner, choose.one_of(([], [], [Conv2D(channels, 1), BatchNorm()], [ReLU()])))


def _draw_branches_of_vectors(choose, shape):
    """A layer of layers over vectors."""
    inner = [Dense(choose.one_of((1, 4, 17))), *_draw_sign_activation(choose)]
    kind = choose.one_of(("residual", "concatenate", "scale"))
    if kind == "concatenate":
        return Concatenate(inner, choose.one_of(([], [Dense(3)])))
    inner.append(Dense(shape[0]))
    return Residual(inner) if kind == "residual" else Scale([*inner, Sigmoid()])


def _draw_sign_activation(choose):
    """A (leaky) ReLU or none, as a list."""
    activation = choose.one_of((None, ReLU(), LeakyReLU(0.2)))
    return [] if activation is None else [activation]


def _draw_pooled(choose, shape):
    """A convolution behind whole vectors of channels, with a max pool right behind it."""
    layers = []
    if shape[2] % 8 or choose.one_of((False, True)):
        layers = [Conv2D(choose.one_of((16, 32, 8)), choose.one_of((1, 3)), padding="same")]
        layers += _draw_sign_activation(choose)
    layers.append(Conv2D(choose.integer(1, 20), bias=choose.one_of((True, False))))
    return [*layers, *_draw_sign_activation(choose), MaxPool2D(2)]


def _draw_filtered(choose, shape):
    """3x3 convolutions of even sizes and whole vectors of channels: Winograd's filters."""
    layers, sides = [], [(1, 1 + size % 2) for size in shape[:2]]
    for _ in range(choose.integer(2, 3)):
        filters = choose.one_of((16, 32, 8, 4))
        layers.append(Conv2D(filters, padding=tuple(sides), bias=choose.one_of((True, False))))
        layers += _draw_sign_activation(choose)
        sides = [(1, 1), (1, 1)]
    return layers


def _draw_strided(choose, shape):
    """A strided convolution of few channels that needs the gradient of its input."""
    layers = [Conv2D(choose.integer(1, 4), 1, padding=((0, 0), (0, shape[1] % 2)))]
    layers += _draw_sign_activation(choose)
    kernel, stride = choose.one_of((7, 5, 4, 3)), choose.one_of((2, 2, (1, 2)))
    filters = choose.one_of((5, 8, 16, 17))
    layers.append(Conv2D(filters, kernel, stride, kernel // 2))
    return [*layers, *_draw_sign_activation(choose)]
