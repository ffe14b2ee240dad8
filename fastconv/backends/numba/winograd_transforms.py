"""Transforms of Winograd's minimal filtering, for tiles of 2x2 and of 4x4 outputs.

And where the tiles lie in an image. See ``kernels/cpu/winograd_transforms.h``.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.backends.numba.compilation import inlined
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.vector_memory import ask_for, load, store
from fastconv.backends.numba.vectors import select

POINT_A, POINT_B = math.sqrt(0.5), math.sqrt(2)
"""Points of the tiles of 4x4 outputs, beside 0, their opposites and infinity."""
_COLUMN = 8
"""The bit of column 0 in what is outside of an image; those of the rows come first."""
ROOM = 36 * 16
"""Elements that the transforms of a tile keep in between: vectors, of at most 16 lanes."""


# Where tiles lie


@inlined
def _outside(first: int, size: int, seen: int) -> int:
    """Bits of those of so many rows or columns from one on that are outside of an image."""
    bits = 0
    for number in range(seen):
        if first + number < 0 or first + number >= size:
            bits |= 1 << number
    return bits


@inlined
def places_of_tiles(
    first: int, tiles: int, high: int, wide: int, height: int, width: int, top: int, left: int,
    sample: int, row: int, pixel: int, side: int, seen: int, places: Any, outside: Any,
) -> None:  # fmt: skip
    """Where some tiles begin, and which of their rows and columns are outside of the image.

    They are ``side`` rows and pixels from each other, each of ``seen`` rows and pixels, and are
    counted through the samples; the first begins ``top`` rows above its image and ``left`` pixels
    beside it, so that a place may be in front of the image.
    """
    line, column = first // wide, first % wide
    start, down = line // high * sample, line % high
    rows = _outside(side * down - top, height, seen)
    for number in range(tiles):
        y, x = side * down - top, side * column - left
        places[number] = start + y * row + x * pixel
        outside[number] = rows | _outside(x, width, seen) << _COLUMN
        column += 1
        if column == wide:
            column, down = 0, down + 1
            if down == high:
                down, start = 0, start + sample
            rows = _outside(side * down - top, height, seen)


@inlined
def places_seen(n: Fields, first: int, tiles: int, places: Any, outside: Any) -> None:
    """Where the pixels begin that some tiles see, and what is no pixel of the image."""
    places_of_tiles(
        first, tiles, n.tile_rows, n.tiles, n.height, n.width, n.top, n.left, n.a_sample, n.a_row,
        n.a_column, n.side, n.side + 2, places, outside,
    )  # fmt: skip


@inlined
def ask_for_pixels(
    images: Any, at: int, row: int, column: int, side: int, elements: int, line: int
) -> None:  # fmt: skip
    """Ask for some elements of ``side`` x ``side`` pixels to come into the caches."""
    for i in range(side):
        for j in range(side):
            pixel = at + i * row + j * column
            for k in range(pixel, pixel + elements, line):
                ask_for(images, k)


@inlined
def load_seen(source: Any, at: int, outside: int, row: int, column: int, lanes: int) -> Any:
    """A vector of the pixel at ``at``, or 0 where its row or its column is outside of the image."""
    is_outside = (outside >> row | outside >> (_COLUMN + column)) & 1
    return load(source, at, 0 if is_outside != 0 else lanes)


@inlined
def store_four(to: Any, out: int, place: int, values: Any, lanes: int) -> None:
    """Store vectors into four places, one behind the other."""
    store(to, out, values[0], lanes)
    store(to, out + place, values[1], lanes)
    store(to, out + 2 * place, values[2], lanes)
    store(to, out + 3 * place, values[3], lanes)


@inlined
def store_six(to: Any, out: int, place: int, values: Any, lanes: int) -> None:
    """Store vectors into six places, one behind the other."""
    store_four(to, out, place, values, lanes)
    store(to, out + 4 * place, values[4], lanes)
    store(to, out + 5 * place, values[5], lanes)


# Along one axis: G g, B' d and A' m


@inlined
def _filtered_2(g0: Any, g1: Any, g2: Any) -> Any:
    outer = (g0 + g2) * 0.5
    return g0, outer + g1 * 0.5, outer - g1 * 0.5, g2


@inlined
def _filtered_4(g0: Any, g1: Any, g2: Any) -> Any:
    near, far = (g0 + g2 * 0.5) * (-2 / 3), (g0 + g2 * 2) * (1 / 6)
    odd_near, odd_far = g1 * (-2 / 3 * POINT_A), g1 * (1 / 6 * POINT_B)
    return g0, near + odd_near, near - odd_near, far + odd_far, far - odd_far, g2


@inlined
def seen_2(d0: Any, d1: Any, d2: Any, d3: Any) -> Any:
    """``B' d``, along one axis."""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


@inlined
def seen_4(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> Any:
    """``B' d``, along one axis."""
    near, odd_near = d4 - d2 * 2, (d3 - d1 * 2) * POINT_A
    far, odd_far = d4 - d2 * 0.5, (d3 - d1 * 0.5) * POINT_B
    return (
        (d0 + d4) - d2 * 2.5, near + odd_near, near - odd_near,
        far + odd_far, far - odd_far, (d1 + d5) - d3 * 2.5,
    )  # fmt: skip


@inlined
def _gathered_2(m0: Any, m1: Any, m2: Any, m3: Any) -> Any:
    return m0 + (m1 + m2), (m1 - m2) - m3


@inlined
def _gathered_4(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> Any:
    near, far = m1 + m2, m3 + m4
    odd_near, odd_far = (m1 - m2) * POINT_A, (m3 - m4) * POINT_B
    return (
        m0 + (near + far), odd_near + odd_far, near * 0.5 + far * 2,
        m5 + (odd_near * 0.5 + odd_far * 2),
    )  # fmt: skip


@inlined
def spread_2(d0: Any, d1: Any) -> Any:
    """``A dy``, along one axis."""
    return d0, d0 + d1, d0 - d1, -d1


@inlined
def spread_4(d0: Any, d1: Any, d2: Any, d3: Any) -> Any:
    """``A dy``, along one axis."""
    near, odd_near = d0 + d2 * 0.5, (d1 + d3 * 0.5) * POINT_A
    far, odd_far = d0 + d2 * 2, (d1 + d3 * 2) * POINT_B
    return d0, near + odd_near, near - odd_near, far + odd_far, far - odd_far, d3


@inlined
def taps_2(u0: Any, u1: Any, u2: Any, u3: Any) -> Any:
    """``G' u``, along one axis."""
    both = (u1 + u2) * 0.5
    return u0 + both, (u1 - u2) * 0.5, both + u3


@inlined
def taps_4(u0: Any, u1: Any, u2: Any, u3: Any, u4: Any, u5: Any) -> Any:
    """``G' u``, along one axis."""
    near, far = (u1 + u2) * (-1 / 3), (u3 + u4) * (1 / 6)
    odd = (u3 - u4) * (1 / 6 * POINT_B) - (u1 - u2) * (2 / 3 * POINT_A)
    return u0 + (near * 2 + far), odd, (near + far * 2) + u5


# Along both axes


@inlined
def weights_of_tile(
    source: Any, at: int, down: int, across: int, side: int, to: Any, out: int, place: int,
    room: Any, lanes: int,
) -> None:  # fmt: skip
    """``to[place] = G g G'`` of a vector of outputs."""
    seen = side + 2
    for column in range(3):
        begin = at + column * across
        g0, g1 = load(source, begin, lanes), load(source, begin + down, lanes)
        g2 = load(source, begin + 2 * down, lanes)
        if side == 2:
            store_four(room, column * lanes, 3 * lanes, _filtered_2(g0, g1, g2), lanes)
        else:
            store_six(room, column * lanes, 3 * lanes, _filtered_4(g0, g1, g2), lanes)
    for row in range(seen):
        begin = 3 * row * lanes
        g0, g1 = load(room, begin, lanes), load(room, begin + lanes, lanes)
        g2, end = load(room, begin + 2 * lanes, lanes), out + seen * row * place
        if side == 2:
            store_four(to, end, place, _filtered_2(g0, g1, g2), lanes)
        else:
            store_six(to, end, place, _filtered_4(g0, g1, g2), lanes)


@inlined
def _column_2(source: Any, at: int, row: int, outside: int, column: int, lanes: int) -> Any:
    """``B' d`` of four pixels one below the other."""
    return seen_2(
        load_seen(source, at, outside, 0, column, lanes),
        load_seen(source, at + row, outside, 1, column, lanes),
        load_seen(source, at + 2 * row, outside, 2, column, lanes),
        load_seen(source, at + 3 * row, outside, 3, column, lanes),
    )


@inlined
def _pixels_2(
    source: Any, start: int, outside: int, row: int, pixel: int, channels: int, to: Any,
    first: int, place: int, lanes: int,
) -> None:  # fmt: skip
    for k in range(0, channels, lanes):
        at = start + k
        a0, a1, a2, a3 = _column_2(source, at, row, outside, 0, lanes)
        b0, b1, b2, b3 = _column_2(source, at + pixel, row, outside, 1, lanes)
        c0, c1, c2, c3 = _column_2(source, at + 2 * pixel, row, outside, 2, lanes)
        d0, d1, d2, d3 = _column_2(source, at + 3 * pixel, row, outside, 3, lanes)
        out = first + k
        store_four(to, out, place, seen_2(a0, b0, c0, d0), lanes)
        store_four(to, out + 4 * place, place, seen_2(a1, b1, c1, d1), lanes)
        store_four(to, out + 8 * place, place, seen_2(a2, b2, c2, d2), lanes)
        store_four(to, out + 12 * place, place, seen_2(a3, b3, c3, d3), lanes)


@inlined
def six(room: Any, begin: int, step: int, lanes: int) -> Any:
    """Six vectors from memory."""
    return (
        load(room, begin, lanes), load(room, begin + step, lanes),
        load(room, begin + 2 * step, lanes), load(room, begin + 3 * step, lanes),
        load(room, begin + 4 * step, lanes), load(room, begin + 5 * step, lanes),
    )  # fmt: skip


@inlined
def _pixels_4(
    source: Any, start: int, outside: int, row: int, pixel: int, channels: int, to: Any,
    first: int, place: int, room: Any, lanes: int,
) -> None:  # fmt: skip
    for k in range(0, channels, lanes):
        for column in range(6):
            at = start + column * pixel + k
            seen = seen_4(
                load_seen(source, at, outside, 0, column, lanes),
                load_seen(source, at + row, outside, 1, column, lanes),
                load_seen(source, at + 2 * row, outside, 2, column, lanes),
                load_seen(source, at + 3 * row, outside, 3, column, lanes),
                load_seen(source, at + 4 * row, outside, 4, column, lanes),
                load_seen(source, at + 5 * row, outside, 5, column, lanes),
            )
            store_six(room, column * lanes, 6 * lanes, seen, lanes)
        for down in range(6):
            d0, d1, d2, d3, d4, d5 = six(room, 6 * down * lanes, lanes, lanes)
            seen = seen_4(d0, d1, d2, d3, d4, d5)
            store_six(to, first + k + 6 * down * place, place, seen, lanes)


@inlined
def pixels_of_tile(
    source: Any, start: int, outside: int, row: int, pixel: int, channels: int, side: int, to: Any,
    first: int, place: int, room: Any, lanes: int,
) -> None:  # fmt: skip
    """``to[place][k] = B' d B`` for the pixels d that begin somewhere, for all channels.

    Pixels outside of the image are 0. Tiles within it have no conditions.
    """
    if side == 2:
        if outside == 0:
            _pixels_2(source, start, 0, row, pixel, channels, to, first, place, lanes)
        else:
            _pixels_2(source, start, outside, row, pixel, channels, to, first, place, lanes)
    elif outside == 0:
        _pixels_4(source, start, 0, row, pixel, channels, to, first, place, room, lanes)
    else:
        _pixels_4(source, start, outside, row, pixel, channels, to, first, place, room, lanes)


@inlined
def _finish(
    c: Any, at: int, value: Any, other: Any, by_other: bool, slope: Any, lanes: int
) -> None:  # fmt: skip
    """Store a value, times the slope where it, or the other, is not positive."""
    test = load(other, at, lanes) if by_other else value
    store(c, at, select(test > 0, value, value * slope), lanes)


@inlined
def _down_2(results: Any, at: int, place: int, lanes: int) -> Any:
    """``A' m`` of the results of four places one below the other."""
    return _gathered_2(
        load(results, at, lanes), load(results, at + 4 * place, lanes),
        load(results, at + 8 * place, lanes), load(results, at + 12 * place, lanes),
    )  # fmt: skip


@inlined
def _outputs_2(
    results: Any, m: int, place: int, base: Any, c: Any, at: int, row: int, pixel: int,
    other: Any, by_other: bool, slope: Any, outside: int, lanes: int,
) -> None:  # fmt: skip
    a0, a1 = _down_2(results, m, place, lanes)
    b0, b1 = _down_2(results, m + place, place, lanes)
    c0, c1 = _down_2(results, m + 2 * place, place, lanes)
    d0, d1 = _down_2(results, m + 3 * place, place, lanes)
    right, below = outside >> (_COLUMN + 1) & 1, outside >> 1 & 1
    y0, y1 = _gathered_2(a0, b0, c0, d0)
    _finish(c, at, base + y0, other, by_other, slope, lanes)
    if right == 0:
        _finish(c, at + pixel, base + y1, other, by_other, slope, lanes)
    if below == 0:
        y0, y1 = _gathered_2(a1, b1, c1, d1)
        _finish(c, at + row, base + y0, other, by_other, slope, lanes)
        if right == 0:
            _finish(c, at + row + pixel, base + y1, other, by_other, slope, lanes)


@inlined
def _outputs_4(
    results: Any, m: int, place: int, base: Any, c: Any, at: int, row: int, pixel: int,
    other: Any, by_other: bool, slope: Any, outside: int, room: Any, lanes: int,
) -> None:  # fmt: skip
    for column in range(6):
        m0, m1, m2, m3, m4, m5 = six(results, m + column * place, 6 * place, lanes)
        store_four(room, column * lanes, 6 * lanes, _gathered_4(m0, m1, m2, m3, m4, m5), lanes)
    for down in range(4):
        if outside >> down & 1 == 0:
            m0, m1, m2, m3, m4, m5 = six(room, 6 * down * lanes, lanes, lanes)
            y0, y1, y2, y3 = _gathered_4(m0, m1, m2, m3, m4, m5)
            first = at + down * row
            _finish(c, first, base + y0, other, by_other, slope, lanes)
            if outside >> (_COLUMN + 1) & 1 == 0:
                _finish(c, first + pixel, base + y1, other, by_other, slope, lanes)
            if outside >> (_COLUMN + 2) & 1 == 0:
                _finish(c, first + 2 * pixel, base + y2, other, by_other, slope, lanes)
            if outside >> (_COLUMN + 3) & 1 == 0:
                _finish(c, first + 3 * pixel, base + y3, other, by_other, slope, lanes)


@inlined
def outputs_of_tile(
    results: Any, m: int, place: int, base: Any, side: int, c: Any, at: int, row: int, pixel: int,
    other: Any, by_other: bool, slope: Any, outside: int, room: Any, lanes: int,
) -> None:  # fmt: skip
    """Write a vector of the outputs of a tile from the sums of its places, but for those outside.

    They are times the slope where they, or with ``by_other`` those of ``other``, are not positive.
    """
    if side == 2:
        _outputs_2(
            results, m, place, base, c, at, row, pixel, other, by_other, slope, outside, lanes
        )
    elif outside == 0:  # without conditions
        _outputs_4(
            results, m, place, base, c, at, row, pixel, other, by_other, slope, 0, room, lanes
        )
    else:
        _outputs_4(
            results, m, place, base, c, at, row, pixel, other, by_other, slope, outside, room,
            lanes,
        )  # fmt: skip
