"""Description of data of one's own: classes, sizes, ranges, duplicates, what is not finite."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from fastconv._files import as_text
from fastconv.data.arrangement import Portion
from fastconv.data.array_images import chunk_rows
from fastconv.data.dataset import Array
from fastconv.data.own import chosen_options, find_source, plan_of
from fastconv.data.own_options import data_name
from fastconv.data.picture_rows import PictureRows
from fastconv.data.source import PARTS, Source

_MOST_NAMED = 5
_SHEET_COLUMNS = 10


@dataclass(frozen=True)
class PartDescription:
    """One part of the data.

    Parameters
    ----------
    samples
        How many there are.
    classes
        How many of each class, in the order of the class numbers; empty for a regression.
    """

    samples: int
    classes: tuple[int, ...]


@dataclass(eq=False)
class Description:
    """Description of data of one's own.

    Parameters
    ----------
    name, kind
        Of the data: what they are called, and what they were found to be.
    class_names
        Empty for a regression.
    parts
        As a training would divide the data.
    image_shape
        (height, width, channels) that a training would have.
    sizes
        (height, width) of the pictures as they are in their files, and how many have it; empty for
        arrays and tables.
    low, high
        Smallest and largest finite value.
    not_finite
        Values that are not finite.
    duplicates_within
        Samples of the training part that are there a second time.
    duplicates_between
        Names of samples of other parts that are in the training part too, with the one there.
    unreadable
        Pictures that cannot be decoded.
    remarks
        What was done to the data when they were read.
    examples
        The first images of each class of the training part, for a sheet.
    """

    name: str
    kind: str
    class_names: tuple[str, ...]
    parts: dict[str, PartDescription]
    image_shape: tuple[int, int, int]
    sizes: dict[tuple[int, int], int]
    low: float = float("inf")
    high: float = float("-inf")
    not_finite: int = 0
    duplicates_within: int = 0
    duplicates_between: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    examples: dict[int, list[Array]] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """Return it as plain numbers and words, for JSON; without the examples."""
        parts = {
            part: {
                "samples": each.samples,
                "classes": dict(zip(self.class_names, each.classes, strict=False)),
            }
            for part, each in self.parts.items()
        }
        return {
            "name": self.name,
            "kind": self.kind,
            "class_names": list(self.class_names),
            "parts": parts,
            "image_shape": list(self.image_shape),
            "sizes": [
                {"height": height, "width": width, "pictures": count}
                for (height, width), count in self.sizes.items()
            ],
            "low": self.low,
            "high": self.high,
            "not_finite": self.not_finite,
            "duplicates_within_training": self.duplicates_within,
            "duplicates_between_parts": [list(pair) for pair in self.duplicates_between],
            "unreadable": self.unreadable,
            "remarks": self.remarks,
        }


def describe(path: str | PathLike[str], **options: Any) -> Description:
    """Read data of one's own once, and say what there is.

    Parameters
    ----------
    path
        As for :func:`fastconv.data.load_own`.
    **options
        As for that. Pictures of different sizes are no mistake here: they are looked at at the
        size that most have. Neither are pictures that cannot be read, or values that are not
        finite.

    Raises
    ------
    MissingData
        If there is no such file or folder.
    DataError
        If the data are laid out otherwise, or what they are for is not clear.
    """
    title = options.pop("title", None)
    place, chosen = chosen_options(path, options)
    chosen = dataclasses.replace(chosen, bad="skip")
    source = find_source(place, chosen)
    sizes = _picture_sizes(source)
    remarks: list[str] = []
    if len(sizes) > 1 and chosen.effective_fit == "refuse":
        height, width = next(iter(sizes))
        chosen = dataclasses.replace(chosen, fit="center_crop", size=(height, width))
        remarks.append(
            "the pictures differ in size: a training needs data.size, and perhaps data.fit"
        )
        source = find_source(place, chosen)
    plan = plan_of(source, chosen)
    height, width, channels = plan.portions[0].rows.images.shape[1:]
    made = Description(
        title or as_text(data_name(str(place.resolve()))),
        source.kind,
        plan.class_names,
        {},
        (height, width, channels),
        sizes,
        remarks=[*remarks, *plan.remarks],
    )
    first_of: dict[bytes, str] = {}
    for portion in sorted(plan.portions, key=lambda each: PARTS.index(each.part)):
        _look_at(made, portion, first_of)
    return made


def _picture_sizes(source: Source) -> dict[tuple[int, int], int]:
    """Return sizes of pictures by their headers, those that most have first."""
    from fastconv.data.picture_files import PictureError, bomb_is_error, picture_form

    if not source.pictures:
        return {}
    sizes: Counter[tuple[int, int]] = Counter()
    with bomb_is_error():
        for file in source.pictures:
            try:
                height, width, *_ = picture_form(file)
            except PictureError:
                continue  # named when the folder is read
            sizes[height, width] += 1
    return dict(sizes.most_common())


def _look_at(made: Description, portion: Portion, first_of: dict[bytes, str]) -> None:
    """Add what there is to say of one part."""
    names = portion.rows.names
    counts = np.zeros(len(made.class_names), np.int64)
    samples = 0
    for index, image in _images(made, portion):
        samples += 1
        finite = image if image.dtype.kind != "f" else image[np.isfinite(image)]
        made.not_finite += image.size - finite.size
        if finite.size:
            made.low = min(made.low, float(finite.min()))
            made.high = max(made.high, float(finite.max()))
        name = str(index) if names is None else names[index]
        key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        if portion.part == "training":
            made.duplicates_within += key in first_of
            first_of.setdefault(key, name)
        elif key in first_of:
            made.duplicates_between.append((f"{name} ({portion.part})", first_of[key]))
        if made.class_names:
            number = int(portion.labels[index])
            counts[number] += 1
            examples = made.examples.setdefault(number, [])
            if portion.part == "training" and len(examples) < _SHEET_COLUMNS:
                examples.append(image.copy())
    made.parts[portion.part] = PartDescription(samples, tuple(counts.tolist()))


def _images(made: Description, portion: Portion) -> Iterator[tuple[int, Array]]:
    images, indices = portion.rows.images, portion.indices
    if isinstance(images, PictureRows):
        for index, pixels in images.decoded(indices.tolist()):
            if isinstance(pixels, str):
                made.unreadable.append(pixels)
            else:
                yield index, pixels
        return
    step = chunk_rows(images)
    for start in range(0, len(indices), step):
        wanted = indices[start : start + step]
        yield from zip(wanted.tolist(), images[wanted], strict=True)


def findings(made: Description) -> list[str]:
    """Say in a line each what should be known before a training.

    Parameters
    ----------
    made
        The description.
    """
    lines = [*made.remarks]
    lines += [f"cannot be decoded: {fault}" for fault in made.unreadable[:_MOST_NAMED]]
    if made.not_finite:
        lines.append(f"{made.not_finite} values are not finite: a training refuses them")
    if made.duplicates_between:
        shown = "; ".join(f"{a} is {b}" for a, b in made.duplicates_between[:_MOST_NAMED])
        lines.append(
            f"{len(made.duplicates_between)} samples of other parts are in the training part too: "
            f"{shown}"
        )
    if made.duplicates_within:
        lines.append(f"{made.duplicates_within} samples of the training part are there twice")
    training = made.parts.get("training")
    if training is not None and training.classes and min(training.classes):
        ratio = max(training.classes) / min(training.classes)
        if ratio >= 10:
            lines.append(
                f"the largest class has {ratio:.0f} times as many training samples as the smallest"
            )
    return lines
