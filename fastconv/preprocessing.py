"""Preprocessing of the pixels of a batch before the first layer, within the step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv.spec import SpecError

if TYPE_CHECKING:
    from fastconv.plans.augmentation import Flip

_PIXELS = 0.1
"""A factor below it makes small numbers of large ones."""

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

    def apply(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Return what the first layer gets for images.

        Parameters
        ----------
        images
            (N, height, width, channels), raw.

        Examples
        --------
        >>> Preprocessing("scale", factor=0.5).apply(np.ones((1, 1, 1, 2), np.uint8)).tolist()
        [[[[0.5, 0.5]]]]
        """
        x: NDArray[np.float64] = images.astype(np.float64)
        if self.kind == "scale":
            return x * self.factor
        if self.kind == "min_max":
            least = x.min(axis=(1, 2, 3), keepdims=True)
            width = x.max(axis=(1, 2, 3), keepdims=True) - least
            x = (x - least) / np.where(width > 0, width, 1.0)
        if self.kind == "standardize" and self.mean is not None and self.std is not None:
            shape = (x.shape[-1],) if self.mean.size == x.shape[-1] else x.shape[1:]
            x = (x - self.mean.reshape(shape)) / self.std.reshape(shape)
        return x

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


def warn_of_range(owner: str, preprocessing: Preprocessing, images: NDArray[Any]) -> None:
    """Warn of floating images from 0 to 1 where the preprocessing is for pixels up to 255.

    Parameters
    ----------
    owner
        Who was given them, for the message.
    preprocessing
        What happens to them.
    images
        Of any dtype; bytes are what it is for.
    """
    p = preprocessing
    if images.dtype.kind != "f" or not images.size:
        return
    of_pixels = p.kind == "scale" and p.factor < _PIXELS
    if p.kind == "standardize" and p.std is not None:
        of_pixels = float(np.max(p.std)) > 1
    if of_pixels and images.min() >= 0 and 0 < images.max() <= 1:
        warnings.warn(
            f"{owner}: images are floating numbers from {images.min():.3g} to {images.max():.3g} "
            f"but the preprocessing is for pixels from 0 to 255; use 255 * images",
            stacklevel=4,
        )


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

    Parameters
    ----------
    flip, crop, rotation, shear, translation, cutout
        See :class:`fastconv.plans.operation.AugmentSpec`.
    brightness, contrast, saturation, erase, erase_area
        See :class:`fastconv.plans.jitter.JitterSpec`.
    crop_padding
        What is around an image that is cropped: "zero", or "reflect": its own pixels, mirrored.
    alternating_flip
        Flip in odd epochs what is not flipped in even ones, in place of ``flip``.
    resized_crop
        Smallest share of the area that is resized to the whole, in place of ``crop``; 0 for none.
    mixup, cutmix
        Parameter of the Beta distribution by which images and their targets are mixed, or pieces of
        them; 0 for none. See :class:`fastconv.plans.augmentation.MixSpec`.

    Raises
    ------
    SpecError
        If two of them do not go together.

    Examples
    --------
    >>> Augmentation(crop=4, crop_padding="reflect").mirrored_crop
    4
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
    crop_padding: Literal["zero", "reflect"] = "zero"
    alternating_flip: bool = False
    resized_crop: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        owner = "Augmentation"
        if self.crop_padding not in ("zero", "reflect"):
            raise SpecError(owner, "crop_padding", self.crop_padding, "'zero' or 'reflect'")
        if self.crop_padding == "reflect" and not self.crop:
            fix = "'zero' without a crop; leave it out, or say by how many pixels with crop"
            raise SpecError(owner, "crop_padding", self.crop_padding, fix)
        if self.flip and self.alternating_flip:
            raise SpecError(owner, "alternating_flip", True, "false beside flip; leave one out")
        if not 0 <= self.resized_crop <= 1:
            raise SpecError(owner, "resized_crop", self.resized_crop, "0 to 1")
        if self.resized_crop and self.crop:
            fix = "0 beside crop: an image is moved or resized; leave one of the two out"
            raise SpecError(owner, "resized_crop", self.resized_crop, fix)
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise SpecError(owner, name, value, "0 for none, or a number above 0, such as 0.2")

    @property
    def mirrored_crop(self) -> int:
        """Pixels of a crop with mirrored edges."""
        return self.crop if self.crop_padding == "reflect" else 0

    @property
    def kind_of_flip(self) -> Flip:
        """How :class:`fastconv.plans.augmentation.CropSpec` flips."""
        return "alternating" if self.alternating_flip else "random" if self.flip else "none"

    @property
    def crops(self) -> bool:
        """Whether parts are taken as :class:`fastconv.plans.augmentation.CropSpec` says."""
        return self.alternating_flip or self.resized_crop > 0 or self.mirrored_crop > 0

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with one another."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def moves(self) -> bool:
        """Whether pixels are moved or cut out."""
        moved = self.rotation > 0 or self.shear > 0 or self.translation > 0
        shifted = self.crop > self.mirrored_crop or (self.flip and not self.crops)
        return shifted or self.cutout > 0 or moved

    @property
    def jitters(self) -> bool:
        """Whether colours are changed or rectangles erased."""
        changes = (self.brightness, self.contrast, self.saturation, self.erase)
        return any(change > 0 for change in changes)

    @property
    def is_active(self) -> bool:
        """Whether anything is changed at all."""
        return self.moves or self.jitters or self.crops or self.mixes
