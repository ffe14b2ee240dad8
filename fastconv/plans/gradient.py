"""Specs of what is done with gradients between the backward pass and the update."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.spec import SpecError, require_int


def _check_positive(owner: str, name: str, value: float) -> None:
    if not value > 0:
        raise SpecError(owner, name, value, "more than 0")


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Bringing the flat buffer ``x`` of ``size`` elements below a limit, or to the norm 1.

    By value, each element is brought into ``-limit`` to ``limit``. By norm, with the Euclidean norm
    of the whole buffer, ``x = x * min(1, limit / (norm + epsilon))``, or where it ``normalizes``,
    ``x = x * limit / max(norm, epsilon)``.

    Parameters
    ----------
    size
        Elements of the buffer.
    limit
        The largest norm, or the largest magnitude; 0 or more for the latter.
    epsilon
        See above.
    normalizes
        Whether a smaller norm becomes ``limit`` too.
    """

    size: int
    limit: float = 1.0
    epsilon: float = 1e-6
    normalizes: bool = False

    def __post_init__(self) -> None:
        require_int("ClipSpec", "size", self.size, 0)
        if not self.limit >= 0:
            raise SpecError("ClipSpec", "limit", self.limit, "0 or more")
        _check_positive("ClipSpec", "epsilon", self.epsilon)


@dataclass(frozen=True, slots=True)
class AccumulateSpec:
    """Adding up gradients: ``total = keep * total + share * dw``; nothing of it where keep is 0.

    Parameters
    ----------
    size
        Elements of the buffers.
    share
        Factor of the gradient.
    keep
        Factor of what is there; with 0, a NaN in the total does not matter.
    """

    size: int
    share: float = 1.0
    keep: float = 1.0

    def __post_init__(self) -> None:
        require_int("AccumulateSpec", "size", self.size, 0)


@dataclass(frozen=True, slots=True)
class MuonSpec:
    """A step's direction before Muon makes its matrix orthogonal.

    ``m = momentum*m + (1-momentum)*dw``; ``direction = m``, or for nesterov
    ``(1-momentum)*dw + momentum*m``. Jordan et al., "Muon: An optimizer for hidden layers in neural
    networks" (2024), https://kellerjordan.github.io/posts/muon.

    Parameters
    ----------
    size
        Elements of the buffers.
    momentum, nesterov
        See above.
    """

    size: int
    momentum: float = 0.95
    nesterov: bool = True

    def __post_init__(self) -> None:
        require_int("MuonSpec", "size", self.size, 0)
        if not 0 <= self.momentum < 1:
            raise SpecError("MuonSpec", "momentum", self.momentum, "0 or more, below 1")


@dataclass(frozen=True, slots=True)
class PolynomialSpec:
    """``polynomial = a*I + b*gram + c*square``, matrices of ``rows`` rows and columns.

    With ``gram = X X^T`` and ``square = gram gram``, its product with X is a step of the
    Newton-Schulz iteration: all singular values of X come nearer to 1. The coefficients are Muon's,
    which bring small ones up the fastest.

    Parameters
    ----------
    rows
        Of each matrix.
    a, b, c
        Coefficients.
    """

    rows: int
    a: float = 3.4445
    b: float = -4.775
    c: float = 2.0315

    def __post_init__(self) -> None:
        require_int("PolynomialSpec", "rows", self.rows, 0)
