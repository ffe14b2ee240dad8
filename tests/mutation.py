"""Hostile contents made of honest ones: bits, numbers and parts that are not what they were."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_NUMBERS = (0, 1, -1, 2, 7, 8, 16, 32, 64, 100, 127, 128, 255, 256, 512, 1024, 4096, 32767, 32768,
            65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63,
            )  # fmt: skip
"""Where sizes, types and signs end."""
_WORDS = (b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"[]", b"{}",
          b'""', b"[[1],2]", b"4294967296", b"18446744073709551616", b"9" * 400, b"1e-400", b"inf",
          b"a" * 200_000, b"\xff\xfe", b"\0", b"../../etc/passwd", b"/dev/zero", b"<script>",
          b"\xe2\x80\xae", b"__class__", b"os.system")  # fmt: skip
"""Values that text may hold in place of others."""
_DIGITS = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_VALUE = re.compile(rb'"[^"\n]{0,200}"|[-\w.+]+')
_DEEP = 20_000
"""Of brackets in one another."""
_LONGEST = 1 << 22
"""Bytes that a content is cut to."""


def _place(content: bytes, choose: random.Random) -> int:
    """Somewhere, often near the beginning, where headers are."""
    most = len(content) if choose.random() < 0.5 else min(len(content), 128)
    return choose.randrange(most) if most else 0


def _flip_bit(content: bytes, choose: random.Random) -> bytes:
    made, place = bytearray(content), _place(content, choose)
    if made:
        made[place] ^= 1 << choose.randrange(8)
    return bytes(made)


def _set_byte(content: bytes, choose: random.Random) -> bytes:
    place = _place(content, choose)
    return content[:place] + bytes([choose.randrange(256)]) + content[place + 1 :]


def _set_number(content: bytes, choose: random.Random) -> bytes:
    size, place = choose.choice((1, 2, 4, 8)), _place(content, choose)
    number = choose.choice(_NUMBERS) % 2 ** (8 * size)
    written = number.to_bytes(size, choose.choice(("little", "big")))
    return content[:place] + written + content[place + size :]


def _take_away(content: bytes, choose: random.Random) -> bytes:
    place = _place(content, choose)
    return content[:place] + content[place + choose.randint(1, 1 + len(content) // 4) :]


def _repeat(content: bytes, choose: random.Random) -> bytes:
    place = _place(content, choose)
    part = content[place : place + choose.randint(1, 1 + len(content) // 4)]
    return content[:place] + part * choose.choice((2, 3, 50)) + content[place + len(part) :]


def _cut(content: bytes, choose: random.Random) -> bytes:
    return content[: choose.randint(0, len(content))]


def _insert(content: bytes, choose: random.Random) -> bytes:
    place = _place(content, choose)
    return content[:place] + choose.randbytes(choose.choice((1, 4, 17))) + content[place:]


def _exchange_digits(content: bytes, choose: random.Random) -> bytes:
    return _exchange(content, choose, _DIGITS)


def _exchange_value(content: bytes, choose: random.Random) -> bytes:
    return _exchange(content, choose, _VALUE)


def _exchange(content: bytes, choose: random.Random, pattern: re.Pattern[bytes]) -> bytes:
    """Put a word in place of a number or a value of a text."""
    found = [match.span() for match in pattern.finditer(content[:65536])]
    if not found:
        return _insert(content, choose)
    start, end = choose.choice(found)
    return content[:start] + choose.choice(_WORDS) + content[end:]


def _nest(content: bytes, choose: random.Random) -> bytes:
    place, (left, right) = _place(content, choose), choose.choice(((b"[", b"]"), (b'{"a":', b"}")))
    depth = choose.choice((3, 200, _DEEP))
    return content[:place] + left * depth + right * depth + content[place:]


_WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip_bit, _flip_bit, _set_byte, _set_number, _set_number, _take_away, _repeat, _cut, _insert,
    _exchange_digits, _exchange_value, _exchange_value, _nest,
)  # fmt: skip


def mutated(content: bytes, others: Sequence[bytes], choose: random.Random) -> bytes:
    """A content with one to four changes, one of which may be the end of another content.

    Parameters
    ----------
    content
        To change.
    others
        Of the same kind of file.
    choose
        Makes all choices.
    """
    for _ in range(choose.choice((1, 1, 1, 2, 3, 4))):
        if choose.random() < 0.05:
            other = choose.choice(list(others))
            content = content[: _place(content, choose)] + other[_place(other, choose) :]
        else:
            content = choose.choice(_WAYS)(content, choose)
    return content[:_LONGEST]
