"""1797 digits of 8 x 8 pixels that come with the package: data without a download.

Source: the test part of Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (UCI
Machine Learning Repository, 1998), CC BY 4.0; ``optdigits/README.md`` beside this file says more.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from fastconv.data.dataset import Dataset, Samples

GREY_STEP = 15
"""Factor of a grey level of the source: its 0 to 16 become 0 to 240, exactly proportional."""

_PARTS = ("training", "validation", "test")
"""In the order of their numbers in the file."""


def load_digits() -> Dataset:
    """Load the digits, split once and for all.

    Returns
    -------
    Dataset
        Images (samples, 8, 8, 1) uint8: the source's grey levels 0 to 16 times 15, so that they
        are spread over the range of uint8 and ``images // 15`` gives them back exactly. Labels
        int64, the digits. 1297 samples for training, 200 for validation and 300 for the test, each
        part with about the same share of every digit, each in the order of the source.

    Examples
    --------
    >>> {part: len(samples) for part, samples in load_digits().parts.items()}
    {'training': 1297, 'test': 300, 'validation': 200}
    """
    file = resources.files(__package__) / "optdigits" / "optdigits.npz"
    with file.open("rb") as content, np.load(content, allow_pickle=False) as source:
        images = source["images"][..., np.newaxis] * np.uint8(GREY_STEP)
        labels, part = source["labels"].astype(np.int64), source["part"]
    parts = {
        name: Samples(images[part == number], labels[part == number])
        for number, name in enumerate(_PARTS)
    }
    names = tuple("0123456789")
    return Dataset("digits", parts["training"], parts["test"], names, parts["validation"])
