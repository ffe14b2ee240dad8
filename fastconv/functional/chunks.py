"""How many samples of a batch go through a convolution together, when layouts are turned around.

The compiled kernels compute in NHWC. A batch in NCHW is turned around chunk by chunk: one that is
small enough is still in a cache when the kernel reads it, and its memory serves the next chunk.
"""

from __future__ import annotations

import math

from fastconv.spec import ConvSpec

CHUNK_BYTES = 4 << 20
"""Bytes of the images that go into a convolution and come out of it, of all samples of a chunk:
little enough for the caches, enough to make what a call costs beside its work small."""
WORTH_CHUNKS_BYTES = 256 << 10
"""Bytes of all images of a call below which fresh arrays cost less than looking after chunks."""
_IMAGES_OVER_WEIGHTS = 4
"""Times that a chunk's images are larger than the weights, at least: each chunk packs the weights
anew, and adds a gradient of their size to the sum."""
_MOST_BYTES = 8 << 20
"""Bytes of a chunk that must be larger than ``CHUNK_BYTES``, above which chunks gain nothing."""
_EVEN_SAMPLES = 16
"""Chunks of this many samples or more are a multiple of it: samples may fill the lanes of vectors,
and no vector has more lanes."""


def samples_of_chunk(spec: ConvSpec, itemsize: int, together: int, chunk_bytes: int) -> int:
    """Return how many samples of a batch to take at a time: all of them where chunks do not pay.

    It does not depend on the number of threads, so that sums over chunks do not either.

    Parameters
    ----------
    spec
        The convolution of the whole batch.
    itemsize
        Bytes of an element.
    together
        Samples that a pass computes together, where the batch is a multiple of them.
    chunk_bytes
        ``CHUNK_BYTES``.
    """
    weights = itemsize * math.prod(spec.w_shape)
    each = itemsize * (math.prod(spec.x_shape[1:]) + math.prod(spec.y_shape[1:]))
    wanted = max(chunk_bytes, _IMAGES_OVER_WEIGHTS * weights)
    samples = max(1, wanted // each)
    step = max(together, _EVEN_SAMPLES if samples >= _EVEN_SAMPLES else 1)
    samples = max(step, samples // step * step)
    if samples >= spec.batch or (samples > 1 and samples * each > max(chunk_bytes, _MOST_BYTES)):
        return spec.batch
    # As many chunks as are needed, all of about the same size.
    samples = -(-spec.batch // -(-spec.batch // samples))
    return samples + -samples % step
