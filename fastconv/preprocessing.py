"""Preprocessing of the pixels of a batch before the first layer, within the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

PreprocessingKind: TypeAlias = Literal["none", "scale", "min_max", "standardize"]


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing: how raw pixels become numbers of order one.

    Parameters
    ----------
    kind
        "none"; "scale": times ``factor``; "min_max": each image to [0, 1]; "standardize":
        ``(x - mean) / std``.
    factor
        Of "scale"; 1/255 for pixels.
    mean, std
        Of "standardize", in raw pixel values: one for each channel, or for each feature.
    """

    kind: PreprocessingKind = "none"
    factor: float = 1 / 255
    mean: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("none", "scale", "min_max", "standardize"):
            raise ValueError(
                f"preprocessing kind is {self.kind!r}; expected none, scale, min_max or standardize"
            )
        if self.kind == "standardize" and (self.mean is None or self.std is None):
            raise ValueError("preprocessing kind standardize needs a mean and a std")

    def table(self) -> dict[str, Any]:
        """Return the fields as plain numbers and lists, as JSON takes them."""
        arrays = {"mean": self.mean, "std": self.std}
        lists = {
            k: None if a is None else np.asarray(a).ravel().tolist() for k, a in arrays.items()
        }
        return {"kind": self.kind, "factor": self.factor, **lists}

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Preprocessing:
        """Return what :meth:`table` was made of.

        Examples
        --------
        >>> Preprocessing.from_table(Preprocessing("scale", factor=0.5).table()).factor
        0.5
        """
        arrays = {
            name: None if table[name] is None else np.array(table[name], np.float64)
            for name in ("mean", "std")
        }
        return cls(table["kind"], float(table["factor"]), **arrays)

    def constants(self, dtype: str) -> dict[str, NDArray[Any]]:
        """Return the arrays that the kernels read, by their names in a plan.

        Parameters
        ----------
        dtype
            Of the network.
        """
        if self.kind == "scale":
            return {"factor": np.array([self.factor], np.float64)}
        if self.kind == "standardize":
            return {
                "mean": np.asarray(self.mean, dtype).reshape(-1),
                "std": np.asarray(self.std, dtype).reshape(-1),
            }
        return {}


def as_preprocessing(owner: str, value: object) -> Preprocessing:
    """Return a preprocessing, or the one that a name such as "scale" stands for.

    Parameters
    ----------
    owner
        Who was given it, for the message.
    value
        A :class:`Preprocessing`, its kind, or None for none.

    Raises
    ------
    ValueError
        If it is nothing of this.

    Examples
    --------
    >>> as_preprocessing("Trainer", "min_max").kind
    'min_max'
    """
    if value is None:
        return Preprocessing()
    if isinstance(value, str):
        return Preprocessing(value)  # type: ignore[arg-type]  # which names there are, it checks
    if not isinstance(value, Preprocessing):
        raise ValueError(
            f"{owner}: preprocessing is {value!r}; expected a Preprocessing, such as "
            f'Preprocessing("scale")'
        )
    return value


@dataclass(frozen=True)
class Augmentation:
    """Random changes to each training image.

    :class:`fastconv.plans.operation.AugmentSpec` says what they are, those of colours and erasing
    :class:`fastconv.plans.jitter.JitterSpec`.
    """

    flip: bool = False
    crop: int = 0
    rotation: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    cutout: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0
    erase_area: float = 0.33

    @property
    def moves(self) -> bool:
        """Whether pixels are moved or cut out."""
        moved = self.rotation > 0 or self.shear > 0 or self.translation > 0
        return self.flip or self.crop > 0 or self.cutout > 0 or moved

    @property
    def jitters(self) -> bool:
        """Whether colours are changed or rectangles erased."""
        changes = (self.brightness, self.contrast, self.saturation, self.erase)
        return any(change > 0 for change in changes)

    @property
    def is_active(self) -> bool:
        """Whether anything is changed at all."""
        return self.moves or self.jitters
