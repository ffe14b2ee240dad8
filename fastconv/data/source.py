"""Source of data of one's own: rows of images and labels, in parts or in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeAlias

from fastconv.data.dataset import Array
from fastconv.data.picture_rows import Picture, PictureRows

PARTS = ("training", "validation", "test")
PART_ALIASES = {
    "train": "training", "training": "training", "trn": "training",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "t10k": "test", "tst": "test",
}  # fmt: skip
"""Words that name a part, and its name."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled samples as a reader found them.

    Parameters
    ----------
    images
        (samples, height, width, channels) of any type of numbers, or pictures that are not decoded
        yet.
    labels
        As for :func:`fastconv.data.class_labels.label_values`; None where there are none.
    names
        One for each sample, by which a file of parts names them; their numbers where there is none.
    groups
        Of the samples that belong together, or None.
    """

    images: Array | PictureRows
    labels: Array | None
    names: Sequence[str] | None = None
    groups: Sequence[str] | None = None

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.images)


RowsByPart: TypeAlias = Mapping[str, Rows]


@dataclass(frozen=True, eq=False)
class Source:
    """Data of one's own before they are read.

    Parameters
    ----------
    path
        What was given.
    kind
        Its kind, in words.
    files
        Everything that the result depends on.
    read
        Reads them: rows by part, those of "training" alone where the data have no parts. Takes
        a list for remarks on what it did.
    class_names
        Reads the names of the classes where the data say them, and returns none otherwise: whole
        numbers as labels are then theirs.
    pictures
        Those whose sizes may differ, where there are any.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]
    read: Callable[[list[str]], RowsByPart]
    class_names: Callable[[], tuple[str, ...]] = tuple
    pictures: tuple[Picture, ...] = ()


def part_named(name: str) -> str | None:
    """Return the part of a data set that a folder's or a file's name says, or None.

    Examples
    --------
    >>> part_named("val"), part_named("x_train"), part_named("cats")
    ('validation', 'training', None)
    """
    found = {PART_ALIASES[word] for word in words_of(name) if word in PART_ALIASES}
    return found.pop() if len(found) == 1 else None


def words_of(name: str) -> list[str]:
    """Return the words of a file's or an array's name, in lower case."""
    stem = PurePath(name).name.lower()
    return "".join(c if c.isalnum() else " " for c in stem).split()
