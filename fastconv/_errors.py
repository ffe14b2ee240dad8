"""Errors that command lines answer with one line and exit code 2."""

from __future__ import annotations

_LONGEST = 1200
"""Characters of a message: names in it may come from files that nobody trusts."""


class UserError(Exception):
    r"""Error of a user, or of what surrounds a run, with the fix in one line.

    The errors of each part of the package are of this kind and of a kind of Python's, so that a
    command line knows them without importing the parts that raise them. Where a name from a file
    breaks the line or is very long, the message is one line of a readable length all the same.

    Examples
    --------
    >>> str(UserError("data\nof\ntwo lines"))
    'data of two lines'
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        return " ".join(text.splitlines())


class WorkerLost(UserError, RuntimeError):
    """A process that trained with others and is gone: which, and why, in one line."""
