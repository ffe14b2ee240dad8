"""The beginning of a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.compiled.rules.input import (
    spec_of_gathered_rows,
    spec_of_standardized_images,
)
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.philox import fill_words
from fastconv.backends.numba.pointers import clear, copy, first_in_blocks, first_of, local, pointer
from fastconv.backends.numba.reductions import extremes_of
from fastconv.backends.numba.vector_functions import multiply_add
from fastconv.backends.numba.vector_memory import (
    CACHE_LINE_BYTES,
    ask_for,
    load,
    load_beside,
    store,
)
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread

_IMAGES_AHEAD = 2
"""Images lie anywhere in the data set, which no cache holds: from one to that asked for beside."""


@inlined
def _fetch_early(images: Any, start: int, count: int) -> None:
    for k in range(0, count, CACHE_LINE_BYTES):
        ask_for(images, start + k)


@kernel(Kernel.GATHER_IMAGES)
def _gather_images(real: Real) -> KernelFunction:
    """Blocks of the whole batch, each a piece of an image or of several."""
    own_bytes = np.dtype(real).itemsize

    def gather_images(n: Fields, step: int, thread: int, threads: int) -> None:
        batch, elements, item_bytes = n.batch, n.elements, n.itemsize
        images, numbers = pointer(n.images, np.uint8), pointer(n.images, real)
        singles, doubles = pointer(n.images, np.float32), pointer(n.images, np.float64)
        indices, x, lanes = pointer(n.indices, np.int64), pointer(n.x, real), lanes_of(real)
        i, end = (
            first_in_blocks(batch * elements, thread, threads),
            first_in_blocks(batch * elements, thread + 1, threads),
        )
        while i < end:
            skipped = i % elements
            source = indices[step * batch + i // elements] * elements + skipped
            size = min(elements - skipped, end - i)
            if item_bytes == 1:
                soon = i // elements + _IMAGES_AHEAD
                if soon < batch and soon * elements < end:
                    ahead = indices[step * batch + soon] * elements
                    _fetch_early(images, ahead, min(elements, end - soon * elements))
                for k in range(0, size, lanes):
                    count = min(lanes, size - k)
                    some = as_dtype(load_beside(images, source + k, count, real), real)
                    store(x, i + k, some, count)
            elif item_bytes == own_bytes:
                copy(x, i, numbers, source, size)
            elif item_bytes == 8:
                for k in range(0, size, lanes):
                    count = min(lanes, size - k)
                    some = as_dtype(load_beside(doubles, source + k, count, real), real)
                    store(x, i + k, some, count)
            else:
                for k in range(0, size, lanes):
                    count = min(lanes, size - k)
                    some = as_dtype(load_beside(singles, source + k, count, real), real)
                    store(x, i + k, some, count)
            i += size

    return gather_images


@kernel(Kernel.GATHER_ROWS)
def _gather_rows(real: Real) -> KernelFunction:
    """Rows of bytes: labels or targets of any type."""

    def gather_rows(n: Fields, step: int, thread: int, threads: int) -> None:
        batch, size, indices = n.batch, n.bytes, pointer(n.indices, np.int64)
        rows, out = pointer(n.rows, np.uint8), pointer(n.y, np.uint8)
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            copy(out, sample * size, rows, indices[step * batch + sample] * size, size)

    return gather_rows


@kernel(Kernel.SCALE_IMAGES)
def _scale_images(real: Real) -> KernelFunction:
    def scale_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, lanes = pointer(n.x, real), pointer(n.y, real), lanes_of(real)
        factor, size = real(pointer(n.factor, np.float64)[0]), n.size
        end = first_in_blocks(size, thread + 1, threads)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            store(y, i, load(x, i, count) * factor, count)

    return scale_images


_LONGEST_PERIOD = 256


@kernel(Kernel.STANDARDIZE_IMAGES)
def _standardize_images(real: Real) -> KernelFunction:
    """``y = (x - mean) / std``, mean and std repeating with a period."""

    def standardize_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, lanes = pointer(n.x, real), pointer(n.y, real), lanes_of(real)
        mean, std = pointer(n.mean, real), pointer(n.std, real)
        means, stds = local(_LONGEST_PERIOD, real), local(_LONGEST_PERIOD, real)
        rows, period = n.rows, n.period
        size, repeats = rows * period, _LONGEST_PERIOD // period
        # Short periods, of three colours, say, are written side by side: more for a vector, and
        # whole vectors where there is room.
        if repeats >= 16:
            repeats -= repeats % 16
        if repeats > 1:
            for i in range(repeats * period):
                means[i], stds[i] = mean[i % period], std[i % period]
            mean, std = means, stds
        else:
            repeats = 1
        groups, period = (rows + repeats - 1) // repeats, period * repeats
        for group in range(
            first_of(groups, thread, threads), first_of(groups, thread + 1, threads)
        ):
            start = group * period
            end = min(period, size - start)
            for i in range(0, end, lanes):
                count = min(lanes, end - i)
                distance = load(x, start + i, count) - load(mean, i, count)
                store(y, start + i, distance / load(std, i, count), count)

    return standardize_images


@kernel(Kernel.MIN_MAX_IMAGES)
def _min_max_images(real: Real) -> KernelFunction:
    def min_max_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, lanes = pointer(n.x, real), pointer(n.y, real), lanes_of(real)
        batch, elements = n.batch, n.elements
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            first, end = sample * elements, (sample + 1) * elements
            low, high = extremes_of(x, first, end, real)
            if low == high:
                clear(y, first, elements)
            else:
                for i in range(first, end, lanes):
                    count = min(lanes, end - i)
                    store(y, i, (load(x, i, count) - low) / (high - low), count)

    return min_max_images


@inlined
def _quotient_of_bytes(value: Any, span: Any, inverse: Any) -> Any:
    """``value / span`` to the last bit, for all bytes: a product, put right by what is left."""
    near = value * inverse
    return multiply_add(multiply_add(-near, span, value), inverse, near)


@kernel(Kernel.GATHER_MIN_MAX_IMAGES)
def _gather_min_max_images(real: Real) -> KernelFunction:
    """gather_images of bytes and min_max_images in one; x is written once."""

    def gather_min_max_images(n: Fields, step: int, thread: int, threads: int) -> None:
        batch, elements = n.batch, n.elements
        images, indices = pointer(n.images, np.uint8), pointer(n.indices, np.int64)
        x, lanes = pointer(n.x, real), lanes_of(real)
        end = first_of(batch, thread + 1, threads)
        for sample in range(first_of(batch, thread, threads), end):
            source = indices[step * batch + sample] * elements
            if sample + _IMAGES_AHEAD < end:
                soon = indices[step * batch + sample + _IMAGES_AHEAD] * elements
                _fetch_early(images, soon, elements)
            low, high = 255, 0
            for i in range(source, source + elements):
                low, high = min(low, int(images[i])), max(high, int(images[i]))
            span = real(high - low) if high > low else real(1)
            inverse = spread(real(1) / span, real)
            least, divisor = spread(real(low), real), spread(span, real)
            for i in range(0, elements, lanes):
                count = min(lanes, elements - i)
                v = as_dtype(load_beside(images, source + i, count, real), real) - least
                store(x, sample * elements + i, _quotient_of_bytes(v, divisor, inverse), count)

    return gather_min_max_images


_WORDS_OF_AN_IMAGE = 12
_ROOM_FOR_WORDS = 64
"""The widest vectors make sixteen blocks of four words at a time."""

_BATCH, _HEIGHT, _WIDTH, _CHANNELS, _FLIP, _CROP, _WARPS, _CUTOUT, _KEY = range(9)
"""Integers of augment_images; its reals are rotation and shear in radians, and translation."""


@inlined
def _draw(words: Any, number: int) -> float:
    """Number between 0 and 1 from a word."""
    return float(words[number] >> np.uint32(8)) / 16777216.0


@inlined
def _part(size: int, moved: int) -> tuple[int, int]:
    """First and end of what is on the image along an axis after a shift."""
    first = min(size, max(0, -moved))
    return first, max(first, min(size, size - moved))


@kernel(Kernel.AUGMENT_IMAGES)
def _augment_images(real: Real) -> KernelFunction:
    """Flip, crop, warp, cut out; fastconv.plans.operation.AugmentSpec has the formulas."""

    def augment_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        number, words = pointer(n.step, np.int64)[0] + step, local(_ROOM_FOR_WORDS, np.uint32)
        batch, height, width = n.batch, n.height, n.width
        channels, crop, cutout = n.channels, n.crop, n.cutout
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            blocks, image = _WORDS_OF_AN_IMAGE // 4, sample * height * width
            fill_words(words, 0, sample * blocks, blocks, n, number)
            # After the flip and the crop, pixel (i, j) is input pixel (i + oy, start + side * j).
            oy = math.floor(_draw(words, 1) * (2 * crop + 1)) - crop
            ox = math.floor(_draw(words, 2) * (2 * crop + 1)) - crop
            start, side = ox, 1
            if n.flip and _draw(words, 0) < 0.5:
                start, side = width - 1 - ox, -1
            top, bottom = _part(height, oy)
            left, right = _part(width, ox)
            source = image + oy * width + start
            if n.warps:
                angle = (2 * _draw(words, 3) - 1) * n.rotation
                slope = math.tan((2 * _draw(words, 4) - 1) * n.shear)
                ty = (2 * _draw(words, 5) - 1) * n.translation * height
                tx = (2 * _draw(words, 6) - 1) * n.translation * width
                cy, cx, sine, cosine = (
                    (height - 1) / 2,
                    (width - 1) / 2,
                    math.sin(angle),
                    math.cos(angle),
                )
                for i in range(height):
                    v = i - cy - ty
                    h = -cx - tx - slope * v
                    for j in range(width):
                        # Where it samples: the four pixels around, with their weights.
                        r, c = sine * (h + j) + cosine * v + cy, cosine * (h + j) - sine * v + cx
                        i0, j0, to = (
                            math.floor(r),
                            math.floor(c),
                            (image + i * width + j) * channels,
                        )
                        down, across = real(r - i0), real(c - j0)
                        up, back = real(1) - down, real(1) - across
                        pixel = (source + i0 * width + side * j0) * channels
                        if top <= i0 < bottom - 1 and left <= j0 < right - 1:
                            for k in range(channels):
                                place = pixel + k
                                above = back * x[place] + across * x[place + side * channels]
                                place += width * channels
                                under = back * x[place] + across * x[place + side * channels]
                                y[to + k] = up * above + down * under
                            continue
                        # At the edge: the pixels that are there, of four.
                        for k in range(channels):
                            y[to + k] = real(0)
                        for corner in range(4):
                            di, dj = corner // 2, corner % 2
                            if top <= i0 + di < bottom and left <= j0 + dj < right:
                                weight = (down if di else up) * (across if dj else back)
                                place = pixel + (di * width + dj * side) * channels
                                for k in range(channels):
                                    y[to + k] += weight * x[place + k]
            else:
                for i in range(height):
                    to, pixel = (image + i * width) * channels, (source + i * width) * channels
                    if i < top or i >= bottom:
                        clear(y, to, width * channels)
                        continue
                    clear(y, to, left * channels)
                    if side == 1:
                        copy(
                            y,
                            to + left * channels,
                            x,
                            pixel + left * channels,
                            (right - left) * channels,
                        )
                    else:
                        for j in range(left, right):
                            for k in range(channels):
                                y[to + j * channels + k] = x[pixel - j * channels + k]
                    clear(y, to + right * channels, (width - right) * channels)
            if cutout > 0:
                i0 = math.floor(_draw(words, 7) * height) - cutout // 2
                j0 = math.floor(_draw(words, 8) * width) - cutout // 2
                left, right = max(0, j0), min(width, j0 + cutout)
                for i in range(max(0, i0), min(height, i0 + cutout)):
                    clear(y, (image + i * width + left) * channels, (right - left) * channels)

    return augment_images


_WORDS_OF_A_JITTER = 8


@inlined
def _luma(x: Any, first: int, channels: int, real: Real) -> Any:
    """Luma of the pixel that begins at an element."""
    if channels == 3:
        weighted = real(0.299) * x[first] + real(0.587) * x[first + 1]
        return weighted + real(0.114) * x[first + 2]
    total = real(0)
    for c in range(channels):
        total += real(1 / channels) * x[first + c]
    return total


@kernel(Kernel.JITTER_IMAGES)
def _jitter_images(real: Real) -> KernelFunction:
    """Colours and erasing, in place; fastconv.plans.jitter.JitterSpec has the formulas."""

    def jitter_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, words = pointer(n.x, real), local(_ROOM_FOR_WORDS, np.uint32)
        number = pointer(n.step, np.int64)[0] + step
        batch, height, width, channels = n.batch, n.height, n.width, n.channels
        size, blocks = height * width * channels, _WORDS_OF_A_JITTER // 4
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            fill_words(words, 0, sample * blocks, blocks, n, number)
            first = sample * size
            if n.brightness != 0:
                brightness = real(1 + (2 * _draw(words, 0) - 1) * n.brightness)
                for i in range(first, first + size):
                    x[i] *= brightness
            if n.contrast != 0:
                contrast = real(1 + (2 * _draw(words, 1) - 1) * n.contrast)
                total = 0.0
                for i in range(first, first + size, channels):
                    total += _luma(x, i, channels, real)
                more = (real(1) - contrast) * real(total / (height * width))
                for i in range(first, first + size):
                    x[i] = contrast * x[i] + more
            if n.saturation != 0:
                saturation = real(1 + (2 * _draw(words, 2) - 1) * n.saturation)
                for i in range(first, first + size, channels):
                    gray = (real(1) - saturation) * _luma(x, i, channels, real)
                    for c in range(channels):
                        x[i + c] = saturation * x[i + c] + gray
            if _draw(words, 3) < n.erase:
                area = height * width * (0.02 + _draw(words, 4) * (n.erase_area - 0.02))
                ratio = math.pow(0.3, 1 - 2 * _draw(words, 5))
                rows = min(height, max(1, math.floor(math.sqrt(area * ratio) + 0.5)))
                columns = min(width, max(1, math.floor(math.sqrt(area / ratio) + 0.5)))
                top = math.floor(_draw(words, 6) * (height - rows + 1))
                left = math.floor(_draw(words, 7) * (width - columns + 1))
                for i in range(top, top + rows):
                    clear(x, first + (i * width + left) * channels, columns * channels)

    return jitter_images


gather_images = contract_kernel(engine, "input.gather_images", __name__)
gather_rows = contract_kernel(engine, "input.gather_rows", __name__, spec_of_gathered_rows)
scale_images = contract_kernel(engine, "input.scale_images", __name__)
standardize_images = contract_kernel(
    engine, "input.standardize_images", __name__, spec_of_standardized_images
)
min_max_images = contract_kernel(engine, "input.min_max_images", __name__)
augment_images = contract_kernel(engine, "input.augment_images", __name__)
jitter_images = contract_kernel(engine, "input.jitter_images", __name__)
workspace_bytes = workspace_of_module(engine, "input", __name__)
