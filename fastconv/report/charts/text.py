"""Text in SVG: escaped, and how much room it takes."""

from __future__ import annotations

from collections.abc import Iterable

_HUNDREDTHS = {
    28: "Iijl'", 32: " .,", 35: "fJ|/\\:;-", 40: "!()[]rt", 50: "*_`\"s?", 55: "Lcz",
    62: "aehknopvxyFY", 65: "0123456789bdgquEKSTPZ$+{}", 75: "ABCDGHNOQRUVX&",
    84: "w#<>=^~", 98: "mMW%@",
}  # fmt: skip
_WIDTHS = {character: width for width, group in _HUNDREDTHS.items() for character in group}


def escaped(text: str) -> str:
    """Return text that is no markup, for an element or an attribute.

    Examples
    --------
    >>> escaped('"a" < b')
    '&quot;a&quot; &lt; b'
    """
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def text_width(lines: Iterable[str], size: float) -> float:
    """Return the width of the widest of some lines of text, about.

    Which font a browser takes is not known here: this is the width in DejaVu Sans, among the widest
    of those that it may be.

    Parameters
    ----------
    lines
        The lines.
    size
        Of the font, in the same unit as the width.

    Examples
    --------
    >>> text_width(["0.5", "10.5"], 10)
    22.7
    """
    # What is no Latin letter, such as a Chinese one, is as wide as high.
    widths = (sum(_WIDTHS.get(c, 62 if ord(c) < 0x250 else 100) for c in line) for line in lines)
    return max(widths, default=0) * size / 100
