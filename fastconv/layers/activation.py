"""Activation layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fastconv.layers.base import Layer, Node, Parameter
from fastconv.plans.activations import ActivationKind, activation_of
from fastconv.plans.operation import ActivationSpec, ElementwiseSpec, PReLUSpec, SoftmaxSpec
from fastconv.spec import Shape, SpecError

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


class _Elementwise(Layer):
    """An activation by :class:`fastconv.plans.operation.ActivationSpec`."""

    kind: ClassVar[ActivationKind]
    in_place: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        cls.retains = (activation_of(cls.kind).keeps,)

    @property
    def activation(self) -> ActivationKind:
        """Row of the table of activations."""
        return self.kind

    def _spec(self, size: int) -> ActivationSpec:
        return ActivationSpec(self.activation, size, getattr(self, "alpha", 0.0))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input."""
        self._spec(1)  # checks alpha
        return input_shape

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self._spec(math.prod(builder.batched(node.input_shape)))
        builder.call("activation.activation_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self._spec(math.prod(builder.batched(node.input_shape)))
            x = node.x if "x" in self.retains else None
            y = node.y if "y" in self.retains else None
            builder.call("activation.activation_backward", spec, dy, x, y, dx)


@dataclass(frozen=True)
class ReLU(_Elementwise):
    """``max(x, 0)``."""

    kind: ClassVar[ActivationKind] = "relu"


@dataclass(frozen=True)
class LeakyReLU(_Elementwise):
    """``x`` where positive, else ``alpha * x``."""

    kind: ClassVar[ActivationKind] = "leaky_relu"

    alpha: float = 0.01


@dataclass(frozen=True)
class ELU(_Elementwise):
    """``x`` where positive, else ``alpha * (e^x - 1)``."""

    kind: ClassVar[ActivationKind] = "elu"

    alpha: float = 1.0


@dataclass(frozen=True)
class SELU(_Elementwise):
    """Scaled ELU; use it with LeCun's initialisation."""

    kind: ClassVar[ActivationKind] = "selu"


@dataclass(frozen=True)
class Sigmoid(_Elementwise):
    """``1 / (1 + e^-x)``."""

    kind: ClassVar[ActivationKind] = "sigmoid"


@dataclass(frozen=True)
class Tanh(_Elementwise):
    """Hyperbolic tangent."""

    kind: ClassVar[ActivationKind] = "tanh"


@dataclass(frozen=True)
class Softplus(_Elementwise):
    """``log(1 + e^x)``."""

    kind: ClassVar[ActivationKind] = "softplus"


@dataclass(frozen=True)
class GELU(_Elementwise):
    """``x`` times the normal distribution function of x (arXiv:1606.08415).

    Parameters
    ----------
    approximate
        "none": by the error function; "tanh": by the authors' approximation.
    """

    kind: ClassVar[ActivationKind] = "gelu"

    approximate: Literal["none", "tanh"] = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise SpecError("GELU", "approximate", self.approximate, "'none' or 'tanh'")

    @property
    def activation(self) -> ActivationKind:
        """Row of the table of activations."""
        return "gelu" if self.approximate == "none" else "gelu_tanh"


@dataclass(frozen=True)
class SiLU(_Elementwise):
    """``x * sigmoid(x)``, also called swish."""

    kind: ClassVar[ActivationKind] = "silu"


@dataclass(frozen=True)
class HardSigmoid(_Elementwise):
    """``x / 6 + 1/2``, kept between 0 and 1."""

    kind: ClassVar[ActivationKind] = "hard_sigmoid"


@dataclass(frozen=True)
class HardSwish(_Elementwise):
    """``x`` times the hard sigmoid of x."""

    kind: ClassVar[ActivationKind] = "hard_swish"


@dataclass(frozen=True)
class ReLU6(_Elementwise):
    """``max(x, 0)``, at most 6."""

    kind: ClassVar[ActivationKind] = "relu6"


@dataclass(frozen=True)
class Softsign(_Elementwise):
    """``x / (1 + abs(x))``."""

    kind: ClassVar[ActivationKind] = "softsign"


@dataclass(frozen=True)
class Mish(_Elementwise):
    """``x * tanh(softplus(x))`` (arXiv:1908.08681)."""

    kind: ClassVar[ActivationKind] = "mish"


@dataclass(frozen=True)
class PReLU(Layer):
    """``x`` where positive, else a learned slope times x (He et al., arXiv:1502.01852).

    Parameters
    ----------
    per_channel
        Whether each channel has a slope of its own.
    initial
        First value of the slopes.
    """

    kind: ClassVar[str] = "prelu"
    retains: ClassVar[tuple[str, ...]] = ("x",)
    in_place: ClassVar[bool] = True

    per_channel: bool = False
    initial: float = 0.25

    def spec(self, batch: int, input_shape: Shape) -> PReLUSpec:
        """Spec of the layer on ``batch`` such samples."""
        channels = input_shape[-1]
        rows = batch * math.prod(input_shape[:-1])
        return PReLUSpec(rows, channels, channels if self.per_channel else 1)

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """The slopes; no weight decay shrinks them unless it shrinks biases too."""
        slopes = self.spec(1, input_shape).slopes
        return (Parameter("slope", (slopes,), "scale", start=self.initial),)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self.spec(builder.batch, node.input_shape)
        builder.call("prelu.prelu_forward", spec, node.x, node.parameters["slope"], node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the backward call, which computes both gradients at once."""
        spec = self.spec(builder.batch, node.input_shape)
        if dx is None:
            dx = builder.buffer(f"{node.name}.dx", builder.batched(node.input_shape))
        slope, dslope = node.parameters["slope"], node.gradients["slope"]
        builder.call("prelu.prelu_backward", spec, dy, node.x, slope, dx, dslope)


@dataclass(frozen=True)
class Elementwise(Layer):
    r"""An activation of one's own, of two Python functions of one number.

    The numpy backend calls them for every element. The numba and cython backends run them compiled
    by Numba, which must be installed for it: they may use arithmetic, comparisons and what Numba
    compiles of Python, such as ``math.exp``. The cupy backend takes CUDA expressions instead.

    Parameters
    ----------
    function
        (x, \*constants) -> y.
    derivative
        (x, \*constants) -> dy/dx; :func:`fastconv.check_gradients` finds a wrong one.
    constants
        Numbers that both functions take behind x.
    cuda
        Value and derivative as CUDA C++ expressions of ``x`` and ``constants[i]``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import Sequential, check_gradients
    >>> from fastconv.layers import Dense
    >>> square = Elementwise(lambda x: x * x, lambda x: 2 * x)
    >>> network = Sequential([Dense(3), square, Dense(2)], (4,))
    >>> batch = np.random.default_rng(0).normal(size=(2, 4)), np.array([0, 1])
    >>> check_gradients(network, batch, backend="numpy", verbose=False).passed
    True
    """

    kind: ClassVar[str] = "elementwise"
    retains: ClassVar[tuple[str, ...]] = ("x",)
    in_place: ClassVar[bool] = True

    function: Callable[..., float]
    derivative: Callable[..., float]
    constants: tuple[float, ...] = ()
    cuda: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for name in ("function", "derivative"):
            if not callable(getattr(self, name)):
                raise SpecError("Elementwise", name, getattr(self, name), "a function of x")

    def _spec(self, size: int) -> ElementwiseSpec:
        numbers = tuple(float(each) for each in self.constants)
        return ElementwiseSpec(size, self.function, self.derivative, numbers, self.cuda)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self._spec(math.prod(builder.batched(node.input_shape)))
        builder.call("elementwise.elementwise_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self._spec(math.prod(builder.batched(node.input_shape)))
            builder.call("elementwise.elementwise_backward", spec, dy, node.x, dx)


class _OverClasses(Layer):
    """Softmax or log-softmax over the last axis."""

    retains: ClassVar[tuple[str, ...]] = ("y",)
    in_place: ClassVar[bool] = True

    def _spec(self, builder: PlanBuilder, shape: Shape) -> SoftmaxSpec:
        return SoftmaxSpec(builder.batch * math.prod(shape[:-1]), shape[-1])

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self._spec(builder, node.input_shape)
        builder.call(f"activation.{self.kind}_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self._spec(builder, node.input_shape)
            builder.call(f"activation.{self.kind}_backward", spec, dy, node.y, dx)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input, a vector."""
        if len(input_shape) != 1:
            raise ValueError(
                f"{self.kind} takes vectors but gets {input_shape}; put flatten in front"
            )
        return input_shape


@dataclass(frozen=True)
class Softmax(_OverClasses):
    """Probabilities from scores. With cross entropy leave it out: that loss has its own."""

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class LogSoftmax(_OverClasses):
    """Log-probabilities from scores, for the loss "nll"."""

    kind: ClassVar[str] = "log_softmax"


ACTIVATION_LAYERS: tuple[type[Layer], ...] = (
    *_Elementwise.__subclasses__(),
    PReLU,
    *_OverClasses.__subclasses__(),
)
"""All of them, in the order of this file."""
