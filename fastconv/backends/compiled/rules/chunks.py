"""Samples of a batch that go through a convolution together, when layouts are transposed.

A batch in NCHW is transposed chunk by chunk: one that is small enough is still in a cache when
a kernel reads it, and its memory serves the next chunk.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.spec import ConvSpec

CHUNK_BYTES = 4 << 20
"""Bytes of the images that go into a convolution and come out of it, of all samples of a chunk:
little enough for the caches, enough to make what an instruction costs beside its work small."""
_IMAGES_OVER_WEIGHTS = 4
"""Times that a chunk's images are larger than the weights, at least: each chunk reads the weights
again, and adds a gradient of their size to the sum."""
_MOST_BYTES = 8 << 20
"""Bytes of a chunk that must be larger than ``CHUNK_BYTES``, above which chunks gain nothing."""
_EVEN_SAMPLES = 16
"""Chunks of this many samples or more are a multiple of it: samples may fill the lanes of vectors,
and no vector has more lanes."""


def chunks_of_batch(spec: ConvSpec, itemsize: int, together: int) -> list[tuple[int, ConvSpec]]:
    """Cut a batch into chunks: the first sample of each, and its spec; an empty batch is one chunk.

    It does not depend on the number of threads, so that sums over chunks do not either.

    Parameters
    ----------
    spec
        The convolution of the whole batch.
    itemsize
        Bytes of an element.
    together
        Samples that a pass computes together, where the batch is a multiple of them.
    """
    samples = _samples_of_chunk(spec, itemsize, together)
    return [
        (first, replace(spec, batch=min(samples, spec.batch - first)))
        for first in range(0, max(1, spec.batch), max(1, samples))
    ]


def _samples_of_chunk(spec: ConvSpec, itemsize: int, together: int) -> int:
    """Return how many samples of a batch to take at a time: all of them where chunks do not pay."""
    weights = itemsize * math.prod(spec.w_shape)
    each = itemsize * (math.prod(spec.x_shape[1:]) + math.prod(spec.y_shape[1:]))
    wanted = max(CHUNK_BYTES, _IMAGES_OVER_WEIGHTS * weights)
    samples = max(1, wanted // each)
    step = max(together, _EVEN_SAMPLES if samples >= _EVEN_SAMPLES else 1)
    samples = max(step, samples // step * step)
    if samples >= spec.batch or (samples > 1 and samples * each > max(CHUNK_BYTES, _MOST_BYTES)):
        return spec.batch
    # As many chunks as are needed, all of about the same size.
    samples = -(-spec.batch // -(-spec.batch // samples))
    return samples + -samples % step
