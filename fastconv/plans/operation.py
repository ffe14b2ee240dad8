"""Specs of the operations without a geometry of their own, as plain frozen data.

Normalisation, activations, random numbers, dropout, losses, updates and the input of a step.
Convolution, pooling and dense are in :mod:`fastconv.spec`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fastconv.plans.activations import ACTIVATION_KINDS as ACTIVATION_KINDS
from fastconv.plans.activations import ActivationKind as ActivationKind
from fastconv.plans.activations import activation_of
from fastconv.spec import Shape, SpecError, require_int


@dataclass(frozen=True, slots=True)
class NormSpec:
    """Batch normalisation over ``rows`` samples of ``channels`` features.

    Images count every pixel as a row: rows = batch * height * width.

    Parameters
    ----------
    rows, channels
        ``x`` has rows * channels elements, channels last.
    epsilon
        Added to the variance before the root.
    momentum
        Share of the batch's statistics in the running ones:
        ``running = (1 - momentum) * running + momentum * batch`` (PyTorch's convention).
    """

    rows: int
    channels: int
    epsilon: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        require_int("NormSpec", "rows", self.rows, 0)
        require_int("NormSpec", "channels", self.channels, 1)
        if not self.epsilon > 0:
            raise SpecError("NormSpec", "epsilon", self.epsilon, "more than 0")
        if not 0 <= self.momentum <= 1:
            raise SpecError("NormSpec", "momentum", self.momentum, "0 to 1")


@dataclass(frozen=True, slots=True)
class ActivationSpec:
    """An elementwise activation.

    Parameters
    ----------
    kind
        A row of :data:`fastconv.plans.activations.ACTIVATIONS`, which has the formulas.
    size
        Elements.
    alpha
        LeakyReLU's slope or ELU's scale, else unused.
    """

    kind: ActivationKind
    size: int
    alpha: float = 0.0

    def __post_init__(self) -> None:
        require_int("ActivationSpec", "size", self.size, 0)
        if self.kind not in ACTIVATION_KINDS:
            raise SpecError(
                "ActivationSpec", "kind", self.kind, f"one of {', '.join(ACTIVATION_KINDS)}"
            )
        if activation_of(self.kind).alpha is not None and not 0 <= self.alpha < math.inf:
            # A negative slope would make the sign of y say nothing about the sign of x.
            expected = "0 or more" if self.alpha != math.inf else "a finite number, 0 or more"
            raise SpecError("ActivationSpec", "alpha", self.alpha, expected)


@dataclass(frozen=True, slots=True)
class PReLUSpec:
    """A ReLU with a learned slope below 0 (He et al., arXiv:1502.01852).

    Parameters
    ----------
    rows, channels
        ``x`` has rows * channels elements, channels last.
    slopes
        1, or one for each channel.
    """

    rows: int
    channels: int
    slopes: int = 1

    def __post_init__(self) -> None:
        require_int("PReLUSpec", "rows", self.rows, 0)
        require_int("PReLUSpec", "channels", self.channels, 1)
        if self.slopes not in (1, self.channels):
            wanted = f"1 or {self.channels}, the channels"
            raise SpecError("PReLUSpec", "slopes", self.slopes, wanted)


@dataclass(frozen=True, slots=True)
class ElementwiseSpec:
    r"""An activation of one's own: two functions of one number.

    Parameters
    ----------
    size
        Elements.
    function, derivative
        (x, \*constants) -> float.
    constants
        Numbers that both take behind x.
    cuda
        Value and derivative as CUDA C++ expressions of ``x`` and ``constants[i]``, for cupy.
    """

    size: int
    function: Callable[..., float]
    derivative: Callable[..., float]
    constants: tuple[float, ...] = ()
    cuda: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        require_int("ElementwiseSpec", "size", self.size, 0)

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", "function")
        given = "".join(f", {constant:g}" for constant in self.constants)
        return f"{name}(x{given}) of {self.size}"


@dataclass(frozen=True, slots=True)
class SoftmaxSpec:
    """Softmax or log-softmax over the last axis of a (rows, classes) array."""

    rows: int
    classes: int

    def __post_init__(self) -> None:
        require_int("SoftmaxSpec", "rows", self.rows, 0)
        require_int("SoftmaxSpec", "classes", self.classes, 1)


@dataclass(frozen=True, slots=True)
class RandomSpec:
    """A stream of random 32-bit words by the counter-based generator Philox4x32-10.

    Word ``i`` at step ``t`` is component ``i % 4`` of the block with

    * key ``(seed & 0xffffffff, seed >> 32)``,
    * counter ``(i // 4, stream, t & 0xffffffff, t >> 32)``.

    So every word can be computed by itself, in any order, by any backend, with the same bits.
    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).

    Parameters
    ----------
    seed
        0 to 2**64 - 1.
    stream
        0 to 2**32 - 1; each user of random numbers in a network takes a stream of its own.
    """

    seed: int
    stream: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise SpecError("RandomSpec", "seed", self.seed, "0 to 2**64 - 1")
        if not 0 <= self.stream < 2**32:
            raise SpecError("RandomSpec", "stream", self.stream, "0 to 2**32 - 1")


@dataclass(frozen=True, slots=True)
class DropoutSpec:
    """Inverted dropout of ``size`` elements: kept and scaled by 1 / (1 - probability), or zeroed.

    Element ``i`` (in memory order) is kept when ``word_i >> 8 >= threshold`` with the words of
    ``random`` at the current step.

    Examples
    --------
    >>> DropoutSpec(10, 0.5, RandomSpec(0, 1)).threshold == 2**23
    True
    """

    size: int
    probability: float
    random: RandomSpec

    def __post_init__(self) -> None:
        require_int("DropoutSpec", "size", self.size, 0)
        if not 0 <= self.probability < 1:
            raise SpecError("DropoutSpec", "probability", self.probability, "0 or more, below 1")

    @property
    def threshold(self) -> int:
        """Words whose upper 24 bits are below this are dropped."""
        return round(self.probability * 2**24)

    @property
    def scale(self) -> float:
        """Factor of the elements that are kept."""
        return 1.0 / (1.0 - self.probability)


@dataclass(frozen=True, slots=True)
class LossSpec:
    """A loss over ``batch`` samples of ``outputs`` scores (classes) or values (regression).

    Backward kernels give the gradient of the *mean* over the batch. Mean squared error is the mean
    over batch and outputs.
    """

    batch: int
    outputs: int

    def __post_init__(self) -> None:
        require_int("LossSpec", "batch", self.batch, 0)
        require_int("LossSpec", "outputs", self.outputs, 1)


OptimizerKind: TypeAlias = Literal[
    "sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "nadam", "lamb"
]
OPTIMIZER_KINDS: tuple[OptimizerKind, ...] = (
    "sgd",
    "momentum",
    "nesterov",
    "adam",
    "rmsprop",
    "adagrad",
    "nadam",
    "lamb",
)


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """One update of the flat parameter buffer ``w`` from the flat gradient buffer ``dw``.

    The effective gradient is ``g = dw + 2*l2*w[:weights] + coupled_decay*w[:decayed]``; then

    * sgd: ``u = g``
    * momentum: ``m = momentum*m + g`` (``averaged``: ``m = momentum*m + (1-momentum)*g``);
      ``u = m``
    * nesterov: m as for momentum; ``u = g + momentum*m``
      (``averaged``: ``u = (1-momentum)*g + momentum*m``)
    * adam: ``m = beta1*m + (1-beta1)*g``, ``v = beta2*v + (1-beta2)*g*g``, with t = step + 1
      ``u = (m / (1-beta1**t)) / (sqrt(v / (1-beta2**t)) + epsilon)``
    * rmsprop: ``v = alpha*v + (1-alpha)*g*g``; ``d = g / (sqrt(v) + epsilon)``, or where
      ``centered``, with the running mean ``c = alpha*c + (1-alpha)*g``,
      ``d = g / (sqrt(max(v - c*c, 0)) + epsilon)``; ``u = d``, or with momentum
      ``m = momentum*m + d``, ``u = m``
    * adagrad: ``v = v + g*g``, ``u = g / (sqrt(v) + epsilon)``
    * nadam: m and v as for adam; with ``mu_t = beta1 * (1 - 0.96**(t*momentum_decay) / 2)`` and P_t
      the product of mu_1 to mu_t, ``u = ((1-mu_t) / (1-P_t) * g + mu_t+1 / (1-P_t+1) * m) /
      (sqrt(v / (1-beta2**t)) + epsilon)``

    and ``w = w - rate*u - rate*decoupled_decay*w_old[:decayed]``, with ``rate_factor`` times the
    rate of the step in place of ``rate``.

    * lamb: with the u of adam, ``u = u + decoupled_decay*w[:decayed]``, and
      ``w = w - rate * ||w|| / ||u|| * u``; the ratio of the norms, over the whole buffer, is 1
      where one of them is 0.

    Parameters
    ----------
    kind
        The update rule.
    size
        Elements of the buffers.
    weights
        The first ``weights`` elements are weights; biases and the parameters of normalisation
        follow. ``l2`` acts on the weights.
    decayed
        The first ``decayed`` elements get weight decay.
    l2
        Factor of the penalty lambda * ||W||^2 in the loss (gradient 2 * lambda * W).
    coupled_decay
        Factor of w added to the gradient.
    decoupled_decay
        Factor of rate * w subtracted beside the step (AdamW; Loshchilov & Hutter,
        arXiv:1711.05101).
    momentum, averaged, beta1, beta2, epsilon, alpha, centered, momentum_decay
        Of the rule. Adam: Kingma & Ba, arXiv:1412.6980. RMSprop: Tieleman & Hinton, lecture 6.5 of
        "Neural Networks for Machine Learning" (2012); centred: Graves, arXiv:1308.0850. Adagrad:
        Duchi, Hazan & Singer, JMLR 12 (2011). NAdam: Dozat, "Incorporating Nesterov Momentum into
        Adam" (2016). LAMB: You et al., arXiv:1904.00962.
    rate_factor
        Of these parameters' learning rate.
    scheduled_momentum
        Of momentum, nesterov and adam: whether ``rate`` has two numbers, the second of which is the
        momentum of the step, or its beta1, in place of that of the rule.
    """

    kind: OptimizerKind
    size: int
    weights: int
    decayed: int
    l2: float = 0.0
    coupled_decay: float = 0.0
    decoupled_decay: float = 0.0
    momentum: float = 0.9
    averaged: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    alpha: float = 0.99
    centered: bool = False
    momentum_decay: float = 0.004
    rate_factor: float = 1.0
    scheduled_momentum: bool = False

    def __post_init__(self) -> None:
        if self.kind not in OPTIMIZER_KINDS:
            raise SpecError(
                "OptimizerSpec", "kind", self.kind, f"one of {', '.join(OPTIMIZER_KINDS)}"
            )
        require_int("OptimizerSpec", "size", self.size, 0)
        for name in ("weights", "decayed"):
            value = getattr(self, name)
            if not 0 <= value <= self.size:
                raise SpecError("OptimizerSpec", name, value, f"0 to {self.size}")
        for name in ("momentum", "beta1", "beta2", "alpha"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise SpecError("OptimizerSpec", name, value, "0 or more, below 1")
        for name in ("l2", "coupled_decay", "decoupled_decay", "momentum_decay", "rate_factor"):
            value = getattr(self, name)
            if not value >= 0:
                raise SpecError("OptimizerSpec", name, value, "0 or more")
        if not self.epsilon > 0:
            raise SpecError("OptimizerSpec", "epsilon", self.epsilon, "more than 0")
        if self.scheduled_momentum and self.kind not in ("momentum", "nesterov", "adam"):
            expected = "false under this rule; use momentum, nesterov, adam or adamw"
            raise SpecError("OptimizerSpec", "scheduled_momentum", True, expected)

    def nadam_shares(self, t: int) -> tuple[float, float]:
        """Factors of g and of m in NAdam's step ``t``, counted from 1.

        The logarithm of P_t is a sum over the steps of log(1 - q**i / 2), whose power series in
        q**i gives geometric sums over i: a few dozen terms, however many steps there were.

        Examples
        --------
        >>> spec = OptimizerSpec("nadam", 1, 1, 0, beta1=0.5, momentum_decay=0.0)
        >>> spec.nadam_shares(1)
        (1.0, 0.26666666666666666)
        """
        log_q = self.momentum_decay * math.log(0.96)
        mu, following = (
            self.beta1 * (1 - 0.5 * math.exp(log_q * step)) for step in (float(t), t + 1.0)
        )
        log_product = t * math.log(self.beta1) if self.beta1 else -math.inf
        for k in range(1, 61):
            sums = float(t)
            if log_q:
                sums = math.exp(k * log_q) * math.expm1(k * log_q * t) / math.expm1(k * log_q)
            log_product -= 0.5**k / k * sums
        product = math.exp(log_product)
        return (1 - mu) / (1 - product), following / (1 - product * following)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Images as they come from a data set: (batch, height, width, channels).

    Feature vectors are images of height 1 and width 1.
    """

    batch: int
    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        require_int("InputSpec", "batch", self.batch, 0)
        for name in ("height", "width", "channels"):
            require_int("InputSpec", name, getattr(self, name), 1)

    @property
    def x_shape(self) -> Shape:
        """Shape of a batch, NHWC."""
        return self.batch, self.height, self.width, self.channels


@dataclass(frozen=True, slots=True)
class AugmentSpec:
    """Random changes to a batch of images, drawn again for every image and step.

    Applied in this order; what falls outside the image is 0.

    1. Horizontal flip with probability 1/2 where ``flip``, then a crop of the image padded by
       ``crop`` pixels on every side: a shift by whole pixels.
    2. Rotation, shear and translation as one affine map, sampled bilinearly.
    3. Cutout: a square of ``cutout`` pixels, its centre anywhere in the image, set to 0
       (DeVries & Taylor, arXiv:1708.04552).

    Image ``n`` uses the words ``12*n`` to ``12*n + 11`` of ``random`` at the current step; with
    ``u_k = (word_k >> 8) / 2**24``:

    * flipped when ``flip`` and ``u_0 < 1/2``;
    * crop row and column: ``oy = floor(u_1 * (2*crop + 1)) - crop``, ``ox`` likewise from u_2;
      output pixel (i, j) takes flipped input pixel (i + oy, j + ox);
    * angle ``a = (2*u_3 - 1) * rotation`` degrees, shear ``s = (2*u_4 - 1) * shear`` degrees,
      shift ``ty = (2*u_5 - 1) * translation * height``, ``tx = (2*u_6 - 1) * translation * width``;
      output pixel (i, j), with ``v = i - (height-1)/2 - ty``, ``h = j - (width-1)/2 - tx``,
      samples at row ``sin(a)*(h - tan(s)*v) + cos(a)*v + (height-1)/2`` and
      column ``cos(a)*(h - tan(s)*v) - sin(a)*v + (width-1)/2``;
    * cutout centre row ``floor(u_7 * height)``, column ``floor(u_8 * width)``; the square
      covers rows ``centre - cutout//2`` to ``centre - cutout//2 + cutout - 1``, clipped.

    Parameters
    ----------
    input
        Shape of the batch.
    random
        Where the draws come from.
    flip
        Horizontal flip.
    crop
        Pixels of padding around the image before a crop of its own size.
    rotation, shear
        Largest angle in degrees, either way.
    translation
        Largest shift as a share of the image's size, either way.
    cutout
        Side of the square in pixels; 0 for none.
    """

    input: InputSpec
    random: RandomSpec
    flip: bool = False
    crop: int = 0
    rotation: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    cutout: int = 0

    words_per_image: int = field(default=12, init=False)

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            size = require_int("AugmentSpec", name, getattr(self, name), 0)
            largest = max(self.input.height, self.input.width)
            if size > largest:
                expected = f"0 to {largest}, the larger side of the images"
                raise SpecError("AugmentSpec", name, size, expected)
        for name, most in (("rotation", 180.0), ("shear", 80.0), ("translation", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise SpecError("AugmentSpec", name, value, f"0 to {most:g}")

    @property
    def moves_pixels(self) -> bool:
        """Whether the flip or the crop is on."""
        return self.flip or self.crop > 0

    @property
    def warps(self) -> bool:
        """Whether the affine map is on."""
        return self.rotation > 0 or self.shear > 0 or self.translation > 0

    def affine(self, u: tuple[float, float, float, float]) -> tuple[float, ...]:
        """Coefficients of the affine map from the draws u_3 to u_6.

        Returns
        -------
        tuple of six float
            (r0, ri, rj, c0, ci, cj): output pixel (i, j) samples row ``r0 + ri*i + rj*j`` and
            column ``c0 + ci*i + cj*j``.
        """
        size = self.input
        a = math.radians((2 * u[0] - 1) * self.rotation)
        k = math.tan(math.radians((2 * u[1] - 1) * self.shear))
        cy, cx = (size.height - 1) / 2, (size.width - 1) / 2
        oy = cy + (2 * u[2] - 1) * self.translation * size.height
        ox = cx + (2 * u[3] - 1) * self.translation * size.width
        ri, rj = math.cos(a) - math.sin(a) * k, math.sin(a)
        ci, cj = -math.sin(a) - math.cos(a) * k, math.cos(a)
        return (cy - ri * oy - rj * ox, ri, rj, cx - ci * oy - cj * ox, ci, cj)
