"""Tables in CSV files: a column of classes, and pixels or features in the others."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data.available_memory import require_memory
from fastconv.data.dataset import Array
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions
from fastconv.data.source import Rows
from fastconv.data.table_columns import Columns, as_names, as_table_images, find_columns

_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_LINE = 2**24


def read_csv(path: Path, options: OwnOptions, *, requires_label: bool = True) -> Rows:
    """Read a CSV file.

    The delimiter is a comma, a semicolon, a tab or a vertical bar, whichever the first line has
    most of. Where all of the first line are numbers, it is a row, and the columns are named by
    their numbers from 0.

    Parameters
    ----------
    path
        The file, UTF-8.
    options
        Which columns are what.
    requires_label
        Whether a table without a column of classes is a mistake.

    Raises
    ------
    DataError
        If a line is not as it must be; it is named, with the column.
    """
    try:
        require_memory(str(path), 3 * path.stat().st_size, "save it as .npz, which is mapped")
        with open(path, encoding="utf-8-sig", newline="") as lines:
            line = lines.readline(_LONGEST_LINE)
        delimiter = max(_DELIMITERS, key=line.count)
        first = next(csv.reader([line], delimiter=delimiter), [])
        if not first:
            raise DataError(f"{path}: the file is empty; expected a line of names, and rows")
        has_names = not all(_is_number(cell) for cell in first)
        names = first if has_names else [str(n) for n in range(len(first))]
        columns = find_columns(str(path), names, options, requires_label=requires_label)
        skipped = 1 if has_names else 0
        _require_widths(path, delimiter, len(names), skipped)
        values = _narrow(_numbers(path, delimiter, skipped, columns, columns.values))
        if not len(values):
            raise DataError(f"{path}: there are no rows below the names; add some")
        labels: Array | None = None
        if columns.targets:
            labels = _numbers(path, delimiter, skipped, columns, columns.targets, np.float64)
        elif (label := _text(path, delimiter, skipped, columns.label)) is not None:
            labels = _labels(label)
        group = _text(path, delimiter, skipped, columns.group)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no UTF-8 text; save it as UTF-8") from None
    except csv.Error as fault:
        raise DataError(f"{path}: is no CSV file ({fault}); save it again") from None
    except OSError as fault:
        raise DataError(
            f"{path}: cannot be read ({fault.strerror or fault}); correct its permissions"
        ) from None
    images = as_table_images(str(path), values, columns, options)
    return Rows(images, labels, groups=None if group is None else group.tolist())


def _require_widths(path: Path, delimiter: str, width: int, skipped: int) -> None:
    """Raise a DataError that names the first line with more or fewer columns."""
    with open(path, encoding="utf-8-sig", newline="") as lines:
        # To count is many times faster than to parse; quotes are for the parser.
        for number, line in enumerate(lines):
            if line.count(delimiter) == width - 1 or not line.strip():
                continue
            if '"' in line:
                return _require_parsed_widths(path, delimiter, width, skipped)
            found = line.count(delimiter) + 1
            raise _wrong_width(path, number + 1 - skipped, found, width)


def _require_parsed_widths(path: Path, delimiter: str, width: int, skipped: int) -> None:
    with open(path, encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter)):
            if row and len(row) != width:
                raise _wrong_width(path, number + 1 - skipped, len(row), width)


def _wrong_width(path: Path, row: int, found: int, width: int) -> DataError:
    return DataError(
        f"{path}: row {row} has {found} columns; expected {width}, as the first line has; correct "
        f"it"
    )


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _loadtxt(path: Path, delimiter: str, skipped: int, **more: Any) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of lines without data
        found: Array = np.loadtxt(
            path, delimiter=delimiter, skiprows=skipped, quotechar='"', comments=None,
            encoding="utf-8-sig", ndmin=2, **more,
        )  # fmt: skip
    return found


def _numbers(
    path: Path,
    delimiter: str,
    skipped: int,
    columns: Columns,
    wanted: tuple[int, ...],
    dtype: Any = np.float32,
) -> Array:
    """Read pixels, features or targets: finite numbers."""
    try:
        # All columns where the others are numbers too: a line that is too long is noticed.
        values = _loadtxt(path, delimiter, skipped, usecols=wanted, dtype=dtype)
    except ValueError as fault:
        _find_fault(path, delimiter, skipped, columns, wanted)
        raise DataError(f"{path}: {' '.join(str(fault).split())}; correct the line") from None
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(each[0]) for each in np.nonzero(bad))
        raise DataError(
            f"{path}: row {row + 1}, column {columns.names[wanted[column]]!r} is "
            f"{values[row, column]}; expected a finite number; correct it, or take the row away"
        )
    return values


def _narrow(values: Array) -> Array:
    """Return whole numbers of a byte as such."""
    if values.size and values.min() >= 0 and values.max() <= 255:
        small = values.astype(np.uint8)
        if np.array_equal(small, values):
            return small
    return values


def _find_fault(
    path: Path, delimiter: str, skipped: int, columns: Columns, wanted: tuple[int, ...]
) -> None:
    """Raise a DataError that names the first cell that is no number."""
    with open(path, encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter)):
            if number < skipped or not row:
                continue
            for column in wanted:
                try:
                    float(row[column])
                except ValueError:
                    cell, name = row[column], columns.names[column]
                    found = f"is {cell[:40]!r}" if cell.strip() else "is missing"
                    raise DataError(
                        f"{path}: row {number + 1 - skipped}, column {name!r} {found}; expected a "
                        f"number; correct it, or leave the column out with "
                        f"--set data.leave_out=[{name!r}]"
                    ) from None


def _text(path: Path, delimiter: str, skipped: int, column: int | None) -> Array | None:
    if column is None:
        return None
    # As objects, which take what is there: an array of text has the room of its longest everywhere.
    found = _loadtxt(path, delimiter, skipped, usecols=column, dtype=object)[:, 0].tolist()
    return as_names(f"{path}: column {column}", [str(cell).strip() for cell in found])


def _labels(text: Array) -> Array:
    """Return labels as numbers where all are; floating ones are for others to refuse."""
    for kind in (np.int64, np.float64):
        try:
            return text.astype(kind)
        except ValueError:
            continue
    return text
