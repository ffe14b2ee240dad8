"""Samples, and data sets made of them: plain arrays that were checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.data.errors import DataError

Array: TypeAlias = npt.NDArray[Any]
IndexArray: TypeAlias = npt.NDArray[np.int64]

_IMAGE_TYPES = ("uint8", "float32", "float64")
_TARGET_TYPES = ("float32", "float64")


def require_unmasked(owner: str, name: str, array: npt.ArrayLike) -> None:
    """Raise a DataError for a masked array, whose mask would be lost.

    Parameters
    ----------
    owner, name
        Who was given it, and as what, for the message.
    array
        Anything.
    """
    if np.ma.is_masked(array):
        raise DataError(
            f"{owner}: {name} is a masked array, whose mask would be lost; use {name}.filled(0), "
            f"or another number, or leave out the samples that it covers"
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """Images and what is to be learned about each.

    Parameters
    ----------
    images
        (samples, height, width, channels), uint8 with raw pixel values, or float32 or float64.
        Feature vectors are images of height 1 and width 1: (samples, 1, 1, features).
    labels
        Class numbers, int64 of shape (samples,); or the targets of a regression, float32 or
        float64 of shape (samples, outputs).
    class_names
        Of the class numbers, where they were numbered by names: a data set with other ones refuses
        the samples. Empty where the numbers are as they were given.

    Raises
    ------
    DataError
        If a shape or a dtype is another, an array is not C-contiguous, or the counts differ.

    Examples
    --------
    >>> samples = Samples(np.zeros((3, 8, 8, 1), np.uint8), np.array([4, 0, 4]))
    >>> len(samples), samples.take([2, 1]).labels
    (3, array([4, 0]))
    """

    images: Array
    labels: Array
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        layout: Literal["NHWC", "NCHW"] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Samples:
        """Make samples of arrays as one has them.

        Parameters
        ----------
        images
            (samples, height, width, channels), (samples, channels, height, width), (samples,
            height, width) or (samples, features); whole numbers from 0 to 255 and booleans (0 and
            255 then) become uint8, float64 stays, and all else becomes float32.
        labels
            Whole numbers, text or one-hot rows; or the floating targets of a regression, (samples,
            outputs).
        layout
            Of images in four dimensions; by default channels are where there are 1 to 4.
        class_names
            The classes in the order of their numbers: labels are looked up among them, numbers
            too. Without them numbers are kept as they are, and text is numbered in its order; give
            the names of the training samples where others are made.

        Raises
        ------
        DataError
            If the layout is not clear, a value is not finite, or the labels are of no such kind.

        Examples
        --------
        >>> samples = Samples.from_arrays(np.zeros((3, 1, 8, 8)), ["cat", "dog", "cat"])
        >>> samples.images.shape, samples.labels.tolist(), samples.class_names
        ((3, 8, 8, 1), [0, 1, 0], ('cat', 'dog'))
        """
        from fastconv.data.array_images import as_images
        from fastconv.data.class_labels import class_names_of, class_numbers, label_values

        owner = "Samples.from_arrays"
        require_unmasked(owner, "images", images)
        require_unmasked(owner, "labels", labels)
        values, _ = label_values(owner, labels)
        names = None if class_names is None else tuple(str(name) for name in class_names)
        if names is None and values.dtype.kind == "U":
            names = class_names_of(values)
        if names is not None and values.ndim == 1:
            values = class_numbers(owner, values, names)
        made = as_images(owner, np.asarray(images), layout)
        return cls(made, np.ascontiguousarray(values), names or ())

    def __post_init__(self) -> None:
        """Check shapes, types and counts."""
        images, labels = self.images, self.labels
        for name, array in (("images", images), ("labels", labels)):
            if not isinstance(array, np.ndarray):
                raise DataError(
                    f"Samples: {name} is a {type(array).__name__}; expected a NumPy array; "
                    f"use numpy.asarray({name})"
                )
            require_unmasked("Samples", name, array)
            if not array.flags.aligned:
                raise DataError(
                    f"Samples: {name} of shape {array.shape} does not lie where numbers of its "
                    f"dtype {array.dtype.name} may lie in memory; use {name}.copy()"
                )
            if not array.flags.c_contiguous:
                raise DataError(
                    f"Samples: {name} of shape {array.shape} is not C-contiguous; "
                    f"use numpy.ascontiguousarray({name})"
                )
        if images.dtype.name not in _IMAGE_TYPES or not images.dtype.isnative:
            raise DataError(
                f"Samples: images has dtype {images.dtype.str}; expected native "
                f"{', '.join(_IMAGE_TYPES)}; use images.astype(...)"
            )
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise DataError(
                f"Samples: images has shape {images.shape}; expected (samples, height, width, "
                f"channels), or (samples, 1, 1, features) for feature vectors; use images.reshape"
            )
        if labels.dtype.name in _TARGET_TYPES and labels.dtype.isnative:
            if labels.ndim == 1:
                raise DataError(
                    f"Samples: labels has dtype {labels.dtype.name} and shape {labels.shape}; "
                    f"expected int64 class numbers (use labels.astype(numpy.int64)), or the "
                    f"targets of a regression, (samples, outputs) (use labels[:, numpy.newaxis])"
                )
            if labels.ndim != 2 or labels.shape[1] == 0:
                raise DataError(
                    f"Samples: labels has dtype {labels.dtype.name} and shape {labels.shape}; "
                    f"expected targets of shape (samples, outputs); use labels.reshape"
                )
        elif labels.dtype == np.int64 and labels.dtype.isnative:
            if labels.ndim != 1:
                raise DataError(
                    f"Samples: labels has shape {labels.shape}; expected class numbers of shape "
                    f"(samples,); use labels.reshape(-1), or argmax(axis=1) on one-hot rows"
                )
        else:
            raise DataError(
                f"Samples: labels has dtype {labels.dtype.str}; expected native int64 class "
                f"numbers or {' or '.join(_TARGET_TYPES)} targets; use labels.astype(...)"
            )
        if len(images) != len(labels):
            raise DataError(
                f"Samples: there are {len(images)} images but {len(labels)} labels; "
                f"expected one label for each image"
            )

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.images)

    @property
    def has_classes(self) -> bool:
        """Whether the labels are class numbers rather than the targets of a regression."""
        return self.labels.ndim == 1

    def take(self, indices: npt.ArrayLike) -> Samples:
        """Copy some of the samples, in the order asked for.

        Parameters
        ----------
        indices
            Integers, 1-D, each from 0 to ``len(self) - 1``.

        Returns
        -------
        Samples

        Raises
        ------
        IndexError
            If an index is out of range (negative ones are), not an integer, or not in one
            dimension.
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise IndexError(
                f"Samples.take: indices has dtype {chosen.dtype} and shape {chosen.shape}; "
                f"expected integers in one dimension"
            )
        outside = (chosen < 0) | (chosen >= len(self))
        if outside.any():
            raise IndexError(
                f"Samples.take: indices holds {chosen[outside.argmax()]}; "
                f"expected 0 to {len(self) - 1}"
            )
        return Samples(self.images[chosen], self.labels[chosen], self.class_names)


def require_samples(owner: str, name: str, value: object) -> None:
    """Raise unless an argument is samples.

    Parameters
    ----------
    owner, name
        Who was given it, and as which argument, for the message.
    value
        The argument.

    Raises
    ------
    DataError
        If it is none; the message says how to make samples of it.
    """
    if isinstance(value, Samples):
        return
    fix = "make them with fastconv.data.Samples.from_arrays(images, labels)"
    if isinstance(value, Dataset):
        fix = "take a part of the data set, such as dataset.training"
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        fix = "use fastconv.data.Samples.from_arrays(*...) on the pair"
    raise DataError(f"{owner}: {name} is a {type(value).__name__}; expected Samples; {fix}")


def require_labels(owner: str, labels: IndexArray, class_names: tuple[str, ...]) -> None:
    """Raise unless every label is the number of a class.

    Parameters
    ----------
    owner
        The file or the data set, for the error message.
    labels
        Class numbers, (samples,).
    class_names
        The classes, in the order of their numbers.

    Raises
    ------
    DataError
        If a label is outside the classes; the first one is named, with its index.
    """
    outside = (labels < 0) | (labels >= len(class_names))
    if outside.any():
        index = int(outside.argmax())
        raise DataError(
            f"{owner}: label {labels[index]} of sample {index} is outside the {len(class_names)} "
            f"classes, 0 to {len(class_names) - 1} ({', '.join(class_names)}); "
            f"correct the labels, or get the data again"
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set with its parts.

    Parameters
    ----------
    name
        As in :data:`fastconv.data.DATASETS`, or any other for data of one's own.
    training, test
        The parts; the training part has at least one sample.
    class_names
        One name for each class, in the order of the class numbers; empty for a regression.
    validation
        Held out of the training part, or None; :func:`fastconv.data.split` makes one.
    remarks
        What was done to the data when they were read, and who trains on them should know.
    bits
        Of the values of pictures with more than 8, before these were brought to bytes; else None.

    Raises
    ------
    DataError
        If the parts differ in image shape, dtype or kind of labels, or a label is outside the
        classes.
    """

    name: str
    training: Samples
    test: Samples
    class_names: tuple[str, ...]
    validation: Samples | None = None
    remarks: tuple[str, ...] = ()
    bits: int | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together and every label names a class."""
        if len(self.training) == 0:
            raise DataError(f"{self.name}: the training part is empty; expected at least 1 sample")
        if self.training.has_classes != bool(self.class_names):
            found = "class numbers" if self.training.has_classes else "targets of a regression"
            raise DataError(
                f"{self.name}: the labels are {found} but class_names is {self.class_names}; "
                f"expected a name for each class, and () for a regression"
            )
        for part, samples in self.parts.items():
            if _form(samples) != _form(self.training):
                raise DataError(
                    f"{self.name}: the {part} part has {_form(samples)} but the training part has "
                    f"{_form(self.training)}; expected the same in all parts"
                )
            if samples.class_names and samples.class_names != self.class_names:
                raise DataError(
                    f"{self.name}: the {part} part was numbered by the classes "
                    f"{_shown(samples.class_names)} but the data set has "
                    f"{_shown(self.class_names)}; make it with class_names= of the training part"
                )
            if samples.has_classes:
                require_labels(f"{self.name} ({part} part)", samples.labels, self.class_names)

    @property
    def parts(self) -> dict[str, Samples]:
        """The parts that there are, by name: training, test, and validation if there is one."""
        parts = {"training": self.training, "test": self.test}
        if self.validation is not None:
            parts["validation"] = self.validation
        return parts

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.training.images.shape[1:]
        return height, width, channels


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def _form(samples: Samples) -> str:
    """All that must be the same in every part of a data set."""
    images, labels = samples.images, samples.labels
    return (
        f"{images.dtype} images of shape {images.shape[1:]} with {labels.dtype} labels of shape "
        f"{labels.shape[1:]}"
    )
