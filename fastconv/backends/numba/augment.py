"""Crops and flips of images, and mixtures of one with another, each by its own draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.philox import fill_words
from fastconv.backends.numba.pointers import copy, first_of, local, pointer

_BLOCKS_OF_AN_IMAGE = 2
_ROOM_FOR_WORDS = 64
"""The widest vectors make sixteen blocks of four words at a time."""
_RANDOM, _ALTERNATING = 1, 2
_STEP_OF_FIRST_FLIPS = 2**62


@inlined
def _draw(words: Any, number: int) -> float:
    """Number between 0 and 1 from a word."""
    return float(words[number] >> np.uint32(8)) / 16777216.0


@inlined
def _mirrored(place: int, size: int) -> int:
    """The pixel that a place beside an image shows."""
    inside = max(place, -place)
    return inside if inside < size else 2 * (size - 1) - inside


@inlined
def _side(length: float, size: int) -> int:
    """A length rounded to 1 up to ``size`` pixels."""
    return min(size, max(1, math.floor(length + 0.5)))


@kernel(Kernel.CROP_IMAGES)
def _crop_images(real: Real) -> KernelFunction:
    """Crops, resized parts, flips; fastconv.plans.augmentation.CropSpec has the formulas."""

    def crop_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, words = pointer(n.x, real), pointer(n.y, real), local(_ROOM_FOR_WORDS, np.uint32)
        indices = pointer(n.indices, np.int64)
        number = pointer(n.step, np.int64)[0] + step
        batch, height, width, channels = n.batch, n.height, n.width, n.channels
        crop, least_area, row = n.crop, n.least_area, n.width * n.channels
        odd = number // n.steps_per_epoch % 2 == 1
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            flipped = False
            if n.flip == _ALTERNATING:
                place = indices[step * batch + sample]
                fill_words(words, 0, place // 4, 1, n, _STEP_OF_FIRST_FLIPS)
                flipped = (_draw(words, place % 4) < 0.5) != odd
            fill_words(words, 0, sample * _BLOCKS_OF_AN_IMAGE, _BLOCKS_OF_AN_IMAGE, n, number)
            if n.flip == _RANDOM:
                flipped = _draw(words, 0) < 0.5
            image = sample * height * row
            if least_area == 0:
                oy = math.floor(_draw(words, 1) * (2 * crop + 1)) - crop
                ox = math.floor(_draw(words, 2) * (2 * crop + 1)) - crop
                for i in range(height):
                    source, to = image + _mirrored(i + oy, height) * row, image + i * row
                    if ox == 0 and not flipped:
                        copy(y, to, x, source, row)
                        continue
                    for j in range(width):
                        column = width - 1 - j if flipped else j
                        pixel = source + _mirrored(column + ox, width) * channels
                        for k in range(channels):
                            y[to + j * channels + k] = x[pixel + k]
                continue
            area = height * width * (least_area + _draw(words, 3) * (1 - least_area))
            ratio = math.pow(0.75, 1 - 2 * _draw(words, 4))
            rows = _side(math.sqrt(area / ratio), height)
            columns = _side(math.sqrt(area * ratio), width)
            top = math.floor(_draw(words, 5) * (height - rows + 1))
            left = math.floor(_draw(words, 6) * (width - columns + 1))
            part = image + top * row + left * channels
            for i in range(height):
                r = max(0.0, (i + 0.5) * (rows / height) - 0.5)
                i0 = math.floor(r)
                down = real(r - i0)
                above, below = part + i0 * row, part + min(i0 + 1, rows - 1) * row
                for j in range(width):
                    column = width - 1 - j if flipped else j
                    c = max(0.0, (column + 0.5) * (columns / width) - 0.5)
                    j0 = math.floor(c)
                    across = real(c - j0)
                    before, behind = j0 * channels, min(j0 + 1, columns - 1) * channels
                    up, back = real(1) - down, real(1) - across
                    to = image + i * row + j * channels
                    for k in range(channels):
                        upper = back * x[above + before + k] + across * x[above + behind + k]
                        lower = back * x[below + before + k] + across * x[below + behind + k]
                        y[to + k] = up * upper + down * lower

    return crop_images


@inlined
def _share(u1: float, u2: float, parameter: float) -> float:
    """A number of the symmetric Beta distribution."""
    p, c = math.pow(1 - u1, 1 / parameter), math.cos(2 * math.pi * u2)
    q = (1 - p) * c * c
    return 0.5 + math.copysign(0.5, c) * math.sqrt(q / (p + q))


@kernel(Kernel.MIX_IMAGES)
def _mix_images(real: Real) -> KernelFunction:
    """Mixup and cutmix; fastconv.plans.augmentation.MixSpec has the formulas."""

    def mix_images(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, words = pointer(n.x, real), pointer(n.y, real), local(_ROOM_FOR_WORDS, np.uint32)
        partners, shares = pointer(n.partners, np.int64), pointer(n.shares, real)
        number = pointer(n.step, np.int64)[0] + step
        batch, height, width, channels = n.batch, n.height, n.width, n.channels
        row = width * channels
        size = height * row
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            fill_words(words, 0, sample * _BLOCKS_OF_AN_IMAGE, _BLOCKS_OF_AN_IMAGE, n, number)
            partner = (sample + 1 + math.floor(_draw(words, 0) * (batch - 1))) % batch
            own, other = sample * size, partner * size
            cuts = n.cutmix > 0 and (n.mixup == 0 or _draw(words, 5) < 0.5)
            parameter = n.cutmix if cuts else n.mixup if n.mixup > 0 else 1.0
            share = _share(_draw(words, 1), _draw(words, 2), parameter)
            if cuts:
                side = math.sqrt(1 - share)
                rows, columns = math.floor(height * side + 0.5), math.floor(width * side + 0.5)
                top = math.floor(_draw(words, 3) * height) - rows // 2
                left = math.floor(_draw(words, 4) * width) - columns // 2
                bottom, right = min(height, top + rows), min(width, left + columns)
                top, left = max(0, top), max(0, left)
                copy(y, own, x, own, size)
                for i in range(top, bottom):
                    first = i * row + left * channels
                    copy(y, own + first, x, other + first, (right - left) * channels)
                share = 1 - (bottom - top) * (right - left) / (height * width)
            else:
                kept, rest = real(share), real(1) - real(share)
                for i in range(size):
                    y[own + i] = kept * x[own + i] + rest * x[other + i]
            partners[sample] = partner
            shares[sample] = real(share)

    return mix_images


@kernel(Kernel.MIX_ROWS)
def _mix_rows(real: Real) -> KernelFunction:
    def mix_rows(n: Fields, step: int, thread: int, threads: int) -> None:
        rows, y = pointer(n.rows, real), pointer(n.y, real)
        partners, shares = pointer(n.partners, np.int64), pointer(n.shares, real)
        batch, elements = n.batch, n.elements
        for sample in range(first_of(batch, thread, threads), first_of(batch, thread + 1, threads)):
            kept, rest = shares[sample], real(1) - shares[sample]
            own, other = sample * elements, partners[sample] * elements
            for i in range(elements):
                y[own + i] = kept * rows[own + i] + rest * rows[other + i]

    return mix_rows


crop_images = contract_kernel(engine, "augment.crop_images", __name__)
mix_images = contract_kernel(engine, "augment.mix_images", __name__)
mix_rows = contract_kernel(engine, "augment.mix_rows", __name__)
workspace_bytes = workspace_of_module(engine, "augment", __name__)
