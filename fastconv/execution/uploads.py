"""Samples as plans take them, and where the backend computes."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data import Samples


class Arrays(dict[str, Any]):
    """Arrays of samples by the names that plans give them: a dictionary with weak references."""


class Uploads:
    """Brings samples to a backend; what somebody still has of them is not brought again.

    Parameters
    ----------
    run
        The backend's module of that name.
    dtype
        Of the network.
    """

    def __init__(self, run: Any, dtype: str) -> None:
        self._run = run
        self._dtype = dtype
        # Nothing here keeps samples or arrays alive.
        self._there: weakref.WeakKeyDictionary[Samples, weakref.ref[Arrays]]
        self._there = weakref.WeakKeyDictionary()

    def bring(self, samples: Samples) -> Arrays:
        """Return the samples' own arrays on the host, and copies on a device."""
        # Plans take numbers of either size; a device's memory need not hold the larger ones.
        arrays = arrays_of(samples, None if self._run.IS_ON_HOST else self._dtype)
        return Arrays({name: self._run.to_device(array) for name, array in arrays.items()})

    def arrays_of(self, samples: Samples) -> Arrays:
        """Return what is there of these samples, or else bring them.

        On the CPU these are the samples' own arrays, and what is written to them later is seen.
        On a CUDA device they are copies; for other images, make other samples.

        Parameters
        ----------
        samples
            The samples.

        Returns
        -------
        Arrays
            To be kept by whoever will want them again.
        """
        there = self._there.get(samples)
        arrays = None if there is None else there()
        if arrays is None:
            arrays = self.bring(samples)
            self._there[samples] = weakref.ref(arrays)
        return arrays


def image_dtype(images: NDArray[Any], dtype: str) -> str:
    """Return the dtype in which a network of ``dtype`` has images: bytes stay bytes."""
    return "uint8" if images.dtype == np.uint8 else dtype


def arrays_of(samples: Samples, dtype: str | None) -> dict[str, NDArray[Any]]:
    """Return samples by the names that plans give them.

    Parameters
    ----------
    samples
        The samples; nothing is copied that is right already.
    dtype
        Of the network; None for the arrays as they are.

    Examples
    --------
    >>> samples = Samples(np.zeros((2, 4, 4, 1)), np.ones((2, 1)))
    >>> {name: array.dtype.name for name, array in arrays_of(samples, "float32").items()}
    {'images': 'float32', 'targets': 'float32'}
    """
    images, labels = samples.images, samples.labels
    if dtype is not None:
        images = images.astype(image_dtype(images, dtype), copy=False)
        labels = labels if samples.has_classes else labels.astype(dtype, copy=False)
    return {"images": images, "labels" if samples.has_classes else "targets": labels}
