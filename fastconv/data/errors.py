"""Errors of data sets: each is one line that says where and what to do."""

from __future__ import annotations

from fastconv._errors import UserError


class DataError(UserError, ValueError):
    """A data set, or a file of one, is not what it should be.

    The message is one line: the file or the data set, what was found, what was expected, and the
    fix.
    """


class MissingData(DataError):
    """A file or a folder of a data set is not there and could not be downloaded."""
