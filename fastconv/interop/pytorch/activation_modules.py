"""PyTorch's activation layers on fastconv's kernels."""

from __future__ import annotations

from torch import Tensor, nn

from fastconv.interop.pytorch import functional


class ReLU(nn.ReLU):
    """``torch.nn.ReLU``."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element, here and below."""
        return functional.relu(input)


class ReLU6(nn.ReLU6):
    """``torch.nn.ReLU6``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.relu6(input)


class LeakyReLU(nn.LeakyReLU):
    """``torch.nn.LeakyReLU`` of a slope of 0 or more."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.leaky_relu(input, self.negative_slope)


class PReLU(nn.PReLU):
    """``torch.nn.PReLU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.prelu(input, self.weight)


class ELU(nn.ELU):
    """``torch.nn.ELU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.elu(input, self.alpha)


class SELU(nn.SELU):
    """``torch.nn.SELU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.selu(input)


class Sigmoid(nn.Sigmoid):
    """``torch.nn.Sigmoid``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.sigmoid(input)


class Tanh(nn.Tanh):
    """``torch.nn.Tanh``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.tanh(input)


class Softplus(nn.Softplus):
    """``torch.nn.Softplus`` of beta 1."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.softplus(input, self.beta)


class Softsign(nn.Softsign):
    """``torch.nn.Softsign``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.softsign(input)


class GELU(nn.GELU):
    """``torch.nn.GELU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.gelu(input, self.approximate)


class SiLU(nn.SiLU):
    """``torch.nn.SiLU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.silu(input)


class Mish(nn.Mish):
    """``torch.nn.Mish``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.mish(input)


class Hardsigmoid(nn.Hardsigmoid):
    """``torch.nn.Hardsigmoid``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.hardsigmoid(input)


class Hardswish(nn.Hardswish):
    """``torch.nn.Hardswish``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.hardswish(input)


class Softmax(nn.Softmax):
    """``torch.nn.Softmax`` of a given axis."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.softmax(input, self.dim)


class LogSoftmax(nn.LogSoftmax):
    """``torch.nn.LogSoftmax`` of a given axis."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.log_softmax(input, self.dim)
