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


@dataclass(frozen=True)
class Dirac:
    """The identity: the first filters pass their channel on, as far as there are channels.

    Filter i of the first ``inputs`` is 1 at the middle of the kernel in channel i and 0 elsewhere,
    so that a deep network begins as a shallow one (Zagoruyko & Komodakis, "DiracNets",
    arXiv:1706.00388).

    Parameters
    ----------
    rest
        Draws the filters behind these.

    Examples
    --------
    >>> weights = Dirac().draw(np.random.default_rng(0), (3, 3, 2, 4), 18, 36)
    >>> weights[1, 1, :, :2].tolist(), abs(weights[..., :2]).sum().item()
    ([[1.0, 0.0], [0.0, 1.0]], 2.0)
    """

    rest: Initializer = LeCun()

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return the weights; see :class:`Initializer`.

        Raises
        ------
        SpecError
            If the weights are not those of a convolution.
        """
        if len(shape) != 4:
            fix = "HWIO, as convolutions have; leave other layers out of Dirac"
            raise SpecError("Dirac", "shape", shape, fix)
        weights = self.rest.draw(generator, shape, fan_in, fan_out)
        height, width, inputs, outputs = shape
        same = np.arange(min(inputs, outputs))
        weights[..., same] = 0.0
        weights[height // 2, width // 2, same, same] = 1.0
        return weights


@dataclass(frozen=True, eq=False)
class Whitening:
    """Filters that make the pixels of a patch uncorrelated and of variance 1, and their negatives.

    The first half of the filters are the eigenvectors of the patches' covariance, each divided by
    ``sqrt(eigenvalue + epsilon)``, largest eigenvalue first; the other half are these times -1.
    They are meant to stay as they are: a :class:`fastconv.optimizers.ParameterGroup` that is
    ``frozen``. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv:2404.00498),
    section 3.1, after Page, "How to Train Your ResNet 8" (2019).

    Parameters
    ----------
    images
        (N, height, width, channels), preprocessed as the network gets them; a few thousand do.
    epsilon
        Added to each eigenvalue, so that directions of little variance are not blown up.

    Examples
    --------
    >>> images = np.random.default_rng(0).normal(size=(500, 6, 6, 1))
    >>> weights = Whitening(images).draw(np.random.default_rng(0), (2, 2, 1, 8), 4, 32)
    >>> bool((weights[..., 4:] == -weights[..., :4]).all())
    True
    """

    images: NDArray[np.floating]
    epsilon: float = 5e-4

    def __post_init__(self) -> None:
        if self.images.ndim != 4:
            fix = "(N, height, width, channels)"
            raise SpecError("Whitening", "images", self.images.shape, fix)
        if not self.epsilon > 0:
            raise SpecError("Whitening", "epsilon", self.epsilon, "more than 0")

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        """Return the weights; see :class:`Initializer`. They are not random.

        Raises
        ------
        SpecError
            If they are not those of a convolution of such images, or their number is odd or more
            than twice the pixels of a patch.
        """
        channels = self.images.shape[-1]
        if len(shape) != 4 or shape[2] != channels:
            fix = f"HWIO with {channels} inputs, of the convolution that reads the images"
            raise SpecError("Whitening", "shape", shape, fix)
        pixels, filters = math.prod(shape[:3]), shape[3]
        if filters % 2 or filters > 2 * pixels:
            fix = f"an even number of them, at most {2 * pixels}, twice the pixels of a patch"
            raise SpecError("Whitening", "filters", filters, fix)
        windows = np.lib.stride_tricks.sliding_window_view(self.images, shape[:2], axis=(1, 2))
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, pixels).astype(np.float64)
        values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
        scaled = (vectors / np.sqrt(values + self.epsilon))[:, ::-1][:, : filters // 2]
        return np.concatenate([scaled, -scaled], axis=1).reshape(shape)


INITIALIZERS = {"normal": Normal, "he": He, "glorot": Glorot, "lecun": LeCun}
"""By their names in a recipe."""
