"""What command lines take with commas between."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any


def list_of(
    convert: Callable[[str], Any], allowed: Sequence[str] = (), least: int = 1
) -> Callable[[str], list[Any]]:
    """Read what stands between commas; at least so many."""

    def read(text: str) -> list[Any]:
        try:
            values = [convert(each) for each in text.split(",") if each]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}; expected numbers and commas") from None
        for value in values:
            if allowed and value not in allowed:
                raise argparse.ArgumentTypeError(
                    f"{value!r}; expected some of {', '.join(allowed)}"
                )
        if len(values) < least:
            raise argparse.ArgumentTypeError("nothing; expected one or more, with commas between")
        return values

    return read
