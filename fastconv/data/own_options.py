"""Options of data of one's own: the keys of ``[data]`` beside the path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

OwnFit: TypeAlias = Literal["refuse", "resize", "center_crop", "pad"]

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.1
_MOST_PIXELS_A_SIDE = 4096


_ENDINGS = (".gz", ".tar", ".zip", ".npz", ".npy", ".csv", ".tsv", ".parquet", ".mat")


def data_name(path: str) -> str:
    """Return the name of a data set that lies in a file or a folder.

    Examples
    --------
    >>> data_name("leaves/digits.csv"), data_name("leaves/v1.2/"), data_name("a/b.tar.gz")
    ('digits', 'v1.2', 'b')
    """
    name = os.path.basename(os.path.normpath(path))
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name or "own"


_BITS = (8, 12, 16)


def bits_of(largest: int) -> int:
    """Return the bits that whole numbers up to a largest one have: 8, 12, 16, or as many as needed.

    Examples
    --------
    >>> bits_of(255), bits_of(4095), bits_of(4096), bits_of(70000)
    (8, 12, 16, 17)
    """
    return next((bits for bits in _BITS if largest < 2**bits), largest.bit_length())


@dataclass(frozen=True)
class OwnOptions:
    """Options of reading and dividing data of one's own; what is None is left at its default.

    Parameters
    ----------
    path
        The folder or the file.
    fit
        What becomes of pictures of another size than ``size``: "refuse" (the default without a
        size), "resize" (the default with one; the ratio of the sides is not kept), "center_crop"
        (resized to cover the size, and the middle taken) or "pad" (resized to fit within, on
        black).
    size
        (height, width) of every picture.
    channels
        1 for grey, 3 for colours; by default 1 where every picture is grey.
    label
        Column of the classes in a table, by its name or its number from 0; by default the one
        that is named label, class, target or y. Of CIFAR-100 "fine" (the default) or "coarse".
    target
        Columns of a table that a regression is to find, in place of classes.
    leave_out
        Columns of a table that are no features.
    image_shape
        (height, width) or (height, width, channels) of what a row of a table holds; by default a
        square where the columns are named pixel..., and else a vector of features.
    layout
        "NHWC" or "NCHW": of arrays of images in four dimensions, where it is not clear.
    test_fraction, validation_fraction
        Shares of the samples that are held out where the data have no such part: 0.2 and 0.1.
    stratify
        Whether every part gets about the same share of each class; by default it does.
    group
        What must not be in two parts: the column of a table, the array of an .npz, or for pictures
        a regular expression whose first group, searched for in the file's name, is the name of the
        group.
    split_file
        A CSV file of ``name,part``; what it does not name is for training.
    split_seed
        Draws which samples are held out; 0 by default.
    bad
        What becomes of pictures that cannot be read: "refuse" (the default) or "skip", which names
        them and goes on.
    bits
        Of the values of pictures with more than 8; by default 8, 12 or 16 by the largest of all.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    path: str | None = None
    fit: OwnFit | None = None
    size: tuple[int, ...] | None = None
    channels: int | None = None
    label: str | None = None
    target: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] | None = None
    image_shape: tuple[int, ...] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None
    test_fraction: float | None = None
    validation_fraction: float | None = None
    stratify: bool | None = None
    group: str | None = None
    split_file: str | None = None
    split_seed: int | None = None
    bad: Literal["refuse", "skip"] | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        """Check each value, and those that belong together."""
        self._check_sizes()
        for name in ("test_fraction", "validation_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"data.{name} is {value}; expected 0 or more, and less than 1")
        if self.test_share + self.validation_share >= 1:
            raise ValueError(
                f"data.test_fraction is {self.test_share} and data.validation_fraction is "
                f"{self.validation_share}; expected less than 1 together, so that some samples "
                f"are left to train on"
            )
        if self.split_seed is not None and self.split_seed < 0:
            raise ValueError(f"data.split_seed is {self.split_seed}; expected 0 or more")
        if self.label is not None and self.target is not None:
            raise ValueError(
                f"data.label is {self.label!r} and data.target is {list(self.target)}; leave one "
                f"of them out: classes, or the targets of a regression"
            )
        if self.target is not None and not self.target:
            raise ValueError("data.target is []; name one column or more, or leave it out")
        if self.split_file is not None and self.group is not None:
            raise ValueError(
                f"data.split_file is {self.split_file!r} and data.group is {self.group!r}; leave "
                f"one of them out: the file says all"
            )

    def _check_sizes(self) -> None:
        if self.fit not in (None, "refuse", "resize", "center_crop", "pad"):
            raise ValueError(
                f"data.fit is {self.fit!r}; expected refuse, resize, center_crop or pad"
            )
        if self.layout not in (None, "NHWC", "NCHW"):
            raise ValueError(f"data.layout is {self.layout!r}; expected NHWC or NCHW")
        if self.bits is not None and not 8 <= self.bits <= 32:
            raise ValueError(f"data.bits is {self.bits}; expected 8 to 32, such as 12")
        if self.bad not in (None, "refuse", "skip"):
            raise ValueError(f"data.bad is {self.bad!r}; expected refuse or skip")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"data.channels is {self.channels}; expected 1 (grey) or 3 (colours)")
        if self.size is not None and (
            len(self.size) != 2 or not all(1 <= side <= _MOST_PIXELS_A_SIDE for side in self.size)
        ):
            raise ValueError(
                f"data.size is {list(self.size)}; expected [height, width], each from 1 to "
                f"{_MOST_PIXELS_A_SIDE}"
            )
        if self.size is None and self.fit not in (None, "refuse"):
            raise ValueError(
                f"data.fit is {self.fit} but data.size is not given; add it, such as "
                f"--set data.size=[64,64]"
            )
        shape = self.image_shape
        if shape is not None and (len(shape) not in (2, 3) or min(shape) < 1):
            raise ValueError(
                f"data.image_shape is {list(shape)}; expected [height, width] or [height, width, "
                f"channels]"
            )

    @property
    def effective_fit(self) -> OwnFit:
        """The way to fit pictures that is given, or follows from whether a size is."""
        return self.fit or ("refuse" if self.size is None else "resize")

    @property
    def test_share(self) -> float:
        """The share that is held out for the test where there is no such part."""
        return TEST_FRACTION if self.test_fraction is None else self.test_fraction

    @property
    def validation_share(self) -> float:
        """The share that is held out for validation where there is no such part."""
        given = self.validation_fraction
        if given is None:
            return min(VALIDATION_FRACTION, (1 - self.test_share) / 2)
        return given

    def group_pattern(self) -> re.Pattern[str] | None:
        """Return the regular expression of groups of pictures, or None.

        Raises
        ------
        ValueError
            If it is none, or has no group.
        """
        if self.group is None:
            return None
        try:
            pattern = re.compile(self.group)
        except re.error as fault:
            raise ValueError(
                f"data.group is {self.group!r}, which is no regular expression ({fault}); for "
                f"pictures expected one such as '^(.+?)_'"
            ) from None
        if pattern.groups < 1:
            raise ValueError(
                f"data.group is {self.group!r}, which has no group in parentheses; for pictures "
                f"expected a regular expression such as '^(.+?)_'"
            )
        return pattern
