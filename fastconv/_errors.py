"""Errors that command lines answer with one line and exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Error of a user, or of what surrounds a run, with the fix in one line.

    The errors of each part of the package are of this kind and of a kind of Python's, so that a
    command line knows them without importing the parts that raise them.
    """


class WorkerLost(UserError, RuntimeError):
    """A process that trained with others and is gone: which, and why, in one line."""
