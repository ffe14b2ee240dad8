"""Batch normalisation and dropout: layers that differ between training and inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fastconv.layers.base import Layer, Node, Parameter
from fastconv.plans.operation import DropoutSpec, NormSpec, RandomSpec
from fastconv.spec import ConvSpec, Shape

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over every axis but the channels (Ioffe & Szegedy, arXiv:1502.03167).

    Parameters
    ----------
    momentum
        Share of the batch's statistics in the running ones.
    epsilon
        Added to the variance.
    train_scale, train_bias
        Whether gamma and beta are learned; else they stay as they are, 1 and 0 unless they are set.
    """

    kind: ClassVar[str] = "batch_norm"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    momentum: float = 0.1
    epsilon: float = 1e-5
    train_scale: bool = True
    train_bias: bool = True

    def spec(self, batch: int, input_shape: Shape) -> NormSpec:
        """Spec of the layer on ``batch`` such samples."""
        rows = batch * math.prod(input_shape[:-1])
        return NormSpec(rows, input_shape[-1], self.epsilon, self.momentum)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input."""
        self.spec(1, input_shape)  # checks momentum and epsilon
        return input_shape

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Scale, shift, and the running statistics."""
        shape = input_shape[-1:]
        return (
            Parameter("gamma", shape, "scale" if self.train_scale else "state", start=1.0),
            Parameter("beta", shape, "bias" if self.train_bias else "state"),
            Parameter("running_mean", shape, "state"),
            Parameter("running_variance", shape, "state", start=1.0),
        )

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call: batch statistics in training, running ones in inference."""
        spec = self.spec(builder.batch, node.input_shape)
        p = node.parameters
        arrays = (node.x, p["gamma"], p["beta"], p["running_mean"], p["running_variance"], node.y)
        if not builder.training:
            builder.call("norm.batch_norm_forward_inference", spec, *arrays)
            return
        for name in ("mean", "inverse_std"):
            node.saved[name] = builder.buffer(f"{node.name}.{name}", (spec.channels,))
        saved = node.saved["mean"], node.saved["inverse_std"]
        builder.call("norm.batch_norm_forward_training", spec, *arrays, *saved)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the backward call, which computes all gradients at once."""
        spec = self.spec(builder.batch, node.input_shape)
        if not builder.training:
            self._backward_of_inference(builder, node, dy, dx)
            return
        if dx is None:
            dx = builder.buffer(f"{node.name}.dx", builder.batched(node.input_shape))
        # What is not trained has a gradient too, which goes nowhere.
        gradients = [node.gradients[name] for name in ("gamma", "beta")]
        builder.call(
            "norm.batch_norm_backward", spec, dy, node.x, node.parameters["gamma"],
            node.saved["mean"], node.saved["inverse_std"], dx, *gradients,
        )  # fmt: skip

    def _backward_of_inference(
        self, builder: PlanBuilder, node: Node, dy: int, dx: int | None
    ) -> None:
        """Add the gradients where the statistics are constants: of a factor and a summand.

        The data gradient is the normalisation itself with a mean and a shift of 0. Those of gamma
        and beta are sums over rows, of dy times the normalised x and of dy: the weight and the bias
        gradient of a 1x1 convolution of one channel to a group.
        """
        spec, p = self.spec(builder.batch, node.input_shape), node.parameters
        channels, variance = spec.channels, node.parameters["running_variance"]
        zeros = builder.buffer(f"{node.name}.zeros", (channels,))  # which nobody writes
        if dx is not None:
            arrays = dy, p["gamma"], zeros, zeros, variance, dx
            builder.call("norm.batch_norm_forward_inference", spec, *arrays)
        if not node.gradients:
            return
        normalized = builder.buffer(f"{node.name}.normalized", builder.batched(node.input_shape))
        ones = builder.shared_buffer(f"ones.{channels}", (channels,))
        arrays = node.x, ones, zeros, p["running_mean"], variance, normalized
        builder.call("norm.batch_norm_forward_inference", spec, *arrays)
        rows = ConvSpec(spec.rows, channels, 1, 1, channels, (1, 1), groups=channels)
        gradients = [node.gradients[name] for name in ("gamma", "beta")]
        builder.call(
            "conv.conv2d_backward_weight", rows,
            builder.view(f"{node.name}.dy_rows", dy, rows.y_shape),
            builder.view(f"{node.name}.normalized_rows", normalized, rows.x_shape),
            builder.view(f"{node.name}.gamma_row", gradients[0], rows.w_shape), gradients[1],
        )  # fmt: skip


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout (Srivastava et al., JMLR 15, 2014); nothing in inference.

    Parameters
    ----------
    probability
        Share of the elements that are dropped.
    """

    kind: ClassVar[str] = "dropout"
    in_place: ClassVar[bool] = True
    training_only: ClassVar[bool] = True

    probability: float = 0.5

    def spec(self, size: int, random: RandomSpec) -> DropoutSpec:
        """Spec of the layer on ``size`` elements."""
        return DropoutSpec(size, self.probability, random)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input."""
        self.spec(1, RandomSpec(0, 0))  # checks the probability
        return input_shape

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call, which draws the mask of the step."""
        shape = builder.batched(node.input_shape)
        node.saved["mask"] = builder.buffer(f"{node.name}.mask", shape, "uint8")
        node.spec = self.spec(math.prod(shape), builder.new_random_stream())
        step, mask = builder.step, node.saved["mask"]
        builder.call("dropout.dropout_forward", node.spec, node.x, step, mask, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            builder.call("dropout.dropout_backward", node.spec, dy, node.saved["mask"], dx)
