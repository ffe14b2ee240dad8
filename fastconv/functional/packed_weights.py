"""Weights that are packed once and kept, for public functions that are called again and again.

A convolution or a dense layer puts its weights in the order in which it multiplies, or transforms
them, in each call: with a few images that can be half of the work. Whoever does not change the
weights in between has it done once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import Array, take_floats

_AXES = (2, 4)
_MOST_FORMS = 8
"""Packed forms of the same weights that are kept; then all are forgotten."""


class PackedWeights:
    """Weights that are packed once: :func:`fastconv.pack_weights` makes them.

    The cython backend packs them at the first call with arrays of some shape, and keeps what it
    made, eight packed forms at most. On other backends the weights are taken as they are. What is
    computed has the same bits as with the array itself.

    Several threads may use one. A copy, or one that was pickled, has the weights, and packs anew.

    Parameters
    ----------
    w
        The weights, an array of NumPy or CuPy that nobody changes.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> packed = fastconv.pack_weights(np.ones((8, 3, 3, 3), np.float32))
    >>> packed
    PackedWeights(shape=(8, 3, 3, 3), dtype=float32)
    >>> packed.nbytes
    864
    """

    array_of_it: ClassVar[str] = "{}.weights; conv2d and dense alone take packed weights"
    """What a function that takes no packed weights is to be given."""

    def __init__(self, w: Array) -> None:
        self._weights = w
        self._forms: dict[bytes, np.ndarray] = {}
        self._calls: dict[Any, Any] = {}
        self._lock = threading.Lock()

    @property
    def weights(self) -> Array:
        """The weights: of NumPy an array that is read-only, and not the one that was given."""
        return self._weights

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        shape: tuple[int, ...] = self._weights.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the weights."""
        dtype: np.dtype[Any] = self._weights.dtype
        return dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and of all packed forms that have been made."""
        return int(self._weights.nbytes) + sum(form.nbytes for form in list(self._forms.values()))

    def __repr__(self) -> str:
        return f"PackedWeights(shape={self.shape}, dtype={self.dtype})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Array]]:
        return pack_weights, (self._weights,)

    def calls_of(self, function: Any, make: Callable[[], Any]) -> Any:
        """Return what keeps the calls of a public function; ``make`` makes it the first time."""
        found = self._calls.get(function)
        return self._calls.setdefault(function, make()) if found is None else found

    def packed_call(self, engine: Any, kernel: str, spec: Any, types: tuple[Any, ...]) -> Any:
        """Return what runs a kernel on the packed weights, its second array.

        Parameters
        ----------
        engine
            The engine module of a backend.
        kernel, spec, types
            As for its ``packed_call_of``.
        """
        with self._lock:
            if len(self._forms) >= _MOST_FORMS:
                # Calls that are under way hold on to theirs.
                self._forms.clear()
                for calls in self._calls.values():
                    calls.forget()
            return engine.packed_call_of(kernel, spec, types, 1, self._weights, self._forms)


def pack_weights(w: Any) -> PackedWeights:
    """Keep weights for many calls of :func:`conv2d` or :func:`dense`, which pack them once.

    What is returned is given in the place of the weights. It has a copy of them, so that changes of
    ``w`` are not seen: pack again after an update. The first call with arrays of some shape packs,
    and all later ones like it find what it made: with the cython backend, for arrays in C's order,
    as the others copy them. Results have the bits of calls with ``w`` itself.

    Parameters
    ----------
    w
        Weights of a convolution, in the order of its layout, or of a dense layer, (I, O); float32
        or float64.

    Returns
    -------
    PackedWeights
        For ``conv2d(x, packed)`` and ``dense(x, packed)``, with any options that ``w`` would fit.

    Raises
    ------
    TypeError
        If ``w`` is no array, or has the wrong dtype.
    ValueError
        If it has neither two axes nor four.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> w = np.ones((8, 3, 3, 3), np.float32)
    >>> packed = fastconv.pack_weights(w)
    >>> x = np.ones((1, 3, 16, 16), np.float32)
    >>> bool((fastconv.conv2d(x, packed) == fastconv.conv2d(x, w)).all())
    True
    """
    owner = "pack_weights"
    (array,) = take_floats(owner, w=w)
    if array.ndim not in _AXES:
        raise ValueError(
            f"{owner}: w has {array.ndim} dimensions {array.shape}; expected 4, the weights of a "
            f"convolution, or 2, those of a dense layer"
        )
    copied = module_of(array).array(array, order="C")
    if isinstance(copied, np.ndarray):
        copied.flags.writeable = False
    return PackedWeights(copied)
