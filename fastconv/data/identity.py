"""Identity of a data set: its counts, and hashes of its images and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.data.dataset import Array, Dataset, Samples

_BLOCK_BYTES = 2**22
"""Elements of an array that are converted at a time: its hash takes no memory worth the name."""
_HASH_LENGTH = 64


@dataclass(frozen=True)
class PartIdentity:
    """Identity of a part of a data set.

    Parameters
    ----------
    samples
        How many.
    images, labels
        Hashes by :func:`hash_array`.
    """

    samples: int
    images: str
    labels: str

    def table(self) -> dict[str, Any]:
        """Return it as plain numbers and words, for JSON."""
        return {
            "samples": self.samples,
            "images_sha256": self.images,
            "labels_sha256": self.labels,
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> PartIdentity:
        """Return what :meth:`table` was made of.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it was made of nothing such.
        """
        samples, images, labels = (
            table[key] for key in ("samples", "images_sha256", "labels_sha256")
        )
        if not isinstance(samples, int):
            raise ValueError(f"samples is {samples!r}; expected an integer")
        for value in (images, labels):
            if not isinstance(value, str) or len(value) != _HASH_LENGTH:
                raise ValueError(f"{value!r} is no SHA-256 in hexadecimal digits")
        return cls(samples, images, labels)


def identify(samples: Samples) -> PartIdentity:
    """Return which samples these are; it reads them all."""
    return PartIdentity(len(samples), hash_array(samples.images), hash_array(samples.labels))


def identify_parts(dataset: Dataset) -> dict[str, PartIdentity]:
    """Return which samples each part of a data set has, by the name of the part."""
    return {name: identify(samples) for name, samples in dataset.parts.items()}


def hash_array(array: Array) -> str:
    """Return the SHA-256 of the kind, the shape and the elements of an array.

    It does not depend on how the elements lie in memory: they are taken in C order, integers in
    their own type, little end first. Floating numbers are taken as float32, which is what a network
    is given of them; in float64 a data set that is computed, such as the curve, differs in the last
    bit from one processor to another.

    Parameters
    ----------
    array
        Of integers or floating numbers.

    Examples
    --------
    >>> image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    >>> hash_array(image) == hash_array(np.asfortranarray(image))
    True
    >>> hash_array(image) == hash_array(image.T)
    False
    """
    dtype = np.dtype("<f4") if array.dtype.kind == "f" else array.dtype.newbyteorder("<")
    found = hashlib.sha256(f"{dtype.str} {array.shape}\n".encode())
    rows = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite to the network too
        for first in range(0, len(array), rows):
            block = np.ascontiguousarray(array[first : first + rows], dtype)
            found.update(block.data)
    return found.hexdigest()


def differences(
    expected: Mapping[str, PartIdentity], found: Mapping[str, PartIdentity]
) -> list[str]:
    """Say in words what the one found has otherwise, part by part; nothing where all is the same.

    Parameters
    ----------
    expected, found
        Two data sets, as :func:`identify_parts` returns them.

    Examples
    --------
    >>> one, other = PartIdentity(9, "a", "b"), PartIdentity(9, "a", "c")
    >>> differences({"training": one, "test": one}, {"training": one, "test": other})
    ['other test labels']
    """
    said = []
    for part in dict.fromkeys([*expected, *found]):
        one, other = expected.get(part), found.get(part)
        if one is None or other is None:
            said.append(f"no {part} part" if other is None else f"a {part} part")
        elif one.samples != other.samples:
            said.append(f"{other.samples:,} {part} samples instead of {one.samples:,}")
        else:
            said += [
                f"other {part} {name}"
                for name in ("images", "labels")
                if getattr(one, name) != getattr(other, name)
            ]
    return said
