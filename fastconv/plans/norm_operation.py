"""Spec of the normalisation of each sample by its own statistics."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.spec import SpecError, require_int


@dataclass(frozen=True, slots=True)
class GroupNormSpec:
    """Group normalisation (Wu & He, arXiv:1803.08494): each group of channels of each sample.

    One group is layer normalisation (Ba, Kiros & Hinton, arXiv:1607.06450), as many groups as
    channels are instance normalisation (Ulyanov, Vedaldi & Lempitsky, arXiv:1607.08022).

    Parameters
    ----------
    batch, pixels, channels
        ``x`` has batch * pixels * channels elements, channels last.
    groups
        Of neighbouring channels; they divide the channels.
    epsilon
        Added to the variance before the root.

    Examples
    --------
    >>> GroupNormSpec(8, 16, 12, 3).width
    4
    """

    batch: int
    pixels: int
    channels: int
    groups: int = 1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        owner = "GroupNormSpec"
        require_int(owner, "batch", self.batch, 0)
        for name in ("pixels", "channels", "groups"):
            require_int(owner, name, getattr(self, name), 1)
        if self.channels % self.groups:
            expected = f"a divisor of the {self.channels} channels"
            raise SpecError(owner, "groups", self.groups, expected)
        if not 0 < self.epsilon < float("inf"):
            raise SpecError(owner, "epsilon", self.epsilon, "more than 0, and finite")

    @property
    def width(self) -> int:
        """Channels of a group."""
        return self.channels // self.groups
