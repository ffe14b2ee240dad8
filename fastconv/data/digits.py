"""The 1797 digits of 8 x 8 pixels that come with scikit-learn: data without a download.

Source: the test part of Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (UCI
Machine Learning Repository, 1998).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.data.dataset import Dataset, Samples

GREY_STEP = 15
"""What one grey level of the source is here: its 0 to 16 become 0 to 240, exactly proportional."""

TEST_SIZE = 300
VALIDATION_SIZE = 200
_SPLIT_SEED = 0


def load_digits() -> Dataset:
    """Load the digits, split once and for all.

    Returns
    -------
    Dataset
        Images (samples, 8, 8, 1) uint8: the source's grey levels 0 to 16 times 15, so that they
        are spread over the range of uint8 and ``images // 15`` gives them back exactly. Labels
        int64, the digits. 1297 samples for training, 200 for validation and 300 for the test, each
        part with about the same share of every digit, each in the order of the source.

    Notes
    -----
    The parts are drawn by scikit-learn's stratified ``train_test_split`` with ``random_state=0``:
    first the test, then the validation part from the rest. So they are the same for everyone.
    """
    from sklearn.datasets import load_digits as load_source  # type: ignore[import-untyped]
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    source: Any = load_source()
    images = (source.images * GREY_STEP).astype(np.uint8)[..., np.newaxis]
    everything = Samples(images, source.target.astype(np.int64))

    def hold_out(indices: npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
        parts = train_test_split(
            indices,
            test_size=size,
            random_state=_SPLIT_SEED,
            stratify=everything.labels[indices],
        )
        return [np.sort(part) for part in parts]

    rest, test = hold_out(np.arange(len(everything)), TEST_SIZE)
    training, validation = hold_out(rest, VALIDATION_SIZE)
    return Dataset(
        name="digits",
        training=everything.take(training),
        test=everything.take(test),
        class_names=tuple("0123456789"),
        validation=everything.take(validation),
    )
