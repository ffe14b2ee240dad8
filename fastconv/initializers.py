"""Initial weights. Biases start at 0, normalisation scales at 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv.spec import SpecError

Distribution: TypeAlias = Literal["normal", "uniform"]


class Initializer(Protocol):
    """Draws the weights of one layer."""

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return float64 weights of ``shape``.

        Parameters
        ----------
        generator
            Source of the random numbers.
        shape
            Shape of the weights.
        fan_in, fan_out
            Inputs that one output sums over, and outputs that one input feeds.
        """
        ...


def _draw(
    generator: np.random.Generator,
    shape: tuple[int, ...],
    std: float,
    distribution: Distribution,
) -> NDArray[np.float64]:
    if distribution == "uniform":
        limit = math.sqrt(3.0) * std  # the uniform distribution of that std
        return generator.uniform(-limit, limit, shape)
    return generator.normal(0.0, std, shape)


def _check_distribution(owner: str, distribution: str) -> None:
    if distribution not in ("normal", "uniform"):
        raise SpecError(owner, "distribution", distribution, "'normal' or 'uniform'")


@dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and the given standard deviation, whatever the layer's size."""

    std: float = 0.1

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise SpecError("Normal", "std", self.std, "0 or more")

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return the weights; see :class:`Initializer`."""
        return _draw(generator, shape, self.std, "normal")


@dataclass(frozen=True)
class He:
    """Variance 2 / fan_in, for ReLU and its kin (He et al., arXiv:1502.01852)."""

    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        _check_distribution("He", self.distribution)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return the weights; see :class:`Initializer`."""
        return _draw(generator, shape, math.sqrt(2.0 / fan_in), self.distribution)


@dataclass(frozen=True)
class Glorot:
    """Variance 2 / (fan_in + fan_out), for tanh and sigmoid (Glorot & Bengio, AISTATS 2010)."""

    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        _check_distribution("Glorot", self.distribution)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return the weights; see :class:`Initializer`."""
        return _draw(generator, shape, math.sqrt(2.0 / (fan_in + fan_out)), self.distribution)


@dataclass(frozen=True)
class LeCun:
    """Variance 1 / fan_in, for SELU (LeCun et al., "Efficient BackProp", 1998)."""

    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        _check_distribution("LeCun", self.distribution)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return the weights; see :class:`Initializer`."""
        return _draw(generator, shape, math.sqrt(1.0 / fan_in), self.distribution)


INITIALIZERS = {"normal": Normal, "he": He, "glorot": Glorot, "lecun": LeCun}
"""By their names in a recipe."""
